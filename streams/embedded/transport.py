"""A Faust transport over the embedded log: all partitions are this process's own, and a page is one transaction.

Reading happens in the loop's thread (a reader of the file waits for nobody); writing in a thread of its own, where it
may wait for the disk or for another process that publishes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

from faust.assignor.client_assignment import ClientAssignment
from faust.transport.base import Producer, Transport
from faust.transport.consumer import Consumer
from faust.types import TP
from faust.types.tuples import RecordMetadata

from planner.step import Message
from streams.delivery.chunk import Chunk
from streams.delivery.consumer import ChunkConsumer
from streams.delivery.outlet import Fenced, Page
from streams.embedded.database import Database
from streams.embedded.upkeep import upkeep
from streams.log import LogBusy, LogDamaged, LogFull, partition_of

T = TypeVar("T")

POLL_S = 0.01
"""How often the file is asked whether another process has written (a few microseconds each)."""
UPKEEP_S = 5.0
"""How often what may go is removed."""


class EmbeddedLog:
    """The file, open twice: for reading in the loop's thread, for writing in a thread of its own."""

    def __init__(self, path: Path, durability: Literal["full", "normal"]) -> None:
        self.reader = Database(path, durability=durability)
        self._writer = Database(path, durability=durability)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="embedded-log")
        self.written = asyncio.Event()
        """Set after each write of this process, so that a reader need not wait for its next look."""

    async def write(self, work: Callable[[Database], T]) -> T:
        """Do this in the writing thread."""
        result = await asyncio.get_running_loop().run_in_executor(self._thread, work, self._writer)
        self.written.set()
        return result

    def close(self) -> None:
        """Let go of the file, after what is being written."""
        self._thread.shutdown(wait=True)
        self._writer.close()
        self.reader.close()


class EmbeddedTransport(Transport):  # type: ignore[misc]
    """The embedded log. ``prefix`` stands before the names of topics."""

    driver_version = "embedded"

    def __init__(
        self, app: Any, log: EmbeddedLog, *, prefix: str, chunk_max_records: int, chunk_max_bytes: int
    ) -> None:
        super().__init__([], app)
        self.log = log
        self.prefix = prefix
        self.chunk_max_records = chunk_max_records
        self.chunk_max_bytes = chunk_max_bytes


class _LogConsumer(Consumer):  # type: ignore[misc]
    """What Faust asks of a consumer, from the file."""

    transport: EmbeddedTransport

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._assigned: set[TP] = set()
        self._positions: dict[TP, int] = {}
        super().__init__(*args, **kwargs)

    @property
    def _database(self) -> Database:
        return self.transport.log.reader

    async def subscribe(self, topics: Iterable[str]) -> None:
        """Assign every partition of these topics to this process.

        In a task of its own: whoever subscribes holds what the assignment waits for.
        """
        wanted = {TP(topic, partition) for topic in topics for partition in self._database.end_offsets(topic)}
        if wanted != self._assigned:
            self.add_future(self._assign(wanted))

    async def _assign(self, wanted: set[TP]) -> None:
        app = self.app
        app.on_rebalance_start()
        if self._assigned:
            await self.on_partitions_revoked(self._assigned)
        actives: dict[str, list[int]] = {}
        for tp in sorted(wanted):
            actives.setdefault(tp.topic, []).append(tp.partition)
        app.assignor._assignment = ClientAssignment(actives=actives, standbys={})
        app.assignor._active_tps = set(wanted)
        self._assigned = wanted
        app.consumer_generation_id += 1
        await self.on_partitions_assigned(set(wanted), app.consumer_generation_id)

    def assignment(self) -> set[TP]:
        """Every partition subscribed to."""
        return set(self._assigned)

    async def seek_wait(self, partitions: Mapping[TP, int]) -> None:
        """Continue at these offsets.

        Raises:
            LogDamaged: one is beyond the log's end, so that the log is not the one it came from.
        """
        for tp, offset in partitions.items():
            end = self.highwater(tp)
            if offset > end:
                raise LogDamaged(
                    f"{self._database.path}: {tp.topic}/{tp.partition} ends at {end}, and {offset} was applied before: "
                    "records are missing; restore the file from a copy"
                )
            self._positions[tp] = offset

    async def _seek(self, partition: TP, offset: int) -> None:
        await self.seek_wait({partition: offset})

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Faust's own way back, which ``perform_seek`` replaces."""
        committed = self._database.committed(self.app.conf.id)
        offsets = {tp: committed[tuple(tp)] for tp in self._assigned if tuple(tp) in committed}
        await self.seek_wait(offsets)
        return offsets

    async def position(self, tp: TP) -> int | None:
        """Where the next fetch continues."""
        return self._positions.get(tp)

    def highwater(self, tp: TP) -> int:
        """Offset the next record gets."""
        return self._database.end_offsets(tp.topic)[tp.partition]

    async def highwaters(self, *partitions: TP) -> Mapping[TP, int]:
        """Offsets the next records get."""
        return {tp: self.highwater(tp) for tp in partitions}

    async def earliest_offsets(self, *partitions: TP) -> Mapping[TP, int]:
        """First offsets that are kept."""
        return {tp: self._database.first_offsets(tp.topic)[tp.partition] for tp in partitions}

    def topic_partitions(self, topic: str) -> int | None:
        """Number of partitions."""
        return self._database.topic(topic).spec.partitions

    def key_partition(self, topic: str, key: bytes | None, partition: int | None = None) -> int | None:
        """The partition of a key."""
        count = self._database.topic(topic).spec.partitions
        return partition if partition is not None else partition_of(key or b"", count)

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        """Nothing to do: offsets were committed with their page, in one transaction."""
        return True

    async def create_topic(self, topic: str, *args: Any, **kwargs: Any) -> None:
        """Topics are made by the worker before the app starts."""
        self._database.topic(topic)

    def _new_topicpartition(self, topic: str, partition: int) -> TP:
        return TP(topic, partition)

    def _to_message(self, tp: TP, record: Any) -> Any:
        raise NotImplementedError("records travel in chunks")

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> Any:  # noqa: ASYNC109 - Faust's
        raise NotImplementedError("records travel in chunks")


