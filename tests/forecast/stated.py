"""A demand model with round figures, for tests of what stands on one: the policy's tables as steps, nothing learned."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta

import numpy as np

from planner.catalogue.index import Catalogue
from planner.catalogue.model import WEEKDAYS, ByDaysToGo, ExpectedSessions
from planner.forecast.model import CommonError, Pool, Stream
from planner.forecast.outlook import Floats


class StatedModel:
    """See ``DemandModel``.

    A booked session takes place with the policy's ``keep_probability`` at its days to go, whatever its segment.
    Of the sessions that a site expects in the long run, the policy's ``still_to_come`` is not yet booked; their
    variance is ``dispersion`` times their mean. Nothing is expected on days on which the site is closed.
    """

    def __init__(self, catalogue: Catalogue, site: str) -> None:
        self._site = catalogue.sites[site]
        self._policy = catalogue.policy_of(site)

    def keep_probability(self, segment: str, first_day: date, days: int) -> Floats:
        return _steps(self._policy.keep_probability, days)

    def booked_today(self, first_day: date, ahead: int) -> Mapping[Pool, Mapping[str, float]]:
        return {}

    def common_error(self, first_day: date, days: int) -> CommonError | None:
        return None

    def streams(self, first_day: date, days: int) -> tuple[Stream, ...]:
        """One stream per protocol that the site expects."""
        return tuple(self._stream(entry, first_day, days) for entry in self._site.expected_sessions)

    def _stream(self, entry: ExpectedSessions, first_day: date, days: int) -> Stream:
        expected = np.zeros(days)
        for index in range(days):
            day = first_day + timedelta(days=index)
            if day not in self._site.closed_on:
                expected[index] = entry.per_day.get(WEEKDAYS[day.weekday()], 0)
        mean = expected * _steps(self._policy.still_to_come, days)
        return Stream({entry.protocol: 1.0}, mean, mean * float(self._policy.dispersion))


def _steps(steps: tuple[ByDaysToGo, ...], days: int) -> Floats:
    """The value of the largest ``days`` at or below each number of days to go; shape (days,)."""
    values = [next(float(step.value) for step in reversed(steps) if step.days <= to_go) for to_go in range(days)]
    return np.array(values)
