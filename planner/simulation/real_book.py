"""A clinic's book from a log of real booking events: who came is as it was; what they use is drawn.

The events are told to the planner as they are, but for arrivals and ends: how a session ends depends on the shelf. A
session is one whose completion the log tells; of those missed or cancelled nothing is wanted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time, timedelta

import numpy as np
import orjson
from pydantic import ValidationError

from planner.catalogue.index import Catalogue
from planner.events.bookings import (
    BOOKING_EVENTS,
    Amended,
    Arrived,
    Booked,
    BookingEvent,
    Cancelled,
    Completed,
    Missed,
    Override,
    Parameters,
    Rescheduled,
)
from planner.expansion.expand import expand
from planner.refusal import Refused
from planner.simulation.book import Book, Session, Streams, Told, booking_event, draw_use, told_on
from planner.simulation.clinic import Lines, SiteClinic, item_facts

_SESSION = timedelta(minutes=60)
_LAST_END = time(16, 15)
_AFTER = timedelta(minutes=1)


@dataclass(slots=True)
class _Booking:
    """A booking as its events leave it."""

    told: list[Told] = field(default_factory=list)
    site: str = ""
    protocol: str = ""
    start: datetime | None = None
    parameters: Parameters = field(default_factory=Parameters)
    overrides: tuple[Override, ...] = ()
    version: int = 0
    end: Completed | Cancelled | Missed | None = None


@dataclass(frozen=True, slots=True)
class RealBookings:
    """What a log of booking events says, by booking; can be pickled."""

    bookings: dict[str, _Booking]
    refused: int
    """Sessions left out because the catalogue cannot expand them."""
    lines: dict[str, Lines]
    """Booking → what its session may take."""

    def of(self, site: str) -> dict[str, _Booking]:
        """The bookings that end up at a site."""
        return {name: booking for name, booking in self.bookings.items() if booking.site == site}

    def first_session(self) -> date | None:
        """The day (in UTC) of the first session that took place."""
        starts = [b.start for b in self.bookings.values() if isinstance(b.end, Completed) and b.start is not None]
        return min(starts).date() if starts else None


def read_bookings(raw: Iterable[bytes], catalogue: Catalogue) -> RealBookings:
    """Read booking events (JSON, one each; other events are passed over).

    Raises:
        ValueError: a line is no JSON, or no booking event though its type says so; with its number.
    """
    events: dict[str, list[tuple[BookingEvent, bytes]]] = {}
    for number, line in enumerate(raw, 1):
        if not line.strip():
            continue
        try:
            kind = orjson.loads(line).get("type", "")
            if not str(kind).startswith("booking."):
                continue
            event = BOOKING_EVENTS.validate_json(line)
        except (orjson.JSONDecodeError, AttributeError, ValidationError) as error:
            said = str(error).splitlines()[0]
            raise ValueError(f"events, line {number}: {said}; expected a booking event as one JSON object") from error
        events.setdefault(event.booking_id, []).append((event, line))
    bookings = {name: _fold(sorted(known, key=lambda k: k[0].version)) for name, known in events.items()}
    lines: dict[str, Lines] = {}
    refused = 0
    for name, booking in bookings.items():
        if isinstance(booking.end, Completed):
            expanded = _lines(catalogue, booking)
            refused += expanded is None
            if expanded is not None:
                lines[name] = expanded
    return RealBookings(bookings, refused, lines)


def _fold(events: list[tuple[BookingEvent, bytes]]) -> _Booking:
    booking = _Booking()
    for event, raw in events:
        match event:
            case Arrived():
                continue
            case Completed() | Missed():
                booking.end = event
                continue
            case Cancelled():
                booking.end = event
            case Booked():
                booking.site, booking.protocol, booking.start = event.site, event.protocol, event.start
                booking.parameters, booking.overrides = event.parameters, event.overrides
            case Rescheduled():
                booking.start, booking.site = event.start, event.site or booking.site
            case Amended():
                booking.protocol = event.protocol or booking.protocol
                booking.parameters = booking.parameters if event.parameters is None else event.parameters
                booking.overrides = booking.overrides if event.overrides is None else event.overrides
        booking.version = event.version
        booking.told.append(Told(event.occurred_at, event.booking_id, raw))
    return booking


def _lines(catalogue: Catalogue, booking: _Booking) -> Lines | None:
    """What its session may take; None: the catalogue cannot say."""
    if booking.start is None or booking.site not in catalogue.sites or booking.protocol not in catalogue.protocols:
        return None
    version = catalogue.protocol_version(booking.protocol, catalogue.site_day(booking.site, booking.start))
    if version is None:
        return None
    try:
        expansion = expand(catalogue, booking.site, booking.protocol, version, booking.parameters, booking.overrides)
    except Refused:
        return None
    return expansion.lines


def with_real_items(clinic: SiteClinic, real: RealBookings) -> SiteClinic:
    """The clinic with every item that a session of its real book may take, from the first day of that book on."""
    used = {line.item for name in real.of(clinic.site) for line in real.lines.get(name, ()) if line.item is not None}
    items = {item: item_facts(clinic.catalogue, item) for item in sorted(used | clinic.items.keys())}
    first = clinic.scenario.bookings.first_day or real.first_session() or clinic.first_day
    return replace(clinic, items=items, first_day=first)


def real_book(
    clinic: SiteClinic,
    real: RealBookings,
    streams: Streams,
    use_of: Callable[[str], np.random.Generator] | None = None,
) -> Book:
    """The book of a clinic; what its sessions use is drawn.

    Args:
        use_of: the generator of a booking's use by its id, where books are compared that do not have the same bookings;
            absent: ``streams.use`` for one after the other.
    """
    book = Book(clinic.scenario.days)
    zone = clinic.catalogue.zone(clinic.site)
    for name, booking in sorted(real.of(clinic.site).items()):
        lines = real.lines.get(name)
        last = book.days
        if booking.start is not None and isinstance(booking.end, Completed | Missed):
            day = (booking.start.astimezone(zone).date() - clinic.first_day).days
            last = max(day, 0)
            if lines is not None and isinstance(booking.end, Completed) and 0 <= day < book.days:
                random = streams.use if use_of is None else use_of(name)
                _add_session(clinic, book, random, name, booking, lines=lines, day=day)
            elif isinstance(booking.end, Missed) and day < book.days:
                at = max(booking.start, *(told.at for told in booking.told)) + _AFTER
                raw = booking_event(at, name, "missed", booking.version + 1)
                book.told[max(told_on(clinic, at), last)].append(Told(at, name, raw))
        for told in booking.told:
            known = min(told_on(clinic, told.at), last)
            if known < book.days:
                book.told[known].append(told)
    book.sort()
    return book


def _add_session(
    clinic: SiteClinic,
    book: Book,
    random: np.random.Generator,
    name: str,
    booking: _Booking,
    *,
    lines: Lines,
    day: int,
) -> None:
    """A session that took place; it ends before orders are placed, and after all that was told of its booking."""
    if booking.start is None:
        return
    on = clinic.first_day + timedelta(days=day)
    latest = datetime.combine(on, _LAST_END, clinic.catalogue.zone(clinic.site))
    ends = min(booking.start + _SESSION, latest)
    ends = max([ends, *(told.at + _AFTER for told in booking.told)])
    needs, extra = draw_use(lines, random)
    items = tuple(sorted({line.item for line in lines if line.item is not None}))
    start = min(booking.start, latest)
    book.sessions[day].append(Session(name, start, ends, needs, extra, items, booking.version + 1))
