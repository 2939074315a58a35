"""A full disk, seen from outside: the worker stops and says so, nothing is half written, with room it goes on."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from planner.catalogue.model import Bundle
from planner.step import Message
from streams.log import LogFull, open_client
from streams.worker import LOG_FAILED
from tests.soak import history
from tests.soak.bench import Bench
from tests.soak.judge import Course, judge
from tests.soak.nursery import Child, Nursery

pytestmark = pytest.mark.slow

SEED = 20261127
DISK_BYTES = 24 << 20
SETTINGS = {"clock": "wall", "partitions": 1, "chunk_max_records": 10}
WAL_GROWS = 100_000
"""Pages after which the WAL is written back: never here, so that it is the WAL that finds no room."""


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with Nursery() as opened:
        yield opened


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system of our own."""
    where = tmp_path / "disk"
    where.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(where)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.decode().strip()}")
    yield where
    subprocess.run(["umount", str(where)], check=True)


def leave(disk: Path, room_bytes: int) -> None:
    """Fill the disk with ballast, but for so many bytes."""
    ballast = disk / "ballast"
    ballast.unlink(missing_ok=True)
    free = shutil.disk_usage(disk).free - room_bytes
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(1, free))


@pytest.mark.parametrize("moment", ["the WAL grows", "it is written back"])
async def test_at_any_moment_the_worker_stops_and_says_why_and_goes_on_with_room(
    moment: str, nursery: Nursery, disk: Path, tmp_path: Path
) -> None:
    bundle = history.small_bundle()
    # what the worker says goes elsewhere
    bench = Bench(nursery, f"sqlite:///{disk}/planner.db", "full.", tmp_path / "home", **SETTINGS)
    await bench.fill(bundle, history.invented(SEED, 300, bundle, 1, days=3))
    pages = WAL_GROWS if moment == "the WAL grows" else 20
    stops: set[tuple[tuple[str, int], ...]] = set()
    for room_bytes in (0, 90_000, 200_000, 300_000):
        leave(disk, room_bytes)
        assert "no room" in _ended(bench.worker(checkpoint_pages=pages))
        with pytest.raises(LogFull):
            async with bench.client() as client:
                await client.publish([Message("bookings", b"k", random.Random(2).randbytes(900_000))])
        stops.add(await _applied_so_far(disk, bundle, tmp_path / f"copy-{room_bytes}"))
    assert len(stops) > 1, "it filled up at different moments"
    (disk / "ballast").unlink()
    async with bench.client() as client:
        await bench.finish(client)
        await bench.judged(client, bundle, seed=SEED)


async def test_a_file_that_may_not_grow(nursery: Nursery, tmp_path: Path) -> None:
    """Where no disk can be made: the worker's files have a limit (EFBIG, which SQLite calls an I/O error)."""
    bundle = history.small_bundle()
    bench = Bench(nursery, f"sqlite:///{tmp_path}/planner.db", "full.", tmp_path, **SETTINGS)
    await bench.fill(bundle, history.invented(SEED, 150, bundle, 1, days=2))
    for limit_bytes in (700_000, 1_000_000):
        said = _ended(bench.worker(checkpoint_pages=WAL_GROWS, file_bytes_max=limit_bytes))
        assert "cannot be read or written (disk I/O error)" in said
        await _applied_so_far(tmp_path, bundle, tmp_path / f"copy-{limit_bytes}")
    async with bench.client() as client:
        await bench.finish(client)
        await bench.judged(client, bundle, seed=SEED)


def _ended(worker: Child) -> str:
    """What a worker that must end by itself has said."""
    assert worker.wait() == LOG_FAILED, worker.said()[-3000:]
    said = worker.said()
    assert "log_failed" in said or "log_cannot_be_used" in said, said[-3000:]
    return said


async def _applied_so_far(directory: Path, bundle: Bundle, elsewhere: Path) -> tuple[int, ...]:
    """Judge a copy on another disk, where there is room to look; how far each input was applied."""
    _copy(directory, elsewhere)
    async with open_client(f"sqlite:///{elsewhere}/planner.db", "full.") as client:
        course = Course()
        await judge(client, bundle, course, seed=SEED, holes=False, ended=False)
    return tuple(end for stretch in course.applied.values() for _, end in stretch)


def _copy(directory: Path, elsewhere: Path) -> None:
    elsewhere.mkdir()
    for file in directory.glob("planner.db*"):
        shutil.copy(file, elsewhere)
