"""The shape of a step: a chunk of records in, effects out. Pure; agents and tests drive it alike.

A step owns the state of one partition. ``fold`` advances it by a chunk and tells what must be written and
published. The applied offset of each input is part of the state and is written with the chunk's other writes, so
that after a crash the chunk's records are either all in the table or none is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol


class Record(NamedTuple):
    """A record as the log holds it. ``topic`` is the name without the prefix."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


class Message(NamedTuple):
    """A record to publish; ``partition`` None: by key; ``value`` None: a tombstone."""

    topic: str
    key: bytes | None
    value: bytes | None
    partition: int | None = None
    headers: tuple[tuple[str, bytes], ...] = ()


@dataclass(slots=True)
class Effects:
    """What a chunk changes: table entries (None deletes), messages in order, and counts for the metrics."""

    writes: dict[bytes, bytes | None] = field(default_factory=dict)
    messages: list[Message] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    """Outcomes by status, and what else is worth a metric (``alerts_open`` …)."""
    more: bool = False
    """Another page of the same chunk follows. The applied offset is written with the page that has none after it."""


TURN: Final = Effects(more=True)
"""A page without anything: the fold takes long, and others may run before it goes on. Never changed."""


class Entries(Protocol):
    """The table of one partition, as a step may read it: entries by key, or all with a prefix."""

    def get(self, key: bytes) -> bytes | None: ...

    def scan(self, prefix: bytes) -> Iterable[tuple[bytes, bytes]]: ...


class Step(Protocol):
    """A step over one partition. Not thread-safe; one owner."""

    def restore(self, entries: Entries) -> None:
        """Rebuild what is kept in memory from the partition's table. Called once, before the first fold."""

    def fold(self, chunk: Sequence[Record], *, caught_up: bool = True) -> Iterator[Effects]:
        """Advance the state by a chunk of one topic-partition, in pages of effects.

        ``caught_up``: nothing more is waiting behind this chunk, so whatever was postponed (reviews of sites in
        a backlog) must be done now.

        Nearly always one page. A change of the catalogue may give several; the engine makes each page durable
        before it asks for the next, and writes the applied offset with the last: all others say ``more=True``.
        Between them, and in the middle of a record's work, there may be any number of ``TURN``.
        """

    def due(self) -> list[Message]:
        """Messages that may wait (forecasts): those of every key touched since the last call, newest state."""
