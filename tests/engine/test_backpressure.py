"""Memory stays bounded, whatever comes in and whatever does not go out: chunks and bytes held, resident memory."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from faust.types import TP

from config.settings import Settings
from planner.step import Message
from streams import names
from streams.delivery.outlet import Page
from streams.log import open_client
from tests.engine.counting import BUG, CountingStep, counting_app
from tests.engine.running import (
    CountingWorker,
    check_every_offset,
    make_topics,
    offsets_of,
    wait_applied,
    wait_settled,
)
from tests.kafka_broker import KafkaCluster

EVENTS = 20_000
EVENT_BYTES = 1_000
CHUNK_BYTES_MAX = 65_536
MEMORY_GROWTH_BYTES_MAX = 30_000_000


async def test_a_backlog_is_not_taken_in_faster_than_it_is_written(
    broker_url: str, prefix: str, tmp_path: Path
) -> None:
    """The outlet never answers (so the input is infinitely faster): one chunk of each partition is held, no more."""
    settings = Settings(
        broker_url=broker_url, topic_prefix=prefix, data_dir=tmp_path / "tables", chunk_max_bytes=CHUNK_BYTES_MAX,
        chunk_max_records=100_000, durability="normal", session_timeout_s=6,
    )  # fmt: skip
    async with open_client(broker_url, prefix) as client:
        await make_topics(client, broker_url, prefix)
        app = counting_app(settings, trace=False)
        await app.start()
        gate, asked = asyncio.Event(), 0
        deliver = app.outlet.deliver

        async def never(page: Page) -> None:
            nonlocal asked
            asked += 1
            await gate.wait()
            await deliver(page)

        app.outlet.deliver = never  # type: ignore[method-assign]
        try:
            await client.publish([Message("bookings", b"k%d" % (n % 50), bytes(EVENT_BYTES)) for n in range(EVENTS)])
            inputs = {TP(prefix + "bookings", partition) for partition in range(settings.partitions)}
            async with asyncio.timeout(120):
                while not asked or not inputs <= set(app.consumer._in_flight):  # noqa: ASYNC110 - nobody tells us
                    await asyncio.sleep(0.01)
                # long enough that more would have been fetched, were it wanted
                for _ in range(50):
                    await asyncio.sleep(0.01)
                    assert len(app.consumer._in_flight) <= settings.partitions
            assert not app.consumer._wanted() & inputs
            assert asked == 1, "an agent has one page under way"
            held = [message.value.records for message in app.consumer._in_flight.values()]
            held_bytes = sum(len(record.value) for records in held for record in records)
            assert 0 < held_bytes <= settings.partitions * CHUNK_BYTES_MAX < EVENTS * EVENT_BYTES / 50
            assert sum(channel.queue.qsize() for channel in app.topics._topics) < settings.partitions
            if not settings.embedded:
                # what aiokafka has fetched ahead: one answer of the broker for each partition
                fetched = app.consumer._thread._ensure_consumer()._fetcher._records
                assert len([tp for tp in fetched if tp.topic == prefix + "bookings"]) <= settings.partitions
            gate.set()
            async with asyncio.timeout(120):
                while _counted(app.engines[names.EXPAND].steps.values()) < EVENTS:  # noqa: ASYNC110 - nobody tells us
                    await asyncio.sleep(0.05)
        finally:
            gate.set()
            await app.stop()


def _counted(steps: object) -> int:
    return sum(sum(step.counts.values()) for step in steps if isinstance(step, CountingStep))  # type: ignore[attr-defined]


@pytest.mark.kafka
@pytest.mark.slow
async def test_a_worker_waits_out_a_broker_that_stalls_and_grows_no_larger(
    kafka_of: Callable[..., KafkaCluster], prefix: str, tmp_path: Path
) -> None:
    cluster = kafka_of()
    worker = CountingWorker(
        cluster.url, prefix, tmp_path / "worker", PLANNER_RETRY_LIMIT_S="300", PLANNER_REQUEST_TIMEOUT_S="6"
    )
    try:
        async with open_client(cluster.url, prefix) as client:
            await make_topics(client, cluster.url, prefix)
            await client.publish([Message("bookings", b"k%d" % (n % 50), bytes(EVENT_BYTES)) for n in range(8_000)])
            worker.start()
            await wait_applied(client, names.EXPAND, "bookings", 1_000, worker)
            before = _resident_bytes(worker)
            cluster.stop(0)
            # it says so again and again, ever more rarely
            await asyncio.to_thread(worker.wait_said, "waiting_for_the_log", 4)
            growth = _resident_bytes(worker) - before
            assert growth < MEMORY_GROWTH_BYTES_MAX, f"{growth:,} bytes more while the broker stalled"
            cluster.resume(0)
            await asyncio.to_thread(cluster.wait)
            await wait_applied(client, names.EXPAND, "bookings", 8_000, worker)
            await wait_settled(client, names.PLAN, "requirements", worker)
            assert await asyncio.to_thread(worker.end, signal.SIGTERM) == 0
            await check_every_offset(client, names.EXPAND, "bookings")
            await check_every_offset(client, names.PLAN, "requirements")
            assert sum(len(offsets) for offsets in (await offsets_of(client, "requirements")).values()) == 8_000
    finally:
        worker.close()


def _resident_bytes(worker: CountingWorker) -> int:
    assert worker.process is not None
    for line in Path(f"/proc/{worker.process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS")


async def test_a_bug_ends_the_worker_with_the_records_place_and_applies_nothing_of_its_chunk(
    broker_url: str, prefix: str, tmp_path: Path
) -> None:
    """Seen from outside: the exit status, the log line, the tables, the messages; and again after a restart."""
    worker = CountingWorker(broker_url, prefix, tmp_path / "worker")
    try:
        async with open_client(broker_url, prefix) as client:
            await make_topics(client, broker_url, prefix)
            await client.publish([Message("bookings", b"k", b"%d" % n, 0) for n in range(50)])
            worker.start()
            await wait_applied(client, names.EXPAND, "bookings", 50, worker)
            poison = [Message("bookings", b"k", b"fine", 0), Message("bookings", b"k", BUG, 0)]
            ((_, _), (_, offset)) = await client.publish(poison)
            for _ in range(2):
                assert worker.process is not None
                assert await asyncio.to_thread(worker.process.wait, 120) == 1
                said = worker.said()
                assert f"record bookings/0/{offset}: ZeroDivisionError" in said
                applied = await wait_applied(client, names.EXPAND, "bookings", 50)
                passed_on = sum(len(offsets) for offsets in (await offsets_of(client, "requirements")).values())
                # the sound record before it may have come in a chunk of its own
                assert applied <= offset
                assert passed_on == applied, "messages and tables say the same"
                worker.start()
    finally:
        worker.close()
