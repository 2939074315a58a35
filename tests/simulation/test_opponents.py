"""Opponents and their tuning."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest

from planner.simulation.clinic import SiteClinic
from planner.simulation.compare import levels_policy
from planner.simulation.levels import History, histories, simulate
from planner.simulation.measure import item_measure
from planner.simulation.opponents import FAMILIES
from planner.simulation.tuning import LevelSearch, Tuned, tune
from planner.simulation.world import Fate, SiteWorld
from tests.simulation.small import BAG, VIAL, clinic

TARGET = 0.98


def known(made: SiteClinic, seeds: range = range(6)) -> dict[str, History]:
    return histories([Fate.draw(made, seed) for seed in seeds])


@pytest.mark.parametrize("name", FAMILIES)
def test_the_fast_simulator_does_what_the_world_does(name: str) -> None:
    """With one item that every session needs, nothing couples items, and the two must agree to the container."""
    made = clinic(
        clinic={
            "sessions_per_day": 3,
            "items": [{"id": VIAL, "price": 50, "pack": 5, "lead_days": 2, "shelf_life_days": 12}],
            "kinds": [{"id": "infusion", "share": 1, "uses": [{"item": VIAL}]}],
        }
    )
    fate = Fate.draw(made, 3)
    history = histories([fate])[VIAL]
    family = FAMILIES[name]
    dial, size = np.array([family.dial_most(history) / 6]), family.sizes(history)[-1:]
    tried = simulate(history, family.levels(history, dial, size), 1)
    tuned = {VIAL: Tuned(float(dial[0]), float(size[0]), 0, 0)}
    totals = SiteWorld(fate).run(levels_policy(name, fate, tuned))
    measured = item_measure(totals.items[VIAL], made.items[VIAL], made.scenario.costs, totals.days)
    assert measured.fill == pytest.approx(float(tried.fill[0]))
    assert measured.money == pytest.approx(float(tried.money[0]))
    assert measured.money > 0


@pytest.mark.parametrize("name", FAMILIES)
def test_tuned_reaches_the_fill_and_a_larger_dial_costs_more(name: str) -> None:
    history = known(clinic())[VIAL]
    family = FAMILIES[name]
    best = tune(family, history, TARGET)
    assert best.fill >= TARGET
    wasteful = simulate(history, family.levels(history, np.array([best.dial * 2 + 3]), np.array([best.size])), 1)
    assert float(wasteful.money[0]) > best.money


def test_tuned_min_max_beats_rules_of_thumb() -> None:
    history = known(clinic())[VIAL]
    family = FAMILIES["minmax"]
    best = tune(family, history, TARGET)
    dials, sizes = (grid.ravel() for grid in np.meshgrid(np.arange(0.0, 40.0, 2.0), [1.0, 2.0, 4.0, 8.0]))
    tried = simulate(history, family.levels(history, dials, sizes), dials.size)
    reaching = tried.fill >= TARGET
    assert reaching.any()
    assert best.money <= float(tried.money[reaching].min()) * 1.01


def test_nobody_beats_the_clairvoyant() -> None:
    for item, history in known(clinic(), range(10)).items():
        money = {name: tune(family, history, TARGET).money for name, family in FAMILIES.items()}
        assert min(money, key=lambda name: money[name]) == "clairvoyant", (item, money)


def test_more_of_the_dial_is_never_less_fill() -> None:
    history = known(clinic())[BAG]
    for family in FAMILIES.values():
        size = family.sizes(history)[:1]
        dials = np.linspace(0, family.dial_most(history), 12)
        fills = simulate(history, family.levels(history, dials, np.repeat(size, 12)), 12).fill.tolist()
        # of two orders the larger can come later, so only nearly never
        assert all(after >= before - 0.01 for before, after in pairwise(fills)), (family.name, fills)
        assert fills[-1] > 0.995, family.name


def test_policies_do_not_know_the_future() -> None:
    """All but the clairvoyant: another future leaves what was ordered until then as it was."""
    made = clinic()
    history = known(made, range(1))[VIAL]
    changed = history.wanted.copy()
    changed[:, 50:] *= 3
    other = History(
        history.facts, history.costs, changed, history.due, history.orderable, history.working, history.promised,
        history.opening, history.measured_from,
    )  # fmt: skip
    for name in ("erpnext", "erpnext-daily", "rs-forecast"):
        family = FAMILIES[name]
        ones = np.ones(1)
        before, after = (family.levels(of, ones, ones) for of in (history, other))
        for day in range(50):
            assert np.array_equal(before.at(day), after.at(day)), (name, day)
        assert not np.array_equal(before.at(60), after.at(60))


def searched(fill_at: Callable[[float], float]) -> tuple[LevelSearch, list[float]]:
    """The search for a fill of .99, and the levels that it tried."""
    search, tried = LevelSearch(0.99, 0.9, close=0.001), list[float]()
    while not search.done and len(tried) < 30:
        tried.append(search.level)
        search.tell(fill_at(search.level))
    assert search.done
    return search, tried


def test_the_service_level_is_found_whose_fill_is_the_target() -> None:
    search, tried = searched(lambda level: 1 - (1 - level) / 4)
    assert search.level == search.best[0] == pytest.approx(0.96, abs=0.004)
    assert search.best[1] == pytest.approx(0.99, abs=0.001)
    assert len(tried) <= 9


def test_where_no_service_level_reaches_the_fill_it_ends_at_the_highest() -> None:
    search, tried = searched(lambda level: 0.5 + level / 100)
    assert search.level == max(tried) > 0.9999


def test_where_every_service_level_reaches_the_fill_it_ends_at_the_lowest() -> None:
    search, tried = searched(lambda level: 0.995 + level / 1000)
    assert search.level == min(tried) < 0.1
