"""One booking event applied: the rules asked, the booking expanded, the row changed, its site told.

Everything that can be refused is checked before anything changes.
"""

from __future__ import annotations

from datetime import date, datetime
from functools import lru_cache
from typing import NamedTuple

from planner.booking import requirements
from planner.booking.ledger import Ledger
from planner.booking.requirements import Cause
from planner.booking.retention import check_known_long_enough
from planner.booking.row import LIVE, BookingRow, Status
from planner.booking.rules import RULES, believed_start
from planner.catalogue.index import Catalogue
from planner.events.bookings import (
    Amended,
    Booked,
    BookingEvent,
    Cancelled,
    ItemUse,
    Override,
    Parameters,
    Rescheduled,
)
from planner.expansion.memo import Expander, Stated
from planner.messages import OutcomeStatus
from planner.refusal import Refused
from planner.step import Message


class Ending(NamedTuple):
    """How an event that was not refused ended."""

    status: OutcomeStatus
    reason: str | None = None
    detail: str | None = None
    site: str | None = None


@lru_cache(maxsize=4_096)
def _applied_at(site: str) -> Ending:
    """What nearly every event comes to."""
    return Ending(OutcomeStatus.APPLIED, site=site)


class Wanted(NamedTuple):
    """What a booking asks for, complete; ``start`` in UTC."""

    site: str
    protocol: str
    start: datetime
    parameters: Parameters
    overrides: tuple[Override, ...]
    series_id: str | None


def resolve(expander: Expander, wanted: Wanted) -> tuple[int, int, Stated]:
    """Find the protocol's version of the day and expand it.

    Returns:
        The site's day (ordinal), the number of the version, and what the booking comes to under the catalogue in force.

    Raises:
        Refused: ``unknown-site``, ``unknown-protocol``, ``protocol-not-given-here``, ``protocol-not-in-force``, and
            those of ``planner.expansion``.
    """
    given = expander.given.get((wanted.site, wanted.protocol))
    if given is None:
        raise _not_given(expander.catalogue, wanted)
    day = wanted.start.astimezone(given.zone).toordinal()
    version = given.version_on(day)
    if version is None:
        raise Refused(
            "protocol-not-in-force",
            f"protocol: {wanted.protocol!r} has no version in force on {date.fromordinal(day).isoformat()}",
        )
    return day, version.number, expander.stated(given, version, wanted.parameters, wanted.overrides)


def _not_given(catalogue: Catalogue, wanted: Wanted) -> Refused:
    site = catalogue.sites.get(wanted.site)
    if site is None:
        return Refused("unknown-site", f"site: found {wanted.site!r}; expected one of the catalogue's sites")
    if wanted.protocol not in catalogue.protocols:
        return Refused("unknown-protocol", f"protocol: found {wanted.protocol!r}; expected one of the catalogue's")
    return Refused(
        "protocol-not-given-here",
        f"protocol: found {wanted.protocol!r}; site {site.id} gives {', '.join(site.protocols or ()) or 'none'}",
    )


def apply_event(event: BookingEvent, occurred_at: datetime, ledger: Ledger, expander: Expander) -> Ending:
    """Apply an event to its booking; messages and the changed row go to the ledger's page.

    Args:
        event: as it came.
        occurred_at: the event's, in UTC and believed.
        ledger: the partition's bookings.
        expander: of the catalogue in force.

    Raises:
        Refused: see ``planner.booking.rules``, ``planner.booking.retention`` and ``resolve``; nothing has changed then.
    """
    row = ledger.get(event.booking_id)
    turn = _Turn(event, occurred_at, ledger, expander)
    if row is None:
        check_known_long_enough(event.booking_id, occurred_at.toordinal(), ledger.today)
        return turn.first()
    if event.event_id in row.event_ids:
        return Ending(OutcomeStatus.DUPLICATE, "same-event", "the booking has applied this event id before", row.site)
    if event.version == row.version:
        return Ending(
            OutcomeStatus.DUPLICATE, "same-version", f"version: found {event.version}, which is applied", row.site
        )
    if event.version < row.version:
        if row.status is Status.CANCELLATION_WAITING and isinstance(event, Booked):
            return turn.cancelled_before(event, row)
        raise Refused("stale-version", f"version: found {event.version}; expected above {row.version}")
    rule = RULES[event.type][row.status]
    if rule.end == "refused":
        raise Refused(rule.reason, _not_after(event, row))
    if rule.end == "duplicate":
        turn.advance(row)
        ledger.put(event.booking_id, row)
        return Ending(OutcomeStatus.DUPLICATE, rule.reason, f"booking {event.booking_id} is {row.status}", row.site)
    turn.follow(row)
    ledger.put(event.booking_id, row)
    return _applied_at(row.site)


