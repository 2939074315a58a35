"""Booking events for tests, as wire content."""

from __future__ import annotations

from typing import Any

import orjson

from planner.catalogue.model import Bundle


def event(kind: str, booking: str, version: int, **fields: Any) -> dict[str, Any]:
    """An event with all it needs; ``fields`` replace or add."""
    made: dict[str, Any] = {
        "schema_version": 1,
        "type": f"booking.{kind}",
        "event_id": f"{booking}-{kind}-{version}",
        "occurred_at": "2024-05-01T08:00:00Z",
        "booking_id": booking,
        "version": version,
    }
    if kind == "booked":
        made |= {"site": "north", "protocol": "magnesium", "start": "2024-05-06T10:00:00Z"}
    if kind == "rescheduled":
        made |= {"start": "2024-05-07T10:00:00Z"}
    return made | fields


def wire(bundle: Bundle) -> bytes:
    """The bundle as the ``catalogue`` topic carries it."""
    return orjson.dumps(bundle.model_dump(mode="json"))
