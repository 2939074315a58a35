"""The City replay: 158,660 real booking events through both agents of one worker on one core, outputs published."""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from benchmarks import load
from benchmarks.table import met, show
from benchmarks.worker import Worker, last_written_ms, off_the_workers_core, wait_applied, worker_core
from config.settings import Settings
from planner.step import Message
from planner.topics import TOPICS
from streams.log import LogClient, open_client

TARGET_PER_S = 5_000
PREFIX = "planner."


@dataclass
class Run:
    """One replay."""

    name: str
    events: int = 0
    bytes_in: int = 0
    wall_s: float = 0.0
    """From the tables restored to the last record of any topic."""
    start_cpu_s: float = 0.0
    cpu_s: float = 0.0
    """Processor time from when the worker was seen to have started (at most 50 ms late) to the end."""
    cpu_by_thread: dict[str, float] = field(default_factory=dict)
    outcomes: Counter[str] = field(default_factory=Counter)
    bytes_out: Counter[str] = field(default_factory=Counter)
    messages_out: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    disk_bytes: int = 0
    rss_bytes: int = 0
    chunks: dict[str, float] = field(default_factory=dict)

    @property
    def per_s(self) -> float:
        return self.events / self.wall_s

    @property
    def per_cpu_s(self) -> float:
        return self.events / self.cpu_s


async def replay(
    name: str, events: list[Message], others: list[Message], directory: Path, *,
    environment: Mapping[str, str], broker_url: str | None = None, profile: Path | None = None,
) -> Run:  # fmt: skip
    """Fill a log, then run a worker over it until everything is applied and published.

    Args:
        others: stock and orders, which come first.
        broker_url: of Kafka; None: an embedded log in ``directory``.
    """
    database = directory / "planner.db"
    url = broker_url or f"sqlite:///{database}"
    # on Kafka a prefix of its own for each run
    prefix = PREFIX if broker_url is None else f"{directory.name}-"
    settings = Settings(broker_url=url, topic_prefix=prefix)
    run = Run(name)
    environment = {**environment, "PLANNER_TOPIC_PREFIX": prefix}
    async with open_client(url, prefix) as client:
        run.events, run.bytes_in = await load.fill(client, settings, others, events)
        before = database.stat().st_size if broker_url is None else 0
        with Worker(url, directory, core=worker_core(), profile=profile, environment=environment) as worker:
            began_s = await asyncio.to_thread(worker.wait_started)
            run.start_cpu_s = worker.cpu_s()
            await wait_applied(client, worker)
            run.cpu_s = worker.cpu_s() - run.start_cpu_s
            run.cpu_by_thread = worker.cpu_s_by_thread()
            run.rss_bytes = worker.rss_bytes()
            _take_metrics(run, worker)
            ended_ms = max([await last_written_ms(client, topic) for topic in TOPICS])
            worker.stop()
        run.wall_s = ended_ms / 1000 - began_s
        run.outcomes = await _outcomes(client)
        run.disk_bytes = database.stat().st_size - before if broker_url is None else 0
    expected = len(others) + len(events) + settings.partitions  # each partition's catalogue has an outcome too
    if run.outcomes.total() != expected:
        raise RuntimeError(f"{run.outcomes.total():,} outcomes, expected {expected:,}")
    return run


async def _outcomes(client: LogClient) -> Counter[str]:
    found = Counter[str]()
    async for chunk in client.read_chunks("outcomes"):
        for record in chunk:
            outcome = orjson.loads(record.value or b"{}")
            reason = f" ({outcome['reason']})" if outcome.get("reason") else ""
            found[outcome["status"] + reason] += 1
    return found


def _take_metrics(run: Run, worker: Worker) -> None:
    for labels, value in worker.metric("planner_bytes_out_total").items():
        run.bytes_out[dict(labels)["topic"]] += int(value)
    for labels, value in worker.metric("planner_messages_out_total").items():
        run.messages_out[dict(labels)["topic"]] += int(value)
    for labels, value in worker.metric("planner_table_bytes_total").items():
        run.bytes_out[f"{dict(labels)['agent']} table"] += int(value)
    for labels, value in worker.metric("planner_step_counts_total").items():
        run.counts[dict(labels)["what"]] += int(value)
    for what in ("step", "publish"):
        for labels, value in worker.metric(f"planner_{what}_seconds_sum").items():
            run.chunks[f"{dict(labels)['agent']} {what} s"] = value
    for labels, value in worker.metric("planner_chunk_records_count").items():
        run.chunks[f"{dict(labels)['agent']} chunks"] = value


