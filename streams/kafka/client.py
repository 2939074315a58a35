"""A client of the log on Kafka brokers (aiokafka)."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from random import randrange
from types import TracebackType
from typing import Any, Final, Self

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.structs import ConsumerRecord

from planner.step import Message, Record
from streams.kafka import topics as kafka_topics
from streams.kafka.connection import COMPRESSION, Guard, abandon, parameters, reach
from streams.kafka.topics import BATCH_OVERHEAD_BYTES
from streams.log import (
    LogError,
    LogUnavailable,
    RecordTooLarge,
    Security,
    Start,
    TopicSpec,
    UnknownTopic,
    begin_at,
    chosen,
    newest,
    partition_of,
    size_bytes,
)

_BATCH_BYTES: Final = 512 << 10
_FETCH_BYTES: Final = 4 << 20
_FETCH_WAIT_MS: Final = 100
_FRAMING_BYTES: Final = 1_024
"""What a batch has besides its records, generously."""
_RECORD_BYTES: Final = 64
"""What a record has besides key, value and headers, generously."""


class KafkaClient:
    """A LogClient over Kafka. Connections are opened when they are first needed.

    ``timeout_seconds``: to reach a broker, and for each answer. ``delivery_seconds``: how long ``publish`` keeps
    trying while partitions have no leader. ``retry_seconds``: how long what only asks or reads is tried again while
    brokers do not answer; as long as others need to take a dead one's place.
    """

    def __init__(
        self,
        servers: Sequence[str],
        prefix: str = "",
        *,
        security: Security | None = None,
        replication_factor: int | None = None,
        timeout_seconds: float = 10.0,
        delivery_seconds: float = 60.0,
        retry_seconds: float = 30.0,
    ) -> None:
        self.prefix = prefix
        self._servers = list(servers)
        self._security = security or Security()
        self._replication_factor = replication_factor
        self._timeout_seconds = timeout_seconds
        self._delivery_seconds = delivery_seconds
        self._guard = Guard(servers, retry_seconds)
        self._parameters: dict[str, Any] = {}
        self._admin: AIOKafkaAdminClient | None = None
        self._producer: AIOKafkaProducer | None = None
        self._asking: AIOKafkaConsumer | None = None
        """A consumer without partitions, for questions about offsets."""
        self._opening = asyncio.Lock()
        self._partitions: dict[str, int] = {}
        self._limits: dict[str, int] = {}
        self._closed = False

    async def open(self) -> None:
        """Reach the brokers.

        Raises:
            LogUnavailable: no broker can be used; says why, for each.
        """
        secured = parameters(self._security)
        await reach(self._servers, secured, self._timeout_seconds)
        self._parameters = secured | {
            "bootstrap_servers": self._servers,
            "client_id": "planner",
            "request_timeout_ms": int(self._timeout_seconds * 1000),
        }
        self._admin = await self._guard.persist(self._started_admin)

    async def _started_admin(self) -> AIOKafkaAdminClient:
        async with asyncio.timeout(self._timeout_seconds):
            admin = AIOKafkaAdminClient(**self._parameters)
            try:
                await admin.start()
            except BaseException:
                await admin.close()
                raise
            return admin

    async def ensure_topics(self, specs: Iterable[TopicSpec]) -> None:
        """See LogClient."""
        named = [replace(spec, name=self.prefix + spec.name) for spec in specs]
        with self._guard:
            await kafka_topics.ensure(self._opened(), named, self._replication_factor)
        self._limits.clear()
        await self._wait_for_leaders([spec.name for spec in named])

    async def _wait_for_leaders(self, names: Sequence[str]) -> None:
        """A topic that was just made has no leaders for a moment."""
        with self._guard:
            async with asyncio.timeout(self._timeout_seconds):
                while True:
                    described = await self._opened().describe_topics(None)
                    ready = {
                        topic["topic"]
                        for topic in described
                        if topic["partitions"] and all(part["leader"] >= 0 for part in topic["partitions"])
                    }
                    if ready.issuperset(names):
                        return
                    await asyncio.sleep(0.05)

    async def partitions(self, topic: str) -> int:
        """See LogClient."""
        name = self.prefix + topic
        if name not in self._partitions:
            self._partitions = await self._guard.persist(lambda: kafka_topics.known_topics(self._opened()))
            if name not in self._partitions:
                raise UnknownTopic(f"Kafka at {','.join(self._servers)}: there is no topic {name!r}")
        return self._partitions[name]

    async def publish(self, messages: Sequence[Message]) -> list[tuple[int, int]]:
        """See LogClient. Written once even when a broker fails meanwhile (idempotent producer).

        Raises:
            LogUnavailable: not acknowledged within ``delivery_seconds``; some of it may have been written.
        """
        by_partition = await self._sorted(messages)
        positions: list[tuple[int, int]] = [(0, 0)] * len(messages)
        with self._guard:
            producer = await self._producing()
            try:
                async with asyncio.timeout(self._delivery_seconds), asyncio.TaskGroup() as group:
                    for target, indices in by_partition.items():
                        group.create_task(self._send(producer, target, indices, messages, positions))
            except TimeoutError:
                await self._drop_producer()
                raise LogUnavailable(
                    f"Kafka at {','.join(self._servers)} has not acknowledged {len(messages)} record(s) within "
                    f"{self._delivery_seconds:g} s; some of them may have been written"
                ) from None
            except ExceptionGroup as failed:
                raise failed.exceptions[0] from failed
        return positions

    async def _sorted(self, messages: Sequence[Message]) -> dict[TopicPartition, list[int]]:
        """Indices of the messages by partition; checked against what their topics take."""
        known: dict[str, tuple[str, int, int]] = {}
        by_partition: defaultdict[TopicPartition, list[int]] = defaultdict(list)
        for index, message in enumerate(messages):
            topic, key, _, partition, _ = message
            if topic not in known:
                known[topic] = (self.prefix + topic, await self.partitions(topic), await self._limit(topic))
            name, count, limit = known[topic]
            if (size := size_bytes(message)) > limit - BATCH_OVERHEAD_BYTES:
                raise RecordTooLarge(topic, key, size, limit - BATCH_OVERHEAD_BYTES)
            if partition is None:
                partition = randrange(count) if key is None else partition_of(key, count)
            elif not 0 <= partition < count:
                raise UnknownTopic(f"topic {topic}: there is no partition {partition}, expected 0 to {count - 1}")
            by_partition[TopicPartition(name, partition)].append(index)
        return by_partition

    async def _limit(self, topic: str) -> int:
        """The topic's ``max.message.bytes``."""
        name = self.prefix + topic
        if name not in self._limits:
            self._limits |= await self._guard.persist(lambda: kafka_topics.message_limits(self._opened(), [name]))
        return self._limits[name]

    async def _send(
        self,
        producer: AIOKafkaProducer,
        target: TopicPartition,
        indices: list[int],
        messages: Sequence[Message],
        positions: list[tuple[int, int]],
    ) -> None:
        """Send the messages of one partition, in batches as large as its topic takes."""
        room = min(_BATCH_BYTES, self._limits[target.topic] - _FRAMING_BYTES)
        acknowledgements = []
        batch, members, size = producer.create_batch(), list[int](), 0
        for index in indices:
            message = messages[index]
            size += size_bytes(message) + _RECORD_BYTES
            if size > room and members:
                acknowledgements.append((await self._send_batch(producer, batch, target), members))
                batch, members, size = producer.create_batch(), [], size_bytes(message) + _RECORD_BYTES
            batch.append(key=message.key, value=message.value, timestamp=None, headers=list(message.headers))
            members.append(index)
        acknowledgements.append((await self._send_batch(producer, batch, target), members))
        for acknowledgement, sent in acknowledgements:
            first = (await acknowledgement).offset
            for place, index in enumerate(sent):
                positions[index] = (target.partition, first + place)

    @staticmethod
    async def _send_batch(producer: AIOKafkaProducer, batch: Any, target: TopicPartition) -> asyncio.Future[Any]:
        batch.close()
        future: asyncio.Future[Any] = await producer.send_batch(batch, target.topic, partition=target.partition)
        return future

    async def first_offsets(self, topic: str) -> dict[int, int]:
        """See LogClient."""
        return await self._offsets(topic, "beginning_offsets")

    async def end_offsets(self, topic: str) -> dict[int, int]:
        """See LogClient. Of what is committed."""
        return await self._offsets(topic, "end_offsets")

    async def _offsets(self, topic: str, question: str) -> dict[int, int]:
        name = self.prefix + topic
        asked = [TopicPartition(name, partition) for partition in range(await self.partitions(topic))]

        async def ask() -> dict[TopicPartition, int]:
            offsets: dict[TopicPartition, int] = await getattr(await self._ask(), question)(asked)
            return offsets

        answer = await self._guard.persist(ask)
        return {target.partition: offset for target, offset in answer.items()}

    async def latest(self, topic: str, partition: int | None = None, key_prefix: bytes = b"") -> dict[bytes, Record]:
        """See LogClient. Reads the topic to its end."""
        views: defaultdict[int, dict[bytes, Record]] = defaultdict(dict)
        chosen_partitions = None if partition is None else (partition,)
        async for chunk in self.read_chunks(topic, partitions=chosen_partitions):
            view = views[chunk[0].partition]
            for record in chunk:
                if record.key is not None and record.key.startswith(key_prefix):
                    if record.value is None:
                        view.pop(record.key, None)
                    else:
                        view[record.key] = record
        return newest(view.values() for _, view in sorted(views.items()))

    async def read(
        self, topic: str, start: Start = "earliest", *, follow: bool = False, partitions: Collection[int] | None = None
    ) -> AsyncIterator[Record]:
        """See LogClient."""
        async for chunk in self.read_chunks(topic, start, follow=follow, partitions=partitions):
            for record in chunk:
                yield record

    async def read_chunks(
        self,
        topic: str,
        start: Start = "earliest",
        *,
        follow: bool = False,
        partitions: Collection[int] | None = None,
        records_max: int = 5_000,
    ) -> AsyncGenerator[list[Record], None]:
        """See LogClient. With ``follow``, an outage of the brokers is waited out."""
        ends = chosen(topic, await self._offsets(topic, "end_offsets"), partitions)
        oldest = await self.first_offsets(topic)
        positions = begin_at(topic, start, {partition: oldest[partition] for partition in ends}, ends)
        if not follow:
            positions = {partition: offset for partition, offset in positions.items() if offset < ends[partition]}
            if not positions:
                return
        name = self.prefix + topic
        async with self._consuming() as consumer:
            targets = {TopicPartition(name, partition): offset for partition, offset in positions.items()}
            consumer.assign(list(targets))
            for target, offset in targets.items():
                consumer.seek(target, offset)
            progressed = asyncio.get_running_loop().time()
            while targets and not self._closed:
                # a fault leaves the positions as they are
                found = await self._guard.persist(
                    lambda: consumer.getmany(timeout_ms=_FETCH_WAIT_MS, max_records=records_max)
                )
                for target, raw in found.items():
                    end = None if follow else ends[target.partition]
                    if chunk := [_record(topic, each) for each in raw if end is None or each.offset < end]:
                        yield chunk
                if follow:
                    continue
                if found:
                    progressed = asyncio.get_running_loop().time()
                elif asyncio.get_running_loop().time() - progressed > self._timeout_seconds * 2:
                    raise LogUnavailable(f"Kafka at {','.join(self._servers)} sends nothing of topic {name}")
                for target in list(targets):
                    # The position passes records that are gone by compaction; the last chunk's offset does not.
                    if await self._guard.persist(partial(consumer.position, target)) >= ends[target.partition]:
                        del targets[target]
                        consumer.pause(target)

    async def close(self) -> None:
        """See LogClient. Readers that follow come to their end."""
        if self._closed:
            return
        self._closed = True
        for client in (self._producer, self._asking):
            if client is not None:
                await client.stop()
        if self._admin is not None:
            await self._admin.close()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # Connections

    def _opened(self) -> AIOKafkaAdminClient:
        if self._admin is None or self._closed:
            raise LogError(f"Kafka at {','.join(self._servers)}: this client is not open")
        return self._admin

    async def _producing(self) -> AIOKafkaProducer:
        async with self._opening:
            self._opened()
            if self._producer is None:
                self._producer = await self._started(
                    AIOKafkaProducer(
                        **self._parameters,
                        enable_idempotence=True,
                        max_batch_size=_BATCH_BYTES,
                        compression_type=COMPRESSION,
                        linger_ms=0,
                    )
                )
            return self._producer

    async def _drop_producer(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            await abandon(producer)

    async def _ask(self) -> AIOKafkaConsumer:
        async with self._opening:
            self._opened()
            if self._asking is None:
                self._asking = await self._started(self._consumer())
            return self._asking

    def _consumer(self) -> AIOKafkaConsumer:
        return AIOKafkaConsumer(
            **self._parameters,
            group_id=None,
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="earliest",  # records that went while we read: go on with the next that is kept
            fetch_max_wait_ms=_FETCH_WAIT_MS,
            max_partition_fetch_bytes=_FETCH_BYTES,
        )

    @asynccontextmanager
    async def _consuming(self) -> AsyncIterator[AIOKafkaConsumer]:
        self._opened()
        consumer = await self._guard.persist(lambda: self._started(self._consumer()))
        try:
            yield consumer
        finally:
            await consumer.stop()

    async def _started(self, client: Any) -> Any:
        """Start a producer or consumer, within the timeout."""
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await client.start()
        except BaseException:
            await client.stop()
            raise
        return client


def _record(topic: str, raw: ConsumerRecord[bytes | None, bytes | None]) -> Record:
    headers = tuple((name, content or b"") for name, content in raw.headers)
    return Record(topic, raw.partition, raw.offset, raw.timestamp, raw.key, raw.value, headers)
