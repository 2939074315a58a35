"""The sites of one partition as time goes by: which were touched, when the clock wakes them, and what comes of it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from planner.booking.rules import EARLIEST
from planner.catalogue.index import Catalogue
from planner.plan.queue import BACKLOG_RECORDS, SiteQueue
from planner.plan.site import NEVER, PlannedSite, alert_entry, alert_withdrawn
from planner.site.entries import restore_sites, take_writes
from planner.site.state import SiteState
from planner.step import Effects, Entries, Message

CLOCK_ENTRY = b"clock"
PLANS_HELD = 32
"""Sites whose arrays are held between reviews, of those that were looked at last. A site's take more than a megabyte,
and to make them anew takes a few times as long as a review: a chain has a thousand sites, most of them quiet."""


class Sites:
    """What the events of a chunk have touched is written at its end, and reviewed when its turn comes.

    Args:
        catalogue: the one in force.
        each_day: a day that begins is reviewed before what comes after it, so that a replay raises its alerts.
    """

    def __init__(self, catalogue: Catalogue, *, each_day: bool) -> None:
        self.catalogue = catalogue
        self.now: datetime | None = None
        self._each_day = each_day
        self._backlog_records = 1 if each_day else BACKLOG_RECORDS
        self.queue = SiteQueue(self._backlog_records)
        self._planned: dict[str, PlannedSite] = {}
        self._written: dict[str, None] = {}
        """Sites with entries to write, in the order in which the chunk touched them."""
        self._held: dict[str, None] = {}
        """Sites whose arrays are held, the one that was looked at last at the end."""
        self._wake: datetime = NEVER
        self._now_kept: datetime | None = None
        """The time in the table."""

    def restore(self, entries: Entries, *, whole: bool) -> None:
        """Rebuild them from the partition's table.

        Args:
            whole: the table holds all that the plan was made with. Then only the sites that waited for a review are
                reviewed, else all. Forecasts of all sites are to be published again.
        """
        clock = entries.get(CLOCK_ENTRY)
        self.now = self._now_kept = None if clock is None else datetime.fromisoformat(clock.decode())
        self._planned = {
            site: PlannedSite(state, self.catalogue) for site, state in sorted(restore_sites(entries.scan(b"")).items())
        }
        self.queue = SiteQueue.restored(entries, self._planned, self._backlog_records)
        self._written = {}
        self._held = {}
        if self.now is None or not whole:
            # the first instant told makes every site find out when it is to be woken next
            self.review_all()
            self._wake = EARLIEST
            return
        for site, planned in self._planned.items():
            planned.resume(self.now, waits=site in self.queue.reviews)
        self._wake = self._earliest_wake()

    # --- one of them --------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[PlannedSite]:
        return iter(self._planned.values())

    def __getitem__(self, site: str) -> PlannedSite:
        """Raises KeyError: no event of the site has been seen here."""
        return self._planned[site]

    def get(self, site: str) -> PlannedSite | None:
        """The site, if an event of it has been seen here."""
        return self._planned.get(site)

    def get_or_add(self, site: str) -> PlannedSite:
        """The site; a new one is planned from now on."""
        planned = self._planned.get(site)
        if planned is None:
            planned = PlannedSite(SiteState(site), self.catalogue)
            self.add(planned)
        return planned

    def add(self, planned: PlannedSite) -> None:
        """Plan a new site from now on."""
        self._planned[planned.state.site] = planned
        planned.touched.site = True
        if self.now is None:
            self._wake = EARLIEST
        else:
            planned.pass_to(self.now)
        self.touched(planned)

    def touched(self, planned: PlannedSite, *, by_event: bool = True) -> None:
        """Something of the site is to be written, reviewed and published."""
        self._written[planned.state.site] = None
        self.queue.touch(planned.state.site, by_event=by_event)
        self._hasten(planned)

    def _hasten(self, planned: PlannedSite) -> None:
        planned.hasten()
        if planned.wake is not None and planned.wake < self._wake:
            self._wake = planned.wake

    # --- time and catalogue -------------------------------------------------------------------------------

    def advance(self, instant: datetime, effects: Effects, tick: str | None = None) -> Iterator[None]:
        """Time has reached ``instant`` (in UTC). What it does not cross costs nothing. A turn after each site that it
        wakes: a day begins at all sites of a time zone at once, and takes each of them many milliseconds.

        What time alone changes is put down to the event id ``tick`` of the clock; where other events told the time,
        to ``clock/<instant>``: a site's alert is not the doing of another site's delivery.
        """
        if self.now is not None and instant <= self.now:
            return
        self.now = instant
        if self.now < self._wake:
            return
        cause = tick or f"clock/{instant.isoformat()}"
        for planned in self:
            if planned.wake is None or planned.wake <= self.now:
                self._wake_site(planned, effects, cause)
                yield
        self._wake = self._earliest_wake()

    def adopt(self, catalogue: Catalogue, effects: Effects, cause: str) -> Iterator[None]:
        """A catalogue comes into force: everything is planned again by it. A turn after each site."""
        self.catalogue = catalogue
        for planned in self:
            planned.adopt(catalogue)
            planned.touched.cause = cause
            self.touched(planned, by_event=False)
            self._wake_site(planned, effects, cause)  # days that went by while it was unknown end before it is planned
            yield
        self._wake = EARLIEST

    def _earliest_wake(self) -> datetime:
        return min((planned.wake for planned in self if planned.wake is not None), default=NEVER)

    def _wake_site(self, planned: PlannedSite, effects: Effects, cause: str) -> None:
        if self.now is None:
            return
        day = planned.state.today
        passed = planned.pass_to(self.now)
        if passed is None:
            return
        planned.touched.cause = cause
        self.touched(planned, by_event=False)
        for alert_id in passed.forgotten_alerts:
            effects.writes[alert_entry(planned.state.site, alert_id)] = None
            effects.messages += alert_withdrawn(alert_id)
        if passed.forgotten_unsettled:
            effects.counts["bookings_forgotten_unsettled"] += passed.forgotten_unsettled
        if planned.state.today != day:
            planned.begin_day(self.now)
            # while its arrays are held: those of so many sites are not, at the chunk's end
            if self._each_day or not self.queue.rationed:
                self._review(planned, effects)

    # --- at a chunk's end ---------------------------------------------------------------------------------

    def review_all(self) -> None:
        """Let the next chunk's end review every site, though nothing of it changed: it should find nothing new."""
        self.queue.reviews |= dict.fromkeys(self._planned)
        for planned in self:
            planned.touched.all_items = True

    def finish(self, effects: Effects) -> Iterator[None]:
        """Review those whose turn it is, and write what was touched. A turn after each review."""
        if self.now is not None:
            for site in self.queue.next_reviews(self._items):
                self._review(self._planned[site], effects)
                yield
        for planned in (self._planned[site] for site in self._written):
            effects.writes.update(take_writes(planned.state, planned.touched))
        self._written.clear()
        effects.writes.update(self.queue.take_writes())
        if self.now is not None and self.now != self._now_kept:
            effects.writes[CLOCK_ENTRY] = self.now.isoformat().encode()
            self._now_kept = self.now

    def _review(self, planned: PlannedSite, effects: Effects) -> None:
        site = planned.state.site
        self.queue.reviewed(site)
        if self.now is None or not planned.known:
            self.queue.forecasts[site] = None  # what was told is taken back
            return
        effects.counts["reviews"] += 1
        self._written[site] = None
        for published in planned.review(self.now):
            effects.writes[published.entry] = published.message.value
            effects.messages.append(published.message)
            effects.counts[published.message.topic] += 1
        self._hasten(planned)
        if planned.has_due:
            self.queue.forecasts[site] = None
        self._hold(site)

    def _items(self, site: str) -> int:
        return self._planned[site].items

    def _hold(self, site: str) -> None:
        self._held.pop(site, None)
        self._held[site] = None
        if len(self._held) > PLANS_HELD:
            longest = next(iter(self._held))
            del self._held[longest]
            self._planned[longest].let_go()

    def due(self) -> list[Message]:
        """Forecasts of the keys touched since they were last told, newest state, of some sites; none: none is left."""
        messages: list[Message] = []
        if self.now is None:
            return messages
        # of some sites that waited there may be nothing new to tell
        while not messages and (sites := self.queue.next_forecasts(self._items)):
            for site in sites:
                planned = self._planned[site]
                if planned.has_due:
                    messages += planned.take_due(self.now)
                    self._hold(site)
        return messages
