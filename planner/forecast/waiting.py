"""Outstanding orders as random arrivals.

Of each outstanding line it is known with which probability it has come by the end of each day (``planner.learning.
lateness``). Supply through a day is then random, and so is what is short: a mixture, over which of the lines that may
or may not have come by that day have,

    P(short) = Σ_s P(s) P(need > supply with s)

Lines are late independently of each other and of need. (Orders of one supplier that are late together make shortages
rarer and deeper; orders do not cross where it matters, since the later is placed for the later need: see H. Scarf et
al., *Multistage Inventory Models and Techniques*, 1963, ch. 10 (Kaplan 1970), for why that is as good.) The mixture is
exact for ``UNCERTAIN_MOST`` lines of an item that are uncertain on the same day; of any beyond these the mean is taken.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from operator import itemgetter
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from planner.catalogue.index import Catalogue
from planner.catalogue.model import Supplier
from planner.forecast.outlook import Floats
from planner.learning.lateness import Lateness, Punctuality, due_days, probabilities
from planner.site.state import Announcement, Order, OrderLine, SiteState

CERTAIN: Final = 2e-4
"""A line is taken to have come, or not to have, when it is otherwise with less than this probability."""
UNCERTAIN_MOST: Final = 4
LIKELY: Final = 0.5
"""A line counts in the expected course from the day on which it has come with this probability."""
WAITED_MOST: Final = 30
"""Delivery days: an order that is later than this is no more expected to come tomorrow than after this."""
_REST_LEAST: Final = 0.5
"""Containers of a part delivery's rest that are worth a line of their own."""

_REMEMBERED_MOST: Final = 256

Columns = npt.NDArray[np.intp]


class Expected(NamedTuple):
    """Containers of an item that an order is still to bring. ``arrived``: P(they have come by the end of each day)."""

    order: Order
    item: str
    quantity: float
    arrived: Floats

    def column(self) -> int | None:
        """The first day on which they have probably come; None: not within the horizon."""
        likely = self.arrived >= LIKELY
        return int(likely.argmax()) if likely[-1] else None


class _Mixtures(NamedTuple):
    """What may have come, of every row and day."""

    number: Columns
    """Of a cell among those of which it is uncertain, −1 of the others; shape (rows, days)."""
    sure: Floats
    """Containers that have come, where it is certain; same shape."""
    begins: Columns
    """Number → its first entry; the last one is the number of entries."""
    probability: Floats
    containers: Floats


@dataclass(frozen=True, eq=False)
class Waiting:
    """The outstanding lines of a site, by row of its outlook; arrays are not to be written to."""

    begins: Columns
    """Row → its first line; the last entry is their number."""
    quantity: Floats
    arrived: Floats
    """Shape (lines, days)."""

    @property
    def most(self) -> int:
        """Lines of the item that has most of them."""
        return int(np.diff(self.begins).max(initial=0))

    def uncertain(self) -> tuple[Columns, Columns]:
        """(rows, columns) on which it is uncertain what has come, each once."""
        open_ = (self.arrived > CERTAIN) & (self.arrived < 1 - CERTAIN)
        row = np.repeat(np.arange(self.begins.size - 1), np.diff(self.begins))
        lines, columns = np.nonzero(open_)
        cells = np.unique(row[lines] * open_.shape[1] + columns)
        return cells // open_.shape[1], cells % open_.shape[1]

    def spread(self, rows: Columns, columns: Columns) -> tuple[Columns, Floats, Floats]:
        """What may have come by the days ``columns`` of the items ``rows``: arrays (cell, probability, containers),
        for each cell at least one entry, in the order of cells, each number of containers once; its probabilities sum
        to 1."""
        known = self._mixtures
        number = known.number[rows, columns]
        open_ = number >= 0
        if not open_.any():
            return np.arange(rows.size), np.ones(rows.size), known.sure[rows, columns]
        first = np.where(open_, known.begins[number], 0)
        length = np.where(open_, known.begins[number + 1] - first, 1)
        at = np.repeat(np.arange(rows.size), length)
        entry = np.arange(at.size) + np.repeat(first - (np.cumsum(length) - length), length)
        many = open_[at]
        probability = np.where(many, known.probability[entry], 1.0)
        return at, probability, np.where(many, known.containers[entry], known.sure[rows, columns][at])

    @cached_property
    def _mixtures(self) -> _Mixtures:
        rows, columns = self.uncertain()
        shape = self.begins.size - 1, self.arrived.shape[1]
        number = np.full(shape, -1, np.intp)
        number[rows, columns] = np.arange(rows.size)
        at, probability, containers = self._mix(rows, columns)
        sure = np.zeros(shape)
        row = np.repeat(np.arange(shape[0]), np.diff(self.begins))
        np.add.at(sure, row, self.quantity[:, None] * (self.arrived >= 1 - CERTAIN))
        begins = np.searchsorted(at, np.arange(rows.size + 1))
        return _Mixtures(number, sure, begins, probability, containers)

    def _mix(self, rows: Columns, columns: Columns) -> tuple[Columns, Floats, Floats]:
        """See ``spread``, of which this is the work."""
        at = np.arange(rows.size)
        probability, containers = np.ones(rows.size), np.zeros(rows.size)
        splits = np.zeros(rows.size, np.intp)
        for rank in range(self.most):
            line = self.begins[rows[at]] + rank
            there = line < self.begins[rows[at] + 1]
            line = np.where(there, line, 0)
            came = np.where(there, self.arrived[line, columns[at]], 0.0)
            came = np.where(came >= 1 - CERTAIN, 1.0, np.where(came <= CERTAIN, 0.0, came))
            quantity = np.where(there, self.quantity[line], 0.0)
            open_ = (came > 0) & (came < 1) & (splits < UNCERTAIN_MOST)
            late = open_.nonzero()[0]
            more = np.where(open_, quantity, quantity * came)
            at = np.concatenate((at, at[late]))
            rest = probability[late] * (1 - came[late])
            probability = np.concatenate((np.where(open_, probability * came, probability), rest))
            containers = np.concatenate((containers + more, containers[late]))
            splits = np.concatenate((splits + open_, splits[late] + 1))
        # orders of one item are often alike: of four that may have come it matters how many have
        order = np.lexsort((containers, at))
        at, containers = at[order], containers[order]
        first = np.flatnonzero(np.r_[at.size > 0, (np.diff(at) > 0) | (np.diff(containers) > 0)])
        return at[first], np.add.reduceat(probability[order], first), containers[first]


