"""Probabilities of an overdispersed number of containers by a gamma distribution, and their inverse in closed form.

Of a negative binomial with r failures and dispersion d (variance ÷ mean), P(X ≤ k) = I_{1/d}(r, k + 1), a ratio of
incomplete beta functions. With u = −ln(1 − t) their integrand t^{r−1} (1 − t)^k becomes u^{r−1} e^{−N u}, with
N = k + (r + 1)/2, times (sinh(u/2) ÷ (u/2))^{r−1} ≈ 1 + (r − 1) u²/24. So (Wise 1950, Biometrika 37, 208–218), with
λ = −ln(1 − 1/d) and P the regularised incomplete gamma function,

    P(X ≤ k) ≈ P(r, w),    w = λ N − (r − 1) λ²/24 − (r² − 1) λ/(24 N).

The last two terms are what the second factor moves w by (the ratio of the first-order change of the integral to the
density at λ N). w = W is a quadratic equation in N. Where it is used (``applies``, from ``FROM`` on) the error is below
1.2e-4, and in the upper tail below a thousandth of the probability (a test measures both).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import special

from planner.forecast.outlook import Floats

FROM: Final = 6
"""The least k of which it is asked."""
_DISPERSION_LEAST: Final = 2.0
_DISPERSION_OF_MANY: Final = 5.0
"""The least dispersion of ``_MANY`` failures and more."""
_MANY: Final = 5.0

_FEWEST, _MOST = 0.02, 200.0
"""Failures between which the inverse is interpolated."""
_CELLS: Final = 2048
_WIDTH: Final = (np.log(_MOST) - np.log(_FEWEST)) / _CELLS
_SMALLEST: Final = 1e-300


def applies(failures: Floats, dispersion: Floats) -> npt.NDArray[np.bool_]:
    """Whether the approximation is good for a distribution, from ``FROM`` on."""
    result: npt.NDArray[np.bool_] = dispersion >= np.where(failures < _MANY, _DISPERSION_LEAST, _DISPERSION_OF_MANY)
    return result


def cdf(failures: Floats, dispersion: Floats, k: Floats) -> Floats:
    """P(X ≤ k) for whole k from ``FROM`` on; arrays of one shape."""
    rate = -np.log1p(-1 / dispersion)
    n = k + (failures + 1) / 2
    moved = (failures - 1) * rate / 24 * (rate + (failures + 1) / n)
    result: Floats = special.gammainc(failures, rate * n - moved)
    return result


def quantiles(failures: Floats, dispersion: Floats, levels: Floats) -> Floats:
    """Smallest whole k with ``cdf`` ≥ level, as far as ``cdf`` holds; shape (levels, failures)."""
    rate = -np.log1p(-1 / dispersion)
    half = (_inverse(failures, levels) + (failures - 1) * rate * rate / 24) / (2 * rate)
    n = half + np.sqrt(np.maximum(half * half + (failures * failures - 1) / 24, 0.0))
    result: Floats = np.ceil(n - (failures + 1) / 2)
    return result


def _inverse(failures: Floats, levels: Floats) -> Floats:
    """w with P(failures, w) = level, to nine digits; shape (levels, failures)."""
    between = (failures >= _FEWEST) & (failures <= _MOST)
    some = failures if between.all() else np.clip(failures, _FEWEST, _MOST)
    place = (np.log(some) - np.log(_FEWEST)) / _WIDTH
    cell = np.minimum(place.astype(np.intp), _CELLS - 1)
    t = place - cell
    result = np.empty((levels.size, failures.size))
    for of_level, level in zip(result, levels.tolist(), strict=True):
        c0, c1, c2, c3 = _coefficients(level).take(cell, axis=1)
        np.exp((c0 + t * (c1 + t * (c2 + t * c3))) / some, out=of_level)
        if not between.all():
            of_level[~between] = special.gammaincinv(failures[~between], level)
    return result


@lru_cache(maxsize=256)
def _coefficients(level: float) -> Floats:
    """Of the cubic through the four points about each cell, of r ln w, which is smooth in ln r; shape (4, cells)."""
    r = np.exp(np.log(_FEWEST) + _WIDTH * np.arange(-1, _CELLS + 2))
    y = r * np.log(np.maximum(special.gammaincinv(r, level), _SMALLEST))
    before, at, after, beyond = (y[n : n + _CELLS] for n in range(4))
    first = after - before / 3 - at / 2 - beyond / 6
    second = (before + after) / 2 - at
    third = (beyond - before) / 6 + (at - after) / 2
    return np.stack((at, first, second, third))
