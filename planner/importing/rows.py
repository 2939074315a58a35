"""What a row of an export says: one event or two, ready for the ``bookings`` topic, or why the row cannot be read."""

from __future__ import annotations

import unicodedata
import zlib
from collections.abc import Mapping as Cells
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import orjson
from pydantic import ValidationError

from planner.events import BOOKING_EVENTS
from planner.importing.mapping import ORDER, TIME_DIRECTIVES, Cell, EventKind, Mapping, ProtocolRule, SiteRule, Spread
from planner.records import DeadLetter, decode
from planner.step import Record


class RowError(ValueError):
    """A row that cannot be read; the message names column, value and what was expected."""


class HeaderError(ValueError):
    """The file is not what the mapping describes; the message names the columns that are missing."""


class ImportedEvent(NamedTuple):
    """An event of a row. Sorted, events come in the order in which they happened."""

    occurred_us: int
    """Microseconds since the epoch."""
    rank: int
    """Place in ``ORDER``, for events of one instant."""
    row: int
    kind: EventKind
    key: bytes
    value: bytes


class _Moment(NamedTuple):
    at: datetime
    day_only: bool


class _Happening(NamedTuple):
    kind: EventKind
    version: int
    at: datetime
    body: dict[str, Any]


class RowReader:
    """Reads rows by a mapping. Keeps what it has parsed, since an export repeats its dates."""

    def __init__(self, mapping: Mapping) -> None:
        self.mapping = mapping
        self._zone = ZoneInfo(mapping.timezone)
        self._slots = _slots(mapping.start_time)
        self._moments: dict[str, _Moment | None] = {}
        self._times = {kind: mapping.time_of(kind) for kind in ORDER}

    def check_header(self, columns: list[str]) -> None:
        """Compare the file's columns with the mapping's.

        Raises:
            HeaderError: a column that the mapping reads is not there, or is there twice.
        """
        missing = [name for name in self.mapping.columns_used() if name not in columns]
        if missing:
            raise HeaderError(f"expected the columns {', '.join(missing)}; found {', '.join(columns) or 'none'}")
        twice = [name for name in self.mapping.columns_used() if columns.count(name) > 1]
        if twice:
            raise HeaderError(f"expected each column once; found {', '.join(twice)} more than once")

    def events(self, row_number: int, row: Cells[str, str]) -> tuple[ImportedEvent, ...]:
        """The row's events: booked, and what became of it.

        Raises:
            RowError: a cell is missing or not as the mapping says; nothing of the row is used.
        """
        columns = self.mapping.columns
        booking_id = _cell(row, columns.booking_id)
        start = self._start(row, booking_id)
        status_text = _cell(row, columns.status)
        status = self.mapping.statuses.get(status_text)
        if status is None:
            raise RowError(_fault(columns.status, status_text, f"one of {', '.join(self.mapping.statuses)}"))
        rule = self._protocol(row)
        booked_at = self._occurred(row, columns.booked, "booked")
        body = {
            "site": self._site(row),
            "protocol": rule.protocol,
            "start": start.isoformat(),
            "parameters": _parameters(rule, row),
        }
        if columns.series is not None and row.get(columns.series):
            body["series_id"] = row[columns.series]
        booked = _Happening("booked", 1, booked_at, body)
        events = [self._event(row_number, booking_id, booked)]
        if status.event is not None:
            column = columns.start if status.at == "start" else columns.status_changed
            if column is None:  # the mapping's own validation rules it out
                raise RowError(_fault(columns.status, status_text, "columns.status_changed in the mapping"))
            happened_at = self._occurred(row, column, status.event)
            if happened_at < booked_at:
                raise RowError(_fault(column, row[column], f"not before {columns.booked} {row[columns.booked]!r}"))
            events.append(self._event(row_number, booking_id, _Happening(status.event, 2, happened_at, {})))
        return tuple(events)

    def _event(self, row_number: int, booking_id: str, what: _Happening) -> ImportedEvent:
        event = {
            "type": f"booking.{what.kind}",
            "event_id": f"{self.mapping.name}:{booking_id}:{what.version}:{what.kind}",
            "occurred_at": what.at.isoformat(),
            "source": self.mapping.name,
            "booking_id": booking_id,
            "version": what.version,
            **what.body,
        }
        try:
            # A copy: orjson's own result keeps its buffer of 4 KiB for as long as it lives.
            value = memoryview(orjson.dumps(event)).tobytes()
            BOOKING_EVENTS.validate_json(value)
        except ValidationError:
            dead = decode(BOOKING_EVENTS, Record("bookings", 0, 0, 0, None, value))
            raise RowError(dead.detail if isinstance(dead, DeadLetter) else "no event") from None
        except orjson.JSONEncodeError as error:
            raise RowError(f"a cell cannot be written as JSON: {error}") from None
        key = unicodedata.normalize("NFC", booking_id).encode()
        microseconds = (what.at - _EPOCH) // timedelta(microseconds=1)
        return ImportedEvent(microseconds, ORDER.index(what.kind), row_number, what.kind, key, value)

    def _start(self, row: Cells[str, str], booking_id: str) -> datetime:
        column = self.mapping.columns.start
        moment = self._moment(column, _cell(row, column))
        if not moment.day_only:
            return moment.at.replace(tzinfo=moment.at.tzinfo or self._zone)
        if not self._slots:
            raise RowError(_fault(column, row[column], "a time of day (or start_time in the mapping)"))
        slot = self._slots[zlib.crc32(booking_id.encode("utf-8", "surrogatepass")) % len(self._slots)]
        return datetime.combine(moment.at.date(), slot, self._zone)

    def _occurred(self, row: Cells[str, str], column: str, kind: EventKind) -> datetime:
        moment = self._moment(column, _cell(row, column))
        if not moment.day_only:
            return moment.at.replace(tzinfo=moment.at.tzinfo or self._zone)
        return datetime.combine(moment.at.date(), self._times[kind], self._zone)

    def _moment(self, column: str, text: str) -> _Moment:
        if text not in self._moments:
            self._moments[text] = self._parse(text)
        moment = self._moments[text]
        if moment is None:
            raise RowError(_fault(column, text, f"a date as {' or '.join(self.mapping.date_formats)}"))
        return moment

    def _parse(self, text: str) -> _Moment | None:
        for date_format in self.mapping.date_formats:
            try:
                at = datetime.strptime(text, date_format)  # noqa: DTZ007 - the mapping's zone is added by the caller
            except ValueError:
                continue
            return _Moment(at, not any(directive in date_format for directive in TIME_DIRECTIVES))
        return None

    def _site(self, row: Cells[str, str]) -> str:
        site = self.mapping.site
        if not isinstance(site, SiteRule):
            return site
        text = _cell(row, site.column)
        if not site.values:
            return text
        if text not in site.values:
            raise RowError(_fault(site.column, text, f"one of {', '.join(site.values)}"))
        return site.values[text]

    def _protocol(self, row: Cells[str, str]) -> ProtocolRule:
        for rule in self.mapping.protocols:
            if all(
                row.get(column) == wanted if isinstance(wanted, str) else row.get(column) in wanted
                for column, wanted in rule.when.items()
            ):
                return rule
        asked = dict.fromkeys(column for rule in self.mapping.protocols for column in rule.when)
        found = ", ".join(f"{column} {row.get(column)!r}" for column in asked)
        raise RowError(f"no rule of protocols holds for {found}")


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _slots(rule: str | Spread | None) -> list[time]:
    if rule is None:
        return []
    if isinstance(rule, str):
        return [time.fromisoformat(rule)]
    first, last = time.fromisoformat(rule.first), time.fromisoformat(rule.last)
    minutes = range(first.hour * 60 + first.minute, last.hour * 60 + last.minute + 1, rule.every_minutes)
    return [time(minute // 60, minute % 60) for minute in minutes]


def _cell(row: Cells[str, str], column: str) -> str:
    text = row.get(column)
    if text is None or text == "":
        raise RowError(f"{column}: found nothing; expected a value")
    return text


def _fault(column: str, value: str, expected: str) -> str:
    shown = value if len(value) <= 80 else value[:80] + "…"
    return f"{column}: found {shown!r}; expected {expected}"


def _parameters(rule: ProtocolRule, row: Cells[str, str]) -> dict[str, str]:
    parameters: dict[str, str] = {}
    for name, source in (("weight_kg", rule.parameters.weight_kg), ("hours", rule.parameters.hours)):
        if isinstance(source, Cell):
            text = _cell(row, source.column)
            try:
                parameters[name] = str(Decimal(text))
            except InvalidOperation:
                raise RowError(_fault(source.column, text, "a number")) from None
        elif source is not None:
            parameters[name] = str(source)
    return parameters
