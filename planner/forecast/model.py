"""The seam between what is assumed or learned about demand and everything that uses it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Final, Literal, NamedTuple, Protocol

from planner.forecast.outlook import Floats

Pool = Literal["new", "series"]
"""Where sessions that were expected to be booked on the first day are found when they were: among those newly booked,
or among those that continue a known series."""
POOLS: Final[tuple[Pool, ...]] = ("new", "series")


class Stream(NamedTuple):
    """Sessions still to be booked, of one mix of protocols. Arrays by day ahead, shape (days,)."""

    mix: dict[str, float]
    """Protocol → its share; adds up to 1."""
    mean: Floats
    """Sessions that will be booked and take place, as seen in the first day's morning."""
    variance: Floats
    """Of their number, as far as days are independent of one another."""
    pool: Pool | None = None
    """What was booked today of this pool is no longer to come; None: these are booked on later days."""


class CommonError(NamedTuple):
    """Relative variance of the number of sessions that are open to error (expected to be lost, or to be booked), beyond
    that of independent sessions; arrays by day ahead, shape (days,). Fixed for the day, so that what happens to one
    item's sessions changes nothing for another's."""

    total: Floats
    """Of the total from the first day through a day."""
    daily: Floats
    """Of a day alone."""


class DemandModel(Protocol):
    """What is believed about the bookings of a site, in the morning of ``first_day`` and through that day."""

    def keep_probability(self, segment: str, first_day: date, days: int) -> Floats:
        """Probability that a booked session takes place, by day ahead; shape (days,)."""
        ...

    def streams(self, first_day: date, days: int) -> tuple[Stream, ...]:
        """What is still to be booked."""
        ...

    def booked_today(self, first_day: date, ahead: int) -> Mapping[Pool, Mapping[str, float]]:
        """Pool → profile → sessions of the day so many days ahead that were booked on ``first_day`` and are expected to
        take place."""
        ...

    def common_error(self, first_day: date, days: int) -> CommonError | None:
        """The error that sessions share; None: they are independent."""
        ...
