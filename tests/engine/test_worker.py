"""The worker as a whole, with the real steps: what it says and does when things are well, and when they are not."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from config.load import load_catalogue
from config.settings import DEFAULT_CATALOGUE_DIR, Settings
from planner.catalogue.digest import version_of
from planner.catalogue.model import Bundle
from planner.events.control import CLOCK_EVENTS
from planner.step import Message, Record
from planner.topics import CATALOGUE_KEY
from streams import worker
from streams.clock import ticks
from streams.delivery.assembly import PlannerApp
from streams.log import LogClient, open_client
from streams.topics import security_of, topic_specs
from tests.kafka_broker import SCRAM_PASSWORD, SCRAM_USER, KafkaCluster

PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    found = load_catalogue(DEFAULT_CATALOGUE_DIR).bundle
    assert found is not None
    return found


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(broker_url=f"sqlite:///{tmp_path}/planner.db", durability="normal", partitions=2)


@pytest.fixture(autouse=True)
def quiet_again() -> Iterator[None]:
    """A worker configures the logs of the whole process."""
    import logging  # noqa: PLC0415

    import structlog  # noqa: PLC0415

    handlers, level = logging.getLogger().handlers[:], logging.getLogger().level
    yield
    logging.getLogger().handlers[:] = handlers
    logging.getLogger().setLevel(level)
    structlog.reset_defaults()


def client_of(settings: Settings) -> Any:
    return open_client(settings.broker_url, settings.topic_prefix)


@asynccontextmanager
async def running(settings: Settings, bundle: Bundle | None = None) -> Any:
    """A worker in this process; yields its app and a call that stops it and returns its exit code."""
    apps: asyncio.Queue[PlannerApp] = asyncio.Queue()
    task = asyncio.ensure_future(worker.run_worker(settings, bundle, started=apps.put_nowait))
    started = asyncio.ensure_future(apps.get())
    try:
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.wait({task, started}, return_when=asyncio.FIRST_COMPLETED)
        if not started.done():
            raise AssertionError(f"the worker ended with {await task}")

        async def stop() -> int:
            if not task.done():
                os.kill(os.getpid(), signal.SIGTERM)
            async with asyncio.timeout(PATIENCE_S):
                return await task

        yield started.result(), stop, task
        await stop()
    finally:
        started.cancel()
        if not task.done():
            task.cancel()


async def wait_for(client: LogClient, topic: str, count: int) -> list[Record]:
    """The first records of a topic, as soon as there are so many."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            records = [record async for record in client.read(topic)]
            if len(records) >= count:
                return records
            await asyncio.sleep(0.02)


def booking(number: int, **changes: Any) -> Message:
    event = {
        "event_id": f"e-{number}",
        "occurred_at": "2026-03-01T08:00:00Z",
        "source": "test",
        "type": "booking.booked",
        "booking_id": f"b-{number}",
        "version": 1,
        "site": "north",
        "protocol": "magnesium",
        "start": "2026-03-06T12:00:00+01:00",
        **changes,
    }
    return Message("bookings", f"b-{number}".encode(), orjson.dumps(event))


@pytest.fixture
def on_log(broker_url: str, prefix: str, tmp_path: Path) -> Settings:
    """Settings for a log of each kind."""
    return Settings(broker_url=broker_url, topic_prefix=prefix, data_dir=tmp_path / "data", partitions=2)


async def test_bookings_become_requirements_and_forecasts_and_bad_ones_harm_nothing(
    on_log: Settings, bundle: Bundle
) -> None:
    settings = on_log
    async with running(settings, bundle) as (_, stop, _), client_of(settings) as client:
        await client.publish(
            [booking(1), Message("bookings", b"b-2", b"{broken"), booking(3, site="nowhere"), booking(4)]
        )
        # the catalogue's records have outcomes too
        told = await wait_for(client, "outcomes", 4 + settings.partitions)
        outcomes = [orjson.loads(record.value or b"") for record in told]
        bookings = [o for o in outcomes if o["topic"] == "bookings"]
        assert sorted(o["status"] for o in bookings) == ["applied", "applied", "dead-lettered", "refused"]
        (dead,) = await wait_for(client, "dead-letters", 1)
        assert (dead.key, dead.value) == (b"b-2", b"{broken")
        await wait_for(client, "requirements", 2)
        await wait_for(client, "forecasts", 1)
        assert await stop() == worker.STOPPED


async def test_the_wall_clock_is_told_to_every_partition(settings: Settings, bundle: Bundle) -> None:
    async with running(settings, bundle), client_of(settings) as client:
        told = await wait_for(client, "clock", settings.partitions)
        assert {record.partition for record in told} == set(range(settings.partitions))


