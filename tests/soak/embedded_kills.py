"""SIGKILL at random instants on the embedded log: ``python -m tests.soak.embedded_kills --kills 200``.

A worker applies real City bookings among stock, orders, poison and duplicates, while publishers write to the same file;
it is killed again and again, some of the times before it has started, and so are the publishers. At the end every input
has ended exactly once, the tables equal a fold in other chunks, no output is missing and none is repeated, and what a
publisher was told is durable is on the log.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import signal
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import load
from planner.catalogue.model import Bundle
from planner.step import Message
from streams.log import LogClient
from tests.soak import history
from tests.soak.bench import LOOK_S, Bench
from tests.soak.judge import Verdict
from tests.soak.nursery import PATIENCE_S, Child, Nursery
from tests.soak.roles import encoded

PARTITIONS = 2
CITY_EVENTS = 100_000
SLICE = 1_500
"""Messages of one publisher; the next one comes when fewer than these wait to be applied."""
BATCH = 40
EARLY_SHARE = 0.25
"""Of the kills, those that come at any time from a worker's start on; the others wait until it has applied some."""
EARLY_S_MAX = 0.6
LATE_S_MAX = 0.4
SETTINGS = {"clock": "wall", "partitions": PARTITIONS, "chunk_max_records": 50}


@dataclass
class Counts:
    """What was injected."""

    early: int = 0
    late: int = 0
    publishers: int = 0
    again: int = 0
    """Messages of a killed publisher that may have been sent once before."""
    told: list[tuple[Message, int, int]] = field(default_factory=list)
    """Message, partition, offset: what a publisher was told is durable."""

    def __str__(self) -> str:
        return (
            f"{self.early + self.late} SIGKILLs of workers ({self.early} at any time from their start, {self.late} in "
            f"the backlog), {self.publishers} of publishers, up to {self.again} messages published again"
        )


class Publishing:
    """Publishers, one after another, each with a slice of the messages; one that is killed is started again."""

    def __init__(self, bench: Bench, messages: list[Message], counts: Counts, slice_size: int) -> None:
        self._slice_size = slice_size
        self._bench = bench
        self._messages = messages
        self._counts = counts
        self._slices = 0
        self._first = 0
        self._child: Child | None = None
        self._told_file = bench.directory / "none"
        self._slice: list[Message] = []

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.running

    def tend(self, waiting: int) -> None:
        """Start the next publisher when the last is done and little waits."""
        if self.running:
            return
        if self._child is not None:
            done = self._take_told()
            if self._child.status == 0:
                self._child = None
            else:
                self._counts.again += min(BATCH, len(self._slice) - done)
                self._start(done)
        elif waiting < self._slice_size:
            self._slice = self._messages[self._first : self._first + self._slice_size]
            self._first += self._slice_size
            if not self._slice:
                raise AssertionError("the history is used up: it takes more events")
            self._slices += 1
            self._told_file = self._bench.directory / f"told-{self._slices}"
            file = self._bench.directory / f"slice-{self._slices}"
            file.write_text("\n".join(map(encoded, self._slice)))
            self._start(0)

    def kill(self) -> None:
        """Kill the publisher that runs."""
        if self._child is not None and self._child.end(signal.SIGKILL) == -signal.SIGKILL:
            self._counts.publishers += 1

    async def finish(self) -> None:
        """Let the last one come to its end."""
        while self._child is not None:
            await asyncio.to_thread(self._child.wait)
            self.tend(self._slice_size)

    def _start(self, first: int) -> None:
        bench, number = self._bench, self._slices
        self._child = bench.nursery.start(
            "publisher", bench.environment, bench.directory / f"publisher-{number}.log",
            file=str(bench.directory / f"slice-{number}"), first=first, batch=BATCH, told=str(self._told_file),
        )  # fmt: skip

    def _take_told(self) -> int:
        """Keep what was told; returns how many messages of the slice were."""
        done = 0
        lines = self._told_file.read_text().splitlines() if self._told_file.exists() else []
        for line in lines:
            start, count, placed = json.loads(line)
            done = max(done, start + count)
        if self._child is not None and self._child.status == 0:
            for line in lines:
                start, _, placed = json.loads(line)
                self._counts.told += [
                    (self._slice[start + n], partition, offset) for n, (partition, offset) in enumerate(placed)
                ]
        return done


