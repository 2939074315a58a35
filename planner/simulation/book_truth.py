"""What is true of a synthetic book: rates, probabilities, and the distribution of totals given what is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator, default_rng
from scipy import stats

from planner.simulation.book_parties import (
    NEVER,
    Parties,
    Shocks,
    cell_factors,
    draw_counts,
    draw_factor,
)
from planner.simulation.book_rates import Calendar, Floats, Ints, SegmentRates, next_visit
from planner.simulation.book_spec import BookSpec, Segment

_SHOCK_CANDIDATES = 400
"""Draws of a day's shock that are weighted by what is booked for it."""


@dataclass(frozen=True, slots=True)
class Truth:
    """One site's truth. D session days, K + 1 days to go; days are indices from the book's first day.

    At the *end* of day o, what is booked with d − o or more days to go is known for day d; the rest is to come.
    """

    spec: BookSpec
    calendar: Calendar
    rates: tuple[SegmentRates, ...]
    shocks: Shocks
    """As they were drawn: nobody could know them."""
    parties: Parties

    @property
    def expected_demand(self) -> Floats:
        """(D,): sessions that take place, expected, before any shock."""
        return _summed([rates.kept.sum(axis=1) for rates in self.rates])

    @property
    def demand(self) -> Ints:
        """(D,): sessions that take place."""
        kept = self.parties.kept
        return np.bincount(self.parties.day[kept], self.parties.size[kept], self.spec.days).astype(np.int64)

    @property
    def new_bookings(self) -> Floats:
        """(D, K + 1): bookings made for a day with k days to go, expected, whatever becomes of them."""
        return _summed([rates.bookings for rates in self.rates])

    def to_come(self, days_to_go: int) -> Floats:
        """(D,): sessions that take place and are not booked at the end of the day with so many days to go, expected."""
        return _summed([rates.kept[:, :days_to_go].sum(axis=1) for rates in self.rates])

    def live(self) -> Floats:
        """(D, K + 1): live bookings for a day at the end of the day with k to go, expected."""
        return _summed([_live(rates) for rates in self.rates])

    def keep_by_days_to_go(self, days: slice = slice(None)) -> Floats:
        """(K + 1,): probability that a live booking at the end of the day with k to go takes place, over all segments
        and the session days ``days``; NaN where there is never one.
        """
        live = [(_live(rates)[days], rates.keep[days]) for rates in self.rates]
        total = _summed([booked.sum(axis=0) for booked, _ in live])
        kept = _summed([(booked * keep).sum(axis=0) for booked, keep in live])
        shares: Floats = np.divide(kept, total, out=np.full(total.shape, np.nan), where=total > 1e-9)
        return shares

    def totals(self, origin: int, leads: Sequence[int], *, draws: int = 1_000, seed: int = 0) -> Ints:
        """(draws, leads): sessions of days origin + 1 … origin + lead, by Monte Carlo.

        Given the book at the end of day ``origin`` and the truth's parameters, with level shifts to come; shocks of
        days to come are drawn anew, those of session days given what is booked for them so far.

        Raises:
            ValueError: the origin and its longest lead are not days of the book.
        """
        rng = default_rng(seed)
        most = max(leads)
        if not 0 <= origin < self.spec.days - most:
            raise ValueError(f"origin: found {origin}; expected 0 … {self.spec.days - most - 1} for leads to {most}")
        by_day = self._booked(origin, most, draws, rng) + self._to_come(origin, most, draws, rng)
        drawn: Ints = by_day.cumsum(axis=1)[:, [lead - 1 for lead in leads]]
        return drawn

    def total_quantiles(
        self, origin: int, leads: Sequence[int], probabilities: Sequence[float], *, draws: int = 1_000, seed: int = 0
    ) -> Floats:
        """(leads, probabilities): quantiles of ``totals``."""
        drawn = self.totals(origin, leads, draws=draws, seed=seed)
        quantiles: Floats = np.quantile(drawn, probabilities, axis=0, method="inverted_cdf").T
        return quantiles

    # --- Monte Carlo ---

    def _booked(self, origin: int, most: int, draws: int, rng: Generator) -> Ints:
        """(draws, most): sessions kept of those booked by the end of ``origin``."""
        parties = self.parties
        kept = np.zeros((draws, most), np.int64)
        live = (
            (parties.day > origin)
            & (parties.day <= origin + most)
            & (parties.day - parties.booked <= origin)
            & ((parties.cancelled == NEVER) | (parties.day - parties.cancelled > origin))
        )
        for index, rates in enumerate(self.rates):
            mine = live & (parties.segment == index)
            for ahead in range(1, most + 1):
                keep = rates.keep[origin + ahead, min(ahead, rates.keep.shape[1] - 1)]
                sizes, counts = np.unique(parties.size[mine & (parties.day == origin + ahead)], return_counts=True)
                for size, count in zip(sizes.tolist(), counts.tolist(), strict=True):
                    kept[:, ahead - 1] += size * rng.binomial(count, keep, draws)
        return kept

    def _to_come(self, origin: int, most: int, draws: int, rng: Generator) -> Ints:
        """(draws, most): sessions kept of those booked after ``origin``."""
        columns = self.rates[0].parties.shape[1]
        reach = min(most, columns)
        phone = draw_factor(self.spec.phone_shock_cv, (draws, most), rng)
        kept = np.zeros((draws, most), np.int64)
        shock = np.stack([self._shock_of(origin, ahead, draws, rng) for ahead in range(1, most + 1)], axis=1)
        for index, (segment, rates) in enumerate(zip(self.spec.segments, self.rates, strict=True)):
            visits = np.zeros((draws, most), np.int64)
            for ahead in range(1, most + 1):
                to_go = np.arange(min(ahead, reach))  # booked on the days origin + ahead − to_go
                means = rates.parties[origin + ahead, to_go]
                if not means.any():
                    continue
                factor = shock[:, ahead - 1, None] * phone[:, ahead - 1 - to_go]
                parties = draw_counts(means * factor, self.spec.dispersion, rng)
                visits[:, ahead - 1] = parties.sum(axis=1)
                held = rng.binomial(parties, rates.keep[origin + ahead, to_go]).sum(axis=1)
                kept[:, ahead - 1] += _sessions(segment, held, rng)
            if segment.series is not None:
                kept += self._series_to_come(index, origin, visits, rng)
        return kept

    def _series_to_come(self, index: int, origin: int, new_visits: Ints, rng: Generator) -> Ints:
        """(draws, most): later visits of series that are booked after ``origin`` and kept."""
        series = self.spec.segments[index].series
        if series is None:
            raise ValueError(f"segment {index} has no series")
        draws, most = new_visits.shape
        rates, parties = self.rates[index], self.parties
        known = (parties.segment == index) & (parties.day - parties.booked <= origin)
        start = origin - series.every_days - 30  # visits before it are followed by others already, or never
        visits = np.zeros((draws, most - start + origin), np.int64)
        known_days = parties.day[known]
        inside = (known_days > start) & (known_days <= origin + most)
        visits += np.bincount(known_days[inside] - start - 1, minlength=visits.shape[1])
        visits[:, origin - start :] += new_visits
        kept = np.zeros((draws, most), np.int64)
        following, made_on = next_visit(series, self.calendar, np.arange(start + 1, origin + most + 1))
        for column in range(visits.shape[1]):
            day = int(following[column])
            if made_on[column] <= origin or not origin < day <= origin + most:
                continue
            going_on = rng.binomial(visits[:, column], series.continuation)
            visits[:, day - start - 1] += going_on
            to_go = min(day - int(made_on[column]), rates.keep.shape[1] - 1)
            kept[:, day - origin - 1] += rng.binomial(going_on, rates.keep[day, to_go])
        return kept

    def _shock_of(self, origin: int, ahead: int, draws: int, rng: Generator) -> Floats:
        """(draws,): the shock of day origin + ahead, given the parties booked for it by the end of ``origin``."""
        cv, dispersion, day = self.spec.day_shock_cv, self.spec.dispersion, origin + ahead
        if cv == 0:
            return np.ones(draws)
        candidates = draw_factor(cv, (_SHOCK_CANDIDATES,), rng)
        mean, count = 0.0, 0
        phones = cell_factors(self.shocks, self.spec.days, self.rates[0].parties.shape[1])[day, ahead:]
        parties = self.parties
        for index, (segment, rates) in enumerate(zip(self.spec.segments, self.rates, strict=True)):
            if segment.series is not None:
                continue  # its later visits know no shocks
            mean += float((rates.parties[day, ahead:] * phones).sum())
            booked = (parties.segment == index) & (parties.day == day) & (parties.booked >= ahead)
            count += int(booked.sum())
        if mean == 0:
            return rng.choice(candidates, draws)
        expected = candidates * mean
        if dispersion > 1:
            weights = np.asarray(stats.nbinom.pmf(count, expected / (dispersion - 1), 1 / dispersion))
        else:
            weights = np.asarray(stats.poisson.pmf(count, expected))
        return rng.choice(candidates, draws, p=weights / weights.sum()) if weights.sum() > 0 else candidates[:draws]


def _summed(parts: Sequence[Floats]) -> Floats:
    """The sum over segments."""
    total: Floats = np.sum(np.stack(parts), axis=0)
    return total


def _live(rates: SegmentRates) -> Floats:
    """(D, K + 1): live bookings at the end of the day with k to go: Σ_{l≥k} made(l) · survival from l to k."""
    survival = np.exp(rates.log_survival[:, :-1])
    made = rates.bookings * survival
    return np.cumsum(made[:, ::-1], axis=1)[:, ::-1] / survival


def _sessions(segment: Segment, parties: Ints, rng: Generator) -> Ints:
    """Sessions of so many parties that take place."""
    if segment.group_share == 0:
        return parties
    groups = rng.binomial(parties, segment.group_share)
    return parties + groups + rng.poisson(groups * (segment.group_size_mean - 2))