def main(*, city: Path = load.CITY_FILE, repeats: int = 3, limit: int | None = None, broker: str | None = None) -> None:
    """Print the tables.

    Args:
        repeats: replays of the plain case, of which the median counts; the others run once.
        limit: only so many of the first events.
    """
    events = load.city_events(city)[:limit]
    bundle = load.default_bundle()
    stock = load.opening_stock(bundle, "city")
    cases: list[tuple[str, list[Message], dict[str, str], int]] = [
        ("bookings alone", [], {}, repeats),
        ("bookings alone, durability normal", [], {"PLANNER_DURABILITY": "normal"}, 1),
        ("with opening stock", stock, {}, 1),
        ("with stock and 24 orders a supplier", stock + load.standing_orders(bundle, "city"), {}, 1),
    ]
    if broker is not None:
        cases = [(f"{name} (Kafka)", others, {}, times) for name, others, env, times in cases if not env]
    runs = []
    with off_the_workers_core():
        for name, others, environment, times in cases:
            same = []
            for _ in range(times):
                with tempfile.TemporaryDirectory(prefix="planner-city-") as directory:
                    path = Path(directory)
                    run = replay(name, events, others, path, environment=environment, broker_url=broker)
                    same.append(asyncio.run(run))
                last = same[-1]
                print(f"{name}: {last.per_s:,.0f} per s, {last.per_cpu_s:,.0f} per CPU s", file=sys.stderr, flush=True)
            runs.append(same)
    _show(runs)


def _show(runs: list[list[Run]]) -> None:
    rows = []
    for same in runs:
        wall, cpu = (statistics.median(values) for values in zip(*((r.per_s, r.per_cpu_s) for r in same), strict=True))
        spread = f"{min(r.per_s for r in same):,.0f}–{max(r.per_s for r in same):,.0f}"
        last = same[-1]
        others = ", ".join(f"{name} {value:.0f}" for name, value in last.cpu_by_thread.items())
        rows.append(
            (last.name, len(same), f"{last.events:,}", f"{wall:,.0f}", spread, f"{cpu:,.0f}", others,
             f"{last.disk_bytes / 1e6:,.0f}", f"{last.rss_bytes / 1e6:,.0f}", met(wall, TARGET_PER_S, at_least=True))
        )  # fmt: skip
    show(
        f"City replay, one worker pinned to core {worker_core()}: booking events per second (median)",
        ("case", "runs", "events", "per s", "least–most", "per CPU s", "CPU s, with start", "log +MB", "RSS MB",
         f"≥ {TARGET_PER_S:,}"),
        rows,
        "From the tables restored to the last record published. Per CPU s: of the worker's processor time meanwhile,",
        "all threads: what a core of its own gives, but for waits for the disk. The publisher was done before.",
    )  # fmt: skip
    first = runs[0][-1]
    names = sorted(set(first.bytes_out), key=lambda name: -first.bytes_out[name])
    show(
        f"What goes out per booking event ({first.name}; in: {first.bytes_in / first.events:,.0f} bytes)",
        ("topic", "messages", "bytes", "bytes per message", "bytes per event"),
        [
            (
                name,
                f"{first.messages_out[name]:,}" if name in first.messages_out else "",
                f"{first.bytes_out[name]:,}",
                f"{first.bytes_out[name] / first.messages_out[name]:,.0f}" if name in first.messages_out else "",
                f"{first.bytes_out[name] / first.events:,.0f}",
            )
            for name in names
        ],
    )
    rows_of_outcomes = [
        (same[-1].name, ", ".join(f"{count:,} {what}" for what, count in same[-1].outcomes.most_common()))
        for same in runs
    ]
    show("Outcomes: one for every event, counted", ("case", "outcomes"), rows_of_outcomes)
    show(
        "Inside the worker (last run of each case)",
        ("case", "where the time goes", "counted"),
        [
            (
                same[-1].name,
                ", ".join(f"{name} {value:,.0f}" for name, value in same[-1].chunks.items()),
                ", ".join(f"{name} {value:,}" for name, value in sorted(same[-1].counts.items())),
            )
            for same in runs
        ],
    )


if __name__ == "__main__":
    main()
