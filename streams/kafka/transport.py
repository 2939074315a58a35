"""Faust's Kafka transport, in chunks: fetches labelled with their stretch of the log, pages sent as whole batches."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import ConsumerStoppedError, KafkaConnectionError, KafkaError, KafkaTimeoutError, NodeNotReadyError
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from planner.step import Message, Record
from streams.delivery.chunk import Chunk
from streams.delivery.consumer import ChunkConsumer
from streams.delivery.outlet import Fenced, Page
from streams.kafka.store import RocksStore
from streams.log import partition_of, size_bytes

FETCH_WAIT_MS = 200
"""How long a broker holds a fetch that finds nothing. (Faust's 1.5 s delays every partition that joins meanwhile.)"""
OUTPUT_BATCH_BYTES = 900_000
"""Most bytes of one batch of messages: below the brokers' limit of 1 MiB for a batch."""
RECORD_OVERHEAD_BYTES = 64
"""More than a record's own framing takes."""


class ChunkThread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]
    """The thread in which aiokafka runs: knows where each fetch continued, since seeks and fetches happen here."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._continues_at: dict[TP, int] = {}
        self.heard_at_s = 0.0
        """Monotonic time of the last heartbeat that the group's coordinator confirmed."""
        self._interrupted: asyncio.Event | None = None

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS
        return consumer

    async def on_start(self) -> None:
        """Start the consumer, and listen to its heartbeats."""
        await super().on_start()
        coordinator = self._ensure_consumer()._coordinator
        heartbeat = coordinator._do_heartbeat

        async def listen() -> bool:
            sent_at_s = time.monotonic()
            confirmed: bool = await heartbeat()
            if confirmed:
                self.heard_at_s = sent_at_s
            return confirmed

        coordinator._do_heartbeat = listen

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """To be given partitions is as good as a heartbeat."""
        self.heard_at_s = time.monotonic()
        await super().on_partitions_assigned(assigned, generation_id)

    async def _seek_wait(self, consumer: Any, partitions: Mapping[TP, int]) -> None:
        await super()._seek_wait(consumer, partitions)
        for tp, offset in partitions.items():
            self._continues_at[tp] = offset

    def waiting(self, tp: TP) -> bool:
        """Whether the broker has told of records that were not fetched."""
        state = self._state(tp)
        return state is not None and state.has_valid_position and (state.highwater or 0) > state.position

    def _state(self, tp: TP) -> Any:
        assignment = self._ensure_consumer()._subscription.subscription.assignment
        return assignment.state_value(TopicPartition(tp.topic, tp.partition)) if assignment is not None else None

    def interrupt(self) -> None:
        """End a waiting fetch; called from the other thread."""
        if self._interrupted is not None and self.thread_loop.is_running():
            self.thread_loop.call_soon_threadsafe(self._interrupted.set)

    async def fetch(self, wanted: set[TP], timeout_s: float) -> list[Chunk]:
        """Chunks of the wanted partitions; called from the other thread."""
        fetched: list[Chunk] = await self.call_thread(self._fetch_chunks, wanted, timeout_s)
        return fetched

    async def _fetch_chunks(self, wanted: set[TP], timeout_s: float) -> list[Chunk]:
        consumer = self._ensure_consumer()
        fetcher = consumer._fetcher
        if not self.consumer.flow_active:
            return []
        if consumer._closed or fetcher._closed:
            raise ConsumerStoppedError
        if self._interrupted is None:
            self._interrupted = asyncio.Event()
        self._interrupted.clear()
        with fetcher._subscriptions.fetch_context():
            fetch = asyncio.ensure_future(
                fetcher.fetched_records(wanted, timeout=timeout_s, max_records=consumer._max_poll_records)
            )
            interrupted = asyncio.ensure_future(self._interrupted.wait())
            try:
                await asyncio.wait({fetch, interrupted}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                interrupted.cancel()
                # the fetch takes records in one go when it wakes: cancelled before that, it has taken none
                if not fetch.done():
                    fetch.cancel()
        try:
            drained = await fetch
        except asyncio.CancelledError:
            return []
        return [self._chunk(TP(tp.topic, tp.partition), records) for tp, records in drained.items()]

    def _chunk(self, tp: TP, raw: Sequence[Any]) -> Chunk:
        state = self._state(tp)
        end = max(raw[-1].offset + 1, state.position if state is not None and state.has_valid_position else 0)
        highwater = state.highwater if state is not None else None
        start = self._continues_at.get(tp, raw[0].offset)
        self._continues_at[tp] = end
        topic = tp.topic.removeprefix(self.consumer.transport.prefix)
        records = [Record(topic, r.partition, r.offset, r.timestamp, r.key, r.value, r.headers) for r in raw]
        return Chunk(tp.topic, tp.partition, start, end, max(0, (highwater or 0) - end), records)


class KafkaConsumer(ChunkConsumer, driver.Consumer):  # type: ignore[misc]
    """Consumer of chunks."""

    fetch_faults = (KafkaError,)

    def _new_consumer_thread(self) -> ChunkThread:
        return ChunkThread(self, loop=self.loop, beacon=self.beacon)

    async def _fetch(self, wanted: set[TP], timeout_s: float) -> list[Chunk]:
        fetched: list[Chunk] = await self._thread.fetch(wanted, timeout_s)
        return fetched

    def _interrupt(self) -> None:
        self._thread.interrupt()

    def _waiting(self, tp: TP) -> bool:
        waiting: bool = self._thread.waiting(tp)
        return waiting

    @property
    def heard_at_s(self) -> float:
        """Monotonic time of the last heartbeat that the group's coordinator confirmed."""
        heard: float = self._thread.heard_at_s
        return heard


class LeaseLapsed(KafkaError):  # type: ignore[misc]  # noqa: N818 - named after what happened
    """The group has not confirmed us for a whole session: others may own our partitions. Nothing was written.

    This is what a worker finds that was stopped (SIGSTOP, a paused machine) and continues after its session ended.
    """


class KafkaProducer(driver.Producer):  # type: ignore[misc]
    """Producer whose retries neither repeat nor reorder, and that can send a page as one batch."""

    def _settings_extra(self) -> Mapping[str, Any]:
        return {"acks": "all", "enable_idempotence": True}

    @property
    def client(self) -> Any:
        """The aiokafka producer."""
        return self._ensure_producer()


class KafkaTransport(driver.Transport):  # type: ignore[misc]
    """Kafka, in chunks. ``prefix`` stands before the names of topics."""

    Consumer = KafkaConsumer
    Producer = KafkaProducer

    def __init__(self, *args: Any, prefix: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.prefix = prefix


class KafkaOutlet:
    """Pages on Kafka: messages in batches by partition, then the entries as one record batch of the changelog."""

    faults: tuple[type[Exception], ...] = (
        KafkaTimeoutError,
        KafkaConnectionError,
        NodeNotReadyError,
        ConnectionError,
        LeaseLapsed,
    )

    def __init__(
        self,
        producer: Callable[[], KafkaProducer],
        store: Callable[[str], RocksStore],
        *,
        prefix: str,
        write_max_bytes: int,
        lease_s: Callable[[], float],
    ) -> None:
        self._lease_s = lease_s
        self._producer = producer
        self._store = store
        self._prefix = prefix
        self._write_max_bytes = write_max_bytes

    async def deliver(self, page: Page) -> None:
        """See Outlet. The store is written only after the changelog is acknowledged, with its offset, in one batch."""
        if not page.published:
            self._check(page)
            await self.publish(page.messages)
            page.published = True
        if not page.writes:
            return
        self._check(page)
        offset = await self._append(page)
        self._store(page.agent).write(page.partition, page.writes, offset)

    def _check(self, page: Page) -> None:
        if not page.still_ours():
            raise Fenced
        if (lease_s := self._lease_s()) <= 0:
            raise LeaseLapsed(f"no heartbeat was confirmed; the session ended {-lease_s:.1f} s ago")

    async def publish(self, messages: Sequence[Message]) -> None:
        """See Outlet."""
        if not messages:
            return
        client = self._producer().client
        by_partition: dict[tuple[str, int], list[Message]] = defaultdict(list)
        counts: dict[str, int] = {}
        for message in messages:
            topic = self._prefix + message.topic
            if topic not in counts:
                counts[topic] = len(await client.partitions_for(topic))
            partition = message.partition
            if partition is None:
                partition = partition_of(message.key or b"", counts[topic])
            by_partition[topic, partition].append(message)
        await asyncio.gather(
            *(self._send(client, topic, partition, group) for (topic, partition), group in by_partition.items())
        )

    async def _send(self, client: Any, topic: str, partition: int, messages: list[Message]) -> None:
        """Messages of one partition, in order, in as few batches as the size allows."""
        sent = []
        batch, size = client.create_batch(), 0
        for message in messages:
            more = size_bytes(message) + RECORD_OVERHEAD_BYTES
            if size and size + more > OUTPUT_BATCH_BYTES:
                batch.close()
                sent.append(await client.send_batch(batch, topic, partition=partition))
                batch, size = client.create_batch(), 0
            _append(batch, message.key, message.value, message.headers)
            size += more
        batch.close()
        sent.append(await client.send_batch(batch, topic, partition=partition))
        for future in sent:
            await future

    async def _append(self, page: Page) -> int:
        """The page's entries on the changelog; returns the offset of the last. One batch unless it is too large."""
        client = self._producer().client
        batch, size = client.create_batch(), 0
        for key, value in page.writes.items():
            more = len(key) + len(value or b"") + RECORD_OVERHEAD_BYTES
            if size and size + more > self._write_max_bytes:
                batch.close()
                await (await client.send_batch(batch, page.changelog, partition=page.partition))
                batch, size = client.create_batch(), 0
            _append(batch, key, value, ())
            size += more
        count = batch.record_count()
        batch.close()
        metadata = await (await client.send_batch(batch, page.changelog, partition=page.partition))
        last: int = metadata.offset + count - 1
        return last


def _append(batch: Any, key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes]]) -> None:
    if batch.append(timestamp=None, key=key, value=value, headers=list(headers)) is None:
        raise KafkaError(f"a batch refused a record of {len(value or b'')} bytes")
