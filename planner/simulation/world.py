"""A site's world, day by day: news of bookings, deliveries, sessions, waste; then a policy orders.

Each day in this order: the supplier delivers before the first session; sessions take what they need in the order of
their start; what has expired is thrown away; at ``ORDERED_AT``, before the cutoff, the policy orders. A session whose
needs the shelf does not reach is sent home and takes nothing; one that lacks only something extra (PRN) takes place,
incomplete. Demand that is not met is lost.

``SiteWorld`` may be copied (``copy.deepcopy``) at any day and continued under another policy: what is random was drawn
before (``Fate``), so both see the same patients and the same delays.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from planner.simulation.book import ORDERED_AT, Amount, Amounts, Book, Session, Streams, Told, synthetic_book
from planner.simulation.clinic import SiteClinic
from planner.simulation.scenario import Allocation
from planner.simulation.shelf import Discarded, Shelf

OPENING_DAYS = 21
"""Days of average use that the shelf holds at first, under every policy."""
_DELIVERED_AT = time(7, 30)
_DISCARDED_AT = time(16, 20)

Outcome = Literal["complete", "incomplete", "sent-home"]


@dataclass(frozen=True, slots=True)
class Placed:
    """An order line that was placed. Days are numbers; ``promised`` and ``due`` (when it really comes) are days on
    which the supplier delivers. ``quantity``: what the supplier sends of the ``asked`` containers; perhaps nothing."""

    order_id: str
    item: str
    asked: int
    quantity: int
    day: int
    promised: int
    due: int


@dataclass(frozen=True, slots=True)
class Delivery:
    """An order line that has come, as a lot."""

    order: Placed
    lot: str
    last_day: int


@dataclass(frozen=True, slots=True)
class End:
    """How a session ended, and what it used."""

    session: Session
    outcome: Outcome
    used: Amounts


@dataclass(slots=True)
class Today:
    """What a policy may know at the end of a day, besides what it has been told before."""

    number: int
    date: date
    at: datetime
    """When orders are placed, in UTC."""
    told: Sequence[Told]
    deliveries: Sequence[Delivery] = ()
    ends: Sequence[End] = ()
    discarded: Sequence[tuple[str, Discarded]] = ()
    announced: Allocation | None = None
    """An allocation that the supplier announces today."""
    on_hand: Mapping[str, float] = field(default_factory=dict)
    on_order: Mapping[str, int] = field(default_factory=dict)
    orderable: frozenset[str] = frozenset()
    """Items that can be ordered today."""


class Ordering(Protocol):
    """A policy at work at one site."""

    name: str

    def observe(self, today: Today) -> None:
        """Take note of a day; told on every day, before ``order``."""
        ...

    def order(self, today: Today) -> Mapping[str, int]:
        """Containers to order by item, whole multiples of what can be ordered; asked on days with orderable items."""
        ...

    def placed(self, orders: Sequence[Placed], at: datetime) -> None:
        """What came of ``order``: the supplier has confirmed."""
        ...


@dataclass(frozen=True, slots=True)
class Fate:
    """All that is random in a site's world, drawn before any policy acts."""

    clinic: SiteClinic
    seed: int
    book: Book
    late_days: npt.NDArray[np.int64]
    """Open days that a line ordered on a day comes late; shape (items, days)."""

    @classmethod
    def draw(
        cls, clinic: SiteClinic, seed: int, make_book: Callable[[SiteClinic, Streams], Book] = synthetic_book
    ) -> Fate:
        """The world of a seed. ``make_book``: how its book comes about (``functools.partial`` of ``real_book``: from a
        log)."""
        streams = Streams.of(seed, clinic.number)
        deliveries = clinic.scenario.deliveries
        shape = (len(clinic.items), clinic.scenario.days)
        late = streams.deliveries.random(shape) < deliveries.late_share
        by = 1 + (streams.deliveries.random(shape) * deliveries.late_days_max).astype(np.int64)
        delays = np.where(late, by, 0) if deliveries.late_days_max else np.zeros(shape, np.int64)
        return cls(clinic, seed, make_book(clinic, streams), delays)

    def due_days(self) -> npt.NDArray[np.int64]:
        """Number of the day on which a line ordered on a day comes; shape (items, days)."""
        clinic = self.clinic
        due = np.zeros_like(self.late_days)
        for row, item in enumerate(clinic.items.values()):
            for day in range(due.shape[1]):
                promised = next_delivery(clinic, day + item.lead_days)
                due[row, day] = later_delivery(clinic, promised, int(self.late_days[row, day]))
        return due


