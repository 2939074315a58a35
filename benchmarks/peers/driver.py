"""The comparison: the peers by turns within one run, on one broker; prints the tables."""

from __future__ import annotations

import asyncio
import logging
import statistics
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks import load
from benchmarks.peers import inputs
from benchmarks.peers.programs import PEERS
from benchmarks.peers.run import PeerFailed, Run, chain_sites, run_peer
from benchmarks.table import show
from benchmarks.worker import off_the_workers_core, worker_core
from planner.step import Message
from tests.kafka_broker import KafkaCluster
from tests.kafka_software import KafkaNotRunnableError

JOBS = ("whole", "small")
INPUTS = ("city", "chain")
CHAIN_EVENTS = 150_000
REFERENCE = "planner"
SIZES = {
    ("small", "city"): (120_000, 3),
    ("small", "chain"): (60_000, 3),
    ("whole", "city"): (40_000, 3),
    ("whole", "chain"): (10_000, 2),
}
"""Job and input → events and runs. In the whole job on the chain a day begins at each of its 1,000 sites."""
WARM = {("whole", "chain")}
"""Two workers share the partitions before there is anything to do; elsewhere there is one."""


def _events(which: str, city: Path, count: int | None) -> list[Message]:
    return inputs.city(city, count) if which == "city" else inputs.chain(count or CHAIN_EVENTS)


@contextmanager
def _broker(given: str | None) -> Iterator[str]:
    logging.getLogger("aiokafka").setLevel(logging.ERROR)  # it warns of each topic that is too new to have a leader
    if given is not None:
        yield given
        return
    try:
        cluster = KafkaCluster(heap_mb=768, fast_start=False)
    except KafkaNotRunnableError as reason:
        raise load.NoLoad(f"no Kafka here: {reason}") from reason
    with cluster:
        yield cluster.bootstrap


def compare(
    job: str, which: str, names: Sequence[str], *, city: Path = load.CITY_FILE, count: int | None = None,
    repeats: int = 3, broker: str | None = None, warm: bool = False,
) -> list[list[Run]]:  # fmt: skip
    """Run the peers by turns and print their table.

    Args:
        which: the input, one of ``INPUTS``.
        count: only so many of the first events.
        warm: the programs have started before the events are published.
        broker: ``host:port`` of one that runs; None: one of our own, beside the peers' core.
    """
    chosen = []
    for peer in (PEERS[name] for name in names if job in PEERS[name].jobs):
        if (reason := peer.missing()) is None:
            chosen.append(peer)
        else:
            print(f"{peer.name}: left out: {reason}", file=sys.stderr)
    events = _events(which, city, count)
    runs: dict[str, list[Run]] = {peer.name: [] for peer in chosen}
    failures: dict[str, str] = {}
    with off_the_workers_core(), _broker(broker) as bootstrap:
        for turn in range(repeats):
            for peer in chosen:
                part = events[: peer.events_max]
                wanted = inputs.expected(part) if job == "small" else None
                try:
                    run = asyncio.run(
                        run_peer(peer, job, part, broker=bootstrap, core=worker_core(), wanted=wanted,
                                 sites=chain_sites(which), look=turn == 0, warm=warm)
                    )  # fmt: skip
                except PeerFailed as failure:
                    failures[peer.name] = str(failure)
                    print(f"{peer.name}: FAILED: {failure}", file=sys.stderr, flush=True)
                    continue
                runs[peer.name].append(run)
                print(f"{job} {which} {run}", file=sys.stderr, flush=True)
    found = [same for same in runs.values() if same]
    _show(job, which, len(events), found, failures)
    return found


def _show(job: str, which: str, count: int, runs: list[list[Run]], failures: dict[str, str]) -> None:
    by_clock = {same[0].peer: statistics.median(run.per_s for run in same) for same in runs}
    by_cpu = {same[0].peer: statistics.median(run.per_cpu_s for run in same) for same in runs}
    rows = [
        (
            name,
            len(same),
            f"{same[-1].events:,.0f}",
            f"{by_clock[name]:,.0f}",
            _spread([run.per_s for run in same]),
            f"{by_cpu[name]:,.0f}",
            _spread([run.per_cpu_s for run in same]),
            _ratio(by_clock, name),
            _ratio(by_cpu, name),
            f"{same[-1].rss_mb:,.0f}",
        )
        for same in runs
        for name in [same[0].peer]
    ]
    show(
        f"{job} job, {which} ({count:,} records), program on core {worker_core()}, broker on the other",
        ("peer", "runs", "events", "per s", "least–most", "per CPU s", "least–most", "planner ÷ it, clock",
         "planner ÷ it, CPU", "RSS MB"),
        rows,
        "From the first output to the last, of the events in between. Outputs of each peer's first run were compared.",
        *(f"{name} failed: {reason}" for name, reason in failures.items()),
        *_agreement(job, runs),
    )  # fmt: skip


def _spread(values: list[float]) -> str:
    return f"{min(values):,.0f}–{max(values):,.0f}"


def _ratio(figures: dict[str, float], name: str) -> str:
    return f"{figures[REFERENCE] / figures[name]:.2f}" if REFERENCE in figures else ""


def _agreement(job: str, runs: list[list[Run]]) -> list[str]:
    """Of the whole core: what must agree between peers that had the same records."""
    if job == "small":
        return ["Totals and unreadable records of all: as a plain fold gives them."]
    lines = []
    reference: dict[bytes | None, float] | None = None
    for run in (same[0] for same in runs):
        statuses, means = run.outputs
        line = f"{run.peer}: {dict(statuses)}; {len(means):,} forecasts"
        if reference is not None and means.keys() == reference.keys():
            worst = max((abs(means[key] - mean) / max(1.0, mean) for key, mean in reference.items()), default=0.0)
            line += f", the same keys; the mean need of 90 days differs by {worst:.2%} at most from {runs[0][0].peer}'s"
        elif reference is not None:
            line += ": not the same keys"
        reference = means if reference is None else reference
        lines.append(line)
    return lines


def _peers(*, warm: bool) -> list[str]:
    return [peer.name for peer in PEERS.values() if warm or peer.workers == 1]


def _summary(tables: dict[tuple[str, str], list[list[Run]]]) -> None:
    """The ratios of all tables in one."""
    found = [{same[0].peer: same for same in runs} for runs in tables.values()]
    rows = [(name, *(_ratios(runs, name) for runs in found)) for name in PEERS if name != REFERENCE]
    columns = (f"{job}, {which}" for job, which in tables)
    show("this planner ÷ the peer: clock, processor", ("peer", *columns), [row for row in rows if any(row[1:])])


def _ratios(runs: dict[str, list[Run]], name: str) -> str:
    if name not in runs or REFERENCE not in runs:
        return ""
    ours, its = runs[REFERENCE], runs[name]
    clock = statistics.median(run.per_s for run in ours) / statistics.median(run.per_s for run in its)
    cpu = statistics.median(run.per_cpu_s for run in ours) / statistics.median(run.per_cpu_s for run in its)
    return f"{clock:.2f}, {cpu:.2f}"


def main(*, city: Path = load.CITY_FILE, quick: bool = False) -> None:
    """All tables, on one broker."""
    tables = {}
    with off_the_workers_core(), _broker(None) as bootstrap:
        for (job, which), (count, repeats) in SIZES.items():
            tables[job, which] = compare(
                job, which, _peers(warm=(job, which) in WARM), city=city, broker=bootstrap, warm=(job, which) in WARM,
                count=count // 10 if quick else count, repeats=1 if quick else repeats,
            )  # fmt: skip
    _summary(tables)
