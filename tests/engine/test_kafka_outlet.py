"""What the outlet does with what aiokafka says when brokers die: nothing of it ends the worker."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import (
    IllegalOperation,
    KafkaError,
    KafkaTimeoutError,
    ProducerFenced,
    RequestTimedOutError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)

from planner.step import Message
from streams.delivery.outlet import Fenced
from streams.kafka.outlet import KafkaOutlet
from streams.kafka.writer import PartitionWriter


class Writer:
    """A partition's writer. ``faults``: raised, one by one, before it does what it is asked."""

    def __init__(self, *faults: KafkaError) -> None:
        self.faults = list(faults)
        self.asked: list[str] = []
        self.sent: list[TopicPartition] = []

    async def partitions(self, topic: str) -> int:
        self.asked.append(topic)
        if self.faults:
            raise self.faults.pop(0)
        return 4

    async def transact(self, records: Mapping[TopicPartition, Sequence[Any]], still_ours: Any) -> dict[Any, int]:
        if self.faults:
            raise self.faults.pop(0)
        self.sent += records
        return dict.fromkeys(records, 0)


def outlet_of(writer: Writer, rejoined: list[bool]) -> KafkaOutlet:
    outlet = KafkaOutlet(
        lambda agent: None,  # type: ignore[arg-type, return-value]
        prefix="p.", group="g", parameters={}, retry_limit_s=5.0, rejoin=lambda: rejoined.append(True),
    )  # fmt: skip
    outlet._writers["plan", 0] = writer  # type: ignore[assignment]
    return outlet


async def test_the_number_of_partitions_is_asked_for_patiently() -> None:
    writer = Writer(UnknownTopicOrPartitionError())
    outlet = outlet_of(writer, [])
    await outlet.publish("plan", 0, [Message("forecasts", b"k", b"v")])
    assert writer.asked == ["p.forecasts"] * 2, "again after the fault"
    assert len(writer.sent) == 1


@pytest.mark.parametrize(
    "fault",
    [UnknownTopicOrPartitionError(), RequestTimedOutError(), KafkaTimeoutError(), KafkaError("of any kind")],
)
async def test_what_may_pass_voids_the_transaction(fault: KafkaError) -> None:
    rejoined: list[bool] = []
    outlet = outlet_of(Writer(fault), rejoined)
    with pytest.raises(Fenced):
        await outlet.publish("plan", 0, [Message("outcomes", b"k", b"v", 1)])
    assert rejoined == [True]


async def test_what_will_not_pass_is_told() -> None:
    outlet = outlet_of(Writer(TopicAuthorizationFailedError("outcomes")), [])
    with pytest.raises(TopicAuthorizationFailedError):
        await outlet.publish("plan", 0, [Message("outcomes", b"k", b"v", 1)])


class Producer:
    """aiokafka's, as far as a writer needs it: counts what it is handed."""

    _closed = False

    def __init__(self, batches: Any) -> None:
        self.create_batch = batches.create_batch
        self.handed: list[int] = []
        """Records of each call."""
        self._message_accumulator = SimpleNamespace(_batches={})

    async def begin_transaction(self) -> None:
        """Nothing to do."""

    async def commit_transaction(self) -> None:
        """Nothing to do."""

    async def send_batch(self, batch: Any, topic: str, *, partition: int) -> asyncio.Future[Any]:
        drained = SimpleNamespace(_drain_waiter=asyncio.get_running_loop().create_future())
        self._message_accumulator._batches[TopicPartition(topic, partition)] = [drained]
        return self._handed(batch.record_count())

    async def send(self, topic: str, value: bytes, key: bytes, *, partition: int) -> asyncio.Future[Any]:
        """One record, as Faust's own buffer hands them over."""
        return self._handed(1)

    def _handed(self, count: int) -> asyncio.Future[Any]:
        future = asyncio.get_running_loop().create_future()
        future.set_result(SimpleNamespace(offset=sum(self.handed)))
        self.handed.append(count)
        return future


async def test_obstacle_3_a_page_goes_to_aiokafka_in_whole_batches() -> None:
    """One by one, aiokafka takes 5,000 to 11,000 records a second; a page is handed over at once."""
    writer = PartitionWriter("w", {"bootstrap_servers": "127.0.0.1:9"})
    idle = writer.producer
    producer = Producer(idle)
    writer.producer, writer._usable = producer, True
    changelog, out = TopicPartition("changelog", 0), TopicPartition("out", 1)
    records = [(b"k%d" % n, b"v", ()) for n in range(1_000)]
    last = await writer.transact({changelog: records, out: records[:300]}, lambda: True)
    assert producer.handed == [1_000, 300]
    assert last == {changelog: 999, out: 1_299}, "the offset of the last record of each"
    await idle.stop()


async def test_a_batch_handed_over_after_another_was_refused_is_told_why() -> None:
    """aiokafka says of it only that there is no transaction; the worker would end with that, as with a bug."""
    writer = PartitionWriter("w", {"bootstrap_servers": "127.0.0.1:9"})
    idle, calls = writer.producer, count(1)
    transactions = idle._txn_manager
    transactions.set_pid_and_epoch(1, 0)

    async def begin_transaction() -> None:
        transactions.begin_transaction()

    async def send_batch(*arguments: Any, **named: Any) -> asyncio.Future[Any]:
        if next(calls) == 1:
            transactions.fatal_error(ProducerFenced())
            await asyncio.Event().wait()
        raise IllegalOperation("Can't send messages while not in transaction")

    writer.producer = SimpleNamespace(
        create_batch=idle.create_batch, begin_transaction=begin_transaction, send_batch=send_batch,
        _txn_manager=transactions,
    )  # fmt: skip
    writer._usable = True
    record = [(b"k", b"v", ())]
    with pytest.raises(ProducerFenced):
        await writer.transact({TopicPartition("changelog", 0): record, TopicPartition("out", 1): record}, lambda: True)
    await idle.stop()
