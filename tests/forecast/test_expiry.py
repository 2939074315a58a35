"""Expiry against the exact dynamics of a shelf: first expired, first out, day by day, with random need."""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta

import numpy as np
import pytest
from scipy import stats

from planner.forecast.outlook import Need
from planner.forecast.projection import project
from planner.site.state import SiteState
from tests.forecast.clinic import MONDAY, SITE, VIAL, at, catalogue, receive

CATALOGUE = catalogue()
NOW = at(MONDAY)
DAYS = 12


def exact(lots: list[tuple[int, int]], per_day: float) -> tuple[np.ndarray, np.ndarray]:
    """(P(more has been needed than the shelf gave) by the end of each day, mean expired unused before each day) of lots
    (quantity, last day) and Poisson need, by the distribution of the shelf itself."""
    x = np.arange(40)
    chance = stats.poisson.pmf(x, per_day)
    states: dict[tuple[tuple[int, ...], bool], float] = {(tuple(q for q, _ in lots), False): 1.0}
    short, expired = np.zeros(DAYS), np.zeros(DAYS + 1)
    for day in range(DAYS):
        after: defaultdict[tuple[tuple[int, ...], bool], float] = defaultdict(float)
        for (shelf, was_short), weight in states.items():
            for need, p in zip(x.tolist(), chance.tolist(), strict=True):
                left, wanted = list(shelf), need
                for number, (_, last) in enumerate(lots):
                    if last >= day:
                        taken = min(left[number], wanted)
                        left[number] -= taken
                        wanted -= taken
                for number, (_, last) in enumerate(lots):
                    if last == day:
                        expired[day + 1] += weight * p * left[number]
                        left[number] = 0
                after[tuple(left), was_short or wanted > 0] += weight * p
        states = dict(after)
        short[day] = sum(weight for (_, was_short), weight in states.items() if was_short)
    return short, np.cumsum(expired)[:DAYS]


LOTS = [
    [(20, 4), (12, 400)],
    [(6, 1), (9, 5), (20, 400)],
    [(30, 5)],
    [(4, 2), (4, 4), (4, 6), (4, 8)],
    [(15, 400)],
]


@pytest.mark.parametrize("lots", LOTS, ids=str)
@pytest.mark.parametrize("per_day", [0.7, 1.5, 3.0])
def test_risk_and_waste_are_those_of_the_shelf(lots: list[tuple[int, int]], per_day: float) -> None:
    state = SiteState(SITE)
    for number, (quantity, last) in enumerate(lots):
        receive(state, VIAL, f"L{number}", quantity, MONDAY + timedelta(days=last))
    mean = np.full((1, DAYS), per_day)
    zero = np.zeros_like(mean)
    seen = project(state, CATALOGUE, Need(MONDAY, (VIAL,), mean, mean, zero, zero), NOW)
    short, expired = exact(lots, per_day)
    total = sum(quantity for quantity, _ in lots)
    np.testing.assert_allclose(total - seen.supply[0], expired, atol=0.12)
    np.testing.assert_allclose(seen.risk[0], short, atol=0.05)


def test_to_subtract_the_mean_waste_alone_would_be_wrong() -> None:
    """Twenty vials until Friday, twelve after it, 1.5 a day: about 12 expire, and little of what is uncertain about the
    first days matters after them. Need against supply less mean waste would cry wolf a third too often."""
    state = SiteState(SITE)
    receive(state, VIAL, "A", 20, MONDAY + timedelta(days=4))
    receive(state, VIAL, "B", 12, MONDAY + timedelta(days=400))
    mean = np.full((1, DAYS), 1.5)
    zero = np.zeros_like(mean)
    seen = project(state, CATALOGUE, Need(MONDAY, (VIAL,), mean, mean, zero, zero), NOW)
    short, _ = exact([(20, 4), (12, 400)], 1.5)
    naive = stats.poisson.sf(np.floor(seen.supply[0]), 1.5 * np.arange(1, DAYS + 1))
    assert abs(seen.risk[0, -1] - short[-1]) < 0.02 < naive[-1] - short[-1]
