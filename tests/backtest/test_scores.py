"""Scores against figures worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from planner.backtest.scores import pinball_loss, score


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
