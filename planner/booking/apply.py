"""One booking event applied: the rules asked, the booking expanded, the row changed, its site told.

Everything that can be refused is checked before anything changes.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal, NamedTuple

from planner.booking import requirements
from planner.booking.ledger import Ledger
from planner.booking.requirements import Cause
from planner.booking.row import LIVE, BookingRow, Status
from planner.booking.rules import RULES, check_start
from planner.catalogue.index import Catalogue
from planner.catalogue.model import ProtocolVersion
from planner.events.bookings import (
    Amended,
    Arrived,
    Booked,
    BookingEvent,
    Cancelled,
    Completed,
    ItemUse,
    Missed,
    Override,
    Parameters,
    Rescheduled,
)
from planner.expansion.memo import Expander, Stated
from planner.messages import OutcomeStatus
from planner.refusal import Refused


class Ending(NamedTuple):
    """How an event that was not refused ended."""

    status: OutcomeStatus
    reason: str | None = None
    detail: str | None = None
    site: str | None = None


class Wanted(NamedTuple):
    """What a booking asks for, complete."""

    site: str
    protocol: str
    start: datetime
    parameters: Parameters
    overrides: tuple[Override, ...]
    series_id: str | None


class Resolved(NamedTuple):
    """What a booking comes to under the catalogue in force. ``day``: ordinal of the site's day."""

    day: int
    version: ProtocolVersion
    stated: Stated


def instant_text(instant: datetime) -> str:
    """An instant in UTC, as it travels."""
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")


def resolve(expander: Expander, wanted: Wanted) -> Resolved:
    """Find the protocol's version of the day and expand it.

    Raises:
        Refused: ``unknown-site``, ``unknown-protocol``, ``protocol-not-given-here``, ``protocol-not-in-force``, and
            those of ``planner.expansion``.
    """
    catalogue = expander.catalogue
    site = catalogue.sites.get(wanted.site)
    if site is None:
        raise Refused("unknown-site", f"site: found {wanted.site!r}; expected one of the catalogue's sites")
    if wanted.protocol not in catalogue.protocols:
        raise Refused("unknown-protocol", f"protocol: found {wanted.protocol!r}; expected one of the catalogue's")
    if site.protocols is not None and wanted.protocol not in site.protocols:
        raise Refused(
            "protocol-not-given-here",
            f"protocol: found {wanted.protocol!r}; site {site.id} gives {', '.join(site.protocols) or 'none'}",
        )
    day = catalogue.site_day(site.id, wanted.start)
    version = catalogue.protocol_version(wanted.protocol, day)
    if version is None:
        raise Refused(
            "protocol-not-in-force", f"protocol: {wanted.protocol!r} has no version in force on {day.isoformat()}"
        )
    stated = expander.stated(site.id, wanted.protocol, version, wanted.parameters, wanted.overrides)
    return Resolved(day.toordinal(), version, stated)


def apply_event(event: BookingEvent, ledger: Ledger, expander: Expander) -> Ending:
    """Apply an event to its booking; messages and changed rows go to the ledger's page.

    Raises:
        Refused: see ``planner.booking.rules`` and ``resolve``; nothing has changed then.
    """
    row = ledger.get(event.booking_id)
    if row is None:
        return _first(event, ledger, expander)
    if event.event_id in row.event_ids:
        return Ending(OutcomeStatus.DUPLICATE, "same-event", "the booking has applied this event id before", row.site)
    if event.version == row.version:
        return Ending(
            OutcomeStatus.DUPLICATE, "same-version", f"version: found {event.version}, which is applied", row.site
        )
    if event.version < row.version:
        if row.status is Status.CANCELLATION_WAITING and isinstance(event, Booked):
            return _cancelled_before(event, row, ledger, expander)
        raise Refused("stale-version", f"version: found {event.version}; expected above {row.version}")
    rule = RULES[event.type][row.status]
    if rule.end == "refused":
        raise Refused(rule.reason, _not_after(event, row))
    if rule.end == "duplicate":
        row.version = event.version
        row.remember(event.event_id)
        ledger.put(event.booking_id, row)
        return Ending(OutcomeStatus.DUPLICATE, rule.reason, f"booking {event.booking_id} is {row.status}", row.site)
    return _follow(event, row, ledger, expander)


def _not_after(event: BookingEvent, row: BookingRow) -> str:
    kind = event.type.removeprefix("booking.")
    if row.status is Status.CANCELLATION_WAITING:
        return f"booking {event.booking_id}: {kind}, but it was never booked (a cancellation waits for it)"
    return f"booking {event.booking_id}: {kind}, but it is {row.status} since version {row.version}"


def _first(event: BookingEvent, ledger: Ledger, expander: Expander) -> Ending:
    """An event about a booking of which nothing is known."""
    if isinstance(event, Booked):
        row = BookingRow(Status.BOOKED, event.version)
        _state_anew(event, row, _of_booked(event), ledger, expander)
        return Ending(OutcomeStatus.APPLIED, site=row.site)
    if isinstance(event, Cancelled):
        row = BookingRow(Status.CANCELLATION_WAITING, event.version)
        row.remember(event.event_id)
        ledger.put(event.booking_id, row)
        return Ending(OutcomeStatus.APPLIED, detail="not booked yet: the cancellation waits for the booking")
    kind = event.type.removeprefix("booking.")
    raise Refused("unknown-booking", f"booking_id: found {event.booking_id!r}; {kind} needs a booking before it")


