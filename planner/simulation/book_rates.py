"""The rates that a synthetic book is drawn from, exactly: bookings by session day and days to go, and who is kept.

Indices: a session day ``d`` is counted from the book's first day; ``k`` are days to go. A booking made with ``k`` to
go may be cancelled on the days with k−1, k−2, … 0 to go; who is left is missed with the segment's probability. So
at the end of the day with ``j`` to go a live booking is kept with

    keep[d, j] = (1 − missed) · Π_{i<j} (1 − hazard[d, i])

and with ``s`` kept sessions wanted, of which the share w(k) is booked at k, bookings are made at s·w(k) / keep[d, k].
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from planner.simulation.book_spec import BookSpec, LeadTime, Segment, Series

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

WARM_UP_DAYS_MOST = 3_650
"""A series that is older than this at the first day is left out."""
_WARM_UP_REST = 0.01
"""Share of a series' visits that begin before the warm-up."""
_AFTER_DAYS = 800
"""Days beyond the last session day that the calendar knows."""


class Calendar:
    """Which days are open, and what each expects; days as indices from the book's first day, negative before it."""

    def __init__(self, spec: BookSpec, warm_up_days: int) -> None:
        self._before = warm_up_days
        ordinals = spec.first_day.toordinal() + np.arange(-warm_up_days, spec.days + _AFTER_DAYS)
        per_weekday = np.array(spec.per_weekday)
        closed = np.isin(ordinals, [day.toordinal() for day in spec.closed_on])
        self._sessions: Floats = per_weekday[(ordinals + 6) % 7] * ~closed * _level(spec, ordinals)
        open_days = np.where(self._sessions > 0, np.arange(ordinals.size), ordinals.size)
        self._next_open: Ints = np.minimum.accumulate(open_days[::-1])[::-1] - warm_up_days
        self._takes: NDArray[np.bool_] = (self._sessions > 0) | (spec.bookings_taken == "every-day")

    def sessions(self, days: Ints) -> Floats:
        """Sessions expected to take place, before a site's factor."""
        sessions: Floats = self._sessions[days + self._before]
        return sessions

    def next_open(self, days: Ints) -> Ints:
        """The day itself where it is open, else the next one that is."""
        following: Ints = self._next_open[days + self._before]
        return following

    def takes(self, days: Ints) -> NDArray[np.bool_]:
        """Whether bookings are made and cancelled on a day."""
        takes: NDArray[np.bool_] = self._takes[days + self._before]
        return takes

    def made(self, days: Ints) -> Ints:
        """The day on which what falls on a day is made."""
        return np.where(self.takes(days), days, self.next_open(days))


def _level(spec: BookSpec, ordinals: Ints) -> Floats:
    """Season, trend and level shifts together."""
    day_of_year = np.array([date.fromordinal(int(day)).timetuple().tm_yday for day in ordinals])
    amplitude = spec.season_amplitude
    angle = 2 * np.pi * (day_of_year - spec.season_peak_day) / 365.25
    level: Floats = np.exp(amplitude * np.cos(angle)) / special.i0(amplitude)  # I0(a): the mean of exp(a·cos)
    level *= (1 + spec.trend_per_year) ** ((ordinals - spec.first_day.toordinal()) / 365.25)
    for shift in spec.level_shifts:
        level[ordinals >= shift.on.toordinal()] *= shift.factor
    return level


def lead_weights(lead: LeadTime, most: int) -> Floats:
    """Probability of each lead time 0 … ``most``, in days."""
    days = np.arange(most + 1)
    if lead.sd_days == 0:
        certain: Floats = (days == round(lead.mean_days)).astype(np.float64)
        return certain
    shape = (lead.mean_days / lead.sd_days) ** 2
    gamma = stats.gamma(shape, scale=lead.mean_days / shape)
    weights = gamma.cdf(days + 0.5) - gamma.cdf(days - 0.5)
    weights[(days < lead.at_least_days) | (days > lead.at_most_days)] = 0
    if not weights.any():  # bounds far out in a tail: the nearest bound
        weights[lead.at_least_days if lead.mean_days < lead.at_least_days else lead.at_most_days] = 1
    shares: Floats = weights / weights.sum()
    return shares


@dataclass(frozen=True, slots=True)
class SegmentRates:
    """One segment's rates at one site. D session days, K + 1 days to go."""

    parties: Floats
    """(D, K + 1): parties booked, expected; of a series its first visits only."""
    bookings: Floats
    """(D, K + 1): all bookings made, expected."""
    log_survival: Floats
    """(D, K + 2): Σ_{i<j} log(1 − hazard[d, i])."""
    keep: Floats
    """(D, K + 1): probability that a booking live at the end of the day with k to go takes place."""
    earlier: Floats
    """(warm-up days,): first visits of a series on each day before the first; else empty."""

    @property
    def kept(self) -> Floats:
        """(D, K + 1): sessions that take place, expected, by when they were booked."""
        return self.bookings * self.keep


def days_to_go_most(spec: BookSpec) -> int:
    """K: the earliest that any booking of the book is made, in days to go."""
    most = 1
    for segment in spec.segments:
        for lead in (segment.lead, segment.lead_after or segment.lead):
            most = max(most, min(lead.at_most_days, _last_day_of(lead)))
        if segment.series is not None:
            most = max(most, segment.series.every_days + _LONGEST_CLOSURE_DAYS)
    return most


_LONGEST_CLOSURE_DAYS = 20


def _last_day_of(lead: LeadTime) -> int:
    """Beyond it there is less than a millionth of the lead times."""
    if lead.sd_days == 0:
        return max(round(lead.mean_days), lead.at_least_days)
    shape = (lead.mean_days / lead.sd_days) ** 2
    last = float(stats.gamma(shape, scale=lead.mean_days / shape).ppf(1 - 1e-6))
    return max(int(np.ceil(last)), lead.at_least_days)


