"""Distribution of a whole number of containers from its mean and variance.

The need for an item is a sum over sessions of whole containers. From two moments we take the member of the (a, b, 0)
class of Panjer (1981), which is what such sums tend to: binomial below Poisson dispersion, Poisson, negative
binomial above it. Below Poisson dispersion the number of trials is not whole; as in Adan, van Eenige & Resing
(1995, "Fitting discrete distributions on the first two moments", eq. 1) we mix the two binomials with the whole
numbers on either side, which keeps both moments exactly. A whole number with mean m has at least the variance
f (1 − f), f the fraction of m; a lower one is raised to it.

Probabilities are exact (regularised incomplete beta function) where the distribution is small; of what is well above
Poisson dispersion they are a gamma distribution's (``planner.forecast.gamma``), and elsewhere the approximation of
Peizer & Pratt (1968, JASA 63), within 1e-3 where it is used (a test measures it) and several times cheaper.
``survival`` and ``quantiles`` are of one and the same distribution.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import special

from planner.forecast import gamma
from planner.forecast.outlook import Floats
from planner.messages import QUANTILES

_NEAR_POISSON = 1e-6
"""Dispersion this close to 1 is moved this far from it: the class is continuous there, its formulae are not."""
_CERTAIN = 1e-9
"""A trial's chance to fail is kept above this, so that a certain number has finite ratios."""
_LEAST_DISPERSION = 1e-12
"""Of a number that is certain (everybody has arrived), so that nothing is divided by zero."""
_EXACT_MEAN = 6.0
_EXACT_SHAPE = 5.0
_EXACT_TRIALS_LEFT = 6.0
"""Peizer & Pratt is used above these only."""
_RECURSION_MEAN = 12.0
"""Beyond it, quantiles are found sooner by search than by counting up to them."""
_COUNTED_AT_ONCE = 512
_STEPS_FIRST, _STEPS_MOST = 8, 32
"""Distributions, and numbers of containers, that are counted at once: their arrays stay in the cache."""
_BEYOND_DEVIATIONS = 30.0
"""Standard deviations and dispersions beyond the mean, from which P(X ≤ k) is 1 (a test measures it)."""
_TIE = 1e-12
_BEYOND = 2.0**60
"""A number of containers that is not looked for."""
NOTHING = 1e-12
"""A mean below this is no need: rounding, and too small to divide by."""
MAXIMUM_LEVEL = 0.999999

Bools = npt.NDArray[np.bool_]


def survival(mean: npt.ArrayLike, variance: npt.ArrayLike, beyond: npt.ArrayLike) -> Floats:
    """P(X > beyond), elementwise with broadcasting.

    Args:
        mean: of X, containers, at least 0; where it is 0 (below ``NOTHING``), X is 0.
        variance: of X, containers².
        beyond: any number; a fraction of a container serves nobody, so only its whole part counts.
    """
    m, v, k = np.broadcast_arrays(
        np.asarray(mean, np.float64), np.asarray(variance, np.float64), np.floor(np.asarray(beyond, np.float64))
    )
    result: Floats = np.where(k < 0, 1.0, 0.0)
    open_question = (m > NOTHING) & (k >= 0)
    some = m[open_question]
    result[open_question] = 1.0 - _cdf(some, _dispersion(some, v[open_question]), k[open_question])
    return result


