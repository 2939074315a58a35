"""What is believed about bookings before anything is learned: the figures stated in the catalogue's policies."""

from __future__ import annotations

from datetime import date

import numpy as np

from planner.catalogue.index import Catalogue
from planner.catalogue.model import WEEKDAYS, ByDaysToGo
from planner.forecast.model import ToCome
from planner.forecast.outlook import Floats


class PriorModel:
    """The stated priors as a ``DemandModel``.

    A booked session takes place with the policy's ``keep_probability`` at its days to go, whatever its segment.
    Of the sessions that a site expects in the long run, the policy's ``still_to_come`` is not yet booked; their
    variance is ``dispersion`` times their mean. Nothing is expected on days on which the site is closed.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    def keep_probability(self, site: str, segment: str, days_to_go: Floats) -> Floats:
        """See ``DemandModel``. Days to go below the policy's first step have the value of that step."""
        return _steps(self._catalogue.policy_of(site).keep_probability, days_to_go)

    def to_come(self, site: str, protocol: str, first_day: date, days: int) -> ToCome:
        """See ``DemandModel``; ``first_day`` is today."""
        entity = self._catalogue.sites[site]
        policy = self._catalogue.policy_of(site)
        weekday = (first_day.weekday() + np.arange(days)) % len(WEEKDAYS)
        expected = np.zeros(days)
        for entry in entity.expected_sessions:
            if entry.protocol == protocol:
                week = np.array([float(entry.per_day.get(name, 0)) for name in WEEKDAYS])
                expected += week[weekday]
        for closed in entity.closed_on:
            index = (closed - first_day).days
            if 0 <= index < days:
                expected[index] = 0.0
        mean = expected * _steps(policy.still_to_come, np.arange(days, dtype=np.float64))
        return ToCome(mean, mean * float(policy.dispersion))


def _steps(steps: tuple[ByDaysToGo, ...], days_to_go: Floats) -> Floats:
    """The step function of ``steps``: the value of the largest ``days`` at or below each of ``days_to_go``."""
    ordered = sorted(steps, key=lambda step: step.days)
    values = np.array([float(step.value) for step in ordered])
    at = np.searchsorted([step.days for step in ordered], days_to_go, side="right") - 1
    return values[np.maximum(at, 0)]
