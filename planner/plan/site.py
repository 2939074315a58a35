"""One site in the plan step: its state, what was touched, its need and outlook, and what waits to be published."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

from planner.catalogue.index import Catalogue
from planner.forecast.learned import LearnedModel
from planner.forecast.need import SiteNeed
from planner.forecast.outlook import SESSIONS, Key, Need, Outlook
from planner.forecast.projection import project
from planner.forecast.publish import KnownQuantiles, forecast_messages, keys_of
from planner.learning import scoring
from planner.learning.accuracy import accuracy_messages, withdrawn
from planner.messages import Alert, Proposal
from planner.reorder import policy
from planner.reorder.alerts import key_of, review
from planner.reorder.calendar import valid_until
from planner.reorder.drift import review_drift
from planner.reorder.proposals import proposal_key, propose
from planner.site.daily import Passed, next_discard, pass_time
from planner.site.state import SiteState
from planner.site.touched import Touched
from planner.step import Message
from planner.topics import composed_key

NEVER = datetime.max.replace(tzinfo=UTC)
_TICK = timedelta(microseconds=1)


class Published(NamedTuple):
    """A new revision of an alert or proposal: its table entry and its message carry the same bytes."""

    entry: bytes
    message: Message


def alert_entry(site: str, alert_id: str) -> bytes:
    """The table key of an alert.

    Raises:
        ValueError: it is not an alert of the site.
    """
    parsed = key_of(site, alert_id)
    if parsed is None:
        raise ValueError(f"alert_id {alert_id!r}: expected one of site {site}")
    return composed_key("alert", site, parsed[0])


def alert_withdrawn(alert_id: str) -> list[Message]:
    """The messages after which nothing of an alert is on the topic: its last episode and those before it."""
    about, _, episode = alert_id.rpartition("/")
    return [Message("alerts", f"{about}/{number}".encode(), None) for number in range(1, int(episode) + 1)]


class PlannedSite:
    """A site of one partition. ``need`` and ``outlook`` are caches that can be built again at any time."""

    __slots__ = (
        "_due",
        "_due_all",
        "_items",
        "_need",
        "_outlook",
        "_quantiles",
        "_scored",
        "_scored_through",
        "_stale",
        "catalogue",
        "items",
        "known",
        "state",
        "touched",
        "wake",
    )

    def __init__(self, state: SiteState, catalogue: Catalogue) -> None:
        self.state = state
        self.touched = Touched()
        self._need: SiteNeed | None = None
        self._outlook: Outlook | None = None
        self._quantiles = KnownQuantiles()
        self.wake: datetime | None = None
        """When the clock itself next changes something here; None: not known yet."""
        self._due: set[Key] = set()
        self.adopt(catalogue)

    def adopt(self, catalogue: Catalogue) -> None:
        """Plan by this catalogue from now on: everything is to be looked at again."""
        self.catalogue = catalogue
        self.known = self.state.site in catalogue.sites
        """Whether the catalogue has the site. One that it has not is kept, and not planned."""
        self.let_go()
        self.items = len(catalogue.items)
        """How many the last review planned; before the first, as many as the catalogue has. Never what a look for
        forecasts found: a replay, which publishes none, must ration the same."""
        self._items: tuple[str, ...] | None = None  # those of the last outlook
        self._scored: frozenset[str] = frozenset()
        self._scored_through = 0  # the last settled day that published scores hold
        self._stale = True
        self._due_all = self.known
        if not self.known:
            self._due |= self.state.told
        self.touched.all_items = True
        self.wake = None

    def resume(self, now: datetime, *, waits: bool) -> None:
        """Go on where the table left off; ``waits``: for a review. What else it is woken for is in its state."""
        self.touched.all_items = waits
        self.wake = self._next_wake(now) if self.known else NEVER

    # --- time ---------------------------------------------------------------------------------------------

    def pass_to(self, now: datetime) -> Passed | None:
        """The clock has reached ``wake``: what ends by itself ends. None: the catalogue has no such site."""
        if not self.known:
            self.wake = NEVER
            return None
        passed = pass_time(self.state, self.catalogue, self.catalogue.site_day(self.state.site, now), now, self.touched)
        # a new day, another chance to order, an order that did not come: any item may be decided otherwise
        self.touched.all_items = True
        self.wake = self._next_wake(now)
        return passed

    def _next_wake(self, now: datetime) -> datetime:
        # order dates hold through the instant of the cutoff itself
        instants = [valid_until(self.catalogue, self.state.site, now) + _TICK]
        discard = next_discard(self.state.stock)
        if discard is not None:
            instants.append(discard)
        for alert in self.state.alerts.values():
            if alert.order_awaited_until is not None and alert.order_awaited_until > now:
                instants.append(alert.order_awaited_until)
        return min(instants)

    def hasten(self) -> None:
        """Take over what an event has set up to end by itself."""
        if self.touched.wake is not None:
            if self.wake is not None and self.touched.wake < self.wake:
                self.wake = self.touched.wake
            self.touched.wake = None

    def begin_day(self, now: datetime) -> None:
        """A new day has begun: its forecasts are noted, before anything that is told of it."""
        if self.known:
            need = self._refreshed(self.catalogue.site_day(self.state.site, now))
            scoring.note(self.state, self.catalogue, need, self.touched)
            self._stale = True

    def _refreshed(self, today: date) -> Need:
        need = self._need
        if need is None:
            need = self._need = SiteNeed(self.state, self.catalogue, LearnedModel(self.state, self.catalogue))
        for day in self.touched.days:
            need.touch(day)
        self.touched.days.clear()
        return need.refresh(today)

    # --- outlook ------------------------------------------------------------------------------------------

    def look(self, now: datetime) -> Outlook:
        """The outlook of the state as it is, computed anew only where something was touched.

        Raises:
            KeyError: the catalogue has no such site.
        """
        if not self.known:
            raise KeyError(self.state.site)
        today = self.catalogue.site_day(self.state.site, now)
        touched = self.touched
        outlook = self._outlook
        stale = self._stale or touched.to_review or bool(touched.days)
        if outlook is None or stale or outlook.need.first_day != today:
            plain = self._refreshed(today)
            self._stale = False
            corrected = scoring.corrected(self.state, self.catalogue, plain)
            outlook = self._outlook = project(self.state, self.catalogue, corrected, now)
            if outlook.need.items != self._items:
                self._items = outlook.need.items
                self._withdraw_others(outlook.need.keys)
        return outlook

    def _withdraw_others(self, keys: set[Key]) -> None:
        """Only these are forecast from now on; all others that ever were are withdrawn, after a restart too."""
        gone = self.state.told - keys
        # what is no item's own goes on without it
        self._due |= gone | keys_of(self.catalogue, (name for kind, name in gone if kind == "item"))

    def _tell(self, keys: set[Key]) -> None:
        """From this review on these may be published. Nothing leaves ``told``, whose entry would depend on when
        forecasts went out: what it has too much of is withdrawn once more after a restart."""
        if not keys <= self.state.told:
            self.state.told |= keys
            self.touched.told = True

    def review(self, now: datetime) -> Iterator[Published]:
        """Bring alerts and proposals up to date with all that was touched; the new revisions."""
        outlook = self.look(now)
        self.items = len(outlook.need.items)
        self._tell(outlook.need.keys)
        causes = self.touched.causes()
        items = None if self.touched.all_items else causes.keys()
        named = {item: cause for item, cause in causes.items() if cause is not None}
        if items is None and self.touched.cause is not None:
            for item in outlook.need.items:
                named.setdefault(item, self.touched.cause)
        alerts = review(self.state, self.catalogue, outlook, now, named, items)
        proposals = propose(self.state, self.catalogue, outlook, now)
        if items is None:
            alerts += review_drift(self.state, self.catalogue, now, self.touched.cause)
            self._due_all = True
        else:
            self._due |= keys_of(self.catalogue, items)
            if self.touched.sessions:
                self._due.add(SESSIONS)
        self.touched.reviewed()
        # an item may be in the outlook for its alert alone, and that may just have ended
        self._stale = bool(alerts)
        yield from map(self.alert_published, alerts)
        yield from map(self._proposal_published, proposals)

    def alert_published(self, alert: Alert) -> Published:
        """An alert's entry and message; the clock will wake the site when its time is over."""
        if alert.order_awaited_until is not None:
            self.touched.wake_at(alert.order_awaited_until)
        return Published(
            alert_entry(self.state.site, alert.alert_id),
            Message("alerts", alert.alert_id.encode(), alert.model_dump_json().encode()),
        )

    def _proposal_published(self, proposal: Proposal) -> Published:
        key = proposal_key(proposal.supplier, proposal.controlled)
        value = proposal.model_dump_json().encode()
        return Published(
            composed_key("proposal", self.state.site, key),
            Message("proposals", composed_key(self.state.site, *key.split("/")), value),
        )

    # --- forecasts ----------------------------------------------------------------------------------------

    @property
    def has_due(self) -> bool:
        """Whether forecasts, or how good they have been, wait to be published."""
        return self._due_all or bool(self._due)

    def take_due(self, now: datetime) -> list[Message]:
        """The forecasts that wait, of the newest state; and once a day how good they have been."""
        if not self.known:
            return self._withdrawn()
        outlook = self.look(now)
        # what is new waits for its review, after which the table knows that it was told
        wanted = self._due | outlook.need.keys if self._due_all else self._due
        messages = forecast_messages(
            self.state, self.catalogue, outlook, now, wanted & self.state.told, known=self._quantiles
        )
        self._due = set()
        self._due_all = False
        messages += self._accuracy(now)
        self._rest()
        return messages

    def _rest(self) -> None:
        """All is told. Until something changes, only what is dear to make is held: a change makes the rest anew."""
        self._outlook = None
        if self._need is not None:
            self._need.rest()

    def let_go(self) -> None:
        """Hold nothing but the state: the next look makes all of it anew, to the same figures."""
        policy.let_go(self.catalogue, self.state.site)
        self.state.learned.lateness.let_go()
        self._need = None
        self._outlook = None
        self._quantiles = KnownQuantiles()

    def _withdrawn(self) -> list[Message]:
        """The catalogue has no such site any more: what was told of it is taken back."""
        gone, self._due = sorted(self._due), set()
        return [Message("forecasts", composed_key(self.state.site, *key), None) for key in gone]

    def _accuracy(self, now: datetime) -> list[Message]:
        scores = self.state.learned.scores
        if self._scored_through == scores.settled:
            return []
        self._scored_through = scores.settled
        gone, self._scored = self._scored - set(scores.series), frozenset(scores.series)
        return [*accuracy_messages(self.state.site, scores, now), *withdrawn(self.state.site, gone)]
