"""Stock Faust: its own consumer, one event at a time, stock tables with changelogs. The same steps, called per event.

Tables are kept in memory, Faust's fastest store. Faust acknowledges an event after its turn of the loop and commits
every second.
"""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import Iterable, Iterator
from typing import Any

import faust
import uvloop

from benchmarks.peers.job import INPUT, PARTITIONS, Task, task
from planner.step import Message, Record, Step
from streams.kafka.connection import COMPRESSION
from streams.worker import GARBAGE_THRESHOLDS

RAW = {"key_serializer": "raw", "value_serializer": "raw", "key_type": bytes, "value_type": bytes}


class PartOfTable:
    """One partition's entries of a Faust table, which is one dictionary for all: keys begin with the partition."""

    def __init__(self, table: Any, partition: int) -> None:
        self._table = table
        self._prefix = b"%d/" % partition

    def get(self, key: bytes) -> bytes | None:
        """The entry's value."""
        value: bytes | None = self._table.get(self._prefix + key)
        return value

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Entries whose key begins with ``prefix``, in order."""
        whole = self._prefix + prefix
        for key, value in sorted(item for item in self._table.items() if item[0].startswith(whole)):
            yield key.removeprefix(self._prefix), value

    def write(self, writes: Iterable[tuple[bytes, bytes | None]]) -> None:
        """Put and delete; Faust writes the changelog."""
        for key, value in writes:
            if value is None:
                self._table.pop(self._prefix + key, None)
            else:
                self._table[self._prefix + key] = value


def build(told: Task) -> faust.App:
    """The app: an agent and a table for each step."""
    app = faust.App(
        told.prefix + "stock", broker=f"kafka://{told.broker}", store="memory://", datadir=told.directory,
        topic_partitions=PARTITIONS, topic_replication_factor=1, topic_disable_leader=True, reply_create_topic=False,
        broker_commit_interval=1.0, producer_acks=-1, consumer_auto_offset_reset="earliest", web_enabled=False,
        consumer_max_fetch_size=4 << 20, stream_wait_empty=False,
        producer_compression_type=COMPRESSION,
    )  # fmt: skip
    topics: dict[str, Any] = {}
    steps: dict[tuple[str, int], tuple[Step, PartOfTable]] = {}
    makers = told.steps()

    def topic(name: str) -> Any:
        if name not in topics:
            topics[name] = app.topic(told.prefix + name, partitions=PARTITIONS, **RAW)
        return topics[name]

    async def publish(messages: list[Message]) -> None:
        for name, key, value, partition, headers in messages:
            await topic(name).send(key=key, value=value, partition=partition, headers=list(headers))

    def agent(name: str) -> None:
        table = app.Table(name, partitions=PARTITIONS, schema=faust.Schema(**RAW))

        async def consume(stream: Any) -> None:
            async for event in stream.events():
                raw = event.message
                where = (name, raw.partition)
                if where not in steps:
                    part = PartOfTable(table, raw.partition)
                    steps[where] = makers[name](raw.partition), part
                    steps[where][0].restore(part)
                step, part = steps[where]
                record = Record(
                    INPUT[name], raw.partition, raw.offset, int(raw.timestamp * 1000), raw.key, raw.value,
                    tuple(raw.headers or ()),
                )  # fmt: skip
                caught_up = raw.offset + 1 >= (app.consumer.highwater(raw.tp) or 0)
                for effects in step.fold([record], caught_up=caught_up):
                    await publish(effects.messages)
                    part.write(effects.writes.items())

        app.agent(topic(INPUT[name]), name=name)(consume)

    for name in INPUT:
        agent(name)

    @app.timer(0.1)
    async def publish_due() -> None:
        for step, _ in list(steps.values()):
            await publish(step.due())

    return app


async def main() -> None:
    """Until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    app = build(task())
    await app.start()
    await stop.wait()
    async with asyncio.timeout(10):
        await app.stop()


if __name__ == "__main__":
    gc.set_threshold(*GARBAGE_THRESHOLDS)
    uvloop.run(main())
