"""Scores against figures worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from planner.backtest.scores import coverage_error, pinball_loss, score


def test_pinball_loss_by_hand() -> None:
    loss = pinball_loss(np.array([10.0]), np.array([[8.0, 12.0, 10.0, 20.0, 0.0]]))
    # .5·2; (1−.8)·2; 0; (1−.95)·10; .99·10
    assert loss[0] == pytest.approx([1.0, 0.4, 0.0, 0.5, 9.9])


def test_score_by_hand() -> None:
    outcome = np.array([10.0, 20.0])
    quantiles = np.array([[8.0, 12.0, 10.0, 20.0, 0.0], [20.0, 20.0, 20.0, 20.0, 25.0]])
    found = score(outcome, quantiles, np.array([9.0, 24.0]))
    assert (found.n, found.mean_demand) == (2, 15.0)
    assert found.pinball == pytest.approx((1.0 + 0.4 + 0.5 + 9.9 + 0.01 * 5) / 10)
    assert found.pinball_over_mean == pytest.approx(found.pinball / 15)
    assert found.coverage == (0.5, 1.0, 1.0, 1.0, 0.5), "an outcome equal to the quantile is covered"
    assert found.bias_over_mean == pytest.approx((-1 + 4) / 2 / 15)
    assert found.mae_over_mean == pytest.approx(1 / 15)


def test_without_demand_relative_figures_are_unknown() -> None:
    found = score(np.zeros(2), np.ones((2, 5)), np.ones(2))
    assert np.isnan(found.pinball_over_mean)
    assert found.pinball == pytest.approx((0.5 + 0.2 + 0.1 + 0.05 + 0.01) / 5)


def test_nothing_to_score_is_said() -> None:
    with pytest.raises(ValueError, match="found none"):
        score(np.zeros(0), np.zeros((0, 5)), np.zeros(0))


@pytest.mark.parametrize(("lead", "step"), [(1, 1), (7, 1), (28, 1), (14, 5), (28, 40)])
def test_coverage_of_right_quantiles_is_off_by_its_standard_error(lead: int, step: int) -> None:
    origins, level, mean = np.arange(700_000, 700_205, step), 0.9, 400.0
    days = np.random.default_rng(5).normal(mean, np.sqrt(mean), (4_000, 205 + lead))
    sums = np.concatenate((np.zeros((4_000, 1)), np.cumsum(days, axis=1)), axis=1)
    at = origins - origins[0]
    within = sums[:, at + lead] - sums[:, at] <= stats.norm.ppf(level, mean * lead, np.sqrt(mean * lead))
    assert coverage_error(origins, lead, level) == pytest.approx(within.mean(axis=1).std(), rel=0.05)


def test_coverage_of_totals_that_share_no_day_has_the_binomial_error() -> None:
    assert coverage_error(np.arange(100) * 7, 7, 0.95) == pytest.approx(np.sqrt(0.95 * 0.05 / 100), rel=1e-4)
    assert coverage_error(np.array([5]), 28, 0.9) == pytest.approx(0.3, rel=1e-4)
