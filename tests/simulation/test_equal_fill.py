"""An opponent at the fill that another policy reached."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from planner.simulation import equal_fill
from planner.simulation.clinic import SiteClinic
from planner.simulation.compare import Setting, compare, levels_policy, tune_policies
from planner.simulation.equal_fill import Curve, curve_of, fills_of, moved_runs
from planner.simulation.levels import History, histories, simulate
from planner.simulation.measure import Comparison, Run, run_of
from planner.simulation.opponents import FAMILIES
from planner.simulation.scenario import Scenario
from planner.simulation.tuning import LevelSearch, Tuned, tune
from planner.simulation.world import Fate, SiteWorld
from tests.simulation.small import VIAL, bundle, clinic, scenario

SEEDS = range(6)
MIN_MAX = FAMILIES["minmax"]
_PLENTY = Tuned(60, 1, 0, 0)


@cache
def history() -> History:
    return histories([Fate.draw(clinic(), seed) for seed in SEEDS])[VIAL]


def curve(**changes: object) -> Curve:
    values = {
        "fill": np.array([0.97, 0.98, 0.99]),
        "money": np.array([[100.0, 120.0, 150.0], [200.0, 220.0, 250.0]]),
        "value": np.array([[10.0, 12.0, 15.0], [20.0, 22.0, 25.0]]),
        "waste": np.zeros((2, 3)),
        "at": 0.98,
        **changes,
    }
    return Curve(**values)  # type: ignore[arg-type]


def test_at_its_own_fill_nothing_moves() -> None:
    assert [moved.tolist() for moved in curve().moved(0.98, 0.98)] == [[0, 0]] * 3


def test_it_moves_along_the_curve_by_seed() -> None:
    money, value, waste = curve().moved(0.98, 0.99)
    assert money == pytest.approx([30, 30])
    assert value == pytest.approx([3, 3])
    assert waste == pytest.approx([0, 0])
    less, *_ = curve().moved(0.98, 0.97)
    assert less == pytest.approx([-20, -20])


def test_the_step_is_taken_from_where_the_curve_has_it() -> None:
    """The full simulation says 98.5 % where the fast one says 98: twice as many short is the same step for both."""
    money, *_ = curve(at=0.98).moved(0.985, 0.9925)
    assert money[0] == pytest.approx(30, abs=1e-6)


def test_beyond_the_curve_its_end_stands() -> None:
    money, *_ = curve().moved(0.98, 0.9999)
    assert money == pytest.approx([30, 30])


def test_a_moved_min_max_costs_what_another_dial_costs() -> None:
    """Moved to the fill of a min/max with a higher minimum, it costs nearly what that one was measured at."""
    tuned = tune(MIN_MAX, history(), 0.97)
    other = Tuned(tuned.dial + 4, tuned.size, 0, 0)
    of = clinic()
    runs = {name: [_run(of, seed, parameters) for seed in SEEDS] for name, parameters in (("a", tuned), ("b", other))}
    drawn = curve_of(MIN_MAX, history(), tuned, 0.985)
    fills = {VIAL: fills_of(runs["b"])[VIAL]}
    assert fills[VIAL] > fills_of(runs["a"])[VIAL]
    moved = sum(m.money for m in moved_runs(runs["a"], {VIAL: drawn}, fills))
    before, there = (sum(run.money for run in runs[name]) for name in ("a", "b"))
    assert moved == pytest.approx(there, rel=0.04)
    assert abs(moved - there) < abs(before - there) / 2


def _run(of: SiteClinic, seed: int, tuned: Tuned) -> Run:
    fate = Fate.draw(of, seed)
    levels = dict.fromkeys(of.items, _PLENTY) | {VIAL: tuned}
    totals = SiteWorld(fate).run(levels_policy("minmax", fate, levels))
    return run_of("minmax", seed, {of.site: totals}, {of.site: of.items}, of.scenario.costs)


def test_ratios_are_of_equal_fill_where_curves_are_known() -> None:
    found = _compared(scenario())
    assert set(found.curves) == {"minmax", "clairvoyant"}
    moved = equal_fill.at_equal_fill(found, "clairvoyant", "minmax")
    assert [m.money for m in moved] != [run.money for run in found.runs["minmax"]]
    assert equal_fill.money_ratio(found, "minmax", "minmax").value == 1


def test_frozen_parameters_are_compared_as_measured() -> None:
    found = _compared(scenario(tuned_on="steady"))
    assert not found.curves
    moved = equal_fill.at_equal_fill(found, "clairvoyant", "minmax")
    assert [m.money for m in moved] == [run.money for run in found.runs["minmax"]]


def _compared(of: Scenario) -> Comparison:
    setting, policies = Setting(of, bundle()), ("minmax", "clairvoyant")
    return compare(setting, tune_policies(setting, policies, range(2)), policies, range(10, 12))


def test_who_finds_fewer_than_a_session_takes_takes_none() -> None:
    """Sessions of three: with two left one is sent home, and they stay."""
    kinds = [{"id": "infusion", "share": 1, "uses": [{"item": VIAL, "containers": 3}]}]
    small = scenario().clinic
    assert small is not None
    body = small.model_dump(mode="json") | {"kinds": kinds}
    of = clinic(clinic=body)
    known = histories([Fate.draw(of, seed) for seed in SEEDS])[VIAL]
    assert known.lump == 3
    tuned = tune(MIN_MAX, known, 0.9)
    tried = simulate(known, MIN_MAX.levels(known, np.array([tuned.dial]), np.array([tuned.size])), 1)
    fills = [_run(of, seed, tuned) for seed in SEEDS]
    assert float(tried.fill[0]) == pytest.approx(fills_of(fills)[VIAL], abs=1e-9)


def test_the_nearest_level_is_chosen() -> None:
    search = LevelSearch(0.99, 0.9, close=0.003)
    search.tell(0.98)
    assert search.best[1] == 0.98
    search.tell(0.988)
    assert (search.done, search.best[1]) == (True, 0.988)
    missed = LevelSearch(0.99, 0.9, close=0.003)
    for fill in (0.97, 0.999, 0.98):
        missed.tell(fill)
    assert (missed.done, missed.best[1]) == (False, 0.98)
