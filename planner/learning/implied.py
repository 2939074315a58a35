"""Sessions still to come of series that are known: each from its latest session, and those that follow from these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from planner.forecast.outlook import Floats
from planner.learning.packed import rounded
from planner.learning.rhythm import FORGET_DAYS_MOST, Rhythm
from planner.messages import HORIZON_DAYS

SHAPE_DAYS: Final = HORIZON_DAYS + FORGET_DAYS_MOST + 1
"""Days ahead whose weekdays and closures are asked for: the farthest that anything implied may lie."""
_NEGLIGIBLE: Final = 1e-4


class Due(NamedTuple):
    """Where a series stands."""

    last: int
    """Ordinal of the day of its latest session, held or on the books."""
    number: int
    """Sessions up to that one, at most the pattern's ``run``."""
    waits: bool
    """Nothing later is on the books, and its day has come."""


class Implied(NamedTuple):
    """Sessions still to be booked that take place, by day: shape (days,) each."""

    mean: Floats
    variance: Floats


def implied_sessions(today: int, due: Mapping[Due, int], rhythms: Sequence[Rhythm], shape: Floats) -> Implied:
    """Mean and variance by day from ``today`` (ordinal) on, shape (HORIZON_DAYS,), rounded to 32 bits.

    A waiting series of age a goes on with probability G(a); its next session is on a day with a probability in
    proportion to the learned spacing, from a days on, times ``shape``. One that takes place begins another wait. The
    first session of each series is a Bernoulli variable by day; what follows from it is counted as Poisson. That is
    never too narrow for a total over days, whose parts exclude one another.

    Args:
        today: the day whose morning it is.
        due: how many series stand where.
        rhythms: of both stages of the protocol's pattern.
        shape: how likely a day is, for what it is, by day from ``today`` on; shape (SHAPE_DAYS,).
    """
    pattern = rhythms[0].pattern
    mean, variance = np.zeros((2, HORIZON_DAYS))
    sessions = np.zeros((pattern.run + 1, HORIZON_DAYS))  # row: which of its series' they are
    waiting: dict[int, list[tuple[int, int]]] = {}
    for (last, number, waits), n in sorted(due.items()):
        if waits:
            waiting.setdefault(number, []).append((today - last, n))
        else:
            sessions[number, last - today] += n * rhythms[pattern.stage(number)].takes_place
    for number, ages in waiting.items():
        first, spread = _of_waiting(ages, rhythms[pattern.stage(number)], shape)
        mean += first
        variance += spread
        sessions[min(number + 1, pattern.run)] += first
    more = _following(sessions, rhythms, shape)
    return Implied(rounded(mean + more), rounded(variance + more))


def _of_waiting(ages: Sequence[tuple[int, int]], rhythm: Rhythm, shape: Floats) -> tuple[Floats, Floats]:
    """Mean and variance of the next sessions of waiting series, given as (age, how many)."""
    age, n = (np.array(column)[:, None] for column in zip(*ages, strict=True))
    apart = np.arange(rhythm.pattern.forget_after + 1)
    day = apart - age  # rows: ages; columns: days apart
    p = np.where((day >= 0) & (apart > 0), rhythm.apart() * shape[np.maximum(day, 0)], 0.0)
    total = p.sum(axis=1, keepdims=True)
    p *= np.divide(rhythm.goes_on()[age] * rhythm.takes_place, total, out=np.zeros_like(total), where=total > 0)
    inside = (day >= 0) & (day < HORIZON_DAYS)
    mean = np.bincount(day[inside], (n * p)[inside], HORIZON_DAYS).astype(np.float64)
    return mean, np.bincount(day[inside], (n * p * (1 - p))[inside], HORIZON_DAYS).astype(np.float64)


def _following(sessions: Floats, rhythms: Sequence[Rhythm], shape: Floats) -> Floats:
    """Sessions that follow from ``sessions`` (rows: which of its series; columns: days), and from these again."""
    run = sessions.shape[0] - 1
    steps = [_step(rhythm, shape) for rhythm in rhythms]
    following = np.zeros(HORIZON_DAYS)
    coming: Floats = np.zeros(HORIZON_DAYS)
    for number in range(run):
        coming = (sessions[number] + coming) @ steps[0]
        following += coming
    coming = (sessions[run] + coming) @ steps[1]
    while coming.sum() > _NEGLIGIBLE:  # the days move on by one at least each time
        following += coming
        coming = coming @ steps[1]
    return following


def _step(rhythm: Rhythm, shape: Floats) -> Floats:
    """Expected next sessions by day (columns) of one session on each day (rows), if nothing later is booked before it;
    shape (HORIZON_DAYS, HORIZON_DAYS)."""
    apart = rhythm.apart()[1:]
    weights = sliding_window_view(shape[1:], apart.size)[:HORIZON_DAYS] * apart
    total = weights.sum(axis=1, keepdims=True)
    share = rhythm.waiting * float(rhythm.goes_on()[0]) * rhythm.takes_place
    weights = weights * np.divide(share, total, out=np.zeros_like(total), where=total > 0)
    result = np.zeros((HORIZON_DAYS, HORIZON_DAYS + apart.size))
    rows, columns = np.indices(weights.shape)
    result[rows, rows + 1 + columns] = weights
    return result[:, :HORIZON_DAYS]
