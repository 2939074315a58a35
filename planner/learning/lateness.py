"""How late suppliers deliver: for each supplier, the chance that an order comes so many delivery days after it was due.

A supplier's *delivery days* are the weekdays on which it has been seen to deliver (all of them until enough is known).
A day that is due on another weekday is due on the next delivery day, and lateness counts delivery days from there, so
that a weekend is no delay. There are two *bases*, learned apart: ``stated`` (placed + stated lead time; what can be
said of an order that is yet to be placed or confirmed) and ``promised`` (the day the supplier confirmed).

Every delivery day on which something is outstanding is a trial: it comes, or it does not. So the chance h(k) that it
comes k delivery days late, given that it has not come before, is learned by counting, and an order that is still
outstanding (censored) counts as far as it has been waited for: Kaplan & Meier, "Nonparametric estimation from
incomplete observations", *J. Amer. Statist. Assoc.* 53 (1958) 457–481. An order counts once, however many lines it
has; of a part delivered, the part. Early is k = 0. Counts are halved every ``HALF_LIFE_DAYS``.

    P(late = k) = h(k) Π_{j<k} (1 − h(j))
    h(0) = (w p0 + came(0)) ÷ (w + trials(0))
    g    = (w p1 + Σ_{k>0} came(k)) ÷ (w + Σ_{k>0} trials(k))            what late orders have in common
    h(k) = (w g + came(k)) ÷ (w + trials(k)),  k > 0                       w = ``PRIOR_ORDERS``

Prior, from the catalogue: the allowance ``a`` (``late_allowance_days``) is a delay that one order in eighty exceeds,
and delays are geometric: p0 = p1 = p with (1 − p)^(a + 1) = 1/80. An allowance of 0 says: never late (p0 = 1); if it
is late all the same, half of what is outstanding comes on each day (p1 = ½).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from operator import itemgetter
from typing import TYPE_CHECKING, Final, Literal, Self

import numpy as np
import numpy.typing as npt
import orjson

from planner.catalogue.index import Catalogue
from planner.catalogue.once import once

if TYPE_CHECKING:
    from planner.catalogue.model import Supplier
    from planner.site.state import Order, SiteState
    from planner.site.touched import Touched

Floats = npt.NDArray[np.float64]
Basis = Literal["stated", "promised"]

LATE_MOST: Final = 60
"""Delivery days; what has not come by then counts as coming on that day."""
HALF_LIFE_DAYS: Final = 180.0
PRIOR_ORDERS: Final = 3.0
"""Orders that a stated prior counts as."""
EXCEEDS_ALLOWANCE: Final = 1 / 80
LATE_AND_UNSTATED: Final = 0.5
WEEKDAYS_KNOWN_FROM: Final = 10.0
"""Orders that must have come before a weekday without deliveries is believed to be none …"""
WEEKDAY_SHARE_LEAST: Final = 0.02
"""… and the share of deliveries below which it is."""
_FORMAT = 1
_BASES: tuple[Basis, Basis] = ("stated", "promised")
_DIGITS = 12
_TIE = 1e-9


@dataclass(slots=True)
class Delays:
    """What is known of one supplier; weights of orders, halved with time."""

    as_of: int = 0
    """Ordinal of the day up to which the weights are halved."""
    trials: dict[Basis, list[float]] = field(default_factory=lambda: {basis: [] for basis in _BASES})
    came: dict[Basis, list[float]] = field(default_factory=lambda: {basis: [] for basis in _BASES})
    weekdays: list[float] = field(default_factory=lambda: [0.0] * 7)
    lines: float = 0.0
    """Weight of first deliveries, and of the share of their lines that they brought."""
    filled: float = 0.0

    def age(self, day: int) -> None:
        """Halve the weights as of ``day`` (ordinal); a day told late is taken as the last one."""
        if day <= self.as_of:
            return
        if self.as_of:
            factor = 0.5 ** ((day - self.as_of) / HALF_LIFE_DAYS)
            for counts in (*self.trials.values(), *self.came.values(), self.weekdays):
                counts[:] = [round(count * factor, _DIGITS) for count in counts]
            self.lines, self.filled = round(self.lines * factor, _DIGITS), round(self.filled * factor, _DIGITS)
        self.as_of = day

    @property
    def orders(self) -> float:
        """Weight of the orders that have come."""
        return sum(self.weekdays)


def _add(counts: list[float], at: int, weight: float) -> None:
    at = min(at, LATE_MOST)
    counts.extend([0.0] * (at + 1 - len(counts)))
    counts[at] = max(round(counts[at] + weight, _DIGITS), 0.0)


@dataclass(frozen=True, slots=True, eq=False)
class Punctuality:
    """What to expect of a supplier, as of now. Arrays are not to be written to."""

    chances: Mapping[Basis, Floats]
    """h(k): chance that it comes k delivery days late if not before; k = 0 … ``LATE_MOST``, where it is 1."""
    late: Mapping[Basis, Floats]
    """P(late = k); sums to 1."""
    delivers: tuple[bool, ...]
    """By weekday from Monday: whether the supplier delivers on it."""
    fill: float
    """Share of an outstanding line that its first delivery brings, on average; 1 until something else is seen."""
    orders: float
    """Orders that have come and are remembered; old ones count less."""
    arrivals: dict[tuple[date, date, int, bool, bool], Floats] = field(default_factory=dict, repr=False)
    """A cache of ``planner.forecast.waiting.arrival``, which is a function of this and the key."""
    windows: dict[tuple[int, ...], tuple[Floats, Floats, Floats, Floats]] = field(default_factory=dict, repr=False)
    """A cache of ``planner.reorder.windows``, likewise."""

    def delivery_day(self, day: date) -> date:
        """The first delivery day from ``day`` on."""
        while not self.delivers[day.weekday()]:
            day += timedelta(days=1)
        return day

    def days_late(self, due: date, day: date) -> int:
        """Delivery days after ``due`` through ``day``; 0 if it is not after it."""
        weeks, rest = divmod(max((day - due).days, 0), 7)
        return weeks * sum(self.delivers) + sum(self.delivers[(due.weekday() + 1 + i) % 7] for i in range(rest))

    def days_before(self, day: date, late: int) -> date:
        """The last day that an order may be due, to have come by ``day`` if it is ``late`` delivery days late."""
        while late:
            if self.delivers[day.weekday()]:
                late -= 1
            day -= timedelta(days=1)
        return day

    def columns(self, first_day: date, due: date, days: int) -> npt.NDArray[np.intp]:
        """Of the ``days`` columns from ``first_day``, those of the delivery days from ``due`` on, rising."""
        begin = max((due - first_day).days, 0)
        week = np.array(self.delivers)
        return begin + np.flatnonzero(week[(first_day.weekday() + np.arange(begin, max(days, begin))) % 7])

    def quantile(self, level: float, basis: Basis = "stated") -> int:
        """Delivery days of lateness that are not exceeded with at least the probability ``level``."""
        within = np.cumsum(self.late[basis])
        return min(int(within.searchsorted(level - _TIE)), LATE_MOST)


@dataclass(slots=True)
class Lateness:
    """The part ``lateness`` of what a site has learned."""

    suppliers: dict[str, Delays] = field(default_factory=dict)
    _known: tuple[Catalogue, Mapping[str, Punctuality]] | None = field(default=None, compare=False, repr=False)

    # --- what is asked of it ------------------------------------------------------------------------------

    def late_probabilities(self, supplier: Supplier, basis: Basis = "stated") -> Floats:
        """P(late = k) for k = 0 … ``LATE_MOST`` delivery days; sums to 1."""
        return probabilities(self._chances(supplier.id, basis, supplier.late_allowance_days))

    def expected_fill(self, supplier: str) -> float:
        """Share of an outstanding line that its first delivery brings, on average; 1 until something else is seen."""
        delays = self.suppliers.get(supplier)
        return 1.0 if delays is None else (PRIOR_ORDERS + delays.filled) / (PRIOR_ORDERS + delays.lines)

    def delivers_on(self, supplier: str) -> tuple[bool, ...]:
        """By weekday from Monday: whether the supplier delivers on it."""
        delays = self.suppliers.get(supplier)
        if delays is None or delays.orders < WEEKDAYS_KNOWN_FROM:
            return _EVERY_DAY
        return tuple(weight >= WEEKDAY_SHARE_LEAST * delays.orders for weight in delays.weekdays)

    def punctuality(self, catalogue: Catalogue) -> Mapping[str, Punctuality]:
        """What to expect of each supplier of the catalogue; the same object until more is learned or it is let go."""
        if self._known is None or self._known[0] is not catalogue:
            known = dict(stated(catalogue))
            for supplier in catalogue.suppliers.keys() & self.suppliers.keys():
                known[supplier] = self.expect(catalogue.suppliers[supplier])
            self._known = (catalogue, known)
        return self._known[1]

    def let_go(self) -> None:
        """Hold nothing but what was learned: what was worked out of it takes megabytes."""
        self._known = None

    def expect(self, supplier: Supplier) -> Punctuality:
        """What to expect of a supplier."""
        chances = {basis: self._chances(supplier.id, basis, supplier.late_allowance_days) for basis in _BASES}
        delays = self.suppliers.get(supplier.id)
        return Punctuality(
            chances=chances,
            late={basis: probabilities(chances[basis]) for basis in _BASES},
            delivers=self.delivers_on(supplier.id),
            fill=self.expected_fill(supplier.id),
            orders=0.0 if delays is None else delays.orders,
        )

    def _chances(self, supplier: str, basis: Basis, allowance_days: int) -> Floats:
        delays = self.suppliers.get(supplier)
        trials, came = np.zeros((2, LATE_MOST + 1))
        if delays is not None:
            trials[: len(delays.trials[basis])] = delays.trials[basis]
            came[: len(delays.came[basis])] = delays.came[basis]
        first, later = prior_chances(allowance_days)
        w = PRIOR_ORDERS
        pooled = (w * later + came[1:].sum()) / (w + trials[1:].sum())
        chance = (w * pooled + came) / (w + trials)
        chance[0] = (w * first + came[0]) / (w + trials[0])
        chance[-1] = 1.0
        # a delivery told of a day on which it was not due adds to both alike: never above 1 but for rounding
        result: Floats = np.minimum(chance, 1.0)
        return result

    # --- learning -----------------------------------------------------------------------------------------

    def came(  # noqa: PLR0917 (an order, what of it came, and when)
        self, catalogue: Catalogue, site: str, order: Order, quantities: Mapping[str, int], day: date, today: int
    ) -> None:
        """Containers by item came on an order on ``day``; told on the day ``today`` (ordinal), before the order's
        own lines are changed."""
        week = self._week(order.supplier)
        delays = self._aged(order.supplier, max(day.toordinal(), today))
        placed = catalogue.site_day(site, order.placed_at)
        for item, quantity in quantities.items():
            line = order.lines[item]
            asked = line.ordered if line.confirmed is None else line.confirmed
            if not asked or not line.outstanding:
                continue
            weight = min(quantity, line.outstanding) / asked / len(order.lines)
            if line.delivered == 0:
                delays.lines = round(delays.lines + 1 / len(order.lines), _DIGITS)
                delays.filled = round(delays.filled + weight, _DIGITS)
            for basis, stated in due_days(catalogue, order, item, placed):
                due = week.delivery_day(stated)
                _add(delays.trials[basis], week.days_late(due, day), weight)
                _add(delays.came[basis], week.days_late(due, day), weight)
                # told late: meanwhile it was taken for outstanding
                for passed in map(date.fromordinal, range(max(day, due).toordinal(), today)):
                    if week.delivers[passed.weekday()]:
                        _add(delays.trials[basis], week.days_late(due, passed), -weight)
            _add(delays.weekdays, day.weekday(), weight)

    def waited(self, catalogue: Catalogue, site: str, order: Order, day: date) -> bool:
        """The day is over and the order is open: what of it is due has not come. Whether anything was learned."""
        week = self._week(order.supplier)
        if not week.delivers[day.weekday()]:
            return False
        placed, learned = catalogue.site_day(site, order.placed_at), False
        weights: dict[tuple[Basis, date], float] = {}
        for item, line in order.lines.items():
            if outstanding := line.outstanding:
                asked = line.ordered if line.confirmed is None else line.confirmed
                for stated in due_days(catalogue, order, item, placed):
                    weights[stated] = weights.get(stated, 0.0) + outstanding / asked / len(order.lines)
        for (basis, stated_day), weight in weights.items():
            due = week.delivery_day(stated_day)
            if due <= day:
                learned = True
                _add(self._aged(order.supplier, day.toordinal()).trials[basis], week.days_late(due, day), weight)
        return learned

    def _aged(self, supplier: str, day: int) -> Delays:
        self._known = None
        delays = self.suppliers.setdefault(supplier, Delays())
        delays.age(day)
        return delays

    def _week(self, supplier: str) -> Punctuality:
        """A supplier's delivery days alone."""
        return Punctuality({}, {}, self.delivers_on(supplier), 1.0, 0.0)

    def encode(self) -> bytes:
        """See ``Part``."""
        return orjson.dumps(
            {
                "format": _FORMAT,
                "suppliers": {
                    name: [d.as_of, d.trials, d.came, d.weekdays, d.lines, d.filled]
                    for name, d in sorted(self.suppliers.items())
                },
            }
        )

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """See ``Part``."""
        body = orjson.loads(data)
        if body.get("format") != _FORMAT:
            raise ValueError(f"lateness: found format {body.get('format')!r}; expected {_FORMAT}")
        return cls({name: Delays(*values) for name, values in body["suppliers"].items()})