NONE_WAITING: Final = Waiting(np.zeros(1, np.intp), np.zeros(0), np.zeros((0, 1)))


def waiting_of(expected: Iterable[Expected], index: Mapping[str, int], days: int) -> Waiting:
    """The lines of the items in ``index`` (item → row), in the order of their rows and then as they come."""
    lines = sorted(((index[e.item], e) for e in expected if e.item in index), key=lambda pair: pair[0])
    counts = np.bincount([row for row, _ in lines], minlength=len(index)) if lines else np.zeros(len(index), np.intp)
    return Waiting(
        begins=np.concatenate(([0], np.cumsum(counts))).astype(np.intp),
        quantity=np.array([e.quantity for _, e in lines]),
        arrived=np.array([e.arrived for _, e in lines]) if lines else np.zeros((0, days)),
    )


def expected_lines(state: SiteState, catalogue: Catalogue, today: date, days: int) -> list[Expected]:
    """What open orders are still to bring and when, in the order of their ids and items: sums are the same to the bit
    whatever the order in which they were told or restored."""
    known = state.learned.lateness.punctuality(catalogue)
    found: list[Expected] = []
    for _, order in sorted(state.orders.items(), key=itemgetter(0)):
        if order.status != "open":
            continue
        punctuality = known.get(order.supplier) or unknown_supplier(order.supplier)
        placed = catalogue.site_day(state.site, order.placed_at)
        for item, line in sorted(order.lines.items(), key=itemgetter(0)):
            if line.outstanding <= 0 or item not in catalogue.items:
                continue
            *_, (basis, due) = due_days(catalogue, order, item, placed)
            promised = basis == "promised"
            quantity = line.outstanding * share_sent(state, catalogue, order, item, line)
            first = quantity if line.delivered else quantity * punctuality.fill
            rest = quantity - first
            if rest < _REST_LEAST:
                first, rest = quantity, 0.0
            found.append(Expected(order, item, first, arrival(punctuality, due, today, days, promised=promised)))
            if rest:
                late = arrival(punctuality, due, today, days, promised=promised, rest=True)
                found.append(Expected(order, item, rest, late))
    return found


def share_sent(state: SiteState, catalogue: Catalogue, order: Order, item: str, line: OrderLine) -> float:
    """Of an order that is not confirmed, the share that its supplier has announced to send; else 1."""
    if line.confirmed is not None or order.promised is not None or not state.announced:
        return 1.0
    placed = catalogue.site_day(state.site, order.placed_at)
    told = announcement(state, order.supplier, item)
    return float(told.share) if told is not None and told.first_day <= placed <= told.last_day else 1.0


def announcement(state: SiteState, supplier: str, item: str) -> Announcement | None:
    """What a supplier last announced of an item: of the item itself, else of all that it delivers."""
    return state.announced.get(f"{supplier}/{item}") or state.announced.get(supplier)


def unknown_supplier(supplier: str) -> Punctuality:
    """Of a supplier that the catalogue no longer has."""
    return Lateness().expect(Supplier(id=supplier, name=supplier, lead_time_days=0))


def arrival(
    punctuality: Punctuality, due: date, today: date, days: int, *, promised: bool, rest: bool = False
) -> Floats:
    """P(it has come by the end of each of ``days`` days from ``today``) of what has not come before today. Not to be
    written to.

    Args:
        rest: of what the first delivery will leave out, which comes as what is late does.
    """
    key = (due, today, days, promised, rest)
    known = punctuality.arrivals.get(key)
    if known is None:
        if len(punctuality.arrivals) > _REMEMBERED_MOST:
            punctuality.arrivals.clear()
        known = punctuality.arrivals[key] = _arrival(punctuality, due, today, days, promised, rest)
    return known


def _arrival(  # noqa: PLR0917 (the key of the cache, in its order)
    punctuality: Punctuality, due: date, today: date, days: int, promised: bool, rest: bool
) -> Floats:
    chances = punctuality.chances["promised" if promised else "stated"]
    due = punctuality.delivery_day(due)
    if due < today:
        # today, or the next delivery day, is its next trial
        waited = punctuality.days_late(due, today - timedelta(days=1)) + 1
        due = today
    else:
        waited = 0
    left = probabilities(chances[min(max(waited, int(rest)), WAITED_MOST) :])
    columns = punctuality.columns(today, due, days)
    if rest and waited == 0:
        columns = columns[1:]
    arrived = np.zeros(days)
    arrived[columns[: left.size]] = left[: columns.size]
    return np.minimum(np.cumsum(arrived), 1.0)
