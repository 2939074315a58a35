"""Walks through a log day by day with the steps that run in production, telling nothing before its time.

At the end of each day of each site every event that happened before that instant has been folded, and the clock has
been told the first instant of the next day: what the live planner knows and believes then. Nothing later has been
looked at.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from itertools import groupby
from typing import NamedTuple

import orjson

from planner.backtest.faults import CannotTest
from planner.backtest.log import Event
from planner.booking.requirements import lines_key
from planner.booking_step import BookingStep
from planner.catalogue.model import Bundle
from planner.events.bookings import ItemUse
from planner.forecast.outlook import Outlook
from planner.messages import OutcomeStatus, RequirementUsed
from planner.plan.site import PlannedSite
from planner.plan_step import PlanStep
from planner.site.state import SiteState
from planner.step import Effects, Message, Record

_USED = b'{"schema_version":1,"type":"requirement.used"'
_DAY = timedelta(days=1)


class Table:
    """The table of one partition, in memory: ``planner.step.Entries``."""

    def __init__(self) -> None:
        self._entries: dict[bytes, bytes] = {}

    def get(self, key: bytes) -> bytes | None:
        return self._entries.get(key)

    def scan(self, prefix: bytes) -> Iterable[tuple[bytes, bytes]]:
        """In order of key."""
        return [(key, self._entries[key]) for key in sorted(self._entries) if key.startswith(prefix)]

    def apply(self, writes: Mapping[bytes, bytes | None]) -> None:
        """Keep what a page writes."""
        for key, value in writes.items():
            if value is None:
                self._entries.pop(key, None)
            else:
                self._entries[key] = value


class OutlookStep(PlanStep):
    """The plan step without alerts and proposals: what is believed about demand depends on neither."""

    def _review(self, planned: PlannedSite, effects: Effects) -> None:
        """What was touched stays so until an outlook is asked for; the queue has let the site go."""


class Completed(NamedTuple):
    """A session that took place, as it was told."""

    site: str
    day: date
    """The session's day at its site, whenever it was told."""
    start: datetime
    """In UTC."""
    lines_id: str
    """Of the lines stated last (``Walk.lines``)."""
    actual_use: tuple[ItemUse, ...] | None


class DayEnd(NamedTuple):
    """The end of a site's day."""

    site: str
    day: date
    completed: tuple[Completed, ...]
    """Sessions told as completed since the end of the site's last day."""


class _Boundary(NamedTuple):
    """The instant at which a day ends at some sites."""

    instant: datetime
    ends: tuple[tuple[str, date], ...]


