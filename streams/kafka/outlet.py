"""Pages on Kafka: messages, table entries and applied offset in one transaction, by the partition's one writer."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import structlog
from aiokafka import TopicPartition
from aiokafka.errors import (
    InvalidProducerEpoch,
    InvalidProducerIdMapping,
    InvalidTxnState,
    KafkaError,
    KafkaTimeoutError,
    OutOfOrderSequenceNumber,
    ProducerClosed,
    ProducerFenced,
    UnknownProducerId,
    UnknownTopicOrPartitionError,
)

from planner.step import Message
from streams import metrics
from streams.delivery.outlet import Fenced, Page
from streams.kafka.store import RocksStore
from streams.kafka.writer import PartitionWriter, Sent
from streams.log import partition_of
from streams.retry import patiently, persist

log = structlog.get_logger(__name__)

VOID: Final = (
    ProducerFenced,
    InvalidProducerEpoch,
    InvalidProducerIdMapping,
    InvalidTxnState,
    UnknownProducerId,
    OutOfOrderSequenceNumber,
    ProducerClosed,
    # a broker that stalls has not taken the batch before; aiokafka does not call it retriable
    KafkaTimeoutError,
)
"""After these, and those that might pass, a transaction is void, or nobody knows whether it was committed: only the
log can tell."""
STARTS_AT_ONCE: Final = 16


class KafkaOutlet:
    """One writer for each partition of each agent. Every one of them is fenced by its successor.

    Args:
        store: agent → its table's store.
        group: stands before the transactional ids.
        parameters: of aiokafka's producers.
        rejoin: asks for a new assignment, after which a partition that was lost is restored by whoever has it then.
    """

    faults: tuple[type[Exception], ...] = ()
    """None: a writer makes its own attempts, and a transaction that failed is not made again from memory."""

    def __init__(
        self,
        store: Callable[[str], RocksStore],
        *,
        prefix: str,
        group: str,
        parameters: Mapping[str, Any],
        retry_limit_s: float,
        rejoin: Callable[[], None],
    ) -> None:
        self._store = store
        self._prefix = prefix
        self._group = group
        self._parameters = parameters
        self._retry_limit_s = retry_limit_s
        self._rejoin = rejoin
        self._writers: dict[tuple[str, int], PartitionWriter] = {}
        self._counts: dict[str, int] = {}
        """Partitions by topic (full name): they do not change while a worker runs."""
        self._starts = asyncio.Semaphore(STARTS_AT_ONCE)

    async def own(self, agent: str, partitions: set[int]) -> None:
        """See Outlet. All are started anew, also those we had: a start waits until the markers of the last commit are
        written, without which the changelog's end, as it is told, would lie before what the store holds.
        """
        before = [key for key in self._writers if key[0] == agent]
        await asyncio.gather(*(self._writers.pop(key).close() for key in before))
        await asyncio.gather(*(self._start(agent, partition) for partition in partitions))

    async def _start(self, agent: str, partition: int) -> None:
        transactional_id = f"{self._group}-{agent}-{partition}"

        async def attempt() -> PartitionWriter:
            writer = PartitionWriter(transactional_id, self._parameters)
            await writer.start()
            return writer

        async with self._starts:
            self._writers[agent, partition] = await patiently(
                persist(attempt, (KafkaError, OSError), self._retry_limit_s, agent),
                self._retry_limit_s,
                agent,
                f"to become the writer {transactional_id}",
            )

    async def deliver(self, page: Page) -> None:
        """See Outlet. The store is written only after the commit, with the changelog's offset, in one batch."""
        records = await self._sorted(page.agent, page.partition, page.messages)
        changelog = TopicPartition(page.changelog, page.partition)
        if page.writes:
            await self._count(page.agent, self._writer(page.agent, page.partition), page.changelog)
            records[changelog] = [(key, value, ()) for key, value in page.writes.items()]
        last = await self._transact(page.agent, page.partition, records, page.still_ours)
        if page.writes:
            self._store(page.agent).write(page.partition, page.writes, last[changelog])

    async def publish(self, agent: str, partition: int, messages: Sequence[Message]) -> None:
        """See Outlet."""
        await self._transact(agent, partition, await self._sorted(agent, partition, messages), lambda: True)

    async def _sorted(
        self, agent: str, partition: int, messages: Sequence[Message]
    ) -> dict[TopicPartition, Sequence[Sent]]:
        """Messages by the partition they go to, in order."""
        writer = self._writer(agent, partition)
        sorted_: dict[TopicPartition, list[Sent]] = defaultdict(list)
        for message in messages:
            topic = self._prefix + message.topic
            target = message.partition
            if target is None:
                target = partition_of(message.key or b"", await self._count(agent, writer, topic))
            sorted_[TopicPartition(topic, target)].append((message.key, message.value, message.headers))
        return dict(sorted_)

    async def _count(self, agent: str, writer: PartitionWriter, topic: str) -> int:
        """Number of partitions; asked once, and again while brokers that hang or come back do not know the topic."""
        count = self._counts.get(topic)
        if count is None:
            count = self._counts[topic] = await patiently(
                persist(lambda: writer.partitions(topic), (UnknownTopicOrPartitionError,), self._retry_limit_s, agent),
                self._retry_limit_s,
                agent,
                f"to know the topic {topic}",
            )
        return count

    def _writer(self, agent: str, partition: int) -> PartitionWriter:
        if (writer := self._writers.get((agent, partition))) is None:
            raise Fenced
        return writer

    async def _transact(
        self,
        agent: str,
        partition: int,
        records: Mapping[TopicPartition, Sequence[Sent]],
        still_ours: Callable[[], bool],
    ) -> dict[TopicPartition, int]:
        if not records:
            return {}
        try:
            return await patiently(
                self._writer(agent, partition).transact(records, still_ours),
                self._retry_limit_s,
                agent,
                f"the transaction of {agent}/{partition}",
            )
        except KafkaError as error:
            # aiokafka's sender, when it meets what it does not know, ends with the plain class
            if not (error.retriable or isinstance(error, VOID) or type(error) is KafkaError):
                raise
            log.warning("transaction_void", agent=agent, partition=partition, error=repr(error))
            metrics.void_transactions.labels(agent).inc()
            self._rejoin()
            raise Fenced from error
