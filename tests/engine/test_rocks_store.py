"""The table store on Kafka: a prefix of its changelog at every instant."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP

from planner.step import Record
from streams.delivery.chunk import Chunk
from streams.delivery.table import ChangelogHole
from streams.kafka.store import RocksStore

CHANGELOG = TP("c", 0)


class FakeApp:
    """Remembers what crashed it."""

    crashed: list[BaseException]

    def __init__(self) -> None:
        self.crashed = []

    def _crash(self, reason: BaseException) -> None:
        self.crashed.append(reason)


@pytest.fixture
async def store(tmp_path: Path) -> Any:
    made = store_of(tmp_path)
    yield made
    await made.on_stop()


def store_of(path: Path) -> RocksStore:
    table = SimpleNamespace(app=FakeApp(), name="t", changelog_topic=SimpleNamespace(topics=["c"]))
    return RocksStore(table, path)


def events(*chunks: Chunk) -> Iterator[Any]:
    for chunk in chunks:
        yield SimpleNamespace(message=SimpleNamespace(value=chunk, tp=TP(chunk.topic, chunk.partition)))


def changelog(start: int, *entries: tuple[bytes, bytes | None]) -> Chunk:
    records = [Record("c", 0, start + n, 0, key, value) for n, (key, value) in enumerate(entries)]
    return Chunk("c", 0, start, start + len(entries), 0, records)


def apply(store: RocksStore, *chunks: Chunk) -> None:
    store.apply_changelog_batch(events(*chunks), lambda key: key, lambda value: value)


async def test_entries_are_written_with_the_changelogs_offset(store: RocksStore) -> None:
    assert store.persisted_offset(CHANGELOG) is None
    store.write(0, {b"a": b"1", b"b": b"2", b"c": b"3"}, 2)
    store.write(0, {b"b": None}, 3)
    assert store.persisted_offset(CHANGELOG) == 3
    entries = store.entries(0)
    assert (entries.get(b"a"), entries.get(b"b")) == (b"1", None)
    assert list(entries.scan(b"")) == [(b"a", b"1"), (b"c", b"3")], "its own entry is not the table's"


async def test_a_scan_keeps_to_its_prefix(store: RocksStore) -> None:
    store.write(0, {b"a/1": b"", b"b/1": b"x", b"b/2": b"y", b"c": b"", b"@position": b"7"}, 0)
    assert list(store.entries(0).scan(b"b/")) == [(b"b/1", b"x"), (b"b/2", b"y")]
    assert list(store.entries(0).scan(b"zz")) == []


async def test_it_is_found_again_after_a_restart(tmp_path: Path) -> None:
    first = store_of(tmp_path)
    first.write(1, {b"k": b"v"}, 41)
    await first.on_stop()
    second = store_of(tmp_path)
    assert second.persisted_offset(TP("c", 1)) == 41
    assert second.entries(1).get(b"k") == b"v"
    await second.on_stop()


async def test_chunks_of_the_changelog_are_applied_once_and_in_order(store: RocksStore) -> None:
    apply(store, changelog(0, (b"a", b"1"), (b"b", b"1")), changelog(2, (b"a", b"2"), (b"b", None)))
    assert list(store.entries(0).scan(b"")) == [(b"a", b"2")]
    apply(store, changelog(0, (b"a", b"1"), (b"b", b"1")))
    assert list(store.entries(0).scan(b"")) == [(b"a", b"2")], "a chunk from before changes nothing"
    apply(store, changelog(3, (b"b", None), (b"c", b"1")))
    assert store.persisted_offset(CHANGELOG) == 4
    assert store.entries(0).get(b"c") == b"1"


async def test_a_hole_in_the_changelog_crashes_the_app(store: RocksStore) -> None:
    apply(store, changelog(0, (b"a", b"1")))
    with pytest.raises(ChangelogHole, match="have 0, next chunk begins at 5"):
        apply(store, changelog(5, (b"b", b"1")))
    (reason,) = store.app.crashed
    assert isinstance(reason, ChangelogHole)


async def test_partitions_of_others_are_closed_so_that_they_can_be_opened_there(tmp_path: Path) -> None:
    first, second = store_of(tmp_path), store_of(tmp_path)
    first.write(0, {b"k": b"v"}, 1)
    await first.on_rebalance(set(), {CHANGELOG}, set())
    assert second.entries(0).get(b"k") == b"v"
    await second.on_stop()
