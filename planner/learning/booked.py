"""The bookings of a site as factors of loss are learned from: how many of each segment, by day ahead of a morning."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from planner.forecast.outlook import Floats
from planner.messages import HORIZON_DAYS

TO_GO_FROM: Final = (0, 1, 3, 7, 14, 28, 56)
"""First number of days to go of each group within which bookings are compared."""
GROUPS: Final = len(TO_GO_FROM)
WEEK: Final = 7
GROUP_OF: Final[npt.NDArray[np.intp]] = np.searchsorted(TO_GO_FROM, np.arange(HORIZON_DAYS), side="right") - 1
"""Days to go → its group; shape (HORIZON_DAYS,)."""
_WIDTH: Final = HORIZON_DAYS + WEEK
_EXACT: Final = 2.0**40

Demand = Mapping[int, Mapping[tuple[str, str], int]]
"""Day (ordinal) → (segment, profile) → bookings: ``SiteState.demand``."""


class Weights(NamedTuple):
    """Bookings, weighed, by cell."""

    segments: list[str]
    """In order."""
    weights: Floats
    """Shape (segments, 7, GROUPS): by weekday of the session (Monday 0) and group of days to go."""


class Booked(NamedTuple):
    """Live bookings from a morning on."""

    first: int
    """The morning's day (ordinal)."""
    segments: list[str]
    """In order."""
    numbers: Floats
    """Shape (segments, HORIZON_DAYS + 7): by day ahead; those beyond all of them by weekday, Monday first."""

    @classmethod
    def of(cls, demand: Demand, first: int) -> Booked:
        """Those from day ``first`` (ordinal) on: the same in whatever order the days and segments come."""
        rows: dict[str, list[int]] = {}
        for day, counts in demand.items():
            ahead = day - first
            if ahead < 0:
                continue
            column = ahead if ahead < HORIZON_DAYS else HORIZON_DAYS + weekday_of(day)
            for (segment, _), n in counts.items():
                row = rows.get(segment)
                if row is None:
                    row = rows[segment] = [0] * _WIDTH
                row[column] += n
        segments = sorted(rows)
        numbers = np.array([rows[segment] for segment in segments], np.float64).reshape(len(segments), _WIDTH)
        return cls(first, segments, numbers)

    def at_risk(self, hazard: Floats) -> Weights:
        """Losses to be expected on the morning's day, by cell.

        Added up in whole 2⁻⁴⁰ths: the same to the bit however the sums are made.

        Args:
            hazard: see ``planner.learning.keep.Keep.close_day``; shape (at most HORIZON_DAYS,).
        """
        parts = np.rint(hazard * _EXACT)[np.minimum(np.arange(_WIDTH), hazard.size - 1)]
        weights = (self.numbers * parts) @ _cells(weekday_of(self.first)) / _EXACT
        return Weights(self.segments, weights.reshape(len(self.segments), WEEK, GROUPS))

    def within(self, days: int) -> Weights:
        """Bookings of the first days, at most a week, all in one group."""
        numbers = self.numbers[:, :days]
        some = np.flatnonzero(numbers.any(axis=1)).tolist()
        weights = np.zeros((len(some), WEEK, GROUPS))
        weights[:, (weekday_of(self.first) + np.arange(days)) % WEEK, 0] = numbers[some]
        return Weights([self.segments[row] for row in some], weights)


def weekday_of(day: int) -> int:
    """Weekday of a day (ordinal), Monday 0."""
    return (day - 1) % WEEK  # ordinal 1 was a Monday


def group_of(to_go: int) -> int:
    """The group of a number of days to go."""
    return int(GROUP_OF[min(max(to_go, 0), HORIZON_DAYS - 1)])


@lru_cache(maxsize=WEEK)
def _cells(weekday: int) -> Floats:
    """1 where a column of ``numbers`` belongs to a cell, from a morning of the weekday on; (columns, 7 × GROUPS)."""
    result = np.zeros((_WIDTH, WEEK, GROUPS))
    for ahead in range(HORIZON_DAYS):
        result[ahead, (weekday + ahead) % WEEK, GROUP_OF[ahead]] = 1.0
    for beyond in range(WEEK):
        result[HORIZON_DAYS + beyond, beyond, GROUPS - 1] = 1.0
    return result.reshape(_WIDTH, WEEK * GROUPS)
