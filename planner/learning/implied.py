"""Sessions still to come of series that are known: each from its latest session, and those that follow from these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np

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


class _Next(NamedTuple):
    """What follows a session of one stage."""

    goes_on: Floats
    """See ``Rhythm.goes_on``."""
    apart: Floats
    after_waiting: float
    """Probability that it waits when its day comes, and is then booked again."""
    kept: float
    """Probability that a session booked takes place."""


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
    nexts = [_next(rhythm) for rhythm in rhythms]
    pattern = rhythms[0].pattern
    mean, variance = np.zeros((2, HORIZON_DAYS))
    sessions = np.zeros((pattern.run + 1, HORIZON_DAYS))  # by how many there were up to them
    for (last, number, waits), n in sorted(due.items()):
        stage = nexts[pattern.stage(number)]
        if not waits:
            sessions[number, last - today] += n * stage.kept
            continue
        age = today - last
        first = max(age, 1)
        p = _spread(stage.apart[first:], shape[first - age :])
        p = p[: HORIZON_DAYS - (first - age)] * (stage.goes_on[age] * stage.kept)
        days = slice(first - age, first - age + p.size)
        mean[days] += n * p
        variance[days] += n * p * (1 - p)
        sessions[min(number + 1, pattern.run), days] += n * p
    for day in range(HORIZON_DAYS - 1):
        for number in np.flatnonzero(sessions[:, day] > _NEGLIGIBLE).tolist():
            stage = nexts[pattern.stage(number)]
            p = _spread(stage.apart[1:], shape[day + 1 :])[: HORIZON_DAYS - day - 1]
            more = p * (float(sessions[number, day]) * stage.after_waiting * stage.kept)
            days = slice(day + 1, day + 1 + more.size)
            mean[days] += more
            variance[days] += more
            sessions[min(number + 1, pattern.run), days] += more
    return Implied(rounded(mean), rounded(variance))


def _next(rhythm: Rhythm) -> _Next:
    goes_on = rhythm.goes_on()
    return _Next(goes_on, rhythm.apart(), rhythm.waiting * float(goes_on[0]), rhythm.takes_place)


def _spread(apart: Floats, shape: Floats) -> Floats:
    """One session over the days from the first of both; adds up to 1, or is 0 where none is open."""
    weights = apart * shape[: apart.size]
    total = weights.sum()
    result: Floats = weights / total if total > 0 else weights
    return result
