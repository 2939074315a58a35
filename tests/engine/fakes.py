"""Stand-ins for the log, so that the engine is tested alone: an outlet that remembers, a table that is a dict."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from typing import Any

from faust.types import TP

from planner.step import TURN, Effects, Entries, Message, Record, Step
from streams.delivery.chunk import Chunk
from streams.delivery.outlet import Fenced, Page
from streams.engine import Engine

PREFIX = "p."


def at_once(giving_turns: Coroutine[Any, Any, None]) -> None:
    """Run to its end what waits for nothing, and only lets others run."""
    try:
        while giving_turns.send(None) is None:
            pass
    except StopIteration:
        return
    raise AssertionError("it waits for something")


class DictEntries:
    """A table's partition as a dict."""

    def __init__(self, content: dict[bytes, bytes]) -> None:
        self.content = content

    def get(self, key: bytes) -> bytes | None:
        return self.content.get(key)

    def scan(self, prefix: bytes) -> Iterable[tuple[bytes, bytes]]:
        return sorted((key, value) for key, value in self.content.items() if key.startswith(prefix))


class MemoryOutlet:
    """Applies pages to dict tables and keeps messages; ``failures`` are raised first, one per attempt."""

    faults: tuple[type[Exception], ...] = (ConnectionError,)

    def __init__(self) -> None:
        self.tables: dict[int, dict[bytes, bytes]] = {}
        self.messages: list[Message] = []
        """What steps publish; the engine's own entries of the journal are in ``journal``."""
        self.journal: list[Message] = []
        self.pages: list[Page] = []
        self.failures: list[Exception] = []
        self.owned: set[int] = set()

    def entries(self, partition: int) -> DictEntries:
        return DictEntries(self.tables.setdefault(partition, {}))

    async def own(self, agent: str, partitions: set[int]) -> None:
        self.owned = partitions

    async def deliver(self, page: Page) -> None:
        if self.failures:
            raise self.failures.pop(0)
        if not page.still_ours():
            raise Fenced
        self.messages += [message for message in page.messages if message.topic != "journal"]
        self.journal += [message for message in page.messages if message.topic == "journal"]
        self.pages.append(page)
        table = self.tables.setdefault(page.partition, {})
        for key, value in page.writes.items():
            if value is None:
                table.pop(key, None)
            else:
                table[key] = value

    async def publish(self, agent: str, partition: int, messages: Sequence[Message]) -> None:
        if self.failures:
            raise self.failures.pop(0)
        self.messages += messages


class ListStep:
    """Writes each record's value under its offset, and says which were caught up; pages of at most ``page_records``.
    A record ``bug`` is one; ``long`` takes long.
    """

    def __init__(self, partition: int, page_records: int = 1000) -> None:
        self.partition = partition
        self.page_records = page_records
        self.chunks: list[list[int]] = []
        self.caught_up: list[bool] = []
        self.postponed: list[Message] = []
        self.restored: dict[bytes, bytes] = {}

    def restore(self, entries: Entries) -> None:
        self.restored = dict(entries.scan(b""))

    def fold(self, chunk: Sequence[Record], *, caught_up: bool = True) -> Iterator[Effects]:
        self.chunks.append([record.offset for record in chunk])
        self.caught_up.append(caught_up)
        for first in range(0, len(chunk), self.page_records):
            page = Effects(more=first + self.page_records < len(chunk))
            for record in chunk[first : first + self.page_records]:
                if record.value == b"bug":
                    raise ZeroDivisionError("no")
                if record.value == b"long":
                    yield TURN
                page.writes[b"%s/%d" % (record.topic.encode(), record.offset)] = record.value
                page.messages.append(Message("outcomes", record.key, record.value))
                page.counts["applied"] += 1
            yield page

    def due(self) -> list[Message]:
        due, self.postponed = self.postponed, []
        return due


class Rig:
    """An engine with all of its surroundings faked."""

    def __init__(
        self, *, page_records: int = 1000, retry_limit_s: float = 5.0, forecast_interval_s: float = 0.001
    ) -> None:
        self.outlet = MemoryOutlet()
        self.made: list[ListStep] = []
        self.seeks: list[tuple[TP, int]] = []
        self.earliest = 0

        def make(partition: int) -> Step:
            self.made.append(ListStep(partition, page_records))
            return self.made[-1]

        async def seek_back(tp: TP, offset: int) -> None:
            self.seeks.append((tp, offset))

        async def earliest_offset(tp: TP) -> int:
            return self.earliest

        self.engine = Engine(
            "expand",
            prefix=PREFIX,
            make_step=make,
            entries=self.outlet.entries,
            outlet=self.outlet,
            seek_back=seek_back,
            earliest_offset=earliest_offset,
            compacted=["catalogue"],
            forecast_interval_s=forecast_interval_s,
            retry_limit_s=retry_limit_s,
        )
        at_once(self.engine.restore({0}))
        self.engine.begins_at(TP(PREFIX + "bookings", 0), 0)

    @property
    def step(self) -> ListStep:
        return self.made[-1]

    @property
    def table(self) -> dict[bytes, bytes]:
        return self.outlet.tables[0]


async def until(condition: Callable[[], bool], patience_s: float = 30.0) -> None:
    """Let others run until the condition holds."""
    async with asyncio.timeout(patience_s):
        while not condition():  # noqa: ASYNC110 - the condition belongs to code that knows no event
            await asyncio.sleep(0)


def record(offset: int, value: bytes = b"v", topic: str = "bookings") -> Record:
    """A record of partition 0."""
    return Record(topic, 0, offset, 1_700_000_000_000, b"k", value)


def chunk(
    *offsets: int, start: int | None = None, end: int | None = None, behind: int = 0, topic: str = "bookings"
) -> Chunk:
    """A chunk of records with these offsets."""
    return Chunk(
        PREFIX + topic,
        0,
        offsets[0] if start is None else start,
        offsets[-1] + 1 if end is None else end,
        behind,
        [record(offset, topic=topic) for offset in offsets],
    )
