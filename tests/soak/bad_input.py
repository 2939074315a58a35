"""Bad input: a million generated records through codec and steps; each ends with its reason and harms nothing.

    python -m tests.soak.bad_input --inputs 1000000 --seed 1

Events of every type are spoilt (fields dropped, added, retyped, values at their extremes, lists grown), their bytes are
(cut, changed, nested, in other encodings, keys twice), some are well formed and made to be costly, and a quarter are
fine, so that the others meet a state. They are folded in chunks; one in a hundred is folded alone to see that a refused
or unreadable one changes nothing. Every few thousand everything touched is planned, the steps are made anew from their
tables, and from time to time the world begins afresh, so that memory that grows is a leak.
"""

from __future__ import annotations

import argparse
import gc
import random
import sys
import time
import traceback
from collections import Counter
from pathlib import Path

from tests.soak.fuzz.mutate import Input, draw
from tests.soak.fuzz.target import SECONDS_PER_INPUT_MOST, Target, culprit, watchdog

CHUNK = 250
CHUNKS_PER_REVIEW = 8
CHUNKS_PER_WORLD = 80


def main() -> int:
    parser = argparse.ArgumentParser(description="Bad input through codec and steps.")
    parser.add_argument("--inputs", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    chance = random.Random(asked.seed)
    ended: Counter[str] = Counter()
    kinds: Counter[tuple[str, str]] = Counter()
    made: Counter[str] = Counter()
    resident: list[float] = []
    harms = 0
    slowest_s, folding_s, began_s = 0.0, 0.0, time.monotonic()
    fed, number = 0, 0
    target = Target()
    while fed < asked.inputs:
        inputs = draw(chance, min(CHUNK, asked.inputs - fed))
        fed, number = fed + len(inputs), number + 1
        made.update(given.kind for given in inputs)
        started_s = time.process_time()
        found = _feed(target, inputs, number, chance)
        took_s = time.process_time() - started_s
        slowest_s, folding_s = max(slowest_s, took_s), folding_s + took_s
        if found:
            harms += 1
            print(f"HARM (seed {asked.seed}, inputs {fed - len(inputs)} to {fed}): {found}", flush=True)
        if found or number % CHUNKS_PER_WORLD == 0 or fed >= asked.inputs:
            ended += target.ended
            kinds += target.kinds
            target = Target()
            gc.collect()
            resident.append(_resident_mb())
        if number % 400 == 0:
            print(f"{fed:,} inputs, {time.monotonic() - began_s:.0f} s, {_resident_mb():.0f} MB", flush=True)
        if harms >= 10:
            break
    _report(made, kinds, ended)
    print(f"\nseed {asked.seed}: {fed:,} inputs, {fed / folding_s:,.0f} a second of CPU (codec and steps)")
    print(f"the slowest chunk of {CHUNK} took {slowest_s:.2f} s of CPU")
    print(f"resident memory after each world: {_flatness(resident)}")
    print(f"harms: {harms or 'none'}")
    return 1 if harms else 0


def _feed(target: Target, inputs: list[Input], number: int, chance: random.Random) -> str | None:
    try:
        with watchdog(SECONDS_PER_INPUT_MOST * 12):
            target.feed(inputs, review=number % CHUNKS_PER_REVIEW == 0)
            if number % (4 * CHUNKS_PER_REVIEW) == 0:
                target.restart()
            for given in draw(chance, 3):
                target.harmless(given)
    except Exception as error:  # noqa: BLE001 (whatever comes out is a finding)
        where = "".join(traceback.format_exception(error)[-3:])[:1500]
        print(f"HARM: {where}", flush=True)
        return f"{where}\n  {[_shown(given) for given in culprit(inputs, _fails_alone)][:3]}"
    return None


def _fails_alone(inputs: list[Input]) -> bool:
    """Whether a new target does not stand them, planned and restored."""
    try:
        with watchdog(SECONDS_PER_INPUT_MOST * 12):
            target = Target()
            target.feed(inputs, review=True)
            target.restart()
    except Exception:  # noqa: BLE001
        return True
    return False


def _shown(given: Input) -> str:
    return f"{given.kind} {given.topic} {given.key!r} {(given.value or b'')[:700]!r}"


def _report(made: Counter[str], kinds: Counter[tuple[str, str]], ended: Counter[str]) -> None:
    statuses = ("applied", "duplicate", "refused", "dead-lettered")
    print(
        f"\n{'inputs by kind':<28}{'made':>10}"
        + "".join(f"{status:>15}" for status in statuses)
        + "   (with an outcome)"
    )
    for kind, count in sorted(made.items()):
        print(f"{kind:<28}{count:>10,}" + "".join(f"{kinds[kind, status]:>15,}" for status in statuses))
    print("\noutcomes by reason")
    for name, count in sorted(ended.items()):
        print(f"  {name:<60} {count:>10,}")


def _resident_mb() -> float:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def _flatness(resident: list[float]) -> str:
    """First, last, and the slope over the second half, in which caches are full."""
    half = resident[len(resident) // 2 :]
    if len(half) < 3:
        return f"{resident[-1]:.0f} MB"
    middle = (len(half) - 1) / 2
    weight = sum((n - middle) ** 2 for n in range(len(half)))
    slope = sum((n - middle) * value for n, value in enumerate(half)) / weight
    per_million = slope * 1_000_000 / (CHUNK * CHUNKS_PER_WORLD)
    return f"{resident[0]:.0f} MB at first, {resident[-1]:.0f} MB at last, {per_million:+.1f} MB per million inputs"


if __name__ == "__main__":
    sys.exit(main())
