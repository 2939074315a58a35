"""Bad input, through a real worker: a clear error for each, and nothing else is harmed.

Every bad record stands between two good events on the same partition of the same topic.
"""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import subprocess
import time
import unicodedata
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import orjson
import pytest

from config.load import DEFAULT_CATALOGUE
from planner.step import Message, Record
from planner.topics import CATALOGUE_KEY
from streams.log import LogClient, RecordTooLarge, TopicSpec, partition_of
from tests.integration.bad_events import BAD, OCCURRED_AT, VIAL, Bad, Json, booking, stock
from tests.kafka_broker import KafkaCluster
from tests.worker import PATIENCE_S, Worker

pytestmark = pytest.mark.slow

MEGABYTES_10 = 10 * 1024 * 1024
_numbers = count(1)

Where = tuple[str, int, int]


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    """One worker for all the cases: whatever it was told before, the next good event must be well."""
    directory = tmp_path_factory.mktemp("bad-input")
    with Worker(f"sqlite:///{directory}/planner.db", "bad.", directory, "--clock", "event") as running:
        yield running


@pytest.fixture
async def client(worker: Worker) -> AsyncIterator[LogClient]:
    async with worker.client() as opened:
        yield opened


# --- sending and reading ----------------------------------------------------------------------------------


def message(event: Json, topic: str = "bookings") -> Message:
    name = event["booking_id"] if topic == "bookings" else event["site"]
    return Message(topic, unicodedata.normalize("NFC", name).encode(), orjson.dumps(event))


async def good_message(client: LogClient, topic: str, key: bytes) -> Message:
    """An event in which nothing is wrong, on the partition to which ``key`` goes."""
    if topic == "bookings":
        partitions = await client.partitions(topic)
        wanted = partition_of(key, partitions)
        names = (f"good-{next(_numbers)}" for _ in iter(int, 1))
        return message(booking(next(name for name in names if partition_of(name.encode(), partitions) == wanted)))
    number = next(_numbers)
    site = key.decode() if key in {b"north", b"harbor"} else "north"
    if topic == "orders":
        event = {
            "type": "order.placed", "event_id": f"good-{number}", "occurred_at": OCCURRED_AT, "source": "test",
            "site": site, "order_id": f"po-good-{number}", "supplier": "supply-house",
            "lines": [{"item": "saline-flush-10ml", "quantity": 1}],
        }  # fmt: skip
    else:
        event = stock(f"good-{number}", site=site)
    return message(event, "orders" if topic == "orders" else "stock")


async def outcomes(worker: Worker, client: LogClient, *messages: Message) -> list[dict[str, Any]]:
    """Publish, and what became of each; each has exactly one outcome."""
    start = await client.end_offsets("outcomes")
    placed: list[Where] = [
        (message.topic, partition, offset)
        for message, (partition, offset) in zip(messages, await client.publish(messages), strict=True)
    ]
    await worker.settled(client)
    found: dict[Where, list[dict[str, Any]]] = {where: [] for where in placed}
    async for record in client.read("outcomes", start):
        outcome = orjson.loads(record.value or b"")
        where = (outcome["topic"], outcome["partition"], outcome["offset"])
        if where in found:
            found[where].append(outcome)
    assert all(len(told) == 1 for told in found.values()), found
    return [found[where][0] for where in placed]


async def dead_letter(client: LogClient, outcome: dict[str, Any]) -> Record:
    """The dead letter of an outcome, found by the coordinates in its headers."""
    letters = []
    async for record in client.read("dead-letters"):
        headers = dict(reversed(record.headers))  # the first of a name is ours
        where = (headers["topic"].decode(), int(headers["partition"]), int(headers["offset"]))
        if where == (outcome["topic"], outcome["partition"], outcome["offset"]):
            letters.append(record)
    (letter,) = letters
    return letter


def applied(outcome: dict[str, Any]) -> bool:
    return bool(outcome["status"] == "applied")


