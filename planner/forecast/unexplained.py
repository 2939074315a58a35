"""Use that no booking explains, as a part of what is to come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

import numpy as np

from planner.forecast.layout import Layout
from planner.forecast.outlook import Floats
from planner.learning.other import Expected


def open_days(closed_on: Sequence[date], first_day: date, days: int) -> Floats:
    """1 on each day on which a site is open, else 0; shape (days,)."""
    is_open = np.ones(days)
    for closed in closed_on:
        ahead = (closed - first_day).days
        if 0 <= ahead < days:
            is_open[ahead] = 0.0
    return is_open


def add_unexplained(
    unexplained: Mapping[str, Expected],
    is_open: Floats,
    layout: Layout,
    items: tuple[Floats, Floats],
    totals: tuple[Floats, Floats],
) -> Floats | None:
    """Add use of open days, independent from day to day, to the to-come moments of items, groups and components.

    Args:
        unexplained: item → containers on an open day.
        items, totals: moments by kind, row and day (kind 2: to-come mean, 3: to-come variance), and the variance of the
            total from the first day through each day, by row and day. Changed in place.

    Returns:
        Its mean, shape (items, days); None: there is none.
    """
    if not unexplained:
        return None
    through = np.cumsum(is_open)
    other = np.zeros_like(items[1])
    for row, item in enumerate(layout.items):
        if item not in unexplained:
            continue
        mean, variance = unexplained[item]
        other[row] = mean * is_open
        for moments, total, at, amount in (
            (*items, row, 1.0),
            *((*totals, position, amount) for position, amount in layout.adds_to[row]),
        ):
            moments[2, at] += mean * amount * is_open
            moments[3, at] += variance * amount * amount * is_open
            total[at] += variance * amount * amount * through
    return other
