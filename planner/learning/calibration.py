"""The spread of totals, calibrated on the planner's own past errors.

Of each forecast of a total whose lead is over, z is its error in standard deviations *as claimed*, f the factor on the
variance that was part of the claim. So f·z² estimates the factor that would have been right. A factor has two parts.

**Slow**: the mean of f·z² with a half-life of ``HALF_LIFE_DAYS``, shrunk. Overlapping totals are not independent: an
error at lead L of origins s days apart counts as min(1, s/L), and, since z² of a small count is a noisy thing (variance
2 + excess kurtosis, about 2 + 1/mean), as 2/(2 + 1/mean) of that. With n such errors of a series and ``PRIOR_WEIGHT`` w

    factor = (w·pooled + n·mean) / (w + n),    pooled(L) = median over series of (w·pooled(L′) + n·mean) / (w + n),

L′ the next shorter lead, and 1 before the shortest. So what the sessions of a site have in common is learned from all
its series, and no few of them that are forecast badly can widen the others. An outcome beyond what the claim itself
exceeds once in a thousand (``OUTLIER`` deviations, with the skewness of a count: Cornish & Fisher's first term) counts
as that: by the claim that is next to no loss, and no single outlier can do much.

**Fast**: adaptive conformal inference (Gibbs & Candès 2021, NeurIPS, eq. 2; the leak of Angelopoulos, Candès &
Tibshirani 2023, "Conformal PID control", keeps it a transient, since the slow part takes over what lasts). After each
outcome y, over the levels .9 and .95 with claimed quantiles q,

    θ ← leak·θ + STEP·√min(1, s/L)·mean(1{y > q} − P(y > q)),       factor ← factor·e^θ,

P as claimed, so that the steps of a count, whose quantiles are whole numbers, are no bias. A miss at a short lead warns
the longer ones, whose outcomes are not known for weeks: each uses the largest θ of the leads up to its own.

Shapes: (leads, series) unless told otherwise.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from planner.forecast.outlook import Floats

LEADS: Final = (1, 3, 7, 14, 28)
"""Days of the totals that are scored."""
STRIDES: Final = (1, 2, 3, 4, 5)
"""Days between the origins noted, by lead: so that little waits. None divides by 7, so all weekdays are met."""
HALF_LIFE_DAYS: Final = 90
"""Of past scores, in days of origins noted."""
PRIOR_WEIGHT: Final = 10.0
"""Independent errors that the stated spread is worth."""
OUTLIER: Final = 3.09
STEP: Final = 0.15
LEAK_HALF_LIFE_DAYS: Final = 28
ADAPTED_MOST: Final = 1.8
"""|θ| at most: the fast part changes a standard deviation by a factor of 2.5 at most."""
FACTOR_LEAST, FACTOR_MOST = 0.25, 16.0
HORIZON_DAYS: Final = 90

_LEADS = np.array(LEADS, np.float64)
_STRIDES = np.array(STRIDES, np.float64)
SHARES: Final = np.minimum(1.0, _STRIDES / _LEADS)
"""What an error counts for, by lead: 1 where totals do not overlap."""
DECAY: Final = 0.5 ** (_STRIDES / HALF_LIFE_DAYS)
"""By lead, for each origin scored."""
LEAK: Final = 0.5 ** (_STRIDES / LEAK_HALF_LIFE_DAYS)
STEPS: Final = STEP * np.sqrt(SHARES)


def _between() -> Floats:
    """Weights of the leads at each of the days 1 … ``HORIZON_DAYS``, linear in the logarithm; (days, leads)."""
    days = np.log(np.arange(1, HORIZON_DAYS + 1))
    return np.stack([np.interp(days, np.log(_LEADS), unit) for unit in np.eye(len(LEADS))], axis=1)


BETWEEN: Final = _between()


_SMALLEST_VARIANCE: Final = 1e-6


def squared(outcome: Floats, mean: Floats, variance: Floats) -> Floats:
    """z², outliers held; 1 where next to no variance is claimed. Any one shape; mean and variance as claimed."""
    deviation = np.sqrt(np.maximum(variance, _SMALLEST_VARIANCE))
    some = np.maximum(mean, _SMALLEST_VARIANCE)
    skewness = np.maximum(2 * variance / some - 1, 0.0) / deviation
    highest = OUTLIER + (OUTLIER**2 - 1) / 6 * skewness
    deviates = np.clip((outcome - mean) / deviation, -OUTLIER, highest)
    return np.where((variance > _SMALLEST_VARIANCE) & (mean > _SMALLEST_VARIANCE), deviates * deviates, 1.0)


def factors(count: Floats, squares: Floats, realised: Floats, adapted: Floats) -> Floats:
    """Factors on the variance of totals.

    Args:
        count: scored origins; squares: sum of f·z²; realised: sum of outcomes; all decayed alike.
        adapted: θ.
    """
    some = count > 0
    mean_use = np.divide(realised, count, out=np.zeros_like(count), where=some)
    mean = np.divide(squares, count, out=np.ones_like(count), where=some)
    known = count * SHARES[:, None] * (2 * mean_use / (2 * mean_use + 1))
    pooled = np.ones(len(LEADS))
    before = 1.0
    for lead in range(len(LEADS)):
        own = (PRIOR_WEIGHT * before + known[lead] * mean[lead]) / (PRIOR_WEIGHT + known[lead])
        if some[lead].any():
            before = float(np.median(own[some[lead]]))
        pooled[lead] = before
    slow = (PRIOR_WEIGHT * pooled[:, None] + known * mean) / (PRIOR_WEIGHT + known)
    fast = np.maximum.accumulate(adapted, axis=0)
    result: Floats = np.clip(slow * np.exp(fast), FACTOR_LEAST, FACTOR_MOST)
    return result


def by_day(of_leads: Floats, days: int) -> Floats:
    """Factors at each day 1 … ``days`` (at most ``HORIZON_DAYS``) from those at the leads; (series, days).

    Between leads linear in log lead and log factor; beyond the last lead as at it.
    """
    result: Floats = np.exp(BETWEEN[:days] @ np.log(of_leads)).T
    return result


def at_lead(of_leads: Floats, lead: int) -> float:
    """One series' factor (``of_leads`` of shape (leads,)) at a lead of 1 … ``HORIZON_DAYS`` days.

    Raises:
        ValueError: another lead.
    """
    if not 1 <= lead <= HORIZON_DAYS:
        raise ValueError(f"lead: {lead}; expected 1 to {HORIZON_DAYS} days")
    return float(np.exp(BETWEEN[lead - 1] @ np.log(of_leads)))


def adapt(adapted: Floats, missed: npt.NDArray[np.bool_], allowed: Floats, lead: int) -> Floats:
    """θ of one lead (its index) after an outcome.

    Args:
        adapted: θ before, shape (series,); missed: whether the outcome is above the quantile; allowed: the
            probability that it is, as claimed; both (levels, series).
    """
    moved = LEAK[lead] * adapted + STEPS[lead] * (missed - allowed).mean(axis=0)
    result: Floats = np.clip(moved, -ADAPTED_MOST, ADAPTED_MOST)
    return result
