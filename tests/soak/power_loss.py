"""Power cuts on the embedded log: ``python -m tests.soak.power_loss --copies 200``.

A worker that applies events (and a publisher beside it) is stopped at random instants; the file and its WAL are copied
as a power cut could leave them, and go on. Then each copy is opened: it must be whole, every topic a prefix of the
log's, its tables the fold of exactly the records that they say were applied, its outputs exactly that fold's; a worker
must come from it to the log's end, where the judge finds nothing.

What a cut may take is what was not synced yet. SQLite promises: a commit with ``synchronous=FULL`` returns after the
WAL is synced, one with ``NORMAL`` before; a checkpoint syncs the WAL, then writes pages into the file, then syncs the
file, and only then may the WAL begin anew; frames carry checksums, so that recovery ends before the first that is torn.
The index in shared memory (``-shm``) says how far each of these has come. So of a copy

- the WAL behind the last commit (FULL), or behind the last checkpoint (NORMAL), is cut at any byte, torn, or garbage;
- pages that an unfinished checkpoint was writing into the file are torn;
- ``-shm`` is gone.

That the disk keeps what it says is synced is the system's part. Ours: that messages, entries and offsets are one
transaction, that FULL is the default, that nothing is acknowledged before its commit, and that nobody but SQLite opens
the file.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from planner.catalogue.model import Bundle
from streams.embedded.database import Database
from streams.inspect import applied_offsets
from streams.log import LogClient, open_client
from tests.soak import history
from tests.soak.bench import LOOK_S, Bench
from tests.soak.judge import Course, judge
from tests.soak.nursery import Child, Nursery

PARTITIONS: Final = 1
EVENTS: Final = 200
COPIES_EACH: Final = 10
"""Copies of one run of a worker."""
PAUSE_S_MAX: Final = 0.05
CHECKPOINT_PAGES: Final = 60
"""Far fewer than the planner's, so that many instants fall into a checkpoint."""
SECTOR: Final = 512
PREFIX: Final = "p."
Durability = Literal["full", "normal"]
Applied = dict[tuple[str, str, int], int]
"""(agent, topic, partition) → offset."""


@dataclass(frozen=True)
class Index:
    """What the shared memory says of the WAL. See sqlite.org/walformat.html."""

    salts: bytes
    committed: int
    """Frames up to the last commit."""
    written_back: int
    """Frames that a finished checkpoint has brought into the file."""
    attempted: int
    """Frames that a checkpoint may be writing into the file."""

    @classmethod
    def of(cls, shm: bytes) -> Index:
        """Of the content of ``-shm``; where its two headers differ, the earlier state."""
        first, second = (struct.unpack_from("=I", shm, at + 16)[0] for at in (0, 48))
        (written_back,) = struct.unpack_from("=I", shm, 96)
        (attempted,) = struct.unpack_from("=I", shm, 128)
        return cls(shm[32:40], min(first, second), written_back, attempted)


@dataclass(frozen=True)
class Copy:
    """The files at one instant, and what had been acknowledged before it."""

    file: bytes
    wal: bytes
    index: Index
    acknowledged: Applied


@dataclass
class Counts:
    """What was injected, and what it took."""

    copies: Counter[str]
    lost: Counter[str]
    """Copies in which something acknowledged was gone."""

    def __str__(self) -> str:
        return ", ".join(f"{count} {what}" for what, count in sorted(self.copies.items()))


# --- copies ---------------------------------------------------------------------------------------------------