def quantiles(
    mean: npt.ArrayLike, variance: npt.ArrayLike, levels: Sequence[float] = QUANTILES, *, exact: bool = True
) -> Floats:
    """Smallest whole x with P(X ≤ x) ≥ level, for each level; never falling with the level.

    Args:
        mean: of X, containers, at least 0; where it is 0 the quantiles are 0.
        variance: of X, containers², of the same shape.
        levels: rising, each above 0 and at most ``MAXIMUM_LEVEL``.
        exact: False, for scoring, is several times cheaper: of distributions that are not small the quantile is then
            sometimes off by 1, or by a fiftieth of a standard deviation if that is more (a test measures it).

    Returns:
        Shape (levels, *mean.shape).

    Raises:
        ValueError: levels out of range or not rising.
    """
    wanted = np.asarray(levels, np.float64)
    if wanted.size == 0 or wanted[0] <= 0 or wanted[-1] > MAXIMUM_LEVEL or np.any(np.diff(wanted) <= 0):
        raise ValueError(f"levels: {levels!r}; expected rising levels above 0 and at most {MAXIMUM_LEVEL}")
    m = np.asarray(mean, np.float64)
    result = np.zeros((wanted.size, m.size))
    some = np.flatnonzero(m.ravel() > NOTHING)
    m_some = m.ravel()[some]
    d_some = _dispersion(m_some, np.asarray(variance, np.float64).ravel()[some])
    wide = gamma.applies(m_some / np.abs(d_some - 1), d_some)
    small = ~wide & (m_some < _RECURSION_MEAN)
    for where, method in (
        (wide, _by_gamma),
        (small, _by_recursion),
        (~wide & ~small, _by_search if exact else _by_expansion),
    ):
        if where.any():
            result[:, some[where]] = method(m_some[where], d_some[where], wanted)
    return np.maximum.accumulate(result, axis=0).reshape(wanted.size, *m.shape)


def _dispersion(mean: Floats, variance: Floats) -> Floats:
    """Variance ÷ mean, raised to what a whole number has at least, and moved off 1."""
    fraction = mean - np.floor(mean)
    dispersion: Floats = np.maximum(np.maximum(variance, fraction * (1 - fraction)) / mean, _LEAST_DISPERSION)
    near = np.abs(dispersion - 1) < _NEAR_POISSON
    dispersion[near] = 1 + _NEAR_POISSON
    return dispersion


def _cdf(mean: Floats, dispersion: Floats, k: Floats) -> Floats:
    """P(X ≤ k) for means above ``NOTHING`` and whole k ≥ 0 (arrays of one dimension and length)."""
    scale = mean / np.abs(dispersion - 1)  # failures of a negative binomial, trials of a binomial
    over = dispersion > 1
    wide = gamma.applies(scale, dispersion) & (k >= gamma.FROM)
    exact = (mean < _EXACT_MEAN) | np.where(over, scale < _EXACT_SHAPE, scale - k < _EXACT_TRIALS_LEFT)
    exact &= ~wide
    result = np.ones_like(mean)  # a binomial's k beyond every trial stays 1
    for where, method in ((wide, gamma.cdf), (~exact & ~wide, _peizer_pratt)):
        if where.all():
            return method(scale, dispersion, k)
        if where.any():
            result[where] = method(scale[where], dispersion[where], k[where])
    # far beyond, where 1 is all that a float can say, the beta function takes longest
    exact &= k <= mean + _BEYOND_DEVIATIONS * (dispersion + np.sqrt(mean * dispersion))
    upper = (exact & over).nonzero()[0]
    if upper.size:
        result[upper] = special.betainc(scale[upper], k[upper] + 1, 1 / dispersion[upper])
    lower = (exact & ~over & (k <= scale)).nonzero()[0]
    if lower.size:
        result[lower] = _mixed_binomial_cdf(mean[lower], scale[lower], k[lower])
    return result


def _peizer_pratt(scale: Floats, dispersion: Floats, k: Floats) -> Floats:
    """P(X ≤ k) by a normal deviate. A negative binomial is P(Bin(r + k, 1 − 1/dispersion) ≤ k)."""
    over = dispersion > 1
    q = np.where(over, 1 / dispersion, dispersion)
    p = 1 - q
    n = np.where(over, scale + k, scale)
    t = n - k - 0.5
    d = k + 2 / 3 - (n + 1 / 3) * p + 0.02 * (q / (k + 1) - p / (t + 0.5) + (q - 0.5) / (n + 1))
    bend = 1 + q * _bend((k + 0.5) / (n * p)) + p * _bend(t / (n * q))
    return np.asarray(special.ndtr(d * np.sqrt(bend / ((n + 1 / 6) * p * q))), np.float64)


