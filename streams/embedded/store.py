"""The table store of the embedded log: the log's own index of the latest record by key. No replay, no second copy."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from faust.types import TP

from streams.delivery.table import ChunkStore
from streams.embedded.database import Database


class DatabaseEntries:
    """Entries of one partition, as they stand in the file."""

    def __init__(self, database: Database, changelog: str, partition: int) -> None:
        self._database = database
        self._changelog = changelog
        self._partition = partition

    def get(self, key: bytes) -> bytes | None:
        """The entry's value."""
        return self._database.get(self._changelog, self._partition, key)

    def scan(self, prefix: bytes) -> Iterable[tuple[bytes, bytes]]:
        """Entries whose key begins with ``prefix``, in order."""
        return self._database.scan(self._changelog, self._partition, prefix)


class DatabaseStore(ChunkStore):
    """The changelog is the store, so it is always up to date and nothing is recovered."""

    def __init__(self, table: Any, database: Database, **kwargs: Any) -> None:
        super().__init__(table, **kwargs)
        self._database = database

    def entries(self, partition: int) -> DatabaseEntries:
        """The partition's entries."""
        return DatabaseEntries(self._database, self.table.changelog_topic_name, partition)

    def persisted_offset(self, tp: TP) -> int | None:
        """The end of the changelog; None while it is empty."""
        end = self._database.end_offsets(tp.topic)[tp.partition]
        return end - 1 if end else None

    def apply_changelog_batch(
        self, batch: Iterable[Any], to_key: Callable[[Any], Any], to_value: Callable[[Any], Any]
    ) -> None:
        """What the changelog says is in the store already."""
