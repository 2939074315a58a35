"""Which booked sessions the stock does not reach: it goes to those that need it most first, then by start."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime

import numpy as np
import numpy.typing as npt

from planner.catalogue.model import ContainerUse, Item
from planner.forecast.outlook import Floats, Outlook
from planner.messages import SessionAtRisk
from planner.reorder.triage import NEEDS, Triage
from planner.site.state import BookingEntry, Moments, SiteState

_ROUNDING = 1e-9
"""Containers: shortages below it come from binary sums, not from stock."""


def live_bookings(state: SiteState, days: Iterable[int]) -> Iterator[tuple[str, BookingEntry]]:
    """The live bookings of the days (ordinals), by start and then id."""
    for day in days:
        ids = state.by_day.get(day)
        if ids:
            yield from sorted(((b, state.bookings[b]) for b in ids), key=lambda pair: (pair[1].start_s, pair[0]))


def containers_per_session(moments: Moments, item: Item) -> float:
    """Mean use of a session in containers; of a multi-dose item as a share of a container's content."""
    if item.use is not ContainerUse.MULTI_DOSE:
        return float(moments.mean)
    return float(moments.mean / item.content.value)


class MissedSessions:
    """The sessions that the stock of an item does not reach, in the order of their start.

    Args:
        ranks: of their need, as ``triage.NEEDS``.
    """

    def __init__(
        self, booked: BookedDays, at: npt.NDArray[np.intp], needs: Floats, ranks: npt.NDArray[np.intp]
    ) -> None:
        self._booked = booked
        self._at = at
        self._needs = needs
        self._ranks = ranks

    @property
    def total(self) -> int:
        return self._at.size

    @property
    def last_day(self) -> int:
        """Ordinal of the last one's day; 0 if there is none."""
        return self._booked.day_of(int(self._at[-1])) if self._at.size else 0

    @property
    def without_other(self) -> int:
        """How many of them no other item can serve."""
        return int(np.count_nonzero(self._ranks == 0))

    def through(self, day: int) -> int:
        """How many there are through the day (an ordinal)."""
        return int(self._at.searchsorted(self._booked.sessions_through(day)))

    def first(self, most: int) -> tuple[SessionAtRisk, ...]:
        """The first ``most`` of them, those that need it most before others."""
        order = np.argsort(self._ranks[:most], kind="stable")
        at, needs, ranks = (values[:most][order].tolist() for values in (self._at, self._needs, self._ranks))
        return tuple(map(self._booked.session, at, needs, ranks))

    def starts(self, most: int, after_s: float, through: int) -> set[tuple[str, int]]:
        """(booking, start) of those of the first ``most`` that begin after ``after_s`` and through a day (ordinal)."""
        end = self._booked.sessions_through(through)
        sessions = [self._booked.sessions[at] for at in self._at[:most].tolist() if at < end]
        return {(booking, start_s) for start_s, booking, _ in sessions if start_s > after_s}


