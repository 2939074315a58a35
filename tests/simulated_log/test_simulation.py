"""The seeded simulation in its short form: some worlds hold, kept seeds hold, and planted bugs are found."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.soak.sim.plants import PLANTS, Plant
from tests.soak.sim.script import Script, draw
from tests.soak.sim.trial import KEPT, kind_of, shortened, tried

FIRST = 1


@pytest.mark.parametrize("seed", range(FIRST, FIRST + 15))
def test_a_world_comes_to_rest_and_everything_holds(seed: int) -> None:
    trial = tried(draw(seed))
    assert not trial.faults, "\n".join(trial.faults)
    assert trial.ended.total() > 0


@pytest.mark.parametrize("path", sorted(KEPT.glob("*.json")), ids=lambda path: path.stem)
def test_what_once_failed_holds(path: Path) -> None:
    trial = tried(Script.load(path.read_bytes()))
    assert not trial.faults, "\n".join(trial.faults)


@pytest.mark.parametrize(("plant", "seed", "check"), [(plant, *found) for plant, found in PLANTS.items()])
def test_a_planted_bug_is_found(plant: Plant, seed: int, check: str) -> None:
    """Each by the seed that finds it first: the long form would find it among its first few dozens."""
    with plant():
        faults = tried(draw(seed)).faults
    assert [fault for fault in faults if fault.startswith(check)], f"not found by {check}: {faults}"


def test_the_same_seed_is_the_same_world() -> None:
    one, other = tried(draw(7)), tried(Script.load(draw(7).dump()))
    assert (one.ended, one.injected) == (other.ended, other.injected)


def test_a_failure_is_shortened_and_stays_the_same_failure() -> None:
    plant, (seed, _) = next((p, found) for p, found in PLANTS.items() if p.__name__ == "a_receipt_is_one_short")
    script = draw(seed)
    with plant():
        kind = kind_of(tried(script).faults[0])
        short = shortened(script, kind, tries_most=30)
        assert kind in {kind_of(fault) for fault in tried(short).faults}
    assert len(short.steps) < len(script.steps) / 2
