"""A new catalogue taken over: which bookings it concerns, and what they come to under it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from planner.booking import requirements
from planner.booking.apply import resolve, take_resolved, wanted_of
from planner.booking.ledger import Ledger
from planner.booking.requirements import Cause
from planner.booking.row import BOOKINGS_PREFIX, BookingRow, Status
from planner.catalogue.index import Catalogue
from planner.expansion.memo import Expander
from planner.refusal import Refused
from planner.step import Effects

BOOKINGS_PER_PAGE_MOST = 2_000


@dataclass(slots=True)
class Adoption:
    """What came of the bookings when a catalogue was adopted."""

    concerned: int = 0
    kept: Counter[str] = field(default_factory=Counter)
    """Bookings that the new catalogue cannot expand, by reason: they stay on their last requirement."""
    first_kept: str | None = None

    def detail(self) -> str:
        # not how many had to be stated anew: after a crash between pages some of them have been
        text = f"{self.concerned - self.kept.total()} of {self.concerned} bookings concerned are as it states them"
        if self.kept:
            reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(self.kept.items()))
            text += f"; {self.kept.total()} stay on their last requirement ({reasons}; {self.first_kept})"
        return text


def changed_protocols(old: Catalogue, new: Catalogue) -> set[str]:
    """Protocols whose expansion may differ, those that are gone or new among them."""

    def digests(catalogue: Catalogue) -> dict[str, str]:
        return {name: catalogue.definition_digest(name) for name in catalogue.protocols}

    before, after = digests(old), digests(new)
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


def concerned(ledger: Ledger, old: Catalogue, new: Catalogue, now: datetime) -> list[str]:
    """Ids of future bookings that the change may concern, in the order of the table. ``now`` is in UTC.

    Only ids are kept (about 100 bytes each), and the scan ends before anything is written. A booking with overrides
    is always looked at, since it may use what its protocol does not.
    """
    changed = changed_protocols(old, new)
    yesterday = now.toordinal() - 1  # no site's day is further behind; the day itself is asked later
    found = []
    for key, value in ledger.entries.scan(BOOKINGS_PREFIX):
        row = BookingRow.decode(value)
        if row.status is not Status.BOOKED or row.day < yesterday:
            continue
        if row.protocol in changed or row.overrides or row.site not in new.sites:
            found.append(key[len(BOOKINGS_PREFIX) :].decode())
    return found


def restate(
    ledger: Ledger, expander: Expander, old: Catalogue, cause_id: str, now: datetime
) -> Iterator[Effects | Adoption]:
    """Expand again what the change concerns: pages (with more to come), and last what came of it.

    Bookings of the last, unfinished page stay on the ledger's current page. Folding again after a crash between
    pages finds the bookings of durable pages as the new catalogue wants them, and leaves them alone.
    """
    adoption = Adoption()
    for booking_id in concerned(ledger, old, expander.catalogue, now):
        row = ledger.get(booking_id)
        if row is None:
            continue
        if ledger.touched >= BOOKINGS_PER_PAGE_MOST:
            yield ledger.turn_page(more=True)
        site = row.site if row.site in expander.catalogue.sites else None
        today = expander.catalogue.site_day(site, now) if site else now.date()
        if row.day < today.toordinal():
            continue
        adoption.concerned += 1
        try:
            day, version, stated = resolve(expander, wanted_of(row))
        except Refused as refusal:
            adoption.kept[refusal.reason] += 1
            adoption.first_kept = adoption.first_kept or f"booking {booking_id}: {refusal.detail}"
            continue
        now_stated = (row.lines_id, row.protocol_version, row.day)
        if now_stated == (stated.lines_id, version, day):
            continue
        take_resolved(row, day, version, stated, expander.catalogue.version)
        ledger.keep_lines(stated)
        cause = Cause(booking_id, cause_id, now)
        ledger.page.messages.append(requirements.stated(row, cause, stated.lines, "booked"))
        ledger.put(booking_id, row)
    yield adoption
