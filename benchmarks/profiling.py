"""Where a worker's time goes on the City replay: cProfile over its main thread, functions by their own time.

cProfile makes calls dearer than they are, small functions most: it is for finding, not for measuring.
"""

from __future__ import annotations

import asyncio
import pstats
import tempfile
from pathlib import Path

from benchmarks import load
from benchmarks.city import replay
from benchmarks.table import show
from benchmarks.worker import off_the_workers_core

EVENTS = 40_000
SHOWN = 30


def main(*, city: Path = load.CITY_FILE, limit: int = EVENTS, stocked: bool = True) -> None:
    """Print the table.

    Args:
        stocked: with opening stock.
    """
    events = load.city_events(city)[:limit]
    stock = load.opening_stock(load.default_bundle(), "city") if stocked else []
    with tempfile.TemporaryDirectory(prefix="planner-profile-") as name, off_the_workers_core():
        directory = Path(name)
        seen = directory / "worker.prof"
        run = asyncio.run(replay("profiled", events, stock, directory, environment={}, profile=seen))
        stats = pstats.Stats(str(seen))
    total: float = stats.total_tt  # type: ignore[attr-defined]
    entries = stats.stats.items()  # type: ignore[attr-defined]
    for order, at in (("own time", 2), ("time with what it calls", 3)):
        rows = []
        for (file, line, function), entry in sorted(entries, key=lambda item: -item[1][at])[:SHOWN]:
            where = f"{'/'.join(Path(file).parts[-2:])}:{line} {function}" if line else function
            rows.append((where, f"{entry[1]:,}", f"{entry[at]:.2f}", f"{entry[at] / total:.1%}"))
        show(f"A worker over {run.events:,} City events, by {order}", ("function", "calls", "s", "share"), rows)


if __name__ == "__main__":
    main()
