"""``planner verify`` beside a worker that works, on both logs: no difference in mid-stream, each planted one named."""

from __future__ import annotations

import asyncio
import itertools
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner

from config.settings import Settings
from planner.step import Message
from planner.topics import composed_key
from planner.verify.compare import Difference
from streams import names
from streams.cli import main
from streams.log import LogClient, partition_of
from streams.verify.run import Verification
from tests.worker import ROOT, Worker, environment

pytestmark = pytest.mark.slow

EXAMPLES = (ROOT / "examples" / "first-hour.jsonl").read_bytes()
SITES = ("harbor", "north", "lakeside")
PARTITIONS = 4
PATIENCE_S = 1.5


def bookings(first: int) -> Iterator[dict[str, Any]]:
    """Sessions booked one after the other, each moved once and every third cancelled."""
    for number in itertools.count(first):
        at = f"2026-03-02T{10 + number // 3600 % 12:02}:{number // 60 % 60:02}:{number % 60:02}Z"
        head = {"occurred_at": at, "booking_id": f"v-{number}"}
        start = f"2026-03-{5 + number % 20:02}T17:00:00Z"
        site = SITES[number % 3]
        yield head | {
            "type": "booking.booked", "event_id": f"v-{number}/1", "version": 1, "site": site, "protocol": "magnesium",
            "start": start,
        }  # fmt: skip
        if number % 3 == 0:
            yield head | {"type": "booking.cancelled", "event_id": f"v-{number}/2", "version": 2}


def message(event: dict[str, Any]) -> Message:
    return Message("bookings", event["booking_id"].encode(), orjson.dumps({"schema_version": 1} | event))


@contextmanager
def stream_of(worker: Worker, first: int) -> Iterator[None]:
    """Bookings come in, in a thread of their own, until the end of the block."""
    ended = threading.Event()
    events = bookings(first)

    async def publish() -> None:
        async with worker.client() as client:
            while not ended.is_set():
                await client.publish([message(event) for event in itertools.islice(events, 3)])
                await asyncio.to_thread(ended.wait, 0.5)

    thread = threading.Thread(target=lambda: asyncio.run(publish()))
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def verify(worker: Worker, *arguments: str) -> tuple[int, str]:
    """Exit code and output of ``planner verify``, in this process."""
    given = ["--broker", worker.broker, "--prefix", worker.prefix, "verify", "--patience", f"{PATIENCE_S}"]
    said = CliRunner().invoke(main, [*given, *arguments], catch_exceptions=False)
    return said.exit_code, said.stdout


def verification(worker: Worker, client: LogClient, **options: Any) -> Verification:
    """One that goes on from where it was, each time it is asked again."""
    settings = Settings(broker_url=worker.broker, topic_prefix=worker.prefix)
    return Verification(client, settings, patience_s=PATIENCE_S, **options)


async def last_of(client: LogClient, topic: str, prefix: bytes) -> tuple[bytes, int, Any, bytes | None]:
    """Key, partition and value (read, and as it is) of a record of a compacted topic."""
    found = await client.latest(topic, key_prefix=prefix)
    key, record = min(found.items())
    return key, record.partition, orjson.loads(record.value or b"null"), record.value


