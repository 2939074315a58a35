"""What outstanding lines may have brought: each number of containers once, with its probability."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy import stats

from planner.forecast.waiting import Waiting


def waiting(quantities: list[float], arrived: list[float]) -> Waiting:
    """Lines of one item on one day."""
    return Waiting(np.array([0, len(quantities)]), np.array(quantities), np.array(arrived)[:, None])


def spread(lines: Waiting) -> dict[float, float]:
    cell, probability, containers = lines.spread(np.array([0]), np.array([0]))
    assert set(cell.tolist()) == {0}
    assert len(set(containers.tolist())) == containers.size, "each number once"
    return dict(zip(containers.tolist(), probability.tolist(), strict=True))


def test_of_orders_that_are_alike_it_matters_how_many_have_come() -> None:
    found = spread(waiting([500.0] * 4, [0.3] * 4))
    assert sorted(found) == [0.0, 500.0, 1000.0, 1500.0, 2000.0]
    assert [found[500.0 * k] for k in range(5)] == pytest.approx(stats.binom(4, 0.3).pmf(range(5)).tolist())


def test_of_others_each_combination_counts() -> None:
    quantities, arrived = [10.0, 20.0, 30.0], [0.2, 0.5, 0.9]
    wanted: dict[float, float] = {}
    for came in product((0, 1), repeat=3):
        total = float(np.dot(came, quantities))
        chance = float(np.prod([p if c else 1 - p for p, c in zip(arrived, came, strict=True)]))
        wanted[total] = wanted.get(total, 0.0) + chance  # 10 + 20 is 30
    found = spread(waiting(quantities, arrived))
    assert found.keys() == wanted.keys()
    assert [found[total] for total in wanted] == pytest.approx(list(wanted.values()))


def test_cells_are_not_mixed_up() -> None:
    lines = Waiting(np.array([0, 2, 3]), np.array([5.0, 5.0, 7.0]), np.array([[0.5, 1.0], [0.5, 1.0], [0.0, 0.25]]))
    cell, probability, containers = lines.spread(np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1]))
    found = sorted(zip(cell.tolist(), containers.tolist(), probability.tolist(), strict=True))
    assert found == [
        (0, 0.0, 0.25), (0, 5.0, 0.5), (0, 10.0, 0.25), (1, 10.0, 1.0), (2, 0.0, 1.0), (3, 0.0, 0.75), (3, 7.0, 0.25),
    ]  # fmt: skip
