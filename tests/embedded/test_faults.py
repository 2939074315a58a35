"""The embedded log when things go wrong: kills, lost power, a full disk, foreign and damaged files, a second worker."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from planner.step import Message
from streams.embedded.database import Database
from streams.embedded.lock import WorkerLock
from streams.embedded.schema import SCHEMA_VERSION, bring_up_to_date
from streams.embedded.upkeep import upkeep
from streams.log import (
    LogDamaged,
    LogError,
    LogFull,
    LogTooNew,
    LogUnavailable,
    NotALog,
    TopicSpec,
    WorkerPresent,
    open_client,
)
from tests.embedded.other import work

ROOT = Path(__file__).parents[2]
TOPICS = (
    TopicSpec("in", 1),
    TopicSpec("out", 1),
    TopicSpec("changelog", 1, compacted=True, compaction_lag_ms=0, tombstone_ms=0),
)
NOISE = random.Random(4).randbytes(900_000)
"""Takes as much room as it is long: it cannot be compressed."""
KEYS = [f"site-{i}".encode() for i in range(7)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "planner.db"


def filled(path: Path, count: int) -> None:
    database = Database(path)
    database.ensure_topics(TOPICS)
    database.append([Message("in", KEYS[i % 7], str(i).encode(), 0) for i in range(count)])
    database.close()


def consistent(database: Database) -> int:
    """Check that table, output and offset agree; returns the offset."""
    database.check()
    offset = database.committed("worker").get(("in", 0), 0)
    out = [record.value for record in database.fetch("out", 0, 0, records_max=1_000_000)]
    assert out == [str(i).encode() for i in range(offset)]
    assert database.end_offsets("out") == {0: offset}
    counts = Counter(KEYS[i % 7] for i in range(offset))
    assert {key: int(value) for key, value in database.load("changelog", 0).items()} == counts
    assert dict(database.scan("changelog", 0)) == database.load("changelog", 0)
    return offset


def test_killed_at_any_moment_everything_agrees_and_what_was_durable_stays(path: Path) -> None:
    filled(path, 20_000)
    chance = random.Random(7)
    reached = 0
    for _ in range(8):
        command = [sys.executable, "-m", "tests.embedded.other", str(path)]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        for _ in range(chance.randrange(1, 60)):
            reached = int(process.stdout.readline())
        process.kill()
        reached = max([reached, *(int(line) for line in process.stdout if line.endswith("\n"))])
        process.wait()
        process.stdout.close()
        database = Database(path, create=False)
        assert consistent(database) >= reached
        database.close()
    database = Database(path, create=False)
    work(database, lambda _: None)
    assert consistent(database) == 20_000
    database.close()


def test_power_lost_at_any_byte_of_the_wal_leaves_a_consistent_log(path: Path, tmp_path: Path) -> None:
    filled(path, 1_500)
    database = Database(path)
    database.connection.execute("PRAGMA wal_autocheckpoint = 0")  # keep all of it in the WAL
    work(database, lambda _: None)
    wal = path.with_name("planner.db-wal").read_bytes()
    chance = random.Random(7)
    offsets = set()
    for number in range(25):
        copy = tmp_path / f"copy-{number}" / "planner.db"
        copy.parent.mkdir()
        shutil.copy(path, copy)
        kept = wal[: chance.randrange(len(wal))]
        copy.with_name("planner.db-wal").write_bytes(kept + (chance.randbytes(500) if number % 2 else b""))
        survivor = Database(copy)
        offsets.add(consistent(survivor))
        work(survivor, lambda _: None)
        assert consistent(survivor) == 1_500
        survivor.close()
    database.close()
    assert len(offsets) > 10, "the cuts fell at different moments"


def test_a_full_disk_is_told_nothing_is_half_written_and_it_goes_on_with_room(path: Path) -> None:
    filled(path, 6_000)
    database = Database(path)
    pages = database.connection.execute("PRAGMA page_count").fetchone()[0]
    stops = set()
    for room in range(10):
        database.connection.execute(f"PRAGMA max_page_count = {pages + room}")
        with pytest.raises(LogFull, match=r"planner\.db: no room on the disk; nothing was written"):
            work(database, lambda _: None)
        stops.add(consistent(database))
        with pytest.raises(LogFull):
            database.append([Message("in", b"k", NOISE[:900_000], 0)])
        assert database.end_offsets("in") == {0: 6_000}
    assert len(stops) > 5, "the disk filled up at different moments"
    database.connection.execute("PRAGMA max_page_count = 1000000")
    work(database, lambda _: None)
    assert consistent(database) == 6_000
    database.close()


def test_a_process_that_comes_and_goes_leaves_our_wal_alone(path: Path) -> None:
    """Closing any handle on the file would drop this process's locks on it; then the other would delete the WAL."""
    filled(path, 1)
    ours = Database(path)
    ours.append([Message("in", b"k", b"in the WAL", 0)])
    Database(path).close()
    script = (
        "import sys; from pathlib import Path; from streams.embedded.database import Database;"
        "Database(Path(sys.argv[1])).close()"
    )
    subprocess.run([sys.executable, "-c", script, str(path)], cwd=ROOT, check=True)
    assert path.with_name("planner.db-wal").exists()
    ours.append([Message("in", b"k", b"after", 0)])
    copy = Database(path)
    assert [record.value for record in copy.fetch("in", 0, 1)] == [b"in the WAL", b"after"]
    copy.close()
    ours.close()


