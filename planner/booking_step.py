"""The booking step: booking events and catalogues in; requirements, outcomes and the hours of the events out.

It owns the bookings of one partition. Its table holds, under composed keys:

- ``booking``, id: a ``BookingRow``;
- ``lines``, digest: lines that were stated, once for all bookings that share them;
- ``ends`` and ``lines-until``: when these are forgotten (``planner.booking.retention``);
- ``catalogue``: the catalogue in force here, and the offset of the record that brought it;
- ``clock``: the latest ``occurred_at`` seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final, Literal

import orjson

from planner.base import Model
from planner.booking.adoption import Adoption, restate
from planner.booking.apply import Ending, apply_event
from planner.booking.ledger import Ledger
from planner.booking.row import BookingRow
from planner.booking.rules import believed, not_ahead
from planner.catalogue.index import Catalogue
from planner.catalogue.model import Bundle
from planner.catalogue_records import held_once, read_catalogue
from planner.events.bookings import BOOKING_EVENTS, BookingEvent
from planner.expansion.memo import Expander
from planner.messages import OutcomeStatus
from planner.records import (
    DeadLetter,
    check_key,
    dead_letter_message,
    dead_letter_outcome,
    decode,
    outcome_message,
)
from planner.refusal import Refused
from planner.step import Effects, Entries, Message, Record
from planner.topics import composed_key

CATALOGUE_ENTRY: Final = composed_key("catalogue")
CLOCK_ENTRY: Final = composed_key("clock")


class _CatalogueEntry(Model):
    """The table's ``catalogue`` entry."""

    offset: int
    bundle: Bundle