def next_delivery(clinic: SiteClinic, day: int) -> int:
    """The first day from ``day`` on on which the supplier delivers: a working day of the clinic."""
    weekdays, first = clinic.open_weekdays, clinic.first_day.weekday()
    while (first + day) % 7 not in weekdays:
        day += 1
    return day


def later_delivery(clinic: SiteClinic, day: int, late: int) -> int:
    """``late`` working days after ``day``."""
    for _ in range(late):
        day = next_delivery(clinic, day + 1)
    return day


@dataclass(slots=True)
class ItemTotals:
    """What is measured of an item, from the first measured day on. Containers, unless it says otherwise."""

    wanted: float = 0.0
    short: float = 0.0
    """Wanted in sessions that could not have it."""
    stock_days: float = 0.0
    """Sum over days of what was on the shelf at the end of the day."""
    expired: float = 0.0
    open_waste: float = 0.0
    lines: int = 0
    ordered: int = 0


@dataclass(slots=True)
class Totals:
    """What is measured of a site under a policy."""

    items: dict[str, ItemTotals]
    complete: int = 0
    incomplete: int = 0
    sent_home: int = 0
    orders: int = 0
    """Days on which something was ordered from a supplier, by supplier."""
    days: int = 0


class SiteWorld:
    """A site under a policy, from its first day on."""

    def __init__(self, fate: Fate) -> None:
        clinic = fate.clinic
        self.fate = fate
        self.clinic = clinic
        self.day = 0
        """Number of the day that comes next."""
        self.shelves = {item: Shelf(clinic.catalogue.items[item]) for item in clinic.items}
        self.under_way: list[Placed] = []
        self.totals = Totals({item: ItemTotals() for item in clinic.items})
        self._row = {item: row for row, item in enumerate(clinic.items)}
        self._per_week = clinic.mean_use_per_week()
        self._sent: dict[str, float] = {}
        """Containers sent of each item since an allocation began."""

    # --- days -----------------------------------------------------------------------------------------------

    def run(self, policy: Ordering, until: int | None = None) -> Totals:
        """Live through the days up to ``until`` (not counted; absent: all) under a policy."""
        last = self.clinic.scenario.days if until is None else until
        while self.day < last:
            self.pass_day(policy)
        return self.totals

    def pass_day(self, policy: Ordering) -> Today:
        """Live through the next day."""
        number = self.day
        on = self.clinic.first_day + timedelta(days=number)
        today = Today(number, on, self.local(on, ORDERED_AT), self.fate.book.told.get(number, ()))
        today.deliveries = self._opening() if number == 0 else self._deliver(number)
        today.ends = [self._hold(session) for session in self.fate.book.sessions.get(number, ())]
        today.discarded = self._discard(number, self.local(on, _DISCARDED_AT))
        allocation = self.clinic.scenario.deliveries.allocation
        if allocation is not None and number == self._begins(allocation) - allocation.announced_days:
            today.announced = allocation
        today.on_hand = {item: shelf.containers for item, shelf in self.shelves.items()}
        on_order = dict.fromkeys(self.shelves, 0)
        for order in self.under_way:
            on_order[order.item] += order.quantity
        today.on_order = on_order
        weekday = on.weekday()
        if on not in self.clinic.catalogue.sites[self.clinic.site].closed_on:
            today.orderable = frozenset(
                item for item, facts in self.clinic.items.items() if weekday in facts.order_weekdays
            )
        policy.observe(today)
        if today.orderable:
            self._order(policy, today)
        if self.measuring:
            self.totals.days += 1
            for item, shelf in self.shelves.items():
                self.totals.items[item].stock_days += shelf.containers
        self.day += 1
        return today

    @property
    def measuring(self) -> bool:
        """Whether the warm-up is over."""
        return self.day >= self.clinic.scenario.horizon.warm_up_days

    def local(self, on: date, at: time) -> datetime:
        """A local time of the site, in UTC."""
        return datetime.combine(on, at, self.clinic.catalogue.zone(self.clinic.site)).astimezone(UTC)

    def date_of(self, day: int) -> date:
        """The date of a day's number."""
        return self.clinic.first_day + timedelta(days=day)

    def delivered_at(self, day: int) -> datetime:
        """The instant at which the day's deliveries come."""
        return self.local(self.date_of(day), _DELIVERED_AT)

    # --- supply ---------------------------------------------------------------------------------------------

    def opening_quantities(self) -> dict[str, int]:
        """Containers on the shelf at first, by item: whole multiples, under every policy."""
        opened = {}
        for item, facts in self.clinic.items.items():
            use = self._containers_a_week(item) / 7 * OPENING_DAYS
            opened[item] = max(1, round(use / facts.multiple + 0.5)) * facts.multiple
        return opened

    def _opening(self) -> list[Delivery]:
        return [
            self._receive(Placed(f"opening-{item}", item, quantity, quantity, 0, 0, 0))
            for item, quantity in self.opening_quantities().items()
        ]

    def _containers_a_week(self, item: str) -> float:
        shelf = self.shelves[item]
        return self._per_week[item] / (float(shelf.item.content.value) if shelf.pooled else 1.0)

    def _deliver(self, number: int) -> list[Delivery]:
        due = [order for order in self.under_way if order.due <= number]
        self.under_way = [order for order in self.under_way if order.due > number]
        return [self._receive(order) for order in due]

    def _receive(self, order: Placed) -> Delivery:
        last_day = self.day + self.clinic.items[order.item].shelf_life_days
        delivery = Delivery(order, f"lot-{order.order_id}", last_day)
        self.shelves[order.item].receive(delivery.lot, last_day, order.quantity)
        return delivery

    def _begins(self, allocation: Allocation) -> int:
        return self.clinic.scenario.horizon.warm_up_days + allocation.day

    def _sends(self, item: str, asked: int) -> int:
        """What the supplier sends of what is asked: all, or in an allocation what the clinic's share still allows."""
        allocation = self.clinic.scenario.deliveries.allocation
        if allocation is None or not 0 <= self.day - self._begins(allocation) < allocation.days:
            return asked
        days = self.day - self._begins(allocation) + 1
        allowed = allocation.share * self._containers_a_week(item) / 7 * days - self._sent.get(item, 0.0)
        multiple = self.clinic.items[item].multiple
        sent = min(asked, int(max(allowed, 0.0) / multiple) * multiple)
        self._sent[item] = self._sent.get(item, 0.0) + sent
        return sent

    def _order(self, policy: Ordering, today: Today) -> None:
        asked = {item: quantity for item, quantity in policy.order(today).items() if quantity > 0}
        orders = []
        for item, quantity in sorted(asked.items()):
            facts = self.clinic.items.get(item)
            if facts is None or item not in today.orderable or quantity % facts.multiple:
                raise ValueError(f"{policy.name} orders {quantity} of {item} on {today.date}: expected whole multiples"
                                 f" of an item that can be ordered on that day")  # fmt: skip
            promised = next_delivery(self.clinic, self.day + facts.lead_days)
            late = int(self.fate.late_days[self._row[item], self.day])
            sent = self._sends(item, quantity)
            due = later_delivery(self.clinic, promised, late)
            orders.append(Placed(f"{item}-{self.day}", item, quantity, sent, self.day, promised, due))
            if self.measuring:
                self.totals.items[item].lines += 1
                self.totals.items[item].ordered += sent
        if orders:
            if self.measuring:
                self.totals.orders += len({self.clinic.items[order.item].supplier for order in orders})
            self.under_way += [order for order in orders if order.quantity]
            policy.placed(orders, today.at)

    # --- use ------------------------------------------------------------------------------------------------

    def _hold(self, session: Session) -> End:
        at = session.start
        lacking = [i for i, amount in session.needs.items() if not self.shelves[i].reaches(amount, at)]
        if self.measuring:
            self._count_wanted(session, lacking)
        if lacking:
            self.totals.sent_home += self.measuring
            return End(session, "sent-home", {})
        used: Amounts = {}
        for item, amount in session.needs.items():
            self.shelves[item].take(amount, at)
            used[item] = amount
        complete = True
        for item, amount in session.extra.items():
            if self.shelves[item].reaches(amount, at):
                self.shelves[item].take(amount, at)
                used[item] = used.get(item, 0) + amount
            else:
                complete = False
                if self.measuring:
                    self.totals.items[item].short += self._in_containers(item, amount)
        self.totals.complete += self.measuring and complete
        self.totals.incomplete += self.measuring and not complete
        return End(session, "complete" if complete else "incomplete", used)

    def _count_wanted(self, session: Session, lacking: Sequence[str]) -> None:
        for item, amount in session.wanted().items():
            containers = self._in_containers(item, amount)
            self.totals.items[item].wanted += containers
            if item in lacking:
                self.totals.items[item].short += containers

    def _in_containers(self, item: str, amount: Amount) -> float:
        shelf = self.shelves[item]
        return float(amount) / (float(shelf.item.content.value) if shelf.pooled else 1.0)

    def _discard(self, number: int, now: datetime) -> list[tuple[str, Discarded]]:
        gone = []
        for item, shelf in self.shelves.items():
            # a lot's last day is over when the next day begins
            for discarded in shelf.discard(number + 1, now):
                gone.append((item, discarded))
                if self.measuring:
                    totals = self.totals.items[item]
                    if discarded.reason == "expired":
                        totals.expired += discarded.containers
                    else:
                        totals.open_waste += discarded.containers
        return gone