@once
def stated(catalogue: Catalogue) -> Mapping[str, Punctuality]:
    """What to expect of each supplier by the catalogue alone: one object for all sites to which it never delivered."""
    return {supplier.id: Lateness().expect(supplier) for supplier in catalogue.suppliers.values()}


_EVERY_DAY = (True,) * 7


def due_days(catalogue: Catalogue, order: Order, item: str, placed: date) -> Iterator[tuple[Basis, date]]:
    """The day on which a line of an order, placed on the site's day ``placed``, is due, by each basis that says so; the
    promise last, which then counts."""
    if item in catalogue.items:
        yield "stated", placed + timedelta(days=catalogue.stated_lead_days(item))
    if order.promised is not None:
        yield "promised", order.promised


def probabilities(chances: Floats) -> Floats:
    """P(late = k) from the chances h(k)."""
    result: Floats = chances * np.concatenate(([1.0], np.cumprod(1.0 - chances[:-1])))
    return result


def prior_chances(allowance_days: int) -> tuple[float, float]:
    """(p0, p1): the stated chance that an order comes on the day it is due, and on each day after if it did not."""
    if allowance_days == 0:
        return 1.0, LATE_AND_UNSTATED
    chance = 1.0 - EXCEEDS_ALLOWANCE ** (1 / (allowance_days + 1))
    return chance, chance


def close_day(state: SiteState, catalogue: Catalogue, touched: Touched) -> None:
    """The day ``state.today`` is over: what is outstanding and due has not come on it."""
    day = date.fromordinal(state.today)
    for _, order in sorted(state.orders.items(), key=itemgetter(0)):
        if order.status == "open" and state.learned.lateness.waited(catalogue, state.site, order, day):
            touched.learned.add("lateness")
