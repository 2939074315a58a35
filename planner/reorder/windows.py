"""Which days an order answers for, at random: until it comes, until the next one comes, and what later ones bring.

What is ordered now must last until the order of the next chance comes, however late that is. But meanwhile there are
chances after that one, and their orders are late independently of it: by a day d they bring what is needed from the day
they are due until the next is due (base stock orders what was used), as far as they have come. Without them a next
order that is late by weeks would have to be stocked for as if nothing else could ever be ordered.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from planner.forecast.outlook import Floats
from planner.learning.lateness import Punctuality
from planner.reorder.calendar import OrderDates

_TAIL = 5e-4
"""Lateness less probable than this is taken as the day before."""
_ROUNDING = 1e-9
_REMEMBERED_MOST = 64
"""Windows of a supplier; with 90 days each about 70 KB."""


class Windows(NamedTuple):
    """Of items with the same supplier and lead time; arrays by column."""

    missing: Floats
    ends: Floats
    later: Floats
    brought: Floats
    """Of each day's need (rows) the share that later orders have brought by the end of each day (columns)."""


def windows_of(dates: OrderDates, dues: Sequence[date], expect: Punctuality, first_day: date, days: int) -> Windows:
    """The windows of an order placed at the chance of ``dates``; ``dues``: when those of the chances after the next one
    are due. Not to be written to."""
    # all of it depends on days from the first one and on its weekday, so most days of a replay find it made
    ahead = (dates.arrives, dates.next_arrives, dates.later_arrives, *dues)
    key = (first_day.weekday(), days, *((day - first_day).days for day in ahead))
    known = expect.windows.get(key)
    if known is None:
        if len(expect.windows) >= _REMEMBERED_MOST:
            expect.windows.clear()
        known = expect.windows[key] = _windows_of(dates, dues, expect, first_day, days)
    return Windows(*known)


def _windows_of(dates: OrderDates, dues: Sequence[date], expect: Punctuality, first_day: date, days: int) -> Windows:
    late = expect.late["stated"]
    tail = np.cumsum(late)
    late = late[: int(tail.searchsorted(1 - _TAIL)) + 1].copy()
    late[-1] += 1 - late.sum()
    missing = np.ones(days)
    columns = expect.columns(first_day, dates.arrives, days)[: late.size]
    np.subtract.at(missing, columns, late[: columns.size])
    missing = np.maximum(np.cumsum(missing - 1) + 1, 0.0)
    arrives = min((dates.arrives - first_day).days, days - 1)
    ends = []
    for following in (dates.next_arrives, dates.later_arrives):
        last = np.zeros(days)
        columns = expect.columns(first_day, following, days + 1)[: late.size]
        np.add.at(last, np.clip(columns - 1, arrives, days - 1), late[: columns.size])
        last[days - 1] += max(1 - last.sum(), 0.0)
        ends.append(np.where(last > _ROUNDING, last, 0.0))
    brought = np.zeros((days, days))
    reach = int(np.flatnonzero(ends[1])[-1]) + 1  # nobody asks beyond
    begins = [(due - first_day).days for due in dues]
    for begin, end in pairwise([*begins, reach]):
        if begin >= min(end, reach):
            continue
        come = expect.columns(first_day, first_day + timedelta(days=begin), days)[: late.size]
        arrived = np.zeros(days)
        np.add.at(arrived, come, late[: come.size])
        for day in range(begin, min(end, reach)):
            # an order is counted on for what is needed by then, not for more
            brought[day, day:] = np.cumsum(arrived)[day:]
    return Windows(missing, ends[0], ends[1], brought)
