"""The gamma approximation against the incomplete beta function, and its inverse against its own probabilities."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import special

from planner.forecast import gamma
from planner.forecast.outlook import Floats
from planner.forecast.quantiles import quantiles, survival
from planner.messages import QUANTILES

LEVELS = np.array(QUANTILES)


@pytest.fixture(scope="module")
def asked() -> tuple[Floats, Floats, Floats]:
    """Failures, dispersions and numbers of which it is asked, all over the field and far into the upper tail."""
    rng = np.random.default_rng(11)
    failures = np.exp(rng.uniform(np.log(1e-3), np.log(2000), 400_000))
    dispersion = np.exp(rng.uniform(np.log(2), np.log(3000), failures.size))
    mean = failures * (dispersion - 1)
    k = np.floor(mean + np.sqrt(mean * dispersion) * rng.uniform(-5, 25, mean.size))
    some = gamma.applies(failures, dispersion) & (k >= gamma.FROM)
    assert some.sum() > 300_000
    return failures[some], dispersion[some], k[some]


def test_it_is_within_its_error_of_the_negative_binomial(asked: tuple[Floats, Floats, Floats]) -> None:
    failures, dispersion, k = asked
    exact = special.betainc(failures, k + 1, 1 / dispersion)
    assert np.abs(gamma.cdf(failures, dispersion, k) - exact).max() < 1.2e-4


def test_what_it_says_of_what_seldom_happens_is_right_in_proportion(asked: tuple[Floats, Floats, Floats]) -> None:
    failures, dispersion, k = asked
    exact = special.betaincc(failures, k + 1, 1 / dispersion)
    tail = (exact < 0.1) & (exact > 1e-9)
    beyond = 1 - gamma.cdf(failures[tail], dispersion[tail], k[tail])
    assert tail.sum() > 100_000
    np.testing.assert_allclose(beyond, exact[tail], rtol=1e-3, atol=1e-15)


def test_the_inverse_is_that_of_the_incomplete_gamma_function() -> None:
    failures = np.exp(np.linspace(np.log(gamma._FEWEST / 3), np.log(gamma._MOST * 3), 5000))
    levels = np.array([0.01, *QUANTILES, 0.999999])
    exact = special.gammaincinv(failures, levels[:, None])
    seen = exact > 1e-30  # below, no number of containers
    np.testing.assert_allclose(gamma._inverse(failures, levels)[seen], exact[seen], rtol=1e-9)


@given(st.floats(0.01, 300), st.floats(2, 3000), st.sampled_from(QUANTILES))
def test_its_quantiles_are_the_smallest_numbers_that_reach_the_level(
    failures: float, dispersion: float, level: float
) -> None:
    r, d = np.array([failures]), np.array([dispersion])
    found = gamma.quantiles(r, d, np.array([level]))[0]
    if found[0] >= gamma.FROM:
        assert gamma.cdf(r, d, found)[0] >= level - 1e-8
    if found[0] > gamma.FROM:
        assert gamma.cdf(r, d, found - 1)[0] < level + 1e-8


@given(st.floats(0.01, 100), st.floats(2, 1000))
def test_small_numbers_are_exact_and_no_quantile_is_lost_where_the_two_meet(mean: float, dispersion: float) -> None:
    """Below ``FROM`` probabilities are those of the negative binomial; a quantile is never between the two."""
    failures = mean / (dispersion - 1)
    assume(gamma.applies(np.array([failures]), np.array([dispersion]))[0])
    found = quantiles([mean], [mean * dispersion])[:, 0]
    assert (survival(mean, mean * dispersion, found) <= 1 - LEVELS + 1e-8).all()
    assert (survival(mean, mean * dispersion, found - 1) >= 1 - LEVELS - 2e-4).all()
    small = np.arange(gamma.FROM)
    exact = special.betaincc(failures, small + 1, 1 / dispersion)
    few = survival(mean, mean * dispersion, small)
    np.testing.assert_allclose(few, exact, atol=1e-9 if failures < 5 else 1.2e-3)
