"""The log in one SQLite file: topics, records, the latest record of each key, committed offsets.

Synchronous, for one thread at a time; any number of processes may have the file open. Names of topics are full ones
(with the prefix). Only one process should be the *worker* (``lock.WorkerLock``); the others publish and read.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Final, Literal

from planner.step import Message, Record
from streams.embedded import headers as wire
from streams.embedded.schema import OFFSET_BITS, OFFSET_MASK, Guard, connect
from streams.embedded.transaction import Transaction
from streams.embedded.values import unpacked
from streams.log import LogDamaged, TopicMismatch, TopicSpec, UnknownTopic

_SCAN_PAGE: Final = 5_000
_COLUMNS: Final = ", ".join(field.name for field in fields(TopicSpec))


def wall_ms() -> int:
    """Milliseconds since 1970 by the wall clock."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as it is kept, with the number of each of its partitions in the file."""

    spec: TopicSpec
    numbers: tuple[int, ...]


class Database:
    """An open log. ``durability`` full: committed is on disk; normal: a power cut may take the last commits.

    ``busy_seconds``: how long to wait for another process that is writing. ``clock_ms``: the wall clock.

    Raises:
        LogUnavailable: there is no file and ``create`` is False, or it cannot be opened.
        NotALog, LogTooNew, LogDamaged: the file is not a log that we can use.
    """

    def __init__(
        self,
        path: Path,
        *,
        create: bool = True,
        busy_seconds: float = 10.0,
        durability: Literal["full", "normal"] = "full",
        cache_bytes: int = 32 << 20,
        clock_ms: Callable[[], int] = wall_ms,
    ) -> None:
        self.path = path
        self.clock_ms = clock_ms
        self.connection = connect(
            path, create=create, busy_seconds=busy_seconds, durability=durability, cache_bytes=cache_bytes
        )
        self.guard = Guard(path, busy_seconds)
        self.on_commit: list[Callable[[], None]] = []
        """Called after each commit made through this object."""
        self._topics: dict[str, Topic] = {}
        self._commits = 0
        self._turn = 0  # of the partitions, for records without a key

    def close(self) -> None:
        """Let go of the file."""
        self.connection.close()

    # Topics

    def ensure_topics(self, specs: Iterable[TopicSpec]) -> None:
        """Create what is missing and bring the settings of the rest up to date.

        Raises:
            TopicMismatch: a topic exists with another number of partitions, or is compacted where it should not be.
        """
        wanted = list(specs)
        self._topics.clear()
        if all(self._find(spec.name) is not None and self.topic(spec.name).spec == spec for spec in wanted):
            return  # nothing to write: no need to wait for another writer
        with self.transaction():
            for spec in wanted:
                self._ensure_topic(spec)
        self._topics.clear()

    def _ensure_topic(self, spec: TopicSpec) -> None:
        execute = self.connection.execute
        known = self._find(spec.name)
        if known is None:
            marks = ", ".join("?" * len(fields(TopicSpec)))
            execute(f"INSERT INTO topics ({_COLUMNS}) VALUES ({marks})", astuple(spec))
            self.connection.executemany(
                "INSERT INTO partitions (topic, partition) VALUES (?, ?)",
                [(spec.name, partition) for partition in range(spec.partitions)],
            )
            return
        for name in ("partitions", "compacted"):
            found, expected = getattr(known.spec, name), getattr(spec, name)
            if found != expected:
                raise TopicMismatch(f"topic {spec.name}: {name} is {found}, expected {expected}; it cannot be changed")
        execute(
            "UPDATE topics SET retention_ms = ?, max_message_bytes = ?, compaction_lag_ms = ?, tombstone_ms = ?"
            " WHERE name = ?",
            (spec.retention_ms, spec.max_message_bytes, spec.compaction_lag_ms, spec.tombstone_ms, spec.name),
        )

    def topics(self) -> list[str]:
        """Names of all topics."""
        with self.guard:
            return [name for (name,) in self.connection.execute("SELECT name FROM topics ORDER BY name")]

    def topic(self, name: str) -> Topic:
        """How a topic is kept.

        Raises:
            UnknownTopic: there is none of that name.
        """
        topic = self._topics.get(name) or self._find(name)
        if topic is None:
            raise UnknownTopic(f"{self.path}: there is no topic {name!r}")
        return topic

    def _find(self, name: str) -> Topic | None:
        with self.guard:
            row = self.connection.execute(f"SELECT {_COLUMNS} FROM topics WHERE name = ?", (name,)).fetchone()
            if row is None:
                return None
            numbers = self.connection.execute(
                "SELECT number FROM partitions WHERE topic = ? ORDER BY partition", (name,)
            ).fetchall()
        values = dict(zip((field.name for field in fields(TopicSpec)), row, strict=True))
        topic = Topic(TopicSpec(**values | {"compacted": bool(values["compacted"])}), tuple(n for (n,) in numbers))
        self._topics[name] = topic
        return topic

    def number(self, topic: str, partition: int) -> int:
        """The partition's number in the file.

        Raises:
            UnknownTopic: there is no such topic or partition.
        """
        numbers = self.topic(topic).numbers
        if not 0 <= partition < len(numbers):
            raise UnknownTopic(f"topic {topic}: there is no partition {partition}, expected 0 to {len(numbers) - 1}")
        return numbers[partition]

    # Writing

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Everything written inside becomes durable together at the end, or, after an exception, nothing does.

        Raises:
            LogBusy: another process has been writing for too long.
            LogFull: no room; nothing was written, and it may be tried again.
        """
        connection = self.connection
        with self.guard:
            connection.execute("BEGIN IMMEDIATE")
            try:
                transaction = Transaction(self)
                yield transaction
                transaction.write_ends()
                connection.execute("COMMIT")
            except BaseException:
                # A full disk may have ended the transaction already.
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        self._commits += 1
        for callback in self.on_commit:
            callback()

    def append(self, messages: Sequence[Message], prefix: str = "") -> list[tuple[int, int]]:
        """Append in a transaction of its own; as ``Transaction.append``."""
        if not messages:
            return []
        with self.transaction() as transaction:
            return transaction.append(messages, prefix)

    def next_partition(self, partitions: int) -> int:
        """The partition of a record without a key: each in turn."""
        self._turn += 1
        return self._turn % partitions

    # Reading

    def change(self) -> tuple[int, int]:
        """Differs from the last call's when anything was committed, by this process or another. Costs little."""
        with self.guard:
            return self.connection.execute("PRAGMA data_version").fetchone()[0], self._commits

    def fetch(
        self,
        topic: str,
        partition: int,
        offset: int,
        *,
        records_max: int = 5_000,
        bytes_max: int = 8 << 20,
        name: str | None = None,
    ) -> list[Record]:
        """Records from ``offset`` on, in order; at least one if there is one, however large.

        Offsets may have gaps where a topic is compacted. ``name``: how the records call their topic.
        """
        number = self.number(topic, partition)
        name = topic if name is None else name
        low, high = number << OFFSET_BITS, number << OFFSET_BITS | OFFSET_MASK
        records: list[Record] = []
        size = 0
        with self.guard:
            cursor = self.connection.execute(
                "SELECT id, timestamp_ms, key, codec, value, headers FROM records WHERE id BETWEEN ? AND ?"
                " ORDER BY id LIMIT ?",
                (low + max(0, offset), high, records_max),
            )
            for id_, timestamp_ms, key, codec, kept, packed in cursor:
                value = self._value(id_, codec, kept)
                size += len(value or b"") + len(key or b"") + len(packed or b"")
                if size > bytes_max and records:
                    break
                headers = wire.unpack(packed) if packed else ()
                records.append(Record(name, partition, id_ & OFFSET_MASK, timestamp_ms, key, value, headers))
            cursor.close()  # an open statement would keep the WAL from being written back
        return records

    def _value(self, id_: int, codec: int, kept: bytes | None) -> bytes | None:
        try:
            return unpacked(codec, kept)
        except ValueError as error:
            partition, offset = id_ >> OFFSET_BITS, id_ & OFFSET_MASK
            raise LogDamaged(
                f"{self.path}: damaged (partition number {partition}, offset {offset}: {error}); restore it from a copy"
            ) from error

    def end_offsets(self, topic: str) -> dict[int, int]:
        """The offset the next record gets, by partition."""
        return self._offsets(topic, "next_offset")

    def all_end_offsets(self) -> dict[tuple[str, int], int]:
        """The offset the next record gets, by topic and partition: of all of them, in one look."""
        with self.guard:
            rows = self.connection.execute("SELECT topic, partition, next_offset FROM partitions")
            return {(topic, partition): offset for topic, partition, offset in rows}

    def first_offsets(self, topic: str) -> dict[int, int]:
        """The lowest offset that may still be kept, by partition."""
        return self._offsets(topic, "first_offset")

    def _offsets(self, topic: str, column: str) -> dict[int, int]:
        self.topic(topic)
        with self.guard:
            return dict(
                self.connection.execute(f"SELECT partition, {column} FROM partitions WHERE topic = ?", (topic,))
            )

    def committed(self, group: str) -> dict[tuple[str, int], int]:
        """The next offset to consume of a consumer group, by topic and partition."""
        with self.guard:
            rows = self.connection.execute(
                "SELECT topic, partition, next_offset FROM commits WHERE consumer_group = ?", (group,)
            )
            return {(topic, partition): offset for topic, partition, offset in rows}

    # The latest record of each key (compacted topics)

    def get(self, topic: str, partition: int, key: bytes) -> bytes | None:
        """The latest value of a key; None: there is none."""
        with self.guard:
            row = self.connection.execute(
                "SELECT id, codec, value FROM latest JOIN records USING (id) WHERE number = ? AND latest.key = ?",
                (self.number(topic, partition), key),
            ).fetchone()
        return self._value(*row) if row else None

    def load(self, topic: str, partition: int) -> dict[bytes, bytes]:
        """All latest values of a partition by key: the fast way to restore a table."""
        low = self.number(topic, partition) << OFFSET_BITS
        with self.guard:
            # Reading the records as they lie beats following the index; the last one of a key wins.
            rows = self.connection.execute(
                "SELECT key, id, codec, value FROM records WHERE id BETWEEN ? AND ? ORDER BY id",
                (low, low | OFFSET_MASK),
            )
            entries = {key: self._value(id_, codec, kept) for key, id_, codec, kept in rows}
        for key in [key for key, value in entries.items() if value is None]:
            del entries[key]
        return entries  # type: ignore[return-value]  # no None is left

    def scan(self, topic: str, partition: int, prefix: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """Latest values by key, in the order of keys; each page of them is of one moment."""
        for record in self.latest(topic, partition, prefix):
            yield record.key, record.value  # type: ignore[misc]  # neither is None here

    def latest(self, topic: str, partition: int, prefix: bytes = b"", *, name: str | None = None) -> Iterator[Record]:
        """Latest records by key, in the order of keys, without tombstones."""
        number = self.number(topic, partition)
        name = topic if name is None else name
        high = after_prefix(prefix)
        bound = "" if high is None else " AND latest.key < ?4"
        statement = (
            "SELECT latest.key, id, timestamp_ms, codec, value, headers FROM latest JOIN records USING (id)"
            f" WHERE number = ?1 AND latest.key {{}} ?2{bound} ORDER BY latest.key LIMIT ?3"
        )
        comparison, key = ">=", prefix
        while True:
            with self.guard:
                rows = self.connection.execute(
                    statement.format(comparison), (number, key, _SCAN_PAGE, *([] if high is None else [high]))
                ).fetchall()
            for key, id_, timestamp_ms, codec, kept, packed in rows:  # the page ends at its last key
                if (value := self._value(id_, codec, kept)) is not None:
                    headers = wire.unpack(packed) if packed else ()
                    yield Record(name, partition, id_ & OFFSET_MASK, timestamp_ms, key, value, headers)
            if len(rows) < _SCAN_PAGE:
                return
            comparison = ">"

    # Care

    def check(self) -> None:
        """Read the whole file and verify it (slow on a large one).

        Raises:
            LogDamaged: with what SQLite found first.
        """
        with self.guard:
            found = self.connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            first = found.replace("*** in database main ***", "").strip().splitlines()[0]
            raise LogDamaged(f"{self.path}: damaged ({first}); restore it from a copy")


def after_prefix(prefix: bytes) -> bytes | None:
    """The least key above every key with the prefix; None: there is none."""
    stem = prefix.rstrip(b"\xff")
    return stem[:-1] + bytes([stem[-1] + 1]) if stem else None