def _follow(event: BookingEvent, row: BookingRow, ledger: Ledger, expander: Expander) -> Ending:
    """An event that the rules let happen to a known booking."""
    match event:
        case Booked():
            _state_anew(event, row, _of_booked(event), ledger, expander)
        case Rescheduled():
            _state_anew(event, row, _of_rescheduled(event, row), ledger, expander)
        case Amended():
            arrived = row.status is Status.ARRIVED
            _state_anew(event, row, _of_amended(event, row), ledger, expander, arrived=arrived)
        case Arrived():
            _advance(event, row, ledger)
            _state_arrived(event, row, ledger)
        case Cancelled():
            _withdraw(event, row, Status.CANCELLED, ledger)
        case Missed():
            _withdraw(event, row, Status.MISSED, ledger)
        case Completed():
            _check_use(expander.catalogue, event.actual_use)
            _advance(event, row, ledger)
            if row.status not in LIVE:  # withdrawn when it was marked missed: the site needs it back to use it
                _state_arrived(event, row, ledger)
            row.status = Status.COMPLETED
            ledger.page.messages.append(requirements.used(row, _cause(event), event.actual_use))
    return Ending(OutcomeStatus.APPLIED, site=row.site)


def _advance(event: BookingEvent, row: BookingRow, ledger: Ledger) -> None:
    row.version = event.version
    row.remember(event.event_id)
    ledger.put(event.booking_id, row)


def _cause(event: BookingEvent) -> Cause:
    return Cause(event.booking_id, event.event_id, instant_text(event.occurred_at))


def _state_arrived(event: BookingEvent, row: BookingRow, ledger: Ledger) -> None:
    """State again the lines stated last: those the session was prepared by, whatever the catalogue says today."""
    row.status = Status.ARRIVED
    lines = ledger.lines(row.lines_id)
    ledger.page.messages.append(requirements.stated(row, _cause(event), lines, "arrived"))


def _withdraw(
    event: BookingEvent, row: BookingRow, status: Literal[Status.CANCELLED, Status.MISSED], ledger: Ledger
) -> None:
    _advance(event, row, ledger)
    row.status = status
    reason: Literal["cancelled", "missed"] = "missed" if status is Status.MISSED else "cancelled"
    ledger.page.messages.append(requirements.withdrawn(row, _cause(event), reason))


# --- what a booking asks for ---


def _of_booked(event: Booked) -> Wanted:
    check_start(event.start, event.occurred_at)
    return Wanted(event.site, event.protocol, event.start, event.parameters, event.overrides, event.series_id)


def _of_rescheduled(event: Rescheduled, row: BookingRow) -> Wanted:
    check_start(event.start, event.occurred_at)
    return wanted_of(row)._replace(start=event.start, site=event.site or row.site)


def _of_amended(event: Amended, row: BookingRow) -> Wanted:
    """A field that is absent stays as it was, a parameter too."""
    parameters = row.parameters
    if event.parameters is not None:
        changed = {name: value for name, value in event.parameters if value is not None}
        parameters = parameters.model_copy(update=changed)
    overrides = row.overrides if event.overrides is None else event.overrides
    return wanted_of(row)._replace(protocol=event.protocol or row.protocol, parameters=parameters, overrides=overrides)


def wanted_of(row: BookingRow) -> Wanted:
    """What the booking asked for last."""
    return Wanted(row.site, row.protocol, row.starts_at, row.parameters, row.overrides, row.series_id)


def _take_over(row: BookingRow, wanted: Wanted) -> None:
    row.site = wanted.site
    row.protocol = wanted.protocol
    row.start = instant_text(wanted.start)
    row.parameters = wanted.parameters
    row.overrides = wanted.overrides
    row.series_id = wanted.series_id


def take_resolved(row: BookingRow, resolved: Resolved, catalogue_version: str) -> None:
    """Keep what the booking came to."""
    row.day = resolved.day
    row.protocol_version = resolved.version.version
    row.catalogue_version = catalogue_version
    row.lines_id = resolved.stated.lines_id


def _state_anew(
    event: BookingEvent, row: BookingRow, wanted: Wanted, ledger: Ledger, expander: Expander, *, arrived: bool = False
) -> None:
    """State what is wanted now at its site, withdrawing it from the site it leaves."""
    resolved = resolve(expander, wanted)
    cause = _cause(event)
    _advance(event, row, ledger)
    if row.status in LIVE and row.site and row.site != wanted.site:
        ledger.page.messages.append(requirements.withdrawn(row, cause, "moved"))
    _take_over(row, wanted)
    take_resolved(row, resolved, expander.catalogue.version)
    row.status = Status.ARRIVED if arrived else Status.BOOKED
    ledger.keep_lines(resolved.stated)
    status: Literal["booked", "arrived"] = "arrived" if arrived else "booked"
    ledger.page.messages.append(requirements.stated(row, cause, resolved.stated.lines, status))


def _cancelled_before(event: Booked, row: BookingRow, ledger: Ledger, expander: Expander) -> Ending:
    """The booking for which a later cancellation has been waiting: kept, and cancelled at once. No site hears of it."""
    wanted = _of_booked(event)
    resolved = resolve(expander, wanted)
    _take_over(row, wanted)
    take_resolved(row, resolved, expander.catalogue.version)
    row.lines_id = ""  # never stated
    row.status = Status.CANCELLED
    row.remember(event.event_id)
    ledger.put(event.booking_id, row)
    detail = f"cancelled at once: its cancellation (version {row.version}) came before it"
    return Ending(OutcomeStatus.APPLIED, detail=detail, site=row.site)


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
