"""What ordering policies cost in simulated clinics, at the same fill: the scenarios of ``config/scenarios``.

    python -m benchmarks policies [--quick] [--scenario NAME]… [--processes N]

Keeps what it measures in ``benchmarks/policies.json``, scenario by scenario, and writes ``benchmarks/policies.md``
of all that is kept (neither with ``--quick``): every ratio with its 95 % interval, what was wanted of the planner, and
whether it is met. A run of some scenarios replaces theirs and leaves the others as they were.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.policies_report import (
    BASE,
    COLUMNS,
    COMMON,
    Measured,
    measured_of,
    read,
    row_of,
    wanted_of,
    write,
)
from benchmarks.table import show
from config.load import DEFAULT_CATALOGUE, load_catalogue
from config.scenarios import load_scenario, scenario_names
from planner.simulation import equal_fill
from planner.simulation.compare import Tuning
from planner.simulation.measure import Comparison
from streams.simulating import Plan, mapper, run_scenario

KEPT = Path(__file__).parent / "policies.json"
FULL = Plan(train=20, planner_train=8, planner_steps=4, test=8)
"""A clinic-year of the real steps takes some ten seconds. The planner need not be tuned closely: opponents are moved to
the fill that it reaches."""
QUICK = Plan(train=4, planner_train=2, test=4, years=0.5)
MANY_ITEMS = Plan(train=4, planner_train=1, test=4)
"""Scenarios of whole catalogues: a clinic-year of the real steps takes most of a minute."""
RARE_TEST = 20
"""Test years of a scenario in which what is rare decides: over eight years the ratio of what two policies let expire is
uncertain by a third."""
RARE = ("short-life",)
SHORTAGES = ("allocation", "shift-frozen", "allocation-unannounced")
"""Those in which fill is what counts: parameters are those of the steady clinic."""


def main(*, quick: bool = False, only: Sequence[str] = (), processes: int | None = None, kept: Path = KEPT) -> None:
    """Run the scenarios and print, and keep, what came of it."""
    bundle = load_catalogue(DEFAULT_CATALOGUE).bundle
    if bundle is None:
        raise SystemExit("the default catalogue is faulty: run `planner check`")
    unknown = sorted(set(only) - set(scenario_names()))
    if unknown:
        raise SystemExit(f"no scenario {', '.join(unknown)}; expected of {', '.join(scenario_names())}")
    found: dict[str, Measured] = {}
    tuned: dict[str, Tuning] = {}
    begun, commit = time.monotonic(), _commit()  # before what is kept changes a file
    with mapper(processes or min(os.cpu_count() or 1, 8)) as spread:
        for name in _order(only or scenario_names()):
            scenario = load_scenario(name)
            plan = QUICK if quick else FULL
            if scenario.clinic is None:
                plan = replace(plan, train=MANY_ITEMS.train, planner_train=MANY_ITEMS.planner_train,
                               test=QUICK.test if quick else MANY_ITEMS.test)  # fmt: skip
            elif name in RARE and not quick:
                plan = replace(plan, test=RARE_TEST)
            known = tuned.get(scenario.tuned_on or "")
            _, parameters, comparison = run_scenario(
                name, bundle, plan, spread=spread, tell=lambda text: None, tuned=known
            )
            # frozen parameters are those of the scenario they were tuned on
            tuned[scenario.tuned_on or name] = parameters
            found[name] = measured_of(comparison, commit)
            print(f"{name}: {_line(comparison)}; {time.monotonic() - begun:.0f} s so far", flush=True)
            if not quick:  # each time anew: what was measured is kept, whatever becomes of the rest
                write(kept, {**read(kept), name: found[name]})
    rows = [row_of(name, measured) for name, measured in found.items()]
    show("Money and stock value, as ratios to min/max tuned in hindsight", COLUMNS, rows)
    show("Wanted", ("what", "wanted", "measured", ""), [wanted.row for wanted in wanted_of(found)])


def _order(names: Sequence[str]) -> list[str]:
    """The most telling first; whole catalogues, which take longest, last."""
    known_first = [*COMMON[:5], *SHORTAGES[:2], *COMMON[5:], *SHORTAGES[2:]]
    ordered = [name for name in known_first if name in names] + [name for name in names if name not in known_first]
    return sorted(ordered, key=lambda name: load_scenario(name).clinic is None)


def _line(comparison: Comparison) -> str:
    return ", ".join(
        f"{policy} {equal_fill.money_ratio(comparison, policy, BASE).value:.2f}" for policy in comparison.runs
    )


def _commit() -> str:
    """What is measured: the commit, with a plus sign if something is changed since."""
    told = subprocess.run(
        ["git", "describe", "--always", "--dirty=+"], cwd=KEPT.parent, capture_output=True, text=True, check=False
    )
    return told.stdout.strip() or "unknown"
