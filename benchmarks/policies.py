"""What ordering policies cost in simulated clinics, at the same fill: the scenarios of ``config/scenarios``.

    python -m benchmarks policies [--quick]

Writes ``benchmarks/policies.md`` (not with ``--quick``): every ratio with its 95 % interval, what was wanted of the
planner, and whether it is met.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.table import met, show
from config.load import DEFAULT_CATALOGUE, load_catalogue
from config.scenarios import load_scenario, scenario_names
from planner.simulation import equal_fill
from planner.simulation.compare import PLANNER, Tuning
from planner.simulation.measure import Comparison, Interval, Run, fill_of, service_of
from streams.simulating import Plan, mapper, run_scenario

REPORT = Path(__file__).parent / "policies.md"
BASE = "minmax"
FULL = Plan(train=20, planner_train=2, planner_steps=2, test=4)
"""A clinic-year of the real steps takes some ten seconds. The planner need not be tuned closely: opponents are moved to
the fill that it reaches."""
QUICK = Plan(train=4, planner_train=2, test=4, years=0.5)
MANY_ITEMS = Plan(train=4, planner_train=1, test=4)
"""Scenarios of whole catalogues: a clinic-year of the real steps takes most of a minute."""
COMMON = (
    "steady", "acute-80", "short-life", "weekly-load", "costly-planned", "lead-10", "costly-planned-reliable",
    "twice-a-week", "shift", "reliable", "acute-10",
)  # fmt: skip
"""Those that the average is of: tuned on themselves, with nothing extraordinary in supply."""


SHORTAGES = ("allocation", "shift-frozen", "allocation-unannounced")
"""Those in which fill is what counts: parameters are those of the steady clinic."""


_PREFACE = """\
Every policy is tuned to a fill of 99 % of each item on training seeds, at the least money, and measured on test seeds:
the same patients, PRN use and late deliveries for all. Money is holding (22 % a year), order lines (7.5 each) and
waste. Opponents have a dial and a lot size for each item, tuned in hindsight on 20 clinic-years, the planner a service
level for each item, tuned on fewer (of whole catalogues: one service level for all).

*Ratios are at equal fill.* In a few years fill comes out a little above or below what was tuned, so of each item the
opponent is moved to the fill that the planner (or the policy of the column) reached on the test seeds, along its own
curve of money against fill in these very worlds (`planner/simulation/equal_fill.py`): it knows the dial in hindsight.
Where parameters are frozen (`shift-frozen`, `allocation`) and of whole catalogues ratios are as measured. In brackets
the 95 % interval (bootstrap over the test seeds; four of them make it rough). What each policy is:
`planner/simulation/opponents.py` and [docs/simulation.md](../docs/simulation.md)."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A figure that was wanted, and what was measured."""

    what: str
    wanted: str
    measured: str
    met: bool


def main(*, quick: bool = False, only: Sequence[str] = (), report: Path = REPORT) -> None:
    """Run the scenarios and print, and write, what came of it."""
    bundle = load_catalogue(DEFAULT_CATALOGUE).bundle
    if bundle is None:
        raise SystemExit("the default catalogue is faulty: run `planner check`")
    processes = min(os.cpu_count() or 1, 8)
    known_first = [*COMMON[:5], *SHORTAGES[:2], *COMMON[5:], *SHORTAGES[2:]]
    names = list(only) or [*known_first, *(name for name in scenario_names() if name not in known_first)]
    names.sort(key=lambda name: load_scenario(name).clinic is None)  # whole catalogues take longest
    found: dict[str, Comparison] = {}
    tuned: dict[str, Tuning] = {}
    begun = time.monotonic()
    with mapper(processes) as spread:
        for name in names:
            scenario = load_scenario(name)
            plan = QUICK if quick else FULL
            if scenario.clinic is None:
                plan = replace(plan, train=MANY_ITEMS.train, planner_train=MANY_ITEMS.planner_train,
                               test=QUICK.test if quick else MANY_ITEMS.test)  # fmt: skip
            known = tuned.get(scenario.tuned_on or "")
            _, parameters, comparison = run_scenario(
                name, bundle, plan, spread=spread, tell=lambda text: None, tuned=known
            )
            tuned[name], found[name] = parameters, comparison
            print(f"{name}: {_line(comparison)}; {time.monotonic() - begun:.0f} s so far", flush=True)
            if not quick and not only:  # each time anew: what was measured is kept, whatever becomes of the rest
                seconds = time.monotonic() - begun
                report.write_text(_report(found, wanted_of(found), seconds, processes), encoding="utf-8")
    rows = [_row(name, comparison) for name, comparison in found.items()]
    show("Money and stock value, as ratios to min/max tuned in hindsight", _COLUMNS, rows)
    wanted = wanted_of(found)
    show("Wanted", ("what", "wanted", "measured", ""), [(w.what, w.wanted, w.measured, _word(w)) for w in wanted])


