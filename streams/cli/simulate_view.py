"""Tables of ``planner simulate``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from planner.simulation import equal_fill
from planner.simulation.measure import Comparison, Run, fill_of, service_of
from streams.cli.tables import cell, table

BASE = "minmax"
_FEW_ITEMS = 12
_MEANS = ("money", "mean_value", "waste_cost", "lines", "orders", "complete", "incomplete", "sent_home")


def _mean(runs: Sequence[Run], name: str) -> float:
    return sum(float(getattr(run, name)) for run in runs) / len(runs)


def policy_table(comparison: Comparison) -> Table:
    """One row for each policy: what it gave, and what it cost a year."""
    rows = table(
        "policy", "fill", "sessions complete", "sent home", "stock value", "holding", "lines", "line cost", "waste",
        "money", f"money ÷ {BASE} at its fill (95 %)", f"value ÷ {BASE}",
    )  # fmt: skip
    for policy, runs in comparison.runs.items():
        years = runs[0].days / 364
        costs = [sum(getattr(i, name) for run in runs for i in run.items.values()) for name in
                 ("holding_cost", "line_cost", "waste_cost")]  # fmt: skip
        holding, lines, waste = (cost / len(runs) / years for cost in costs)
        based = BASE in comparison.runs
        rows.add_row(
            cell(policy),
            f"{fill_of(runs).value:.2%}",
            f"{service_of(runs).value:.2%}",
            f"{_mean(runs, 'sent_home') / years:.1f}",
            f"{_mean(runs, 'mean_value'):,.0f}",
            f"{holding:,.0f}",
            f"{_mean(runs, 'lines') / years:.0f}",
            f"{lines:,.0f}",
            f"{waste:,.0f}",
            f"{_mean(runs, 'money') / years:,.0f}",
            str(equal_fill.money_ratio(comparison, policy, BASE)) if based else "",
            str(equal_fill.value_ratio(comparison, policy, BASE)) if based else "",
        )
    return rows


def item_table(comparison: Comparison) -> Table | None:
    """Fill, stock and money of each item under each policy; None where there are too many items to read."""
    first = next(iter(comparison.runs.values()))
    if len(first[0].items) > _FEW_ITEMS:
        return None
    rows = table("item", "policy", "fill (95 %)", "mean stock", "holding", "line cost", "waste", "money")
    for item in first[0].items:
        for policy, runs in comparison.runs.items():
            years = runs[0].days / 364

            def mean(name: str, of: Sequence[Run] = runs, item: str = item) -> float:
                return sum(float(getattr(run.items[item], name)) for run in of) / len(of)

            fill = fill_of(runs, item)
            rows.add_row(
                cell(item),
                cell(policy),
                f"{fill.value:.2%} ({fill.low:.1%}–{fill.high:.1%})",
                f"{mean('mean_stock'):,.1f}",
                *(f"{mean(name) / years:,.0f}" for name in ("holding_cost", "line_cost", "waste_cost", "money")),
            )
    return rows


def as_json(comparison: Comparison) -> dict[str, Any]:
    """The comparison for a machine: means a run, ratios with their intervals."""
    found: dict[str, Any] = {
        "scenario": comparison.scenario,
        "train_seeds": comparison.train_seeds,
        "test_seeds": comparison.test_seeds,
        "policies": {},
    }
    for policy, runs in comparison.runs.items():
        body: dict[str, Any] = {name: _mean(runs, name) for name in _MEANS}
        body["fill"] = fill_of(runs).value
        body["items"] = {item: {"fill": fill_of(runs, item).value} for item in runs[0].items}
        body["tuned"] = comparison.tuned[policy]
        if BASE in comparison.runs:
            body["money_ratio"] = list(equal_fill.money_ratio(comparison, policy, BASE))
            body["value_ratio"] = list(equal_fill.value_ratio(comparison, policy, BASE))
            body["waste_ratio"] = list(equal_fill.waste_ratio(comparison, policy, BASE))
        found["policies"][policy] = body
    return found
