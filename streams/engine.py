"""The engine: one agent's steps, a chunk at a time. Restore, check the position, fold, make durable, acknowledge.

The table holds the applied offset of each input beside the entries, written in the same atomic batch. So the engine,
not the consumer group, knows what was applied: records below the applied offset are skipped, and a chunk that begins
above it is a detected loss, which is read again, or stops the worker where the log no longer has it.
"""

from __future__ import annotations

import asyncio
import gc
import time
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import structlog
from faust.types import TP

from planner.journal import applied_message
from planner.messages import OutcomeStatus
from planner.step import TURN, Effects, Entries, Message, Record, Step
from streams import metrics, names
from streams.delivery.chunk import Chunk
from streams.delivery.outlet import Fenced, Outlet, Page
from streams.failure import raise_first, step_failed
from streams.retry import persist

log = structlog.get_logger(__name__)

_OUTCOMES = frozenset(status.value for status in OutcomeStatus)


class RecordsLost(RuntimeError):  # noqa: N818 - named after what happened
    """The log no longer has records that were not yet applied, or is not the log that the table belongs to."""


@dataclass(slots=True)
class _Slot:
    """A partition: its step and how far each input was applied (topics without prefix)."""

    partition: int
    step: Step
    applied: dict[str, int]
    began: dict[str, int] = field(default_factory=dict)
    """Where an input of which nothing was applied begins."""
    made_with: Mapping[str, Any] | None = None
    """How the step was made, for the journal; None once that is told."""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while a chunk is folded and made durable, so that what is due is taken between chunks."""
    telling: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held, before ``lock``, from taking what is due until it is published: a stop in between would lose it."""
    dropped: bool = False