def _line(comparison: Comparison) -> str:
    return ", ".join(
        f"{policy} {equal_fill.money_ratio(comparison, policy, BASE).value:.2f}" for policy in comparison.runs
    )


def _word(wanted: Wanted) -> str:
    return "met" if wanted.met else "NOT MET"


# --- what was wanted --------------------------------------------------------------------------------------


def wanted_of(found: dict[str, Comparison]) -> list[Wanted]:
    """What the issue wants of the planner, as far as the scenarios were run."""
    common = [found[name] for name in COMMON if name in found]
    wanted = []
    if common:
        money = [equal_fill.money_ratio(c, PLANNER, BASE).value for c in common]
        worst = max(common, key=lambda c: equal_fill.money_ratio(c, PLANNER, BASE).value)
        wanted.append(_at_most("money ÷ min/max, mean of the common scenarios", sum(money) / len(money), 0.85))
        wanted.append(_at_most(f"the same, worst ({worst.scenario})", max(money), 1.02))
        other = [equal_fill.money_ratio(c, PLANNER, "erpnext").value for c in common]
        wanted.append(_at_most("money ÷ erpnext, mean of the common scenarios", sum(other) / len(other), 0.80))
        value = [equal_fill.value_ratio(c, PLANNER, BASE).value for c in common]
        wanted.append(_at_most("stock value ÷ min/max, mean of the common scenarios", sum(value) / len(value), 0.80))
    if "short-life" in found:
        wanted.append(_at_most("waste with 30 days to live, money ÷ min/max",
                               equal_fill.waste_ratio(found["short-life"], PLANNER, BASE).value, 0.50))  # fmt: skip
    if "shift-frozen" in found:
        runs = found["shift-frozen"].runs
        own, other_fill = (fill_of(runs[policy]).value for policy in (PLANNER, BASE))
        least = f"; lowest item {lowest(runs[PLANNER]):.2%} ({lowest(runs[BASE]):.2%})"
        wanted.append(Wanted("fill after +40 % with frozen parameters", "≥ 98.4 %, where min/max falls below 98",
                             f"{own:.2%} (min/max {other_fill:.2%}){least}", own >= 0.984))  # fmt: skip
    if "allocation" in found:
        runs = found["allocation"].runs
        own_all, other_all = fill_of(runs[PLANNER]).value, fill_of(runs[BASE]).value
        wanted.append(Wanted("fill of the year with six weeks of 40 % allocation", "no worse than min/max",
                             f"{own_all:.2%} (min/max {other_all:.2%})", own_all >= other_all))  # fmt: skip
    if "steady" in found:
        above = equal_fill.money_ratio(found["steady"], PLANNER, "clairvoyant").value
        wanted.append(_at_most("steady: money ÷ clairvoyant", above, 1.25))
    return wanted


def lowest(runs: Sequence[Run]) -> float:
    """The lowest fill of an item over the runs."""
    return min(fill_of(runs, item).value for item in runs[0].items)


