"""Expected shortage against enumeration: of the distribution itself, and of the laws it stands for."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from stockpyl.loss_functions import poisson_loss

from planner.forecast.loss import loss, partial_moments
from planner.forecast.quantiles import survival


@pytest.mark.parametrize("mean", [0.05, 0.5, 1.0, 3.0, 7.3, 12.0, 40.0, 200.0])
@pytest.mark.parametrize("dispersion", [0.3, 0.8, 1.0, 1.3, 2.5, 6.0])
def test_enumerated(mean: float, dispersion: float) -> None:
    variance = mean * dispersion
    x = np.arange(int(mean + 40 * np.sqrt(variance) + 60), dtype=np.float64)
    beyond = survival(np.full(x.size, mean), np.full(x.size, variance), x)
    chance = -np.diff(np.concatenate(([1.0], beyond)))
    stocks = np.array([0.0, 0.5, mean / 2, mean, 1.3 * mean + 0.25, 2 * mean + 1])
    excess = np.maximum(x - stocks[:, None], 0)
    wanted, square = excess @ chance, excess**2 @ chance
    # what is interpolated between two binomials is within two per cent of a container at worst
    slack = 0.03 if dispersion < 1 else 2e-3
    np.testing.assert_allclose(loss(mean, variance, stocks), wanted, rtol=5e-3, atol=slack)
    found = partial_moments(np.full(6, mean), np.full(6, variance), stocks)
    np.testing.assert_allclose(found.excess, wanted, rtol=5e-3, atol=slack)
    np.testing.assert_allclose(found.square, square, rtol=0.02, atol=0.05 if dispersion < 1 else 5e-3)
    reached = [chance[x >= stock].sum() for stock in stocks]
    np.testing.assert_allclose(found.reached, reached, atol=1e-9)


@pytest.mark.parametrize(("stock", "mean"), [(3, 4.0), (10, 4.0), (18, 15.0), (60, 52.0)])
def test_poisson_loss_of_stockpyl(stock: int, mean: float) -> None:
    wanted, _ = poisson_loss(stock, mean)
    assert loss(mean, mean, stock) == pytest.approx(wanted, rel=2e-2, abs=1e-4)


def test_negative_binomial_loss() -> None:
    mean, dispersion = 12.0, 2.5
    law = stats.nbinom(mean / (dispersion - 1), 1 / dispersion)
    x = np.arange(400)
    for stock in (5.0, 12.0, 20.5, 30.0):
        wanted = law.pmf(x) @ np.maximum(x - stock, 0)
        assert loss(mean, mean * dispersion, stock) == pytest.approx(wanted, rel=0.01)


def test_without_need_nothing_is_short_but_what_is_owed() -> None:
    assert loss(0.0, 0.0, np.array([3.0, 0.0, -2.0])).tolist() == [0.0, 0.0, 2.0]
    found = partial_moments(np.zeros(2), np.zeros(2), np.array([1.0, 0.0]))
    assert found.excess.tolist() == [0.0, 0.0]