def _not_after(event: BookingEvent, row: BookingRow) -> str:
    kind = event.type.removeprefix("booking.")
    if row.status is Status.CANCELLATION_WAITING:
        return f"booking {event.booking_id}: {kind}, but it was never booked (a cancellation waits for it)"
    return f"booking {event.booking_id}: {kind}, but it is {row.status} since version {row.version}"


class _Turn:
    """One event's turn at its booking: what it changes, and what the sites are told of it."""

    __slots__ = ("cause", "event", "expander", "ledger")

    def __init__(self, event: BookingEvent, occurred_at: datetime, ledger: Ledger, expander: Expander) -> None:
        self.event = event
        self.cause = Cause(event.booking_id, event.event_id, occurred_at)
        self.ledger = ledger
        self.expander = expander

    def first(self) -> Ending:
        """The event is the first about its booking."""
        event = self.event
        if isinstance(event, Booked):
            row = BookingRow(Status.BOOKED, event.version)
            self._state_anew(row, _of_booked(event, self.cause.occurred_at))
            self.ledger.put(event.booking_id, row)
            return _applied_at(row.site)
        if isinstance(event, Cancelled):
            row = BookingRow(Status.CANCELLATION_WAITING, event.version)
            self.advance(row)
            self.ledger.put(event.booking_id, row)
            return Ending(OutcomeStatus.APPLIED, detail="not booked yet: the cancellation waits for the booking")
        kind = event.type.removeprefix("booking.")
        raise Refused("unknown-booking", f"booking_id: found {event.booking_id!r}; {kind} needs a booking before it")

    def follow(self, row: BookingRow) -> None:
        """The rules let the event happen to a known booking."""
        event, at = self.event, self.cause.occurred_at
        # by the tag and not by the class: to find that a pydantic model is not of a class takes 0.1 µs
        match event.type:
            case "booking.booked":
                self._state_anew(row, _of_booked(event, at))
            case "booking.rescheduled":
                self._state_anew(row, _of_rescheduled(event, row, at))
            case "booking.amended":
                self._state_anew(row, _of_amended(event, row), arrived=row.status is Status.ARRIVED)
            case "booking.arrived":
                self.advance(row)
                self._state_arrived(row)
            case "booking.cancelled":
                self.advance(row)
                row.status = Status.CANCELLED
                self._tell(requirements.withdrawn(row, self.cause, "cancelled"))
            case "booking.missed":
                self.advance(row)
                row.status = Status.MISSED
                self._tell(requirements.withdrawn(row, self.cause, "missed"))
            case "booking.completed":
                _check_use(self.expander.catalogue, event.actual_use)
                self.advance(row)
                if row.status not in LIVE:  # withdrawn when it was marked missed: the site needs it back to use it
                    self._state_arrived(row)
                row.status = Status.COMPLETED
                self._tell(requirements.used(row, self.cause, event.actual_use))

    def cancelled_before(self, event: Booked, row: BookingRow) -> Ending:
        """A later cancellation has been waiting for this booking: it is kept, and cancelled at once. No site hears."""
        wanted = _of_booked(event, self.cause.occurred_at)
        day, version, stated = resolve(self.expander, wanted)
        self._book(row, event)
        _take_over(row, wanted)
        take_resolved(row, day, version, stated, self.expander.catalogue.version)
        row.lines_id = ""  # never stated
        row.status = Status.CANCELLED
        row.remember(event.event_id)
        self.ledger.put(event.booking_id, row)
        detail = f"cancelled at once: its cancellation (version {row.version}) came before it"
        return Ending(OutcomeStatus.APPLIED, detail=detail, site=row.site)

    def advance(self, row: BookingRow) -> None:
        """The row has taken the event in."""
        row.version = self.event.version
        row.remember(self.event.event_id)

    def _state_anew(self, row: BookingRow, wanted: Wanted, *, arrived: bool = False) -> None:
        """State what is wanted now at its site, withdrawing it from the site it leaves."""
        day, version, stated = resolve(self.expander, wanted)
        self.advance(row)
        if row.status in LIVE and row.site and row.site != wanted.site:
            self._tell(requirements.withdrawn(row, self.cause, "moved"))
        if isinstance(self.event, Booked) and (row.status not in LIVE or not row.site):
            self._book(row, self.event)  # one that restates a live booking does not make it younger
        _take_over(row, wanted)
        take_resolved(row, day, version, stated, self.expander.catalogue.version)
        row.status = Status.ARRIVED if arrived else Status.BOOKED
        self.ledger.keep_lines(stated)
        self._tell(requirements.stated(row, self.cause, stated.lines, "arrived" if arrived else "booked"))

    def _book(self, row: BookingRow, event: Booked) -> None:
        """The booking begins with this event. Its site is known by now (``resolve``)."""
        row.booked_on = self.expander.catalogue.site_day(event.site, self.cause.occurred_at).toordinal()
        row.source = event.source

    def _state_arrived(self, row: BookingRow) -> None:
        """State again the lines stated last: those the session was prepared by, whatever the catalogue says today."""
        row.status = Status.ARRIVED
        lines = self.ledger.lines(row.lines_id)
        self._tell(requirements.stated(row, self.cause, lines, "arrived"))

    def _tell(self, message: Message) -> None:
        self.ledger.page.messages.append(message)