def test_ticks_are_equal_for_equal_instants() -> None:
    at = datetime(2026, 3, 1, 8, 0, 0, 123456, tzinfo=UTC)
    assert ticks(at, 3) == ticks(at.replace(microsecond=9), 3)
    events = [CLOCK_EVENTS.validate_json(message.value or b"") for message in ticks(at, 3)]
    assert {event.now for event in events} == {datetime(2026, 3, 1, 8, tzinfo=UTC)}
    assert len({event.event_id for event in events}) == 3


async def test_in_event_mode_no_time_is_told(settings: Settings, bundle: Bundle) -> None:
    by_events = settings.model_copy(update={"clock": "event"})
    async with running(by_events, bundle) as (_, stop, _), client_of(settings) as client:
        await client.publish([booking(1)])
        told = await wait_for(client, "requirements", settings.partitions + 1)
        assert sum((await client.end_offsets("clock")).values()) == 0
        assert await stop() == worker.STOPPED
    bodies = [(record.partition, orjson.loads(record.value or b"")) for record in told]
    hours = [(partition, body) for partition, body in bodies if body["type"] == "clock.ticked"]
    assert sorted(partition for partition, _ in hours) == list(range(settings.partitions))
    assert len({body["source"] for _, body in hours}) == 1


async def test_a_second_worker_is_told_who_has_the_file(
    settings: Settings, bundle: Bundle, capfd: pytest.CaptureFixture[str]
) -> None:
    async with running(settings, bundle):
        code = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "streams.cli", "--broker", settings.broker_url, "run", stderr=asyncio.subprocess.PIPE
        )
        _, errors = await code.communicate()
        assert code.returncode == worker.LOG_FAILED
        assert f"another worker has this log (process {os.getpid()}" in errors.decode()


