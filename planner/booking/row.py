"""What the step keeps of a booking: one table entry, small, as a JSON array."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from functools import lru_cache
from typing import Any

import orjson
from pydantic import TypeAdapter

from planner.events.bookings import Override, Parameters
from planner.topics import composed_key

EVENT_IDS_MOST = 64
"""Event ids remembered per booking; an older one is caught by its version, which is lower than the booking's."""

_FORMAT = 3
_FORMATS = (1, 2, 3)
"""Those that can be read. 2 has, at its end, what 1 did not keep: ``booked_on`` and ``source``; 3 has ``due``."""
_FIELDS = 19
"""Of format 3."""
_NO_PARAMETERS = Parameters()
_OVERRIDES: TypeAdapter[tuple[Override, ...]] = TypeAdapter(tuple[Override, ...])


class Status(StrEnum):
    """Where a booking stands."""

    CANCELLATION_WAITING = "cancellation-waiting"
    """Cancelled before it was booked: nothing else is known of it."""
    BOOKED = "booked"
    ARRIVED = "arrived"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    MISSED = "missed"


_STATUS_OF = {status.value: status for status in Status}
_TEXT_OF = {status: status.value for status in Status}
LIVE = frozenset({Status.BOOKED, Status.ARRIVED})
"""A site holds a requirement of such a booking."""

BOOKINGS_PREFIX = composed_key("booking", "")


def booking_key(booking_id: str) -> bytes:
    return BOOKINGS_PREFIX + booking_id.encode()


@dataclass(slots=True)
class BookingRow:
    """A booking as its events left it. Mutable; owned by the step.

    ``version``: of the last event applied. ``revision``: of the last requirement message, 0 if none. ``start``: in
    UTC; None while a cancellation waits. ``day``: ordinal of the site's day. ``lines_id``: digest of the lines last
    stated (see ``lines_key``). ``booked_on``: ordinal of the site's day on which it was booked, and ``source`` of the
    event that said so; None: not kept then (format 1), or not booked yet. ``due``: the last day (ordinal) on which it
    is kept (``planner.booking.retention``); 0: not kept then (before format 3), and nothing happened to it since.
    """

    status: Status
    version: int
    revision: int = 0
    site: str = ""
    protocol: str = ""
    start: datetime | None = None
    day: int = 0
    parameters: Parameters = _NO_PARAMETERS
    overrides: tuple[Override, ...] = ()
    series_id: str | None = None
    protocol_version: int = 0
    catalogue_version: str = ""
    lines_id: str = ""
    event_ids: list[str] = field(default_factory=list)
    booked_on: int | None = None
    source: str | None = None
    due: int = 0

    def remember(self, event_id: str) -> None:
        self.event_ids.append(event_id)
        if len(self.event_ids) > EVENT_IDS_MOST:
            del self.event_ids[0]

    def encode(self) -> bytes:
        parameters = self.parameters
        return orjson.dumps(
            [
                _FORMAT,
                _TEXT_OF[self.status],
                self.version,
                self.revision,
                self.site,
                self.protocol,
                self.start,
                self.day,
                None if parameters.weight_kg is None else str(parameters.weight_kg),
                None if parameters.hours is None else str(parameters.hours),
                _OVERRIDES.dump_python(self.overrides, mode="json", exclude_none=True) if self.overrides else None,
                self.series_id,
                self.protocol_version,
                self.catalogue_version,
                self.lines_id,
                self.event_ids,
                self.booked_on,
                self.source,
                self.due,
            ],
            option=orjson.OPT_UTC_Z,
        )

    @classmethod
    def decode(cls, value: bytes) -> BookingRow:
        """Read an entry that ``encode`` wrote.

        Raises:
            ValueError: the entry is not one of ours, or of a format this version does not know.
        """
        fields: list[Any] = orjson.loads(value)
        if fields[0] not in _FORMATS:
            expected = " or ".join(map(str, _FORMATS))
            raise ValueError(f"booking entry: found format {fields[0]!r}; expected {expected}")
        if len(fields) < _FIELDS:
            fields += (None, None, 0)[len(fields) - _FIELDS :]
        (_, status, version, revision, site, protocol, start, day, weight, hours, overrides, series_id) = fields[:12]
        (protocol_version, catalogue_version, lines_id, event_ids, booked_on, source, due) = fields[12:]
        return cls(
            _STATUS_OF[status],
            version,
            revision,
            site,
            protocol,
            None if start is None else datetime.fromisoformat(start),
            day,
            _NO_PARAMETERS if weight is None and hours is None else _parameters(weight, hours),
            _OVERRIDES.validate_python(overrides) if overrides else (),
            series_id,
            protocol_version,
            catalogue_version,
            lines_id,
            event_ids,
            booked_on,
            source,
            due,
        )


@lru_cache(maxsize=4_096)
def _parameters(weight: str | None, hours: str | None) -> Parameters:
    """Shared by rows that have the same: they are immutable, and to make them costs more than to read the row."""
    return Parameters.model_construct(
        weight_kg=None if weight is None else Decimal(weight), hours=None if hours is None else Decimal(hours)
    )
