"""Tables in memory, and the processor time of parts that take turns."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterable

ROUNDS = 5


class Table:
    """Entries in memory."""

    def __init__(self, entries: dict[bytes, bytes]) -> None:
        self.entries = entries

    def get(self, key: bytes) -> bytes | None:
        return self.entries.get(key)

    def scan(self, prefix: bytes) -> Iterable[tuple[bytes, bytes]]:
        return ((key, self.entries[key]) for key in sorted(self.entries) if key.startswith(prefix))


def take(entries: dict[bytes, bytes], writes: dict[bytes, bytes | None]) -> None:
    """Write a page's entries as a table would."""
    for key, value in writes.items():
        if value is None:
            entries.pop(key, None)
        else:
            entries[key] = value


def best_us(events: int, *runs: Callable[[], Callable[[], object]], rounds: int = ROUNDS) -> list[float]:
    """Microseconds of processor time per event of each, taking turns; of the fastest round.

    Args:
        events: how many each of them is about.
        runs: each prepares a round, unmeasured, and returns what is measured.
    """
    fastest = [float("inf")] * len(runs)
    for _ in range(rounds):
        for number, prepare in enumerate(runs):
            run = prepare()
            gc.collect()
            begun = time.process_time()
            run()
            fastest[number] = min(fastest[number], time.process_time() - begun)
    return [seconds / events * 1e6 for seconds in fastest]
