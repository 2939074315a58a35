"""The world around the planner in the demo: shelves, suppliers, and a pharmacy that reads what the planner says.

Deterministic for a seed and what the planner published. Speaks to the planner through events alone.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal

from planner.catalogue.index import Catalogue
from planner.catalogue.model import WEEKDAYS, ContainerUse, Item
from planner.expansion.expand import expand
from planner.expansion.profile import typical
from planner.messages import Alert, AlertKind, AlertState, Proposal, RequirementLine
from streams.demo.scenario import Event, Season, Visit

OPENING_DAYS = 18
"""Days of expected use that the shelves hold at first."""
CONTROLLED_AT_FIRST = 3
"""Containers of a controlled item: few, so that a person has to order some within the season."""
PHARMACIST_DELAY_DAYS = 1
"""A person orders controlled items so many days after they were proposed."""

LATE_SHARE = 0.15
LATE_DAYS_MAX = 5
SHORT_SHARE = 0.08
SHORT_TO = 0.6
ACTUAL_USE_TOLD_SHARE = 0.95
SHELF_LIFE_SEEN = 0.6
"""Share of an item's shelf life that a delivered lot still has, about."""
COUNT_WEEKDAY = 4
COUNTED_AT = time(22, 30)
"""After the last session has ended, so that a count and the book mean the same."""
COUNTED_ITEMS = 6
MISCOUNT_WEEK = 4
MISCOUNT = 0.15

ALLOCATED_COMPONENT = "sodium-chloride-0.9"
ALLOCATION_WEEKS = range(3, 6)
ALLOCATION_SHARE = 0.4
RECALLED_COMPONENT = "ketorolac"
RECALL_WEEK = 5


@dataclass(slots=True)
class ShelfLot:
    """Containers of a lot."""

    lot: str
    expiry: date
    quantity: int
    recalled: bool = False


@dataclass(slots=True)
class Delivery:
    """What a supplier will bring, and when."""

    due: date
    site: str
    order_id: str
    lines: dict[str, int]


@dataclass(slots=True)
class Story:
    """What happened, for the summary."""

    orders: int = 0
    controlled_orders: int = 0
    deliveries: int = 0
    late: int = 0
    short: int = 0
    completed: int = 0
    recalled_containers: int = 0
    captions: list[tuple[date, str]] = field(default_factory=list)


