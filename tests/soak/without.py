"""A pytest plugin that takes one handling out: ``WITHOUT_HANDLING=NAME python -m pytest -p tests.soak.without …``.

For ``tests.soak.obstacles`` alone. Each function puts back, in memory and for this process, what stock Faust does in
one place (0.15.3; see ``tests/faust_learning``), or what a plain agent would do. No file is changed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from faust.tables.recovery import Recovery
from faust.transport.consumer import Consumer
from faust.types import TP

import planner.booking_step
from planner.records import DeadLetter, decode
from streams import names
from streams.delivery import assembly
from streams.delivery.chunk import Chunk, ChunkSchema
from streams.delivery.consumer import ChunkConsumer
from streams.delivery.outlet import Page
from streams.delivery.recovery import ChunkRecovery
from streams.engine import Engine
from streams.kafka.writer import PartitionWriter

VARIABLE: Final = "WITHOUT_HANDLING"


def commits() -> None:
    """Obstacle 1: offsets that may be committed are counted as stock counts them, with ``_add_gap``."""
    deliver, ack = ChunkConsumer._deliver, ChunkConsumer.ack

    async def deliver_and_count(consumer: Any, chunk: Chunk) -> None:
        tp, offset = TP(chunk.topic, chunk.partition), chunk.last_offset
        read = consumer._read_offset[tp]
        if read and offset - read > 1 and consumer.app.topics.acks_enabled_for(chunk.topic):
            await Consumer._add_gap(consumer, tp, read + 1, offset)
        await deliver(consumer, chunk)
        consumer._read_offset[tp] = offset

    def ack_and_count(consumer: Any, message: Any) -> bool:
        first = bool(ack(consumer, message))
        if first:
            message.acked = False
            Consumer.ack(consumer, message)
        return first

    put(ChunkConsumer, "_deliver", deliver_and_count)
    put(ChunkConsumer, "ack", ack_and_count)
    for name in ("_filter_tps_with_pending_acks", "_filter_committable_offsets"):
        put(ChunkConsumer, name, getattr(Consumer, name))


def waking() -> None:
    """Obstacle 2: nobody is woken; where nothing is wanted, a flat second is slept."""

    async def a_second(consumer: Any) -> None:
        await consumer.sleep(1)

    put(ChunkConsumer, "_wake", lambda consumer: None)
    put(ChunkConsumer, "_wait_for_change", a_second)


def pages() -> None:
    """Obstacle 3: a changelog message for each table write, and the position after them."""
    deliver = Engine._deliver

    async def one_by_one(engine: Any, slot: Any, chunk: Chunk, effects: Any, position: Mapping[bytes, bytes]) -> None:
        for key, value in effects.writes.items():
            page = Page(engine.agent, engine._prefix + names.changelog(engine.agent), chunk.partition, [], {key: value})
            await engine._outlet.deliver(page)
        effects.writes.clear()
        await deliver(engine, slot, chunk, effects, position)

    put(Engine, "_deliver", one_by_one)


def batches() -> None:
    """Obstacle 3 on Kafka: each record is handed to aiokafka by itself, as Faust's ``ProducerBuffer`` does."""

    async def append(writer: Any, target: Any, records: Sequence[Any]) -> int:
        sent = [
            await writer.producer.send(target.topic, value, key, partition=target.partition)
            for key, value, _ in records
        ]
        return int([(await future).offset for future in sent][-1])

    put(PartitionWriter, "_append", append)


def epochs() -> None:
    """Obstacle 4: a seek forgets nothing, and an acknowledgement counts for whatever is in flight."""
    ack = ChunkConsumer.ack

    def ack_any(consumer: Any, message: Any) -> bool:
        if message.tp in consumer._in_flight:
            consumer._in_flight[message.tp] = message
        return bool(ack(consumer, message))

    async def seek_wait(consumer: Any, partitions: Mapping[TP, int]) -> None:
        await super(ChunkConsumer, consumer).seek_wait(partitions)

    put(ChunkConsumer, "ack", ack_any)
    put(ChunkConsumer, "seek_wait", seek_wait)


def channels() -> None:
    """Obstacle 5: topics that agents consume are registered once more, with a channel that nobody reads."""
    declare = assembly.declare_agents

    def declare_and_register(app: Any, topics: dict[str, Any], engines: dict[str, Engine]) -> None:
        declare(app, topics, engines)
        for topic in topics.values():
            app.topics.add(app.topic(*topic.topics, schema=ChunkSchema(), partitions=topic.partitions))

    put(assembly, "declare_agents", declare_and_register)


def dead_letters() -> None:
    """Obstacle 6: what cannot be read is an error of the handler, as in a stock agent."""

    def decode_or_raise(*arguments: Any, **named: Any) -> Any:
        read = decode(*arguments, **named)
        if isinstance(read, DeadLetter):
            raise ValueError(read.reason)
        return read

    put(planner.booking_step, "decode", decode_or_raise)


def crashing() -> None:
    """Obstacle 7: a stock agent; its event is acknowledged although its handler raised, and it is started again."""

    def declare(app: Any, topics: dict[str, Any], engines: dict[str, Engine]) -> None:
        for name, engine in engines.items():
            app.agent(topics[name], name=name)(_stock(engine))

    put(assembly, "declare_agents", declare)


def _stock(engine: Engine) -> Any:
    async def consume(stream: Any) -> None:
        async for event in stream.events():
            await engine.apply(event.value)

    return consume


def order() -> None:
    """Issue 596: recovery hands over to the streams in stock's order."""
    put(ChunkRecovery, "on_recovery_completed", Recovery.on_recovery_completed)


def positions() -> None:
    """Issue 596, the second line: what comes is taken to be what follows, whatever the table says."""
    apply = Engine._apply

    async def trusting(engine: Any, slot: Any, chunk: Chunk) -> bool:
        slot.applied[engine._short(chunk.topic)] = chunk.start
        return await apply(engine, slot, chunk)

    put(Engine, "_apply", trusting)


HANDLINGS: Final[Mapping[str, Callable[[], None]]] = {
    function.__name__.replace("_", "-"): function
    for function in (commits, waking, pages, batches, epochs, channels, dead_letters, crashing, order, positions)
}


def put(holder: Any, name: str, value: Any) -> None:
    """Replace an attribute that is there; for the process's life, so that nothing puts it back too early."""
    if not hasattr(holder, name):
        raise AttributeError(f"{holder} has no {name}: the handling is somewhere else by now")
    setattr(holder, name, value)


def pytest_configure() -> None:
    """Take out what the variable names."""
    if (name := os.environ.get(VARIABLE)) is not None:
        HANDLINGS[name]()
