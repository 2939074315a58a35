"""The processor time of parts that take turns, in memory."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable

ROUNDS = 5


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