# --- what a booking asks for ---


def _of_booked(event: Booked, occurred_at: datetime) -> Wanted:
    start = believed_start(event.start, occurred_at)
    return Wanted(event.site, event.protocol, start, event.parameters, event.overrides, event.series_id)


def _of_rescheduled(event: Rescheduled, row: BookingRow, occurred_at: datetime) -> Wanted:
    start = believed_start(event.start, occurred_at)
    return Wanted(event.site or row.site, row.protocol, start, row.parameters, row.overrides, row.series_id)


def _of_amended(event: Amended, row: BookingRow) -> Wanted:
    """A field that is absent stays as it was, a parameter too."""
    before, told = wanted_of(row), event.parameters
    parameters = before.parameters
    if told is not None:  # constructed, not copied with changes: both have been validated, and a copy costs 3 µs
        parameters = Parameters.model_construct(
            weight_kg=parameters.weight_kg if told.weight_kg is None else told.weight_kg,
            hours=parameters.hours if told.hours is None else told.hours,
        )
    overrides = before.overrides if event.overrides is None else event.overrides
    protocol = event.protocol or before.protocol
    return Wanted(before.site, protocol, before.start, parameters, overrides, before.series_id)


def wanted_of(row: BookingRow) -> Wanted:
    """What the booking asked for last.

    Raises:
        ValueError: nothing but a cancellation is known of it (the rules let no such row come here).
    """
    if row.start is None:
        raise ValueError("a cancellation that waits for its booking asks for nothing")
    return Wanted(row.site, row.protocol, row.start, row.parameters, row.overrides, row.series_id)


def _take_over(row: BookingRow, wanted: Wanted) -> None:
    row.site = wanted.site
    row.protocol = wanted.protocol
    row.start = wanted.start
    row.parameters = wanted.parameters
    row.overrides = wanted.overrides
    row.series_id = wanted.series_id


def take_resolved(row: BookingRow, day: int, version: int, stated: Stated, catalogue_version: str) -> None:
    """Keep what the booking came to (``resolve``)."""
    row.day = day
    row.protocol_version = version
    row.catalogue_version = catalogue_version
    row.lines_id = stated.lines_id


def _check_use(catalogue: Catalogue, actual_use: tuple[ItemUse, ...] | None) -> None:
    """Actual use must be countable in stock.

    Raises:
        Refused: ``unknown-item``, ``unit-mismatch``.
    """
    for index, use in enumerate(actual_use or ()):
        item = catalogue.items.get(use.item)
        field = f"actual_use.{index}"
        if item is None:
            raise Refused("unknown-item", f"{field}.item: found {use.item!r}; expected one of the catalogue's items")
        if (use.containers is None) == (use.volume_ml is None):
            raise Refused("unit-mismatch", f"{field} ({use.item}): expected either containers or volume_ml")
        if use.volume_ml is not None and item.counted_in != "mL":
            raise Refused("unit-mismatch", f"{field}.volume_ml: {use.item} is single-dose; expected containers")
        if use.containers is not None and use.containers % 1 != 0:
            raise Refused("unit-mismatch", f"{field}.containers: found {use.containers}; expected a whole number")
