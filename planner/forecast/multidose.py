"""Containers that a pooled volume takes, under the open-container rule.

A multi-dose container is opened when a dose finds none open, serves the sessions that follow, and is discarded
with its rest when ``open_hours`` have passed. So its need is no sum over sessions: the volume is pooled per site
and day, and turned into containers here. All arrays are by day, shape (days,); volumes in mL.

**Window shorter than two days** (a 4 h bulk package; anything is discarded overnight at the latest, or counted
so): the day is cut into ``windows_per_day`` windows, sessions fall into each alike, and a window with volume V
takes ⌈V/size⌉ containers:

    E⌈V/size⌉ = Σ_{k≥0} P(V > k·size),    E⌈V/size⌉² = Σ_{k≥0} (2k + 1) P(V > k·size).

V is taken as the typical dose u times a whole number with V's two moments (``quantiles.survival``), which is exact
for equal doses. A window has 1/W of the day's mean; each use falls into it with chance 1/W, so its variance is
v/W² + (1/W)(1 − 1/W)·E[uses]·u² (thinning). Windows of a day are added as if independent: a use in one is not in
another, so the day's variance errs upwards.

**Window of T ≥ 2 days** (28 days): an opened container delivers D = min(size, U), U the volume of the dose that
opened it and of what follows within the window; its rest is discarded. By renewal reward, the volume m of a day
takes m/E[D] containers. What will be discarded is charged to the doses as they are drawn, not on the day it is
discarded; and the tail, the rest of the container that is open, is supply in the projection and not need here.
With U = u + R, R the rest of the window taken as gamma distributed (mean sθ, shape s) and a = size − u:

    E[min(a, R)] = a·Q(s, a/θ) + sθ·P(s + 1, a/θ)        f = P(R ≥ a) = Q(s, a/θ)

On the day itself R holds the uses beside the one that opened: their expected number is μ + σ²/μ − 1.

The number of containers follows the volume as far as containers are emptied (share f); the others end by time, and
only the wait for the next use after it, 1/λ with variance 1/λ², makes their number vary (Cox 1962, Renewal Theory,
§4.5: variance of a count = count × squared coefficient of variation of the cycle, E[D]/u uses long):

    variance = f·Var(V)/E[D]² + (1 − f)·(m/E[D])·(u/E[D])²
"""

from __future__ import annotations

from decimal import Decimal
from math import ceil
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import special

from planner.forecast.outlook import Floats
from planner.forecast.quantiles import NOTHING, survival

SESSION_HOURS_PER_DAY = 8
"""Hours of a day over which a site's sessions are spread (assumed; evenly)."""
TAIL_DAYS = 28
"""Beyond the last day, volumes are taken as the average of the last so many days."""
_NEGLIGIBLE = 1e-9
_TOUCH = 1e-9
"""Doses that fill a container but for rounding fill it."""


class Containers(NamedTuple):
    """Mean and variance of the containers that each day's volume takes; shape (days,)."""

    mean: Floats
    variance: Floats


class Volume(NamedTuple):
    """Moments of a day's volume (mL) and of the number of sessions that use any; shape (days,) each."""

    mean: Floats
    variance: Floats
    uses_mean: Floats
    uses_variance: Floats


def containers(volume: Volume, size_ml: float, open_hours: Decimal) -> Containers:
    """Containers of ``size_ml`` that may be kept open for ``open_hours``, by day."""
    result = Containers(np.zeros_like(volume.mean), np.zeros_like(volume.mean))
    used = (volume.mean > NOTHING) & (volume.uses_mean > NOTHING)
    if not used.any():
        return result
    window_days = int(open_hours // 24)
    if window_days >= 2:
        mean, variance = _over_days(volume, used, size_ml, window_days)
    else:
        mean, variance = _within_days(Volume(*(a[used] for a in volume)), size_ml, windows_per_day(open_hours))
    result.mean[used] = mean
    result.variance[used] = variance
    return result


def windows_per_day(open_hours: Decimal) -> int:
    """Windows that a day of ``SESSION_HOURS_PER_DAY`` is cut into."""
    return max(1, ceil(SESSION_HOURS_PER_DAY / open_hours))


def _within_days(volume: Volume, size_ml: float, windows: int) -> tuple[Floats, Floats]:
    dose = volume.mean / volume.uses_mean
    share = 1 / windows
    mean = volume.mean * share / dose
    variance = volume.variance / dose**2 * share**2 + share * (1 - share) * volume.uses_mean
    first = np.zeros_like(mean)
    second = np.zeros_like(mean)
    k = 0
    while True:
        # ends: the survival function falls to 0
        beyond = survival(mean, variance, k * size_ml / dose + _TOUCH)
        first += beyond
        second += (2 * k + 1) * beyond
        if beyond.max() < _NEGLIGIBLE:
            return windows * first, windows * np.maximum(second - first * first, 0.0)
        k += 1


def _over_days(volume: Volume, used: npt.NDArray[np.bool_], size_ml: float, window_days: int) -> tuple[Floats, Floats]:
    later_mean = _following(volume.mean, window_days - 1)[used]
    later_variance = _following(volume.variance, window_days - 1)[used]
    mean, variance, uses, uses_variance = (a[used] for a in volume)
    dose = mean / uses
    others = np.maximum(uses + uses_variance / uses - 1, 0.0) * dose
    dose_variance = np.maximum(variance / uses - uses_variance / uses * dose**2, 0.0)
    first_dose = np.minimum(dose, size_ml)
    rest = others + later_mean
    rest_variance = dose_variance + variance * np.minimum(others / mean, 1.0) + later_variance
    more, emptied = _limited(rest, rest_variance, size_ml - first_dose)
    delivered = first_dose + more
    taken = mean / delivered
    spread = emptied * variance / delivered**2 + (1 - emptied) * taken * np.minimum(dose / delivered, 1.0) ** 2
    return taken, spread


def _following(values: Floats, days: int) -> Floats:
    """Sum over the ``days`` days after each day."""
    tail = np.full(days, values[-TAIL_DAYS:].mean())
    running = np.concatenate(([0.0], np.cumsum(np.concatenate((values, tail)))))
    after = np.arange(1, values.size + 1)
    result: Floats = running[after + days] - running[after]
    return np.maximum(result, 0.0)


def _limited(mean: Floats, variance: Floats, limit: Floats) -> tuple[Floats, Floats]:
    """E[min(limit, X)] and P(X ≥ limit) of a gamma variable X with these moments."""
    spread = (variance > _NEGLIGIBLE * mean * mean) & (mean > NOTHING)
    safe_mean = np.where(spread, mean, 1.0)
    theta = np.where(spread, variance, 1.0) / safe_mean
    shape = safe_mean / theta
    x = limit / theta
    over = special.gammaincc(shape, x)
    limited = limit * over + shape * theta * special.gammainc(shape + 1, x)
    return np.where(spread, limited, np.minimum(mean, limit)), np.where(spread, over, np.where(mean < limit, 0.0, 1.0))
