"""How much is missing until the next order comes, when that and what is on order arrive at random.

An order placed now arrives on day A; the one of the next chance is due on day N, and comes K delivery days late. What
is ordered now must last until then, so with y containers more the risk is

    R(y) = Σ_k P(K = k) max { P(need through d > supply through d + y) : A ≤ d < N + k }

with the supply through d itself a mixture over what is on order (``planner.forecast.waiting``). This is the (R, S) rule
with random lead times: distributions of need are mixed over the lead time, not their means and variances (G. D. Eppen,
R. K. Martin, "Determining safety stock in the presence of stochastic lead time and demand", *Management Science* 34
(1988) 1380–1390). The order is the least y with R(y) ≤ the accepted risk, so supply + y is the order-up-to level S:

    Σ_k P(K = k) P(need until the next order comes k days late > S) ≤ 1 − service level

Booked sessions are advance demand information; base stock on the *modified* position, supply less what is booked,
stays optimal (G. Gallego, Ö. Özer, "Integrating Replenishment Decisions with Advance Demand Information", *Management
Science* 47 (2001) 1344–1360): S moves with the book, one for one.

Orders of the chances after the next one are late independently of it; what they bring on average is added to the supply
(``planner.reorder.windows``). The largest value over the days up to d is taken, since a delivery during the interval
does not help the days before it. For ``fill`` it is the expected number of containers short by d over the need of a
cycle, where what is short before this order arrives is lost and counts no more; for money the risk less what waste
counts against it (``planner.reorder.levels``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import copy
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import special

from planner.catalogue.model import Item
from planner.forecast.loss import loss
from planner.forecast.outlook import Floats, Outlook
from planner.forecast.quantiles import MAXIMUM_LEVEL, quantiles, survival
from planner.forecast.waiting import CERTAIN
from planner.reorder.levels import Levels

_ROUNDING: Final = 1e-9
_FRACTIONS: Final[Floats] = np.arange(7) / 6
_WIDTH_LEAST: Final = 8.0
_WIDEN: Final = 4.0
_SEARCHES_MOST: Final = 40

Rows = npt.NDArray[np.intp]


class Cover:
    """Some items of an outlook, and what they must last until.

    Args:
        rows: of the outlook.
        arrives: column in which an order placed now arrives, by item of the outlook.
        ends: P(the protection interval ends with column d), shape (items, days).
        more_supply: containers that later orders bring for certain, shape (items, days); None: none.
    """

    def __init__(  # noqa: PLR0917
        self,
        outlook: Outlook,
        levels: Levels,
        items: Sequence[Item],
        rows: Sequence[int],
        arrives: Sequence[int],
        ends: Floats,
        more_supply: Floats | None = None,
    ) -> None:
        self._outlook, self._levels = outlook, levels
        self.rows: Rows = np.asarray(rows, np.intp)
        self._items = [items[row] for row in rows]
        self._arrives = np.asarray(arrives, np.intp)[self.rows]
        self._base = (outlook.supply if outlook.base is None else outlook.base)[self.rows]
        self._more = np.zeros_like(self._base) if more_supply is None else more_supply[self.rows]
        self._base = self._base + self._more
        taken, spread, lost = outlook.taken()
        self._lay_out(ends[self.rows])
        row = self.rows[self._row]
        self._at, self._probability, came = self._spread(row, self._column)
        self._mean = taken[row, self._column][self._at]
        self._variance = spread[row, self._column][self._at]
        self._stock = (self._base[self._row, self._column] + lost[row, self._column])[self._at] + came
        self._of = self._row[self._at]
        self._lost_before = self._short_before() if levels.fill else np.zeros(self.rows.size)
        self.decisive: Rows = np.zeros(self.rows.size, np.intp)
        """By item the column on which most is missing, once ``needed`` was asked for."""

    def _lay_out(self, ends: Floats) -> None:
        """The cells (item, day) that matter: where the interval may end, and before a delivery (need only rises, so
        between two deliveries the last day is the worst)."""
        days = ends.shape[1]
        column = np.arange(days)
        last = days - 1 - (ends[:, ::-1] > 0).argmax(axis=1)
        window = (column >= np.minimum(self._arrives, last)[:, None]) & (column <= last[:, None])
        rising = np.zeros_like(window)
        rising[:, :-1] = np.diff(self._base, axis=1) > _ROUNDING
        waiting = self._outlook.waiting
        if waiting is not None and waiting.quantity.size:
            comes = np.diff(waiting.arrived, axis=1) > CERTAIN
            for number, row in enumerate(self.rows.tolist()):
                begin, end = waiting.begins[row], waiting.begins[row + 1]
                if end > begin:
                    rising[number, :-1] |= comes[begin:end].any(axis=0)
        self._row, self._column = np.nonzero(window & ((ends > 0) | rising))
        counts = np.bincount(self._row, minlength=self.rows.size)
        self._place = np.arange(self._row.size) - np.repeat(np.cumsum(counts) - counts, counts)
        self._ends: Floats = np.zeros((self.rows.size, int(counts.max(initial=1))))
        self._ends[self._row, self._place] = ends[self._row, self._column]

    def _spread(self, rows: Rows, columns: Rows) -> tuple[Rows, Floats, Floats]:
        waiting = self._outlook.waiting
        if waiting is None or not waiting.quantity.size:
            return np.arange(rows.size), np.ones(rows.size), np.zeros(rows.size)
        return waiting.spread(rows, columns)

    # --- R(y) ---------------------------------------------------------------------------------------------

    def risk(self, more: Floats) -> Floats:
        """What is to be compared with ``levels.allowed``, with ``more`` containers more: shape (…, items), as more."""
        stock = self._stock + (more + self._lost_before)[..., self._of] + _ROUNDING
        tail = loss if self._levels.fill else survival
        short = self._probability * tail(self._mean, self._variance, stock)
        if self._at.size > self._row.size:
            first = np.flatnonzero(np.diff(self._at, prepend=-1))  # entries are in the order of their cells
            short = np.add.reduceat(short, first, axis=-1)
        table = np.zeros((*more.shape[:-1], *self._ends.shape))
        table[..., self._row, self._place] = short
        result: Floats = (np.maximum.accumulate(table, axis=-1) * self._ends).sum(axis=-1)
        if self._levels.fill:
            return result / self._levels.cycle_need[self.rows]
        wasted = self._levels.waste[self.rows]
        if wasted.any():
            result -= wasted * self._unused(more)
        return result

    def _short_before(self) -> Floats:
        """Containers expected short when this order arrives: it cannot help these, and need not bring them."""
        before = self._arrives - 1
        there = before >= 0
        at = np.maximum(before, 0)
        outlook = self._outlook
        short = loss(
            outlook.cumulative_mean[self.rows, at],
            outlook.cumulative_variance[self.rows, at],
            outlook.supply[self.rows, at] + _ROUNDING,
        )
        return np.where(there, short, 0.0)

    def _unused(self, more: Floats) -> Floats:
        """P(the last container of an order placed now is left when it expires), as far as the horizon reaches."""
        outlook, days = self._outlook, self._base.shape[1]
        last = self._arrives + [item.shelf_life_days - 1 for item in self._items]
        inside = last < days
        at = np.minimum(last, days - 1)
        reached = survival(
            outlook.cumulative_mean[self.rows, at],
            outlook.cumulative_variance[self.rows, at],
            np.ceil(outlook.supply[self.rows, at] + more - _ROUNDING) - 1,
        )
        return np.where(inside, 1.0 - reached, 0.0)

    # --- the order ----------------------------------------------------------------------------------------

    def needed(self) -> Floats:
        """The least number of containers more with which the risk is accepted (negative: so many are spare), such
        that the supply on the decisive day is whole; where sessions take several at once, in whole portions."""
        allowed = self._levels.allowed[self.rows]
        if self._is_plain():
            return self._in_portions(self._guess(allowed, exact=True))
        found = self._search(self._guess(allowed, exact=False), allowed)
        return self._in_portions(np.maximum(found, self._empty()) if self._levels.fill else found)

    def _in_portions(self, needed: Floats) -> Floats:
        """As many more that what is on hand and on order are whole portions: fewer serve no session more, and what was
        left over from a portion is used with them."""
        portions = self._outlook.need.portions
        if portions.keys().isdisjoint(item.id for item in self._items):
            return needed
        portion = np.array([portions.get(item.id, 1) for item in self._items], np.float64)
        position = self._outlook.position[self.rows]
        whole = np.ceil((position + needed - _ROUNDING) / portion) * portion - position
        return np.where((portion > 1) & (needed > 0), whole, needed)

    def _empty(self) -> Floats:
        """1 for an item that is needed and of which no container will be there: the formula for the fill rate lets what
        is short wait for stock, so that with a large lot it would order once enough waits. Patients do not wait."""
        last = np.minimum(self._arrives, self._base.shape[1] - 1)
        nothing = self._base[np.arange(self.rows.size), last] < 1
        needed = self._outlook.cumulative_mean[self.rows, last] >= 1
        return np.where(nothing & needed, 1.0, -math.inf)

    def _search(self, guess: Floats, allowed: Floats) -> Floats:
        """The least y, whole containers from ``guess``, with R(y) ≤ ``allowed``: R, which only falls, at many y at
        once (a call of numpy costs more than a few hundred figures), then closer between two of them."""
        spread = np.zeros(self.rows.size)
        np.maximum.at(spread, self._of, np.sqrt(self._variance))
        least = np.zeros(self.rows.size)
        np.minimum.at(least, self._of, -self._stock)
        least -= 1 + spread  # nothing is usable on any day: whoever accepts that, needs nothing
        width = np.maximum(np.ceil(2 * spread), _WIDTH_LEAST)
        low, high = guess - width, guess + width
        result = np.empty(self.rows.size)
        part, of = self, np.arange(self.rows.size)
        for _ in range(_SEARCHES_MOST):
            # ends: between two values the width falls to a sixth, beyond them it grows fourfold
            grid = low + np.floor(_FRACTIONS[:, None] * (high - low))
            enough = part.risk(grid) <= allowed + _ROUNDING
            none, first = ~enough[-1], enough.argmax(axis=0)
            all_ = enough[0] & (low > least)
            width = np.where(none | all_, width * _WIDEN, width)
            at, item = np.maximum(first, 1), np.arange(of.size)
            low, high = (
                np.where(none, high, np.where(all_, low - width, grid[at - 1, item])),
                np.where(none, high + width, np.where(all_, low, grid[at, item])),
            )
            result[of] = high
            going = np.flatnonzero(none | all_ | (high - low > 1 + _ROUNDING))
            if not going.size:
                break
            if going.size <= of.size / 2:  # of those that are found nothing more is asked
                part, of = part._only(going), of[going]
                low, high, width, least, allowed = (x[going] for x in (low, high, width, least, allowed))
        return result

    def _only(self, some: Rows) -> Cover:
        """Some of the items, by their place."""
        part = copy(self)
        number = np.full(self.rows.size, -1, np.intp)
        number[some] = np.arange(some.size)
        cells, entries = number[self._row] >= 0, number[self._of] >= 0
        part.rows, part._arrives = self.rows[some], self._arrives[some]
        part._items = [self._items[item] for item in some.tolist()]
        part._base, part._ends, part._lost_before = self._base[some], self._ends[some], self._lost_before[some]
        part._row, part._column, part._place = number[self._row[cells]], self._column[cells], self._place[cells]
        part._at, part._of = (np.cumsum(cells) - 1)[self._at[entries]], number[self._of[entries]]
        part._probability, part._stock = self._probability[entries], self._stock[entries]
        part._mean, part._variance = self._mean[entries], self._variance[entries]
        return part

    def _guess(self, allowed: Floats, *, exact: bool) -> Floats:
        """The answer if everything came in the expected course and the next order as late as it is at the level; not
        ``exact``: with need distributed normally."""
        within = np.cumsum(self._ends, axis=1) - self._ends < 1 - allowed[:, None] - _ROUNDING
        cells = within[self._row, self._place]
        row, column = self._row[cells], self._column[cells]
        outlook = self._outlook
        taken, spread, lost = outlook.taken()
        at = self.rows[row], column
        mean, variance = taken[at], spread[at]
        supply = outlook.supply[at] + lost[at] + self._more[row, column]
        if exact:
            level = np.zeros(row.size)
            for value in np.unique(allowed[row]).tolist():
                same = allowed[row] == value
                level[same] = quantiles(mean[same], variance[same], (min(1 - value, MAXIMUM_LEVEL),))[0]
        else:
            level = np.ceil(mean - special.ndtri(allowed[row]) * np.sqrt(variance))
        missing = level - supply
        result = np.full(self.rows.size, -math.inf)
        np.maximum.at(result, row, missing)
        first = np.flatnonzero(missing == result[row])[::-1]
        self.decisive[row[first]] = column[first]
        return result

    def _is_plain(self) -> bool:
        """Whether nothing is random but need, and the risk is that of running out: then the guess is exact."""
        if self._levels.fill or self._levels.waste[self.rows].any():
            return False
        return bool((self._probability == 1).all() and ((self._ends > 0).sum(axis=1) == 1).all())
