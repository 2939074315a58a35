"""The two-moment distribution: equal to textbook ones where these are its members, close to exact compound sums."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

from planner.forecast import quantiles as module
from planner.forecast.outlook import Floats
from planner.forecast.quantiles import _BEYOND_DEVIATIONS, quantiles, survival
from planner.messages import QUANTILES

MEANS = st.floats(0.001, 2000)
DISPERSIONS = st.floats(0.001, 40)

TEXTBOOK = [
    # distribution and its mean, variance
    (stats.binom(1, 0.95), 0.95, 0.0475),
    (stats.binom(12, 0.3), 3.6, 2.52),
    (stats.binom(100, 0.9), 90.0, 9.0),
    (stats.binom(400, 0.02), 8.0, 7.84),
    (stats.poisson(0.05), 0.05, 0.05),
    (stats.poisson(3.0), 3.0, 3.0),
    (stats.poisson(250.0), 250.0, 250.0),
    (stats.nbinom(2, 0.25), 6.0, 24.0),
    (stats.nbinom(30, 0.6), 20.0, 100 / 3),
    (stats.geom(0.2, loc=-1), 4.0, 20.0),
]


@pytest.mark.parametrize(("exact", "mean", "variance"), TEXTBOOK)
def test_members_of_the_class_are_met(exact: stats.rv_frozen, mean: float, variance: float) -> None:
    assert quantiles([mean], [variance])[:, 0].tolist() == exact.ppf(QUANTILES).tolist()
    x = np.arange(int(exact.ppf(0.9999)) + 3)
    np.testing.assert_allclose(survival(mean, variance, x), exact.sf(x), atol=1.1e-3)


@given(MEANS, DISPERSIONS)
@settings(max_examples=150)
def test_quantiles_rise_with_the_level_and_are_whole(mean: float, dispersion: float) -> None:
    found = quantiles([mean], [mean * dispersion], [0.01, 0.2, 0.5, 0.8, 0.9, 0.95, 0.99, 0.999])[:, 0]
    assert all(low <= high for low, high in pairwise(found))
    assert (found == np.floor(found)).all()
    assert found[0] >= 0


@given(MEANS, DISPERSIONS)
@settings(max_examples=150)
def test_quantiles_and_survival_are_of_one_distribution(mean: float, dispersion: float) -> None:
    variance = mean * dispersion
    found = quantiles([mean], [variance])[:, 0]
    assert (survival(mean, variance, found) <= 1 - np.array(QUANTILES) + 1e-9).all()
    # where the exact formula gives way to the approximation, within its error
    assert (survival(mean, variance, found - 1) >= 1 - np.array(QUANTILES) - 1.5e-3).all()


@given(MEANS, DISPERSIONS)
@settings(max_examples=100)
def test_the_distribution_has_the_moments_it_was_made_from(mean: float, dispersion: float) -> None:
    mean = min(mean, 60.0)
    fraction = mean % 1
    variance = max(mean * dispersion, fraction * (1 - fraction))
    x = np.arange(int(mean + 60 + 40 * max(dispersion, np.sqrt(variance))))
    beyond = survival(np.full(x.size, mean), np.full(x.size, variance), x)
    first, second = beyond.sum(), ((2 * x + 1) * beyond).sum()
    assert first == pytest.approx(mean, rel=2e-3, abs=1e-6)
    assert second - first**2 == pytest.approx(variance, rel=2e-2, abs=1e-5)


def test_no_need_has_no_quantiles_and_no_risk_unless_stock_is_short() -> None:
    assert quantiles(np.zeros((3, 4)), np.zeros((3, 4))).tolist() == np.zeros((5, 3, 4)).tolist()
    assert quantiles([5e-324], [5e-324]).tolist() == [[0]] * 5
    assert survival(5e-324, 5e-324, 0) == 0
    assert survival([0, 0, 0, 2], [0, 0, 0, 1], [0, 7, -0.5, -1]).tolist() == [0, 0, 1, 1]


def test_a_certain_number_is_itself() -> None:
    assert (quantiles([7.0], [0.0])[:, 0] == 7).all()
    np.testing.assert_allclose(survival(7.0, 0.0, [6, 6.9, 7]), [1, 1, 0], atol=1e-7)


def test_a_fraction_of_a_container_serves_nobody() -> None:
    assert survival(3.0, 3.0, 4.9) == survival(3.0, 3.0, 4.0)


@pytest.mark.parametrize("levels", [[], [0.5, 0.5], [0.9, 0.5], [0.0, 0.5], [0.5, 1.0]])
def test_levels_that_make_no_sense_are_refused(levels: list[float]) -> None:
    with pytest.raises(ValueError, match="levels"):
        quantiles([1.0], [1.0], levels)


def test_the_approximation_is_within_a_thousandth_or_so_where_it_is_used() -> None:
    rng = np.random.default_rng(7)
    mean = np.exp(rng.uniform(np.log(4), np.log(1000), 20_000))
    dispersion = np.exp(rng.uniform(np.log(0.02), np.log(20), mean.size))
    beyond = np.floor(mean + np.sqrt(mean * dispersion) * rng.uniform(-3, 4, mean.size)).clip(0)
    over = dispersion > 1.001
    exact = special.betaincc(mean[over] / (dispersion[over] - 1), beyond[over] + 1, 1 / dispersion[over])
    error = np.abs(survival(mean, mean * dispersion, beyond)[over] - exact)
    assert error.max() < 1.2e-3
    trials = np.floor(np.exp(rng.uniform(np.log(7), np.log(1000), 20_000)))
    chance = rng.uniform(0.02, 0.98, trials.size)
    mean, variance = trials * chance, trials * chance * (1 - chance)
    beyond = np.floor(mean + np.sqrt(variance) * rng.uniform(-3, 4, mean.size)).clip(0, trials)
    assert np.abs(survival(mean, variance, beyond) - stats.binom.sf(beyond, trials, chance)).max() < 1.5e-3


def test_what_is_taken_for_1_is_1() -> None:
    rng = np.random.default_rng(4)
    mean = np.exp(rng.uniform(np.log(1e-9), np.log(1e4), 50_000))
    dispersion = np.exp(rng.uniform(np.log(1 + 1e-6), np.log(1e4), mean.size))
    beyond = np.ceil(mean + _BEYOND_DEVIATIONS * (dispersion + np.sqrt(mean * dispersion)))
    assert special.betainc(mean / (dispersion - 1), beyond + 1, 1 / dispersion).min() == 1.0
    assert survival(mean, mean * dispersion, beyond).max() < 1e-12


# --- against exact sums over sessions ---------------------------------------------------------------------


def sum_of(sessions: list[tuple[int, float, Floats]]) -> Floats:
    """Exact distribution of Σ over n sessions of Bernoulli(p) × a session's use (its probabilities from 0 on)."""
    total = np.ones(1)
    for n, p, use in sessions:
        one = p * use
        one[0] += 1 - p
        for _ in range(n):
            total = np.convolve(total, one)
    return total


