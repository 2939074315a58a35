"""The planner itself as a policy: the real steps, events in and proposals out.

What happens in the world is told to ``BookingStep`` and ``PlanStep`` as encoded records, as the booking system, the
pharmacy and the clock would; what they propose at ``ORDERED_AT`` is ordered, and the order told as placed, confirmed
and delivered. A day is folded in few chunks and reviewed once, when the clock has reached the time of ordering; days
without news pass with the next.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import orjson

from planner.booking_step import BookingStep
from planner.catalogue.model import ContainerUse
from planner.messages import Proposal
from planner.plan_step import PlanStep
from planner.simulation.book import Amounts, booking_event
from planner.simulation.clinic import SiteClinic
from planner.simulation.world import Delivery, End, Placed, Today
from planner.step import Message, Record, Step

_AHEAD_MS = 4_000_000_000_000
"""The log's time: after the events' own, whatever year they are of."""
_CONFIRMED_AFTER = timedelta(minutes=5)
_DELIVERED_BEFORE_ORDERS = timedelta(hours=9)
_SOURCE = "simulation"


class MemoryEntries:
    """The table of a step, in memory; ``planner.step.Entries``."""

    def __init__(self) -> None:
        self.entries: dict[bytes, bytes] = {}

    def get(self, key: bytes) -> bytes | None:
        return self.entries.get(key)

    def scan(self, prefix: bytes) -> Iterable[tuple[bytes, bytes]]:
        return [(key, self.entries[key]) for key in sorted(self.entries) if key.startswith(prefix)]

    def apply(self, writes: Mapping[bytes, bytes | None]) -> None:
        for key, value in writes.items():
            if value is None:
                self.entries.pop(key, None)
            else:
                self.entries[key] = value


class RefusedInSimulationError(RuntimeError):
    """The planner refused what the simulation told it: the two disagree about the world."""


class PlannerPolicy:
    """The real steps at one site; a ``planner.simulation.world.Ordering``.

    ``booking`` and ``plan`` are the steps, to be read (``plan.sites``, ``plan.outlook``, ``plan.explain``).
    """

    name = "planner"

    def __init__(self, clinic: SiteClinic) -> None:
        self.clinic = clinic
        bundle = clinic.catalogue.bundle
        self.booking = BookingStep(0, 1, bundle)
        self.plan = PlanStep(0, bundle)
        self._booking_entries, self._plan_entries = MemoryEntries(), MemoryEntries()
        self.booking.restore(self._booking_entries)
        self.plan.restore(self._plan_entries)
        self._offsets: dict[str, int] = {}
        self._lots: dict[tuple[str, str], str] = {}
        self._numbers = 0

    # --- Ordering -------------------------------------------------------------------------------------------

    def observe(self, today: Today) -> None:
        """Tell the day's events, in the order in which they happen, then that it is time to order."""
        begun = today.at - _DELIVERED_BEFORE_ORDERS
        if today.orderable or today.deliveries or today.told or today.ends:
            self._clock(begun)
        for delivery in today.deliveries:
            self._deliver(delivery, begun)
        if today.announced is not None:
            self._announce(today)
        told = [(t.at, t.booking_id, t.raw) for t in today.told]
        told += [self._end(end) for end in today.ends]
        told.sort(key=lambda event: event[0])
        if told:
            self._tell_bookings(told)
        for item, discarded in today.discarded:
            # open containers are the planner's own reckoning
            if discarded.lot is not None:
                body = {"item": item, "lot": discarded.lot, "quantity": int(discarded.containers), "reason": "expired"}
                if self.clinic.catalogue.items[item].controlled_schedule is not None:
                    body["witness"] = _SOURCE
                self._tell("stock", "stock.wasted", today.at, body)
        # where nothing can be ordered nobody reads the proposals: the next day that it can reviews this one's news too
        if today.orderable:
            self._clock(today.at)
            self._fold(self.plan, [], self._plan_entries, caught_up=True)

    def order(self, today: Today) -> Mapping[str, int]:
        """What the proposals say, those of controlled items too: a person would have ordered them."""
        return {
            line.item: line.quantity
            for proposal in self.proposals()
            for line in proposal.lines
            if line.item in today.orderable
        }

    def placed(self, orders: Sequence[Placed], at: datetime) -> None:
        """Tell the orders, and what the supplier has confirmed."""
        for order in orders:
            self._tell(
                "orders",
                "order.placed",
                at,
                {
                    "order_id": order.order_id,
                    "supplier": self.clinic.items[order.item].supplier,
                    "lines": [{"item": order.item, "quantity": order.asked}],
                },
            )
            if not order.quantity:
                self._tell("orders", "order.cancelled", at + _CONFIRMED_AFTER, {"order_id": order.order_id})
                continue
            promised = self.clinic.first_day + timedelta(days=order.promised)
            body = {
                "order_id": order.order_id,
                "promised": promised.isoformat(),
                "lines": [{"item": order.item, "quantity": order.quantity}],
            }
            self._tell("orders", "order.confirmed", at + _CONFIRMED_AFTER, body)

    def proposals(self) -> list[Proposal]:
        """The site's proposals as they stand."""
        state = self.plan.sites.get(self.clinic.site)
        return [] if state is None else [state.proposals[key] for key in sorted(state.proposals)]

    # --- what is told ---------------------------------------------------------------------------------------

    def _deliver(self, delivery: Delivery, at: datetime) -> None:
        order = delivery.order
        expiry = self.clinic.first_day + timedelta(days=delivery.last_day)
        line = {
            "item": order.item,
            "quantity": order.quantity,
            "lot": delivery.lot,
            "expiry": expiry.isoformat(),
        }
        if order.due == 0:
            self._tell("stock", "stock.received", at, line)
            return
        self._tell("orders", "order.delivered", at, {"order_id": order.order_id, "lines": [line], "complete": True})

    def _announce(self, today: Today) -> None:
        """The supplier says that it will be short."""
        allocation = today.announced
        if allocation is None:
            return
        begins = today.date + timedelta(days=allocation.announced_days)
        for supplier in sorted({facts.supplier for facts in self.clinic.items.values()}):
            body = {
                "supplier": supplier,
                "first_day": begins.isoformat(),
                "last_day": (begins + timedelta(days=allocation.days - 1)).isoformat(),
                "share": str(allocation.share),
            }
            self._tell("orders", "supply.announced", today.at - _DELIVERED_BEFORE_ORDERS, body)

    def _end(self, end: End) -> tuple[datetime, str, bytes]:
        session = end.session
        if end.outcome == "sent-home":
            raw = booking_event(
                session.ends, session.booking_id, "cancelled", session.next_version, reason="supplies lacking"
            )
        else:
            raw = booking_event(
                session.ends,
                session.booking_id,
                "completed",
                session.next_version,
                actual_use=self._actual(session.items, end.used),
            )
        return session.ends, session.booking_id, raw

    def _actual(self, items: Sequence[str], used: Amounts) -> list[dict[str, Any]]:
        """What was used of each item; of what is not named the planner would presume the expected use."""
        entries = self.clinic.catalogue.items
        return [
            {
                "item": item,
                "volume_ml" if entries[item].use is ContainerUse.MULTI_DOSE else "containers": str(used.get(item, 0)),
            }
            for item in items
        ]

    # --- records --------------------------------------------------------------------------------------------

    def _tell_bookings(self, told: Sequence[tuple[datetime, str, bytes]]) -> None:
        records = [self._record("bookings", booking.encode(), raw) for _, booking, raw in told]
        requirements = []
        for message in self._fold(self.booking, records, self._booking_entries):
            if message.topic == "requirements":
                requirements.append(self._record("requirements", message.key, message.value))
        self._fold(self.plan, requirements, self._plan_entries)

    def _tell(self, topic: str, kind: str, at: datetime, body: dict[str, Any]) -> None:
        self._numbers += 1
        event = {
            "type": kind,
            "event_id": f"{self.clinic.site}/{self._numbers}",
            "occurred_at": at.isoformat(),
            "source": _SOURCE,
            "site": self.clinic.site,
            **body,
        }
        record = self._record(topic, self.clinic.site.encode(), orjson.dumps(event))
        self._fold(self.plan, [record], self._plan_entries)

    def _clock(self, now: datetime) -> None:
        text = now.isoformat()
        event = {
            "type": "clock.ticked",
            "event_id": f"clock/{text}",
            "occurred_at": text,
            "source": _SOURCE,
            "now": text,
        }
        self._fold(self.plan, [self._record("clock", b"0", orjson.dumps(event))], self._plan_entries)

    def _record(self, topic: str, key: bytes | None, value: bytes | None) -> Record:
        offset = self._offsets.get(topic, 0)
        self._offsets[topic] = offset + 1
        return Record(topic, 0, offset, _AHEAD_MS + offset, key, value)

    def _fold(
        self, step: Step, records: Sequence[Record], entries: MemoryEntries, *, caught_up: bool = False
    ) -> list[Message]:
        messages = []
        for page in step.fold(records, caught_up=caught_up):
            entries.apply(page.writes)
            messages += page.messages
            if page.counts["refused"] or page.counts["dead-lettered"]:
                wrong = [
                    m.value for m in page.messages if m.topic == "outcomes" and b'"applied"' not in (m.value or b"")
                ]
                raise RefusedInSimulationError(f"the planner did not accept {wrong[:1]}")
        return messages
