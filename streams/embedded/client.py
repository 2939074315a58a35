"""A client of the embedded log. Any number of them, in any process, beside the worker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

from planner.step import Message, Record
from streams.embedded.database import Database
from streams.log import LogError, Start, TopicSpec, begin_at, chosen, newest

# How often a reader that follows looks for new commits: at once after one, then ever less often.
_LOOK_SECONDS_MIN: Final = 0.002
_LOOK_SECONDS_MAX: Final = 0.02
_PAGE: Final = 1_000

T = TypeVar("T")


class EmbeddedClient:
    """A LogClient over one SQLite file.

    Reads are short and run on the loop: no writer ever blocks them. Writes may have to wait for another process
    and run in a thread of their own, with a connection of their own.
    """

    def __init__(self, path: Path, prefix: str = "", *, busy_seconds: float = 10.0) -> None:
        self.prefix = prefix
        self._path = path
        self._busy_seconds = busy_seconds
        self._reading: Database | None = None
        self._writing: Database | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="log-writer")
        self._closed = False

    async def open(self) -> None:
        """Check the file, if there is one already. The first ``ensure_topics`` makes it."""
        if self._path.exists():
            self._reader()

    async def ensure_topics(self, specs: Iterable[TopicSpec]) -> None:
        """See LogClient."""
        named = [replace(spec, name=self.prefix + spec.name) for spec in specs]
        await self._write(lambda database: database.ensure_topics(named), create=True)

    async def partitions(self, topic: str) -> int:
        """See LogClient."""
        return self._reader().topic(self.prefix + topic).spec.partitions

    async def publish(self, messages: Sequence[Message]) -> list[tuple[int, int]]:
        """See LogClient. All of them become durable together."""
        return await self._write(lambda database: database.append(messages, self.prefix))

    async def first_offsets(self, topic: str) -> dict[int, int]:
        """See LogClient."""
        return self._reader().first_offsets(self.prefix + topic)

    async def end_offsets(self, topic: str) -> dict[int, int]:
        """See LogClient."""
        return self._reader().end_offsets(self.prefix + topic)

    async def latest(self, topic: str, partition: int | None = None, key_prefix: bytes = b"") -> dict[bytes, Record]:
        """See LogClient."""
        database, name = self._reader(), self.prefix + topic
        partitions = range(len(database.topic(name).numbers)) if partition is None else (partition,)
        views = []
        for number in partitions:
            view = []
            for record in database.latest(name, number, key_prefix, name=topic):
                view.append(record)
                if len(view) % _PAGE == 0:
                    await asyncio.sleep(0)
            views.append(view)
        return newest(views)

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
        """See LogClient."""
        database, name = self._reader(), self.prefix + topic
        ends = chosen(topic, database.end_offsets(name), partitions)
        first = database.first_offsets(name)
        positions = begin_at(topic, start, {partition: first[partition] for partition in ends}, ends)
        wait_seconds = _LOOK_SECONDS_MIN
        change = None
        while not self._closed:
            now = database.change()
            if now == change:
                await asyncio.sleep(wait_seconds)
                wait_seconds = min(wait_seconds * 1.5, _LOOK_SECONDS_MAX)
                continue
            found = False
            for partition in list(positions):
                chunk = database.fetch(
                    name, partition, positions[partition], records_max=min(records_max, _PAGE), name=topic
                )
                if not follow:
                    chunk = [record for record in chunk if record.offset < ends[partition]]
                    if not chunk:
                        del positions[partition]
                if chunk:
                    positions[partition] = chunk[-1].offset + 1
                    found = True
                    yield chunk
                    await asyncio.sleep(0)
            if not positions:
                return
            if found:
                wait_seconds = _LOOK_SECONDS_MIN
            elif follow:
                # Only what was committed before the look, and has been read, counts as seen.
                change = now

    async def close(self) -> None:
        """See LogClient. Readers that follow come to their end."""
        if self._closed:
            return
        self._closed = True
        await asyncio.get_running_loop().run_in_executor(None, self._thread.shutdown)
        for database in (self._reading, self._writing):
            if database is not None:
                database.close()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _reader(self) -> Database:
        self._check_open()
        if self._reading is None:
            self._reading = Database(self._path, create=False, busy_seconds=self._busy_seconds)
        return self._reading

    async def _write(self, work: Callable[[Database], T], *, create: bool = False) -> T:
        def run() -> T:
            if self._writing is None:
                self._writing = Database(self._path, create=create, busy_seconds=self._busy_seconds)
            return work(self._writing)

        self._check_open()
        return await asyncio.get_running_loop().run_in_executor(self._thread, run)

    def _check_open(self) -> None:
        if self._closed:
            raise LogError(f"{self._path}: this client is closed")
