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
    make_topics,
    publish_bookings,
    wait_applied,
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
    passed_on = sum((await client.end_offsets("requirements")).values())
    assert passed_on >= total
    if number == signal.SIGTERM:
        assert passed_on == total, "a clean stop publishes nothing twice"
    await wait_applied(client, names.PLAN, "requirements", passed_on, worker)
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
    await wait_applied(client, names.PLAN, "requirements", 3_000, worker)
    assert worker.end(signal.SIGTERM) == 0
    await publish_bookings(client, 1_000)
    other = worker_of("second")
    other.start()
    await wait_applied(client, names.PLAN, "requirements", 4_000, other)
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
    await wait_applied(
        client, names.PLAN, "requirements", sum((await client.end_offsets("requirements")).values()), first
    )
    assert first.end(signal.SIGTERM) == 0
    await check_every_offset(client, names.EXPAND, "bookings")
    await check_every_offset(client, names.PLAN, "requirements")


@pytest.mark.kafka
@pytest.mark.parametrize("broker_url", ["kafka"], indirect=True)
async def test_a_worker_that_hung_past_its_session_does_no_harm(
    client: LogClient, worker_of: Callable[..., CountingWorker]
) -> None:
    """SIGSTOP, another worker takes over, SIGCONT: the zombie writes nothing for what is no longer its own."""
    zombie, heir = worker_of("zombie"), worker_of("heir")
    await publish_bookings(client, 8_000)
    zombie.start()
    await wait_applied(client, names.EXPAND, "bookings", 500, zombie)
    assert zombie.process is not None
    zombie.process.send_signal(signal.SIGSTOP)
    heir.start()
    await wait_applied(client, names.EXPAND, "bookings", 8_000, heir)
    await publish_bookings(client, 2_000)
    zombie.process.send_signal(signal.SIGCONT)
    await wait_applied(client, names.EXPAND, "bookings", 10_000, heir)
    await publish_bookings(client, 2_000)
    await wait_applied(client, names.EXPAND, "bookings", 12_000, heir)
    await wait_applied(
        client, names.PLAN, "requirements", sum((await client.end_offsets("requirements")).values()), heir
    )
    zombie.end(signal.SIGTERM)
    assert heir.end(signal.SIGTERM) == 0
    await check_every_offset(client, names.EXPAND, "bookings")
    await check_every_offset(client, names.PLAN, "requirements")
