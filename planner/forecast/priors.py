"""The stated priors alone as a demand model: what a planner that learns nothing believes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

import numpy as np

from planner.catalogue.index import Catalogue
from planner.catalogue.model import WEEKDAYS, ByDaysToGo
from planner.forecast.model import CommonError, Pool, Stream
from planner.forecast.outlook import Floats


class PriorModel:
    """The stated priors as a ``DemandModel``.

    A booked session takes place with the policy's ``keep_probability`` at its days to go, whatever its segment.
    Of the sessions that a site expects in the long run, the policy's ``still_to_come`` is not yet booked; their
    variance is ``dispersion`` times their mean. Nothing is expected on days on which the site is closed.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._weeks: dict[tuple[str, str], Floats] = {}
        self._shares: dict[tuple[str, int], Floats] = {}

    def keep_probability(self, site: str, segment: str, first_day: date, days: int) -> Floats:
        """See ``DemandModel``. Days to go below the policy's first step have the value of that step."""
        return _steps(self._catalogue.policy_of(site).keep_probability, np.arange(days, dtype=np.float64))

    def booked_today(self, first_day: date, ahead: int) -> Mapping[Pool, Mapping[str, float]]:
        """See ``DemandModel``: the priors do not tell when sessions are booked."""
        return {}

    def common_error(self, first_day: date, days: int) -> CommonError | None:
        """See ``DemandModel``."""
        return None

    def streams(self, site: str, first_day: date, days: int) -> tuple[Stream, ...]:
        """See ``DemandModel``: one stream per protocol that the site expects."""
        protocols = sorted({entry.protocol for entry in self._catalogue.sites[site].expected_sessions})
        return tuple(self._stream(site, protocol, first_day, days) for protocol in protocols)

    def _stream(self, site: str, protocol: str, first_day: date, days: int) -> Stream:
        weekday = (first_day.weekday() + np.arange(days)) % len(WEEKDAYS)
        expected = self._week(site, protocol)[weekday]
        for closed in self._catalogue.sites[site].closed_on:
            index = (closed - first_day).days
            if 0 <= index < days:
                expected[index] = 0.0
        mean = expected * self._still_to_come(site, days)
        variance = mean * float(self._catalogue.policy_of(site).dispersion)
        return Stream({protocol: 1.0}, mean, variance)

    def _week(self, site: str, protocol: str) -> Floats:
        """Sessions expected by weekday; shape (7,)."""
        week = self._weeks.get((site, protocol))
        if week is None:
            week = np.zeros(len(WEEKDAYS))
            for entry in self._catalogue.sites[site].expected_sessions:
                if entry.protocol == protocol:
                    week += [float(entry.per_day.get(name, 0)) for name in WEEKDAYS]
            self._weeks[site, protocol] = week
        return week

    def _still_to_come(self, site: str, days: int) -> Floats:
        """Share of the sessions expected that is not yet booked, by days to go from 0; shape (days,)."""
        policy = self._catalogue.policy_of(site)
        share = self._shares.get((policy.id, days))
        if share is None:
            share = _steps(policy.still_to_come, np.arange(days, dtype=np.float64))
            self._shares[policy.id, days] = share
        return share


def _steps(steps: tuple[ByDaysToGo, ...], days_to_go: Floats) -> Floats:
    """The step function of ``steps``: the value of the largest ``days`` at or below each of ``days_to_go``."""
    ordered = sorted(steps, key=lambda step: step.days)
    values = np.array([float(step.value) for step in ordered])
    at = np.searchsorted([step.days for step in ordered], days_to_go, side="right") - 1
    return values[np.maximum(at, 0)]
