"""Chunks through Faust's own consumer, conductor and tables; each obstacle of stock Faust with its test.

In process, on the embedded log, with both agents counting; a test that would need a pause to pass hangs instead.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from faust.types import TP
from faust.types.tuples import ConsumerMessage

from config.settings import Settings
from planner.booking_step import BookingStep
from planner.step import Message
from planner.topics import CATALOGUE_KEY
from streams import metrics, names
from streams.delivery import consumer as delivery
from streams.delivery.assembly import PlannerApp, StepMaker, assemble
from streams.embedded.database import Database
from streams.log import LogBusy
from streams.topics import topic_specs
from tests.engine.counting import BUG, CountingStep, counting_app
from tests.engine.fakes import until
from tests.soak import history

PREFIX = "t."
PARTITIONS = 2
ABSENT_BOOKING = (
    b'{"event_id":"e","occurred_at":"2026-03-01T08:00:00Z","source":"test",'
    b'"type":"booking.cancelled","booking_id":"b-1","version":1}'
)
"""Well formed, and refused or not by what is known: it has an outcome."""


class Bench:
    """A log on disk, and settings to run apps over it."""

    def __init__(self, path: Path) -> None:
        self.settings = Settings(
            broker_url=f"sqlite:///{path}/planner.db",
            topic_prefix=PREFIX,
            partitions=PARTITIONS,
            chunk_max_records=10,
            retry_limit_s=1,
            forecast_interval_ms=1,
            durability="normal",
        )
        self.database = Database(path / "planner.db", durability="normal")
        specs = [(spec, f"{PREFIX}{spec.name}") for spec in topic_specs(self.settings)]
        self.database.ensure_topics(
            [type(spec)(name, *(getattr(spec, f) for f in spec.__slots__ if f != "name")) for spec, name in specs]
        )

    def publish(self, count: int, value: bytes = b"v", partition: int | None = None) -> None:
        self.database.append([Message("bookings", b"k%d" % n, value, partition) for n in range(count)], PREFIX)

    def publish_catalogue(self) -> None:
        messages = [Message("catalogue", CATALOGUE_KEY, b"{}", partition) for partition in range(PARTITIONS)]
        self.database.append(messages, PREFIX)

    @asynccontextmanager
    async def running(self, steps: Mapping[str, StepMaker] | None = None) -> AsyncIterator[PlannerApp]:
        app = counting_app(self.settings) if steps is None else assemble(self.settings, steps)
        await app.start()
        try:
            yield app
        finally:
            await app.stop()

    def counted(self, app: PlannerApp, agent: str) -> int:
        steps = app.engines[agent].steps.values()
        return sum(sum(step.counts.values()) for step in steps if isinstance(step, CountingStep))

    def committed(self) -> dict[tuple[str, int], int]:
        return self.database.committed(names.group_id(PREFIX))


@pytest.fixture
def bench(tmp_path: Path) -> Any:
    made = Bench(tmp_path)
    yield made
    made.database.close()


async def test_everything_published_is_counted_by_both_agents(bench: Bench) -> None:
    bench.publish(95)
    async with bench.running() as app:
        await until(lambda: bench.counted(app, names.PLAN) == 95)
        bench.publish(5)
        await until(lambda: bench.counted(app, names.PLAN) == 100)
        assert bench.counted(app, names.EXPAND) == 100


async def test_obstacle_1_commits_follow_every_chunk(bench: Bench) -> None:
    """Stock: the gap includes the message's own offset, so a commit advances one chunk at a time."""
    bench.publish(95)
    async with bench.running() as app:
        await until(lambda: bench.counted(app, names.PLAN) == 95)
        ends = bench.database.end_offsets(PREFIX + "bookings")
        consumer = app.consumer
        await until(lambda: not consumer._in_flight)
        offsets = consumer._filter_committable_offsets(list(consumer._filter_tps_with_pending_acks()))
        assert {tp.partition: end for tp, end in offsets.items() if tp.topic == PREFIX + "bookings"} == ends
    assert {p: bench.committed()[PREFIX + "bookings", p] for p in range(PARTITIONS)} == ends