class BookingStep:
    """The bookings of one partition; a ``planner.step.Step``.

    Args:
        partition: the partition it owns.
        partitions: how many there are (the hours are told to them all).
        catalogue: in force until a record brings another; one in the table wins.
        clock: ``event``: time is the largest ``occurred_at`` seen, and each new hour of it is told in every partition
            of ``requirements``, in order with what the bookings need: no reader is ahead of what it reads.
    """

    def __init__(
        self, partition: int, partitions: int, catalogue: Bundle, clock: Literal["wall", "event"] = "wall"
    ) -> None:
        self.partition = partition
        self.partitions = partitions
        self.clock = clock
        self.now: datetime | None = None
        """The latest ``occurred_at`` seen, in UTC; never runs back."""
        self.expander = Expander(Catalogue(catalogue))
        self._catalogue_offset = -1
        self._ledger: Ledger | None = None

    @property
    def catalogue(self) -> Catalogue:
        """In force here."""
        return self.expander.catalogue

    def booking(self, booking_id: str) -> BookingRow | None:
        """What is known of a booking, to be read. Raises RuntimeError before ``restore``."""
        return self._restored().get(booking_id)

    # --- Step ---

    def restore(self, entries: Entries) -> None:
        """Take the partition's table as what is known; bookings stay there and are read when asked for."""
        self._ledger = Ledger(entries)
        value = entries.get(CATALOGUE_ENTRY)
        if value is not None:
            entry = _CatalogueEntry.model_validate_json(value)
            self.expander = Expander(Catalogue(held_once(entry.bundle)))
            self._catalogue_offset = entry.offset
        value = entries.get(CLOCK_ENTRY)
        if value is not None:
            self.now = datetime.fromisoformat(orjson.loads(value))
            self._ledger.today = self.now.toordinal()

    def made_with(self) -> dict[str, str | None]:
        """The fields of ``planner.journal.Restored``, as they are right after ``restore``."""
        return {
            "clock": self.clock,
            "catalogue_version": None if self._catalogue_offset >= 0 else self.catalogue.version,
        }

    def fold(self, chunk: Sequence[Record], *, caught_up: bool = True) -> Iterator[Effects]:
        """See ``planner.step.Step``. Every record gives exactly one outcome; nothing is ever postponed."""
        ledger = self._restored()
        topic = chunk[0].topic if chunk else "bookings"
        if topic == "catalogue":
            yield from self._fold_catalogues(chunk, ledger)
            return
        if topic != "bookings":
            raise ValueError(f"the booking step folds bookings and catalogue; found topic {topic!r}")
        before = self.now
        for record in chunk:
            self._fold_booking(record, ledger)
        if self.now is not None and self.now != before:
            ledger.page.writes[CLOCK_ENTRY] = orjson.dumps(self.now, option=orjson.OPT_UTC_Z)
        yield ledger.turn_page(more=False)

    def due(self) -> list[Message]:
        """Nothing of this step may wait."""
        return []

    def _restored(self) -> Ledger:
        if self._ledger is None:
            raise RuntimeError("restore(entries) has to come first")
        return self._ledger

    # --- bookings ---

    def _fold_booking(self, record: Record, ledger: Ledger) -> None:
        event = decode(BOOKING_EVENTS, record)
        if isinstance(event, DeadLetter):
            self._dead_letter(record, event, ledger.page)
            return
        page = ledger.page
        try:
            occurred_at = believed("occurred_at", event.occurred_at)
            if self.clock == "wall":
                not_ahead("occurred_at", occurred_at, record.timestamp_ms)
            self._see(occurred_at, ledger)
            check_key(record, event.booking_id, "booking_id")
            end = apply_event(event, occurred_at, ledger, self.expander)
        except Refused as refusal:
            end = Ending(OutcomeStatus.REFUSED, refusal.reason, refusal.detail)
        self._tell(record, event, end, page)

    def _tell(self, record: Record, event: BookingEvent, end: Ending, page: Effects) -> None:
        page.counts[end.status] += 1
        page.messages.append(
            outcome_message(
                record,
                end.status,
                event.event_id,
                event.type,
                reason=end.reason,
                detail=end.detail,
                booking_id=event.booking_id,
                site=end.site or getattr(event, "site", None),
                catalogue_version=self.catalogue.version,
            )
        )

    def _dead_letter(self, record: Record, dead: DeadLetter, page: Effects) -> None:
        page.counts[OutcomeStatus.DEAD_LETTERED.value] += 1
        page.messages.append(dead_letter_message(record, dead))
        page.messages.append(dead_letter_outcome(record, dead))

    # --- the event clock ---

    def _see(self, occurred_at: datetime, ledger: Ledger) -> None:
        """Time is at least ``occurred_at``; a new hour of it is told, before what the event itself brings."""
        if self.now is not None and occurred_at <= self.now:
            return
        hour = occurred_at.replace(minute=0, second=0, microsecond=0)
        entered = self.now is None or self.now < hour
        self.now = occurred_at
        if occurred_at.toordinal() != ledger.today and (forgotten := ledger.pass_to(occurred_at.toordinal())):
            ledger.page.counts["bookings_forgotten"] += forgotten
        if entered and self.clock == "event":
            ledger.page.messages += self._ticks(hour)

    def _ticks(self, hour: datetime) -> list[Message]:
        text = f"{hour:%Y-%m-%dT%H:00:00}Z"
        body = orjson.dumps(
            {
                "schema_version": 1,
                "type": "clock.ticked",
                "event_id": f"clock/{text}/{self.partition}",
                "occurred_at": text,
                "source": f"expand/{self.partition}",
                "now": text,
            }
        )
        return [Message("requirements", str(p).encode(), body, p) for p in range(self.partitions)]

    # --- catalogues ---

    def _fold_catalogues(self, chunk: Sequence[Record], ledger: Ledger) -> Iterator[Effects]:
        for record in chunk:
            # Its pages are written before the chunk's position is: after a crash between them the record comes again.
            if record.offset > self._catalogue_offset:
                yield from self._fold_catalogue(record, ledger)
        yield ledger.turn_page(more=False)

    def _fold_catalogue(self, record: Record, ledger: Ledger) -> Iterator[Effects]:
        bundle = read_catalogue(record)
        if isinstance(bundle, DeadLetter):
            self._dead_letter(record, bundle, ledger.page)
            return
        status = OutcomeStatus.DUPLICATE
        reason: str | None = "same-catalogue"
        detail = "this catalogue is in force already"
        event_id = f"catalogue/{bundle.version}/{self.partition}"
        if bundle.version != self.catalogue.version:
            adoption = Adoption()
            old, self.expander = self.catalogue, Expander(Catalogue(bundle))
            if self.now is not None:
                for page in restate(ledger, self.expander, old, event_id, self.now):
                    if isinstance(page, Adoption):
                        adoption = page
                    else:
                        yield page
            status, reason, detail = OutcomeStatus.APPLIED, None, adoption.detail()
            ledger.page.counts["bookings_kept_on_last_requirement"] += adoption.kept.total()
        if status is OutcomeStatus.APPLIED or self._catalogue_offset < 0:
            # The first is kept too: a faulty record may push it out of the compacted topic.
            self._catalogue_offset = record.offset
            # Built anew: unknown fields of the record are not kept. It goes with the last page, so that until then
            # a crash leaves the old catalogue in force.
            entry = _CatalogueEntry(offset=record.offset, bundle=bundle)
            ledger.page.writes[CATALOGUE_ENTRY] = entry.model_dump_json().encode()
        ledger.page.counts[status.value] += 1
        ledger.page.messages.append(
            outcome_message(
                record,
                status,
                event_id,
                "catalogue",
                reason=reason,
                detail=detail,
                catalogue_version=self.catalogue.version,
            )
        )
