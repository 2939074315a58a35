"""Expected shortage of the distribution that ``planner.forecast.quantiles`` takes from a mean and a variance.

For the (a, b, 0) class with dispersion D = variance ÷ mean, x f(x) is mean × the frequency of x − 1 in the member of
the class with the same D and the mean + D − 1 (its size-biased law, less one). So partial expectations are
probabilities again, which is how loss functions of the Poisson law are tabulated (Zipkin, *Foundations of Inventory
Management*, 2000, appendix C.3) and goes for the binomial and the negative binomial alike:

    E[X; X > k]         = m P(X' > k − 1),          m' = m + D − 1
    E[X (X − 1); X > k] = m m' P(X'' > k − 2),      m'' = m' + D − 1
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from planner.forecast.outlook import Floats
from planner.forecast.quantiles import NOTHING, survival

_ROUNDING = 1e-9


class Partial(NamedTuple):
    """Partial moments of a need X about a stock s; of the arrays' shape."""

    reached: Floats
    """P(X ≥ s)."""
    excess: Floats
    """E(X − s)⁺."""
    square: Floats
    """E[((X − s)⁺)²]."""


def loss(mean: npt.ArrayLike, variance: npt.ArrayLike, stock: npt.ArrayLike) -> Floats:
    """E(X − stock)⁺, elementwise with broadcasting: containers that are needed beyond ``stock``.

    Args:
        mean, variance: as of ``quantiles.survival``.
        stock: any number; of a negative one all of it is short too.
    """
    m, v, s = np.broadcast_arrays(*(np.asarray(value, np.float64) for value in (mean, variance, stock)))
    result: Floats = np.array(np.maximum(m - s, 0.0))
    some = (m > NOTHING) & (s > 0)
    if some.any():
        result[some] = _excess(m[some], v[some], s[some])
    return result


def partial_moments(mean: Floats, variance: Floats, stock: Floats) -> Partial:
    """The partial moments of needs about stocks of at least 0; arrays of one shape and one dimension."""
    some = mean > NOTHING
    if not some.all():
        zeros = np.zeros((3, mean.size))
        if some.any():
            zeros[:, some] = partial_moments(mean[some], variance[some], stock[some])
        return Partial(*zeros)
    d, k = _dispersion(mean, variance), np.floor(stock)
    first, second = np.maximum(mean + d - 1, 0.0), np.maximum(mean + 2 * d - 2, 0.0)
    means = np.concatenate((mean, mean, first, second))
    bounds = np.concatenate((np.ceil(stock - _ROUNDING) - 1, k, k - 1, k - 2))
    reached, beyond, one, two = survival(means, means * np.tile(d, 4), bounds).reshape(4, -1)
    linear, factorial = mean * one, mean * first * two
    excess = np.maximum(linear - stock * beyond, 0.0)
    square = factorial + linear - 2 * stock * linear + stock * stock * beyond
    return Partial(reached, excess, np.maximum(square, excess * excess))


def _excess(m: Floats, v: Floats, s: Floats) -> Floats:
    d, k = _dispersion(m, v), np.floor(s)
    means = np.concatenate((m, np.maximum(m + d - 1, 0.0)))
    beyond, one = survival(means, means * np.tile(d, 2), np.concatenate((k, k - 1))).reshape(2, -1)
    result: Floats = np.maximum(m * one - s * beyond, 0.0)
    return result


def _dispersion(m: Floats, v: Floats) -> Floats:
    fraction = m - np.floor(m)
    result: Floats = np.maximum(v, fraction * (1 - fraction)) / m
    return result
