"""The step of ``plan``: requirements, stock, orders, actions and time into forecasts, alerts and proposals by site.

A chunk is folded event by event; then the sites it touched are *reviewed*: need, projection, alerts, proposals, once
for all that the chunk changed. Forecasts wait until they are asked for (``due``). In a backlog both are rationed (see
``planner.plan.queue``); when nothing more waits, all are made up.

What comes from where:

- stock, orders, alert-actions: exactly one outcome per event. Event ids are remembered per site for ``KEEP_DAYS``:
  the same id again is a duplicate (``same-event``). A refused event is not remembered, so that it can be sent again
  when what was missing is there. Sites and items that the catalogue in force lacks: ``unknown-site``, ``unknown-item``.
- requirements: no outcome, since their booking has one. One for a site that this catalogue lacks (``expand`` may have
  heard of a new one first) is kept, and planned as soon as the catalogue has it.
- clock: time never runs back. It is what makes days pass; in event mode time is a watermark over the hours that come
  with the requirements (``planner.plan.event_clock``), and a day that begins is reviewed before the event that
  brought it, so that a replay raises the alerts of its days.
- catalogue: everything is planned again by the new one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Literal

from pydantic import TypeAdapter

from planner.booking.rules import believed, not_ahead
from planner.catalogue.index import Catalogue
from planner.catalogue.model import Bundle
from planner.catalogue_records import BUNDLES, held_once, read_catalogue
from planner.events.control import (
    ALERT_ACTIONS,
    CLOCK_EVENTS,
    Acknowledged,
    AlertAction,
    AlertOrdered,
    ClockTicked,
    Closed,
    Snoozed,
)
from planner.events.orders import ORDER_EVENTS, OrderEvent
from planner.events.stock import STOCK_EVENTS, StockEvent
from planner.explain.model import Explanation
from planner.forecast.outlook import Outlook
from planner.messages import AlertKind, OutcomeStatus
from planner.plan.apply import apply_event, apply_requirement
from planner.plan.event_clock import EventClock
from planner.plan.gauges import gauges_of
from planner.plan.requirements import RequirementReader
from planner.plan.site import PlannedSite
from planner.plan.sites import Sites
from planner.records import DeadLetter, check_key, dead_letter_message, dead_letter_outcome, decode, outcome_message
from planner.refusal import Refused
from planner.reorder.actions import act
from planner.site.state import SiteState
from planner.step import TURN, Effects, Entries, Message, Record
from planner.why import explain

CATALOGUE_ENTRY = b"catalogue"

SiteEvent = StockEvent | OrderEvent | AlertAction
_ADAPTERS: Final[dict[str, TypeAdapter[Any]]] = {
    "stock": STOCK_EVENTS,
    "orders": ORDER_EVENTS,
    "alert-actions": ALERT_ACTIONS,
}


class PlanStep:
    """The state of one partition's sites. Not thread-safe; one owner.

    Args:
        catalogue: the one to begin with; a catalogue in the table is newer and wins.
        clock: ``wall``: time comes from ``clock`` records alone; ``event``: from the events themselves.
    """

    def __init__(self, partition: int, catalogue: Bundle, clock: Literal["wall", "event"] = "wall") -> None:
        self.partition = partition
        self._catalogue_kept = False
        """Whether the table holds the catalogue."""
        self._event_clock = EventClock() if clock == "event" else None
        self._sites = Sites(Catalogue(catalogue), each_day=clock == "event")
        self._reader = RequirementReader()
        self._handlers: Final[dict[str, Callable[[Record, Effects], Iterator[None]]]] = {
            "requirements": self._fold_requirement,
            "stock": self._fold_event,
            "orders": self._fold_event,
            "alert-actions": self._fold_event,
            "clock": self._fold_clock,
            "catalogue": self._fold_catalogue,
        }

    # --- the step -----------------------------------------------------------------------------------------

    def restore(self, entries: Entries) -> None:
        """Rebuild everything from the partition's table.

        Forecasts of all sites are to be published again. Reviews go on where they were: only of the sites that
        waited, unless what they were made with, the catalogue or the time, is not in the table.
        """
        stored = entries.get(CATALOGUE_ENTRY)
        self._catalogue_kept = stored is not None
        if stored is not None:
            self._sites.catalogue = Catalogue(held_once(BUNDLES.validate_json(stored)))
        self._sites.restore(entries, whole=self._catalogue_kept)
        if self._event_clock is not None:
            self._event_clock = EventClock.restored(entries)
            if self._event_clock.behind:
                self._sites.queue.still_behind("requirements")

    def review_all(self) -> None:
        """Let the next fold review every site, though nothing of it changed: it should find nothing new."""
        self._sites.review_all()

    def made_with(self) -> dict[str, str | None]:
        """The fields of ``planner.journal.Restored``, as they are right after ``restore``."""
        clock = "wall" if self._event_clock is None else "event"
        return {"clock": clock, "catalogue_version": None if self._catalogue_kept else self.catalogue.version}

    def fold(self, chunk: Sequence[Record], *, caught_up: bool = True) -> Iterator[Effects]:
        """Advance by a chunk; one page of effects, after turns for others. See ``planner.step.Step``."""
        effects = Effects()
        for _ in self._fold(chunk, effects, caught_up=caught_up):
            yield TURN
        yield effects

    def _fold(self, chunk: Sequence[Record], effects: Effects, *, caught_up: bool) -> Iterator[None]:
        queue = self._sites.queue
        queue.folded(chunk[0].topic if chunk else None, len(chunk), caught_up=caught_up)
        for record in chunk:
            yield from self._handlers[record.topic](record, effects)
        if self._event_clock is not None:
            if (latest := self._event_clock.greatest) is not None and not queue.in_backlog:
                yield from self._sites.advance(latest, effects)
            self._event_clock.behind = "requirements" in queue.behind
            effects.writes.update(self._event_clock.take_writes())
        yield from self._sites.finish(effects)

    def due(self) -> list[Message]:
        """Forecasts of the keys touched since they were last told, newest state, of some sites."""
        return self._sites.due()

    # --- for readers --------------------------------------------------------------------------------------

    @property
    def catalogue(self) -> Catalogue:
        """The catalogue in force."""
        return self._sites.catalogue

    @property
    def now(self) -> datetime | None:
        """The time that was told last; None: none was."""
        return self._sites.now

    @property
    def sites(self) -> dict[str, SiteState]:
        """The states of this partition's sites, to be read only."""
        return {planned.state.site: planned.state for planned in self._sites}

    def outlook(self, site: str) -> Outlook:
        """The site's outlook as its state is now.

        Raises:
            KeyError: no event of the site has been seen here, or the catalogue has no such site.
            ValueError: no time has been told yet.
        """
        if self.now is None:
            raise ValueError("now: no clock event has been seen; expected one before an outlook is asked for")
        planned = self._sites[site]
        outlook = planned.look(self.now)
        if planned.has_due:
            self._sites.queue.forecasts[site] = None
        return outlook

    def explain(self, site: str, item: str, alert_id: str | None = None) -> Explanation:
        """Why there is an alert about an item at a site, or why there is none.

        Raises:
            KeyError, ValueError: as ``outlook``.
            Refused: ``unknown-item``, ``unknown-alert``.
        """
        outlook = self.outlook(site)
        if self.now is None:
            raise ValueError("now: no clock event has been seen")
        return explain(self._sites[site].state, self.catalogue, outlook, item, self.now, alert_id=alert_id)

    def gauges(self) -> dict[str, float]:
        """What is worth watching, by name: counts as they are now."""
        return gauges_of(list(self.sites.values()), waiting=len(self._sites.queue.reviews))

    # --- requirements -------------------------------------------------------------------------------------

    def _fold_requirement(self, record: Record, effects: Effects) -> Iterator[None]:
        read = self._reader.read(record)
        if isinstance(read, ClockTicked):
            yield from self._fold_hour(read, effects)
            return
        if isinstance(read, DeadLetter):
            effects.messages.append(dead_letter_message(record, read))
            effects.counts["requirements_unreadable"] += 1
            return
        message = read.message
        occurred_at = message.occurred_at.astimezone(UTC)
        # its hour came before it; without any, the log is from before hours were told here
        if self._event_clock is not None and self._event_clock.see(occurred_at, waits=True):
            yield from self._sites.advance(occurred_at, effects)
        planned = self._sites.get_or_add(message.site)
        planned.touched.events += 1
        if apply_requirement(planned, self.catalogue, read, effects.counts):
            effects.counts["requirements"] += 1
            self._sites.touched(planned)
        else:
            effects.counts["requirements_repeated"] += 1

    # --- events of a site ---------------------------------------------------------------------------------

    def _fold_event(self, record: Record, effects: Effects) -> Iterator[None]:
        event = decode(_ADAPTERS[record.topic], record)
        if isinstance(event, DeadLetter):
            effects.messages.append(dead_letter_message(record, event))
            effects.messages.append(dead_letter_outcome(record, event))
            effects.counts[OutcomeStatus.DEAD_LETTERED.value] += 1
            return
        reason: str | None = None
        detail: str | None = None
        try:
            check_key(record, event.site, "site")
            occurred_at = believed("occurred_at", event.occurred_at)
            if self._event_clock is None:
                not_ahead("occurred_at", occurred_at, record.timestamp_ms)
            elif self._event_clock.see(occurred_at, waits=self._sites.queue.in_backlog):
                yield from self._sites.advance(occurred_at, effects)
            known = self._sites.get(event.site)
            if known is not None and event.event_id in known.state.seen:
                status, reason = OutcomeStatus.DUPLICATE, "same-event"
            else:
                detail = self._apply(event, effects)
                status = OutcomeStatus.APPLIED
        except Refused as refused:
            status, reason, detail = OutcomeStatus.REFUSED, refused.reason, refused.detail
        effects.counts[status.value] += 1
        effects.messages.append(
            outcome_message(
                record,
                status,
                event.event_id,
                event.type,
                reason=reason,
                detail=detail,
                site=event.site,
                catalogue_version=self.catalogue.version,
            )
        )

    def _apply(self, event: SiteEvent, effects: Effects) -> str | None:
        if event.site not in self.catalogue.sites:
            raise Refused("unknown-site", f"site: found {event.site!r}; expected a site of the catalogue")
        known = self._sites.get(event.site)
        state = SiteState(event.site) if known is None else known.state
        planned = known or PlannedSite(state, self.catalogue)
        said = self._change(planned, event, effects)
        # only now: a refused event leaves no trace, and no site
        if known is None:
            self._sites.add(planned)
        # by its own day, if that is yet to come: while history is read, time may be far behind what else is told
        day = self.catalogue.site_day(event.site, event.occurred_at).toordinal()
        state.seen[event.event_id] = max(day, state.today)
        planned.touched.seen.add(event.event_id)
        self._sites.touched(planned)
        return said

    def _change(self, planned: PlannedSite, event: SiteEvent, effects: Effects) -> str | None:
        planned.touched.events += 1
        match event:
            case Acknowledged() | Snoozed() | AlertOrdered() | Closed():
                self._act(planned, event, effects)
                return None
        return apply_event(planned, self.catalogue, event)

    def _act(self, planned: PlannedSite, action: AlertAction, effects: Effects) -> None:
        alert = act(planned.state, action, self.now or action.occurred_at.astimezone(UTC))
        published = planned.alert_published(alert)
        effects.writes[published.entry] = published.message.value
        effects.messages.append(published.message)
        effects.counts["alerts"] += 1
        if alert.kind is not AlertKind.FORECAST_DRIFT:
            planned.touched.item(alert.item, action.event_id)

    # --- time and catalogue -------------------------------------------------------------------------------

    def _fold_clock(self, record: Record, effects: Effects) -> Iterator[None]:
        event = decode(CLOCK_EVENTS, record)
        if isinstance(event, DeadLetter):
            effects.messages.append(dead_letter_message(record, event))
            effects.counts["ticks_unreadable"] += 1
            return
        try:
            now = believed("now", event.now)
            if self._event_clock is None:
                not_ahead("now", now, record.timestamp_ms)
                yield from self._sites.advance(now, effects, event.event_id)
            elif self._event_clock.see(now, waits=self._sites.queue.in_backlog):
                yield from self._sites.advance(now, effects, event.event_id)
        except Refused:
            # nobody waits for its outcome, and a clock that was never set must not move the plan
            effects.counts["ticks_refused"] += 1

    def _fold_hour(self, tick: ClockTicked, effects: Effects) -> Iterator[None]:
        """A partition of ``expand`` says that an hour of its bookings begins; what follows it here is of that hour."""
        if self._event_clock is None:
            # written by a worker whose time came from the events; ours comes from ``clock``
            effects.counts["ticks_passed_over"] += 1
            return
        try:
            watermark = self._event_clock.mark(tick.source, believed("now", tick.now))
        except Refused:
            effects.counts["ticks_refused"] += 1
            return
        yield from self._sites.advance(watermark, effects, tick.event_id)

    def _fold_catalogue(self, record: Record, effects: Effects) -> Iterator[None]:
        bundle = read_catalogue(record)
        if isinstance(bundle, DeadLetter):
            # the step of ``expand`` keeps it and says so
            effects.counts["catalogues_unreadable"] += 1
            return
        known = bundle.version == self.catalogue.version
        if not known or not self._catalogue_kept:
            # the first is kept too: a faulty record may push it out of the compacted topic
            effects.writes[CATALOGUE_ENTRY] = record.value
            self._catalogue_kept = True
        if known:
            return
        effects.counts["catalogues"] += 1
        yield from self._sites.adopt(Catalogue(bundle), effects, f"catalogue/{bundle.version}/{self.partition}")
