"""What was on the books and what took place, by day: one site's, as it was known at the end of each day.

Days are counted from the first of the log. A day is *settled* when no booking of it waits for its end to be told, or
``SETTLE_DAYS`` after it. Simple methods learn from settled days alone, as they were told by then; what is told later
still counts in ``realised``.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
import numpy.typing as npt

from planner.backtest.series import Weights
from planner.forecast.outlook import Floats
from planner.site.state import SETTLE_DAYS, SiteState

Days = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Book:
    """One series of one site, or of several together.

    ``on_books[o, k]``: known at the end of day o for day o + 1 + k, if all bookings were kept; shape (days, horizon).
    ``told[d]``: what took place on day d, as told when the day was settled; shape (days,).
    ``settled[o]``: days before this one were all settled at the end of day o; shape (days,).
    ``realised[d]``: what took place on day d, whenever it was told; shape (days,). For scoring only.
    """

    on_books: Floats
    told: Floats
    settled: Days
    realised: Floats

    def totals(self, lead: int) -> Floats:
        """What took place as told over the ``lead`` days after each day; shape (days − lead,)."""
        return running_totals(self.told, lead)

    def booked(self, lead: int) -> Floats:
        """On the books at the end of each day for the ``lead`` days after it; shape (days,)."""
        total: Floats = self.on_books[:, :lead].sum(axis=1)
        return total


def running_totals(values: Floats, lead: int) -> Floats:
    """Sum of the ``lead`` values after each; shape (n − lead,), empty where there are not so many."""
    sums = np.concatenate(([0.0], np.cumsum(values)))
    return sums[lead + 1 :] - sums[1 : len(sums) - lead]


class History:
    """Books of all series of one site, filled day by day."""

    def __init__(self, first: date, days: int, horizon: int, weights: Weights, series: int) -> None:
        self._first = first.toordinal()
        self._horizon = horizon
        self._weights = weights
        self._on_books = np.zeros((days, horizon, series))
        self._told = np.zeros((days, series))
        self._realised = np.zeros((days, series))
        self._settled = np.zeros(days, dtype=np.intp)
        self._settled_before = 0
        self.begins: int | None = None
        """The first day by whose end anything of the site was known; None: none yet."""

    def take(self, session_day: date, amounts: Floats) -> None:
        """A session was told as completed; ``amounts`` by series. Outside the log's days it counts nowhere."""
        at = session_day.toordinal() - self._first
        if 0 <= at < len(self._realised):
            self._realised[at] += amounts

    def close(self, day: date, state: SiteState | None) -> None:
        """The site's day is over; ``state`` as it is then, None if nothing of it is known."""
        at = day.toordinal() - self._first
        if state is not None:
            if self.begins is None:
                self.begins = at
            for ahead in range(self._horizon):
                counts = state.demand.get(day.toordinal() + 1 + ahead)
                if counts:
                    row = self._on_books[at, ahead]
                    for (_, profile), n in counts.items():
                        row += n * self._weights.of_profile(state.profiles[profile])
        while self._settled_before <= at and self._is_settled(self._settled_before, at, state):
            self._told[self._settled_before] = self._realised[self._settled_before]
            self._settled_before += 1
        self._settled[at] = self._settled_before

    def _is_settled(self, day: int, today: int, state: SiteState | None) -> bool:
        return day <= today - SETTLE_DAYS or state is None or not state.demand.get(self._first + day)

    def book(self, series: int) -> Book:
        """The book of one series."""
        return Book(self._on_books[:, :, series], self._told[:, series], self._settled, self._realised[:, series])


def together(books: list[Book]) -> Book:
    """The sum of several sites' books of the same days and horizon."""
    return Book(
        on_books=np.sum([book.on_books for book in books], axis=0),
        told=np.sum([book.told for book in books], axis=0),
        settled=np.min([book.settled for book in books], axis=0),
        realised=np.sum([book.realised for book in books], axis=0),
    )
