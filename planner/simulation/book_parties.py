"""Drawing a synthetic book's parties: who books which day, how early, and what becomes of it.

A party is what comes and cancels together: one booking, or a group of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from planner.simulation.book_rates import Calendar, Floats, Ints, SegmentRates, days_to_go_most, next_visit
from planner.simulation.book_spec import BookSpec, Segment

NEVER = -1
"""Days to go of a cancellation that does not happen; number of a series that is none."""


@dataclass(frozen=True, slots=True)
class Parties:
    """Columns of equal length P. Days are indices from the book's first day."""

    segment: Ints
    """Index of the segment."""
    day: Ints
    """Session day."""
    booked: Ints
    """Days to go when it was booked."""
    cancelled: Ints
    """Days to go when it is cancelled, else ``NEVER``."""
    missed: NDArray[np.bool_]
    """Not cancelled, and nobody comes."""
    size: Ints
    """Bookings."""
    series: Ints
    """Number of the series, else ``NEVER``."""

    @property
    def kept(self) -> NDArray[np.bool_]:
        """Whether it takes place."""
        kept: NDArray[np.bool_] = (self.cancelled == NEVER) & ~self.missed
        return kept


@dataclass(frozen=True, slots=True)
class Shocks:
    """Factors around 1 that bookings share."""

    day: Floats
    """(D,): of a session day."""
    phone: Floats
    """(K + D,): of a day on which bookings are made, from K days before the first on."""


def draw_shocks(spec: BookSpec, rng: Generator) -> Shocks:
    """The book's shared shocks."""
    most = days_to_go_most(spec)
    return Shocks(
        draw_factor(spec.day_shock_cv, (spec.days,), rng), draw_factor(spec.phone_shock_cv, (most + spec.days,), rng)
    )


def draw_factor(cv: float, shape: tuple[int, ...], rng: Generator) -> Floats:
    """Gamma with mean 1 and the coefficient of variation ``cv``."""
    if cv == 0:
        return np.ones(shape)
    return rng.gamma(1 / cv**2, cv**2, shape)


def draw_counts(means: Floats, dispersion: float, rng: Generator) -> Ints:
    """Negative binomial with variance ``dispersion`` × mean: Poisson of a gamma; sums of it keep the ratio."""
    if dispersion > 1:
        means = rng.gamma(means / (dispersion - 1), dispersion - 1)
    return rng.poisson(means)


def draw_parties(
    spec: BookSpec, calendar: Calendar, rates: tuple[SegmentRates, ...], shocks: Shocks, rng: Generator
) -> Parties:
    """All parties with a session day of the book."""
    columns: list[Parties] = []
    series_before = 0
    for index, (segment, of_segment) in enumerate(zip(spec.segments, rates, strict=True)):
        day, booked = _first_visits(spec, of_segment, shocks, rng)
        series = np.full(day.size, NEVER)
        if segment.series is not None:
            first = day, booked
            day, booked, series = _with_later_visits(
                spec, segment, calendar, first=first, earlier=of_segment.earlier, rng=rng
            )
            series += series_before
            series_before = int(series.max(initial=series_before)) + 1
        cancelled = _cancellations(of_segment.log_survival, day, booked, rng)
        missed = (rng.random(day.size) < segment.miss_probability) & (cancelled == NEVER)
        size = draw_sizes(segment, day.size, rng)
        columns.append(Parties(np.full(day.size, index), day, booked, cancelled, missed, size, series))
    return Parties(
        *(np.concatenate([getattr(part, name) for part in columns]) for name in Parties.__dataclass_fields__)
    )


def draw_sizes(segment: Segment, parties: int, rng: Generator) -> Ints:
    """Bookings of each party."""
    size = np.ones(parties, np.int64)
    if segment.group_share > 0:
        groups = rng.random(parties) < segment.group_share
        size[groups] = 2 + rng.poisson(segment.group_size_mean - 2, int(groups.sum()))
    return size


def cell_factors(shocks: Shocks, days: int, columns: int) -> Floats:
    """(D, K + 1): the factor of phone shocks on what is booked for a day with k to go."""
    most = columns - 1
    made_on = np.arange(days)[:, None] - np.arange(columns)[None, :] + most
    factors: Floats = shocks.phone[made_on]
    return factors


def _first_visits(spec: BookSpec, rates: SegmentRates, shocks: Shocks, rng: Generator) -> tuple[Ints, Ints]:
    """Session day and days to go at booking of each party that is no later visit of a series."""
    days, columns = rates.parties.shape
    means = rates.parties * shocks.day[:, None] * cell_factors(shocks, days, columns)
    day, booked = np.nonzero(means)
    counts = draw_counts(means[day, booked], spec.dispersion, rng)
    return np.repeat(day, counts), np.repeat(booked, counts)


def _with_later_visits(
    spec: BookSpec,
    segment: Segment,
    calendar: Calendar,
    *,
    first: tuple[Ints, Ints],
    earlier: Floats,
    rng: Generator,
) -> tuple[Ints, Ints, Ints]:
    """First visits and those that follow, from the book's first day on: day, days to go at booking, series."""
    if segment.series is None:
        raise ValueError(f"segment {segment.name} has no series")
    before = np.repeat(np.arange(-earlier.size, 0), draw_counts(earlier, spec.dispersion, rng))
    day = np.concatenate([before, first[0]])
    booked = np.concatenate([np.zeros(before.size, np.int64), first[1]])
    series = np.arange(day.size)
    told = [(day, booked, series)]
    most = days_to_go_most(spec)
    while day.size:
        going_on = rng.random(day.size) < segment.series.continuation
        day, series = day[going_on], series[going_on]
        following, made_on = next_visit(segment.series, calendar, day)
        inside = following < spec.days
        day, series = following[inside], series[inside]
        told.append((day, np.minimum(day - made_on[inside], most), series))
    all_days, all_booked, all_series = (np.concatenate(column) for column in zip(*told, strict=True))
    in_book = all_days >= 0
    return all_days[in_book], all_booked[in_book], all_series[in_book]


def _cancellations(log_survival: Floats, day: Ints, booked: Ints, rng: Generator) -> Ints:
    """Days to go at which each party cancels, else ``NEVER``: the inverse of its survival function.

    With E exponential, it cancels at the largest i below ``booked`` with S[i] − S[booked] ≥ E, S = ``log_survival``
    (which falls in i); bisection for all parties at once.
    """
    threshold = log_survival[day, booked] + rng.exponential(size=day.size)
    low, high = np.full(day.size, NEVER), booked.copy()  # S[low] ≥ threshold (or low is NEVER) > S[high]
    while np.any(open_ := high - low > 1):
        middle = np.where(open_, (low + high) // 2, high)
        reached = log_survival[day, middle] >= threshold
        low = np.where(open_ & reached, middle, low)
        high = np.where(open_ & ~reached, middle, high)
    return low
