"""The small job: what every peer does, in Python; ``java/SmallJob.java`` does the same. README.md says it in words.

First step, by booking: decode, validate, refuse what is stale, expand into whole containers, tell the site the changes.
Second step, by site: the running need of each (site, day, item). Pure functions; the two steps for the peers that
take chunks are at the end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC
from pathlib import Path
from typing import Annotated, Any, Literal

import orjson
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from planner.step import Effects, Entries, Message, Record

PROTOCOLS: dict[str, list[tuple[str, float, float, bool]]] = orjson.loads(
    Path(__file__).with_name("protocols.json").read_bytes()
)
"""Protocol → lines of (item, dose, content of a container, whether the dose is per kg)."""
WEIGHT_KG = 75.0
"""Where an event states none."""

Id = Annotated[str, Field(min_length=1, max_length=80)]
Need = dict[str, int]
"""Item → containers."""
Row = list[Any]
"""A booking as it is kept: version, site, day, need; a list, since every peer keeps it as JSON."""


class Parameters(BaseModel):
    """What a dose depends on."""

    model_config = ConfigDict(strict=True)
    weight_kg: Annotated[float, Field(ge=1, le=400)] | None = None


class Event(BaseModel):
    """A booking event; what it does not know is left out."""

    model_config = ConfigDict(strict=True)
    schema_version: Literal[1] = 1
    type: Literal[
        "booking.booked", "booking.rescheduled", "booking.amended", "booking.cancelled", "booking.arrived",
        "booking.completed", "booking.missed",
    ]  # fmt: skip
    event_id: Id
    occurred_at: AwareDatetime
    booking_id: Id
    version: Annotated[int, Field(ge=1, le=1_000_000)]
    site: Id | None = None
    protocol: str | None = None
    start: AwareDatetime | None = None
    parameters: Parameters | None = None

    @model_validator(mode="after")
    def _complete(self) -> Event:
        booked = self.type == "booking.booked"
        if booked and self.site is None:
            raise ValueError("site is missing")
        if self.start is None and (booked or self.type == "booking.rescheduled"):
            raise ValueError("start is missing")
        if self.protocol is None:
            if booked or self.type == "booking.amended":
                raise ValueError("protocol is missing")
        elif self.protocol not in PROTOCOLS:
            raise ValueError("protocol is not in the table")
        return self


def read(value: bytes | None) -> Event | None:
    """The event, or None: poison."""
    try:
        return Event.model_validate_json(value or b"")
    except ValidationError:
        return None


def expand(event: Event) -> Need:
    """Whole containers of each item."""
    weight_kg = event.parameters.weight_kg if event.parameters is not None else None
    weight_kg = WEIGHT_KG if weight_kg is None else weight_kg
    return {
        item: math.ceil((dose * weight_kg if per_kg else dose) / content)
        for item, dose, content, per_kg in PROTOCOLS[event.protocol or ""]
    }


def day_of(event: Event) -> str:
    """The UTC day of the session."""
    if event.start is None:
        raise ValueError("a validated event of this type has a start")
    return event.start.astimezone(UTC).date().isoformat()


def advance(row: Row | None, event: Event) -> Row | None:
    """The booking after an event; None: refused (unknown, or not newer than what is known)."""
    kind, version = event.type, event.version
    if row is None:
        return [version, event.site, day_of(event), expand(event)] if kind == "booking.booked" else None
    if version <= row[0] or kind == "booking.booked":
        return None
    match kind:
        case "booking.rescheduled":
            return [version, row[1], day_of(event), row[3]]
        case "booking.amended":
            return [version, row[1], row[2], expand(event)]
        case "booking.cancelled":
            return [version, row[1], row[2], {}]
    return [version, *row[1:]]


def changes(old: Row | None, new: Row) -> list[tuple[str, str, int]]:
    """(day, item, containers more or less) between two versions of a booking."""
    if old is None:
        return [(new[2], item, number) for item, number in new[3].items()]
    if old[2:] == new[2:]:
        return []
    if old[2] != new[2]:
        gone = [(old[2], item, -number) for item, number in old[3].items()]
        return gone + [(new[2], item, number) for item, number in new[3].items()]
    items = dict.fromkeys((*old[3], *new[3]))
    found = [(new[2], item, new[3].get(item, 0) - old[3].get(item, 0)) for item in items]
    return [change for change in found if change[2]]


def told(event: Event, old: Row | None, new: Row) -> dict[str, Any] | None:
    """The message to the booking's site, whose key is ``site``; None: nothing changes there."""
    changed = changes(old, new)
    if not changed:
        return None
    return {"site": new[1], "booking_id": event.booking_id, "version": event.version, "changes": changed}


def need_key(site: str, day: str, item: str) -> bytes:
    """The key of a total."""
    return f"{site}|{day}|{item}".encode()


def need_value(site: str, day: str, item: str, number: int) -> dict[str, Any]:
    """The value of a total."""
    return {"site": site, "day": day, "item": item, "need": number}


# --- as steps over chunks ------------------------------------------------------------------------------------


class _Step:
    """Entries are read from the table, through what the chunk has written so far."""

    def __init__(self) -> None:
        self._get: Callable[[bytes], bytes | None] = lambda key: None

    def restore(self, entries: Entries) -> None:
        """Everything stays in the table."""
        self._get = entries.get

    def due(self) -> list[Message]:
        """Nothing may wait."""
        return []


class BookingSmall(_Step):
    """The first step."""

    def fold(self, chunk: Sequence[Record], *, caught_up: bool = True) -> Iterator[Effects]:
        """See ``planner.step.Step``."""
        effects, rows = Effects(), dict[bytes, Row]()
        for record in chunk:
            if record.topic != "bookings":
                continue
            event = read(record.value)
            if event is None:
                effects.messages.append(Message("dead-letters", record.key, record.value, record.partition))
                continue
            key = event.booking_id.encode()
            old = rows.get(key)
            if old is None and (kept := self._get(key)) is not None:
                old = orjson.loads(kept)
            new = advance(old, event)
            if new is None:
                continue
            rows[key] = new
            if (body := told(event, old, new)) is not None:
                effects.messages.append(Message("requirements", body["site"].encode(), orjson.dumps(body)))
        effects.writes = {key: orjson.dumps(row) for key, row in rows.items()}
        yield effects


class PlanSmall(_Step):
    """The second step: each changed total is written and published once a chunk."""

    def fold(self, chunk: Sequence[Record], *, caught_up: bool = True) -> Iterator[Effects]:
        """See ``planner.step.Step``."""
        needs: dict[tuple[str, str, str], int] = {}
        for record in chunk:
            if record.topic != "requirements":
                continue
            body = orjson.loads(record.value or b"")
            site = body["site"]
            for day, item, more in body["changes"]:
                total = needs.get((site, day, item))
                if total is None:
                    total = int(self._get(need_key(site, day, item)) or 0)
                needs[site, day, item] = total + more
        effects = Effects()
        for (site, day, item), total in needs.items():
            key = need_key(site, day, item)
            effects.writes[key] = b"%d" % total
            effects.messages.append(Message("totals", key, orjson.dumps(need_value(site, day, item, total))))
        yield effects
