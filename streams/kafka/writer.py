"""The one writer of a partition: a transactional producer, whose start fences whoever wrote there before.

Its transactional id stands for the partition, so that the brokers know one writer of it at a time: the last that was
started. What an earlier one had under way is aborted; what it sends later is refused, however late it wakes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import IllegalOperation, KafkaConnectionError, KafkaError

from streams.delivery.outlet import Fenced
from streams.kafka.connection import COMPRESSION, abandon

BATCH_BYTES_MAX: Final = 900_000
"""Most bytes of one batch of records before it is compressed (but a larger single one): below the brokers' limit of
1 MiB for a batch, whatever they compress to."""
RECORD_OVERHEAD_BYTES: Final = 64
"""More than a record's own framing takes."""
TRANSACTION_S_MAX: Final = 60
"""After so long the brokers abort what a dead worker left open, and fence it. Until then, or until somebody takes its
partition over, readers do not see what follows in the topics it had written to."""

Sent = tuple[bytes | None, bytes | None, Sequence[tuple[str, bytes]]]
"""Key, value, headers."""


class PartitionWriter:
    """Appends records to any topics, all or none; one transaction at a time.

    A transaction that fails leaves it unusable: what became of the transaction is for the next writer to find out.
    """

    def __init__(self, transactional_id: str, parameters: Mapping[str, Any]) -> None:
        self.producer = AIOKafkaProducer(
            **parameters,
            transactional_id=transactional_id,
            transaction_timeout_ms=TRANSACTION_S_MAX * 1000,
            max_batch_size=BATCH_BYTES_MAX + RECORD_OVERHEAD_BYTES,
            compression_type=COMPRESSION,
        )
        self._turn = asyncio.Lock()
        self._usable = False

    async def start(self) -> None:
        """Fence the one before and abort what it had under way.

        Raises:
            KafkaError: it cannot become the writer now; among others, that the broker knows of no broker yet, not even
                of itself: so it is for a moment after it stood still for minutes. aiokafka asserts that it is never so.
        """
        try:
            await self.producer.start()
        except BaseException as error:
            await abandon(self.producer)
            if isinstance(error, AssertionError) and not self.producer.client.cluster.brokers():
                raise KafkaConnectionError("the broker that was asked knows of no broker") from error
            raise
        self._usable = True

    async def close(self) -> None:
        """Write nothing more. What is under way fails, and is aborted by the next writer."""
        self._usable = False
        await abandon(self.producer)

    async def partitions(self, topic: str) -> int:
        """Number of partitions of a topic."""
        return len(await self.producer.partitions_for(topic))

    async def transact(
        self, records: Mapping[TopicPartition, Sequence[Sent]], still_ours: Callable[[], bool]
    ) -> dict[TopicPartition, int]:
        """Append records by partition, all or none; returns the offset of the last in each.

        Raises:
            Fenced: closed, or not ours any more.
            KafkaError: refused by the brokers, or nobody knows whether it was committed.
        """
        async with self._turn:
            if not self._usable or not still_ours():
                raise Fenced
            self._usable = False
            await self.producer.begin_transaction()
            try:
                last = await asyncio.gather(*(self._append(target, sent) for target, sent in records.items()))
            except (IllegalOperation, AssertionError):
                # the answer to one batch ended the transaction before the next was handed over, of which aiokafka says,
                # or asserts, only that there is no transaction: its end tells why
                if (end := self.producer._txn_manager.wait_for_transaction_end()).done():
                    await end
                raise
            await self.producer.commit_transaction()
            # closed meanwhile: the next writer's worker has read, or will read, the log up to this
            if self.producer._closed:
                raise Fenced
            self._usable = True
            return dict(zip(records, last, strict=True))

    async def _append(self, target: TopicPartition, records: Sequence[Sent]) -> int:
        """Records of one partition, in order, in as few batches as the size allows."""
        sent = []
        batch, size, offset = self.producer.create_batch(), 0, -1
        for key, value, headers in records:
            more = len(key or b"") + len(value or b"") + sum(len(n) + len(v) for n, v in headers)
            if size and size + more + RECORD_OVERHEAD_BYTES > BATCH_BYTES_MAX:
                sent.append(await self._send(batch, target))
                batch, size = self.producer.create_batch(), 0
            if batch.append(timestamp=None, key=key, value=value, headers=list(headers)) is None:
                raise KafkaError(f"a batch refused a record of {more} bytes")
            size += more + RECORD_OVERHEAD_BYTES
        count = batch.record_count()
        sent.append(await self._send(batch, target))
        for future in sent:
            offset = (await future).offset + count - 1
        return offset

    async def _send(self, batch: Any, target: TopicPartition) -> asyncio.Future[Any]:
        batch.close()
        future: asyncio.Future[Any] = await self.producer.send_batch(batch, target.topic, partition=target.partition)
        # it is the last in the queue: nothing else ran since it was put there
        self.producer._message_accumulator._batches[target][-1]._drain_waiter.add_done_callback(_seen)
        return future


def _seen(waiter: asyncio.Future[Any]) -> None:
    """A batch that fails tells two futures. Nobody waits for this one, and asyncio would say that it was not seen."""
    if not waiter.cancelled():
        waiter.exception()
