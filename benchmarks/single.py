"""One event at a time at a site like the City: both steps with all their outputs, each event a chunk of its own.

One process, tables in memory, no log. The City's first events are folded in chunks before, unmeasured; then each of the
next is folded by itself and its forecasts are taken. Beside it what most of a publication is made of: quantiles.
"""

from __future__ import annotations

import gc
import time
from pathlib import Path

import numpy as np

from benchmarks import load
from benchmarks.in_memory import best_us
from benchmarks.learning import CHUNK, Pair
from benchmarks.table import show
from planner.forecast.quantiles import quantiles
from planner.messages import QUANTILES

WARM_EVENTS = 30_000
EVENTS = 1_000
NEEDS = 2_000
SHAPES = ((1, 1.5), (5, 4.0), (10, 5.0), (20, 8.0), (100, 30.0), (10, 0.6), (50, 0.6))
"""Mean, and variance ÷ mean, about which the needs lie."""
SEED = 1


def main(*, city: Path = load.CITY_FILE, warm: int = WARM_EVENTS, count: int = EVENTS) -> None:
    """Print the tables."""
    events = load.city_events(city)[: warm + count]
    pair = Pair(load.default_bundle(), learning=True)
    for begin in range(0, warm, CHUNK):
        pair.apply(events[begin : min(begin + CHUNK, warm)], last=begin + CHUNK >= warm)
    gc.freeze()
    pair.seconds.clear()
    began = time.process_time()
    for event in events[warm:]:
        pair.apply([event], last=True)
    each_ms = (time.process_time() - began) / count * 1e3
    expand, plan = (pair.seconds[agent] / count * 1e3 for agent in ("expand", "plan"))
    show(
        f"{count:,} events of the City one by one, after {warm:,}: processor time of each, ms",
        ("expand", "plan and its forecasts", "with the tables"),
        [(f"{expand:.2f}", f"{plan:.1f}", f"{each_ms:.1f}")],
    )
    chance = np.random.default_rng(SEED)
    rows = []
    for centre, dispersion in SHAPES:
        mean = chance.uniform(0.5, 1.5, NEEDS) * centre
        variance = mean * chance.uniform(0.8, 1.2, NEEDS) * dispersion
        (took_us,) = best_us(NEEDS, lambda m=mean, v=variance: lambda: quantiles(m, v))  # type: ignore[misc]
        rows.append((f"{centre:g}", f"{dispersion:g}", f"{took_us:.1f}"))
    show(
        f"{len(QUANTILES)} quantiles of a need, µs ({NEEDS:,} needs at once, seed {SEED})",
        ("mean", "variance ÷ mean", "µs"),
        rows,
    )


if __name__ == "__main__":
    main()
