"""What a site's policy and expected sessions state about bookings, as the curve that learning starts from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planner.catalogue.index import Catalogue
from planner.catalogue.model import WEEKDAYS, ByDaysToGo
from planner.catalogue.once import once
from planner.forecast.outlook import Floats
from planner.messages import HORIZON_DAYS

LEAST_HAZARD = 1e-3
"""Of a booking's being lost on a day, where the stated table does not fall: almost none are."""
LEAST_WEEKDAY = 0.02
"""Of the average day's sessions, on a weekday on which none are expected: so that it can be learned otherwise."""


@dataclass(frozen=True, slots=True)
class Prior:
    """By days to go from 0, shape (HORIZON_DAYS,), unless said otherwise."""

    new: Floats
    """Sessions newly booked on a day for the average day that many days ahead."""
    hazard: Floats
    """Probability that a booking on the books is cancelled or moved on a day."""
    missed: float
    """Probability that a session still booked on its day is missed."""
    week: Floats
    """Sessions of each weekday ÷ those of the average day; shape (7,)."""
    shares: dict[str, float]
    """Protocol → its share of the sessions; adds up to 1, or empty."""
    dispersion: float
    """Variance ÷ mean of the number of sessions still to come."""


@once
def prior_of(catalogue: Catalogue, site: str) -> Prior:
    """The prior of a site of the catalogue; shared, and not to be changed.

    The tables by days to go are read as points joined by lines. With S(d) the share of a day's sessions not yet booked
    at d days to go and K(d) the probability that one booked then takes place, ``new[d]`= sessions × (S(d) − S(d − 1))
    ÷ K(d), and ``hazard[d]`` = 1 − K(d) ÷ K(d − 1).
    """
    policy, entry = catalogue.policy_of(site), catalogue.sites[site]
    week = np.zeros(len(WEEKDAYS))
    shares: dict[str, float] = {}
    for expected in entry.expected_sessions:
        of_week = np.array([float(expected.per_day.get(name, 0)) for name in WEEKDAYS])
        week += of_week
        shares[expected.protocol] = shares.get(expected.protocol, 0.0) + float(of_week.sum())
    per_day = float(week.mean())
    total = sum(shares.values())
    keep = _line(policy.keep_probability)
    to_come = _line(policy.still_to_come)
    prior = Prior(
        new=per_day * np.maximum(np.diff(to_come, prepend=0.0), 0.0) / np.maximum(keep, LEAST_HAZARD),
        hazard=np.maximum(1 - np.divide(keep[1:], keep[:-1]), LEAST_HAZARD)[_AFTER],
        missed=1 - float(keep[0]),
        week=np.maximum(week / per_day, LEAST_WEEKDAY) if per_day else np.ones(len(WEEKDAYS)),
        shares={protocol: share / total for protocol, share in shares.items()} if total else {},
        dispersion=float(policy.dispersion),
    )
    for values in (prior.new, prior.hazard, prior.week):
        values.flags.writeable = False
    return prior


_AFTER = np.maximum(np.arange(HORIZON_DAYS) - 1, 0)
"""The hazard of the day itself is that of the day before it."""


def _line(points: tuple[ByDaysToGo, ...]) -> Floats:
    ordered = sorted(points, key=lambda point: point.days)
    days = np.arange(HORIZON_DAYS, dtype=np.float64)
    return np.interp(days, [point.days for point in ordered], [float(point.value) for point in ordered])
