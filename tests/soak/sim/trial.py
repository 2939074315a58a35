"""One world tried: it happens, is looked at, and if something is wrong with it, shortened while that stays wrong."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from tests.soak.sim.checks import astray, effective, faults
from tests.soak.sim.script import Script, Step
from tests.soak.sim.world import circumstances, run

KEPT = Path(__file__).parents[1] / "seeds"
"""Scripts that once failed."""


@dataclass
class Trial:
    """What came of a script: ``faults`` is empty if everything held."""

    faults: list[str]
    injected: Counter[str] = field(default_factory=Counter)
    ended: Counter[str] = field(default_factory=Counter)
    """Ends of inputs by status and reason."""


def tried(script: Script) -> Trial:
    """Let a script happen, and look at the world that is left."""
    with circumstances(script):
        try:
            world = run(script)
        except Exception as error:  # noqa: BLE001 (whatever stops the world is a finding)
            return Trial([f"run: {type(error).__name__}: {error}"])
        ended: Counter[str] = Counter()
        for slot in world.slots():
            for message in effective(world, slot):
                if message.topic == "outcomes":
                    outcome = orjson.loads(message.value or b"")
                    ended[f"{outcome['status']} {outcome.get('reason', '')}".strip()] += 1
        world.counts["messages astray"] += len(astray(world))
        return Trial(faults(world), world.counts, ended)


def kind_of(fault: str) -> str:
    """The check and the words of a fault without its figures, so that another of the same kind is known."""
    return re.sub(r"[0-9'\"].*", "", fault)[:60]


def shortened(script: Script, kind: str, *, tries_most: int = 400) -> Script:
    """A script with fewer steps that fails in the same way: whole stretches are left out, ever shorter ones."""
    tries = 0

    def fails(steps: Sequence[Step]) -> bool:
        nonlocal tries
        tries += 1
        return any(kind_of(fault) == kind for fault in tried(script.having(steps)).faults)

    steps = list(script.steps)
    stretch = max(len(steps) // 2, 1)
    while tries < tries_most:
        steps, fewer = _without(steps, stretch, fails, lambda: tries < tries_most)
        if not fewer and stretch == 1:
            break
        if not fewer:
            stretch = max(stretch // 2, 1)
    return script.having(steps)


def _without(
    steps: list[Step], stretch: int, fails: Callable[[Sequence[Step]], bool], go_on: Callable[[], bool]
) -> tuple[list[Step], bool]:
    """Leave out every stretch that the failure does not need; whether there was one."""
    fewer, at = False, 0
    while at < len(steps) and go_on():
        rest = steps[:at] + steps[at + stretch :]
        if fails(rest):
            steps, fewer = rest, True
        else:
            at += stretch
    return steps, fewer


def keep(script: Script, kind: str) -> Path:
    """Write a script to the folder from which it is replayed for ever."""
    name = re.sub(r"[^a-z]+", "-", kind.lower()).strip("-")[:40]
    path = KEPT / f"{name}-{script.seed}.json"
    path.write_bytes(script.dump() + b"\n")
    return path
