"""Which booked sessions the stock does not reach."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from planner.catalogue.model import ContainerUse, Item
from planner.forecast.outlook import Floats, Outlook
from planner.messages import SessionAtRisk
from planner.site.state import BookingEntry, Moments, SiteState

_ROUNDING = 1e-9
"""Containers: shortages below it come from binary sums, not from stock."""


class Missed(NamedTuple):
    """A session that the stock does not reach; a ``SessionAtRisk`` is made of it when it is published."""

    start_s: int
    booking_id: str
    day: int
    needs: float

    def published(self) -> SessionAtRisk:
        return SessionAtRisk(
            booking_id=self.booking_id,
            day=date.fromordinal(self.day),
            start=datetime.fromtimestamp(self.start_s, UTC),
            needs=self.needs,
        )


def live_bookings(state: SiteState, days: Iterable[int]) -> Iterator[tuple[str, BookingEntry]]:
    """The live bookings of the days (ordinals), by start and then id."""
    for day in days:
        ids = state.by_day.get(day)
        if ids:
            yield from sorted(((b, state.bookings[b]) for b in ids), key=lambda pair: (pair[1].start_s, pair[0]))


def containers_per_session(moments: Moments, item: Item) -> float:
    """Mean use of a session in containers; of a multi-dose item as a share of a container's content."""
    return float(moments.mean / item.content.value if item.use is ContainerUse.MULTI_DOSE else moments.mean)


class MissedSessions:
    """The sessions that the stock of an item does not reach, in the order of their start."""

    def __init__(self, booked: BookedDays, at: npt.NDArray[np.intp], needs: Floats) -> None:
        self._booked = booked
        self._at = at
        self._needs = needs

    @property
    def total(self) -> int:
        return self._at.size

    @property
    def last_day(self) -> int:
        """Ordinal of the last one's day; 0 if there is none."""
        return self._booked.day_of(int(self._at[-1])) if self._at.size else 0

    def through(self, day: int) -> int:
        """How many there are through the day (an ordinal)."""
        return int(np.searchsorted(self._at, self._booked.sessions_through(day)))

    def first(self, most: int) -> tuple[Missed, ...]:
        """The first ``most`` of them."""
        return tuple(
            self._booked.session(at, needs)
            for at, needs in zip(self._at[:most].tolist(), self._needs[:most].tolist(), strict=True)
        )


class BookedDays:
    """The booked sessions of a site's next days in the order of their start, sorted once for the items of a review.

    Args:
        first_day: ordinal.
        days: how many, from the first one on.
    """

    def __init__(self, state: SiteState, first_day: int, days: int) -> None:
        self._state = state
        self._first = first_day
        self._sessions: list[tuple[int, str, str]] = []  # start, booking, profile
        self._ends: list[int] = []  # by day, how many sessions there are through it
        for day in range(first_day, first_day + days):
            self._sessions += sorted(
                (entry.start_s, booking, entry.profile)
                for booking in state.by_day.get(day, ())
                for entry in (state.bookings[booking],)
            )
            self._ends.append(len(self._sessions))
        codes: dict[str, int] = {}
        self._codes = np.array([codes.setdefault(profile, len(codes)) for _, _, profile in self._sessions], np.intp)
        self._profiles = [state.profiles[profile].items for profile in codes]

    def missed(self, outlook: Outlook, row: int, item: Item, days: int) -> MissedSessions:
        """Sessions of the first ``days`` days that usable stock would not reach if all booked sessions took place.

        Stock goes to sessions in the order of their start; one that it does not reach takes nothing, so a smaller
        or later one may still be reached.
        """
        end = self._ends[days - 1] if days else 0
        needs = self._needs(item)[self._codes[:end]]
        users = np.flatnonzero(needs > 0)
        needs = needs[users]
        supply = outlook.supply[row, :days] + _ROUNDING
        if not (supply > 0).any():
            return MissedSessions(self, users, needs)
        limits = np.repeat(supply, np.diff(self._ends[:days], prepend=0))[users]
        beyond = np.flatnonzero(np.cumsum(needs) > limits)
        if not beyond.size:
            return MissedSessions(self, beyond, needs[beyond])
        # those before the first that is not reached take what they need; from there on it is decided one by one
        start = int(beyond[0])
        used = float(np.cumsum(needs)[start - 1]) if start else 0.0
        missed: list[int] = []
        for at, (need, limit) in enumerate(zip(needs[start:].tolist(), limits[start:].tolist(), strict=True), start):
            if used + need > limit:
                missed.append(at)
            else:
                used += need
        return MissedSessions(self, users[missed], needs[missed])

    def _needs(self, item: Item) -> Floats:
        """Mean use of the item in a session, by profile code."""
        moments = [items.get(item.id) for items in self._profiles]
        return np.array([0.0 if found is None else containers_per_session(found, item) for found in moments])

    def session(self, at: int, needs: float) -> Missed:
        start_s, booking, _ = self._sessions[at]
        return Missed(start_s, booking, self.day_of(at), needs)

    def day_of(self, at: int) -> int:
        return self._first + bisect_right(self._ends, at)

    def sessions_through(self, day: int) -> int:
        """How many sessions there are through the day (an ordinal)."""
        index = min(day - self._first, len(self._ends) - 1)
        return self._ends[index] if index >= 0 else 0
