"""Power cuts: the short form of ``python -m tests.soak.power_loss``."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import pytest

from planner.step import Message
from streams.embedded.database import Database
from streams.log import LogError, TopicSpec
from tests.soak.nursery import Nursery
from tests.soak.power_loss import Index, run

SEED = 20261127
COPIES = 10


@pytest.mark.slow
async def test_copies_after_a_power_cut_are_whole_and_a_worker_goes_on_from_them(tmp_path: Path) -> None:
    with Nursery() as nursery:
        counts = await run(nursery, tmp_path, SEED, COPIES, events=80)
    assert counts.copies["full"] + counts.copies["normal"] == COPIES
    assert counts.lost["full"] == 0


def test_the_index_in_shared_memory_says_what_was_committed_and_written_back(tmp_path: Path) -> None:
    """A learning test: where SQLite keeps these figures is its own business."""
    path = tmp_path / "planner.db"
    database = Database(path)
    database.ensure_topics([TopicSpec("t", 1)])
    database.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.append([Message("t", None, random.Random(1).randbytes(20_000), 0)])
    wal, shm = (path.with_name(f"planner.db-{kind}").read_bytes() for kind in ("wal", "shm"))
    page_bytes = struct.unpack_from(">I", wal, 8)[0]
    index = Index.of(shm)
    assert index.salts == wal[16:24]
    assert (index.committed, index.written_back) == ((len(wal) - 32) // (page_bytes + 24), 0)
    database.connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
    assert Index.of(path.with_name("planner.db-shm").read_bytes()).written_back == index.committed
    database.close()


def test_what_was_synced_may_not_be_cut(tmp_path: Path) -> None:
    """The other way round: a WAL cut where no power cut can cut it, after a checkpoint, is not a whole log."""
    path = tmp_path / "planner.db"
    database = Database(path)
    database.ensure_topics([TopicSpec("t", 1)])
    database.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    chance = random.Random(SEED)
    for _ in range(30):
        database.append([Message("t", None, chance.randbytes(3_000), 0)])
    database.connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
    content, wal = path.read_bytes(), path.with_name("planner.db-wal").read_bytes()
    database.close()
    found = set()
    for number in range(20):
        copy = tmp_path / f"copy-{number}" / "planner.db"
        copy.parent.mkdir()
        copy.write_bytes(content)
        copy.with_name("planner.db-wal").write_bytes(wal[: chance.randrange(32, len(wal))])
        found.add(_whole(copy, 30))
    assert False in found


def _whole(path: Path, count: int) -> bool:
    try:
        survivor = Database(path)
        try:
            survivor.check()
            return len(survivor.fetch("t", 0, 0)) == survivor.end_offsets("t")[0] == count
        finally:
            survivor.close()
    except LogError:
        return False
