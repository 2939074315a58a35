"""The fold done again: a step over the chunks that the journal names, with a table of its own in memory."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from planner.journal import Applied, Restored
from planner.step import Message, Record, Step

MakeStep = Callable[[Restored], Step]
"""Makes the step of the partition as the worker had made its own."""


class MemoryTable:
    """The table of one partition in memory: ``planner.step.Entries``, and what may be written to it."""

    def __init__(self, entries: Mapping[bytes, bytes] | None = None) -> None:
        self.entries: dict[bytes, bytes] = dict(entries or {})
        self._keys: list[bytes] = []
        """In order; of some there may be no entry any more, some are there twice."""
        self._new: list[bytes] = list(self.entries)

    def get(self, key: bytes) -> bytes | None:
        """The entry's value."""
        return self.entries.get(key)

    def scan(self, prefix: bytes) -> Iterable[tuple[bytes, bytes]]:
        """Entries whose key begins with ``prefix``, in order, as they are now."""
        self._sort()
        found: dict[bytes, bytes] = {}
        for at in range(bisect_left(self._keys, prefix), len(self._keys)):
            key = self._keys[at]
            if not key.startswith(prefix):
                break
            if key in self.entries:
                found[key] = self.entries[key]
        return found.items()

    def _sort(self) -> None:
        if self._new:
            self._keys += sorted(self._new)
            self._keys.sort()  # two runs in order, put together in one pass
            self._new = []
        if len(self._keys) > 2 * len(self.entries):
            self._keys = sorted(self.entries)

    def write(self, writes: Mapping[bytes, bytes | None]) -> None:
        """Put entries; None removes."""
        for key, value in writes.items():
            if value is None:
                self.entries.pop(key, None)
            else:
                if key not in self.entries:
                    self._new.append(key)
                self.entries[key] = value


class Refold:
    """One partition of one agent, folded again. ``table`` is what its table should hold after the chunks so far."""

    def __init__(self, make_step: MakeStep, entries: Mapping[bytes, bytes] | None = None) -> None:
        self.table = MemoryTable(entries)
        self.records = 0
        self.chunks = 0
        self._make_step = make_step
        self._step: Step | None = None

    @property
    def step(self) -> Step:
        """The step as it is now.

        Raises:
            ValueError: nothing was folded yet.
        """
        if self._step is None:
            raise ValueError("the first chunk has to come first")
        return self._step

    def apply(self, entry: Applied, records: Sequence[Record]) -> Iterator[Message]:
        """Fold a chunk as the worker did; the messages that it published, in order. Consume them all."""
        if self._step is None or entry.restored is not None:
            self._step = self._make_step(entry.restored or Restored())
            self._step.restore(self.table)
        self.chunks += 1
        self.records += len(records)
        if records:
            for page in self._step.fold(records, caught_up=entry.caught_up):
                self.table.write(page.writes)
                yield from page.messages