ONE = np.array([0.0, 1.0])
TWO = np.array([0.0, 0.0, 1.0])
THREE = np.array([0.0, 0.0, 0.0, 1.0])
PRN = np.array([0.56, 0.44])
CATHETER = np.array([0.0, 0.73, 0.27 * 0.73, 0.27**2])

BOOKS = {
    # sessions booked; greatest distance allowed between the distribution functions, and between quantiles
    "one vial each, 4 booked": ([(4, 0.9, ONE)], 1e-9, 0),
    "one vial each, 60 booked": ([(60, 0.9, ONE)], 2e-3, 0),
    "PRN, 12 booked": ([(12, 0.9, PRN)], 2e-3, 0),
    "catheters, 20 booked": ([(20, 0.9, CATHETER)], 0.02, 1),
    "catheters, 100 booked": ([(100, 0.85, CATHETER)], 0.01, 1),
    # a fit by two moments cannot know that odd numbers hardly occur; it errs upwards in the tail
    "1 or 2 vials, near and far": ([(6, 0.95, ONE), (5, 0.8, TWO)], 0.08, 2),
    "a month of 2 vials": ([(60, 0.9, TWO), (40, 0.8, TWO)], 0.08, 2),
    "a month of 1 to 3 vials": ([(60, 0.9, ONE), (60, 0.85, TWO), (20, 0.8, THREE)], 0.02, 2),
}


@pytest.mark.parametrize(("sessions", "distance", "containers"), BOOKS.values(), ids=BOOKS)
def test_against_exact_sums(sessions: list[tuple[int, float, Floats]], distance: float, containers: int) -> None:
    exact = sum_of(sessions)
    x = np.arange(exact.size)
    mean = exact @ x
    variance = exact @ (x * x) - mean**2
    fitted = 1 - survival(mean, variance, x)
    assert np.abs(fitted - np.cumsum(exact)).max() <= distance
    quantile = np.searchsorted(np.cumsum(exact), np.array(QUANTILES) - 1e-12)
    assert np.abs(quantiles([mean], [variance])[:, 0] - quantile).max() <= containers


@pytest.mark.parametrize(("dispersion_most", "seldom"), [(12, 0.02), (1000, 0.15)])
def test_quantiles_for_scoring_are_seldom_off_and_by_little(dispersion_most: float, seldom: float) -> None:
    rng = np.random.default_rng(3)
    mean = np.exp(rng.uniform(np.log(0.05), np.log(5000), 4000))
    variance = mean * np.exp(rng.uniform(np.log(0.1), np.log(dispersion_most), mean.size))
    off = quantiles(mean, variance, exact=False) - quantiles(mean, variance)
    assert np.all(np.abs(off) <= np.maximum(1, 0.02 * np.sqrt(variance)))
    assert (off != 0).mean(axis=1).max() <= seldom


@given(st.floats(-8, 18), st.floats(-9, 12))
@settings(max_examples=300)
def test_no_mean_and_no_variance_keep_it_looking(mean_exponent: float, dispersion_exponent: float) -> None:
    """Found by bad_input: means in the billions were looked for one by one, for hours."""
    mean = 10.0**mean_exponent
    variance = mean * 10.0**dispersion_exponent
    calls = 0

    def counted(*of: Floats) -> Floats:
        nonlocal calls
        calls += 1
        assert calls < 1500, "looked for one by one"
        return cdf(*of)

    cdf = module._cdf
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_cdf", counted)
        found = quantiles([mean], [variance], (*QUANTILES, module.MAXIMUM_LEVEL))[:, 0]
    assert np.isfinite(found).all()
