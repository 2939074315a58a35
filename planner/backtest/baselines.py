"""Simple methods to measure a forecast against, computed from the same books and no more knowledge.

Each forecasts the total over a lead as a base plus (or times) the empirical distribution of its own errors at that
lead: those of earlier origins whose whole lead was settled at the origin.

- booked only: what is on the books, as a requirements planning (MRP) sees it. It has no errors: every quantile is
  the same.
- seasonal naive: each day as the last settled day of the same weekday, or the mean of the last four.
- additive pickup: on the books + (what took place − what had been on the books at that lead) of earlier origins.
- multiplicative pickup: on the books × (what took place ÷ what had been on the books).

The pickup methods are the classical ones of revenue management (L'Heureux 1986, "A new twist in forecasting
short-term passenger pickup", AGIFORS 26; Weatherford & Kimes 2003, "A comparison of forecasting methods for hotel
revenue management", International Journal of Forecasting 19), on totals over a fixed window of past origins.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, Protocol

import numpy as np

from planner.backtest.history import Book, Days
from planner.forecast.outlook import Floats
from planner.messages import QUANTILES

PICKUP_WINDOWS_DAYS: Final = (28, 56, 90, 180, 365)
ERRORS_DAYS: Final = 365
"""Origins whose errors a method without a window of its own learns its spread from."""
_WEEK = 7


class Forecasts(NamedTuple):
    """Of the total over a lead, by origin: quantiles of shape (origins, levels) and mean of shape (origins,)."""

    quantiles: Floats
    mean: Floats


class Baseline(Protocol):
    """A method that forecasts totals from a book."""

    @property
    def name(self) -> str:
        """What it is called in tables and files."""
        ...

    def forecast(self, book: Book, origins: Days, leads: Sequence[int]) -> dict[int, Forecasts]:
        """Lead (days) → forecasts at ``origins`` (days of the book, rising). At an origin o nothing of the book may
        be read but rows of ``on_books`` through o and ``told`` before ``settled[o]``."""
        ...


class ByLead:
    """A baseline that treats each lead by itself."""

    def __init__(self, name: str, at_lead: Callable[[Book, Days, int], Forecasts]) -> None:
        self.name = name
        self._at_lead = at_lead

    def forecast(self, book: Book, origins: Days, leads: Sequence[int]) -> dict[int, Forecasts]:
        """See ``Baseline``."""
        return {lead: self._at_lead(book, origins, lead) for lead in leads}


def baselines() -> list[Baseline]:
    """All of this module."""
    found: list[Baseline] = [
        ByLead("booked", booked_only),
        ByLead("seasonal-naive", lambda book, origins, lead: seasonal_naive(book, origins, lead, 1)),
        ByLead("seasonal-naive-4w", lambda book, origins, lead: seasonal_naive(book, origins, lead, 4)),
    ]
    for days in PICKUP_WINDOWS_DAYS:
        found.append(ByLead(f"additive-{days}d", _additive(days)))
    for days in PICKUP_WINDOWS_DAYS:
        found.append(ByLead(f"multiplicative-{days}d", _multiplicative(days)))
    return found


def _additive(days: int) -> Callable[[Book, Days, int], Forecasts]:
    return lambda book, origins, lead: additive_pickup(book, origins, lead, days)


def _multiplicative(days: int) -> Callable[[Book, Days, int], Forecasts]:
    return lambda book, origins, lead: multiplicative_pickup(book, origins, lead, days)


def booked_only(book: Book, origins: Days, lead: int) -> Forecasts:
    """What is on the books, for certain."""
    booked = book.booked(lead)[origins]
    return Forecasts(np.repeat(booked[:, None], len(QUANTILES), axis=1), booked)


def additive_pickup(book: Book, origins: Days, lead: int, window_days: int) -> Forecasts:
    """On the books plus what the last ``window_days`` settled origins still picked up."""
    booked = book.booked(lead)
    totals = book.totals(lead)
    errors = totals - booked[: totals.size]
    return with_errors(book, origins, lead, base=booked[origins], errors=errors, window_days=window_days)


def multiplicative_pickup(book: Book, origins: Days, lead: int, window_days: int) -> Forecasts:
    """On the books times the growth of the last ``window_days`` settled origins; those with nothing on the books
    teach nothing, and at such an origin nothing is forecast."""
    booked = book.booked(lead)
    totals = book.totals(lead)
    growth = np.divide(totals, booked[: totals.size], out=np.full(totals.size, np.nan), where=booked[: totals.size] > 0)
    rows = []
    for origin in origins:
        known = _known(growth, book, int(origin), lead, window_days)
        known = known[~np.isnan(known)]
        rows.append(_distribution(known) * booked[origin] if known.size else np.full(_WIDTH, booked[origin]))
    return _as_forecasts(rows)


def seasonal_naive(book: Book, origins: Days, lead: int, weeks: int) -> Forecasts:
    """Each day as the mean of the last ``weeks`` settled days of its weekday, and the errors that this made."""
    days = len(book.told)
    base = np.zeros(days)
    for ahead in range(1, lead + 1):
        target = np.arange(days) + ahead
        # the last day of that weekday before ``settled``
        last = target - _WEEK * np.ceil((target - book.settled + 1) / _WEEK).astype(np.intp)
        for week in range(weeks):
            day = last - _WEEK * week
            base += np.where(day >= 0, book.told[np.maximum(day, 0)], 0.0) / weeks
    totals = book.totals(lead)
    return with_errors(book, origins, lead, base=base[origins], errors=totals - base[: totals.size])


def with_errors(
    book: Book, origins: Days, lead: int, *, base: Floats, errors: Floats, window_days: int = ERRORS_DAYS
) -> Forecasts:
    """A base forecast at each origin plus the distribution of the errors known there; never below 0.

    Args:
        base: shape (origins,).
        errors: outcome − base of each day as origin, shape (days − lead,).
        window_days: the last so many known ones count. Where none is known, the base stands alone.
    """
    rows = []
    for at, origin in enumerate(origins):
        known = _known(errors, book, int(origin), lead, window_days)
        rows.append(base[at] + (_distribution(known) if known.size else np.zeros(_WIDTH)))
    return _as_forecasts(rows)


_WIDTH = len(QUANTILES) + 1


def _known(values: Floats, book: Book, origin: int, lead: int, window_days: int) -> Floats:
    """Values of the last origins whose whole lead was settled at the end of ``origin``: o' + lead < settled."""
    until = max(int(book.settled[origin]) - lead, 0)
    return values[max(until - window_days, 0) : until]


def _distribution(values: Floats) -> Floats:
    """Empirical quantiles (linear between order statistics: Hyndman & Fan 1996, type 7) and, last, the mean."""
    return np.append(np.quantile(values, QUANTILES), values.mean())


def _as_forecasts(rows: Sequence[Floats]) -> Forecasts:
    table = np.maximum(np.reshape(rows, (len(rows), _WIDTH)), 0.0)
    return Forecasts(table[:, :-1], table[:, -1])
