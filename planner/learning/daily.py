"""What the end of a site's day teaches: each part learns from the day that is over, in a fixed order."""

from __future__ import annotations

from datetime import date

import numpy as np

from planner.catalogue.index import Catalogue
from planner.forecast.outlook import Floats
from planner.learning import daily_use, lateness, scoring
from planner.learning.booked import Booked
from planner.learning.series_day import close_series
from planner.messages import HORIZON_DAYS
from planner.site.state import SETTLE_DAYS, SiteState
from planner.site.touched import Touched


def close_day(state: SiteState, catalogue: Catalogue, touched: Touched) -> None:
    """The site's day ``state.today`` is over: nothing more happens on it. Called once per day, in turn.

    What became of its sessions may still be told for ``SETTLE_DAYS``.
    """
    if state.site not in catalogue.sites:
        return
    learned = state.learned
    close_series(state, catalogue)
    _close_book(state, catalogue)
    path = learned.book.path(catalogue, state.site, learned.book.today)
    booked = Booked.of(state.demand, state.today + 1)
    learned.keep.close_day(learned.losses, booked, path.hazard)
    learned.keep.balance_day(booked, path.survives, path.missed)
    scoring.close_day(state, catalogue, touched)
    daily_use.close_day(state, catalogue, touched)
    lateness.close_day(state, catalogue, touched)
    touched.learned.update(("book", "running", "keep", "losses", "series", "continued"))


def _close_book(state: SiteState, catalogue: Catalogue) -> None:
    book, running = state.learned.book, state.learned.running
    today = state.today
    if book.today != today:
        # the first day, or days went by unseen: what is there is the book as it was found
        book.today = today
        running.next_day()
        running.whole = False
        running.settled = today - 1
    on_book = np.array([len(state.by_day.get(today + ahead, ())) for ahead in range(HORIZON_DAYS + 1)], np.float64)
    series = state.learned.series
    first = date.fromordinal(today + 1)
    more: Floats = np.zeros(HORIZON_DAYS)
    for protocol in series.protocols():
        more += series.implied(protocol, first, HORIZON_DAYS).mean
    book.close(catalogue, state.site, running, on_book=on_book, settled=_settled(state), more=more)


def _settled(state: SiteState) -> dict[int, float]:
    """Days that are settled from today on, in turn: all is told, or it is too late to wait. → sessions untold."""
    settled: dict[int, float] = {}
    for day in range(state.learned.running.settled + 1, state.today + 1):
        untold = len(state.by_day.get(day, ()))
        if untold and day > state.today - SETTLE_DAYS:
            break
        settled[day] = float(untold)
    return settled