async def test_obstacle_2_nothing_sleeps_while_partitions_are_busy(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stock sleeps a second whenever every partition is buffered. Here the wait is endless unless it is interrupted."""
    monkeypatch.setattr(delivery, "IDLE_WAIT_S", 3600.0)
    bench.publish(400)
    async with bench.running() as app:
        await until(lambda: bench.counted(app, names.PLAN) == 400)
        bench.publish(7)
        await until(lambda: bench.counted(app, names.PLAN) == 407)


async def test_obstacle_3_a_chunk_is_one_write(bench: Bench) -> None:
    """Stock sends a changelog message for each table write. Here a chunk's entries and offset are one transaction."""
    bench.publish(10, partition=0)
    async with bench.running() as app:
        await until(lambda: app.engines[names.EXPAND].applied_offset(TP(PREFIX + "bookings", 0)) == 10)
        pages: list[Any] = []
        deliver = app.outlet.deliver

        async def watched(page: Any) -> None:
            pages.append(page)
            await deliver(page)

        app.outlet.deliver = watched  # type: ignore[method-assign]
        bench.publish(10, partition=0)
        await until(lambda: bench.counted(app, names.EXPAND) == 20)
        await until(lambda: any(page.agent == names.EXPAND for page in pages))
        (page,) = [page for page in pages if page.agent == names.EXPAND]
        assert len(page.writes) == 10 + 10 + 1, "ten counts, ten traces, one position"
        assert len(page.messages) == 10 + 1, "ten messages, one entry of the journal"


async def test_obstacle_4_an_acknowledgement_from_before_a_seek_counts_for_nothing(bench: Bench) -> None:
    """Stock: a callback released after a seek overwrites the read offset; the commit jumps what was not processed."""
    async with bench.running() as app:
        consumer = app.consumer
        tp = TP(PREFIX + "bookings", 0)
        old, new = _message(tp, 4), _message(tp, 9)
        consumer._in_flight[tp] = old
        await consumer.seek_wait({tp: 0})
        assert not consumer.ack(old)
        assert tp not in consumer._committable
        consumer._in_flight[tp] = new
        assert not consumer.ack(_message(tp, 4))
        assert consumer.ack(new)
        assert consumer._committable[tp] == 10


def _message(tp: TP, offset: int) -> ConsumerMessage:
    return ConsumerMessage(tp.topic, tp.partition, offset, 0.0, 0, None, None, None, None, tp=tp)


async def test_obstacle_5_both_agents_get_the_catalogue_and_it_is_committed(bench: Bench) -> None:
    """Stock: a second channel on a topic is never read, nothing is acknowledged, everything stalls."""
    async with bench.running() as app:
        for round_ in range(1, 4):
            bench.publish_catalogue()
            bench.publish(20)
            await until(lambda r=round_: bench.counted(app, names.PLAN) == r * (20 + PARTITIONS))  # type: ignore[misc]
            assert bench.counted(app, names.EXPAND) == round_ * (20 + PARTITIONS)
        await until(lambda: not app.consumer._in_flight)
        tps = {TP(PREFIX + "catalogue", p) for p in range(PARTITIONS)}
        assert {tp: app.consumer._committable[tp] for tp in tps} == dict.fromkeys(tps, 3)


async def test_obstacle_6_a_record_that_fails_harms_no_other_of_its_chunk(bench: Bench) -> None:
    """Stock: what a handler raises for one record is the end of its chunk, and of the worker."""
    bundle = history.small_bundle()
    steps: dict[str, StepMaker] = {
        names.EXPAND: lambda partition: BookingStep(partition, PARTITIONS, bundle),
        names.PLAN: lambda partition: CountingStep(names.PLAN, partition),
    }
    bad = (b"{broken", b"[]", b"")
    values = [ABSENT_BOOKING if n % 3 else bad[n // 3] for n in range(9)]
    bench.database.append([Message("bookings", b"b-1", value, 0) for value in values], PREFIX)
    async with bench.running(steps) as app:
        # a worker that the record ends never comes there
        await until(lambda: app.engines[names.EXPAND].applied_offset(TP(PREFIX + "bookings", 0)) == 9, 10.0)
        assert app.crash_reason is None
    assert sum(bench.database.end_offsets(PREFIX + "outcomes").values()) == 9, "each record ended"
    assert sum(bench.database.end_offsets(PREFIX + "dead-letters").values()) == len(bad)


async def test_obstacle_7_a_bug_stops_the_worker_at_once_and_commits_nothing_of_the_chunk(bench: Bench) -> None:
    """Stock acknowledges the event and goes on, or never commits again and hangs in ``stop()``."""
    bench.publish(10, partition=0)
    async with bench.running() as app:
        await until(lambda: bench.counted(app, names.PLAN) == 10)
        bench.publish(3, partition=0)
        bench.publish(1, value=BUG, partition=0)
        async with asyncio.timeout(30):
            await app.wait_until_stopped()
        assert "ZeroDivisionError" in str(app.crash_reason)
    committed = bench.committed()[PREFIX + "bookings", 0]
    position = bench.database.get(PREFIX + names.changelog(names.EXPAND), 0, names.position_key("bookings"))
    assert position == b"%d" % committed
    assert committed < 14
    async with bench.running() as app:
        async with asyncio.timeout(30):
            await app.wait_until_stopped()
        assert "ZeroDivisionError" in str(app.crash_reason), "the record is met again: it was not skipped"


async def test_issue_596_nothing_comes_between_the_seek_and_the_clearing_of_queues(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stock resumes the inputs, seeks them, then clears the queues that they fill meanwhile: what came is lost."""
    seek, deliver = delivery.ChunkConsumer.perform_seek, delivery.ChunkConsumer._deliver
    seeking, early = [False], list[Any]()

    async def seek_and_linger(consumer: delivery.ChunkConsumer) -> None:
        seeking[0] = True
        await seek(consumer)
        await asyncio.sleep(0.2)  # so that whatever may be fetched by now is
        seeking[0] = False

    async def watched(consumer: delivery.ChunkConsumer, chunk: Any) -> None:
        if seeking[0]:
            early.append(chunk)
        await deliver(consumer, chunk)

    monkeypatch.setattr(delivery.ChunkConsumer, "perform_seek", seek_and_linger)
    monkeypatch.setattr(delivery.ChunkConsumer, "_deliver", watched)
    before = _gaps()
    bench.publish(1_000)
    async with bench.running() as app:
        for more_than in (0, 100):
            # the partitions are assigned anew in a backlog, with the fetcher under way, as after another worker's end
            await until(lambda least=more_than: least < bench.counted(app, names.EXPAND) < 1_000)  # type: ignore[misc]
            await app.consumer._assign(app.consumer.assignment())
        await until(lambda: bench.counted(app, names.PLAN) == 1_000)
        seen = [step.seen for step in app.engines[names.EXPAND].steps.values() if isinstance(step, CountingStep)]
        assert {count for times in seen for count in times.values()} == {1}
    assert early == []
    assert _gaps() == before, "nothing had to be read again either"


def _gaps() -> float:
    return sum(float(metrics.gaps.labels(agent)._value.get()) for agent in names.INPUTS)


async def test_one_chunk_in_flight_per_partition(bench: Bench) -> None:
    """What bounds the memory: a slow engine does not let chunks pile up."""
    gate = asyncio.Event()
    async with bench.running() as app:
        deliver = app.outlet.deliver

        async def slow(page: Any) -> None:
            await gate.wait()
            await deliver(page)

        app.outlet.deliver = slow  # type: ignore[method-assign]
        bench.publish(1000)
        consumer = app.consumer
        inputs = {TP(PREFIX + "bookings", p) for p in range(PARTITIONS)}
        await until(lambda: set(consumer._in_flight) == inputs)
        assert all(len(m.value.records) <= bench.settings.chunk_max_records for m in consumer._in_flight.values())
        assert not consumer._wanted() & inputs
        queued = sum(channel.queue.qsize() for channel in app.topics._topics)
        assert queued <= PARTITIONS
        gate.set()
        await until(lambda: bench.counted(app, names.PLAN) == 1000)


async def test_a_chunk_that_faust_drops_is_noticed_and_read_again(bench: Bench) -> None:
    """Whatever loses a chunk between consumer and engine, the next one does not meet the table's end."""
    async with bench.running() as app:
        consumer, dropped = app.consumer, []
        callback: Callable[[Any], Any] = consumer.callback

        async def lossy(message: Any) -> None:
            if message.topic == PREFIX + "bookings" and len(dropped) < 2:
                dropped.append(message)
                consumer._in_flight.pop(message.tp)
                return
            await callback(message)

        consumer.callback = lossy
        bench.publish(100, partition=0)
        await until(lambda: bench.counted(app, names.PLAN) == 100)
        assert len(dropped) == 2
        seen = [step.seen for step in app.engines[names.EXPAND].steps.values() if isinstance(step, CountingStep)]
        assert {count for times in seen for count in times.values()} == {1}


async def test_a_table_refuses_single_writes(bench: Bench) -> None:
    """They would bypass the position."""
    async with bench.running() as app:
        table = app.tables[names.table_name(names.EXPAND)]
        with pytest.raises(TypeError, match="written in pages"):
            table[b"k"] = b"v"


async def test_due_messages_come_after_their_chunk_and_survive_a_clean_stop(bench: Bench) -> None:
    bench.publish(30)
    async with bench.running() as app:
        await until(lambda: bench.counted(app, names.PLAN) == 30)
    forecasts = {key for p in range(PARTITIONS) for key, _ in bench.database.scan(PREFIX + "forecasts", p)}
    assert len(forecasts) == 30


async def test_a_log_that_cannot_be_read_for_a_moment_is_read_again(bench: Bench) -> None:
    async with bench.running() as app:
        fetch, faults = app.consumer._fetch, [LogBusy("once"), LogBusy("twice")]

        async def troubled(wanted: set[TP], timeout_s: float) -> Any:
            if faults:
                raise faults.pop()
            return await fetch(wanted, timeout_s)

        app.consumer._fetch = troubled
        bench.publish(20)
        await until(lambda: bench.counted(app, names.PLAN) == 20)
        assert faults == []
