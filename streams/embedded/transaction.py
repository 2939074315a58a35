"""What is written to the log together: records, entries of tables, committed offsets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

from planner.step import Message
from streams.embedded import headers as wire
from streams.embedded.schema import OFFSET_BITS
from streams.embedded.values import packed
from streams.log import LogError, RecordTooLarge, partition_of

if TYPE_CHECKING:
    from streams.embedded.database import Database, Topic

# Garbage is due in steps of so many milliseconds: what falls due together is removed in the order it lies on disk.
_DUE_STEP_MS: Final = 10_000

_Row = tuple[int, int, bytes | None, int, bytes | None, bytes | None]


class Transaction:
    """What is written together. Made by ``Database.transaction``."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._ends: dict[int, int] = {}

    def append(self, messages: Iterable[Message], prefix: str = "") -> list[tuple[int, int]]:
        """Append messages; returns (partition, offset) of each. ``prefix`` goes before the name of each topic.

        Raises:
            RecordTooLarge, UnknownTopic, LogError: a message that cannot be written; the transaction fails.
        """
        database = self._database
        now_ms = database.clock_ms()
        positions: list[tuple[int, int]] = []
        rows: list[_Row] = []
        compacted: list[tuple[Topic, int, bytes, int, bool]] = []
        for name, key, value, partition, headers in messages:
            topic = database.topic(prefix + name)
            packed_headers = wire.pack(headers) if headers else None
            size = (
                (len(key) if key else 0) + (len(value) if value else 0) + (wire.size_bytes(headers) if headers else 0)
            )
            if size > topic.spec.max_message_bytes:
                raise RecordTooLarge(name, key, size, topic.spec.max_message_bytes)
            if partition is None:
                count = len(topic.numbers)
                partition = database.next_partition(count) if key is None else partition_of(key, count)  # noqa: PLW2901
            elif not 0 <= partition < len(topic.numbers):
                database.number(topic.spec.name, partition)  # raises
            number = topic.numbers[partition]
            offset = self._take(number, 1)
            id_ = number << OFFSET_BITS | offset
            rows.append((id_, now_ms, key, *packed(value), packed_headers))
            positions.append((partition, offset))
            if topic.spec.compacted:
                if key is None:
                    raise LogError(f"topic {name}: it is compacted, so a record needs a key")
                compacted.append((topic, number, key, id_, value is None))
        self._insert(rows)
        if compacted:
            self._index(now_ms, compacted)
        return positions

    def put(self, topic: str, partition: int, entries: Mapping[bytes, bytes | None]) -> int:
        """Write entries of a table into its changelog (None removes the key); returns the partition's new end.

        Raises:
            RecordTooLarge: an entry above the topic's limit; the transaction fails.
        """
        database = self._database
        number = database.number(topic, partition)
        known = database.topic(topic)
        if not known.spec.compacted:
            raise LogError(f"topic {topic}: it is not compacted, so it cannot hold a table")
        now_ms = database.clock_ms()
        limit = known.spec.max_message_bytes
        first = number << OFFSET_BITS | self._take(number, len(entries))
        rows: list[_Row] = []
        compacted = []
        for id_, (key, value) in enumerate(entries.items(), first):
            if value is not None and len(key) + len(value) > limit:
                raise RecordTooLarge(topic, key, len(key) + len(value), limit)
            rows.append((id_, now_ms, key, *packed(value), None))
            compacted.append((known, number, key, id_, value is None))
        self._insert(rows)
        self._index(now_ms, compacted)
        return self._ends[number]

    def commit(self, group: str, offsets: Mapping[tuple[str, int], int]) -> None:
        """Set the next offset to consume of a group, by topic and partition."""
        self._database.connection.executemany(
            "INSERT INTO commits (consumer_group, topic, partition, next_offset) VALUES (?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET next_offset = excluded.next_offset",
            [(group, topic, partition, offset) for (topic, partition), offset in offsets.items()],
        )

    def _take(self, number: int, count: int) -> int:
        """The next offset of a partition, moving its end by ``count``."""
        offset = self._ends.get(number)
        if offset is None:
            (offset,) = self._database.connection.execute(
                "SELECT next_offset FROM partitions WHERE number = ?", (number,)
            ).fetchone()
        self._ends[number] = offset + count
        return offset

    def _insert(self, rows: list[_Row]) -> None:
        self._database.connection.executemany(
            "INSERT INTO records (id, timestamp_ms, key, codec, value, headers) VALUES (?, ?, ?, ?, ?, ?)", rows
        )

    def _index(self, now_ms: int, written: list[tuple[Topic, int, bytes, int, bool]]) -> None:
        """Let ``latest`` point at what was written, and list what went out of date as garbage."""
        garbage: list[tuple[int, int]] = []
        last: dict[tuple[int, bytes], tuple[int, int]] = {}
        for topic, number, key, id_, tombstone in written:
            due_ms = _due(now_ms + topic.spec.compaction_lag_ms)
            if (before := last.get((number, key))) is not None:
                garbage.append((due_ms, before[1]))
            last[number, key] = due_ms, id_
            if tombstone:
                garbage.append((_due(now_ms + topic.spec.tombstone_ms), id_))
        connection = self._database.connection
        connection.executemany(
            "INSERT OR IGNORE INTO garbage (due_ms, id) SELECT ?, id FROM latest WHERE number = ? AND key = ?",
            [(due_ms, number, key) for (number, key), (due_ms, _) in last.items()],
        )
        connection.executemany(
            "INSERT INTO latest (number, key, id) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET id = excluded.id",
            [(number, key, id_) for (number, key), (_, id_) in last.items()],
        )
        if garbage:
            connection.executemany("INSERT OR IGNORE INTO garbage (due_ms, id) VALUES (?, ?)", garbage)

    def write_ends(self) -> None:
        """Store the new ends of the partitions written to; the transaction does so before it commits."""
        self._database.connection.executemany(
            "UPDATE partitions SET next_offset = ? WHERE number = ?",
            [(end, number) for number, end in self._ends.items()],
        )


def _due(time_ms: int) -> int:
    return -(-time_ms // _DUE_STEP_MS) * _DUE_STEP_MS
