"""A publisher far faster than the planner: the worker's memory and the WAL stay bounded, and nothing is missed."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from planner.catalogue.model import Bundle
from planner.step import Message
from streams.embedded.database import Database
from streams.embedded.schema import CHECKPOINT_PAGES, PAGE_BYTES, WAL_BYTES_KEPT
from streams.log import LogClient, TopicSpec, open_client
from tests.soak import history
from tests.soak.bench import Bench
from tests.soak.nursery import Child, Nursery

pytestmark = pytest.mark.slow

SEED = 20261127
EVENTS = 1_000
PADDING_BYTES = 120_000
"""A field that the planner does not know: a backlog of many megabytes with little to compute."""
BACKLOG_BYTES = EVENTS * PADDING_BYTES
CHUNK_BYTES = 1 << 20
RSS_BYTES_MAX = (32 << 20) + (12 << 20)
"""How much more memory a backlog may take than the same events in small batches: SQLite's cache of the reader (every
change by another process empties it, so that a slow publisher never lets it fill) and some chunks, not the backlog."""
FRAME_BYTES = PAGE_BYTES + 24


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with Nursery() as opened:
        yield opened


def padded(messages: list[Message]) -> list[Message]:
    """The booking events of a history, made long."""
    long = []
    for message in messages:
        if message.topic == "bookings" and (message.value or b"").startswith(b'{"schema_version"'):
            body = orjson.loads(message.value or b"") | {"padding": "x" * PADDING_BYTES}
            long.append(message._replace(value=orjson.dumps(body)))
    return long


def rss_peak_bytes(worker: Child) -> int:
    """The most memory that it has had so far."""
    status = Path(f"/proc/{worker.pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


async def peak(nursery: Nursery, directory: Path, bundle: Bundle, messages: list[Message], batch: int) -> int:
    """The worker's peak when messages come in batches, each as soon as the one before is applied."""
    settings = {"clock": "wall", "partitions": 1, "chunk_max_bytes": CHUNK_BYTES, "durability": "normal"}
    bench = Bench(nursery, f"sqlite:///{directory}/planner.db", "b.", directory, **settings)
    await bench.fill(bundle, messages[:1])
    async with bench.client() as client:
        worker = bench.worker()
        for start in range(1, len(messages), batch):
            assert await bench.settle(client, worker)
            await client.publish(messages[start : start + batch])
        assert await bench.settle(client, worker), worker.said()[-3000:]
        most = rss_peak_bytes(worker)
        assert await asyncio.to_thread(worker.end) == 0
        await bench.judged(client, bundle, seed=SEED)
    return most


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
async def test_a_backlog_takes_no_memory_and_nothing_of_it_is_missed(nursery: Nursery, tmp_path: Path) -> None:
    bundle = history.small_bundle()
    messages = padded(history.invented(SEED, EVENTS, bundle, 1, days=1))
    slowly = await peak(nursery, tmp_path / "slowly", bundle, messages, 50)
    at_once = await peak(nursery, tmp_path / "at-once", bundle, messages, len(messages))
    assert BACKLOG_BYTES > 2 * RSS_BYTES_MAX
    assert at_once - slowly < RSS_BYTES_MAX, f"{at_once - slowly:,} bytes more than {slowly:,}"


# --- the WAL --------------------------------------------------------------------------------------------------


async def follow(client: LogClient, topic: str, count: int) -> None:
    """Read as it comes, like a command with --watch."""
    seen = 0
    async for chunk in client.read_chunks(topic, follow=True):
        seen += len(chunk)
        if seen >= count:
            return


async def test_readers_that_follow_do_not_keep_the_wal_from_beginning_anew(tmp_path: Path) -> None:
    """The bound: what makes a checkpoint due, twice over, and one transaction."""
    url, wal = f"sqlite:///{tmp_path}/planner.db", tmp_path / "planner.db-wal"
    batch, batches = [Message("t", None, random.Random(2).randbytes(2_000), 0)] * 200, 150
    bound_bytes = 2 * CHECKPOINT_PAGES * FRAME_BYTES + 2 * len(batch) * 2_000
    assert len(batch) * batches * 2_000 > 3 * bound_bytes
    async with open_client(url) as writer:
        await writer.ensure_topics([TopicSpec("t", 1)])
        readers = [open_client(url) for _ in range(3)]
        clients = [await reader for reader in readers]
        reading = [asyncio.ensure_future(follow(client, "t", len(batch) * batches)) for client in clients]
        largest = 0
        for _ in range(batches):
            await writer.publish(batch)
            largest = max(largest, wal.stat().st_size)
        await asyncio.gather(*reading)
        for client in clients:
            await client.close()
    assert largest <= bound_bytes, f"{largest:,}, expected at most {bound_bytes:,}"


def test_a_snapshot_that_another_program_holds_costs_what_is_written_meanwhile_and_no_longer(tmp_path: Path) -> None:
    path, wal = tmp_path / "planner.db", tmp_path / "planner.db-wal"
    database = Database(path, durability="normal")
    database.ensure_topics([TopicSpec("t", 1)])
    batch = [Message("t", None, random.Random(2).randbytes(10_000), 0)] * 200
    foreign = sqlite3.connect(path, isolation_level=None)
    foreign.execute("BEGIN")
    before = foreign.execute("SELECT count(*) FROM records").fetchone()
    for _ in range(50):
        database.append(batch)
    held = wal.stat().st_size
    assert held > WAL_BYTES_KEPT, "nothing can be written back over what the other reads"
    assert foreign.execute("SELECT count(*) FROM records").fetchone() == before
    foreign.execute("ROLLBACK")
    foreign.close()
    for _ in range(2):
        database.append(batch)
    assert wal.stat().st_size <= WAL_BYTES_KEPT
    database.close()
