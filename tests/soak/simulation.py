"""Seeded simulation: thousands of small worlds, each from one integer, in virtual time.

    python -m tests.soak.simulation --seeds 10000 --first 1

A world has one or two partitions, up to four workers that run the real engine and the real steps over a log in memory,
and publishers that reorder, repeat, delay and spoil. Workers die wherever they wait for the log, are stopped and go on
as zombies, and partitions change hands. Half of the worlds have a log on which messages and table entries become
durable together, half one that publishes before it writes. What must hold at the end:
``tests/soak/sim/checks.py``.

A seed that fails is printed, shortened, and kept in ``tests/soak/seeds``, from where ``make test`` replays it.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterable

from tests.soak.sim.script import draw
from tests.soak.sim.trial import keep, kind_of, shortened, tried

FAILURES_MOST = 5


def main() -> int:
    parser = argparse.ArgumentParser(description="Seeded simulation of the planner's steps.")
    parser.add_argument("--seeds", type=int, default=100, help="how many worlds")
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    parser.add_argument("--no-keep", action="store_true", help="do not shorten and keep what fails")
    parser.add_argument("--minutes", type=float, default=0, help="stop after so long (0: never)")
    asked = parser.parse_args()
    injected: Counter[str] = Counter()
    ended: Counter[str] = Counter()
    failed: list[int] = []
    began_s, cpu_s = time.monotonic(), time.process_time()
    seeds = range(asked.first, asked.first + asked.seeds)
    for number, seed in enumerate(seeds, 1):
        trial = tried(draw(seed))
        injected += trial.injected
        ended += trial.ended
        if trial.faults:
            failed.append(seed)
            print(f"seed {seed} FAILED: {trial.faults[0][:1000]}", flush=True)
            if not asked.no_keep:
                kind = kind_of(trial.faults[0])
                short = shortened(draw(seed), kind)
                print(f"  shortened to {len(short.steps)} steps, kept in {keep(short, kind)}", flush=True)
            if len(failed) >= FAILURES_MOST and not asked.no_keep:
                break
        if asked.minutes and time.monotonic() - began_s > 60 * asked.minutes:
            break
        if number % 500 == 0:
            print(f"{number} seeds, {len(failed)} failed, {time.monotonic() - began_s:.0f} s", flush=True)
    _table(f"injected in {number} worlds (seeds {seeds[0]} to {seed})", injected.items())
    _table("inputs by their end", ended.items())
    spent_s = time.process_time() - cpu_s
    print(
        f"{sum(ended.values())} inputs ended once each; CPU {spent_s:.0f} s, {1000 * spent_s / number:.0f} ms a world"
    )
    print(f"failed: {failed or 'none'}")
    return 1 if failed else 0


def _table(title: str, rows: Iterable[tuple[str, int]]) -> None:
    print(f"\n{title}")
    for name, count in sorted(rows):
        print(f"  {name:<44} {count:>10,}")


if __name__ == "__main__":
    sys.exit(main())
