"""The whole of a comparison, and the figures that come of it."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner

from planner.simulation import equal_fill
from planner.simulation.compare import POLICIES, Setting, compare, tune_policies
from planner.simulation.measure import ItemMeasure, Run, fill_of, item_measure, ratio, service_of
from planner.simulation.scenario import Costs
from planner.simulation.world import ItemTotals
from streams.cli import main
from streams.simulating import RUN_COLUMNS
from tests.simulation.small import BAG, VIAL, bundle, clinic, scenario

SMALL = """\
title: Small
clinic:
  sessions_per_day: 3
  items: [{id: vial, price: 50, pack: 5, lead_days: 2}]
  kinds: [{id: infusion, share: 1, uses: [{item: vial}]}]
bookings:
  ahead: [{share: 1, days: [0, 14]}]
horizon: {warm_up_days: 21, days: 42}
"""


def measured(policy: str, seed: int, wanted: float, short: float, value: float) -> Run:
    item = ItemMeasure(wanted, short, 1, value, 0, 0, 2, 10, value, 15, 0)
    return Run(policy, seed, {VIAL: item}, 8, 1, 1, 2, 364)


def test_money_is_holding_lines_and_waste() -> None:
    totals = ItemTotals(wanted=200, short=2, stock_days=365 * 10, expired=3, open_waste=0.5, lines=4, ordered=210)
    facts = clinic().items[VIAL]
    found = item_measure(totals, facts, Costs(holding_per_year=0.2, order_line=7), 365)
    assert found.fill == pytest.approx(0.99)
    assert found.holding_cost == pytest.approx(10 * 50 * 0.2)
    assert found.money == pytest.approx(100 + 28 + 3.5 * 50)


def test_ratios_pair_seeds() -> None:
    paired = ratio([10, 20, 30], [20, 40, 60])
    assert paired.value == paired.low == paired.high == 0.5
    spread = ratio([10, 20, 30], [40, 20, 10])
    assert spread.low < spread.value < spread.high
    assert math.isnan(ratio([1], [0]).value)
    assert math.isnan(ratio([1], [2]).low)


def test_fill_and_service_are_of_all_seeds_together() -> None:
    runs = [measured("a", 1, 100, 0, 5), measured("a", 2, 300, 8, 5)]
    assert fill_of(runs).value == pytest.approx(0.98)
    assert fill_of(runs, VIAL).value == pytest.approx(0.98)
    assert service_of(runs).value == pytest.approx(0.8)


def test_all_policies_are_compared_on_the_same_patients() -> None:
    setting = Setting(scenario(), bundle())
    told: list[str] = []
    tuning = tune_policies(setting, POLICIES, range(2), planner_seeds=range(1), tell=told.append)
    found = compare(setting, tuning, POLICIES, range(10, 12))
    assert list(found.runs) == list(POLICIES)
    sessions = {policy: [run.sessions for run in runs] for policy, runs in found.runs.items()}
    assert len(set(map(tuple, sessions.values()))) == 1
    wanted = {policy: [run.items[BAG].wanted for run in runs] for policy, runs in found.runs.items()}
    assert len(set(map(tuple, wanted.values()))) == 1
    assert all(run.money > 0 for runs in found.runs.values() for run in runs)
    assert equal_fill.money_ratio(found, "minmax", "minmax").value == 1
    assert any("tuning the planner" in text for text in told)


def test_an_unknown_policy_is_told() -> None:
    with pytest.raises(ValueError, match=r"policies: found guess; expected of minmax"):
        tune_policies(Setting(scenario(), bundle()), ["guess"], range(1))


def test_the_command_prints_and_writes(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(SMALL, encoding="utf-8")
    out = tmp_path / "runs.csv"
    args = ["simulate", str(tmp_path / "mine.yaml"), "--policies", "minmax,planner", "--seeds", "2", "--train", "1"]
    result = CliRunner().invoke(main, [*args, "--out", str(out), "--json"])
    assert result.exit_code == 0, result.output
    body = orjson.loads(result.stdout)
    assert body["policies"]["planner"]["money_ratio"][0] > 0
    assert body["test_seeds"] == [2000, 2001]
    rows = list(csv.DictReader(io.StringIO(out.read_text(encoding="utf-8"))))
    assert tuple(rows[0]) == RUN_COLUMNS
    assert {(row["policy"], row["seed"]) for row in rows} == {
        (policy, seed) for policy in ("minmax", "planner") for seed in ("2000", "2001")
    }
    table = CliRunner().invoke(main, args)
    assert "money ÷ minmax" in table.stdout
    assert "2000 to 2001" in table.stdout


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["simulate", "stedy"], "steady"),
        (["simulate", "steady", "--policies", "guess"], "expected of minmax"),
        (["simulate"], "expected a scenario"),
        (["simulate", "steady", "--out", "no/such/folder/x.csv"], "expected one that is there"),
    ],
)
def test_the_command_says_what_was_expected(args: list[str], told: str) -> None:
    result = CliRunner().invoke(main, args)
    assert result.exit_code != 0
    assert told in result.output


def test_scenarios_are_listed() -> None:
    result = CliRunner().invoke(main, ["simulate", "--list"])
    assert result.exit_code == 0
    assert "A steady clinic" in result.stdout