def _bend(x: Floats) -> Floats:
    """(1 − x² + 2 x ln x) ÷ (1 − x)², by its series where x is near 1."""
    y = 1 - x
    close = np.abs(y) < 1e-3
    safe = np.where(close, 1.0, y)
    result: Floats = np.where(close, y / 3 + y * y / 6, (1 - x * x + 2 * x * np.log(x)) / (safe * safe))
    return result


def _mixed_binomials(mean: Floats, trials: Floats) -> tuple[Floats, Floats, Floats]:
    """(n, weight of n trials, chance p): n or n + 1 trials of chance p with the mean and variance asked for.

    With a = cv² − 1/mean = −1/trials: weight = (1 + a (1 + n) + √(−a n (1 + n) − n)) ÷ (1 + a).
    """
    trials = np.maximum(trials, 1.0)
    n = np.floor(trials)
    one = trials - 1 < 1e-7
    root = np.sqrt(np.maximum(n * (1 + n - trials) / trials, 0))
    weight: Floats = np.where(one, 1.0, (1 - (1 + n) / trials + root) / np.where(one, 1.0, 1 - 1 / trials))
    weight = np.clip(weight, 0.0, 1.0)
    return n, weight, np.minimum(mean / (n + 1 - weight), 1 - _CERTAIN)


def _mixed_binomial_cdf(mean: Floats, trials: Floats, k: Floats) -> Floats:
    n, weight, p = _mixed_binomials(mean, trials)
    result = np.zeros_like(mean)
    for count, share in ((n, weight), (n + 1, 1 - weight)):
        inside = special.betainc(np.maximum(count - k, 0.5), k + 1, 1 - p)
        result += share * np.where(k >= count, 1.0, inside)
    return result


def _by_recursion(mean: Floats, dispersion: Floats, levels: Floats) -> Floats:
    """Quantiles by adding up probabilities from 0 on: p(k) = (a + b/k) p(k − 1) (Panjer 1981)."""
    result = np.empty((levels.size, mean.size))
    over = dispersion > 1
    d = dispersion[over]
    r = mean[over] / (d - 1)
    a = 1 - 1 / d
    result[:, over] = _count_up(
        np.exp(-r * np.log(d))[None], a[None], ((r - 1) * a)[None], np.ones((1, r.size)), levels
    )
    n, weight, p = _mixed_binomials(mean[~over], mean[~over] / (1 - dispersion[~over]))
    odds = p / (1 - p)
    trials = np.stack((n, n + 1))
    result[:, ~over] = _count_up(
        np.exp(trials * np.log1p(-p)),
        np.broadcast_to(-odds, trials.shape),
        (trials + 1) * odds,
        np.stack((weight, 1 - weight)),
        levels,
    )
    return result


def _count_up(first: Floats, a: Floats, b: Floats, weight: Floats, levels: Floats) -> Floats:
    """Number of k with P(X ≤ k) below each level; mixtures along the first axis, shape (levels, elements)."""
    count = np.zeros((levels.size, first.shape[1]))
    below = levels - _TIE
    for begin in range(0, first.shape[1], _COUNTED_AT_ONCE):
        part = slice(begin, begin + _COUNTED_AT_ONCE)
        _count_part(count[:, part], first[:, part], a[:, part], b[:, part], weight[:, part], below)
    return count


def _count_part(  # noqa: PLR0917 (a distribution's four, and where to count)
    count: Floats, first: Floats, a: Floats, b: Floats, weight: Floats, below: Floats
) -> None:
    """Add to ``count``, many k at a time."""
    probability = cumulative = first
    count += (weight * first).sum(axis=0) < below[:, None]
    going = count[-1] > 0
    at = np.flatnonzero(going)
    k, size = 1, _STEPS_FIRST
    while at.size:
        # ends: the cumulative probability passes every level up to MAXIMUM_LEVEL (rounding is below 1e-7)
        if not going.all():
            probability, cumulative = probability[:, going], cumulative[:, going]
            a, b, weight = a[:, going], b[:, going], weight[:, going]
        steps = np.maximum(a + b / np.arange(k, k + size)[:, None, None], 0.0)
        steps[0] *= probability
        probabilities = np.cumprod(steps, axis=0)
        probability = probabilities[-1].copy()
        probabilities[0] += cumulative
        cumulatives = np.cumsum(probabilities, axis=0)
        cumulative = cumulatives[-1]
        reached = (weight * cumulatives).sum(axis=1)
        counts = np.count_nonzero(reached < below[:, None, None], axis=1)
        count[:, at] += counts
        going = counts[-1] == size
        at, k, size = at[going], k + size, min(2 * size, _STEPS_MOST)


