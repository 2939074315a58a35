"""``python -m benchmarks.peers``: some peers, one job, one input; ``python -m benchmarks peers`` is all of them."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from benchmarks import load
from benchmarks.peers.driver import INPUTS, JOBS, compare
from benchmarks.peers.programs import PEERS


def main() -> int:
    """Run what the command line names."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("peers", nargs="*", metavar="PEER", help=f"of {', '.join(PEERS)}; all if none is given")
    parser.add_argument("--job", choices=JOBS, default="small")
    parser.add_argument("--input", choices=INPUTS, default="city")
    parser.add_argument("--events", type=int, help="only so many of the first events")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--city", type=Path, default=load.CITY_FILE, metavar="FILE")
    parser.add_argument("--broker", metavar="HOST:PORT", help="one that runs; else one is started")
    parser.add_argument("--warm", action="store_true", help="publish the events when the programs have started")
    given = parser.parse_args()
    if unknown := set(given.peers) - set(PEERS):
        parser.error(f"no peer {', '.join(sorted(unknown))}; expected of {', '.join(PEERS)}")
    # so that peers and temporary directories go with us
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    compare(given.job, given.input, given.peers or list(PEERS), city=given.city, count=given.events,
            repeats=given.repeats, broker=given.broker, warm=given.warm)  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
