"""Workers killed in the middle of a backlog, on both logs: every offset is applied exactly once to the tables.

Stock Faust loses 4–16 of 6,000 events in each such restart (issue 596); ``+= 1`` summed to 6,830.
"""

from __future__ import annotations

import random
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from streams import names
from streams.log import LogClient, open_client
from tests.engine.running import (
    CountingWorker,
    applied,
    check_every_offset,
    counts,
    make_topics,
    newest_forecasts,
    offsets_of,
    publish_bookings,
    wait_applied,
    wait_settled,
)

pytestmark = pytest.mark.slow


@pytest.fixture
async def client(broker_url: str, prefix: str) -> AsyncIterator[LogClient]:
    async with open_client(broker_url, prefix) as opened:
        await make_topics(opened, broker_url, prefix)
        yield opened


@pytest.fixture
def worker_of(broker_url: str, prefix: str, tmp_path: Path) -> Iterator[Callable[..., CountingWorker]]:
    made: list[CountingWorker] = []

    def make(name: str = "worker", **environment: str) -> CountingWorker:
        made.append(CountingWorker(broker_url, prefix, tmp_path / name, **environment))
        return made[-1]

    yield make
    for worker in made:
        worker.close()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_restarts_in_a_backlog(
    client: LogClient, worker_of: Callable[..., CountingWorker], number: signal.Signals
) -> None:
    total, rounds = 12_000, 4
    await publish_bookings(client, total)
    chance = random.Random(int(number))
    worker = worker_of()
    done = 0
    for _ in range(rounds):
        worker.start()
        # far enough that the worker is in full swing, not so far that nothing is left
        await wait_applied(client, names.EXPAND, "bookings", min(done + chance.randrange(1, 2000), total), worker)
        assert worker.end(number) == (0 if number == signal.SIGTERM else -signal.SIGKILL)
        done = await applied(client, names.EXPAND, "bookings")
    worker.start()
    await wait_applied(client, names.EXPAND, "bookings", total, worker)
    passed_on = sum(len(offsets) for offsets in (await offsets_of(client, "requirements")).values())
    assert passed_on == total, "a chunk's messages and its entries are there together or not at all"
    await wait_settled(client, names.PLAN, "requirements", worker)
    assert worker.end(signal.SIGTERM) == 0
    await check_every_offset(client, names.EXPAND, "bookings")
    await check_every_offset(client, names.PLAN, "requirements")


@pytest.mark.kafka
@pytest.mark.parametrize("broker_url", ["kafka"], indirect=True)
async def test_a_worker_without_its_disk_rebuilds_its_tables(
    client: LogClient, worker_of: Callable[..., CountingWorker]
) -> None:
    await publish_bookings(client, 3_000)
    worker = worker_of("first")
    worker.start()
    await wait_applied(client, names.EXPAND, "bookings", 3_000, worker)
    await wait_settled(client, names.PLAN, "requirements", worker)
    assert worker.end(signal.SIGTERM) == 0
    await publish_bookings(client, 1_000)
    other = worker_of("second")
    other.start()
    await wait_applied(client, names.EXPAND, "bookings", 4_000, other)
    await wait_settled(client, names.PLAN, "requirements", other)
    assert other.end(signal.SIGTERM) == 0
    await check_every_offset(client, names.EXPAND, "bookings")
    await check_every_offset(client, names.PLAN, "requirements")