class BookedDays:
    """The booked sessions of a site's next days in the order of their start, sorted once for the items of a review.

    Args:
        first_day: ordinal.
        days: how many, from the first one on.
        triage: how much sessions need an item; None: all as much.
    """

    def __init__(self, state: SiteState, first_day: int, days: int, triage: Triage | None = None) -> None:
        self._state = state
        self._triage = triage
        self._first = first_day
        self.sessions: list[tuple[int, str, str]] = []
        """Start (unix seconds), booking, profile."""
        self._published: dict[tuple[int, float, int], SessionAtRisk] = {}
        self._when: dict[int, tuple[date, datetime]] = {}
        self._ends: list[int] = []  # by day, how many sessions there are through it
        for day in range(first_day, first_day + days):
            self.sessions += sorted(
                (entry.start_s, booking, entry.profile)
                for booking in state.by_day.get(day, ())
                for entry in (state.bookings[booking],)
            )
            self._ends.append(len(self.sessions))
        self._counts = np.diff(self._ends, prepend=0)
        codes: dict[str, int] = {}
        self._codes = np.array([codes.setdefault(profile, len(codes)) for _, _, profile in self.sessions], np.intp)
        self._profiles = [state.profiles[profile] for profile in codes]

    def missed(self, outlook: Outlook, row: int, item: Item, days: int) -> MissedSessions:
        """Sessions of the first ``days`` days that usable stock would not reach if all booked sessions took place.

        Stock goes to sessions in the order of their need and start; one that it does not reach takes nothing, so a
        smaller or later one may still be reached.
        """
        none = np.zeros(0, np.intp)
        if not days:
            return MissedSessions(self, none, np.zeros(0), none)
        end = self._ends[days - 1]
        needs = self._needs(item)[self._codes[:end]]
        users = (needs > 0).nonzero()[0]
        needs = needs[users]
        ranks = self._ranks(item, days)[self._codes[users]]
        supply = outlook.supply[row, :days] + _ROUNDING
        if supply.max() <= 0:
            return MissedSessions(self, users, needs, ranks)
        if (ranks != ranks[:1]).any():
            missed = self._missed_by_need(users, needs, ranks, np.maximum.accumulate(supply))
            return MissedSessions(self, users[missed], needs[missed], ranks[missed])
        limits = np.repeat(supply, self._counts[:days])[users]
        beyond = (np.cumsum(needs) > limits).nonzero()[0]
        if not beyond.size:
            return MissedSessions(self, none, np.zeros(0), none)
        # those before the first that is not reached take what they need; from there on it is decided one by one
        start = int(beyond[0])
        used = float(np.cumsum(needs)[start - 1]) if start else 0.0
        missed = []
        for at, (need, limit) in enumerate(zip(needs[start:].tolist(), limits[start:].tolist(), strict=True), start):
            if used + need > limit:
                missed.append(at)
            else:
                used += need
        return MissedSessions(self, users[missed], needs[missed], ranks[missed])

    def _missed_by_need(
        self, users: npt.NDArray[np.intp], needs: Floats, ranks: npt.NDArray[np.intp], supply: Floats
    ) -> list[int]:
        """Those of the users that are not reached. One is reached if what is left on its day, and on each later day
        after what those have been given that need it more, suffices."""
        left = supply.copy()
        day = np.searchsorted(self._ends, users, side="right")
        missed: list[int] = []
        for at in np.argsort(ranks, kind="stable").tolist():
            if left[day[at] :].min() >= needs[at]:
                left[day[at] :] -= needs[at]
            else:
                missed.append(at)
        return sorted(missed)

    def _ranks(self, item: Item, days: int) -> npt.NDArray[np.intp]:
        """Rank of the need for the item by profile code."""
        if self._triage is None:
            return np.zeros(len(self._profiles), np.intp)
        triage = self._triage
        return np.array(
            [NEEDS.index(triage.need(p, item.id, days)) if item.id in p.items else 0 for p in self._profiles], np.intp
        )

    def _needs(self, item: Item) -> Floats:
        """Mean use of the item in a session, as the site has learned it, by profile code."""
        moments = [profile.items.get(item.id) for profile in self._profiles]
        factor = self._state.learned.use.mean_factor(item.id)
        return factor * np.array([0.0 if found is None else containers_per_session(found, item) for found in moments])

    def session(self, at: int, needs: float, rank: int) -> SessionAtRisk:
        """As it is told in an alert: many items miss the same sessions, often with the same need."""
        found = self._published.get((at, needs, rank))
        if found is None:
            when = self._when.get(at)
            if when is None:
                start = datetime.fromtimestamp(self.sessions[at][0], UTC)
                when = self._when[at] = (date.fromordinal(self.day_of(at)), start)
            # not validated again: the booking's id and start were, when it came in
            found = self._published[at, needs, rank] = SessionAtRisk(self.sessions[at][1], *when, needs, NEEDS[rank])
        return found

    def day_of(self, at: int) -> int:
        return self._first + bisect_right(self._ends, at)

    def sessions_through(self, day: int) -> int:
        """How many sessions there are through the day (an ordinal)."""
        index = min(day - self._first, len(self._ends) - 1)
        return self._ends[index] if index >= 0 else 0
