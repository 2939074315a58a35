"""What a change of a booking teaches, as it happens: a few numbers, O(1)."""

from __future__ import annotations

from typing import Literal

from planner.learning.curve import BAND_OF
from planner.learning.keep import Kind
from planner.learning.series import NewSession
from planner.messages import HORIZON_DAYS
from planner.site.segment import parse
from planner.site.state import LIVE, BookingEntry, SiteState
from planner.site.touched import Touched

Reason = Literal["moved", "cancelled", "missed"]


def observe(
    state: SiteState, before: BookingEntry | None, entry: BookingEntry, reason: Reason | None, touched: Touched
) -> None:
    """A booking was ``before`` and is ``entry`` now; ``reason``: why it was withdrawn.

    A session moved to another day is lost to the one and booked for the other. One cancelled when its day was over
    did not come: it was missed.
    """
    if not state.today:
        return  # nobody has told the time: what is there is the book as it was found
    running = state.learned.running
    was_live = before is not None and before.status in LIVE
    if entry.status in LIVE:
        if before is not None and was_live:
            if before.day == entry.day:
                return
            running.lose(before.day)
            _lose(state, before, "lost", touched)
        ahead = entry.day - state.today
        if ahead >= 0:
            _book(state, before if was_live else None, entry, touched)
    elif before is None or not was_live:
        return
    elif entry.status == "used":
        running.complete(before.day, parse(before.segment).lead)
    elif reason == "missed" or before.day < state.today:
        running.miss(before.day, parse(before.segment).lead)
        _lose(state, before, "missed", touched)
    else:
        running.lose(before.day)
        _lose(state, before, "lost", touched)
    touched.learned.add("running")


def _lose(state: SiteState, before: BookingEntry, kind: Kind, touched: Touched) -> None:
    state.learned.losses.observe_loss(before.segment, before.day, kind, state.today)
    touched.learned.add("losses")


def _book(state: SiteState, moved: BookingEntry | None, entry: BookingEntry, touched: Touched) -> None:
    """A session is newly on the books: the curve counts it, unless its series was expected to book it."""
    learned, key = state.learned, entry.series
    new = NewSession(entry.day, entry.profile, state.profiles[entry.profile].protocol)
    session: NewSession | None = new
    if moved is None and key is not None and learned.series.is_continuation(key, entry.day):
        session = learned.continued.book(key, new)
        touched.learned.add("continued")
    if session is not None:
        band = int(BAND_OF[min(session.day - state.today, HORIZON_DAYS - 1)])
        learned.running.book(session.day, session.profile, band, session.protocol)
