"""What a supplier's announcement of short supply means for ordering.

Of orders placed in the announced days the supplier sends only a share s.

- Before these days, from ``BUILD_UP_DAYS`` ahead, an order must last through them: until the last of their orders has
  come, with s of each day's need brought by them. So stock is built up by what they will leave out, as far as the
  item's shelf life and the horizon reach.
- Within them, so much more is ordered that what is sent is what is needed (needed ÷ s).
- With a share of nothing they are no days on which to order at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

import numpy as np

from planner.catalogue.model import Item
from planner.forecast.outlook import Floats
from planner.forecast.waiting import announcement
from planner.reorder.calendar import OrderDates
from planner.site.state import Announcement, SiteState

BUILD_UP_DAYS: Final = 28
"""So long before it begins a short supply is ordered ahead for: others are told of it too."""


@dataclass(frozen=True, slots=True)
class Allocation:
    """An announcement as it bears on the order of an item that can be placed now."""

    told: Announcement
    sent: float
    """Share of an order placed now that will be sent."""
    first: int
    """Column on which the first short delivery is due …"""
    last: int
    """… and the last day to be covered until deliveries are whole again; before ``first``: nothing is built up."""

    @property
    def builds_up(self) -> bool:
        return self.last >= self.first


def shut_days(state: SiteState, supplier: str, item: str) -> tuple[date, date] | None:
    """The days on which a supplier has announced to send nothing of an item."""
    told = announcement(state, supplier, item)
    return None if told is None or told.share else (told.first_day, told.last_day)


def allocation(
    state: SiteState, item: Item, dates: OrderDates, first_day: date, *, lead_days: int, days: int
) -> Allocation | None:
    """What is announced for an item, if it bears on an order placed at the chance of ``dates``."""
    told = announcement(state, item.supplier, item.id)
    if told is None or told.last_day < dates.chance or told.first_day > dates.chance + timedelta(days=BUILD_UP_DAYS):
        return None
    if told.first_day <= dates.chance:
        return Allocation(told, float(told.share) or 1.0, days, -1)
    lead = timedelta(days=lead_days)
    arrives = (dates.arrives - first_day).days
    first = (told.first_day + lead - first_day).days
    last = min((told.last_day + lead - first_day).days, arrives + item.shelf_life_days - 1, days - 1)
    return Allocation(told, 1.0, max(first, arrives), last)


def brought_meanwhile(allocations: dict[int, Allocation], cumulative_mean: Floats) -> Floats | None:
    """What the orders of the announced days bring: their share of each day's need; shape as ``cumulative_mean``."""
    more: Floats | None = None
    for row, found in allocations.items():
        if found.builds_up:
            if more is None:
                more = np.zeros_like(cumulative_mean)
            before = cumulative_mean[row, found.first - 1] if found.first else 0.0
            within = cumulative_mean[row, found.first : found.last + 1] - before
            more[row, found.first : found.last + 1] = float(found.told.share) * within
            more[row, found.last + 1 :] = more[row, found.last]
    return more