async def copies_of_a_run(bench: Bench, client: LogClient, chance: random.Random, wanted: int) -> list[Copy]:
    """Stop a worker at random instants while it comes to the end of the log."""
    copies: list[Copy] = []
    worker = bench.worker(upkeep_s=3600, checkpoint_pages=CHECKPOINT_PAGES)
    try:
        last: Applied = await _applied(client)
        while len(copies) < wanted and worker.running:
            acknowledged = await _applied(client)
            if acknowledged == last:
                await asyncio.sleep(LOOK_S)
                continue
            last = acknowledged
            await asyncio.sleep(chance.uniform(0, PAUSE_S_MAX))
            worker.send(signal.SIGSTOP)
            _wait_until_it_stands_still(worker)
            copies.append(_copied(bench.directory / "planner.db", acknowledged))
            worker.send(signal.SIGCONT)
            if not await bench.waiting(client):
                break
        if not await bench.settle(client, worker):
            raise AssertionError(f"the worker ended with {worker.status}: {worker.said()[-3000:]}")
    finally:
        worker.send(signal.SIGCONT)
    if await asyncio.to_thread(worker.end) != 0:
        raise AssertionError(worker.said()[-3000:])
    return copies


def _wait_until_it_stands_still(worker: Child) -> None:
    """A stop reaches each thread in its own time; one that writes meanwhile would give a file later than its WAL."""
    tasks = Path(f"/proc/{worker.pid}/task")
    while tasks.is_dir() and any(_state(task) not in "TZX" for task in tasks.iterdir()):
        time.sleep(0.001)


def _state(task: Path) -> str:
    try:
        return (task / "stat").read_text().rpartition(") ")[2][0]
    except (FileNotFoundError, ProcessLookupError):
        return "X"


def _copied(file: Path, acknowledged: Applied) -> Copy:
    wal, shm = (file.with_name(f"{file.name}-{kind}").read_bytes() for kind in ("wal", "shm"))
    return Copy(_read(file), wal, Index.of(shm), acknowledged)


def _read(file: Path) -> bytes:
    """The content, read by another process: closing the file in ours would drop our own locks on it."""
    return subprocess.run(["cat", str(file)], capture_output=True, check=True).stdout


async def _applied(client: LogClient) -> Applied:
    return {
        (agent, topic, partition): offset
        for agent, topics in (await applied_offsets(client)).items()
        for topic, offsets in topics.items()
        for partition, offset in offsets.items()
    }


