"""From a record's bytes to an event, and from an event's end to the messages that tell it.

A record that cannot be read never stops a step: it comes back as a ``DeadLetter``, and its bytes are kept on the
``dead-letters`` topic just as they came, with the coordinates and the reason in the headers.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeVar

import orjson
from pydantic import TypeAdapter, ValidationError

from planner.messages import OutcomeStatus
from planner.refusal import Refused
from planner.step import Message, Record

T = TypeVar("T")

MAX_EVENT_BYTES = 1_048_576
"""The largest event that is read. Larger ones are dead-lettered unread: an event of ours is below 100 KB."""

_FAULTS_SHOWN = 3
_VALUE_CHARACTERS_SHOWN = 80
_DETAIL_CHARACTERS_MAX = 1_000

HEADER_TOPIC = "topic"
HEADER_PARTITION = "partition"
HEADER_OFFSET = "offset"
HEADER_REASON = "reason"
HEADER_DETAIL = "detail"
"""The headers of a dead letter; those the record came with follow them, so the first of a name is ours."""


class DeadLetter(NamedTuple):
    """Why a record cannot be read.

    ``reason``: ``no-value`` (a tombstone), ``too-large``, ``invalid-json``, ``unsupported-schema-version`` or
    ``invalid-event`` (JSON, but not an event: a field is missing, of a wrong type or out of its range).
    """

    reason: str
    detail: str


def decode(adapter: TypeAdapter[T], record: Record, *, max_bytes: int = MAX_EVENT_BYTES) -> T | DeadLetter:
    """The event in a record, or why there is none. Raises nothing, whatever the bytes are."""
    value = record.value
    if value is None:
        return DeadLetter("no-value", "the record has no value; expected an event in JSON")
    if len(value) > max_bytes:
        return DeadLetter("too-large", f"the value has {len(value)} bytes; expected at most {max_bytes}")
    try:
        event: T = adapter.validator.validate_json(value)
        return event
    except ValidationError as error:
        return _explain(error)


def _explain(error: ValidationError) -> DeadLetter:
    """The first faults of a record: field, value (scalars only: an object may hold what we must not repeat)."""
    faults = error.errors(include_url=False, include_context=False)
    first = faults[0]
    if first["type"] == "json_invalid":
        return DeadLetter("invalid-json", _printable(first["msg"]))
    texts = []
    for fault in faults[:_FAULTS_SHOWN]:
        field = ".".join(str(part) for part in fault["loc"]) or "event"
        texts.append(f"{field}: {_shown(fault['input'])}{fault['msg']}")
    if len(faults) > _FAULTS_SHOWN:
        texts.append(f"and {len(faults) - _FAULTS_SHOWN} more")
    versioned = any(fault["loc"] and fault["loc"][-1] == "schema_version" for fault in faults)
    reason = "unsupported-schema-version" if versioned else "invalid-event"
    return DeadLetter(reason, _printable("; ".join(texts)))


def _shown(value: Any) -> str:
    if isinstance(value, dict | list | tuple):
        return ""
    text = repr(value)
    if len(text) > _VALUE_CHARACTERS_SHOWN:
        text = text[:_VALUE_CHARACTERS_SHOWN] + "…"
    return f"found {text}; "


def _printable(text: str) -> str:
    """In UTF-8, bounded, and without what a terminal would obey: a message of the validator can repeat a name as long
    as the record, with any character in it."""
    if len(text) > _DETAIL_CHARACTERS_MAX:
        text = text[:_DETAIL_CHARACTERS_MAX] + "…"
    if not text.isprintable():
        text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return text


def coordinates(record: Record) -> str:
    """``topic/partition/offset``: the id of a record that has none of its own."""
    return f"{record.topic}/{record.partition}/{record.offset}"


def check_key(record: Record, expected: str, field: str) -> None:
    """The key decides the partition, so an event under another key would be kept apart from its fellows.

    Raises:
        Refused: ``wrong-key``.
    """
    if record.key != expected.encode():
        found = "no key" if record.key is None else repr(record.key[:160])
        raise Refused("wrong-key", f"key: found {found}; expected the event's {field}, {expected!r} in UTF-8 (NFC)")


def outcome_message(
    record: Record,
    status: OutcomeStatus,
    event_id: str,
    event_type: str | None = None,
    *,
    reason: str | None = None,
    detail: str | None = None,
    booking_id: str | None = None,
    site: str | None = None,
    catalogue_version: str | None = None,
) -> Message:
    """What became of the event in ``record``: an ``Outcome`` for its topic, without the fields that are absent."""
    body = {
        "schema_version": 1,
        "event_id": event_id,
        "status": status,
        "event_type": event_type,
        "reason": reason,
        "detail": detail,
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "booking_id": booking_id,
        "site": site,
        "catalogue_version": catalogue_version,
    }
    told = {name: value for name, value in body.items() if value is not None}
    return Message("outcomes", event_id.encode(), orjson.dumps(told))


def dead_letter_message(record: Record, dead: DeadLetter) -> Message:
    """The record as it came, for the ``dead-letters`` topic, under its own key and in its own partition."""
    ours = (
        (HEADER_TOPIC, record.topic.encode()),
        (HEADER_PARTITION, str(record.partition).encode()),
        (HEADER_OFFSET, str(record.offset).encode()),
        (HEADER_REASON, dead.reason.encode()),
        (HEADER_DETAIL, dead.detail.encode()),
    )
    return Message("dead-letters", record.key, record.value, record.partition, ours + record.headers)


def dead_letter_outcome(record: Record, dead: DeadLetter) -> Message:
    """The outcome of an unreadable record; its event id is the record's coordinates."""
    return outcome_message(
        record, OutcomeStatus.DEAD_LETTERED, coordinates(record), reason=dead.reason, detail=dead.detail
    )
