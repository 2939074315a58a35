"""What was measured of ordering policies, scenario by scenario: kept in ``policies.json``, told in ``policies.md``."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks.table import met
from config.scenarios import load_scenario
from planner.simulation import equal_fill
from planner.simulation.compare import PLANNER
from planner.simulation.measure import Comparison, Interval, Run, fill_of, service_of

BASE = "minmax"
POLICIES = ("erpnext", "erpnext-daily", "rs-forecast", PLANNER, "clairvoyant")
COMMON = (
    "steady", "acute-80", "short-life", "weekly-load", "costly-planned", "lead-10", "costly-planned-reliable",
    "twice-a-week", "shift", "reliable", "acute-10",
)  # fmt: skip
"""Those that the average is of: tuned on themselves, with nothing extraordinary in supply."""
COLUMNS = ("scenario", *POLICIES, "planner: value", "fill min/max → planner", "sessions complete")
_ITEMS_MOST = 12

_PREFACE = """\
Every policy is tuned to a fill of 99 % of each item on training seeds, at the least money, and measured on test seeds:
the same patients, PRN use and late deliveries for all. Money is holding (22 % a year), order lines (7.5 each) and
waste. Opponents have a dial and a lot size for each item, tuned in hindsight on 20 clinic-years, the planner a service
level for each item, tuned on fewer.

*Ratios are at equal fill.* In a few years fill comes out a little above or below what was tuned, so of each item the
opponent is moved to the fill that the planner (or the policy of the column) reached on the test seeds, along its own
curve of money against fill in these very worlds (`planner/simulation/equal_fill.py`): it knows the dial in hindsight.
Where parameters are frozen (`shift-frozen`, `allocation`) ratios are as measured. In brackets
the 95 % interval (bootstrap over the test seeds; few of them make it rough). What each policy is:
`planner/simulation/opponents.py` and [docs/simulation.md](../docs/simulation.md)."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured of a scenario. Ratios are (value, low, high) or None where there is nothing to divide by."""

    commit: str
    plan: str
    """Seeds and parameters, for a reader."""
    money: Mapping[str, list[float] | None]
    """Policy → its money ÷ that of min/max."""
    planner: Mapping[str, list[float] | None]
    """Of the planner ÷ another: money by ``erpnext`` and ``clairvoyant``, ``value`` and ``waste`` by min/max."""
    fill: Mapping[str, list[float]]
    """Policy → its fill and that of its worst item."""
    sessions: Mapping[str, float]
    """Policy → share of the sessions that had everything."""
    items: list[list[str]] = field(default_factory=list)
    """Where the money goes: a row of names, then the rows."""


def measured_of(found: Comparison, commit: str) -> Measured:
    """What is kept of a comparison."""
    runs = found.runs
    train, test = found.train_seeds, found.test_seeds
    seeds = f"Trained on seeds {train[0]}–{train[-1]}, tested on {test[0]}–{test[-1]}"
    ratio = equal_fill.money_ratio
    planner = {other: _kept(ratio(found, PLANNER, other)) for other in ("erpnext", "clairvoyant")}
    planner["value"] = _kept(equal_fill.value_ratio(found, PLANNER, BASE))
    planner["waste"] = _kept(equal_fill.waste_ratio(found, PLANNER, BASE))
    return Measured(
        commit=commit,
        plan=f"{seeds}; the planner's {found.tuned.get(PLANNER, '')}.",
        money={policy: _kept(ratio(found, policy, BASE)) for policy in POLICIES},
        planner=planner,
        fill={policy: [fill_of(runs[policy]).value, lowest(runs[policy])] for policy in (BASE, PLANNER)},
        sessions={policy: service_of(runs[policy]).value for policy in (BASE, PLANNER)},
        items=_items(found),
    )


def lowest(runs: Sequence[Run]) -> float:
    """The lowest fill of an item over the runs."""
    return min(fill_of(runs, item).value for item in runs[0].items)


def _kept(interval: Interval) -> list[float] | None:
    return None if math.isnan(interval.value) else [round(value, 5) for value in interval]


# --- kept between runs ------------------------------------------------------------------------------------


def read(path: Path) -> dict[str, Measured]:
    """Scenario → what was measured of it last."""
    if not path.exists():
        return {}
    return {name: Measured(**body) for name, body in json.loads(path.read_text(encoding="utf-8")).items()}


