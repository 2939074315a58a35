"""Containers of a pooled volume: exact where it can be enumerated, else against a simulation of the rule."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest
from scipy import stats

from planner.forecast.multidose import Containers, Volume, containers, windows_per_day
from planner.forecast.outlook import Floats

DAYS = 90


def booked(n: Floats, p: float, dose: float, dose_sd: float = 0.0) -> Volume:
    """Volume of n sessions a day that take place with probability p."""
    uses, spread = n * p, n * p * (1 - p)
    return Volume(uses * dose, spread * dose**2 + uses * dose_sd**2, uses, spread)


@pytest.mark.parametrize(("hours", "windows"), [("4", 2), ("3", 3), ("6", 2), ("8", 1), ("12", 1), ("24", 1)])
def test_a_day_has_as_many_windows_as_its_session_hours_need(hours: str, windows: int) -> None:
    assert windows_per_day(Decimal(hours)) == windows


@pytest.mark.parametrize(
    ("n", "p", "dose", "size"), [(1, 0.9, 5, 50), (6, 0.9, 15, 50), (25, 0.8, 5, 50), (4, 0.7, 80, 50)]
)
def test_one_window_a_day_is_exact_for_equal_doses(n: int, p: float, dose: float, size: float) -> None:
    found = containers(booked(np.array([float(n)]), p, dose), size, Decimal(12))
    uses = np.arange(n + 1)
    taken = np.ceil(uses * dose / size)
    chance = stats.binom.pmf(uses, n, p)
    mean = chance @ taken
    assert found.mean[0] == pytest.approx(mean, abs=0.003)
    assert found.variance[0] == pytest.approx(chance @ taken**2 - mean**2, abs=0.012)


def test_windows_are_opened_apart() -> None:
    """12 sessions fall into two windows of 4 hours alike; each window's last container is discarded."""
    found = containers(booked(np.array([12.0]), 0.9, 10), 50, Decimal(4))
    uses = np.arange(13)
    chance = stats.binom.pmf(uses, 12, 0.9 / 2)
    assert found.mean[0] == pytest.approx(2 * (chance @ np.ceil(uses * 10 / 50)), abs=0.01)
    rng = np.random.default_rng(3)
    first = rng.binomial(12, 0.9, 40_000)
    morning = rng.binomial(first, 0.5)
    total = np.ceil(morning / 5) + np.ceil((first - morning) / 5)
    assert found.mean[0] == pytest.approx(total.mean(), abs=0.02)
    # a use in one window is not in the other: adding their variances errs upwards, by less than half a container
    assert total.var() < found.variance[0] < total.var() + 0.5**2 + 0.1


def test_no_use_takes_no_container() -> None:
    found = containers(booked(np.zeros(DAYS), 0.9, 5), 50, Decimal(672))
    assert not found.mean.any()
    assert not found.variance.any()


LONG = 1200


def opened(volumes_by_day: list[list[float]], size: float, window_days: int) -> int:
    """Containers opened for the doses of each day."""
    rest, until, count = 0.0, -1.0, 0
    for day, doses in enumerate(volumes_by_day):
        for number, dose in enumerate(doses):
            instant = day + number / (len(doses) + 1)
            if instant >= until:
                rest = 0.0
            left = dose - min(rest, dose)
            rest -= dose - left
            while left > 1e-12:
                count += 1
                rest, until = size - min(size, left), instant + window_days
                left -= size - rest
    return count


SIMULATED = {
    # sessions a day, chance that each takes place and uses some, dose, its sd, size
    "dense": (10, 0.9, 1.0, 0.0, 30.0),
    "one container a window, about": (3, 0.4, 1.0, 0.0, 30.0),
    "half a container a window": (2, 0.3, 1.0, 0.0, 30.0),
    "varying doses": (3, 0.6, 2.0, 0.8, 20.0),
    "once a week": (1, 0.15, 1.0, 0.0, 30.0),
    "less than once a window": (1, 0.02, 1.0, 0.0, 30.0),
    "doses beyond a container": (2, 0.5, 25.0, 0.0, 10.0),
}


@pytest.mark.parametrize("case", SIMULATED)
def test_window_of_weeks_against_simulation(case: str) -> None:
    n, p, dose, sd, size = SIMULATED[case]
    found = containers(booked(np.full(LONG, float(n)), p, dose, sd), size, Decimal(672))
    rng = np.random.default_rng(11)
    counts = []
    for _ in range(60):
        uses = rng.binomial(n, p, LONG)
        doses = [np.maximum(rng.normal(dose, sd, k), 0.01).tolist() if sd else [dose] * int(k) for k in uses]
        counts.append(opened(doses, size, 28))
    assert found.mean.sum() == pytest.approx(np.mean(counts), rel=0.03)
    assert np.sqrt(found.variance.sum()) == pytest.approx(np.std(counts), rel=0.5, abs=0.5)


def test_limits() -> None:
    """Dense use takes volume ÷ size; use so rare that nothing follows takes a container each."""
    dense = containers(booked(np.full(DAYS, 40.0), 0.9, 1.0), 30.0, Decimal(672))
    np.testing.assert_allclose(dense.mean, 40 * 0.9 / 30, rtol=1e-6)
    rare = np.zeros(DAYS)
    rare[[3, 50]] = 1
    each = containers(booked(rare, 1.0, 1.0), 30.0, Decimal(24 * 14))
    np.testing.assert_allclose(each.mean[[3, 50]], 1.0, rtol=0.07)


def test_a_day_does_not_depend_on_days_beyond_its_window() -> None:
    few, many = np.full(DAYS, 1.0), np.full(DAYS, 1.0)
    many[40] = 9

    def of(n: Floats) -> Containers:
        return containers(booked(n, 0.5, 1.0), 30.0, Decimal(24 * 10))

    before, after = of(few).mean, of(many).mean
    changed = np.flatnonzero(np.abs(before - after) > 1e-9)
    assert changed.min() == 31
    assert changed.max() == 40