async def run(
    nursery: Nursery,
    directory: Path,
    seed: int,
    kills: int,
    bundle: Bundle,
    *,
    messages: list[Message],
    slice_size: int = SLICE,
) -> tuple[Counts, Verdict]:
    """Kill, go on, judge.

    Raises:
        AssertionError: something was lost, doubled or different.
    """
    chance = random.Random(seed)
    bench = Bench(nursery, f"sqlite:///{directory}/planner.db", "k.", directory, **SETTINGS)
    await bench.fill(bundle, [])
    counts = Counts()
    publishing = Publishing(bench, messages, counts, slice_size)
    async with bench.client() as client:
        while counts.early + counts.late < kills:
            publishing.tend(sum((await bench.waiting(client)).values()))
            if publishing.running and chance.random() < 0.3:
                await asyncio.sleep(chance.uniform(0, 0.1))
                publishing.kill()
            await _one_life(bench, client, publishing, chance, counts)
            await bench.course.follow(client)
        await publishing.finish()
        await bench.finish(client)
        verdict = await bench.judged(client, bundle, seed=seed)
        await _check_told(client, counts)
    return counts, verdict


async def _one_life(
    bench: Bench, client: LogClient, publishing: Publishing, chance: random.Random, counts: Counts
) -> None:
    """Start a worker, and kill it at some instant."""
    before = await bench.waiting(client)
    worker = bench.worker(upkeep_s=0.3)
    early = chance.random() < EARLY_SHARE
    if early:
        await asyncio.sleep(chance.uniform(0, EARLY_S_MAX))
    else:
        give_up_s = time.monotonic() + PATIENCE_S
        while (now := await bench.waiting(client)) == before or not now:
            publishing.tend(sum(now.values()))
            if not worker.running or time.monotonic() > give_up_s:
                raise AssertionError(f"a worker applied nothing ({worker.status}): {worker.said()[-3000:]}")
            await asyncio.sleep(LOOK_S)
        await asyncio.sleep(chance.uniform(0, LATE_S_MAX))
    status = await asyncio.to_thread(worker.end, signal.SIGKILL)
    if status != -signal.SIGKILL:
        raise AssertionError(f"a worker ended by itself with {status}: {worker.said()[-3000:]}")
    counts.early += early
    counts.late += not early


async def _check_told(client: LogClient, counts: Counts) -> None:
    """What a publisher was told is durable is on the log, where it was told."""
    found = {
        (topic, record.partition, record.offset): record.value
        for topic in {message.topic for message, _, _ in counts.told}
        async for record in client.read(topic)
    }
    for message, partition, offset in counts.told:
        assert found.get((message.topic, partition, offset)) == message.value, (message.topic, partition, offset)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200, help="SIGKILLs of workers")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    began_s = time.monotonic()
    bundle = load.default_bundle()
    messages = history.city(options.seed, CITY_EVENTS, bundle, PARTITIONS)
    with tempfile.TemporaryDirectory(prefix="embedded-kills-") as directory, Nursery() as nursery:
        counts, verdict = asyncio.run(
            run(nursery, Path(directory), options.seed, options.kills, bundle, messages=messages)
        )
        size = (Path(directory) / "planner.db").stat().st_size
    print(f"{counts}\n{verdict}\n{len(counts.told):,} acknowledged messages are where their publisher was told")
    print(f"no output repeated, none missing; {verdict.alerts} alerts; log of {size / 1e6:.0f} MB")
    print(f"{time.monotonic() - began_s:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
