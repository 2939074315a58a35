"""Which event may follow which, and which instants are believed.

| the event, on a booking that is | booked | arrived | missed | cancelled | completed | unknown |
|---|---|---|---|---|---|---|
| booked | restates it | restates it: check-in undone | books it anew | books it anew | refused | books it |
| rescheduled | moves it | moves it: sent home, to come again | refused | refused | refused | refused |
| amended | changes it | changes it: the dose at the chair | refused | refused | refused | refused |
| cancelled | cancels it | cancels it: sent home | refused | already | refused | waits |
| arrived | arrives | already | arrives: marked missed too early | refused | refused | refused |
| completed | completes | completes | completes: as above | refused | already | refused |
| missed | is missed | refused: the patient was there | already | refused | refused | refused |

A ``booked`` is a whole statement of the booking, so it may follow nearly everything.

Refusals are ``booking-<status>`` and ``unknown-booking``; *already* is a duplicate, ``already-<status>``. A
cancellation that waits: a booking with a lower version is kept and cancelled at once; one with a higher version was
made after the cancellation and stands. Before all of these: an event id seen before and a version equal to the last
applied are duplicates (``same-event``, ``same-version``), a lower version is refused (``stale-version``).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Literal, NamedTuple

from planner.booking.row import Status
from planner.refusal import Refused

EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
LATEST = datetime(2100, 1, 1, tzinfo=UTC)
"""Instants outside [EARLIEST, LATEST) are typing errors or a clock that was never set (1970)."""

BOOKED_AHEAD_DAYS_MOST = 730
"""Nobody books a session more than two years ahead; the longest series is a year of visits."""
BOOKED_AFTER_DAYS_MOST = 30
"""A session may be entered after it began (a walk-in, a system that was down), up to a month."""


class Rule(NamedTuple):
    """What becomes of an event: ``apply`` it, or end it with ``reason``."""

    end: Literal["apply", "duplicate", "refused"]
    reason: str = ""


_APPLY = Rule("apply")


def _refused(*statuses: Status) -> dict[Status, Rule]:
    return {status: Rule("refused", f"booking-{status}") for status in statuses}


def _already(status: Status) -> dict[Status, Rule]:
    return {status: Rule("duplicate", f"already-{status}")}


def _applied(*statuses: Status) -> dict[Status, Rule]:
    return dict.fromkeys(statuses, _APPLY)


_B, _A, _D, _X, _M = Status.BOOKED, Status.ARRIVED, Status.COMPLETED, Status.CANCELLED, Status.MISSED
_UNKNOWN = {Status.CANCELLATION_WAITING: Rule("refused", "unknown-booking")}

RULES: dict[str, dict[Status, Rule]] = {
    "booking.booked": _applied(Status.CANCELLATION_WAITING, _B, _A, _M, _X) | _refused(_D),
    "booking.rescheduled": _UNKNOWN | _applied(_B, _A) | _refused(_M, _X, _D),
    "booking.amended": _UNKNOWN | _applied(_B, _A) | _refused(_M, _X, _D),
    "booking.cancelled": _applied(_B, _A)
    | _refused(_M, _D)
    | _already(_X)
    | {Status.CANCELLATION_WAITING: Rule("duplicate", "already-cancelled")},
    "booking.arrived": _UNKNOWN | _applied(_B, _M) | _already(_A) | _refused(_X, _D),
    "booking.completed": _UNKNOWN | _applied(_B, _A, _M) | _already(_D) | _refused(_X),
    "booking.missed": _UNKNOWN | _applied(_B) | _already(_M) | _refused(_A, _X, _D),
}
"""The table above, by event type and the booking's status."""


def believed(name: str, instant: datetime) -> datetime:
    """``instant`` in UTC.

    Raises:
        Refused: ``<name>-out-of-range`` when it lies outside [EARLIEST, LATEST).
    """
    try:
        in_utc = instant.astimezone(UTC)
    except OverflowError:  # the year 1 or 9999, which UTC would leave
        in_utc = None
    if in_utc is None or not EARLIEST <= in_utc < LATEST:
        raise Refused(
            f"{name.replace('_', '-')}-out-of-range",
            f"{name}: found {instant.isoformat()}; expected from {EARLIEST:%Y-%m-%d} to before {LATEST:%Y-%m-%d}",
        )
    return in_utc


_AHEAD_OF_LOG_MOST_MS = 86_400_000


def not_ahead(name: str, instant: datetime, logged_at_ms: int) -> None:
    """An event cannot be of a later day than its record: one clock set wrong would take everybody's time with it.

    Only where time is the wall clock's; in a replay the events make the time.

    Raises:
        Refused: ``<name>-in-future`` when ``instant`` is more than a day after the record was appended (Unix
            milliseconds; both tell the time of different machines).
    """
    if instant.timestamp() > (logged_at_ms + _AHEAD_OF_LOG_MOST_MS) / 1000:
        logged_at = datetime.fromtimestamp(logged_at_ms / 1000, UTC)
        raise Refused(
            f"{name.replace('_', '-')}-in-future",
            f"{name}: found {instant.isoformat()}; expected at most a day after the record, {logged_at.isoformat()}",
        )


_AHEAD_MOST = timedelta(days=BOOKED_AHEAD_DAYS_MOST)
_AFTER_MOST = timedelta(days=BOOKED_AFTER_DAYS_MOST)


def believed_start(start: datetime, occurred_at: datetime) -> datetime:
    """``start`` in UTC; ``occurred_at`` is in UTC already.

    Raises:
        Refused: ``start-out-of-range``, also when it is far from when the event happened.
    """
    in_utc = believed("start", start)
    if not -_AFTER_MOST <= in_utc - occurred_at <= _AHEAD_MOST:
        raise Refused(
            "start-out-of-range",
            f"start: found {start.isoformat()}; expected at most {BOOKED_AHEAD_DAYS_MOST} days after occurred_at "
            f"({occurred_at.isoformat()}) and at most {BOOKED_AFTER_DAYS_MOST} days before it",
        )
    return in_utc