async def test_a_client_is_told_of_a_full_disk(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_client(f"sqlite:///{path}") as client:
        await client.ensure_topics(TOPICS)
        writing: Database = client._writing  # type: ignore[attr-defined]
        writing.connection.execute("PRAGMA max_page_count = 20")
        with pytest.raises(LogFull):
            await client.publish([Message("in", b"k", NOISE[:900_000])])
        writing.connection.execute("PRAGMA max_page_count = 1000000")
        assert await client.publish([Message("in", b"k", NOISE[:900_000])]) == [(0, 0)]


def test_upkeep_needs_no_more_room_than_it_frees(path: Path) -> None:
    """A log whose disk is full can still clean up (what it removes is used again)."""
    clock_ms = [1_800_000_000_000]
    database = Database(path, clock_ms=lambda: clock_ms[0])
    database.ensure_topics([TopicSpec("in", 1, retention_ms=1_000)])
    database.append([Message("in", None, NOISE[:2_000], 0) for _ in range(2_000)])
    pages = database.connection.execute("PRAGMA page_count").fetchone()[0]
    database.connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(LogFull):
        database.append([Message("in", None, NOISE[:2_000], 0) for _ in range(100)])
    clock_ms[0] += 1_001
    assert upkeep(database) == 2_000
    database.append([Message("in", None, NOISE[:2_000], 0) for _ in range(1_900)])
    database.close()


def test_files_that_are_no_log(path: Path) -> None:
    path.write_text("booking_id,site\n1,north\n")
    with pytest.raises(NotALog, match=r"planner\.db: not a planner's log"):
        Database(path)
    path.unlink()
    foreign = sqlite3.connect(path)
    foreign.execute("CREATE TABLE theirs (a)")
    foreign.close()
    with pytest.raises(NotALog, match="the database of another program"):
        Database(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(LogUnavailable, match="cannot be opened: not a file"):
        Database(path)


def test_a_log_of_a_newer_planner(path: Path) -> None:
    filled(path, 1)
    newer = sqlite3.connect(path)
    newer.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    newer.close()
    with pytest.raises(LogTooNew, match=rf"newer planner \(format {SCHEMA_VERSION + 1}, expected {SCHEMA_VERSION}\)"):
        Database(path)


def test_a_log_of_before_values_were_compressed_goes_on(path: Path) -> None:
    long = b'{"line": "magnesium.syringe"},' * 100
    filled(path, 3)
    before = sqlite3.connect(path)
    before.execute("ALTER TABLE records DROP COLUMN codec")
    before.execute("PRAGMA user_version = 1")
    before.execute("UPDATE records SET value = ? WHERE id IN (SELECT min(id) FROM records)", (long,))
    before.commit()
    before.close()
    # only its one worker may change it: an older one could not read what is compressed
    with pytest.raises(LogUnavailable, match=r"older planner \(format 1, expected 2\); a worker of this one brings it"):
        Database(path)
    bring_up_to_date(path)
    bring_up_to_date(path)  # again: nothing to do
    database = Database(path)
    database.append([Message("in", b"k", long, 0)])
    values = [record.value for record in database.fetch("in", 0, 0)]
    assert (values[0], values[-1], len(values)) == (long, long, 4)
    kept = database.connection.execute("SELECT codec, length(value) FROM records ORDER BY id").fetchall()
    database.check()
    database.close()
    assert kept[0] == (0, len(long)), "what was there is as it was"
    assert kept[-1][0] == 1
    assert kept[-1][1] < len(long) / 10


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("codec = 7", r"planner\.db: damaged \(partition number \d, offset 0: codec 7, expected 0 or 1\)"),
        ("value = x'ffffffff01'", r"offset 0: compressed, and cannot be read: "),
    ],
)
def test_a_long_value_that_is_not_what_was_written(path: Path, change: str, says: str) -> None:
    filled(path, 0)
    database = Database(path)
    database.append([Message("in", b"k", b"alike" * 500, 0)])
    database.connection.execute(f"UPDATE records SET {change}")
    with pytest.raises(LogDamaged, match=says):
        database.fetch("in", 0, 0)
    database.close()


