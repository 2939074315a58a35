"""The messages to a booking's site, composed from pre-serialised parts. Key: the site."""

from __future__ import annotations

from datetime import date, datetime
from functools import lru_cache
from typing import Any, Final, Literal

import orjson

from planner.booking.row import BookingRow
from planner.events.bookings import ItemUse
from planner.step import Message
from planner.topics import composed_key

_IN_UTC: Final = orjson.OPT_UTC_Z
"""Instants as ``…Z``."""


def lines_key(lines_id: str) -> bytes:
    """Table key of stated lines, shared by all bookings that have them."""
    return composed_key("lines", lines_id)


class Cause:
    """The event (or catalogue) that makes a booking's requirement change. ``occurred_at`` is in UTC."""

    __slots__ = ("booking_id", "event_id", "occurred_at")

    def __init__(self, booking_id: str, event_id: str, occurred_at: datetime) -> None:
        self.booking_id = booking_id
        self.event_id = event_id
        self.occurred_at = occurred_at


@lru_cache(maxsize=4_096)
def _iso(day: int) -> str:
    """A day by its ordinal."""
    return date.fromordinal(day).isoformat()


def _head(kind: str, row: BookingRow, cause: Cause) -> dict[str, Any]:
    row.revision += 1
    return {
        "schema_version": 1,
        "type": kind,
        "booking_id": cause.booking_id,
        "revision": row.revision,
        "booking_version": row.version,
        "site": row.site,
        "event_id": cause.event_id,
        "occurred_at": cause.occurred_at,
    }


def stated(row: BookingRow, cause: Cause, lines: bytes, status: Literal["booked", "arrived"]) -> Message:
    """The row's requirement; ``lines`` is the JSON object kept under ``lines_key``. Raises the row's revision."""
    head = orjson.dumps(
        {
            **_head("requirement.stated", row, cause),
            "status": status,
            "protocol": row.protocol,
            "protocol_version": row.protocol_version,
            "catalogue_version": row.catalogue_version,
            "start": row.start,
            "day": _iso(row.day),
            "booked_on": None if row.booked_on is None else _iso(row.booked_on),
            "source": row.source,
            "series": row.series_id is not None,
            "series_id": row.series_id,
        },
        option=_IN_UTC,
    )
    # both are JSON objects: the members of the second continue the first
    return Message("requirements", row.site.encode(), b"%b,%b" % (head[:-1], lines[1:]))


def withdrawn(row: BookingRow, cause: Cause, reason: Literal["moved", "cancelled", "missed"]) -> Message:
    """Nothing is needed any more at the row's site. Raises the row's revision."""
    body = _head("requirement.withdrawn", row, cause)
    body["reason"] = reason
    return Message("requirements", row.site.encode(), orjson.dumps(body, option=_IN_UTC))


def used(row: BookingRow, cause: Cause, actual_use: tuple[ItemUse, ...] | None) -> Message:
    """The session took place. Raises the row's revision."""
    body = _head("requirement.used", row, cause)
    if actual_use is not None:
        body["actual_use"] = [use.model_dump(mode="json", exclude_none=True) for use in actual_use]
    return Message("requirements", row.site.encode(), orjson.dumps(body, option=_IN_UTC))
