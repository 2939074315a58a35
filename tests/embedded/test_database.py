"""The embedded log in one process: topics, transactions, tables, upkeep, watching."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.step import Message
from streams.embedded import headers
from streams.embedded import values as kept_values
from streams.embedded.database import Database, after_prefix
from streams.embedded.upkeep import upkeep
from streams.log import LogBusy, LogError, RecordTooLarge, TopicSpec, UnknownTopic

HOUR_MS = 3_600_000
TABLE = TopicSpec("table", 2, compacted=True, compaction_lag_ms=HOUR_MS, tombstone_ms=2 * HOUR_MS)
CHANGELOG = TopicSpec("changelog", 2, compacted=True, compaction_lag_ms=0, tombstone_ms=0)
EVENTS = TopicSpec("events", 2, retention_ms=HOUR_MS)


@given(st.binary(max_size=600) | st.binary(min_size=1, max_size=9).map(lambda part: part * 300))
def test_values_are_kept_and_given_back(value: bytes) -> None:
    codec, kept = kept_values.packed(value)
    assert kept_values.unpacked(codec, kept) == value
    assert len(kept or b"") <= len(value)
    assert codec == kept_values.PLAIN or len(value) >= kept_values.LONG_BYTES


class Clock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now_ms = 1_800_000_000_000

    def __call__(self) -> int:
        return self.now_ms


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def database(tmp_path: Path, clock: Clock) -> Iterator[Database]:
    opened = Database(tmp_path / "planner.db", clock_ms=clock, busy_seconds=0.05)
    opened.ensure_topics([TABLE, CHANGELOG, EVENTS])
    yield opened
    opened.close()


def values(database: Database, topic: str, partition: int = 0) -> list[bytes | None]:
    return [record.value for record in database.fetch(topic, partition, 0)]


def clean(database: Database, rows_max: int = 2_000) -> int:
    removed = 0
    while step := upkeep(database, rows_max=rows_max):
        assert step <= rows_max
        removed += step
    return removed


def test_a_transaction_takes_records_entries_and_offsets_together(database: Database) -> None:
    with database.transaction() as transaction:
        assert transaction.append([Message("events", b"k", b"1", 1), Message("events", b"k", b"2", 1)]) == [
            (1, 0),
            (1, 1),
        ]
        assert transaction.put("changelog", 0, {b"a": b"x", b"b": b"y"}) == 2
        transaction.commit("worker", {("events", 1): 2})
    assert values(database, "events", 1) == [b"1", b"2"]
    assert database.load("changelog", 0) == {b"a": b"x", b"b": b"y"}
    assert database.committed("worker") == {("events", 1): 2}
    assert database.committed("another") == {}


def test_a_transaction_that_fails_leaves_nothing(database: Database) -> None:
    database.append([Message("events", b"k", b"before", 0)])
    seen = database.change()
    with pytest.raises(RuntimeError, match="midway"), database.transaction() as transaction:
        transaction.append([Message("events", b"k", b"lost", 0)])
        transaction.put("changelog", 0, {b"a": b"lost"})
        transaction.commit("worker", {("events", 0): 1})
        raise RuntimeError("midway")
    assert values(database, "events") == [b"before"]
    assert database.load("changelog", 0) == {}
    assert database.committed("worker") == {}
    assert database.change() == seen
    assert database.append([Message("events", b"k", b"after", 0)]) == [(0, 1)]


def test_what_a_topic_does_not_take(database: Database) -> None:
    with pytest.raises(LogError, match="compacted, so a record needs a key"):
        database.append([Message("events", b"k", b"fine"), Message("table", None, b"")])
    with (
        pytest.raises(LogError, match="not compacted, so it cannot hold a table"),
        database.transaction() as transaction,
    ):
        transaction.put("events", 0, {b"k": b""})
    with pytest.raises(RecordTooLarge, match="1,048,578 bytes"), database.transaction() as transaction:
        transaction.put("changelog", 0, {b"k": b"", b"kk": bytes(1_048_576)})
    with pytest.raises(UnknownTopic, match="no partition 2, expected 0 to 1"):
        database.fetch("events", 2, 0)
    assert database.end_offsets("events") == {0: 0, 1: 0}
    assert database.end_offsets("changelog") == {0: 0, 1: 0}


def test_fetch_keeps_to_its_limits_but_gives_one_record_however_large(database: Database) -> None:
    database.append([Message("events", None, bytes(size), 0) for size in (10, 10, 500, 10)])

    def sizes(offset: int, records_max: int = 10, bytes_max: int = 10_000) -> list[int]:
        records = database.fetch("events", 0, offset, records_max=records_max, bytes_max=bytes_max)
        return [len(record.value or b"") for record in records]

    assert sizes(offset=0, bytes_max=25) == [10, 10]
    assert sizes(offset=2, bytes_max=25) == [500]
    assert sizes(offset=0, records_max=3) == [10, 10, 500]
    assert sizes(offset=4) == []
    assert {r.topic for r in database.fetch("events", 0, 0, name="short")} == {"short"}
    assert database.fetch("events", 1, 0) == [], "the next partition's records are not ours"


def test_retention_removes_by_age_in_steps(database: Database, clock: Clock) -> None:
    database.append([Message("events", None, b"old", i % 2) for i in range(10)])
    clock.now_ms += HOUR_MS // 2
    database.append([Message("events", None, b"young", 0)])
    database.append([Message("table", b"k", b"not by age", 0)])
    assert clean(database) == 0
    clock.now_ms += HOUR_MS // 2 + 1
    assert clean(database, rows_max=3) == 10
    assert values(database, "events") == [b"young"]
    assert database.first_offsets("events") == {0: 5, 1: 5}
    assert database.end_offsets("events") == {0: 6, 1: 5}
    assert values(database, "table") == [b"not by age"]
    assert database.append([Message("events", None, b"next", 1)]) == [(1, 5)]


def test_superseded_values_go_after_the_lag_and_tombstones_after_theirs(database: Database, clock: Clock) -> None:
    database.append([Message("table", b"a", b"1", 0), Message("table", b"a", b"2", 0), Message("table", b"b", b"1", 0)])
    database.append([Message("table", b"b", None, 0)])
    assert clean(database) == 0
    clock.now_ms += HOUR_MS + 10_000
    clean(database)
    assert values(database, "table") == [b"2", None]
    clock.now_ms += HOUR_MS
    clean(database)
    assert values(database, "table") == [b"2"]
    assert [(r.key, r.value) for r in database.latest("table", 0)] == [(b"a", b"2")]
    assert database.end_offsets("table") == {0: 4, 1: 0}
    rows = database.connection.execute("SELECT count(*) FROM latest").fetchone()[0]
    assert rows == 1, "the removed key leaves nothing behind"


def test_a_key_that_came_back_after_its_tombstone_stays(database: Database, clock: Clock) -> None:
    database.append([Message("table", b"a", None, 0)])
    clock.now_ms += HOUR_MS
    database.append([Message("table", b"a", b"back", 0)])
    clock.now_ms += 10 * HOUR_MS
    clean(database)
    assert database.get("table", 0, b"a") == b"back"
    assert values(database, "table") == [b"back"]


VALUES = st.none() | st.binary(max_size=2)
OPERATIONS: st.SearchStrategy[list[tuple[str, Any]]] = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.dictionaries(st.sampled_from([b"a", b"ab", b"b\xff", b"@p"]), VALUES, max_size=3)),
        st.tuples(st.just("append"), st.lists(st.tuples(st.sampled_from([b"a", b"ab", b"c"]), VALUES), max_size=4)),
        st.tuples(st.just("wait"), st.sampled_from([1, HOUR_MS, 3 * HOUR_MS])),
        st.tuples(st.just("clean"), st.integers(1, 3)),
        st.tuples(st.just("fail"), st.just(0)),
    ),
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(topic=st.sampled_from([TABLE, CHANGELOG]), operations=OPERATIONS)
def test_a_table_equals_a_dictionary(
    tmp_path_factory: pytest.TempPathFactory, topic: TopicSpec, operations: list[tuple[str, Any]]
) -> None:
    """Through writes, failed writes, the passing of time and upkeep in the smallest steps; and again when reopened."""
    clock = Clock()
    path = tmp_path_factory.mktemp("log") / "planner.db"
    database = Database(path, clock_ms=clock, durability="normal")
    database.ensure_topics([topic])
    model: dict[bytes, bytes | None] = {}
    for kind, what in operations:
        if kind == "put":
            with database.transaction() as transaction:
                transaction.put(topic.name, 0, what)
            model |= what
        elif kind == "append":
            database.append([Message(topic.name, key, value, 0) for key, value in what])
            model |= dict(what)
        elif kind == "wait":
            clock.now_ms += what
        elif kind == "clean":
            upkeep(database, rows_max=what)
        else:
            with pytest.raises(RuntimeError), database.transaction() as transaction:
                transaction.put(topic.name, 0, {b"a": b"lost"})
                raise RuntimeError
    for _ in range(2):
        expected = {key: value for key, value in model.items() if value is not None}
        assert database.load(topic.name, 0) == expected
        assert dict(database.scan(topic.name, 0)) == expected
        assert list(database.scan(topic.name, 0)) == sorted(expected.items())
        for key in (b"a", b"ab", b"b\xff", b"@p", b"c"):
            assert database.get(topic.name, 0, key) == expected.get(key)
        assert dict(database.scan(topic.name, 0, b"a")) == {k: v for k, v in expected.items() if k.startswith(b"a")}
        offsets = [record.offset for record in database.fetch(topic.name, 0, 0)]
        assert offsets == sorted(set(offsets))
        assert not offsets or offsets[-1] < database.end_offsets(topic.name)[0]
        database.close()
        database = Database(path, clock_ms=clock)
    database.close()


def test_scanning_more_than_a_page(database: Database) -> None:
    entries = {b"%06d" % i: b"" for i in range(12_345)}
    with database.transaction() as transaction:
        transaction.put("changelog", 1, entries)
    assert dict(database.scan("changelog", 1)) == entries
    assert sum(1 for _ in database.scan("changelog", 1, b"01")) == 2_345
    assert list(database.scan("changelog", 0)) == []


@given(st.binary(max_size=4), st.binary(max_size=5))
def test_after_prefix_bounds_exactly_the_keys_with_the_prefix(prefix: bytes, key: bytes) -> None:
    bound = after_prefix(prefix)
    assert key.startswith(prefix) == (key >= prefix and (bound is None or key < bound))


@given(st.lists(st.tuples(st.text(max_size=5), st.binary(max_size=5)), max_size=4))
def test_headers_come_back(pairs: list[tuple[str, bytes]]) -> None:
    assert headers.unpack(headers.pack(tuple(pairs))) == tuple(pairs)


def test_change_tells_of_own_commits_and_of_others(database: Database, tmp_path: Path) -> None:
    calls = []
    database.on_commit.append(lambda: calls.append(1))
    seen = {database.change()}
    assert database.change() in seen, "looking changes nothing"
    database.append([Message("events", None, b"")])
    seen.add(database.change())
    another = Database(tmp_path / "planner.db", create=False)
    another.append([Message("events", None, b"")])
    another.close()
    seen.add(database.change())
    assert (len(seen), len(calls)) == (3, 1)


def test_a_writer_that_waits_too_long_is_told_so(database: Database, tmp_path: Path) -> None:
    blocker = sqlite3.connect(tmp_path / "planner.db", isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    with pytest.raises(LogBusy, match=r"another process has been writing for more than 0\.05 s"):
        database.append([Message("events", None, b"")])
    assert values(database, "events") == [], "reading is never blocked"
    database.ensure_topics([EVENTS])  # nor is what has nothing to change
    blocker.execute("COMMIT")
    blocker.close()
    assert len(database.append([Message("events", None, b"")])) == 1


def test_all_ends_in_one_look_are_those_of_each_topic(database: Database) -> None:
    database.append([Message("events", b"a", b"1"), Message("events", b"b", b"2"), Message("table", b"a", b"3")])
    expected = {(topic, n): end for topic in database.topics() for n, end in database.end_offsets(topic).items()}
    assert database.all_end_offsets() == expected
    assert sum(expected.values()) == 3