# --- the list ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.name)
async def test_a_bad_event_between_two_good_ones(worker: Worker, client: LogClient, bad: Bad) -> None:
    record = Message(bad.topic, bad.record_key, bad.value)
    before, after = [await good_message(client, bad.topic, bad.record_key) for _ in range(2)]
    first = [message(event, bad.topic) for event in bad.first]
    *earlier, outcome, last = await outcomes(worker, client, before, *first, record, after)
    assert all(map(applied, earlier)), earlier
    assert applied(last), last
    assert (outcome["status"], outcome.get("reason")) == (bad.status, bad.reason), outcome
    detail = outcome.get("detail") or ""
    assert detail.isprintable(), detail
    for text in bad.says:
        assert text in detail, f"{text!r} is not in {detail!r}"
    if bad.status == "dead-lettered":
        letter = await dead_letter(client, outcome)
        assert (letter.key, letter.value) == (bad.record_key, bad.value)
        headers = dict(reversed(letter.headers))
        assert (headers["reason"].decode(), headers["detail"].decode()) == (bad.reason, detail)


async def test_unicode_that_can_be_printed_is_fine_and_is_one_id_however_it_is_composed(
    worker: Worker, client: LogClient
) -> None:
    name = "sitzung-ü-漢字-😀"
    composed, decomposed = unicodedata.normalize("NFC", name), unicodedata.normalize("NFD", name)
    assert composed != decomposed
    first, second = await outcomes(
        worker, client, message(booking(composed)), message(booking(decomposed, event_id="other", version=2))
    )
    assert applied(first)
    assert applied(second), second
    assert first["booking_id"] == second["booking_id"] == composed
    (needed,) = worker.asked("requirements", decomposed)
    assert needed["booking_id"] == composed


async def test_ten_megabytes_are_refused_by_the_client_and_kept_as_a_dead_letter_if_they_get_through(
    worker: Worker, client: LogClient
) -> None:
    await check_ten_megabytes(worker, client)


@pytest.mark.kafka
async def test_ten_megabytes_on_kafka(kafka: KafkaCluster, prefix: str, tmp_path: Path) -> None:
    with Worker(kafka.url, prefix, tmp_path, "--clock", "event") as worker:
        async with worker.client() as client:
            await check_ten_megabytes(worker, client)


