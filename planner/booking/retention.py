"""How long bookings are kept, and what is said of events that come later.

A booking is forgotten ``ENDED_KEEP_DAYS`` after its day, or after the last event that it took if that is later; one
of which nobody has told how it ended, ``UNSETTLED_KEEP_DAYS`` after its day. Days are those of the partition's own
time, the latest ``occurred_at`` seen, in UTC. So the table holds what the last months and the coming ones need, however
long the log is.

Every event that a forgotten booking had taken happened more than ``ENDED_KEEP_DAYS`` ago. So an event that old about a
booking that is not known is refused, ``too-late``: it may be an old event told again, which must not book a session
anew. A newer event finds the booking unknown: a ``booked`` begins it anew.

Stated lines are kept as long as a booking that has them, in steps of ``LINES_STEP_DAYS``. Entries of the table:

- ``ends``, day, booking id: the booking is due to be forgotten when the day is over;
- ``lines-until``, digest: through which day (ordinal) the lines are kept at least.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from planner.booking.row import LIVE, BookingRow
from planner.booking.rules import BOOKED_AHEAD_DAYS_MOST
from planner.refusal import Refused
from planner.topics import composed_key

ENDED_KEEP_DAYS: Final = 90
UNSETTLED_KEEP_DAYS: Final = 400
"""Longer than ``plan`` keeps them (366 days): a revision that begins anew must not meet an older one's there."""
LINES_STEP_DAYS: Final = 28
DUE_WITHIN_DAYS: Final = BOOKED_AHEAD_DAYS_MOST + UNSETTLED_KEEP_DAYS + 2
"""No row is due later than so many days from the day it is put."""

LINES_UNTIL_PREFIX: Final = composed_key("lines-until", "")


@lru_cache(maxsize=4_096)
def ends_prefix(day: int) -> bytes:
    return composed_key("ends", f"{day:07}", "")


def ends_key(day: int, booking_id: str) -> bytes:
    return ends_prefix(day) + booking_id.encode()


def lines_until_key(lines_id: str) -> bytes:
    return composed_key("lines-until", lines_id)


def due(day: int, today: int) -> int:
    """Last day (ordinal) on which a booking for ``day`` is kept that takes an event on ``today``."""
    return max(day, today) + ENDED_KEEP_DAYS


def due_unsettled(row: BookingRow) -> int:
    """The same of a row that has come to that day: later, if nobody has told how it ended."""
    return max(row.due, row.day + UNSETTLED_KEEP_DAYS) if row.status in LIVE else row.due


def rounded_up(day: int) -> int:
    """The end of the step in which ``day`` is."""
    return day + LINES_STEP_DAYS - 1 - day % LINES_STEP_DAYS


def check_known_long_enough(booking_id: str, occurred_at: int, today: int) -> None:
    """An event about a booking that is not known; days as ordinals.

    Raises:
        Refused: ``too-late``.
    """
    if occurred_at + ENDED_KEEP_DAYS < today:
        raise Refused(
            "too-late",
            f"occurred_at: found {today - occurred_at} days before the latest event; expected at most "
            f"{ENDED_KEEP_DAYS}, since booking {booking_id!r} is not known and may have been forgotten",
        )