class Walk:
    """One walk through a log, from its first day to its last.

    Args:
        events: in order of ``occurred_at``.
        bundle: the catalogue in force throughout.

    Attributes:
        sites: of the catalogue, that the events name; in order of id.
        first_day, last_day: of the log at its sites (the earliest and the latest of theirs).
        reached_day: the day of the last event at the site where it is earliest: what took place later is not scored.
        refused: (reason) → events that the steps refused.

    Raises:
        CannotTest: no event names a site of the catalogue.
    """

    def __init__(self, events: Sequence[Event], bundle: Bundle) -> None:
        self._events = events
        self._bookings = BookingStep(0, 1, bundle)
        self._table = Table()
        self._plan = OutlookStep(0, bundle)
        self._bookings.restore(self._table)
        self._plan.restore(Table())
        self.catalogue = self._plan.catalogue
        named = {event.site for event in events if event.site is not None}
        self.sites = tuple(sorted(named & self.catalogue.sites.keys()))
        if not self.sites:
            found = ", ".join(sorted(named)) or "none"
            raise CannotTest(f"sites of the events: found {found}; expected some of the catalogue's")
        self.first_day = min(self.catalogue.site_day(site, events[0].occurred_at) for site in self.sites)
        last = [self.catalogue.site_day(site, events[-1].occurred_at) for site in self.sites]
        self.last_day, self.reached_day = max(last), min(last)
        self.refused: Counter[str] = Counter()
        self._untold: dict[str, list[Completed]] = {site: [] for site in self.sites}

    @property
    def days(self) -> int:
        """Number of days of the log."""
        return (self.last_day - self.first_day).days + 1

    def through(self, last: date | None = None, on_events: Callable[[int], None] = lambda _: None) -> Iterator[DayEnd]:
        """The end of each day of each site, in the order of time; state and outlook are those of that instant until
        the next is asked for.

        Args:
            last: the last day; absent: the log's.
            on_events: told how many more events have been folded.
        """
        at = 0
        for boundary in self._boundaries(min(last or self.last_day, self.last_day)):
            after = at
            while after < len(self._events) and self._events[after].occurred_at < boundary.instant:
                after += 1
            self._fold([event.record for event in self._events[at:after]])
            self._tick(boundary.instant)
            on_events(after - at)
            at = after
            for site, day in boundary.ends:
                if day < self.first_day:
                    continue  # the log's first day begins: the clock has been set
                completed, self._untold[site] = self._untold[site], []
                yield DayEnd(site, day, tuple(completed))

    def state(self, site: str) -> SiteState | None:
        """The site's state; None: no requirement, stock or order of the site has been told yet. To be read only."""
        return self._plan.sites.get(site)

    def outlook(self, site: str) -> Outlook:
        """What the planner believes at this instant. Raises KeyError where ``state`` is None."""
        return self._plan.outlook(site)

    def lines(self, lines_id: str) -> bytes:
        """JSON of lines that were stated: an object with ``expansion_id`` and ``lines``. Raises KeyError."""
        found = self._table.get(lines_key(lines_id))
        if found is None:
            raise KeyError(lines_id)
        return found

    # --- time ---------------------------------------------------------------------------------------------

    def _start_of(self, day: date, site: str) -> datetime:
        """First instant of a site's day, in UTC."""
        return datetime.combine(day, time(), self.catalogue.zone(site)).astimezone(UTC)

    def _boundaries(self, last: date) -> Iterator[_Boundary]:
        """Ends of days through ``last``, in the order of time, those of one instant together."""
        places: dict[str, list[str]] = {}
        for site in self.sites:
            places.setdefault(self.catalogue.sites[site].timezone, []).append(site)
        ends = heapq.merge(*(self._ends(sites, last) for sites in places.values()), key=lambda end: end.instant)
        for instant, together in groupby(ends, key=lambda end: end.instant):
            yield _Boundary(instant, tuple(end for boundary in together for end in boundary.ends))

    def _ends(self, sites: Sequence[str], last: date) -> Iterator[_Boundary]:
        """Ends of days of sites in one time zone, from the day before the log's first on."""
        for number in range(-1, (last - self.first_day).days + 1):
            day = self.first_day + number * _DAY
            yield _Boundary(self._start_of(day + _DAY, sites[0]), tuple((site, day) for site in sites))

    def _tick(self, instant: datetime) -> None:
        body = {"type": "clock.ticked", "event_id": f"backtest/{instant.isoformat()}", "occurred_at": instant}
        value = orjson.dumps({**body, "now": instant})
        self._fold_plan([Record("clock", 0, 0, int(instant.timestamp() * 1000), b"0", value)])

    # --- events -------------------------------------------------------------------------------------------

    def _fold(self, records: Sequence[Record]) -> None:
        """Fold records of several topics in their order, each run of one topic at once."""
        for topic, run in groupby(records, key=lambda record: record.topic):
            if topic == "bookings":
                self._fold_bookings(list(run))
            else:
                self._fold_plan(list(run))

    def _fold_bookings(self, chunk: Sequence[Record]) -> None:
        requirements: list[Record] = []
        used: list[bytes] = []
        for page in self._bookings.fold(chunk):
            self._table.apply(page.writes)
            self._count_refused(page)
            for message in page.messages:
                if message.topic == "requirements":
                    requirements.append(_record(message, chunk[-1].timestamp_ms))
                    if message.value is not None and message.value.startswith(_USED):
                        used.append(message.value)
        for value in used:
            self._complete(RequirementUsed.model_validate_json(value))
        if requirements:
            self._fold_plan(requirements)

    def _complete(self, message: RequirementUsed) -> None:
        row = self._bookings.booking(message.booking_id)
        if row is None or row.start is None:
            raise LookupError(f"booking {message.booking_id!r} was completed and is not in the table")
        day = date.fromordinal(row.day)
        self._untold[message.site].append(Completed(message.site, day, row.start, row.lines_id, message.actual_use))

    def _fold_plan(self, chunk: Sequence[Record]) -> None:
        for page in self._plan.fold(chunk):
            self._count_refused(page)

    def _count_refused(self, page: Effects) -> None:
        if page.counts[OutcomeStatus.REFUSED.value]:
            for message in page.messages:
                if message.topic == "outcomes" and message.value is not None:
                    outcome = orjson.loads(message.value)
                    if outcome["status"] == OutcomeStatus.REFUSED.value:
                        self.refused[outcome["reason"]] += 1


def _record(message: Message, at_ms: int) -> Record:
    return Record(message.topic, 0, 0, at_ms, message.key, message.value)
