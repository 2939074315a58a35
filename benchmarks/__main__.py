"""``python -m benchmarks [NAME…]``: prints the tables of all benchmarks, or of those named. Nothing is left running."""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks import (
    backlog,
    booking_step_cost,
    books,
    city,
    day,
    forecast_cost,
    latency,
    learning,
    load,
    memory,
    policies,
    profiling,
    restart,
    scaling,
    scaling_axes,
    single,
    start,
    year,
)
from benchmarks.peers import driver as peers
from benchmarks.table import header


def _benchmarks(given: argparse.Namespace) -> dict[str, tuple[str, Callable[[], object]]]:
    """Name → what it tells, and how to run it."""
    file, broker, quick = given.city, given.broker, given.quick
    first = given.events or (30_000 if quick else None)
    return {
        "city": (
            "City replay: events/s through one worker on one core, bytes out",
            lambda: city.main(city=file, repeats=1 if quick else 3, limit=first, broker=broker),
        ),
        "latency": (
            "from publish to readable at 100 events/s, or at --rate",
            lambda: latency.main(
                city=file, repeats=1 if quick else 3, seconds=10 if quick else 30, broker=broker, per_s=given.rate
            ),
        ),
        "backlog": (
            "from publish to readable for a site while another partition replays 100,000 events",
            lambda: backlog.main(events=10_000 if quick else backlog.EVENTS, broker=broker),
        ),
        "day": (
            "a day begins at many sites of one partition: how long nothing else runs",
            lambda: day.main(sites=25 if quick else day.SITES),
        ),
        "start": (
            "from the start of the process to the first event handled",
            lambda: start.main(repeats=2 if quick else 5, bookings=10_000 if quick else start.BOOKINGS),
        ),
        "memory": (
            "memory of a worker by live booking",
            lambda: memory.main(live=40_000 if quick else memory.LIVE),
        ),
        "restart": (
            "a restart with 1,000,000 live bookings: to its first new event, memory, disk",
            lambda: restart.main(bookings=20_000 if quick else restart.BOOKINGS, broker=broker),
        ),
        "year": (
            "a chain's steady days replayed, and so a year of 1,000 sites",
            lambda: year.main(sites=20 if quick else year.SITES, days=(2, 4) if quick else year.DAYS),
        ),
        "scaling": (
            "cost of an event by the number of live bookings (1,000,000: about half an hour)",
            lambda: scaling.main(large=100_000 if quick else scaling.LARGE),
        ),
        "axes": (
            "cost of an event of a backlog by live bookings, sites and lines of a protocol (--plot: docs/scaling.svg)",
            lambda: scaling_axes.main(large=given.large, plot=scaling_axes.PLOT if given.plot else None),
        ),
        "booking-step": ("cost of both steps beside pydantic's decoding", booking_step_cost.main),
        "learning": (
            "throughput of both steps with learning and without; the learned state's size",
            lambda: learning.main(city=file, limit=15_000 if quick else learning.EVENTS),
        ),
        "single": (
            "one event at a time at a site like the City, and the quantiles of a forecast",
            lambda: single.main(city=file, warm=3_000 if quick else single.WARM_EVENTS),
        ),
        "forecast": ("cost of need, projection and forecast messages", forecast_cost.main),
        "books": (
            "the learned forecast on synthetic books of known truth, beside simple methods",
            lambda: books.main(quick=quick, only=given.book),
        ),
        "policies": (
            "ordering policies in simulated clinics, at the same fill (an hour, or --scenario); into policies.md",
            lambda: policies.main(quick=quick, only=given.scenario, processes=given.processes),
        ),
        "peers": (
            "beside stock Faust, a hand-written loop, Quix Streams, Bytewax, Kafka Streams on real Kafka (long)",
            lambda: peers.main(city=file, quick=quick),
        ),
        "profile": ("where a worker's time goes (cProfile)", lambda: profiling.main(city=file)),
    }


def main() -> int:
    """Run what the command line names."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="all if none is given")
    parser.add_argument("--city", type=Path, default=load.CITY_FILE, metavar="FILE", help="the City bookings (CSV.gz)")
    parser.add_argument("--broker", metavar="URL", help="kafka://host:port for city, latency, backlog, restart")
    parser.add_argument("--events", type=int, metavar="N", help="city: its first N bookings' events only")
    parser.add_argument("--rate", type=float, default=latency.PER_S, metavar="N", help="events/s of latency")
    parser.add_argument("--quick", action="store_true", help="less of everything: minutes in all")
    parser.add_argument("--plot", action="store_true", help="axes: draw docs/scaling.svg (needs the extra `backtest`)")
    parser.add_argument("--large", action="store_true", help="axes: with 1,000,000 live bookings (half an hour)")
    parser.add_argument("--scenario", action="append", default=[], metavar="NAME", help="policies: these only")
    parser.add_argument("--book", action="append", default=[], metavar="NAME", help="books: these only")
    parser.add_argument("--processes", type=int, metavar="N", help="policies: at most so many")
    given = parser.parse_args()
    known = _benchmarks(given)
    unknown = [name for name in given.names if name not in known]
    if unknown:
        told = "\n".join(f"  {name:<14}{what}" for name, (what, _) in known.items())
        parser.error(f"no benchmark {', '.join(unknown)}; expected of:\n{told}")
    # so that workers and temporary directories go with us
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    header(shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]]))
    failed = 0
    for name in given.names or known:
        try:
            known[name][1]()
        except load.NoLoad as missing:
            print(f"{name}: did not run: {missing}\n", file=sys.stderr)
            failed = 1
    return failed


if __name__ == "__main__":
    sys.exit(main())
