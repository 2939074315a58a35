"""Reading the simulator's scenarios: YAML files by name, or by path. One may be ``based_on`` another and say only what
differs; mappings are merged, lists and values replaced."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from config.load import read_document
from planner.simulation.scenario import Scenario

SCENARIOS = Path(__file__).parent / "scenarios"
_BASED_ON_MOST = 5


class ScenarioError(ValueError):
    """A scenario cannot be read: file, field, value, and what was expected."""


def scenario_names() -> list[str]:
    """Names of the scenarios that come with the planner."""
    return sorted(path.stem for path in SCENARIOS.glob("*.yaml"))


def scenario_path(name: str) -> Path:
    """The file of a scenario: one of ours by name, or a path that ends in ``.yaml``.

    Raises:
        ScenarioError: there is none.
    """
    path = Path(name) if name.endswith(".yaml") else SCENARIOS / f"{name}.yaml"
    if not path.is_file():
        raise ScenarioError(
            f"scenario {name!r}: not there; expected a file NAME.yaml or one of {', '.join(scenario_names())}"
        )
    return path


def load_scenario(name: str) -> Scenario:
    """A scenario by name or path.

    Raises:
        ScenarioError: it is not there, or faulty.
    """
    path = scenario_path(name)
    body = _merged(path, 0)
    body.setdefault("id", path.stem)
    try:
        return Scenario.model_validate(body)
    except ValidationError as error:
        raise ScenarioError("\n".join(_faults(path, error))) from error


def _faults(path: Path, error: ValidationError) -> list[str]:
    found = []
    for fault in error.errors(include_url=False):
        place = ".".join(map(str, fault["loc"])) or "the whole"
        value = "" if isinstance(fault["input"], dict | list) else f" found {fault['input']!r};"
        found.append(f"{path.name}: {place}:{value} {fault['msg']}")
    return found


def _merged(path: Path, depth: int) -> dict[str, Any]:
    document, faults = read_document(path, path.name)
    if faults or document is None:
        told = "; ".join(f"line {f.line}: found {f.value}, expected {f.expected}" for f in faults)
        raise ScenarioError(f"{path.name}: {told or 'cannot be read'}")
    body = document.content
    if not isinstance(body, dict):
        raise ScenarioError(f"{path.name}: found {type(body).__name__}; expected fields of a scenario")
    base = body.pop("based_on", None)
    if base is None:
        return body
    if depth == _BASED_ON_MOST:
        raise ScenarioError(f"{path.name}: based_on: more than {_BASED_ON_MOST} deep; expected a scenario that ends it")
    beside = path.parent / f"{base}.yaml"
    below = _merged(beside if beside.is_file() else scenario_path(str(base)), depth + 1)
    below.pop("id", None)
    return _merge(below, body)


def _merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for name, value in above.items():
        known = merged.get(name)
        merged[name] = _merge(known, value) if isinstance(known, dict) and isinstance(value, dict) else value
    return merged