class World:
    """Shelves by site, orders under way, and a pharmacy."""

    def __init__(self, catalogue: Catalogue, season: Season) -> None:
        self.catalogue = catalogue
        self.season = season
        self.story = Story()
        self._chance = random.Random(f"{season.seed}/world")
        self._shelves: dict[tuple[str, str], list[ShelfLot]] = {}
        self._deliveries: list[Delivery] = []
        self._seen_controlled: dict[str, date] = {}
        self._waiting: dict[tuple[str, str], int] = {}
        """(site, item) → containers that are on their way."""
        self._acknowledged: set[str] = set()
        self._numbers = 0

    # --- the eve --------------------------------------------------------------------------------------------

    def opening(self) -> list[Event]:
        """Receipts that fill the shelves: some weeks of expected use, and the emergency stock."""
        events = []
        for site in self.season.sites:
            wanted = self.expected_use(site)
            at = datetime.combine(self.season.eve, time(8, 0), self.catalogue.zone(site))
            for item_id in sorted(wanted):
                item = self.catalogue.items[item_id]
                share = 0.7 + 0.6 * self._chance.random()
                packs = max(1, round(wanted[item_id] * share / item.pack.containers + 0.3))
                lot = self._new_lot(item, self.season.eve)
                quantity = CONTROLLED_AT_FIRST if item.controlled_schedule else packs * item.pack.containers
                self._shelf(site, item_id).append(ShelfLot(lot, self._expiry(item, self.season.eve), quantity))
                events.append(self._received(site, item_id, at, self._shelf(site, item_id)[-1]))
        return events

    def expected_use(self, site: str) -> dict[str, float]:
        """item → containers of ``OPENING_DAYS`` days, and par stock."""
        entry = self.catalogue.sites[site]
        wanted: dict[str, float] = {}
        for expected in entry.expected_sessions:
            profile = typical(self.catalogue, site, expected.protocol, self.season.first_day)
            weekly = sum(float(rate) for rate in expected.per_day.values())
            for item, moments in (profile.items if profile is not None else {}).items():
                use = float(moments.mean) * weekly / 7 * OPENING_DAYS
                content = self.catalogue.items[item].content
                wanted[item] = wanted.get(item, 0.0) + self._containers(item, use, float(content.value))
        for par in entry.par_stock:
            item = self.catalogue.choices(site, par.component)[0].item
            wanted[item] = wanted.get(item, 0.0) + par.quantity
        return wanted

    def _containers(self, item: str, use: float, content: float) -> float:
        """Of a multi-dose item's mL: containers, with what is thrown away of opened ones."""
        if self.catalogue.items[item].use is ContainerUse.MULTI_DOSE:
            return use / content + OPENING_DAYS / 14
        return use

    # --- a day ----------------------------------------------------------------------------------------------

    def day(self, day: date) -> list[Event]:
        """What the day brings besides bookings: deliveries, a recall, sessions that end, counts; not in order."""
        events = self._deliver(day)
        week, weekday = divmod((day - self.season.first_day).days, 7)
        if week == RECALL_WEEK and weekday == 1:
            events += self._recall(day)
        if week == ALLOCATION_WEEKS.start and weekday == 0:
            self.story.captions.append(
                (day, f"a maker's plant stands still: saline on {ALLOCATION_SHARE:.0%} allocation")
            )
        for visit in self.season.visits.get(day, ()):
            events.append(self._complete(visit))
        if weekday == COUNT_WEEKDAY:
            for site in self.season.sites:
                events += self._count(site, day, week)
        return events

    def _deliver(self, day: date) -> list[Event]:
        due = [delivery for delivery in self._deliveries if delivery.due <= day]
        self._deliveries = [delivery for delivery in self._deliveries if delivery.due > day]
        events = []
        for delivery in due:
            at = datetime.combine(day, time(7, 30), self.catalogue.zone(delivery.site))
            lines = []
            for item_id, quantity in delivery.lines.items():
                item = self.catalogue.items[item_id]
                came = ShelfLot(self._new_lot(item, day), self._expiry(item, day), quantity)
                self._shelf(delivery.site, item_id).append(came)
                self._waiting.pop((delivery.site, item_id), None)
                lines.append(
                    {"item": item_id, "quantity": quantity, "lot": came.lot, "expiry": came.expiry.isoformat()}
                )
            self.story.deliveries += 1
            body = {"order_id": delivery.order_id, "lines": lines, "complete": True}
            events.append(self._event("order.delivered", f"{delivery.order_id}/delivered", at, delivery.site, body))
        return events

    def _recall(self, day: date) -> list[Event]:
        """The lot with most containers of the recalled component, at every site that has one."""
        items = [item.id for item in self.catalogue.items.values() if item.component == RECALLED_COMPONENT]
        events = []
        for site in self.season.sites:
            at = datetime.combine(day, time(9, 15), self.catalogue.zone(site))
            for item in items:
                lots = [lot for lot in self._shelf(site, item) if lot.quantity and not lot.recalled]
                for lot in lots:
                    lot.recalled = True
                    self.story.recalled_containers += lot.quantity
                    body = {"item": item, "lot": lot.lot, "reason": "recall: particles found by the maker"}
                    events.append(self._event("stock.quarantined", f"recall/{site}/{lot.lot}", at, site, body))
        self.story.captions.append(
            (day, f"recall of {RECALLED_COMPONENT}: {self.story.recalled_containers} containers")
        )
        return events

    def _complete(self, visit: Visit) -> Event:
        """A session ends: what it really used leaves the shelf, and mostly the planner is told."""
        self.story.completed += 1
        expansion = expand(self.catalogue, visit.site, visit.protocol, visit.version, visit.parameters, ())
        used: dict[str, Decimal] = {}
        for line in expansion.lines:
            if line.item is not None:
                used[line.item] = used.get(line.item, Decimal(0)) + self._really_used(line)
        told = []
        for item, amount in sorted(used.items()):
            if self.catalogue.items[item].use is ContainerUse.MULTI_DOSE:
                continue  # opened containers are the planner's own reckoning
            self._take(visit.site, item, int(amount))
            told.append({"item": item, "containers": str(int(amount))})
        event = {
            "type": "booking.completed",
            "event_id": f"{visit.booking_id}/{visit.next_version}",
            "occurred_at": visit.ends.isoformat(),
            "source": "demo-booking-system",
            "booking_id": visit.booking_id,
            "version": visit.next_version,
        }
        if self._chance.random() < ACTUAL_USE_TOLD_SHARE:
            event["actual_use"] = told
        return event

    def _really_used(self, line: RequirementLine) -> Decimal:
        """A draw with the line's own mean: nothing or all of a PRN line, one more or not of an extra."""
        if line.probability < 1:
            return line.maximum if self._chance.random() < float(line.probability) else Decimal(0)
        spread = line.maximum - line.certain
        if spread <= 0:
            return line.certain
        share = float((line.mean - line.certain) / spread)
        return line.certain + sum(1 for _ in range(int(spread)) if self._chance.random() < share)

    def _count(self, site: str, day: date, week: int) -> list[Event]:
        """A few items are counted at the end of the week; once, at one site, some are missing."""
        at = datetime.combine(day, COUNTED_AT, self.catalogue.zone(site))
        items = sorted(item for (of, item), lots in self._shelves.items() if of == site and lots)
        items = [item for item in items if self.catalogue.items[item].use is not ContainerUse.MULTI_DOSE]
        events = []
        for item in self._chance.sample(items, min(COUNTED_ITEMS, len(items))):
            lots = [lot for lot in self._shelf(site, item) if lot.quantity]
            if week == MISCOUNT_WEEK and site == self.season.sites[-1]:
                for lot in lots:
                    lot.quantity -= int(lot.quantity * MISCOUNT)
            found = [{"lot": lot.lot, "quantity": lot.quantity} for lot in lots]
            name = f"count/{site}/{item}/{day.isoformat()}"
            events.append(self._event("stock.counted", name, at, site, {"item": item, "lots": found}))
        return events

    # --- the pharmacy ---------------------------------------------------------------------------------------

    def pharmacy(self, at: datetime, proposals: Iterable[Proposal], alerts: Iterable[Alert]) -> list[Event]:
        """What the pharmacy does with what it reads: orders, and acknowledges what is grave.

        Controlled items are never ordered by the machine that reads proposals: a person does, some time later.
        """
        events = []
        for proposal in sorted(proposals, key=lambda proposal: proposal.proposal_id):
            day = at.astimezone(self.catalogue.zone(proposal.site)).date()
            supplier = self.catalogue.suppliers[proposal.supplier]
            if not proposal.lines or WEEKDAYS[day.weekday()] not in supplier.order_days:
                continue
            if proposal.controlled:
                seen = self._seen_controlled.setdefault(proposal.proposal_id, day)
                if (day - seen).days < PHARMACIST_DELAY_DAYS:
                    continue
                del self._seen_controlled[proposal.proposal_id]
            lines = {
                line.item: line.quantity for line in proposal.lines if (proposal.site, line.item) not in self._waiting
            }
            if lines:
                events += self._order(proposal, lines, at, day)
        for alert in sorted(alerts, key=lambda alert: alert.alert_id):
            if alert.state is AlertState.OPEN and alert.kind in {AlertKind.STOCK_OUT, AlertKind.COUNT_DISCREPANCY}:
                body = {"alert_id": alert.alert_id, "by": "demo-pharmacist"}
                name = f"ack/{alert.alert_id}/{alert.revision}"
                if name not in self._acknowledged:
                    self._acknowledged.add(name)
                    events.append(self._event("alert.acknowledged", name, at, alert.site, body))
        return events

    def _order(self, proposal: Proposal, lines: dict[str, int], at: datetime, day: date) -> list[Event]:
        """Place an order; the supplier confirms it an hour later, and it comes as it comes."""
        self._numbers += 1
        order_id = f"po-{proposal.site}-{self._numbers:04}"
        self.story.orders += 1
        self.story.controlled_orders += proposal.controlled
        self._waiting |= {(proposal.site, item): quantity for item, quantity in lines.items()}
        placed = {
            "order_id": order_id,
            "supplier": proposal.supplier,
            "lines": [{"item": item, "quantity": quantity} for item, quantity in lines.items()],
        }
        lead = max(self._stated_lead_days(item) for item in lines)
        promised = day + timedelta(days=lead)
        sent = {item: self._allocated(item, quantity, day) for item, quantity in lines.items()}
        confirmed = {
            "order_id": order_id,
            "promised": promised.isoformat(),
            "lines": [{"item": item, "quantity": quantity} for item, quantity in sent.items() if quantity],
        }
        due, brought = promised, {item: quantity for item, quantity in sent.items() if quantity}
        if self._chance.random() < LATE_SHARE:
            due += timedelta(days=1 + self._chance.randrange(LATE_DAYS_MAX))
            self.story.late += 1
        if self._chance.random() < SHORT_SHARE:
            brought = {item: max(1, int(quantity * SHORT_TO)) for item, quantity in brought.items()}
            self.story.short += 1
        if brought:
            self._deliveries.append(Delivery(due, proposal.site, order_id, brought))
        for item in lines.keys() - brought.keys():
            self._waiting.pop((proposal.site, item), None)
        later = at + timedelta(hours=1)
        return [
            self._event("order.placed", f"{order_id}/placed", at, proposal.site, placed),
            self._event("order.confirmed", f"{order_id}/confirmed", later, proposal.site, confirmed)
            if brought
            else self._event("order.cancelled", f"{order_id}/cancelled", later, proposal.site, {"order_id": order_id}),
        ]

    def _allocated(self, item: str, quantity: int, day: date) -> int:
        """What the supplier will send: on allocation only a share, in whole packs."""
        entry = self.catalogue.items[item]
        week = (day - self.season.first_day).days // 7
        if entry.component != ALLOCATED_COMPONENT or week not in ALLOCATION_WEEKS:
            return quantity
        packs = int(quantity * ALLOCATION_SHARE / entry.pack.containers)
        if packs == 0 and self._chance.random() < ALLOCATION_SHARE:
            packs = 1
        return packs * entry.pack.containers

    def _stated_lead_days(self, item: str) -> int:
        stated = self.catalogue.items[item].lead_time_days
        return self.catalogue.supplier_of(item).lead_time_days if stated is None else stated

    # --- shelves --------------------------------------------------------------------------------------------

    def _shelf(self, site: str, item: str) -> list[ShelfLot]:
        return self._shelves.setdefault((site, item), [])

    def _take(self, site: str, item: str, quantity: int) -> None:
        """First expired first; what is not there is borrowed from next door, and the planner hears of a deficit."""
        for lot in sorted(self._shelf(site, item), key=lambda lot: (lot.expiry, lot.lot)):
            if lot.recalled:
                continue
            taken = min(lot.quantity, quantity)
            lot.quantity -= taken
            quantity -= taken
            if not quantity:
                return

    def _new_lot(self, item: Item, day: date) -> str:
        self._numbers += 1
        return f"{item.component[:4].upper()}{day:%y%j}{self._numbers:04}"

    def _expiry(self, item: Item, day: date) -> date:
        share = SHELF_LIFE_SEEN * (0.7 + 0.6 * self._chance.random())
        return day + timedelta(days=int(item.shelf_life_days * share))

    def _received(self, site: str, item: str, at: datetime, lot: ShelfLot) -> Event:
        body = {"item": item, "lot": lot.lot, "expiry": lot.expiry.isoformat(), "quantity": lot.quantity}
        return self._event("stock.received", f"opening/{site}/{item}", at, site, body)

    def _event(self, kind: str, name: str, at: datetime, site: str, body: Event) -> Event:
        return {
            "type": kind,
            "event_id": f"demo/{name}",
            "occurred_at": at.isoformat(),
            "source": "demo-pharmacy",
            "site": site,
            **body,
        }
