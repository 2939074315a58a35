"""The one writer of a partition, on real Kafka: what its successor's start does to it, and a stalled broker."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError, KafkaError

from planner.step import Message, Record
from streams.delivery.outlet import Fenced, Page
from streams.kafka.outlet import VOID, KafkaOutlet
from streams.kafka.writer import BATCH_BYTES_MAX, PartitionWriter
from streams.log import LogClient, LogUnavailable, TopicSpec, open_client
from tests.kafka_broker import KafkaCluster

pytestmark = pytest.mark.kafka


def ours() -> bool:
    return True


class Stores:
    """Remembers what a store is given."""

    def __init__(self) -> None:
        self.written: list[tuple[int, Mapping[bytes, bytes | None], int]] = []

    def write(self, partition: int, writes: Mapping[bytes, bytes | None], offset: int) -> None:
        self.written.append((partition, writes, offset))


class Rig:
    """Topics ``out`` and ``log``, and outlets as different workers have them."""

    def __init__(self, cluster: KafkaCluster, prefix: str, client: LogClient) -> None:
        self.cluster, self.prefix, self.client = cluster, prefix, client
        self.stores = Stores()
        self.rejoins = 0
        self.outlets: list[KafkaOutlet] = []

    def writer(self) -> PartitionWriter:
        return PartitionWriter(f"{self.prefix}writer", {"bootstrap_servers": self.cluster.bootstrap})

    def outlet(self, retry_limit_s: float = 60.0) -> KafkaOutlet:
        def rejoin() -> None:
            self.rejoins += 1

        stores: Any = self.stores
        self.outlets.append(
            KafkaOutlet(
                lambda agent: stores,
                prefix=self.prefix,
                group=f"{self.prefix}group",
                parameters={"bootstrap_servers": self.cluster.bootstrap, "request_timeout_ms": 3_000},
                retry_limit_s=retry_limit_s,
                rejoin=rejoin,
            )
        )
        return self.outlets[-1]

    def page(self, key: bytes) -> Page:
        return Page("plan", f"{self.prefix}log", 0, [Message("out", key, b"told", 0)], {key: b"entry"})

    def target(self, topic: str) -> TopicPartition:
        return TopicPartition(self.prefix + topic, 0)

    async def keys(self, topic: str, count: int) -> list[bytes | None]:
        """Keys as readers see them, once there are ``count``: the markers of a commit are written a moment after it."""
        return [record.key for record in await self.records(topic, count)]

    async def records(self, topic: str, count: int) -> list[Record]:
        async with asyncio.timeout(60):
            while len(found := [record async for record in self.client.read(topic)]) < count:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        return found


@asynccontextmanager
async def rig_on(cluster: KafkaCluster, prefix: str) -> AsyncIterator[Rig]:
    async with open_client(cluster.url, prefix) as client:
        await client.ensure_topics([TopicSpec("out", 2), TopicSpec("log", 2, compacted=True)])
        rig = Rig(cluster, prefix, client)
        try:
            yield rig
        finally:
            for outlet in rig.outlets:
                await outlet.own("plan", set())


@pytest.fixture
async def rig(kafka: KafkaCluster, prefix: str) -> AsyncIterator[Rig]:
    async with rig_on(kafka, prefix) as made:
        yield made


async def test_a_page_larger_than_a_batch_is_one_transaction_and_its_last_offset_is_told(rig: Rig) -> None:
    writer = rig.writer()
    await writer.start()
    size = BATCH_BYTES_MAX // 3
    records = [(b"k%d" % n, bytes(size), ()) for n in range(10)]
    last = await writer.transact({rig.target("log"): records, rig.target("out"): records[:1]}, ours)
    found = await rig.records("log", 10)
    assert len(found) == 10
    assert last[rig.target("log")] == found[-1].offset
    again = await writer.transact({rig.target("log"): records[:4]}, ours)
    assert again[rig.target("log")] == (await rig.records("log", 14))[-1].offset
    await writer.close()


async def test_a_successors_start_fences_the_writer_before_it(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    before, after = rig.writer(), rig.writer()
    await before.start()
    await before.transact({rig.target("out"): [(b"first", b"", ())]}, ours)
    await after.start()
    with pytest.raises(VOID):
        await before.transact({rig.target("out"): [(b"zombie", b"", ())]}, ours)
    with pytest.raises(Fenced):
        await before.transact({rig.target("out"): [(b"zombie again", b"", ())]}, ours)
    await after.transact({rig.target("out"): [(b"second", b"", ())]}, ours)
    assert await rig.keys("out", 2) == [b"first", b"second"]
    await before.close()
    await after.close()
    # what aiokafka told a waiter that nobody waits for is not said when it is collected
    del before
    gc.collect()
    assert "never retrieved" not in caplog.text


@pytest.mark.parametrize("committing", [False, True])
async def test_what_was_under_way_is_aborted_by_the_successors_start(rig: Rig, committing: bool) -> None:
    before, after = rig.writer(), rig.writer()
    await before.start()
    await before.producer.begin_transaction()
    await before._append(rig.target("out"), [(b"half", b"", ())])
    assert await rig.keys("out", 0) == [], "nobody reads what is not committed"
    await after.start()
    assert await rig.keys("out", 0) == []
    if committing:
        with pytest.raises(KafkaError):
            await before.producer.commit_transaction()
    await after.transact({rig.target("out"): [(b"whole", b"", ())]}, ours)
    assert await rig.keys("out", 1) == [b"whole"]
    await before.close()
    await after.close()


async def test_who_was_fenced_gives_the_partition_up_and_asks_for_another_assignment(rig: Rig) -> None:
    zombie, heir = rig.outlet(), rig.outlet()
    await zombie.own("plan", {0})
    await zombie.deliver(rig.page(b"a"))
    await heir.own("plan", {0})
    with pytest.raises(Fenced):
        await zombie.deliver(rig.page(b"b"))
    with pytest.raises(Fenced):
        await zombie.publish("plan", 0, [Message("out", b"forecast", b"")])
    assert rig.rejoins == 1
    await heir.deliver(rig.page(b"c"))
    assert await rig.keys("out", 2) == await rig.keys("log", 2) == [b"a", b"c"]
    assert [(partition, list(writes)) for partition, writes, _ in rig.stores.written] == [(0, [b"a"]), (0, [b"c"])]
    # assigned again, it is a good worker again
    await zombie.own("plan", {0})
    await zombie.deliver(rig.page(b"d"))
    assert await rig.keys("out", 3) == [b"a", b"c", b"d"]


async def test_a_partition_that_is_not_owned_is_not_written(rig: Rig) -> None:
    outlet = rig.outlet()
    await outlet.own("plan", {0, 1})
    await outlet.own("plan", {1})
    with pytest.raises(Fenced):
        await outlet.deliver(rig.page(b"a"))
    assert await rig.keys("out", 0) == []


async def test_a_page_that_was_dropped_while_it_waited_its_turn_is_not_written(rig: Rig) -> None:
    outlet = rig.outlet()
    await outlet.own("plan", {0})
    page = rig.page(b"a")
    page.still_ours = lambda: False
    with pytest.raises(Fenced):
        await outlet.deliver(page)
    await outlet.deliver(rig.page(b"b"))
    assert await rig.keys("out", 1) == [b"b"]


@pytest.mark.slow
async def test_a_broker_that_stalls_is_waited_for_and_after_the_limit_the_worker_is_told(
    kafka_of: Callable[..., KafkaCluster], prefix: str
) -> None:
    async with rig_on(kafka_of(), prefix) as rig:
        patient, impatient = rig.outlet(retry_limit_s=120), rig.outlet(retry_limit_s=2.5)
        await patient.own("plan", {0})
        await impatient.own("plan", {1})
        rig.cluster.stop(0)
        waiting = asyncio.ensure_future(patient.deliver(rig.page(b"a")))
        lost = rig.page(b"lost")
        lost.partition = 1
        with pytest.raises(LogUnavailable, match=r"the log has not confirmed it within 2\.5 s"):
            await impatient.deliver(lost)
        assert not waiting.done()
        rig.cluster.resume(0)
        await waiting
        # what became of the transaction that was given up is settled by the next writer
        await impatient.own("plan", {1})
        assert [len(writes) for _, writes, _ in rig.stores.written] == [1]
        assert (await rig.keys("out", 1)).count(b"a") == 1


@pytest.mark.slow
@pytest.mark.parametrize("point", ["begin_transaction", "send_batch", "commit_transaction"])
async def test_a_broker_that_dies_in_the_middle_of_a_transaction_leaves_all_of_it_or_nothing(
    kafka_of: Callable[..., KafkaCluster], prefix: str, point: str
) -> None:
    """SIGKILL before the first record, between two, before the commit; it comes back on its own disk."""
    async with rig_on(kafka_of(), prefix) as rig:
        outlet = rig.outlet()
        await outlet.own("plan", {0})
        await outlet.deliver(rig.page(b"before"))
        producer = outlet._writers["plan", 0].producer
        does, calls = getattr(producer, point), 0

        async def dies_first(*arguments: Any, **named: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == (2 if point == "send_batch" else 1):
                await asyncio.to_thread(rig.cluster.kill, 0)
                restarts.append(asyncio.create_task(asyncio.to_thread(rig.cluster.restart, 0)))
            return await does(*arguments, **named)

        restarts: list[asyncio.Task[None]] = []
        setattr(producer, point, dies_first)
        try:
            await outlet.deliver(rig.page(b"in the middle"))
            told = True
        except Fenced:
            told = False  # nobody knows: the partition is given up, and whoever has it next reads the log
        await asyncio.gather(*restarts)
        await outlet.own("plan", {0})
        written = await rig.keys("out", 1)
        assert await rig.keys("log", 1) == written, "all of it or nothing"
        assert (b"in the middle" in written) >= told
        if b"in the middle" not in written:
            await outlet.deliver(rig.page(b"in the middle"))
        await outlet.deliver(rig.page(b"after"))
        assert await rig.keys("out", 3) == await rig.keys("log", 3) == [b"before", b"in the middle", b"after"]


# --- a broker that comes back ---


async def test_a_broker_that_knows_of_no_broker_is_one_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """After minutes of standing still it is fenced for a moment, and names no broker, not even itself."""
    writer = PartitionWriter("alone", {"bootstrap_servers": "localhost:9"})

    async def named_none() -> None:
        assert not writer.producer.client.cluster.brokers()

    monkeypatch.setattr(writer.producer.client, "bootstrap", named_none)

    with pytest.raises(KafkaConnectionError, match="knows of no broker") as refused:
        await writer.start()

    assert isinstance(refused.value.__cause__, AssertionError), "aiokafka's own, without which this is not needed"
    with pytest.raises(Fenced):
        await writer.transact({}, ours)
