"""The limit for Python: aiokafka and the steps in one loop. No framework, no rebalancing, nothing given up otherwise.

A round: fetch, fold each partition's records, send outputs and table entries as whole batches, wait for all of them,
commit. Tables are dictionaries, restored from their changelogs. At least once: a crash between a round's
acknowledgements and its commit repeats the round.
"""

from __future__ import annotations

import asyncio
import gc
import signal
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from benchmarks.peers.job import INPUT, PARTITIONS, Task, task
from planner.step import Message, Record, Step
from streams.kafka.connection import COMPRESSION
from streams.log import partition_of
from streams.names import changelog
from streams.worker import GARBAGE_THRESHOLDS

BATCH_BYTES = 900_000
FRAMING_BYTES = 64
FORECAST_INTERVAL_S = 0.1


class Table:
    """One partition's entries; ``planner.step.Entries``."""

    def __init__(self) -> None:
        self.entries: dict[bytes, bytes] = {}

    def get(self, key: bytes) -> bytes | None:
        """The entry's value."""
        return self.entries.get(key)

    def scan(self, prefix: bytes) -> Iterable[tuple[bytes, bytes]]:
        """Entries whose key begins with ``prefix``, in order."""
        return sorted(item for item in self.entries.items() if item[0].startswith(prefix))

    def write(self, writes: Iterable[tuple[bytes, bytes | None]]) -> None:
        """Put and delete."""
        for key, value in writes:
            if value is None:
                self.entries.pop(key, None)
            else:
                self.entries[key] = value


class Loop:
    """Both steps of all partitions."""

    def __init__(self, told: Task) -> None:
        self._told = told
        self._agents = {told.prefix + topic: agent for agent, topic in INPUT.items()}
        self._makers = told.steps()
        self._steps: dict[tuple[str, int], tuple[Step, Table]] = {}
        self.consumer = AIOKafkaConsumer(
            bootstrap_servers=told.broker, group_id=told.prefix + "hand", enable_auto_commit=False,
            auto_offset_reset="earliest", max_partition_fetch_bytes=4 << 20, fetch_max_wait_ms=100, check_crcs=False,
        )  # fmt: skip
        self.producer = AIOKafkaProducer(
            bootstrap_servers=told.broker, acks="all", enable_idempotence=True, compression_type=COMPRESSION,
            max_batch_size=8 << 20, max_request_size=16 << 20,
        )  # fmt: skip

    async def run(self, stop: asyncio.Event) -> None:
        """Until told to stop."""
        await self.consumer.start()
        await self.producer.start()
        try:
            await self._restore()
            self.consumer.assign([TopicPartition(t, p) for t in self._agents for p in range(PARTITIONS)])
            last_due_s = 0.0
            clock = asyncio.get_running_loop().time
            while not stop.is_set():
                fetched = await self.consumer.getmany(timeout_ms=100, max_records=2_000)
                await self._round(fetched)
                if clock() - last_due_s >= FORECAST_INTERVAL_S:
                    due = [message for step, _ in self._steps.values() for message in step.due()]
                    await self._settle(await self._publish(due))
                    last_due_s = clock()
        finally:
            await self.producer.stop()
            await self.consumer.stop()

    async def _restore(self) -> None:
        """The tables, as their changelogs say."""
        reader = AIOKafkaConsumer(bootstrap_servers=self._told.broker, group_id=None, auto_offset_reset="earliest")
        await reader.start()
        try:
            for agent in INPUT:
                for partition in range(PARTITIONS):
                    table = Table()
                    tp = TopicPartition(self._told.prefix + changelog(agent), partition)
                    reader.assign([tp])
                    end = (await reader.end_offsets([tp]))[tp]
                    while await reader.position(tp) < end:
                        for record in (await reader.getmany(tp, timeout_ms=100)).get(tp, ()):
                            table.write([(record.key, record.value)])
                    step = self._makers[agent](partition)
                    step.restore(table)
                    self._steps[agent, partition] = step, table
        finally:
            await reader.stop()

    async def _round(self, fetched: dict[Any, list[Any]]) -> None:
        sent = []
        commits = {}
        for tp, raw in fetched.items():
            topic = tp.topic.removeprefix(self._told.prefix)
            records = [Record(topic, tp.partition, r.offset, r.timestamp, r.key, r.value, r.headers) for r in raw]
            commits[tp] = raw[-1].offset + 1
            agent = self._agents[tp.topic]
            step, table = self._steps[agent, tp.partition]
            caught_up = commits[tp] >= (self.consumer.highwater(tp) or 0)
            for effects in step.fold(records, caught_up=caught_up):
                sent += await self._publish(effects.messages)
                log = self._told.prefix + changelog(agent)
                sent += await self._send(log, tp.partition, [(k, v, ()) for k, v in effects.writes.items()])
                table.write(effects.writes.items())
        await self._settle(sent)
        if commits:
            await self.consumer.commit(commits)

    async def _publish(self, messages: list[Message]) -> list[Any]:
        by_partition: dict[tuple[str, int], list[Any]] = defaultdict(list)
        for topic, key, value, partition, headers in messages:
            where = partition_of(key or b"", PARTITIONS) if partition is None else partition
            by_partition[self._told.prefix + topic, where].append((key, value, headers))
        return [f for (topic, where), group in by_partition.items() for f in await self._send(topic, where, group)]

    async def _send(self, topic: str, partition: int, records: list[Any]) -> list[Any]:
        sent = []
        batch, size = self.producer.create_batch(), 0
        for key, value, headers in records:
            more = len(key or b"") + len(value or b"") + FRAMING_BYTES
            if size and size + more > BATCH_BYTES:
                sent.append(await self.producer.send_batch(batch, topic, partition=partition))
                batch, size = self.producer.create_batch(), 0
            batch.append(key=key, value=value, timestamp=None, headers=list(headers))
            size += more
        if size:
            sent.append(await self.producer.send_batch(batch, topic, partition=partition))
        return sent

    async def _settle(self, sent: list[Any]) -> None:
        for future in sent:
            await future


async def main() -> None:
    """Until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await Loop(task()).run(stop)


if __name__ == "__main__":
    gc.set_threshold(*GARBAGE_THRESHOLDS)
    uvloop.run(main())