def write(path: Path, measured: Mapping[str, Measured]) -> None:
    """Keep it, and tell it in the Markdown file beside it."""
    body = {name: asdict(found) for name, found in sorted(measured.items())}
    path.write_text(json.dumps(body, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    path.with_suffix(".md").write_text(report(measured), encoding="utf-8")


# --- what was wanted --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Wanted:
    """A figure that was wanted, and what was measured."""

    what: str
    wanted: str
    measured: str
    met: bool

    @property
    def row(self) -> tuple[str, ...]:
        return self.what, self.wanted, self.measured, "met" if self.met else "NOT MET"


def wanted_of(measured: Mapping[str, Measured]) -> Iterator[Wanted]:
    """What the issue wants of the planner, as far as the scenarios were run."""
    common = {name: measured[name] for name in COMMON if name in measured}
    if common:
        money = {name: _value(found.money[PLANNER]) for name, found in common.items()}
        worst = max(money, key=lambda name: money[name])
        of = f"of the {len(common)} common scenarios measured"
        yield _at_most(f"money ÷ min/max, mean {of}", _mean(money.values()), 0.85)
        yield _at_most(f"the same, worst ({worst})", money[worst], 1.02)
        by_erpnext = [_value(found.planner["erpnext"]) for found in common.values()]
        yield _at_most("money ÷ erpnext, mean of the same", _mean(by_erpnext), 0.80)
        value = [_value(found.planner["value"]) for found in common.values()]
        yield _at_most("stock value ÷ min/max, mean of the same", _mean(value), 0.80)
    if "short-life" in measured:
        waste = _value(measured["short-life"].planner["waste"])
        yield _at_most("waste with 30 days to live, money ÷ min/max", waste, 0.50)
    if "shift-frozen" in measured:
        (own, worst_own), (other, worst_other) = (measured["shift-frozen"].fill[policy] for policy in (PLANNER, BASE))
        told = f"{own:.2%} (min/max {other:.2%}); lowest item {worst_own:.2%} ({worst_other:.2%})"
        wanted = "≥ 98.4 %, where min/max falls below 98"
        yield Wanted("fill after +40 % with frozen parameters", wanted, told, own >= 0.984)
    if "allocation" in measured:
        (own, _), (other, _) = (measured["allocation"].fill[policy] for policy in (PLANNER, BASE))
        what = "fill of the year with six weeks of 40 % allocation"
        yield Wanted(what, "no worse than min/max", f"{own:.2%} (min/max {other:.2%})", own >= other)
    if "steady" in measured:
        yield _at_most("steady: money ÷ clairvoyant", _value(measured["steady"].planner["clairvoyant"]), 1.25)


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found)


def _value(ratio: list[float] | None) -> float:
    return math.nan if ratio is None else ratio[0]


def _at_most(what: str, value: float, target: float) -> Wanted:
    return Wanted(what, f"≤ {target:.2f}", f"{value:.3f}", met(value, target) == "met")


# --- the report -------------------------------------------------------------------------------------------


def row_of(name: str, found: Measured) -> tuple[str, ...]:
    """A scenario's row under ``COLUMNS``."""
    ratios = [_short(found.money[policy]) for policy in POLICIES]
    fills = " → ".join(f"{found.fill[policy][0]:.2%}" for policy in (BASE, PLANNER))
    sessions = " → ".join(f"{found.sessions[policy]:.2%}" for policy in (BASE, PLANNER))
    return (name, *ratios, _short(found.planner["value"]), fills, sessions)


def _short(ratio: list[float] | None) -> str:
    return "–" if ratio is None else str(Interval(*ratio))


def report(measured: Mapping[str, Measured]) -> str:
    """The whole of ``policies.md``."""
    others = [name for name in measured if name not in COMMON]
    names = [name for name in (*COMMON, *sorted(others)) if name in measured]
    missing = [name for name in COMMON if name not in measured]
    lines = [
        "# Policies in simulated clinics",
        "",
        "Written by `python -m benchmarks policies [--scenario NAME]…`, scenario by scenario, each as it was measured",
        "last; the figures are kept in `policies.json`.",
        "",
        _PREFACE,
        "",
        "## Wanted",
        "",
        *_table(("what", "wanted", "measured", ""), [wanted.row for wanted in wanted_of(measured)]),
        "",
    ]
    if missing:
        lines += [f"Not measured yet of the common ones, so in no mean: {', '.join(missing)}.", ""]
    lines += ["## Money ÷ min/max", "", *_table(COLUMNS, [row_of(name, measured[name]) for name in names]), ""]
    lines += ["## Where the money goes", "", "Means of a year by item; fill of the item on the test seeds.", ""]
    for name in names:
        found = measured[name]
        told = f"At commit {found.commit}. {found.plan}"
        head, *rows = found.items
        lines += [f"### {name}: {load_scenario(name).title}", "", told, "", *_table(head, rows), ""]
    return "\n".join(lines)


def _items(found: Comparison) -> list[list[str]]:
    names = list(found.runs[BASE][0].items)
    if len(names) > _ITEMS_MOST:
        return _whole(found)
    rows = [["item", "policy", "fill", "mean stock", "holding", "lines", "waste", "money"]]
    for item in names:
        for policy in (BASE, PLANNER, "clairvoyant"):
            runs = found.runs[policy]
            means = [sum(getattr(run.items[item], name) for run in runs) / len(runs) for name in
                     ("mean_stock", "holding_cost", "line_cost", "waste_cost", "money")]  # fmt: skip
            rows.append([item, policy, f"{fill_of(runs, item).value:.2%}", f"{means[0]:,.1f}",
                         *(f"{mean:,.0f}" for mean in means[1:])])  # fmt: skip
    return rows


def _whole(found: Comparison) -> list[list[str]]:
    rows = [["all items", "fill", "holding", "lines", "waste", "money"]]
    for policy in (BASE, PLANNER, "clairvoyant"):
        runs = found.runs[policy]
        costs = [sum(getattr(i, name) for run in runs for i in run.items.values()) / len(runs) for name in
                 ("holding_cost", "line_cost", "waste_cost", "money")]  # fmt: skip
        rows.append([policy, f"{fill_of(runs).value:.2%}", *(f"{cost:,.0f}" for cost in costs)])
    return rows


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [
        "| " + " | ".join(columns) + " |",
        "|" + "---|" * len(columns),
        *("| " + " | ".join(row) + " |" for row in rows),
    ]