def after_a_cut(copy: Copy, durability: Durability, chance: random.Random) -> tuple[bytes, bytes, list[str]]:
    """The file and the WAL as a power cut may leave them, and what was done to them."""
    done = []
    wal, index = copy.wal, copy.index
    page_bytes = struct.unpack_from(">I", wal, 8)[0] if len(wal) >= 32 else 0
    frame_bytes = page_bytes + 24
    if page_bytes and wal[16:24] == index.salts:
        synced = index.committed if durability == "full" else index.attempted
        kept = 32 + synced * frame_bytes if synced else 0
        # what follows the last commit may be an unfinished transaction, or left from before the WAL began anew
        end = max(kept, min(len(wal), 32 + (index.committed + 3) * frame_bytes))
        cut = chance.randint(kept, end)
        how = chance.choice(("cut", "garbage", "torn", "zeros"))
        if how == "cut":
            wal = wal[:cut]
        elif how == "garbage":
            wal = wal[:cut] + chance.randbytes(chance.randrange(1, 3 * frame_bytes))
        elif how == "zeros":
            wal = wal[:cut] + bytes(len(wal) - cut)
        else:
            wal = _torn(wal, cut, end, chance)
        done.append(f"WAL {how}")
    file = bytearray(copy.file)
    for number in range(index.written_back, index.attempted):
        (page,) = struct.unpack_from(">I", copy.wal, 32 + number * frame_bytes)
        at = (page - 1) * page_bytes
        if chance.random() < 0.5 and at < len(file):
            sector = at + SECTOR * chance.randrange(page_bytes // SECTOR)
            file[sector : sector + SECTOR] = chance.randbytes(SECTOR)
            done = [*done, "checkpoint torn"] if "checkpoint torn" not in done else done
    return bytes(file), wal, done


def _torn(wal: bytes, first: int, end: int, chance: random.Random) -> bytes:
    """One sector behind ``first`` never reached the disk, though what follows it did."""
    if end <= first:
        return wal[:first]
    sector = chance.randrange(first, end) // SECTOR * SECTOR
    begin = max(first, sector)
    return wal[:begin] + bytes(min(sector + SECTOR, len(wal)) - begin) + wal[sector + SECTOR :]


# --- what must hold -------------------------------------------------------------------------------------------


async def check(bench: Bench, whole: LogClient, bundle: Bundle, copy: Copy, seed: int) -> bool:
    """Check a copy's file (of ``bench``); True: all that had been acknowledged is there.

    Raises:
        AssertionError: it is not whole, not a prefix, or its worker does not come to the log's end.
    """
    path = bench.directory / "planner.db"
    survivor = Database(path)
    survivor.check()
    survivor.close()
    async with open_client(f"sqlite:///{path}", PREFIX) as client:
        await _check_prefix(client, whole)
        course = Course()
        await judge(client, bundle, course, seed=seed, holes=False, ended=False)
        applied = await _applied(client)
        kept = all(applied.get(where, 0) >= offset for where, offset in copy.acknowledged.items())
        assert kept or bench.settings.durability == "normal", (
            f"acknowledged {copy.acknowledged}, and there is {applied}"
        )
        bench.course = course
        await bench.finish(client)
        await bench.judged(client, bundle, seed=seed)
    return kept


async def _check_prefix(client: LogClient, whole: LogClient) -> None:
    """Every topic of the copy is how that of the whole log begins; what was published is all there."""
    for topic in ("bookings", "stock", "orders", "clock", "requirements", "outcomes", "dead-letters", "alerts"):
        for partition in range(PARTITIONS):
            records = [record async for record in client.read(topic, partitions=[partition])]
            begin = [record async for record in whole.read(topic, partitions=[partition])][: len(records)]
            assert records == begin, f"{topic}/{partition}: the copy is no prefix of the log"


async def run(nursery: Nursery, directory: Path, seed: int, copies: int, *, events: int = EVENTS) -> Counts:
    """Copy, cut, check, until so many copies were checked.

    Raises:
        AssertionError: see ``check``.
    """
    chance = random.Random(seed)
    bundle = history.small_bundle()
    counts = Counts(Counter(), Counter())
    number = 0
    while number < copies:
        durability: Durability = "full" if chance.random() < 0.5 else "normal"
        messages = history.invented(chance.randrange(2**32), events, bundle, PARTITIONS, days=3)
        home = directory / f"run-{number}"
        settings = {"clock": "wall", "partitions": PARTITIONS, "chunk_max_records": 10, "durability": durability}
        bench = Bench(nursery, f"sqlite:///{home}/planner.db", PREFIX, home, **settings)
        await bench.fill(bundle, messages)
        async with bench.client() as whole:
            for copy in await copies_of_a_run(bench, whole, chance, min(COPIES_EACH, copies - number)):
                number += 1
                place = directory / f"copy-{number}"
                survivor = Bench(nursery, f"sqlite:///{place}/planner.db", PREFIX, place, **settings)
                file, wal, done = after_a_cut(copy, durability, chance)
                (place / "planner.db").write_bytes(file)
                (place / "planner.db-wal").write_bytes(wal)
                try:
                    kept = await check(survivor, whole, bundle, copy, seed + number)
                except Exception as error:
                    raise AssertionError(f"copy {number} ({durability}, {done}, kept in {place}): {error}") from error
                counts.copies.update([durability, *(f"{what} ({durability})" for what in done or ["nothing unsynced"])])
                counts.lost[durability] += not kept
                shutil.rmtree(place)
        shutil.rmtree(home)
    return counts


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--copies", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    began_s = time.monotonic()
    directory = Path(tempfile.mkdtemp(prefix="power-loss-"))
    with Nursery() as nursery:
        counts = asyncio.run(run(nursery, directory, options.seed, options.copies))
    shutil.rmtree(directory)
    print(f"{options.copies} copies after a power cut: {counts}")
    print(f"all whole, each a prefix of its log, each worker came to the end; {time.monotonic() - began_s:.0f} s")
    print(f"acknowledged and gone: {counts.lost['full']} with durability full, {counts.lost['normal']} with normal")
    return 0


if __name__ == "__main__":
    sys.exit(main())