async def test_a_faulty_catalogue_starts_no_worker(
    settings: Settings, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    directory = tmp_path / "catalogue"
    shutil.copytree(DEFAULT_CATALOGUE_DIR, directory)
    sites = directory / "sites.yaml"
    sites.write_text(sites.read_text().replace("- id: north", "- idd: north", 1))
    faulty = settings.model_copy(update={"catalogue_dir": directory})
    assert await worker.run_worker(faulty) == worker.FAULTY
    assert "sites.yaml" in capfd.readouterr().err
    async with client_of(settings) as client:
        assert await client.latest("catalogue") == {}


async def test_the_catalogue_of_the_log_wins(settings: Settings, bundle: Bundle) -> None:
    async with client_of(settings) as client:
        await client.ensure_topics(topic_specs(settings))
        other = bundle.model_copy(update={"sites": bundle.sites[:1]})
        other = other.model_copy(update={"version": version_of(other)})
        # as a worker leaves it that was killed between two partitions
        await client.publish([Message("catalogue", CATALOGUE_KEY, other.model_dump_json().encode(), 1)])
        assert (await worker.settle_catalogue(client, settings, bundle)).version == other.version
        for partition in range(settings.partitions):
            record = (await client.latest("catalogue", partition))[CATALOGUE_KEY]
            assert orjson.loads(record.value or b"")["version"] == other.version
        before = await client.end_offsets("catalogue")
        await worker.settle_catalogue(client, settings, bundle)
        assert await client.end_offsets("catalogue") == before


async def test_a_faulty_catalogue_on_the_log_hides_no_good_one(settings: Settings, bundle: Bundle) -> None:
    """Compaction may have left nothing but the faulty record: then the tables still have what they adopted."""
    other = bundle.model_copy(update={"sites": bundle.sites[:1]})
    other = other.model_copy(update={"version": version_of(other)})
    async with running(settings, other) as (_, stop, _), client_of(settings) as client:
        await wait_for(client, "outcomes", settings.partitions)
        await client.publish([Message("catalogue", CATALOGUE_KEY, b"{nonsense", p) for p in range(settings.partitions)])
        await wait_for(client, "dead-letters", settings.partitions)
        assert await stop() == worker.STOPPED
        assert (await worker.settle_catalogue(client, settings, bundle)).version == other.version
        for partition in range(settings.partitions):
            record = (await client.latest("catalogue", partition))[CATALOGUE_KEY]
            assert orjson.loads(record.value or b"")["version"] == other.version, "it is put there again"


async def test_a_broker_that_is_not_there_is_said_and_waited_for(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert worker.CONNECT_S < 10, "it is to be said within 10 s"
    monkeypatch.setattr(worker, "CONNECT_S", 0.3)
    monkeypatch.setattr(worker, "PAUSE_S_MAX", 0.1)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        nobody = Settings(broker_url=f"kafka://127.0.0.1:{unused.getsockname()[1]}")
        task = asyncio.ensure_future(worker.run_worker(nobody))
        said = ""
        async with asyncio.timeout(PATIENCE_S):
            while said.count("broker_not_there") < 2:
                await asyncio.sleep(0.05)
                said += capfd.readouterr().err
        os.kill(os.getpid(), signal.SIGTERM)
        assert await task == worker.STOPPED


async def test_a_full_disk_stops_the_worker_cleanly_and_room_lets_it_go_on(
    settings: Settings, bundle: Bundle, capfd: pytest.CaptureFixture[str]
) -> None:
    async with running(settings, bundle) as (app, stop, task), client_of(settings) as client:
        await wait_for(client, "clock", settings.partitions)
        # SQLite's own way to have no room: this connection may not let the file grow
        pages = app.parts._log._writer.connection.execute("PRAGMA page_count").fetchone()[0]
        app.parts._log._writer.connection.execute(f"PRAGMA max_page_count = {pages}")
        await client.publish([booking(n) for n in range(2000)])
        async with asyncio.timeout(PATIENCE_S):
            assert await task == worker.LOG_FAILED
    assert "no room on the disk" in capfd.readouterr().err
    async with running(settings, bundle) as (_, stop, _), client_of(settings) as client:
        outcomes = await wait_for(client, "outcomes", 2000 + settings.partitions)
        assert await stop() == worker.STOPPED
    applied = [o["booking_id"] for o in (orjson.loads(r.value or b"") for r in outcomes) if o["topic"] == "bookings"]
    assert sorted(applied) == sorted(f"b-{n}" for n in range(2000)), "each booking has exactly one outcome"


async def test_health_readiness_liveness_and_metrics(settings: Settings, bundle: Bundle) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    served = settings.model_copy(update={"http_port": port})
    url = f"http://127.0.0.1:{port}"
    async with (
        running(served, bundle) as (app, stop, _),
        client_of(settings) as client,
        aiohttp.ClientSession() as http,
    ):
        await client.publish([booking(1)])
        await wait_for(client, "requirements", 1)
        assert await _get(http.get, f"{url}/healthz") == (200, {"status": "up"})
        assert await _get(http.get, f"{url}/readyz") == (200, {"ready": True})
        assert (await _get(http.get, f"{url}/livez"))[0] == 200
        async with http.get(f"{url}/metrics") as answer:
            text = await answer.text()
        for name in (
            "planner_events_total",
            "planner_lag_records",
            "planner_chunk_records_bucket",
            "planner_ready 1.0",
        ):
            assert name in text, name
        assert 'planner_state{agent="plan",partition=' in text
        # records wait and none is applied: not live
        app.consumer.stalled_s = lambda: served.liveness_limit_s + 1
        assert (await _get(http.get, f"{url}/livez"))[0] == 503
        for closed in ("/", "/router/", "/table/", "/stats/"):
            assert (await _get(http.get, url + closed))[0] == 404, closed
        assert await stop() == worker.STOPPED


async def _get(get: Callable[[str], Any], url: str) -> tuple[int, Any]:
    async with get(url) as answer:
        body: Awaitable[bytes] = answer.read()
        content = await body
    return answer.status, orjson.loads(content) if answer.content_type == "application/json" else content


async def test_a_port_in_use_is_said(settings: Settings, bundle: Bundle, capfd: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        served = settings.model_copy(update={"http_port": taken.getsockname()[1]})
        assert await worker.run_worker(served, bundle) == worker.LOG_FAILED
    assert "cannot listen on" in capfd.readouterr().err


async def test_a_stop_that_hangs_is_given_up(
    settings: Settings, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(self: PlannerApp) -> None:
        await asyncio.Event().wait()

    impatient = settings.model_copy(update={"shutdown_timeout_s": 0.1})
    async with running(impatient, bundle) as (_, stop, _):
        monkeypatch.setattr(PlannerApp, "on_stop", hang)
        assert await stop() == worker.HUNG


@pytest.mark.kafka
async def test_a_worker_speaks_tls_and_proves_who_it_is(
    kafka_of: Callable[..., KafkaCluster], bundle: Bundle, tmp_path: Path
) -> None:
    cluster = kafka_of(secured=True)
    settings = Settings(
        broker_url=f"kafka://{cluster.secure_bootstrap}",
        data_dir=tmp_path,
        partitions=1,
        security_protocol="SASL_SSL",
        sasl_mechanism="SCRAM-SHA-512",
        sasl_username=SCRAM_USER,
        sasl_password=SCRAM_PASSWORD,
        ssl_ca_file=cluster.ca_file,
    )
    client = open_client(settings.broker_url, settings.topic_prefix, security=security_of(settings))
    async with running(settings, bundle) as (_, stop, _), client as log:
        await log.publish([booking(1)])
        await wait_for(log, "requirements", 1)
        assert await stop() == worker.STOPPED