async def check_ten_megabytes(worker: Worker, client: LogClient) -> None:
    huge = orjson.dumps(booking("bk-huge", source="x" * MEGABYTES_10))
    with pytest.raises(RecordTooLarge, match=rf"bookings.*{len(huge) // 1000 % 1000}"):
        await client.publish([Message("bookings", b"bk-huge", huge)])
    said = await asyncio.to_thread(worker.planner, "publish", "-", stdin=huge)
    assert said.returncode == 7
    assert "bytes" in said.stderr
    assert len(said.stderr) < 1_000, "the error does not repeat the message"
    # someone else's topic settings let it through
    partitions = await client.partitions("bookings")
    await client.ensure_topics(
        [TopicSpec("bookings", partitions, compacted=False, max_message_bytes=MEGABYTES_10 * 3 // 2)]
    )
    before, after = [await good_message(client, "bookings", b"bk-huge") for _ in range(2)]
    async with worker.client() as fresh:  # that has read the new limit
        one, outcome, two = await outcomes(worker, fresh, before, Message("bookings", b"bk-huge", huge), after)
    assert applied(one)
    assert applied(two)
    assert (outcome["status"], outcome["reason"]) == ("dead-lettered", "too-large")
    assert str(len(huge)) in outcome["detail"]
    assert "1048576" in outcome["detail"]
    letter = await dead_letter(client, outcome)
    assert letter.value == huge
    assert letter.key == b"bk-huge"


async def test_after_all_of_it_the_state_is_that_of_the_good_events(worker: Worker, client: LogClient) -> None:
    """Every booking that was applied is there, and no other; every container received, and no more."""
    assert all(
        map(
            applied,
            await outcomes(
                worker, client, message(booking("the-last-one")), await good_message(client, "stock", b"north")
            ),
        )
    )
    outcome_of: dict[Where, str] = {}
    async for record in client.read("outcomes"):
        told = orjson.loads(record.value or b"")
        outcome_of[told["topic"], told["partition"], told["offset"]] = told["status"]
    received = 0
    async for record in client.read("stock"):
        if outcome_of["stock", record.partition, record.offset] == "applied":
            event = orjson.loads(record.value or b"")
            if event["site"] == "north":
                received += event["quantity"]
    (vial,) = [row for row in worker.asked("stock", "north") if row["item"] == VIAL]
    assert vial["on_hand"] == received > 0
    alive = set()
    async for record in client.read("bookings"):
        if outcome_of["bookings", record.partition, record.offset] == "applied":
            event = orjson.loads(record.value or b"")
            name = unicodedata.normalize("NFC", event["booking_id"])
            alive.discard(name) if event["type"] == "booking.cancelled" else alive.add(name)
    (forecast,) = worker.asked("forecasts", "--site", "north", "--item", "primary-set-15gtt")
    # one set for each session; before anything is learned, most of them are expected to take place
    assert forecast["first_day"] == "2026-03-02"
    assert 0.85 * len(alive) <= forecast["firm_mean"][3] <= 0.95 * len(alive)


# --- catalogue --------------------------------------------------------------------------------------------


async def test_a_catalogue_edited_into_nonsense_does_not_replace_the_good_one(
    worker: Worker, client: LogClient, tmp_path: Path
) -> None:
    (before,) = worker.asked("catalogue", "show")
    edited = tmp_path / "catalogue"
    shutil.copytree(DEFAULT_CATALOGUE, edited)
    file = edited / "protocols" / "maintenance.yaml"
    text = file.read_text()
    file.write_text(text.replace("component: eptinezumab", "component: moon-dust").replace("2 g", "2 mEqq"))
    sites = edited / "sites.yaml"
    sites.write_text(sites.read_text().replace("first_stick_probability: 0.80", "first_stick_probability: 1.80"))
    said = worker.planner("catalogue", "apply", str(edited))
    assert said.returncode == 1
    for part in ("maintenance.yaml", "moon-dust", "mEqq", "sites.yaml", "first_stick_probability", "1.8"):
        assert part in said.stdout, f"{part} is not in {said.stdout}"
    assert worker.asked("catalogue", "show")[0]["version"] == before["version"]

    # past the command, straight to the topic: one that cannot work, one of the wrong shape, one that is no JSON
    broken = orjson.loads(orjson.dumps(before))
    broken["version"] = "nonsense-1"
    broken["protocols"][0]["versions"][0]["lines"][0]["component"] = "moon-dust"
    shapeless = orjson.loads(orjson.dumps(before)) | {"version": "nonsense-2", "sites": "none"}
    for value, says in [
        (orjson.dumps(broken), "moon-dust"),
        (orjson.dumps(shapeless), "sites"),
        (b"{nonsense", ""),
    ]:
        partitions = await client.partitions("catalogue")
        one = await good_message(client, "bookings", b"any")
        other = await good_message(client, "bookings", b"any")
        first, *told, last = await outcomes(
            worker, client, one, *(Message("catalogue", CATALOGUE_KEY, value, p) for p in range(partitions)), other
        )
        assert {outcome["status"] for outcome in told} == {"dead-lettered"}, told
        assert all(says in outcome["detail"] for outcome in told), told
        assert applied(first)
        assert applied(last)
        assert first["catalogue_version"] == last["catalogue_version"] == before["version"]
    # nonsense is now the last of the compacted topic, and yet
    assert worker.asked("catalogue", "show")[0]["version"] == before["version"]
    assert worker.planner("stock", "north").returncode == 0
    assert worker.end() == 0
    worker.start()
    (outcome,) = await outcomes(worker, client, await good_message(client, "bookings", b"any"))
    assert applied(outcome)
    assert outcome["catalogue_version"] == before["version"]


# --- the log itself ---------------------------------------------------------------------------------------


async def test_a_second_worker_on_the_same_file_is_refused_and_told_who_has_it(
    worker: Worker, client: LogClient, tmp_path: Path
) -> None:
    assert worker.process is not None
    second = Worker(worker.broker, worker.prefix, tmp_path).start(ready=False)
    try:
        assert second.process is not None
        assert second.process.wait(PATIENCE_S) == 7
    finally:
        second.close()
    assert f"another worker has this log (process {worker.process.pid}" in second.said()
    (outcome,) = await outcomes(worker, client, await good_message(client, "bookings", b"any"))
    assert applied(outcome), "the first one goes on"


@pytest.mark.kafka
async def test_a_broker_that_is_not_there_is_said_and_waited_for(
    kafka_of: Callable[..., KafkaCluster], prefix: str, tmp_path: Path
) -> None:
    cluster = kafka_of()
    cluster.terminate(0)
    worker = Worker(cluster.url, prefix, tmp_path, "--clock", "event")
    started_s = time.monotonic()
    worker.start(ready=False)
    try:
        worker.until(lambda: "broker_not_there" in worker.said(), "it says that the broker is not there")
        # the one duration that is a promise: "says so within 10 s"
        assert time.monotonic() - started_s < 10
        assert cluster.url in worker.said()
        worker.until(lambda: worker.said().count("broker_not_there") > 1, "it tries again")
        said = await asyncio.to_thread(worker.planner, "forecasts")
        assert said.returncode == 7
        assert cluster.bootstrap in said.stderr
        cluster.restart(0)
        worker.until(worker.ready, "the broker is there, so it is ready")
        async with worker.client() as client:
            (outcome,) = await outcomes(worker, client, message(booking("bk-patience")))
            assert applied(outcome)
        assert worker.end() == 0
    finally:
        worker.close()


@contextmanager
def small_disk(directory: Path, megabytes: int) -> Iterator[Path]:
    """A file system of its own with so much room; skips where we may not mount one."""
    directory.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(directory)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if mounted.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    try:
        yield directory
    finally:
        subprocess.run(["umount", str(directory)], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
async def test_a_full_disk_is_said_and_once_there_is_room_everything_goes_on(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", megabytes=24) as disk:
        # its own log file lies elsewhere: it is to be able to say so
        worker = Worker(f"sqlite:///{disk}/planner.db", "full.", tmp_path / "worker", "--clock", "event").start()
        filler = disk / "filler"
        try:
            async with worker.client() as client:
                (outcome,) = await outcomes(worker, client, message(booking("bk-before")))
                assert applied(outcome)
            _fill(filler)
            events = [orjson.dumps(booking(f"bk-full-{n}")) for n in range(20_000)]
            said = await asyncio.to_thread(worker.planner, "publish", "-", "--no-wait", stdin=b"\n".join(events))
            assert said.returncode == 7, said.stdout + said.stderr
            assert "no room on the disk" in said.stderr
            assert worker.process is not None
            if await _ended(worker):
                assert "no room on the disk" in worker.said()
            filler.unlink()
            if not worker.running:
                worker.end()
                worker.start()
            async with worker.client() as client:
                (outcome,) = await outcomes(worker, client, message(booking("bk-after")))
                assert applied(outcome)
                await _check_all_answered(client, "bookings")
            assert worker.end() == 0
        finally:
            worker.close()


def _fill(filler: Path) -> None:
    """Leave no room at all."""
    with filler.open("wb", buffering=0) as target:
        block = b"x" * 4096
        while True:
            try:
                target.write(block)
            except OSError as error:
                assert error.errno == errno.ENOSPC
                return


async def _ended(worker: Worker) -> bool:
    """Whether the worker gives up; one that has nothing to write does not notice, and goes on."""
    async with worker.client() as client:
        try:
            await worker.settled(client)
        except AssertionError:
            if worker.running:
                raise
            return True
    return False


async def _check_all_answered(client: LogClient, topic: str) -> None:
    answered: dict[Where, set[bytes]] = {}
    async for record in client.read("outcomes"):
        outcome = orjson.loads(record.value or b"")
        if outcome["topic"] == topic:
            answered.setdefault((topic, outcome["partition"], outcome["offset"]), set()).add(record.value or b"")
    ends = await client.end_offsets(topic)
    assert set(answered) == {(topic, p, n) for p, end in ends.items() for n in range(end)}
    assert all(len(told) == 1 for told in answered.values()), "an outcome that is told again is the same"
