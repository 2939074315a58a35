"""Faust's consumer, delivering chunks: one message per partition and fetch. A mixin for both transports.

What stock Faust does in these places, and why it is replaced (each has a test):

* ``_drain_messages`` starts two tasks per record; here one callback per chunk.
* ``_add_gap`` counts the message's own offset as a gap. Here a partition has at most one chunk in flight, so the offset
  that may be committed is simply the end of the last one acknowledged; nothing is counted.
* ``_wait_next_records`` sleeps a second when every partition is busy; here it waits for an event.
* ``perform_seek`` goes back to the *committed* offset. Here the table is the truth: it holds the applied offset of
  each input, written with the entries themselves, and every seek goes there.
* A chunk that was in flight when a partition was seeked or revoked is acknowledged in vain: only the chunk that is in
  flight now counts.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar

from faust.transport.consumer import Consumer
from faust.types import TP
from faust.types.tuples import ConsumerMessage, ack_lock
from mode.utils.futures import notify

from streams.delivery.chunk import Chunk
from streams.retry import persist

IDLE_WAIT_S = 1.0
"""Longest wait for records; every change of what is wanted interrupts it."""
CHANGELOG_CHUNKS_MAX = 8
"""Chunks of changelogs that wait to be applied, beyond which no more are fetched."""
CHANGELOG_WAIT_S = 0.01
"""Recovery does not tell when it has applied some: look again after so long."""


class ChunkConsumer(Consumer):  # type: ignore[misc]
    """Mixin over a Faust consumer. The transport below gives ``_fetch``, ``_interrupt`` and ``_waiting``."""

    fetch_faults: ClassVar[tuple[type[Exception], ...]] = ()
    """Faults of the log that may pass."""
    retry_limit_s: float = 60.0
    """How long they are retried; set by the app."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._in_flight: dict[TP, Any] = {}
        self._committable: dict[TP, int] = {}
        self._wanted_changed = asyncio.Event()
        self._flow_stopped = asyncio.Event()
        self._chunks_acked = 0
        self._stall: tuple[int, float] | None = None
        """Chunks acknowledged when a stall was first noticed, and when that was."""
        self.applied_offsets: Callable[[Iterable[TP]], Mapping[TP, int | None]] = lambda tps: {}
        """Where each input continues, as the tables say; set by the app. None: nothing was applied yet."""
        self.starts_at: Callable[[TP, int], None] = lambda tp, offset: None
        """Told where an input of which nothing was applied begins; set by the app."""
        super().__init__(*args, **kwargs)

    # --- given by the transport -------------------------------------------------------------------------------

    async def _fetch(self, wanted: set[TP], timeout_s: float) -> list[Chunk]:
        """Chunks of the wanted partitions, at most one each; returns early when ``_interrupt`` is called."""
        raise NotImplementedError

    def _interrupt(self) -> None:
        """End a ``_fetch`` that waits: what is wanted has changed."""

    def _waiting(self, tp: TP) -> bool:
        """Whether the log holds records of this input that were not fetched."""
        raise NotImplementedError

    def stalled_s(self) -> float:
        """Seconds since it was first noticed that records wait, and no chunk acknowledged since. For ``/livez``.

        0: nothing waits, or a chunk was acknowledged since the last question.
        """
        now_s = time.monotonic()
        waits = bool(self._in_flight) or any(self._waiting(tp) for tp in self._get_active_partitions())
        if not waits or not self.flow_active or self.app.rebalancing:
            self._stall = None
            return 0.0
        if self._stall is None or self._stall[0] != self._chunks_acked:
            self._stall = (self._chunks_acked, now_s)
        return now_s - self._stall[1]

    # --- what is wanted ---------------------------------------------------------------------------------------

    def _wanted(self) -> set[TP]:
        """Active partitions without a chunk in flight: this bounds the memory, whatever the backlog.

        Changelogs have no acknowledgements; they wait while recovery has enough to apply. The queue itself never fills:
        a delivery that blocks on it would come through after a rebalance, in the wrong place.
        """
        wanted = {tp for tp in self._get_active_partitions() if tp not in self._in_flight}
        if self.app.tables.changelog_queue.qsize() >= CHANGELOG_CHUNKS_MAX:
            wanted = {tp for tp in wanted if not self._is_changelog_tp(tp)}
        return wanted

    def _wake(self) -> None:
        self._wanted_changed.set()
        self._interrupt()

    def on_buffer_drop(self, tp: TP) -> None:
        """A queue has room again."""
        super().on_buffer_drop(tp)
        self._wake()

    def resume_partitions(self, tps: Iterable[TP]) -> None:
        """Fetch from these partitions again."""
        super().resume_partitions(tps)
        self._wake()

    def stop_flow(self) -> None:
        """Deliver nothing more."""
        super().stop_flow()
        self._wake()

    def resume_flow(self) -> None:
        """Deliver again."""
        self._flow_stopped.clear()
        super().resume_flow()
        self._wake()

    async def wait_for_stopped_flow(self) -> None:
        """Wait until nothing is being fetched or delivered. (Stock Faust's event is always set: it never waits.)"""
        fetcher = self.app._fetcher
        if fetcher.started and not fetcher.should_stop:
            await self._flow_stopped.wait()

    # --- fetching and delivering ------------------------------------------------------------------------------

    async def _drain_messages(self, fetcher: Any) -> None:
        """The fetcher's loop: fetch what is wanted, hand each chunk to the conductor."""
        try:
            while not (self.should_stop or fetcher.should_stop):
                if not self.flow_active:
                    self._flow_stopped.set()
                    await self.wait(self.can_resume_flow)
                    continue
                self._wanted_changed.clear()
                wanted = self._wanted()
                if not wanted:
                    await self._wait_for_change()
                    continue
                for chunk in self._in_turn(await self._fetch_or_try_again(wanted)):
                    await self._deliver(chunk)
        except self.consumer_stopped_errors:
            if not self.app.should_stop:
                raise
        except asyncio.CancelledError:
            if not self.app.should_stop:
                raise
        finally:
            self._flow_stopped.set()

    async def _fetch_or_try_again(self, wanted: set[TP]) -> list[Chunk]:
        """Fetch; a fault of the log is retried, with growing pauses, until the limit."""
        return await persist(
            lambda: self._fetch(wanted, self._patience_s()), self.fetch_faults, self.retry_limit_s, "consumer"
        )

    async def _wait_for_change(self) -> None:
        try:
            async with asyncio.timeout(self._patience_s()):
                await self._wanted_changed.wait()
        except TimeoutError:
            return

    def _patience_s(self) -> float:
        full = self.app.tables.changelog_queue.qsize() >= CHANGELOG_CHUNKS_MAX
        return CHANGELOG_WAIT_S if full else IDLE_WAIT_S

    def _in_turn(self, chunks: list[Chunk]) -> Iterator[Chunk]:
        """Round robin over topics and partitions, by Faust's own scheduler."""
        by_partition = {TP(chunk.topic, chunk.partition): [chunk] for chunk in chunks}
        return (chunk for _, chunk in self.scheduler.iterate(by_partition))

    async def _deliver(self, chunk: Chunk) -> None:
        """Hand a chunk over, unless the flow was stopped meanwhile: then a seek follows, and it is read again."""
        tp = TP(chunk.topic, chunk.partition)
        if not self.flow_active or not self.app.flow_control.is_active() or tp not in self._get_active_partitions():
            return
        message = ConsumerMessage(
            chunk.topic,
            chunk.partition,
            chunk.last_offset,
            chunk.records[-1].timestamp_ms / 1000 if chunk.records else 0.0,
            0,
            None,
            None,
            chunk,
            None,
            tp=tp,
            generation_id=self.app.consumer_generation_id,
        )
        if self.app.topics.acks_enabled_for(chunk.topic):
            self._in_flight[tp] = message
        self.app.monitor.track_tp_end_offset(tp, chunk.end + chunk.behind)
        await self.callback(message)

    # --- acknowledging and committing -------------------------------------------------------------------------

    def ack(self, message: Any) -> bool:
        """The chunk's effects are durable. Ignored when it is not the one in flight (read again, or revoked)."""
        with ack_lock:
            if message.acked:
                return False
            message.acked = True
            tp = message.tp
            self._unacked_messages.discard(message)
            if tp not in self._in_flight or self._in_flight[tp] is not message:
                return False
            del self._in_flight[tp]
            self._chunks_acked += 1
            self._committable[tp] = message.offset + 1
            self._n_acked += 1
            notify(self._waiting_for_ack)
        self._wake()
        return True

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterator[TP]:
        return (tp for tp in list(self._committable) if topics is None or tp in topics or tp.topic in topics)

    def _filter_committable_offsets(self, tps: Iterable[TP]) -> dict[TP, int]:
        return {
            tp: offset
            for tp in tps
            if (offset := self._committable.get(tp)) is not None and offset != self._committed_offset[tp]
        }

    # --- positions --------------------------------------------------------------------------------------------

    async def seek_wait(self, partitions: Mapping[TP, int]) -> None:
        """Continue at these offsets; what is in flight counts no more."""
        for tp in partitions:
            self._in_flight.pop(tp, None)
            self._committable.pop(tp, None)
        await super().seek_wait(partitions)
        self._wake()

    async def perform_seek(self) -> None:
        """Continue every input where its table ends; an input of which nothing was applied, at the log's beginning."""
        inputs = {tp for tp in self.assignment() if not self._is_changelog_tp(tp)}
        applied = self.applied_offsets(inputs)
        fresh = [tp for tp in inputs if applied.get(tp) is None]
        earliest = await self.earliest_offsets(*fresh) if fresh else {}
        starts: dict[TP, int] = {}
        for tp in inputs:
            offset = applied.get(tp)
            if offset is None:
                offset = earliest.get(tp) or 0
                self.starts_at(tp, offset)
            starts[tp] = offset
            self._committed_offset[tp] = applied.get(tp)
        if starts:
            await self.seek_wait(starts)

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Forget what was in flight; the app lets the engine finish the chunk it is folding."""
        await super().on_partitions_revoked(revoked)
        for tp in revoked:
            self._in_flight.pop(tp, None)
            self._committable.pop(tp, None)
        self._wake()

    async def verify_all_partitions_active(self) -> None:
        """Faust's detector of stuck streams only logs, and does not know chunks; ``/livez`` replaces it."""