def _by_gamma(mean: Floats, dispersion: Floats, levels: Floats) -> Floats:
    """Quantiles in closed form; those below ``gamma.FROM`` by adding up probabilities."""
    failures = mean / (dispersion - 1)
    result = np.maximum(gamma.quantiles(failures, dispersion, levels - _TIE), gamma.FROM)
    low = result[0] <= gamma.FROM + 1
    if low.any():
        steps = np.empty((gamma.FROM, int(low.sum())))
        r, a = failures[low], 1 - 1 / dispersion[low]
        steps[0] = np.exp(-r * np.log(dispersion[low]))
        steps[1:] = a * (1 + (r - 1) / np.arange(1, gamma.FROM)[:, None])
        reached = np.cumsum(np.cumprod(steps, axis=0), axis=0)
        below = np.stack([np.count_nonzero(reached < level, axis=0) for level in levels - _TIE])
        result[:, low] = np.where(below < gamma.FROM, below, result[:, low])
    return result


def _by_search(mean: Floats, dispersion: Floats, levels: Floats) -> Floats:
    """Quantiles by expansion, then step by step."""
    result = _by_expansion(mean, dispersion, levels)
    for guess, level in zip(result, levels, strict=True):  # one level at a time: its arrays stay in the cache
        _settle(guess, mean, dispersion, level - _TIE)
    return result


def _by_expansion(mean: Floats, dispersion: Floats, levels: Floats) -> Floats:
    """Quantiles by Cornish & Fisher's expansion with the exact third and fourth cumulants of the class."""
    sd = np.sqrt(mean * dispersion)
    skew = (2 * dispersion - 1) / sd
    excess = (6 * dispersion * (dispersion - 1) + 1) / (sd * sd)
    result = np.empty((levels.size, mean.size))
    for at, level in enumerate(levels):
        z = special.ndtri(level)
        deviate = z + (z * z - 1) * skew / 6 + (z**3 - 3 * z) * excess / 24 - (2 * z**3 - 5 * z) * skew * skew / 36
        result[at] = np.maximum(np.ceil(mean + sd * deviate - 0.5), 0.0)
    return result


def _settle(guess: Floats, mean: Floats, dispersion: Floats, level: float) -> None:
    """Make each ``guess``, in place, the smallest whole number whose cumulative probability reaches the level.

    A guess is seldom off by more than 1, so steps begin with 1; they double, so that one that is far off, as with
    means in the billions, is found in some hundred steps and not in billions.
    """
    reached = _cdf(mean, dispersion, guess) >= level
    # the answer is above ``short`` and at most ``enough``, once both are known
    short, enough = np.where(reached, -1.0, guess), np.where(reached, guess, np.inf)
    at, step = np.flatnonzero(~reached | (guess > 0)), 1.0
    down, known = reached[at], np.zeros(at.size, np.bool_)
    while at.size:
        outward = np.where(down, np.maximum(enough[at] - step, 0.0), short[at] + step)
        candidate = np.where(known, np.floor((short[at] + enough[at]) / 2), outward)
        reaches = _cdf(mean[at], dispersion[at], candidate) >= level
        enough[at[reaches]], short[at[~reaches]] = candidate[reaches], candidate[~reaches]
        known |= reaches != down
        low, high = short[at], enough[at]
        # floats that are far from 0 have no whole number between them long before they differ by 1
        between = np.floor((low + high) / 2)
        going = np.where(known, (between > low) & (between < high), (high - low > 1) & (low < _BEYOND))
        at, down, known, step = at[going], down[going], known[going], step * 2
    guess[:] = np.where(np.isinf(enough), short, enough)
