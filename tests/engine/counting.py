"""A worker whose steps count: the engine's proof, run as a program of its own so that it can be killed.

``expand`` counts each booking and passes it on as a requirement; ``plan`` counts those. Each table says how often
each offset of each input was applied (``seen``), and how often each key came (``count``). Whoever reads the tables
afterwards sees every loss and every repetition.

``python -m tests.engine.counting [POINT NUMBER]`` takes its settings from the environment. On Kafka it can stop itself
(SIGSTOP) at a point of its NUMBERth transaction, so that it is a zombie at the worst of instants: before it ``begin``s,
before it ``send``s, before it ``commit``s, or before its ``store`` gets what was committed.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from typing import Any

from config.settings import Settings
from planner.step import Effects, Entries, Message, Record
from planner.topics import composed_key
from streams import metrics, names
from streams.delivery.assembly import PlannerApp, assemble

BUG = b"bug"
"""A record with this value makes a step raise."""


class CountingStep:
    """Counts records by key and by offset; passes bookings on; tells its sums when asked what is due."""

    def __init__(self, agent: str, partition: int, *, trace: bool = True) -> None:
        self._agent = agent
        self._partition = partition
        self._trace = trace
        self.counts: dict[bytes, int] = {}
        self.seen: dict[bytes, int] = {}
        self.caught_up = 0
        self._touched: set[bytes] = set()

    def restore(self, entries: Entries) -> None:
        """Counts by key and by offset."""
        prefix = composed_key("count", "")
        self.counts = {key.removeprefix(prefix): int(value) for key, value in entries.scan(prefix)}
        self.seen = {key: int(value) for key, value in entries.scan(composed_key("seen", ""))}

    def fold(self, chunk: Sequence[Record], *, caught_up: bool = True) -> Iterator[Effects]:
        """One page."""
        effects = Effects()
        self.caught_up += caught_up
        touched = set()
        for record in chunk:
            if record.value == BUG:
                raise ZeroDivisionError("a record that the step cannot take")
            key = record.key or b""
            self.counts[key] = self.counts.get(key, 0) + 1
            touched.add(key)
            if self._trace:
                seen = composed_key("seen", record.topic, str(record.offset))
                self.seen[seen] = self.seen.get(seen, 0) + 1
                effects.writes[seen] = b"%d" % self.seen[seen]
            if record.topic == "bookings":
                effects.messages.append(Message("requirements", key, record.value))
                effects.counts["applied"] += 1
        for key in touched:
            effects.writes[composed_key("count", "") + key] = b"%d" % self.counts[key]
        self._touched |= touched
        yield effects

    def due(self) -> list[Message]:
        """The newest count of each key that was touched."""
        touched, self._touched = self._touched, set()
        if self._agent != names.PLAN:
            return []
        return [Message("forecasts", key, b"%d" % self.counts[key]) for key in sorted(touched)]


def counting_app(settings: Settings, *, trace: bool = True) -> PlannerApp:
    """Both agents, counting."""
    return assemble(
        settings,
        {
            names.EXPAND: lambda partition: CountingStep(names.EXPAND, partition, trace=trace),
            names.PLAN: lambda partition: CountingStep(names.PLAN, partition, trace=trace),
        },
    )


def stop_itself_at(point: str, number: int) -> None:
    """SIGSTOP for the whole process, from within, when this point is reached so often."""
    from aiokafka import AIOKafkaProducer  # noqa: PLC0415 - on the embedded log there is none

    from streams.kafka.store import RocksStore  # noqa: PLC0415

    holder, name = {
        "begin": (AIOKafkaProducer, "begin_transaction"),
        "send": (AIOKafkaProducer, "send_batch"),
        "commit": (AIOKafkaProducer, "commit_transaction"),
        "store": (RocksStore, "write"),
    }[point]
    reached = 0
    act: Callable[..., Any] = getattr(holder, name)

    def stopping(*arguments: Any, **named: Any) -> Any:
        nonlocal reached
        reached += 1
        if reached == number:
            print(f"stopping at {point}", flush=True)
            os.kill(os.getpid(), signal.SIGSTOP)
        return act(*arguments, **named)

    setattr(holder, name, stopping)


async def work(settings: Settings) -> int:
    """Run until a signal or a crash; 0 after a clean stop."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    app = counting_app(settings)
    for agent in app.engines:
        table = app.tables[names.table_name(agent)]
        table.take_over = partial(_tell_given, agent, table.take_over)
        table.on_restorable.append(partial(_tell, "owns", agent))
    await app.start()
    print("started", flush=True)
    crashed = asyncio.ensure_future(app.wait_until_stopped())
    stopped = asyncio.ensure_future(stop.wait())
    await asyncio.wait({crashed, stopped}, return_when=asyncio.FIRST_COMPLETED)
    failed = app.crash_reason
    await asyncio.wait_for(app.stop(), 20)
    crashed.cancel()
    stopped.cancel()
    if failed is not None:
        print(f"crashed: {failed!r}", flush=True)
    return 1 if failed is not None else 0


async def _tell_given(agent: str, take_over: Callable[[set[int]], Awaitable[None]], partitions: set[int]) -> None:
    await _tell("is given", agent, partitions)
    await take_over(partitions)


async def _tell(what: str, agent: str, partitions: set[int]) -> None:
    read = metrics.changelog_records.labels(names.table_name(agent))._value.get()
    print(f"{what} {agent} {sorted(partitions)} having read {read:.0f} changelog records", flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        stop_itself_at(sys.argv[1], int(sys.argv[2]))
    sys.exit(asyncio.run(work(Settings())))
