"""The table of policies is completed scenario by scenario."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from benchmarks.policies_report import POLICIES, Measured, read, report, wanted_of, write

STEADY = Measured(
    commit="abc",
    plan="Trained on seeds 1–2, tested on 3–4.",
    money={policy: [0.8, 0.7, 0.9] for policy in POLICIES},
    planner={"erpnext": [0.7, 0.6, 0.8], "clairvoyant": [1.3, 1.2, 1.4], "value": [0.75, 0.7, 0.8], "waste": None},
    fill={"minmax": [0.991, 0.99], "planner": [0.992, 0.985]},
    sessions={"minmax": 0.98, "planner": 0.985},
    items=[["item", "money"], ["main-drug", "1,900"]],
)
DEAR = replace(STEADY, commit="def", money={policy: [1.1, 1.0, 1.2] for policy in POLICIES})


def test_what_is_kept_is_read_again(tmp_path: Path) -> None:
    kept = tmp_path / "policies.json"
    assert read(kept) == {}
    write(kept, {"steady": STEADY, "acute-80": DEAR})
    assert read(kept) == {"steady": STEADY, "acute-80": DEAR}
    assert kept.with_suffix(".md").read_text(encoding="utf-8") == report(read(kept))


def test_a_scenario_measured_again_leaves_the_others(tmp_path: Path) -> None:
    kept = tmp_path / "policies.json"
    write(kept, {"steady": STEADY, "acute-80": STEADY})
    write(kept, {**read(kept), "acute-80": DEAR})
    assert read(kept) == {"steady": STEADY, "acute-80": DEAR}


def test_a_mean_is_of_the_common_scenarios_measured_and_says_so() -> None:
    wanted = {w.what: w for w in wanted_of({"steady": STEADY, "acute-80": DEAR, "demo-clinics": DEAR})}
    mean = wanted["money ÷ min/max, mean of the 2 common scenarios measured"]
    assert (mean.measured, mean.met) == ("0.950", False)
    assert wanted["the same, worst (acute-80)"].row == ("the same, worst (acute-80)", "≤ 1.02", "1.100", "NOT MET")
    assert wanted["steady: money ÷ clairvoyant"].measured == "1.300"


def test_the_report_names_what_was_not_measured_and_where_each_was() -> None:
    told = report({"steady": STEADY, "acute-80": DEAR})
    assert "Not measured yet of the common ones, so in no mean: short-life," in told
    assert "At commit abc." in told
    assert "At commit def." in told
    assert "| steady | 0.80 (0.70–0.90) |" in told
