"""Memory stays bounded, whatever comes in and whatever does not go out: chunks and bytes held."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from faust.types import TP

from config.settings import Settings
from planner.step import Message
from streams import names
from streams.agents import PAGES_AT_ONCE
from streams.delivery.outlet import Page
from streams.log import open_client
from tests.engine.counting import BUG, CountingStep, counting_app
from tests.engine.running import (
    CountingWorker,
    make_topics,
    offsets_of,
    wait_applied,
)

EVENTS = 20_000
EVENT_BYTES = 1_000
CHUNK_BYTES_MAX = 65_536
MEMORY_GROWTH_BYTES_MAX = 30_000_000


@pytest.mark.parametrize("broker_url", ["embedded"], indirect=True)
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
            assert asked == min(PAGES_AT_ONCE, settings.partitions), "a partition has one page under way"
            held = [message.value.records for message in app.consumer._in_flight.values()]
            held_bytes = sum(len(record.value) for records in held for record in records)
            assert 0 < held_bytes <= settings.partitions * CHUNK_BYTES_MAX < EVENTS * EVENT_BYTES / 50
            assert sum(channel.queue.qsize() for channel in app.topics._topics) < settings.partitions
            gate.set()
            async with asyncio.timeout(120):
                while _counted(app.engines[names.EXPAND].steps.values()) < EVENTS:  # noqa: ASYNC110 - nobody tells us
                    await asyncio.sleep(0.05)
        finally:
            gate.set()
            await app.stop()


def _counted(steps: object) -> int:
    return sum(sum(step.counts.values()) for step in steps if isinstance(step, CountingStep))  # type: ignore[attr-defined]


@pytest.mark.parametrize("broker_url", ["embedded"], indirect=True)
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
