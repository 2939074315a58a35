"""The process in which libFuzzer runs; see ``tests.soak.guided``. It watches the planner, so that is imported here."""

from __future__ import annotations

import json
import random
import sys
from collections import Counter
from pathlib import Path
from typing import Final

import atheris

with atheris.instrument_imports(include=["planner"]):
    from tests.soak.guided import BYTES_MOST, mutated, run

RUNS_PER_REPORT: Final = 100
STRUCTURED: Final = 0.7
"""Share of mutations that know the structure."""


def main(ends: Path, arguments: list[str]) -> None:
    """Fuzz; libFuzzer ends the process when it is done. ``ends``: where to keep what became of the records."""
    ended: Counter[str] = Counter()
    runs = 0

    def one(data: bytes) -> None:
        nonlocal runs
        run(data, ended)
        runs += 1
        if runs % RUNS_PER_REPORT == 0:
            ends.write_text(json.dumps(ended), encoding="utf-8")

    def mutate(data: bytes, size_max: int, seed: int) -> bytes:
        chance = random.Random(seed)
        if chance.random() < STRUCTURED and len(new := mutated(data, chance)) <= size_max:
            return new
        return bytes(atheris.Mutate(data, min(size_max, max(2 * len(data), 64))))

    limits = [f"-max_len={BYTES_MOST}", "-timeout=120", "-rss_limit_mb=4096"]
    atheris.Setup(["guided", *limits, *arguments], one, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