class Engine:
    """The steps of one agent in this worker."""

    def __init__(
        self,
        agent: str,
        *,
        prefix: str,
        make_step: Callable[[int], Step],
        entries: Callable[[int], Entries],
        outlet: Outlet,
        seek_back: Callable[[TP, int], Awaitable[None]],
        earliest_offset: Callable[[TP], Awaitable[int]],
        compacted: Collection[str] = (),
        forecast_interval_s: float = 0.1,
        retry_limit_s: float = 60.0,
    ) -> None:
        self.agent = agent
        self._prefix = prefix
        self._make_step = make_step
        self._entries = entries
        self._outlet = outlet
        self._seek_back = seek_back
        self._earliest_offset = earliest_offset
        self._compacted = frozenset(compacted)
        self._forecast_interval_s = forecast_interval_s
        self._retry_limit_s = retry_limit_s
        self._slots: dict[int, _Slot] = {}
        self._closing = False
        self._chunks = 0
        """That have come in so far."""
        self._touched = asyncio.Event()
        """Set when forecasts may be due: after a chunk, after a restore, and while some are left."""

    # --- partitions come and go -------------------------------------------------------------------------------

    async def restore(self, partitions: set[int]) -> None:
        """Own exactly these partitions, each restored from its table. Steps are never carried over a rebalance.

        A partition takes seconds when it is large: after each, others may run, such as the worker's heartbeat.
        """
        self.drop()
        self._closing = False
        for partition in sorted(partitions):
            entries = self._entries(partition)
            step = self._make_step(partition)
            began = time.perf_counter()
            with _no_collection():
                step.restore(entries)
            applied = {
                topic: int(value)
                for topic in names.INPUTS.get(self.agent, ())
                if (value := entries.get(names.position_key(topic))) is not None
            }
            made_with: Mapping[str, Any] = getattr(step, "made_with", dict)()
            self._slots[partition] = _Slot(partition, step, applied, made_with=made_with)
            log.info(
                "restored",
                agent=self.agent,
                partition=partition,
                applied=applied,
                seconds=round(time.perf_counter() - began, 3),
            )
            await asyncio.sleep(0)
        self._touched.set()

    def drop(self) -> None:
        """Own nothing; a chunk being folded is not written."""
        for slot in self._slots.values():
            slot.dropped = True
        self._slots.clear()

    async def release(self, timeout_s: float) -> None:
        """Let chunks in flight and forecasts that are due come to their end, then own nothing."""
        self._closing = True
        try:
            async with asyncio.timeout(timeout_s):
                for slot in list(self._slots.values()):
                    async with slot.telling, slot.lock:
                        while not slot.dropped and (due := slot.step.due()):
                            await self._publish(slot, due)
        except TimeoutError:
            log.warning("partitions_left_in_flight", agent=self.agent, waited_seconds=timeout_s)
        self.drop()

    def applied_offset(self, tp: TP) -> int | None:
        """Offset of the next record of an input to apply; None: nothing was applied yet, or not ours."""
        slot = self._slots.get(tp.partition)
        return None if slot is None else slot.applied.get(self._short(tp.topic))

    def begins_at(self, tp: TP, offset: int) -> None:
        """Nothing of this input was applied yet, and its log begins here."""
        if (slot := self._slots.get(tp.partition)) is not None:
            slot.began[self._short(tp.topic)] = offset

    def refresh_gauges(self, ends: Callable[[TP], int | None]) -> None:
        """Lag and state as they are now; ``ends``: the log's end of an input."""
        for partition, slot in list(self._slots.items()):
            for topic in names.INPUTS[self.agent]:
                applied = slot.applied.get(topic, slot.began.get(topic, 0))
                end = ends(TP(self._prefix + topic, partition))
                labels = (self.agent, topic, str(partition))
                metrics.applied_offset.labels(*labels).set(applied)
                metrics.lag_records.labels(*labels).set(max(0, (end or applied) - applied))
            gauges: Mapping[str, float] = getattr(slot.step, "gauges", dict)()
            for name, value in gauges.items():
                metrics.state.labels(self.agent, str(partition), name).set(value)
                if name == "alerts_open":
                    metrics.alerts_open.labels(str(partition)).set(value)

    @property
    def steps(self) -> Mapping[int, Step]:
        """The steps by partition, for readers in this process."""
        return {partition: slot.step for partition, slot in self._slots.items()}

    # --- a chunk ----------------------------------------------------------------------------------------------

    async def apply(self, chunk: Chunk) -> bool:
        """Fold a chunk and make its effects durable; True when it may be acknowledged.

        Raises:
            RecordsLost: the log no longer has what should have come.
            StepFailed: a bug in a step.
        """
        self._chunks += 1
        slot = self._slots.get(chunk.partition)
        if slot is None or self._closing:
            return False
        async with slot.lock:
            if slot.dropped or self._closing:
                return False
            try:
                return await self._apply(slot, chunk)
            except Fenced:
                self._lose(slot)
                return False
            except BaseException:
                # the step may be ahead of the table: whatever waits for its turn must not be folded on top of that
                slot.dropped = True
                raise

    def _lose(self, slot: _Slot) -> None:
        """The partition went to another: what is in memory is void."""
        log.warning("partition_gone", agent=self.agent, partition=slot.partition)
        slot.dropped = True
        if self._slots.get(slot.partition) is slot:
            del self._slots[slot.partition]

    async def _apply(self, slot: _Slot, chunk: Chunk) -> bool:
        topic = self._short(chunk.topic)
        tp = TP(chunk.topic, chunk.partition)
        records = chunk.records
        expected = slot.applied.get(topic, slot.began.get(topic))
        if expected is None:
            expected = await self._earliest_offset(tp)
        if records and records[0].offset < chunk.start:
            raise RecordsLost(
                f"{chunk.topic}/{chunk.partition}: the log was asked for offset {chunk.start} and begins anew at "
                f"{records[0].offset}: it was truncated or replaced, and the table {names.table_name(self.agent)} "
                "belongs to the former log"
            )
        if chunk.start > expected:
            log.warning("gap", agent=self.agent, topic=topic, partition=tp.partition, at=chunk.start, expected=expected)
            metrics.gaps.labels(self.agent).inc()
            await self._seek_back(tp, expected)
            return False
        if records and records[0].offset < expected:
            known = bisect_left(records, expected, key=_offset)
            metrics.skipped.labels(self.agent).inc(known)
            records = records[known:]
        if chunk.end <= expected:
            return True
        if records and records[0].offset > expected and topic not in self._compacted:
            await self._check_kept(tp, expected)
        await self._fold(slot, topic, chunk, expected, records)
        return True

    async def _check_kept(self, tp: TP, expected: int) -> None:
        """The first record is not the expected one: a natural hole (transaction markers), or removed too early."""
        earliest = await self._earliest_offset(tp)
        if earliest > expected:
            raise RecordsLost(
                f"{tp.topic}/{tp.partition}: records {expected} to {earliest - 1} were not yet applied and the log no "
                "longer has them (retention); restore the log, or delete the table's changelog to begin anew"
            )

    async def _fold(self, slot: _Slot, topic: str, chunk: Chunk, expected: int, records: list[Record]) -> None:
        caught_up = chunk.behind <= 0
        pages = iter(slot.step.fold(records, caught_up=caught_up)) if records else iter(())
        position = {names.position_key(topic): b"%d" % chunk.end}
        last = False
        while not last:
            try:
                effects = await self._next_page(slot, pages)
            except Fenced:
                raise
            except Exception as error:
                raise step_failed(self.agent, topic, chunk.partition, records, error) from error
            last = not effects.more
            if last:
                effects.messages.append(
                    applied_message(
                        self.agent, topic, slot.partition, expected, chunk.end,
                        caught_up=caught_up, applied=slot.applied, restored=slot.made_with,
                    )
                )  # fmt: skip
            await self._deliver(slot, chunk, effects, position if last else {})
        slot.applied[topic] = chunk.end
        slot.made_with = None
        self._touched.set()
        metrics.records.labels(self.agent, topic).inc(len(records))
        metrics.chunk_records.labels(self.agent).observe(len(records))

    async def _next_page(self, slot: _Slot, pages: Iterator[Effects]) -> Effects:
        """The next page of a fold. What takes long gives turns: others run, and the partition may be lost meanwhile."""
        took_s = 0.0
        while True:
            began = time.perf_counter()
            effects = next(pages, None) or Effects()
            took_s += time.perf_counter() - began
            if effects is not TURN:
                metrics.step_seconds.labels(self.agent).observe(took_s)
                return effects
            await asyncio.sleep(0)
            if slot.dropped:
                raise Fenced

    async def _deliver(self, slot: _Slot, chunk: Chunk, effects: Effects, position: Mapping[bytes, bytes]) -> None:
        page = Page(
            agent=self.agent,
            changelog=self._prefix + names.changelog(self.agent),
            partition=chunk.partition,
            messages=effects.messages,
            # the position comes last: an entry that compaction never takes ends every batch
            writes={**effects.writes, **position},
            applied={chunk.topic: chunk.end} if position else {},
            still_ours=lambda: not slot.dropped,
        )
        started = time.perf_counter()
        await persist(lambda: self._outlet.deliver(page), self._outlet.faults, self._retry_limit_s, self.agent)
        metrics.publish_seconds.labels(self.agent).observe(time.perf_counter() - started)
        self._count(effects.messages)
        metrics.table_bytes.labels(self.agent).inc(sum(len(k) + len(v or b"") for k, v in page.writes.items()))
        for name, count in effects.counts.items():
            metrics.counts.labels(self.agent, name).inc(count)
            if name in _OUTCOMES:
                metrics.events.labels(self.agent, name).inc(count)

    # --- what may wait ----------------------------------------------------------------------------------------

    async def publish_due(self) -> None:
        """For ever: publish the forecasts that are due, without holding up any chunk.

        At once after a quiet interval, else once every interval for all that changed meanwhile, of all partitions side
        by side; and never for more than half of the time while chunks come in, so that however much changes, they go
        first.
        """
        while True:
            await self._touched.wait()
            self._touched.clear()
            chunks = self._chunks
            telling = []
            try:
                async with asyncio.TaskGroup() as group:
                    for slot in list(self._slots.values()):
                        telling.append(group.create_task(self._tell(slot)))
                        await asyncio.sleep(0)  # what one step has to tell may take long to make
            except BaseExceptionGroup as failures:
                raise_first(failures)
            took = [each.result() for each in telling]
            took_s = sum(step_s for step_s, _ in took) + max((log_s for _, log_s in took), default=0.0)
            await asyncio.sleep(max(self._forecast_interval_s - took_s, 0.0 if self._chunks == chunks else took_s))

    async def _tell(self, slot: _Slot) -> tuple[float, float]:
        """Publish what is due of a partition; the seconds that its step and the log took."""
        async with slot.telling:
            async with slot.lock:
                began = time.perf_counter()  # a chunk that is being folded is not what publishing takes
                due = [] if slot.dropped else slot.step.due()
                made = time.perf_counter()
            if due:
                self._touched.set()  # a step may have let only some through
                await self._publish(slot, due)
            return made - began, time.perf_counter() - made

    async def _publish(self, slot: _Slot, messages: list[Message]) -> None:
        try:
            await persist(
                lambda: self._outlet.publish(self.agent, slot.partition, messages),
                self._outlet.faults,
                self._retry_limit_s,
                self.agent,
            )
        except Fenced:
            self._lose(slot)
        else:
            self._count(messages)

    def _count(self, messages: Iterable[Message]) -> None:
        count: dict[str, list[int]] = {}
        for topic, key, value, _, _ in messages:
            counted = count.setdefault(topic, [0, 0])
            counted[0] += 1
            counted[1] += len(key or b"") + len(value or b"")
        for topic, (number, size) in count.items():
            metrics.messages_out.labels(self.agent, topic).inc(number)
            metrics.bytes_out.labels(self.agent, topic).inc(size)

    def _short(self, topic: str) -> str:
        return topic.removeprefix(self._prefix)


@contextmanager
def _no_collection() -> Iterator[None]:
    """A restore makes many objects that stay: looking for garbage among them takes a third of its time."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def _offset(record: Record) -> int:
    return record.offset
