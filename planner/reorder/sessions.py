"""Which booked sessions the stock does not reach."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime
from typing import NamedTuple

from planner.catalogue.model import ContainerUse, Item
from planner.forecast.outlook import Outlook
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


class BookedDays:
    """The booked sessions of a site by day, sorted once for all the items of a review."""

    def __init__(self, state: SiteState) -> None:
        self._state = state
        self._days: dict[int, list[tuple[int, str, str]]] = {}

    def of(self, day: int) -> list[tuple[int, str, str]]:
        """(start, booking id, profile id) of the day's (an ordinal) live bookings, by start and then id."""
        found = self._days.get(day)
        if found is None:
            found = [(entry.start_s, booking, entry.profile) for booking, entry in live_bookings(self._state, (day,))]
            self._days[day] = found
        return found

    def missed(self, outlook: Outlook, row: int, item: Item, days: int) -> list[Missed]:
        """Sessions of the first ``days`` days that usable stock would not reach if all booked sessions took place.

        Stock goes to sessions in the order of their start; one that it does not reach takes nothing, so a smaller
        or later one may still be reached. By start.
        """
        first = outlook.need.first_day.toordinal()
        supply = (outlook.supply[row, :days] + _ROUNDING).tolist()
        needs_of: dict[str, float] = {}
        used = 0.0
        missed: list[Missed] = []
        for index, limit in enumerate(supply):
            for start_s, booking_id, profile in self.of(first + index):
                needs = needs_of.get(profile)
                if needs is None:
                    needs = needs_of[profile] = self._needs(profile, item)
                if needs <= 0:
                    continue
                if used + needs > limit:
                    missed.append(Missed(start_s, booking_id, first + index, needs))
                else:
                    used += needs
        return missed

    def _needs(self, profile: str, item: Item) -> float:
        moments = self._state.profiles[profile].items.get(item.id)
        return 0.0 if moments is None else containers_per_session(moments, item)
