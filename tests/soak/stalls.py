"""A broker that stalls: the worker's memory while nothing goes out and all of a backlog waits to come in.

    python -m tests.soak.stalls --seed 3 --stalls 2 --stall-s 120

Bookings with stock and orders are on a Kafka broker before a worker starts, so its input is as fast as it can take it.
Again and again the broker is stopped (SIGSTOP: connections stay open, nothing is answered) while the worker's resident
memory is measured, and then goes on. With ``--retry-limit-s`` above the stall the worker waits; below it, it must end
and say why, and is started again. At the end everything must be applied, and ``planner verify`` find no difference.
Status 0 only if all holds; else the directory with the worker's log is kept.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from config.settings import Settings
from streams.log import LogClient, open_client
from streams.verify.run import Verification
from tests.kafka_broker import KafkaCluster
from tests.soak import kafka_load
from tests.soak.kafka_log import Tables
from tests.worker import PATIENCE_S, Worker

PREFIX: Final = "stall."
BURST: Final = 2_000
SAMPLE_S: Final = 0.5
LOOK_S: Final = 0.1
GROWTH_BYTES_MOST: Final = 64_000_000
"""A chunk of each partition, with what came of it, and what aiokafka holds of it; a backlog is many times that."""
AT_WORK_SHARE: Final = 0.1
"""Of what waits, applied by a worker before it is stalled (again)."""


@dataclass
class Stall:
    """One stall."""

    waiting: int
    """Records that waited to be applied when it began."""
    before_bytes: int
    most_bytes: int = 0
    ended: bool = False
    """Whether the worker ended in it, its patience at an end."""

    @property
    def growth_bytes(self) -> int:
        return self.most_bytes - self.before_bytes


@dataclass
class Result:
    """What came of a run."""

    published: int = 0
    stalls: list[Stall] = field(default_factory=list)
    verified: int = 0
    wrong: list[str] = field(default_factory=list)


async def run(
    cluster: KafkaCluster,
    directory: Path,
    bookings: Sequence[bytes],
    *,
    seed: int,
    stalls: int,
    stall_s: float,
    retry_limit_s: float,
) -> Result:
    """A backlog on a cluster of one node, stalls, and the comparison at the end."""
    result = Result()
    worker = Worker(cluster.url, PREFIX, directory, "--clock", "event", PLANNER_RETRY_LIMIT_S=f"{retry_limit_s:g}")
    try:
        async with open_client(cluster.url, PREFIX) as client:
            # the first start makes the topics
            await asyncio.to_thread(worker.start)
            await asyncio.to_thread(worker.end)
            messages = list(kafka_load.load(bookings, seed))
            for at in range(0, len(messages), BURST):
                await client.publish(messages[at : at + BURST])
            result.published = len(messages)
            await asyncio.to_thread(worker.start)
            tables = Tables()
            for _ in range(stalls):
                waiting = await _at_work(client, tables, worker)
                result.stalls.append(stall := Stall(waiting, _rss_bytes(worker)))
                await _stall(cluster, worker, stall, stall_s)
                if retry_limit_s < stall_s:
                    await asyncio.to_thread(_must_give_up, worker, stall, result)
                    await asyncio.to_thread(worker.start)
                _show(stall, stall_s)
            await _to_the_end(client, tables, worker)
            if (status := await asyncio.to_thread(worker.end)) != 0:
                result.wrong.append(f"the worker ended with {status}")
            told = await Verification(client, Settings(topic_prefix=PREFIX, clock="event")).verify()
            result.verified = sum(table["entries"] for table in told.tables.values())
            if told.difference is not None:
                result.wrong.append(f"planner verify: {told.difference}")
    finally:
        worker.close()
    result.wrong += [
        f"memory grew by {stall.growth_bytes / 1e6:.0f} MB in a stall, at most {GROWTH_BYTES_MOST / 1e6:.0f} is wanted"
        for stall in result.stalls
        if stall.growth_bytes > GROWTH_BYTES_MOST
    ]
    if not any(stall.waiting for stall in result.stalls):
        result.wrong.append("no backlog waited in any stall: publish more events")
    return result


async def _at_work(client: LogClient, tables: Tables, worker: Worker) -> int:
    """Wait until the worker has applied some more; how many records wait then."""
    before = sum((await tables.waiting(client)).values())
    give_up_s = time.monotonic() + PATIENCE_S
    while (waiting := sum((await tables.waiting(client)).values())) > before * (1 - AT_WORK_SHARE):
        if not worker.running or time.monotonic() > give_up_s:
            raise AssertionError(f"the worker does not go on: {worker.said()[-3000:]}")
        await asyncio.sleep(LOOK_S)
    return waiting


async def _stall(cluster: KafkaCluster, worker: Worker, stall: Stall, stall_s: float) -> None:
    cluster.stop(0)
    try:
        until_s = time.monotonic() + stall_s
        while time.monotonic() < until_s:
            stall.most_bytes = max(stall.most_bytes, _rss_bytes(worker))
            await asyncio.sleep(SAMPLE_S)
    finally:
        cluster.resume(0)


def _must_give_up(worker: Worker, stall: Stall, result: Result) -> None:
    """Its patience was at an end in the stall; the end itself may take longer."""
    process = worker.process
    stall.ended = process is not None and process.wait(PATIENCE_S) != 0
    if not stall.ended or "the log has not" not in worker.said():
        result.wrong.append(f"a worker whose patience was at an end did not say so: {worker.said()[-500:]}")


async def _to_the_end(client: LogClient, tables: Tables, worker: Worker) -> None:
    last, moved_s = {"": 0}, time.monotonic()
    while waiting := await tables.waiting(client):
        if waiting != last:
            last, moved_s = waiting, time.monotonic()
        if not worker.running or time.monotonic() - moved_s > PATIENCE_S:
            raise AssertionError(f"still to apply: {waiting}; the worker said: {worker.said()[-3000:]}")
        await asyncio.sleep(LOOK_S)


def _rss_bytes(worker: Worker) -> int:
    if worker.process is None:
        return 0
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for line in Path(f"/proc/{worker.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
    return 0


def _show(stall: Stall, stall_s: float) -> None:
    what = "the worker gave up and said so" if stall.ended else f"waited {stall_s:g} s"
    print(
        f"{stall.waiting:,} records waited; {what}; memory {stall.before_bytes / 1e6:.0f} MB before,"
        f" at most {stall.most_bytes / 1e6:.0f} MB meanwhile ({stall.growth_bytes / 1e6:+.0f})",
        flush=True,
    )


def main() -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak.stalls", description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=None, help="of what is published beside the bookings")
    parser.add_argument("--events", type=int, default=40_000, help="booking events of the City")
    parser.add_argument("--stalls", type=int, default=2)
    parser.add_argument("--stall-s", type=float, default=120.0)
    parser.add_argument("--retry-limit-s", type=float, default=600.0, help="how long the worker is patient")
    args = parser.parse_args()
    seed = args.seed if args.seed is not None else random.SystemRandom().randrange(1_000_000)
    directory = Path(tempfile.mkdtemp(prefix="soak-stalls-"))
    print(f"seed {seed}, directory {directory}", flush=True)
    with KafkaCluster(nodes=1) as cluster:
        result = asyncio.run(
            run(cluster, directory, kafka_load.city(args.events), seed=seed, stalls=args.stalls, stall_s=args.stall_s,
                retry_limit_s=args.retry_limit_s)
        )  # fmt: skip
    if not result.wrong:
        shutil.rmtree(directory)
    print(f"{result.published:,} records published, all applied; planner verify compared {result.verified:,} entries")
    for fault in result.wrong:
        print(f"WRONG: {fault}")
    return 1 if result.wrong else 0


if __name__ == "__main__":
    # whoever ends us should not leave a worker behind
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