@contextmanager
def following(worker: Worker) -> Iterator[subprocess.Popen[str]]:
    """``planner verify --follow`` beside everything else, every .6 s."""
    command = ["--broker", worker.broker, "--prefix", worker.prefix, "verify", "--follow", "0.01", "--json"]
    with subprocess.Popen(
        [sys.executable, "-m", "streams.cli", *command, "--patience", f"{PATIENCE_S}"],
        cwd=ROOT, env=environment(), stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def worker(broker_url: str, prefix: str, tmp_path: Path) -> Iterator[Worker]:
    with Worker(broker_url, prefix, tmp_path, "--clock", "event") as running:
        running.planner("publish", "-", stdin=EXAMPLES)
        yield running


async def test_a_running_worker_verifies_and_what_is_planted_is_named(worker: Worker) -> None:
    async with worker.client() as client:
        asked = verification(worker, client)
        with stream_of(worker, 0):
            assert (await asked.verify()).difference is None
            await asyncio.to_thread(worker.end, signal.SIGKILL)
            await asyncio.to_thread(worker.start)
            assert (await asked.verify()).difference is None
        await worker.settled(client)
        report = await asked.verify()
        assert (report.difference, report.in_motion, report.since, report.removed) == (None, {}, {}, {})
        assert report.published["forecasts"] > 50
        assert report.published["alerts"] > 10
        # offsets would count the markers of transactions too
        told = sum([len(chunk) async for chunk in client.read_chunks("outcomes")])
        assert report.ends["outcomes"] + report.repeated["outcomes"] == told
        await _plant_outcomes(client, asked)
        of_site = verification(worker, client, site="harbor")
        await _plant_published(client, of_site)
        await _plant_entry(client, of_site)
    # as a person asks, from the beginning
    code, said = await asyncio.to_thread(verify, worker)
    assert (code, said.splitlines()[-1]) == (1, "  found       refused planted"), "it still stands on its topic"


async def _plant_outcomes(client: LogClient, asked: Verification) -> None:
    """The same again is counted; one of an offset that has another is a difference."""
    outcome = [record async for record in client.read("outcomes") if b'"bookings"' in (record.value or b"")][-1]
    before = (await asked.verify()).repeated["outcomes"]
    await client.publish([Message("outcomes", outcome.key, outcome.value)])
    report = await asked.verify()
    assert (report.difference, report.repeated["outcomes"]) == (None, before + 1)
    body = orjson.loads(outcome.value or b"") | {"status": "refused", "reason": "planted"}
    await client.publish([Message("outcomes", outcome.key, orjson.dumps(body))])
    found = (await asked.verify()).difference
    at = f"bookings/{body['partition']}/{body['offset']}"
    assert found == Difference("outcomes", at, "", "applied", "refused planted")


async def _plant_published(client: LogClient, asked: Verification) -> None:
    for topic, prefix, field, value in (
        ("forecasts", composed_key("harbor", "item", ""), "unit", "barrels"),
        ("alerts", b"harbor/", "state", "snoozed"),
        ("proposals", composed_key("harbor", ""), "revision", 99),
    ):
        key, partition, body, was_value = await last_of(client, topic, prefix)
        await client.publish([Message(topic, key, orjson.dumps(body | {field: value}), partition)])
        found = (await asked.verify()).difference
        assert found is not None, topic
        was = orjson.dumps(body[field]).decode()
        assert (found.where, found.field, found.recomputed, found.found) == (
            topic, field, was, orjson.dumps(value).decode()
        )  # fmt: skip
        await client.publish([Message(topic, key, was_value, partition)])
    nothing = b"harbor/nothing/reorder/1"
    await client.publish([Message("alerts", nothing, b"{}")])
    found = (await asked.verify()).difference
    assert found == Difference("alerts", nothing.decode(), "", "(none)", "{}")
    await client.publish([Message("alerts", nothing, None)])
    assert (await asked.verify()).difference is None


async def _plant_entry(client: LogClient, asked: Verification) -> None:
    """An entry of the table is changed by hand; the position that follows makes it one of a chunk's."""
    changelog = names.changelog(names.PLAN)
    partition = partition_of(b"harbor", PARTITIONS)
    position = names.position_key("requirements")
    at = Message(changelog, position, (await client.latest(changelog, partition))[position].value, partition)
    key, _, body, _ = await last_of(client, changelog, composed_key("booking", "harbor", ""))
    ghost = composed_key("booking", "harbor", "~ghost")
    for planted, value, field, recomputed, told in (
        (key, orjson.dumps([*body[:5], "arrived", *body[6:]]), "status", f'"{body[5]}"', '"arrived"'),
        (key, None, "", orjson.dumps(body).decode(), "(none)"),
        (ghost, b"[1]", "", "(none)", "[1]"),
    ):
        await client.publish([Message(changelog, planted, value, partition), at])
        found = (await asked.verify()).difference
        name = planted.decode().replace("\x1f", " / ")
        assert found == Difference(f"plan-table/{partition}", name, field, recomputed, told)
        back = orjson.dumps(body) if planted == key else None
        await client.publish([Message(changelog, planted, back, partition), at])
    assert (await asked.verify()).difference is None


async def test_verify_follows_what_comes_until_it_differs(worker: Worker) -> None:
    async with worker.client() as client:
        with following(worker) as process:
            assert process.stdout is not None
            with stream_of(worker, 0):
                first, later = [orjson.loads(await asyncio.to_thread(process.stdout.readline)) for _ in range(2)]
            assert (first["difference"], later["difference"]) == (None, None)
            assert later["ends"]["outcomes"] > first["ends"]["outcomes"]
            # once its site is quiet: while bookings come in, what nobody published may yet be
            await client.publish([Message("alerts", b"harbor/nothing/reorder/1", b"{}")])
            *_, last = (await asyncio.to_thread(process.communicate, None, 60))[0].splitlines()
            assert process.returncode == 1
    found = orjson.loads(last)["difference"]
    assert (found["where"], found["key"], found["found"]) == ("alerts", "harbor/nothing/reorder/1", "{}")
