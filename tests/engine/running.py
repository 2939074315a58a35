"""Counting workers as processes that can be killed, and what their tables say afterwards."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from config.settings import Settings
from planner.step import Message
from planner.topics import composed_key
from streams import names
from streams.log import LogClient
from streams.topics import topic_specs

SEEN = composed_key("seen", "")
COUNT = composed_key("count", "")
PATIENCE_S = 180.0
"""Longest wait for anything; no test passes or fails by how long it took."""


class CountingWorker:
    """``python -m tests.engine.counting`` over a log, with its ``arguments``."""

    def __init__(
        self, broker_url: str, prefix: str, directory: Path, arguments: tuple[str, ...] = (), **environment: str
    ) -> None:
        self._arguments = arguments
        self._environment = {
            "PLANNER_BROKER_URL": broker_url,
            "PLANNER_TOPIC_PREFIX": prefix,
            "PLANNER_DATA_DIR": str(directory),
            # a worker that was killed gives its partitions back after so long
            "PLANNER_SESSION_TIMEOUT_S": "6",
            "PLANNER_CHUNK_MAX_RECORDS": "100",
            **environment,
        }
        directory.mkdir(parents=True, exist_ok=True)
        self.log = directory / "worker.log"
        self.process: subprocess.Popen[bytes] | None = None
        self._starts = 0

    def start(self) -> None:
        self._starts += 1
        self.log = self.log.with_name(f"worker-{self._starts}.log")
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.engine.counting", *self._arguments],
                env={**os.environ, **self._environment},
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def end(self, number: signal.Signals) -> int:
        """Send a signal and wait for the end; returns the exit status. To stop cleanly, it must have started."""
        if self.process is None:
            raise RuntimeError("not started")
        if number == signal.SIGTERM and self.running:
            self.wait_said("started\n")
        if self.process.poll() is None:
            self.process.send_signal(number)
        status = self.process.wait(PATIENCE_S)
        self.process = None
        return status

    def said(self) -> str:
        """What it has written since its last start."""
        return self.log.read_text(errors="replace")

    def read_for(self, agent: str) -> int:
        """Changelog records that it read to take over the partitions it now owns."""
        told = re.findall(rf"(is given|owns) {agent} .* having read (\d+)", self.said())
        (_, before), (what, after) = told[-2:]
        assert what == "owns"
        return int(after) - int(before)

    def wait_said(self, words: str, times: int = 1) -> None:
        """Wait until it has written these words (so often)."""
        until = time.monotonic() + PATIENCE_S
        while self.said().count(words) < times:
            if not self.running:
                raise AssertionError(f"worker ended before it said {words!r}: {self.said()[-3000:]}")
            if time.monotonic() > until:
                raise AssertionError(f"worker did not say {words!r}: {self.said()[-3000:]}")
            time.sleep(0.02)

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def close(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(PATIENCE_S)


async def make_topics(client: LogClient, broker_url: str, prefix: str) -> None:
    """The planner's topics."""
    await client.ensure_topics(topic_specs(Settings(broker_url=broker_url, topic_prefix=prefix)))


async def publish_bookings(client: LogClient, count: int, keys: int = 50) -> None:
    """Bookings by a few keys."""
    await client.publish([Message("bookings", b"k%d" % (n % keys), b"%d" % n) for n in range(count)])


async def table(client: LogClient, agent: str) -> dict[tuple[int, bytes], bytes]:
    """A table's entries by partition and key, from its changelog."""
    entries: dict[tuple[int, bytes], bytes] = {}
    for partition in range(await client.partitions(names.changelog(agent))):
        for key, record in (await client.latest(names.changelog(agent), partition)).items():
            entries[partition, key] = record.value or b""
    return entries


async def applied(client: LogClient, agent: str, topic: str) -> int:
    """Records of an input that an agent's table says were applied."""
    key = names.position_key(topic)
    total = 0
    for partition in range(await client.partitions(names.changelog(agent))):
        record = (await client.latest(names.changelog(agent), partition, names.POSITION)).get(key)
        total += int(record.value or b"0") if record is not None else 0
    return total


async def wait_applied(client: LogClient, agent: str, topic: str, at_least: int, *workers: CountingWorker) -> int:
    """Wait until so many records are applied; a worker that ends meanwhile is a failure."""
    until = time.monotonic() + PATIENCE_S
    while (count := await applied(client, agent, topic)) < at_least:
        for worker in workers:
            if not worker.running:
                raise AssertionError(f"worker ended: {worker.log.read_text()[-3000:]}")
        if time.monotonic() > until:
            raise AssertionError(
                f"{count} of {at_least} applied after {PATIENCE_S} s: {workers[0].log.read_text()[-3000:]}"
            )
        await asyncio.sleep(0.02)
    return count


async def check_every_offset(client: LogClient, agent: str, topic: str) -> None:
    """Each record of the input was applied exactly once, and the counts by key say the same."""
    offsets = await offsets_of(client, topic)
    entries = await table(client, agent)
    for partition, present in offsets.items():
        times = {
            int(key.rsplit(b"\x1f", 1)[1]): int(value)
            for (at, key), value in entries.items()
            if at == partition and key.startswith(composed_key("seen", topic, ""))
        }
        lost = sorted(present - set(times))
        assert not lost, f"{agent} lost {topic}/{partition}: {lost[:20]}"
        wrong = {offset: count for offset, count in times.items() if count != 1}
        assert not wrong, f"{agent} applied more than once {topic}/{partition}: {list(wrong.items())[:20]}"
    counted = Counter[bytes]()
    for (_, key), value in entries.items():
        if key.startswith(COUNT):
            counted[key.removeprefix(COUNT)] += int(value)
    count = sum(len(present) for present in offsets.values())
    assert counted.total() == count, f"{agent} counted {counted.total()} of {count}"


async def offsets_of(client: LogClient, topic: str) -> dict[int, set[int]]:
    """Offsets of the records of a topic by partition; on Kafka, markers of transactions lie between them."""
    offsets: dict[int, set[int]] = {partition: set() for partition in range(await client.partitions(topic))}
    async for chunk in client.read_chunks(topic):
        offsets[chunk[0].partition] |= {record.offset for record in chunk}
    return offsets


async def wait_settled(client: LogClient, agent: str, topic: str, *workers: CountingWorker) -> None:
    """Wait until the agent has applied its input to the end, as it is now."""
    end = sum((await client.end_offsets(topic)).values())
    await wait_applied(client, agent, topic, end, *workers)


async def counts(client: LogClient, agent: str) -> dict[bytes, int]:
    """How often each key came, as the tables say."""
    entries = (await table(client, agent)).items()
    return {key.removeprefix(COUNT): int(value) for (_, key), value in entries if key.startswith(COUNT)}


async def newest_forecasts(client: LogClient) -> dict[bytes, int]:
    """How often each key came, as it was last published."""
    return {key: int(record.value or b"") for key, record in (await client.latest("forecasts")).items()}