def test_a_file_that_is_no_log_is_not_brought_up_to_date(path: Path) -> None:
    bring_up_to_date(path)
    assert not path.exists()
    foreign = sqlite3.connect(path)
    foreign.execute("CREATE TABLE theirs (a)")
    foreign.close()
    with pytest.raises(NotALog):
        bring_up_to_date(path)


def test_no_log_yet(path: Path) -> None:
    with pytest.raises(LogUnavailable, match=r"there is no log yet; a worker makes it \(planner run\)"):
        Database(path, create=False)
    assert not path.exists()
    path.touch()
    Database(path).close()  # an empty file becomes one


async def test_a_client_makes_no_log_by_looking(path: Path) -> None:
    async with open_client(f"sqlite:///{path}") as client:
        with pytest.raises(LogUnavailable, match="no log yet"):
            await client.end_offsets("in")
        with pytest.raises(LogUnavailable, match="no log yet"):
            await client.publish([Message("in", b"k", b"")])
        assert await asyncio.to_thread(path.exists) is False
        await client.ensure_topics(TOPICS)
        assert await client.publish([Message("in", b"k", b"")]) == [(0, 0)]


def test_a_damaged_file_is_noticed(path: Path) -> None:
    filled(path, 5_000)
    content = bytearray(path.read_bytes())
    for page in range(20, len(content) // 4_096, 3):
        content[page * 4_096 : page * 4_096 + 64] = bytes(64)
    path.write_bytes(content)
    database = Database(path)
    with pytest.raises(LogDamaged, match=r"damaged \(.*\); restore it from a copy"):
        database.check()
    with pytest.raises(LogError):
        database.fetch("in", 0, 0, records_max=1_000_000)
    database.close()


def test_two_processes_may_make_the_log_at_the_same_time(path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from streams.embedded.database import Database; sys.stdin.read(1);"
        "from tests.embedded.test_faults import TOPICS;"
        "d = Database(Path(sys.argv[1])); d.ensure_topics(TOPICS); d.close()"
    )
    command = [sys.executable, "-c", script, str(path)]
    processes = [subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE) for _ in range(4)]
    for process in processes:
        process.communicate(b"x", timeout=60)
    assert [process.returncode for process in processes] == [0] * 4
    database = Database(path, create=False)
    assert database.topics() == ["changelog", "in", "out"]
    assert database.connection.execute("SELECT count(*) FROM partitions").fetchone()[0] == 3
    database.close()


def test_a_second_worker_is_refused_and_told_who_is_there(path: Path) -> None:
    with WorkerLock(path):
        with pytest.raises(
            WorkerPresent, match=rf"another worker has this log \(process {os.getpid()} on .+, since 20"
        ):
            WorkerLock(path).acquire()
        assert json.loads(path.with_name("planner.db.lock").read_text())["pid"] == os.getpid()
    with WorkerLock(path):
        pass


def test_a_worker_that_is_killed_gives_the_log_free(path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from streams.embedded.lock import WorkerLock;"
        "lock = WorkerLock(Path(sys.argv[1])); lock.acquire(); print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(path)]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    try:
        with pytest.raises(WorkerPresent, match=rf"process {process.pid} on "):
            WorkerLock(path).acquire()
    finally:
        process.kill()
        process.communicate()
    with WorkerLock(path):
        pass
