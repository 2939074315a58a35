"""Faust's Kafka transport, in chunks: fetches of what is committed, labelled with their stretch of the log."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import ConsumerStoppedError, KafkaError
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from planner.step import Record
from streams.delivery.chunk import Chunk
from streams.delivery.consumer import ChunkConsumer

FETCH_WAIT_MS = 200
"""How long a broker holds a fetch that finds nothing. (Faust's 1.5 s delays every partition that joins meanwhile.)"""


class ChunkThread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]
    """The thread in which aiokafka runs: knows where each fetch continued, since seeks and fetches happen here."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._continues_at: dict[TP, int] = {}
        self._interrupted: asyncio.Event | None = None

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS
        consumer._isolation_level = "read_committed"
        return consumer

    async def _seek_wait(self, consumer: Any, partitions: Mapping[TP, int]) -> None:
        await super()._seek_wait(consumer, partitions)
        for tp, offset in partitions.items():
            self._continues_at[tp] = offset

    def waiting(self, tp: TP) -> bool:
        """Whether the broker has told of committed records that were not fetched."""
        state = self._state(tp)
        return state is not None and state.has_valid_position and (state.lso or 0) > state.position

    def _state(self, tp: TP) -> Any:
        assignment = self._ensure_consumer()._subscription.subscription.assignment
        return assignment.state_value(TopicPartition(tp.topic, tp.partition)) if assignment is not None else None

    def interrupt(self) -> None:
        """End a waiting fetch; called from the other thread."""
        if self._interrupted is not None and self.thread_loop.is_running():
            self.thread_loop.call_soon_threadsafe(self._interrupted.set)

    def rejoin(self) -> None:
        """Ask the group for a new assignment; called from the other thread."""
        if self.thread_loop.is_running():
            self.thread_loop.call_soon_threadsafe(self._ensure_consumer()._coordinator.request_rejoin)

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
            until_s = time.monotonic() + timeout_s
            while True:
                # without a timeout it takes what is there and does not wait
                drained = await fetcher.fetched_records(wanted, timeout=0, max_records=consumer._max_poll_records)
                if chunks := self._chunks(wanted, drained):
                    return chunks
                arrival = fetcher._create_fetch_waiter()
                interrupted = asyncio.ensure_future(self._interrupted.wait())
                done, _ = await asyncio.wait(
                    {arrival, interrupted},
                    timeout=max(0.0, until_s - time.monotonic()),
                    return_when=asyncio.FIRST_COMPLETED,
                )
                arrived = arrival in done
                arrival.cancel()
                interrupted.cancel()
                if not arrived or fetcher._closed:
                    return []
                arrival.result()

    def _chunks(self, wanted: set[TP], drained: Mapping[Any, Sequence[Any]]) -> list[Chunk]:
        """What came, and where nothing came but the position moved (markers, what was aborted), an empty chunk."""
        chunks = []
        for tp in wanted:
            records = drained.get(TopicPartition(tp.topic, tp.partition), ())
            state = self._state(tp)
            position = state.position if state is not None and state.has_valid_position else 0
            if records or position > self._continues_at.get(tp, position):
                chunks.append(self._chunk(tp, records, position, state))
        return chunks

    def _chunk(self, tp: TP, raw: Sequence[Any], position: int, state: Any) -> Chunk:
        end = max(raw[-1].offset + 1, position) if raw else position
        committed = (state.lso if state is not None else None) or 0
        start = self._continues_at.get(tp, raw[0].offset if raw else end)
        self._continues_at[tp] = end
        topic = tp.topic.removeprefix(self.consumer.transport.prefix)
        records = [Record(topic, r.partition, r.offset, r.timestamp, r.key, r.value, r.headers) for r in raw]
        return Chunk(tp.topic, tp.partition, start, end, max(0, committed - end), records)


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

    def rejoin(self) -> None:
        """Ask the group for a new assignment."""
        self._thread.rejoin()


class KafkaTransport(driver.Transport):  # type: ignore[misc]
    """Kafka, in chunks. ``prefix`` stands before the names of topics."""

    Consumer = KafkaConsumer

    def __init__(self, *args: Any, prefix: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.prefix = prefix
