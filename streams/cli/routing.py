"""From an event in JSON to the records it is on the log: topic, key, and for the clock each partition."""

from __future__ import annotations

import unicodedata
from typing import Any

import orjson

from planner.step import Message

TOPIC_OF = {
    "booking": "bookings",
    "stock": "stock",
    "order": "orders",
    "supply": "orders",
    "alert": "alert-actions",
    "clock": "clock",
}
"""First part of an event's type → its topic."""

ANSWERED = frozenset({"bookings", "stock", "orders", "alert-actions", "catalogue"})
"""Topics each of whose records gets an outcome."""


class LineError(ValueError):
    """A line that is no event of ours; the message says why."""


def route(value: bytes, partitions: int) -> list[Message]:
    """The records of one event: one, or one for each of the clock's ``partitions``.

    An event with a fault inside is not held back: the worker says what it is. Only what has no topic is.

    Raises:
        LineError: not JSON, not an object, or of no known type.
    """
    try:
        event = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        raise LineError(f"not JSON: {error}") from None
    if not isinstance(event, dict):
        raise LineError(f"expected a JSON object, found {type(event).__name__}")
    kind = event.get("type")
    topic = TOPIC_OF.get(kind.partition(".")[0]) if isinstance(kind, str) else None
    if topic is None:
        known = ", ".join(f"{prefix}.…" for prefix in TOPIC_OF)
        raise LineError(f"type: found {kind!r}; expected {known}")
    if topic == "clock":
        return [Message(topic, str(number).encode(), value, number) for number in range(partitions)]
    return [Message(topic, _key(event, "booking_id" if topic == "bookings" else "site"), value)]


def _key(event: dict[str, Any], field: str) -> bytes | None:
    """The key by which an event meets its fellows; None where the event does not say."""
    name = event.get(field)
    if not isinstance(name, str):
        return None
    return unicodedata.normalize("NFC", name).encode("utf-8", "backslashreplace")