class EmbeddedConsumer(ChunkConsumer, _LogConsumer):
    """Consumer of chunks. Also keeps the house: removes what may go."""

    fetch_faults = (LogBusy,)

    async def on_start(self) -> None:
        """Start removing what may go."""
        await super().on_start()
        self.add_future(self._keep_house())

    async def _keep_house(self) -> None:
        while not self.should_stop:
            await self.sleep(UPKEEP_S)
            try:
                removed = 1
                while removed and not self.should_stop:
                    removed = await self.transport.log.write(upkeep)
            except (LogBusy, LogFull) as fault:
                self.log.warning("Nothing was removed this time: %s", fault)

    async def _fetch(self, wanted: set[TP], timeout_s: float) -> list[Chunk]:
        written = self.transport.log.written
        until = time.monotonic() + timeout_s
        while True:
            written.clear()
            seen = self._database.change()
            # one look tells which partitions hold anything new; most do not
            ends = self._database.all_end_offsets()
            chunks = [chunk for tp in sorted(wanted) if (chunk := self._read(tp, ends.get(tp, 0))) is not None]
            if chunks:
                return chunks
            while self._database.change() == seen and not written.is_set():
                if time.monotonic() >= until or self._wanted_changed.is_set():
                    return []
                await asyncio.sleep(POLL_S)

    def _waiting(self, tp: TP) -> bool:
        return self.highwater(tp) > self._positions.get(tp, 0)

    def _read(self, tp: TP, log_end: int) -> Chunk | None:
        """What follows the position; ``log_end`` as known just before."""
        start = self._positions.get(tp)
        if start is None or start >= log_end:
            return None
        transport = self.transport
        records = self._database.fetch(
            tp.topic,
            tp.partition,
            start,
            records_max=transport.chunk_max_records,
            bytes_max=transport.chunk_max_bytes,
            name=tp.topic.removeprefix(transport.prefix),
        )
        if not records:
            return None
        end = records[-1].offset + 1
        self._positions[tp] = end
        return Chunk(tp.topic, tp.partition, start, end, max(0, log_end - end), records)


class EmbeddedProducer(Producer):  # type: ignore[misc]
    """Faust's producer over the file; pages do not pass through it."""

    transport: EmbeddedTransport

    async def send(  # noqa: PLR0917 - Faust's
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        partition: int | None,
        timestamp: float | None,
        headers: Any,
        *,
        transactional_id: str | None = None,
    ) -> Awaitable[RecordMetadata]:
        """Write it; the future is done."""
        pairs = headers.items() if isinstance(headers, Mapping) else headers or ()
        message = Message(topic, key, value, partition, tuple(pairs))
        ((written, offset),) = await self.transport.log.write(lambda database: database.append([message]))
        future: asyncio.Future[RecordMetadata] = asyncio.get_running_loop().create_future()
        future.set_result(RecordMetadata(topic, written, TP(topic, written), offset))
        return future

    async def send_and_wait(self, *args: Any, **kwargs: Any) -> RecordMetadata:
        """Write it."""
        return await (await self.send(*args, **kwargs))

    async def create_topic(self, topic: str, *args: Any, **kwargs: Any) -> None:
        """Topics are made by the worker before the app starts."""
        self.transport.log.reader.topic(topic)

    def key_partition(self, topic: str, key: bytes) -> TP:
        """The partition of a key."""
        return TP(topic, partition_of(key, self.transport.log.reader.topic(topic).spec.partitions))

    def supports_headers(self) -> bool:
        """They are kept."""
        return True


EmbeddedTransport.Consumer = EmbeddedConsumer
EmbeddedTransport.Producer = EmbeddedProducer


class EmbeddedOutlet:
    """A page is one transaction: messages, entries, applied offset and the group's commit are all there or none is."""

    faults: tuple[type[Exception], ...] = (LogBusy,)

    def __init__(self, log: EmbeddedLog, *, prefix: str, group: str) -> None:
        self._log = log
        self._prefix = prefix
        self._group = group

    async def own(self, agent: str, partitions: set[int]) -> None:
        """See Outlet. There is one worker, which holds the file's lock."""

    async def deliver(self, page: Page) -> None:
        """See Outlet."""
        if not page.still_ours():
            raise Fenced

        def work(database: Database) -> None:
            with database.transaction() as transaction:
                if page.messages:
                    transaction.append(page.messages, self._prefix)
                if page.writes:
                    transaction.put(page.changelog, page.partition, page.writes)
                if page.applied:
                    offsets = {(topic, page.partition): offset for topic, offset in page.applied.items()}
                    transaction.commit(self._group, offsets)

        await self._log.write(work)

    async def publish(self, agent: str, partition: int, messages: Sequence[Message]) -> None:
        """See Outlet."""
        await self._log.write(lambda database: cast(Any, database.append(messages, self._prefix)))
