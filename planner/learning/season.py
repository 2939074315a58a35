"""Last year's level, day by day, as an index about 1: what of a season can be known from a year of sessions.

The index of a day is the mean number of sessions of the ``HALF_WIDTH_DAYS`` on both sides of the day a year (364 days,
so that weekdays stay) before it, ÷ the mean of that year. What of its spread over the year chance alone explains is
taken out (the shrinkage of James & Stein, with the noise of a mean of so many days as known variance): on a book
without seasons the index is 1.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from planner.forecast.outlook import Floats

YEAR_DAYS: Final = 364
HALF_WIDTH_DAYS: Final = 14
LARGEST: Final = 4.0
"""An index lies in [1/LARGEST, LARGEST]."""
HISTORY_DAYS: Final = YEAR_DAYS + 2 * HALF_WIDTH_DAYS
"""Days to remember."""
_SMALLEST_LEVEL: Final = 1e-3


def season_index(history: list[float], history_ends: int, today: int, days: int) -> Floats:
    """The index by day from ``today`` on; shape (days,). Ones, until a whole year of sessions is known.

    Args:
        history: sessions that took place, by day, the last on the day before ``history_ends`` (ordinal).
    """
    begins = history_ends - len(history)
    then = today - YEAR_DAYS
    if len(history) < YEAR_DAYS or then - HALF_WIDTH_DAYS < begins:
        return np.ones(days)
    sums = np.concatenate(([0.0], np.cumsum(history)))
    width = 2 * HALF_WIDTH_DAYS + 1

    def around(first: int, number: int) -> Floats:
        middle = np.arange(first, first + number) - begins
        low = np.clip(middle - HALF_WIDTH_DAYS, 0, len(history))
        high = np.clip(middle + HALF_WIDTH_DAYS + 1, 0, len(history))
        level: Floats = (sums[high] - sums[low]) / np.maximum(high - low, 1)
        return level

    year = np.array(history[-YEAR_DAYS:])
    mean = float(year.mean())
    if mean <= _SMALLEST_LEVEL:
        return np.ones(days)
    levels = around(history_ends - YEAR_DAYS, YEAR_DAYS) / mean
    # the noise of a day about its level, weekdays left out: half the mean square of its difference to a week later
    noise = float(((year[7:] - year[:-7]) ** 2).mean()) / 2 / mean**2 / width
    spread = float(levels.var())
    trusted = max(1 - noise / spread, 0.0) if spread > 0 else 0.0
    index = 1 + trusted * (around(then, days) / mean - 1)
    result: Floats = np.clip(index, 1 / LARGEST, LARGEST)
    return result
