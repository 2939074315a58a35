"""What a change of a booking teaches, as it happens: a few numbers, O(1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from planner.learning.curve import BAND_OF
from planner.learning.keep import Kind
from planner.messages import HORIZON_DAYS

if TYPE_CHECKING:  # the state holds what is learned
    from planner.site.state import BookingEntry, SiteState
    from planner.site.touched import Touched

Reason = Literal["moved", "cancelled", "missed"]
_LIVE = frozenset({"booked", "arrived"})


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
    was_live = before is not None and before.status in _LIVE
    if entry.status in _LIVE:
        if before is not None and was_live:
            if before.day == entry.day:
                return
            running.lose(before.day)
            _lose(state, before, "lost", touched)
        ahead = entry.day - state.today
        if ahead >= 0:
            protocol = state.profiles[entry.profile].protocol
            running.book(entry.day, int(BAND_OF[min(ahead, HORIZON_DAYS - 1)]), protocol)
    elif before is None or not was_live:
        return
    elif entry.status == "used":
        running.complete(before.day)
    elif reason == "missed" or before.day < state.today:
        running.miss(before.day)
        _lose(state, before, "missed", touched)
    else:
        running.lose(before.day)
        _lose(state, before, "lost", touched)
    touched.learned.add("running")


def _lose(state: SiteState, before: BookingEntry, kind: Kind, touched: Touched) -> None:
    state.learned.losses.observe_loss(before.segment, before.day, kind)
    touched.learned.add("losses")
