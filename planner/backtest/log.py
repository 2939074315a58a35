"""A log of events as lines of JSON: read whole, each line checked, put in the order in which it happened."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import orjson
from pydantic import TypeAdapter

from planner.booking.rules import believed
from planner.events.bookings import BOOKING_EVENTS, Booked, Rescheduled
from planner.events.orders import ORDER_EVENTS
from planner.events.stock import STOCK_EVENTS
from planner.records import DeadLetter, decode
from planner.refusal import Refused
from planner.step import Record

_TOPICS: Final[dict[str, tuple[str, TypeAdapter[Any]]]] = {
    "booking": ("bookings", BOOKING_EVENTS),
    "stock": ("stock", STOCK_EVENTS),
    "order": ("orders", ORDER_EVENTS),
    "supply": ("orders", ORDER_EVENTS),
}
"""First part of an event's type → its topic and its events."""

_PASSED_OVER = frozenset({"alert", "clock"})
"""Events that say nothing about demand: a back-test raises no alerts, and it has its own clock."""


class LogFault(ValueError):  # noqa: N818 - named after what it says
    """A line that is no event; the message says which line and field, what was found and what was expected."""


class Event(NamedTuple):
    """An event of the log."""

    occurred_at: datetime
    """In UTC."""
    site: str | None
    """Of stock, orders and bookings that name one."""
    record: Record
    """As the step takes it; the offset is the line's number, from 1."""


def read_log(lines: Iterable[bytes]) -> list[Event]:
    """The events of a log in order of ``occurred_at``; those of one instant stay in the order of their lines.

    Empty lines, alert actions and clock ticks are passed over.

    Raises:
        LogFault: a line is not JSON, or not an event.
    """
    events: list[Event] = []
    for number, line in enumerate(lines, 1):
        value = line.strip()
        if value:
            event = read_event(number, value)
            if event is not None:
                events.append(event)
    events.sort(key=lambda event: event.occurred_at)
    return events


def read_event(number: int, value: bytes) -> Event | None:
    """The event in line ``number``; None: of a kind that a back-test does not need.

    Raises:
        LogFault: the line is not JSON, or not an event.
    """
    try:
        body = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        raise LogFault(f"line {number}: not JSON: {error}") from None
    if not isinstance(body, dict):
        raise LogFault(f"line {number}: found {type(body).__name__}; expected a JSON object")
    kind = body.get("type")
    family = kind.partition(".")[0] if isinstance(kind, str) else ""
    if family in _PASSED_OVER:
        return None
    if family not in _TOPICS:
        known = ", ".join(f"{name}.…" for name in _TOPICS)
        raise LogFault(f"line {number}: type: found {kind!r}; expected {known}")
    topic, adapter = _TOPICS[family]
    record = Record(topic, 0, number, 0, None, value)
    event = decode(adapter, record)
    if isinstance(event, DeadLetter):
        raise LogFault(f"line {number}: {event.detail}")
    try:
        occurred_at = believed("occurred_at", event.occurred_at).astimezone(UTC)
    except Refused as refused:
        raise LogFault(f"line {number}: {refused.detail}") from None
    if topic == "bookings":
        key, site = event.booking_id, event.site if isinstance(event, Booked | Rescheduled) else None
    else:
        key = site = event.site
    at_ms = int(occurred_at.timestamp() * 1000)
    key_bytes = unicodedata.normalize("NFC", key).encode()
    return Event(occurred_at, site, record._replace(timestamp_ms=at_ms, key=key_bytes))
