"""Drives a step over encoded records as the engine does, with no broker: messages, then writes and position at once.

driver = Driver(lambda: BookingStep(0, 4, bundle))
driver.feed("bookings", event, b"{broken")      # encodes, appends to the log, folds
driver.outcomes()                               # what became of each
driver.append("bookings", another)
driver.crash(pages=0)                           # folds the backlog, loses it before anything is written
driver.run()                                    # folds it again, from the table
"""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import orjson
from pydantic import BaseModel

from planner.step import TURN, Message, Record, Step
from planner.topics import CATALOGUE_KEY, composed_key

S = TypeVar("S", bound=Step)

START_MS = 4_000_000_000_000
"""The log's time: after the events' own, whatever year they are of."""


class MemoryEntries:
    """The table of one partition, in memory."""

    def __init__(self, entries: Mapping[bytes, bytes] | None = None) -> None:
        self.entries = dict(entries or {})

    def get(self, key: bytes) -> bytes | None:
        return self.entries.get(key)

    def scan(self, prefix: bytes) -> Iterable[tuple[bytes, bytes]]:
        """In order of keys. Fails if the table changes meanwhile, as a strict store may."""
        keys = sorted(key for key in self.entries if key.startswith(prefix))
        before = dict(self.entries)
        for key in keys:
            if self.entries != before:
                raise RuntimeError("the table was written while it was scanned")
            yield key, self.entries[key]

    def apply(self, writes: Mapping[bytes, bytes | None]) -> None:
        for key, value in writes.items():
            if value is None:
                self.entries.pop(key, None)
            else:
                self.entries[key] = value


def encode(event: bytes | BaseModel | Mapping[str, Any]) -> bytes:
    """The wire bytes of an event; bytes stay as they are."""
    if isinstance(event, bytes):
        return event
    if isinstance(event, BaseModel):
        return event.model_dump_json(exclude_none=True).encode()
    return orjson.dumps(event)


def key_of(topic: str, value: bytes, partition: int) -> bytes | None:
    """The key a careful publisher gives a record of ``topic``."""
    if topic == "catalogue":
        return CATALOGUE_KEY
    if topic == "clock":
        return str(partition).encode()
    try:
        body = orjson.loads(value)
        name = body["booking_id"] if topic == "bookings" else body["site"]
        return unicodedata.normalize("NFC", name).encode()
    except (orjson.JSONDecodeError, KeyError, TypeError, UnicodeEncodeError):
        return b"unreadable"


class Driver(Generic[S]):
    """One partition of one step: its log, its table and what it has published."""

    def __init__(self, make: Callable[[], S], *, partition: int = 0, chunk: int = 100) -> None:
        self.make = make
        self.partition = partition
        self.chunk = chunk
        self.table = MemoryEntries()
        self.log: dict[str, list[Record]] = defaultdict(list)
        self.published: list[Message] = []
        self.counts: Counter[str] = Counter()
        self.step = self._start()

    def _start(self) -> S:
        step = self.make()
        step.restore(self.table)
        return step

    def restart(self) -> None:
        """A new step from the table, as after a crash or a rebalance."""
        self.step = self._start()

    # --- the log ---

    def append(
        self,
        topic: str,
        *events: bytes | BaseModel | Mapping[str, Any] | None,
        key: bytes | None = None,
        headers: tuple[tuple[str, bytes], ...] = (),
    ) -> list[Record]:
        """Put events at the end of a topic's log without folding them; ``key`` instead of the careful one."""
        records = []
        for event in events:
            value = None if event is None else encode(event)
            offset = len(self.log[topic])
            chosen = key if key is not None or value is None else key_of(topic, value, self.partition)
            record = Record(topic, self.partition, offset, START_MS + offset, chosen, value, headers)
            self.log[topic].append(record)
            records.append(record)
        return records

    def position(self, topic: str) -> int:
        value = self.table.get(composed_key("@position", topic))
        return 0 if value is None else int(value)

    def backlog(self, topic: str) -> Sequence[Record]:
        return self.log[topic][self.position(topic) :]

    # --- folding ---

    def feed(self, topic: str, *events: bytes | BaseModel | Mapping[str, Any] | None, **how: Any) -> list[Message]:
        """Append, fold everything that waits, and return the messages this gave."""
        before = len(self.published)
        self.append(topic, *events, **how)
        self.run()
        return self.published[before:]

    def run(self, *, chunk: int | None = None) -> None:
        """Fold what waits on every topic, in chunks, each page durable before the next is asked for."""
        for topic in list(self.log):
            while self.backlog(topic):
                self.fold_next(topic, chunk or self.chunk)

    def fold_next(self, topic: str, most: int) -> None:
        """Fold the next records that wait on a topic."""
        waiting = self.backlog(topic)
        self._fold(waiting[:most], caught_up=len(waiting) <= most)

    def _fold(self, records: Sequence[Record], *, caught_up: bool = True, pages: int | None = None) -> None:
        """Fold one chunk; ``pages``: how many pages become durable before the worker dies (None: it lives).

        The position goes with the last page's writes, in one batch; a page says whether another follows.
        """
        last = records[-1]
        position = {composed_key("@position", last.topic): str(last.offset + 1).encode()}
        durable, more = 0, True
        for page in self.step.fold(records, caught_up=caught_up):
            if page is TURN:
                continue
            if not more:
                raise AssertionError("a page came after one that said it was the last")
            self.published += page.messages
            if durable == pages:
                return
            more = page.more
            self.table.apply(page.writes if more else {**page.writes, **position})
            self.counts += page.counts
            durable += 1
        if more:
            raise AssertionError("the step said that more pages follow, and none did" if durable else "no page came")

    def crash(self, *, pages: int = 0, topic: str | None = None) -> list[Message]:
        """Fold the next chunk that waits, publish, make only ``pages`` pages durable, die, and start again.

        Returns the messages that got out before.
        """
        before = len(self.published)
        for name in [topic] if topic else list(self.log):
            if waiting := self.backlog(name):
                self._fold(waiting[: self.chunk], pages=pages)
                break
        self.restart()
        return self.published[before:]

    # --- what came out ---

    def messages(self, topic: str) -> list[Message]:
        return [message for message in self.published if message.topic == topic]

    def values(self, topic: str) -> list[dict[str, Any]]:
        """The published JSON values of a topic, in order."""
        return [orjson.loads(m.value) for m in self.messages(topic) if m.value is not None]

    def outcomes(self) -> list[str]:
        """One line per outcome: ``event id: status`` and the reason if there is one."""
        return [
            f"{o['event_id']}: {o['status']}" + (f" {o['reason']}" if "reason" in o else "")
            for o in self.values("outcomes")
        ]
