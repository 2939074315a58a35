"""Publishes records, and waits on ``outcomes`` until each has been answered or nothing comes any more."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

import orjson

from planner.messages import OutcomeStatus
from planner.step import Message
from streams.cli.base import Exit
from streams.cli.routing import ANSWERED
from streams.log import LogClient

BATCH_RECORDS = 1_000
SHOWN_MAX = 1_000
"""Most refusals and the like that are kept to be shown one by one."""

Where = tuple[str, int, int]
"""Topic, partition, offset."""


class Outgoing(NamedTuple):
    """A record to send, and what its sender calls it (``line 3``)."""

    label: str
    message: Message


class Answer(NamedTuple):
    """What became of a record."""

    label: str
    status: str
    reason: str | None
    detail: str | None
    event_id: str


@dataclass
class Tally:
    """What became of all that was sent."""

    sent: int = 0
    answered: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    reasons: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(status, reason) → how many, of those that were not simply applied."""
    answers: list[Answer] = field(default_factory=list)
    """Those refused or dead-lettered, up to ``SHOWN_MAX``."""
    waiting: dict[Where, str] = field(default_factory=dict)
    """What has had no answer → its label."""

    def exit_code(self) -> Exit:
        """The worst of what happened."""
        if self.waiting:
            return Exit.TIMED_OUT
        if self.statuses[OutcomeStatus.DEAD_LETTERED]:
            return Exit.DEAD_LETTERED
        return Exit.REFUSED if self.statuses[OutcomeStatus.REFUSED] else Exit.DONE


class Sender:
    """Sends records and matches the outcomes that come back with them, by topic, partition and offset."""

    def __init__(
        self, client: LogClient, *, wait: bool, timeout_s: float, on_answer: Callable[[Answer], None] | None = None
    ) -> None:
        self.tally = Tally()
        self._client = client
        self._wait = wait
        self._timeout_s = timeout_s
        self._on_answer = on_answer
        self._early: dict[Where, dict[str, str]] = {}
        """Answers to records whose offset we have not been told yet."""
        self._publishing = False
        self._progress = asyncio.Event()

    async def send(self, outgoing: Iterable[Outgoing], on_sent: Callable[[int], None] = lambda _n: None) -> Tally:
        """Send everything, then wait. ``on_sent`` is told how many more were sent."""
        if not self._wait:
            await self._publish(outgoing, on_sent)
            return self.tally
        start = await self._client.end_offsets("outcomes")
        reader = asyncio.create_task(self._listen(start))
        try:
            await self._publish(outgoing, on_sent, reader)
            last_progress_s = time.monotonic()
            while self.tally.waiting:
                left_s = last_progress_s + self._timeout_s - time.monotonic()
                if left_s <= 0:
                    break
                self._progress.clear()
                waiter = asyncio.create_task(self._progress.wait())
                await asyncio.wait({waiter, reader}, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
                waiter.cancel()
                if reader.done():
                    reader.result()  # raises what ended it
                    break
                if self._progress.is_set():
                    last_progress_s = time.monotonic()
        finally:
            reader.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reader
        return self.tally

    async def _publish(
        self,
        outgoing: Iterable[Outgoing],
        on_sent: Callable[[int], None],
        reader: asyncio.Task[None] | None = None,
    ) -> None:
        records = iter(outgoing)
        while batch := list(islice(records, BATCH_RECORDS)):
            if reader is not None and reader.done():
                reader.result()
            self._publishing = True
            placed = await self._client.publish([record.message for record in batch])
            self._publishing = False
            self.tally.sent += len(batch)
            if self._wait:
                for record, (partition, offset) in zip(batch, placed, strict=True):
                    if record.message.topic in ANSWERED:
                        self._await_answer((record.message.topic, partition, offset), record.label)
            self._early.clear()
            on_sent(len(batch))

    def _await_answer(self, where: Where, label: str) -> None:
        early = self._early.pop(where, None)
        if early is None:
            self.tally.waiting[where] = label
        else:
            self._settle(label, early)

    async def _listen(self, start: dict[int, int]) -> None:
        async for chunk in self._client.read_chunks("outcomes", start, follow=True):
            for record in chunk:
                outcome = orjson.loads(record.value or b"{}")
                where = (outcome.get("topic", ""), outcome.get("partition", -1), outcome.get("offset", -1))
                label = self.tally.waiting.pop(where, None)
                if label is not None:
                    self._settle(label, outcome)
                elif self._publishing:
                    self._early[where] = outcome
            self._progress.set()

    def _settle(self, label: str, outcome: dict[str, str]) -> None:
        tally = self.tally
        answer = Answer(label, outcome["status"], outcome.get("reason"), outcome.get("detail"), outcome["event_id"])
        tally.answered += 1
        tally.statuses[answer.status] += 1
        if answer.status != OutcomeStatus.APPLIED:
            tally.reasons[answer.status, answer.reason or ""] += 1
        if answer.status in {OutcomeStatus.REFUSED, OutcomeStatus.DEAD_LETTERED} and len(tally.answers) < SHOWN_MAX:
            tally.answers.append(answer)
        if self._on_answer is not None:
            self._on_answer(answer)
