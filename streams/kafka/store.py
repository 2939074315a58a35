"""The table store of a worker on Kafka: RocksDB, one database per partition, written after the changelog.

Each write is one atomic batch with the changelog's offset, so that the store always is a prefix of its changelog, and
recovery reads only what follows.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from faust.types import TP
from rocksdict import AccessType, Options, Rdict, WriteBatch

from streams import metrics
from streams.delivery.chunk import Chunk
from streams.delivery.table import ChangelogHole, ChunkStore

OFFSET_KEY = b"@@offset"
"""Never an entry of a table: theirs have one ``@`` at most."""
_OFFSET = struct.Struct(">q")


class RocksEntries:
    """Entries of one partition."""

    def __init__(self, database: Rdict) -> None:
        self._database = database

    def get(self, key: bytes) -> bytes | None:
        """The entry's value."""
        value: bytes | None = self._database.get(key)
        return value

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Entries whose key begins with ``prefix``, in order."""
        for key, value in self._database.items(from_key=prefix or None):
            if not key.startswith(prefix):
                return
            if key != OFFSET_KEY:
                yield key, value


class RocksStore(ChunkStore):
    """Partitions below ``directory/<table>-<partition>``."""

    def __init__(self, table: Any, directory: Path, **kwargs: Any) -> None:
        super().__init__(table, **kwargs)
        self._directory = directory
        self._databases: dict[int, Rdict] = {}

    def entries(self, partition: int) -> RocksEntries:
        """The partition's entries."""
        return RocksEntries(self._open(partition))

    def write(self, partition: int, writes: Mapping[bytes, bytes | None], offset: int) -> None:
        """Entries and the changelog's offset, in one atomic batch."""
        batch = WriteBatch(raw_mode=True)
        for key, value in writes.items():
            if value is None:
                batch.delete(key)
            else:
                batch.put(key, value)
        batch.put(OFFSET_KEY, _OFFSET.pack(offset))
        self._open(partition).write(batch)

    def persisted_offset(self, tp: TP) -> int | None:
        """Offset of the last changelog record that is in the database."""
        value: bytes | None = self._open(tp.partition).get(OFFSET_KEY)
        return None if value is None else int(_OFFSET.unpack(value)[0])

    def apply_changelog_batch(
        self, batch: Iterable[Any], to_key: Callable[[Any], Any], to_value: Callable[[Any], Any]
    ) -> None:
        """Chunks of the changelog, in order.

        Raises:
            ChangelogHole: a chunk begins beyond what follows the database. Faust's recovery only logs it, so the app
                is crashed as well: an incomplete table must never be served.
        """
        for event in batch:
            chunk: Chunk = event.message.value
            known = self.persisted_offset(event.message.tp)
            if known is not None and chunk.start > known + 1:
                hole = ChangelogHole(
                    f"{chunk.topic}/{chunk.partition}: have {known}, next chunk begins at {chunk.start}"
                )
                self.app._crash(hole)
                raise hole
            fresh = {r.key or b"": r.value for r in chunk.records if known is None or r.offset > known}
            metrics.changelog_records.labels(self.table_name).inc(len(chunk.records))
            if known is None or chunk.last_offset > known:
                self.write(chunk.partition, fresh, chunk.last_offset)

    async def on_rebalance(
        self, assigned: set[TP], revoked: set[TP], newly_assigned: set[TP], generation_id: int = 0
    ) -> None:
        """Close what went to another worker."""
        kept = {tp.partition for tp in assigned if tp.topic in self.table.changelog_topic.topics}
        for partition in set(self._databases) - kept:
            self._databases.pop(partition).close()

    async def on_stop(self) -> None:
        """Close everything."""
        for database in self._databases.values():
            database.close()
        self._databases.clear()

    def _path(self, partition: int) -> Path:
        return self._directory / f"{self.table_name}-{partition}"

    def _open(self, partition: int) -> Rdict:
        if (database := self._databases.get(partition)) is None:
            self._directory.mkdir(parents=True, exist_ok=True)
            options = Options(raw_mode=True)
            options.create_if_missing(True)
            database = Rdict(str(self._path(partition)), options, access_type=AccessType.read_write())
            self._databases[partition] = database
        return database
