"""The simple method that the planner is measured against: the mean of each weekday over the last eight weeks.

A day's use of an item is forecast by the mean of the same weekday over ``WINDOW_DAYS`` (days on which the site was
closed, and nothing was used, left out; on days on which it will be closed nothing is expected), a total by the sum of
its days. Its variance is the mean squared error of its own past totals of that lead, the planner's variance being worth
``PRIOR_WEIGHT`` of them. Until two weeks of use are known it says nothing, and is not scored.

Its quantiles are of the same family of distributions as the planner's, and are scored by the same pinball loss. With d
the mean of its loss less the planner's (half-life ``HALF_LIFE_DAYS``) and p the planner's mean loss, it is worse by
d ÷ (p + d/2), the difference ÷ the mean of both. An item uses it when the mean of that over leads is at most
``SIMPLE_FROM``, and no longer when it is above ``PLANNER_FROM``.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from planner.forecast.outlook import Floats
from planner.learning.calibration import HORIZON_DAYS, LEADS, STRIDES, by_day

WINDOW_DAYS: Final = 56
KNOWN_LEAST_DAYS: Final = 14
PRIOR_WEIGHT: Final = 5.0
SIMPLE_FROM: Final = -0.15
PLANNER_FROM: Final = -0.02
HALF_LIFE_DAYS: Final = 45
DECAY: Final = 0.5 ** (np.array(STRIDES) / HALF_LIFE_DAYS)
"""By lead, for each origin scored."""
SCORED_LEAST: Final = 10.0
"""Origins scored at a lead of 14 days (every fourth day is one: after some nine weeks) before an item may use it."""
DECIDING: Final = LEADS.index(14)

_WEEK = 7
_SMALLEST = 1e-12


def weekday_of(ordinals: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Weekdays of ordinals of days, 0 Monday, as ``date.weekday``."""
    result: npt.NDArray[np.int64] = (ordinals + 6) % _WEEK
    return result


def weekday_means(use: Floats, last_day: int) -> Floats | None:
    """Mean use by weekday.

    Args:
        use: by day through ``last_day`` (ordinal) and series, shape (WINDOW_DAYS, series); nan: not known, or closed.

    Returns:
        Shape (7, series); None: too few days are known.
    """
    known = ~np.isnan(use)
    if np.count_nonzero(known.any(axis=1)) < KNOWN_LEAST_DAYS:
        return None
    weekday = weekday_of(np.arange(last_day - WINDOW_DAYS + 1, last_day + 1))
    rank = np.argsort(weekday, kind="stable").reshape(_WEEK, WINDOW_DAYS // _WEEK)
    count = known[rank].sum(axis=1)
    total = np.where(known, use, 0.0)[rank].sum(axis=1)
    result: Floats = np.divide(total, count, out=np.zeros_like(total), where=count > 0)
    return result


def daily_means(by_weekday: Floats, first_day: int, is_open: npt.NDArray[np.bool_]) -> Floats:
    """Expected use of the days from ``first_day`` (ordinal) on, as many as ``is_open`` has; shape (days, series)."""
    weekday = weekday_of(np.arange(first_day, first_day + is_open.size))
    return np.where(is_open[:, None], by_weekday[weekday], 0.0)


def variances(squared: Floats, count: Floats, planner: Floats) -> Floats:
    """Variance of totals, from the (decayed) sum of squared past errors and their number, and the planner's variance;
    any one shape."""
    result: Floats = (PRIOR_WEIGHT * planner + squared) / (PRIOR_WEIGHT + count)
    return result


def variance_by_day(of_leads: Floats, days: int) -> Floats:
    """Variance of the total through each day, from those at the leads (shape (leads, series)): linear in log lead and
    log variance, beyond the last lead at the slope before it, which is 1 (independent days) to 2 (one common error).

    Returns:
        Shape (series, days), never falling.
    """
    safe = np.maximum(of_leads, 1e-9)
    inside = by_day(safe, min(days, HORIZON_DAYS))
    slope = np.clip(np.log(safe[-1] / safe[-2]) / np.log(LEADS[-1] / LEADS[-2]), 1.0, 2.0)
    beyond = np.maximum(np.arange(1, inside.shape[1] + 1) / LEADS[-1], 1.0)
    result: Floats = np.maximum.accumulate(inside * beyond ** slope[:, None], axis=1)
    return result


def worse(difference: Floats, count: Floats, loss: Floats) -> Floats:
    """How much worse it is, −2 to 2, below 0 better; nan where nothing was compared. Any one shape.

    Args:
        difference, count: sum of its losses less the planner's, and their number; loss: the planner's mean loss.
    """
    mean = np.divide(difference, count, out=np.full_like(loss, np.nan), where=count > 0)
    both = loss + mean / 2
    result: Floats = np.divide(mean, both, out=np.where(count > 0, 0.0, np.nan), where=both > _SMALLEST)
    return np.clip(result, -2.0, 2.0)
