"""Which booked sessions the stock does not reach."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime

from planner.catalogue.model import ContainerUse, Item
from planner.forecast.outlook import Outlook
from planner.messages import SessionAtRisk
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
    return float(moments.mean / item.content.value if item.use is ContainerUse.MULTI_DOSE else moments.mean)


def sessions_at_risk(state: SiteState, outlook: Outlook, row: int, item: Item, days: int) -> list[SessionAtRisk]:
    """Sessions of the first ``days`` days that usable stock would not reach if all booked sessions took place.

    Stock goes to sessions in the order of their start; one that it does not reach takes nothing, so a smaller or
    later one may still be reached. By start.
    """
    first = outlook.need.first_day.toordinal()
    used = 0.0
    missed: list[SessionAtRisk] = []
    for booking_id, entry in live_bookings(state, range(first, first + days)):
        moments = state.profiles[entry.profile].items.get(item.id)
        if moments is None or moments.mean <= 0:
            continue
        needs = containers_per_session(moments, item)
        if used + needs > outlook.supply[row, entry.day - first] + _ROUNDING:
            start = datetime.fromtimestamp(entry.start_s, UTC)
            missed.append(
                SessionAtRisk(booking_id=booking_id, day=date.fromordinal(entry.day), start=start, needs=needs)
            )
        else:
            used += needs
    return missed