def _at_most(what: str, value: float, target: float) -> Wanted:
    return Wanted(what, f"≤ {target:.2f}", f"{value:.3f}", met(value, target) == "met")


# --- the report -------------------------------------------------------------------------------------------

_COLUMNS = ("scenario", "erpnext", "erpnext-daily", "rs-forecast", "planner", "clairvoyant", "planner: value",
            "fill min/max → planner", "sessions complete")  # fmt: skip


def _row(name: str, comparison: Comparison) -> tuple[str, ...]:
    ratios = [_short(equal_fill.money_ratio(comparison, policy, BASE)) for policy in _COLUMNS[1:6]]
    fills = " → ".join(f"{fill_of(comparison.runs[policy]).value:.2%}" for policy in (BASE, PLANNER))
    sessions = " → ".join(f"{service_of(comparison.runs[policy]).value:.2%}" for policy in (BASE, PLANNER))
    return (name, *ratios, _short(equal_fill.value_ratio(comparison, PLANNER, BASE)), fills, sessions)


def _short(interval: Interval) -> str:
    if math.isnan(interval.value):
        return "–"
    return str(interval)


def _report(found: dict[str, Comparison], wanted: Sequence[Wanted], seconds: float, processes: int) -> str:
    lines = [
        "# Policies in simulated clinics",
        "",
        f"Written by `python -m benchmarks policies` ({seconds / 60:.0f} minutes with {processes} processes).",
        "",
        _PREFACE,
        "",
        "## Wanted",
        "",
        *_table(("what", "wanted", "measured", ""), [(w.what, w.wanted, w.measured, _word(w)) for w in wanted]),
        "",
        "## Money ÷ min/max",
        "",
        *_table(_COLUMNS, [_row(name, comparison) for name, comparison in found.items()]),
        "",
        "## Where the money goes",
        "",
        "Means of a year by item; fill of the item on the test seeds.",
        "",
    ]
    for name, comparison in found.items():
        lines += [f"### {name}: {load_scenario(name).title}", "", *_seeds(comparison), "", *_items(comparison), ""]
    return "\n".join(lines)


def _seeds(comparison: Comparison) -> list[str]:
    train, test = comparison.train_seeds, comparison.test_seeds
    level = comparison.tuned.get(PLANNER, "")
    return [f"Trained on seeds {train[0]}–{train[-1]}, tested on {test[0]}–{test[-1]}; the planner's {level}."]


def _items(comparison: Comparison) -> list[str]:
    rows = []
    names = list(comparison.runs[BASE][0].items)
    if len(names) > 12:
        return _whole(comparison)
    for item in names:
        for policy in (BASE, PLANNER, "clairvoyant"):
            runs = comparison.runs[policy]
            means = [sum(getattr(run.items[item], name) for run in runs) / len(runs) for name in
                     ("mean_stock", "holding_cost", "line_cost", "waste_cost", "money")]  # fmt: skip
            rows.append((item, policy, f"{fill_of(runs, item).value:.2%}", f"{means[0]:,.1f}",
                         *(f"{mean:,.0f}" for mean in means[1:])))  # fmt: skip
    return _table(("item", "policy", "fill", "mean stock", "holding", "lines", "waste", "money"), rows)


def _whole(comparison: Comparison) -> list[str]:
    rows = []
    for policy in (BASE, PLANNER, "clairvoyant"):
        runs = comparison.runs[policy]
        costs = [sum(getattr(i, name) for run in runs for i in run.items.values()) / len(runs) for name in
                 ("holding_cost", "line_cost", "waste_cost", "money")]  # fmt: skip
        rows.append((policy, f"{fill_of(runs).value:.2%}", *(f"{cost:,.0f}" for cost in costs)))
    return _table(("all items", "fill", "holding", "lines", "waste", "money"), rows)


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [
        "| " + " | ".join(columns) + " |",
        "|" + "---|" * len(columns),
        *("| " + " | ".join(row) + " |" for row in rows),
    ]
