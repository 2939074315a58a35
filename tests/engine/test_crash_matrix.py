"""A worker goes wrong at each point of a chunk's path: the short form of ``python -m tests.soak.crash_matrix``."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from streams.embedded.values import unpacked
from streams.log import open_client
from tests.kafka_broker import KafkaCluster
from tests.soak import history
from tests.soak.bench import Bench
from tests.soak.crash_matrix import PARTITIONS, SETTINGS, Cell, Matrix, cells
from tests.soak.judge import Course, judge
from tests.soak.nursery import Nursery

pytestmark = pytest.mark.slow

SEED = 1
KAFKA = [
    Cell("kafka", "kill", "after", "publish"),
    Cell("kafka", "kill", "after", "table write"),
    Cell("kafka", "bug", "before", "ack"),
    Cell("kafka", "fault", "after", "table write"),
]


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with Nursery() as opened:
        yield opened


async def test_every_crash_on_the_embedded_log(nursery: Nursery, tmp_path: Path) -> None:
    """Thirty of them, one after another on one log; a busy machine sees late that a worker goes on, so there is enough
    for the last of them too."""
    matrix = Matrix(nursery, tmp_path, SEED, bundle=history.small_bundle(), events=500, days=3)
    verdict = await matrix.run_all([cell for cell in cells(["embedded"]) if cell.meaningless is None])
    assert set(verdict.statuses) == {"applied", "duplicate", "refused", "dead-lettered"}


@pytest.mark.kafka
async def test_some_crashes_on_kafka(nursery: Nursery, kafka: KafkaCluster, tmp_path: Path, prefix: str) -> None:
    matrix = Matrix(nursery, tmp_path, SEED, kafka, bundle=history.small_bundle(), prefix=prefix, events=100, days=2)
    await matrix.run_all(KAFKA)


# --- the judge itself -----------------------------------------------------------------------------------------

TAMPERED = {
    "an outcome is missing": ("outcomes", "DELETE FROM records WHERE id = {first}", "never published"),
    "an outcome comes twice": (
        "outcomes",
        "INSERT INTO records SELECT {last} + 1, timestamp_ms, key, value, headers, codec FROM records"
        " WHERE id = {first}",
        "published again",
    ),
    "a requirement that nobody stated": (
        "requirements",
        "INSERT INTO records SELECT {last} + 1, timestamp_ms, key, CAST('{{}}' AS BLOB), headers, 0 FROM records"
        " WHERE id = {first}",
        "applied up to",
    ),
    "a booking event that nobody applied": (
        "bookings",
        "INSERT INTO records SELECT {last} + 1, timestamp_ms, key, value, headers, codec FROM records"
        " WHERE id = {first}",
        "bookings was applied up to",
    ),
    "an entry of a table": (
        "expand-table-changelog",
        "UPDATE records SET value = CAST(value || ' ' AS BLOB) WHERE id IN"
        " (SELECT id FROM latest WHERE number = {number} AND CAST(key AS TEXT) LIKE 'booking%' LIMIT 1)",
        "the table has",
    ),
    "an alert of which a revision is missing": (
        "alerts",
        "UPDATE records SET codec = 0,"
        " value = CAST(replace(plain(codec, value), '\"revision\":1,', '\"revision\":2,') AS BLOB) WHERE id = {first}",
        "not what was last published|has revisions",
    ),
}


@pytest.fixture(scope="module")
def ended(nursery: Nursery, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log that a worker has come to the end of."""
    directory = tmp_path_factory.mktemp("judged")
    bundle = history.small_bundle()
    bench = Bench(nursery, f"sqlite:///{directory}/planner.db", "m.", directory, **SETTINGS)

    async def run() -> None:
        await bench.fill(bundle, history.invented(SEED, 60, bundle, PARTITIONS, days=1))
        async with bench.client() as client:
            await bench.finish(client)

    asyncio.run(run())
    return directory / "planner.db"


@pytest.mark.parametrize("what", TAMPERED)
async def test_the_judge_sees(what: str, ended: Path, tmp_path: Path) -> None:
    topic, statement, says = TAMPERED[what]
    path = tmp_path / "planner.db"
    shutil.copy(ended, path)
    tampering = sqlite3.connect(path, isolation_level=None)
    tampering.create_function("plain", 2, unpacked)
    number, first, last = tampering.execute(
        "SELECT number, min(id), max(id) FROM records JOIN partitions ON number = id >> 40"
        " WHERE topic = ? GROUP BY number LIMIT 1",
        ("m." + topic,),
    ).fetchone()
    changed = tampering.execute(statement.format(number=number, first=first, last=last)).rowcount
    assert changed == 1
    tampering.execute(
        "UPDATE partitions SET next_offset = 1 + (SELECT max(id) FROM records WHERE id >> 40 = number) % (1 << 40)"
        " WHERE number = ?",
        (number,),
    )
    tampering.close()
    async with open_client(f"sqlite:///{path}", "m.") as client:
        with pytest.raises(AssertionError, match=says):
            await judge(client, history.small_bundle(), Course(), seed=SEED, holes=False)


async def test_the_judge_finds_nothing_on_a_log_that_is_well(ended: Path) -> None:
    async with open_client(f"sqlite:///{ended}", "m.") as client:
        verdict = await judge(client, history.small_bundle(), Course(), seed=SEED, holes=False)
    assert verdict.entries > 100
    assert verdict.alerts