def warm_up_days(spec: BookSpec) -> int:
    """Days before the first that matter: bookings are made then, and series begin."""
    most = days_to_go_most(spec)
    for segment in spec.segments:
        if segment.series is not None and segment.series.continuation > 0:
            visits = np.log(_WARM_UP_REST) / np.log(segment.series.continuation)
            most = max(most, min(int(np.ceil(visits * segment.series.every_days)), WARM_UP_DAYS_MOST))
    return most + 1


def segment_rates(spec: BookSpec, segment: Segment, calendar: Calendar, factor: float) -> SegmentRates:
    """The rates of one segment at a site whose sessions are multiplied by ``factor``."""
    most = days_to_go_most(spec)
    days, to_go = np.arange(spec.days), np.arange(most + 1)
    made_on = days[:, None] - to_go[None, :]
    hazard = np.minimum(_hazard(spec, most) * segment.hazard_factor, 0.99) * calendar.takes(made_on)
    log_survival = np.zeros((spec.days, most + 2))
    np.cumsum(np.log1p(-hazard), axis=1, out=log_survival[:, 1:])
    keep = (1 - segment.miss_probability) * np.exp(log_survival[:, :-1])
    wanted = factor * segment.share * calendar.sessions(days)
    weights = _made_weights(spec, segment, calendar, made_on)
    if segment.series is not None:
        wanted = wanted * _first_share(segment.series, calendar, keep, weights)
    bookings = wanted[:, None] * weights / keep
    first = bookings
    earlier = np.zeros(0)
    if segment.series is not None:
        earlier = _earlier_visits(spec, segment, calendar, factor, first)
        bookings = first + _later_visits(spec, segment.series, calendar, first.sum(axis=1), earlier)
    return SegmentRates(first / segment.party_size_mean, bookings, log_survival, keep, earlier)


def _hazard(spec: BookSpec, most: int) -> Floats:
    hazard = np.zeros(most + 1)
    for entry in sorted(spec.hazard, key=lambda entry: entry.days):
        hazard[entry.days :] = entry.per_day
    return hazard


def _made_weights(spec: BookSpec, segment: Segment, calendar: Calendar, made_on: Ints) -> Floats:
    """(D, K + 1): share of a day's sessions by when they are booked, on days on which bookings are taken."""
    days, columns = made_on.shape
    before = lead_weights(segment.lead, columns - 1)
    weights = np.broadcast_to(before, made_on.shape)
    if spec.lead_change is not None and segment.lead_after is not None:
        changed = np.arange(days) >= spec.lead_change.toordinal() - spec.first_day.toordinal()
        weights = np.where(changed[:, None], lead_weights(segment.lead_after, columns - 1), before)
    # what falls on a closed day before the session moves nearer to it; a closed session day has no bookings anyway
    to_go = np.maximum(np.arange(days)[:, None] - calendar.made(made_on), 0)
    cells = np.arange(days)[:, None] * columns + to_go
    summed: Floats = np.bincount(cells.ravel(), weights.ravel(), days * columns).astype(np.float64)
    return summed.reshape(days, columns)


def _earlier_visits(spec: BookSpec, segment: Segment, calendar: Calendar, factor: float, first: Floats) -> Floats:
    """First visits of a series on the days before the book, as many per session as in it."""
    days = np.arange(-warm_up_days(spec) + 1, 0)
    in_book = calendar.sessions(np.arange(spec.days)).sum()
    per_session = first.sum() / in_book if in_book else factor * segment.share
    return per_session * calendar.sessions(days)


def _first_share(series: Series, calendar: Calendar, keep: Floats, weights: Floats) -> float:
    """Sessions of first visits ÷ all sessions of a series, in the long run.

    A first visit is followed by p / (1 − p) others; both kinds are booked at different days to go, so they are kept
    with different probabilities a and b: the share is a / (a + b·p / (1 − p)).
    """
    following, booked = next_visit(series, calendar, np.arange(-series.every_days, len(keep) - series.every_days))
    inside = following < len(keep)
    days = following[inside]
    to_go = np.minimum(days - booked[inside], keep.shape[1] - 1)
    open_days = calendar.sessions(np.arange(len(keep))) > 0
    first = float(1 / np.mean((weights / keep).sum(axis=1)[open_days]))
    later = float(keep[np.maximum(days, 0), to_go].mean()) if days.size else first
    others = series.continuation / (1 - series.continuation)
    return first / (first + later * others)


def next_visit(series: Series, calendar: Calendar, visits: Ints) -> tuple[Ints, Ints]:
    """Day of the visit after each, and the day on which it is booked."""
    following = calendar.next_open(visits + series.every_days)
    if series.booked_days_ahead is None:
        return following, visits
    return following, calendar.made(following - series.booked_days_ahead)


def _later_visits(spec: BookSpec, series: Series, calendar: Calendar, first: Floats, earlier: Floats) -> Floats:
    """(D, K + 1): bookings of later visits, expected: each visit is followed by another with ``continuation``."""
    most = days_to_go_most(spec)
    visits = np.concatenate([earlier, first])
    start = -earlier.size
    following, booked = next_visit(series, calendar, np.arange(start, spec.days))
    later = np.zeros((spec.days, most + 1))
    for index in range(visits.size):  # in order of days: a later visit is followed by others
        day = int(following[index])
        if day >= spec.days or visits[index] == 0:
            continue
        continued = series.continuation * visits[index]
        visits[day - start] += continued
        if day >= 0:
            later[day, min(day - int(booked[index]), most)] += continued
    return later
