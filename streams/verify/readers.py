"""What a verification reads, each reader from where it was: a table as of an instant, the journal, the inputs."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from contextlib import aclosing
from typing import Final

from planner.catalogue.model import Bundle
from planner.catalogue_records import read_catalogue
from planner.journal import APPLIED, TOPIC, Applied
from planner.step import Record
from streams import names
from streams.log import LogClient

LAG_S: Final = 30.0
"""Half of what a compacted topic keeps a value after a newer one of its key: see ``TableReader``."""
_POSITION: Final = names.position_key("")


class Gone(LookupError):  # noqa: N818 - named after what happened
    """The log no longer has what the fold needs."""


class TableReader:
    """A table's partition as its changelog holds it, cut after a whole chunk: it states the positions it stands for.

    A chunk's entries end with its position, so what follows the last position is left aside. The changelog is read to
    its end again until that takes less than ``LAG_S``: an entry that compaction has taken away before we came to it
    has a newer value by then, and that is read.
    """

    def __init__(self, client: LogClient, agent: str, partition: int) -> None:
        self.entries: dict[bytes, bytes] = {}
        """Without the positions."""
        self.positions: dict[str, int] = {}
        """Topic → offset of the next record to apply."""
        self._client = client
        self._topic = names.changelog(agent)
        self._partition = partition
        self._next = 0
        self._open: dict[bytes, bytes | None] = {}

    async def advance(self) -> None:
        """Go on to the table's newest state."""
        while True:
            began_s = time.monotonic()
            start = {self._partition: self._next}
            async for chunk in self._client.read_chunks(self._topic, start, partitions=[self._partition]):
                for record in chunk:
                    self._take(record)
                self._next = chunk[-1].offset + 1
            if time.monotonic() - began_s < LAG_S:
                return

    def _take(self, record: Record) -> None:
        key = record.key or b""
        if not key.startswith(_POSITION):
            self._open[key] = record.value
            return
        for name, value in self._open.items():
            if value is None:
                self.entries.pop(name, None)
            else:
                self.entries[name] = value
        self._open.clear()
        if record.value is not None:
            self.positions[key[len(_POSITION) :].decode()] = int(record.value)


class JournalReader:
    """The journal of one partition, by agent. Entries that were used may be forgotten."""

    def __init__(self, client: LogClient, partition: int) -> None:
        self.entries: defaultdict[str, list[Applied]] = defaultdict(list)
        self._client = client
        self._partition = partition
        self._next = 0

    def forget_before(self, agent: str, entry: Applied) -> None:
        """Forget what was written before an entry that was used."""
        entries = self.entries[agent]
        del entries[: next((n for n, other in enumerate(entries) if other is entry), 0)]

    async def advance(self) -> None:
        """Read what was written since."""
        async for chunk in self._client.read_chunks(TOPIC, {self._partition: self._next}, partitions=[self._partition]):
            for record in chunk:
                entry = APPLIED.validate_json(record.value or b"")
                self.entries[entry.agent].append(entry)
            self._next = chunk[-1].offset + 1


class InputReader:
    """An input's partition, read once from a start on."""

    def __init__(self, client: LogClient, topic: str, partition: int, *, compacted: bool) -> None:
        self._client = client
        self._topic = topic
        self._partition = partition
        self._compacted = compacted
        self._records: deque[Record] = deque()
        self._next = -1
        self._read_to = 0

    async def take(self, start: int, end: int) -> list[Record]:
        """The records from ``start`` to before ``end``.

        Raises:
            Gone: the log no longer has the first of them.
        """
        if self._next != start:
            self._records.clear()
            self._next = self._read_to = start
        taken: list[Record] = []
        while self._next < end:
            if not self._records and not await self._more():
                break
            record = self._records[0]
            if record.offset >= end:
                break
            self._records.popleft()
            taken.append(record)
            self._next = record.offset + 1
        if not self._compacted and (taken[0].offset if taken else end) != start:
            # there may be natural holes (markers of transactions), or they were removed
            first = (await self._client.first_offsets(self._topic))[self._partition]
            if first > start:
                raise Gone(f"{self._topic}/{self._partition}: offsets {start} to {first - 1} are no longer on the log")
        self._next = end
        return taken

    async def _more(self) -> bool:
        """Read another chunk, if there is one by now."""
        start = {self._partition: self._read_to}
        # closed at once: on Kafka each that is open is a consumer
        async with aclosing(self._client.read_chunks(self._topic, start, partitions=[self._partition])) as chunks:
            async for chunk in chunks:
                self._records.extend(chunk)
                self._read_to = chunk[-1].offset + 1
                return True
        return False


class Catalogues:
    """The catalogues that were ever published, by version; ``configured``: reads the one of the settings' directory."""

    def __init__(self, known: Mapping[str, Bundle], configured: Callable[[], Bundle | None]) -> None:
        self._known = dict(known)
        self._configured = configured

    @classmethod
    async def read(cls, client: LogClient, configured: Callable[[], Bundle | None]) -> Catalogues:
        """All that the log has; the configured one is asked for when the log has not what a worker began with."""
        known: dict[str, Bundle] = {}
        seen: set[bytes | None] = set()
        async for record in client.read("catalogue"):
            if record.value in seen:
                continue
            seen.add(record.value)
            bundle = read_catalogue(record)
            if isinstance(bundle, Bundle):
                known[bundle.version] = bundle
        return cls(known, configured)

    def of(self, version: str | None) -> Bundle:
        """The catalogue of a version; None: any (the table has its own).

        Raises:
            Gone: it is not on the log.
        """
        if (
            version not in self._known
            and not (version is None and self._known)
            and (bundle := self._configured()) is not None
        ):
            self._known[bundle.version] = bundle
        if version is None and self._known:
            return next(iter(self._known.values()))
        if version is None or version not in self._known:
            raise Gone(f"catalogue {version or 'of any version'}, with which a worker began, is not on the log")
        return self._known[version]