@pytest.mark.kafka
@pytest.mark.parametrize("broker_url", ["kafka"], indirect=True)
async def test_workers_that_join_leave_and_are_killed(
    client: LogClient, worker_of: Callable[..., CountingWorker]
) -> None:
    """Rebalances with chunks in flight, with standby tables: the take-over loses and repeats nothing."""
    first = worker_of("first", PLANNER_STANDBY_REPLICAS="1")
    second = worker_of("second", PLANNER_STANDBY_REPLICAS="1")
    await publish_bookings(client, 6_000)
    first.start()
    await wait_applied(client, names.EXPAND, "bookings", 500, first)
    second.start()
    await publish_bookings(client, 6_000)
    await wait_applied(client, names.EXPAND, "bookings", 12_000, first, second)
    first.end(signal.SIGKILL)
    await publish_bookings(client, 6_000)
    await wait_applied(client, names.EXPAND, "bookings", 18_000, second)
    first.start()
    await publish_bookings(client, 6_000)
    await wait_applied(client, names.EXPAND, "bookings", 21_000, first, second)
    assert second.end(signal.SIGTERM) == 0
    await wait_applied(client, names.EXPAND, "bookings", 24_000, first)
    await wait_settled(client, names.PLAN, "requirements", first)
    assert first.end(signal.SIGTERM) == 0
    await check_every_offset(client, names.EXPAND, "bookings")
    await check_every_offset(client, names.PLAN, "requirements")


@pytest.mark.kafka
@pytest.mark.parametrize("broker_url", ["kafka"], indirect=True)
@pytest.mark.parametrize("point", ["begin", "send", "commit", "store"])
async def test_a_worker_that_hung_past_its_session_does_no_harm(
    client: LogClient, worker_of: Callable[..., CountingWorker], point: str
) -> None:
    """SIGSTOP in the middle of a transaction, another worker takes over, SIGCONT: what the zombie goes on to do is
    refused by the broker, whatever it believes; and it is a good worker again afterwards."""
    zombie = worker_of("zombie", arguments=(point, "10"))
    heir = worker_of("heir")
    await publish_bookings(client, 3_000)
    zombie.start()
    zombie.wait_said(f"stopping at {point}")
    heir.start()
    await wait_applied(client, names.EXPAND, "bookings", 3_000, heir)
    await wait_settled(client, names.PLAN, "requirements", heir)
    await publish_bookings(client, 1_000)
    assert zombie.process is not None
    zombie.process.send_signal(signal.SIGCONT)
    if point != "store":
        zombie.wait_said("partition_gone")
    zombie.wait_said("owns expand", times=2)
    await publish_bookings(client, 1_000)
    await wait_applied(client, names.EXPAND, "bookings", 5_000, heir, zombie)
    await wait_settled(client, names.PLAN, "requirements", heir, zombie)
    assert zombie.end(signal.SIGTERM) == 0
    assert heir.end(signal.SIGTERM) == 0
    await check_every_offset(client, names.EXPAND, "bookings")
    await check_every_offset(client, names.PLAN, "requirements")
    assert sum(len(offsets) for offsets in (await offsets_of(client, "requirements")).values()) == 5_000
    assert await newest_forecasts(client) == await counts(client, names.PLAN), "no forecast is a zombie's"


@pytest.mark.kafka
@pytest.mark.parametrize("broker_url", ["kafka"], indirect=True)
async def test_a_standby_takes_over_without_reading_the_changelog(
    client: LogClient, worker_of: Callable[..., CountingWorker]
) -> None:
    """What a take-over costs does not grow with the table: the copy is there, up to the last moments."""
    first = worker_of("first", PLANNER_STANDBY_REPLICAS="1")
    second = worker_of("second", PLANNER_STANDBY_REPLICAS="1")
    first.start()
    first.wait_said("started")
    second.start()
    second.wait_said("started")
    await publish_bookings(client, 6_000)
    await wait_applied(client, names.EXPAND, "bookings", 6_000, first, second)
    await wait_settled(client, names.PLAN, "requirements", first, second)
    written = sum(len(offsets) for offsets in (await offsets_of(client, names.changelog(names.EXPAND))).values())
    assert first.end(signal.SIGKILL) == -signal.SIGKILL
    for agent in (names.EXPAND, names.PLAN):
        second.wait_said(f"owns {agent} [0, 1, 2, 3]")
        assert second.read_for(agent) < written / 20, f"{agent} read {second.read_for(agent)} records, as in {written}"
    assert written > 6_000
    assert second.end(signal.SIGTERM) == 0
