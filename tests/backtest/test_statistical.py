"""Baselines of statsforecast: what they may look at, and the variance of a total."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special

from planner.backtest.baselines import Baseline, seasonal_naive
from planner.backtest.history import Book
from streams.backtest import statistical
from streams.backtest.statistical import _total_moments

needs_statsforecast = pytest.mark.skipif(not statistical.is_installed(), reason="statsforecast is not installed")
LEADS = (1, 7, 14)


def made_of(mean: list[float], variance: list[float]) -> dict[str, np.ndarray]:
    half = special.ndtri(0.95) * np.sqrt(variance)
    return {"mean": np.array(mean), "hi-90": np.array(mean) + half}


def test_variance_of_a_total_when_days_are_independent() -> None:
    mean, variance = _total_moments(made_of([1, 2, 3], [4, 4, 4]), gap=0, longest=3)
    assert mean == pytest.approx([1, 3, 6])
    assert variance == pytest.approx([4, 8, 12])


def test_variance_of_a_total_keeps_what_days_share() -> None:
    # simple exponential smoothing with α = ½, σ² = 4: variances 4, 5, 6; every error goes on with ½ each day
    _, variance = _total_moments(made_of([1, 2, 3], [4, 5, 6]), gap=0, longest=3)
    assert variance == pytest.approx([4, 4 * (1.5**2 + 1), 4 * (2**2 + 1.5**2 + 1)])


def test_days_that_wait_to_be_told_come_before_the_total() -> None:
    mean, variance = _total_moments(made_of([1, 2, 3], [4, 5, 6]), gap=1, longest=2)
    assert mean == pytest.approx([2, 5])
    # the error of the day before the total reaches each of its days with ½
    assert variance == pytest.approx([4 * (0.5**2 + 1), 4 * (1**2 + 1.5**2 + 1)])


def book_of(told: np.ndarray, lag: int = 0) -> Book:
    days = np.arange(told.size)
    return Book(np.zeros((told.size, 14)), told, np.maximum(days + 1 - lag, 0), told)


def baselines() -> list[Baseline]:
    return statistical.statistical_baselines() if statistical.is_installed() else []


@needs_statsforecast
@pytest.mark.parametrize("lag", [0, 3])
def test_nothing_after_the_origin_matters(lag: int) -> None:
    told = np.random.default_rng(3).poisson(4, 90).astype(float)
    origins = np.array([40, 60])
    for baseline in baselines():
        before = baseline.forecast(book_of(told, lag), origins, LEADS)
        later = told.copy()
        later[origins[0] + 1 - lag :] += 50
        after = baseline.forecast(book_of(later, lag), origins, LEADS)
        for lead in LEADS:
            assert np.array_equal(before[lead].quantiles[0], after[lead].quantiles[0])
            assert after[lead].mean[1] > before[lead].mean[1], "what is before the second does"


@needs_statsforecast
def test_a_level_is_found_and_covered() -> None:
    rng = np.random.default_rng(8)
    told = rng.poisson(20, 260).astype(float)
    origins = np.arange(150, 230, 4)
    for baseline in baselines():
        for lead, made in baseline.forecast(book_of(told), origins, LEADS).items():
            assert made.mean == pytest.approx(np.full(origins.size, 20.0 * lead), rel=0.3)
            totals = np.array([told[o + 1 : o + 1 + lead].sum() for o in origins])
            assert 0.8 <= (totals[:, None] <= made.quantiles[:, 3:]).mean() <= 1.0


@needs_statsforecast
def test_before_there_is_a_model_auto_ets_is_the_seasonal_naive() -> None:
    told = np.random.default_rng(3).poisson(4, 40).astype(float)
    auto_ets = next(one for one in baselines() if one.name == statistical.AUTO_ETS)
    origins = np.array([5, 20])
    made, naive = auto_ets.forecast(book_of(told), origins, (7,))[7], seasonal_naive(book_of(told), origins, 7, 1)
    assert np.array_equal(made.quantiles, naive.quantiles)
