"""The seam between what is assumed or learned about demand and everything that uses it."""

from __future__ import annotations

from datetime import date
from typing import NamedTuple, Protocol

from planner.forecast.outlook import Floats


class ToCome(NamedTuple):
    """Sessions still to be booked, per day: arrays of shape (days,)."""

    mean: Floats
    variance: Floats


class DemandModel(Protocol):
    """What is believed about bookings. In this version stated priors; a learned model replaces it whole."""

    def keep_probability(self, site: str, segment: str, days_to_go: Floats) -> Floats:
        """Probability that a session booked for ``days_to_go`` days from today takes place; same shape."""
        ...

    def to_come(self, site: str, protocol: str, first_day: date, days: int) -> ToCome:
        """Sessions of ``protocol`` not yet booked for each of ``days`` days from ``first_day``, net of those that
        will be cancelled or missed."""
        ...
