"""The compose file, the dashboard and the worker's settings and metrics name the same things.

No container engine runs here, so the files are checked as text: against the Compose specification, and against the
names that the code knows.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from compose_spec import PyCompose
from ruamel.yaml import YAML

from config.settings import Settings
from streams import metrics

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = YAML(typ="safe").load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    return loaded


def test_compose_file_satisfies_the_specification(compose: dict[str, Any]) -> None:
    # merge keys (<<) are YAML's, resolved by the loader before the specification applies
    parsed = PyCompose.from_json(json.dumps(compose))
    names = set(parsed.service_names())
    assert {"kafka-1", "kafka-2", "kafka-3", "worker-1", "worker-2", "kafka-ui", "prometheus", "grafana"} == names


def test_a_misspelt_key_is_refused(compose: dict[str, Any]) -> None:
    broken = json.loads(json.dumps(compose))
    broken["services"]["worker-1"]["enviroment"] = {}
    with pytest.raises(ValueError, match="enviroment"):
        PyCompose.from_json(json.dumps(broken))


def test_workers_use_settings_that_exist(compose: dict[str, Any]) -> None:
    known = {f"PLANNER_{name.upper()}" for name in Settings.model_fields}
    dockerfile = set(re.findall(r"PLANNER_[A-Z_]+", (ROOT / "deploy/Dockerfile").read_text(encoding="utf-8")))
    for worker in ("worker-1", "worker-2"):
        assert set(compose["services"][worker]["environment"]) <= known
    assert dockerfile <= known


def test_workers_settings_are_valid(compose: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in compose["services"]["worker-1"]["environment"].items():
        monkeypatch.setenv(name, value)
    assert Settings().partitions == 8


def test_every_file_that_is_mounted_exists(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (ROOT / source).exists(), source
        if "build" in service:
            assert (ROOT / service["build"]["dockerfile"]).exists()


def test_prometheus_scrapes_every_worker(compose: dict[str, Any]) -> None:
    scrape = YAML(typ="safe").load((ROOT / "deploy/prometheus.yml").read_text(encoding="utf-8"))
    targets = {t for job in scrape["scrape_configs"] for s in job["static_configs"] for t in s["targets"]}
    port = compose["services"]["worker-1"]["environment"]["PLANNER_HTTP_PORT"]
    assert targets == {f"{name}:{port}" for name in compose["services"] if name.startswith("worker-")}


def test_dashboard_shows_metrics_that_the_worker_exposes() -> None:
    board = json.loads((ROOT / "deploy/grafana/dashboards/planner.json").read_text(encoding="utf-8"))
    queries = [target["expr"] for panel in board["panels"] for target in panel.get("targets", [])]
    used = {name for query in queries for name in re.findall(r"\bplanner_[a-z_]+", query)}
    exposed = {sample.name for family in metrics.REGISTRY.collect() for sample in family.samples} | {
        family.name for family in metrics.REGISTRY.collect()
    }
    suffixes = ("", "_total", "_bucket", "_sum", "_count")
    known = {name + suffix for name in exposed for suffix in suffixes}
    assert queries
    assert used <= known, used - known
