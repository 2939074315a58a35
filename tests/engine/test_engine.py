"""The engine alone: position, pages, faults, bugs, what is due."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP
from structlog.testing import capture_logs

from planner.journal import APPLIED, Applied
from streams import metrics, names
from streams.agents import PAGES_AT_ONCE, _consuming
from streams.engine import RecordsLost
from streams.failure import StepFailed
from tests.engine.fakes import PREFIX, Rig, chunk, record, until

BOOKINGS = TP(PREFIX + "bookings", 0)
POSITION = names.position_key("bookings")


async def test_a_chunk_is_folded_written_with_its_position_and_acknowledged() -> None:
    rig = Rig()
    assert await rig.engine.apply(chunk(0, 1, 2))
    assert rig.step.chunks == [[0, 1, 2]]
    assert rig.table == {b"bookings/0": b"v", b"bookings/1": b"v", b"bookings/2": b"v", POSITION: b"3"}
    assert len(rig.outlet.messages) == 3
    assert rig.engine.applied_offset(BOOKINGS) == 3
    (page,) = rig.outlet.pages
    assert list(page.writes)[-1] == POSITION, "the position ends the batch: compaction never takes a log's last entry"
    assert page.applied == {PREFIX + "bookings": 3}


async def test_records_that_were_applied_are_skipped() -> None:
    rig = Rig()
    await rig.engine.apply(chunk(0, 1, 2))
    assert await rig.engine.apply(chunk(1, 2, 3, 4))
    assert rig.step.chunks == [[0, 1, 2], [3, 4]]
    assert await rig.engine.apply(chunk(0, 1)), "a chunk that is known as a whole is acknowledged"
    assert len(rig.step.chunks) == 2


async def test_a_restart_continues_where_the_table_ends() -> None:
    rig = Rig()
    await rig.engine.apply(chunk(0, 1))
    await rig.engine.restore({0})
    assert len(rig.made) == 2
    assert rig.step.restored[b"bookings/1"] == b"v"
    assert rig.engine.applied_offset(BOOKINGS) == 2
    await rig.engine.apply(chunk(0, 1, 2))
    assert rig.step.chunks == [[2]]


async def test_a_gap_is_read_again_and_not_acknowledged() -> None:
    rig = Rig()
    await rig.engine.apply(chunk(0, 1))
    before = metrics.gaps.labels("expand")._value.get()
    assert not await rig.engine.apply(chunk(5, 6))
    assert rig.seeks == [(BOOKINGS, 2)]
    assert rig.step.chunks == [[0, 1]]
    assert metrics.gaps.labels("expand")._value.get() == before + 1


async def test_a_gap_before_anything_was_applied_is_seen_too() -> None:
    rig = Rig()
    assert not await rig.engine.apply(chunk(1000, 1001))
    assert rig.seeks == [(BOOKINGS, 0)]


async def test_the_first_start_accepts_where_the_log_begins() -> None:
    rig = Rig()
    rig.engine.begins_at(BOOKINGS, 70)
    assert await rig.engine.apply(chunk(70, 71))
    assert rig.engine.applied_offset(BOOKINGS) == 72


async def test_holes_inside_a_stretch_are_natural() -> None:
    """Transaction markers and compaction leave holes; the stretch still meets the one before."""
    rig = Rig()
    await rig.engine.apply(chunk(0, 1))
    assert await rig.engine.apply(chunk(3, 5, start=2, end=7))
    assert rig.engine.applied_offset(BOOKINGS) == 7


async def test_records_removed_before_they_were_applied_stop_the_worker() -> None:
    rig = Rig()
    await rig.engine.apply(chunk(0, 1))
    rig.earliest = 50
    with pytest.raises(RecordsLost, match="records 2 to 49 were not yet applied"):
        await rig.engine.apply(chunk(50, start=2))


async def test_a_compacted_topic_may_lack_its_beginning() -> None:
    rig = Rig()
    rig.engine.begins_at(TP(PREFIX + "catalogue", 0), 0)
    rig.earliest = 9
    assert await rig.engine.apply(chunk(9, start=0, topic="catalogue"))


async def test_a_log_that_begins_anew_stops_the_worker() -> None:
    rig = Rig()
    await rig.engine.apply(chunk(*range(10)))
    with pytest.raises(RecordsLost, match="truncated or replaced"):
        await rig.engine.apply(chunk(0, 1, start=10))


async def test_each_page_is_durable_before_the_next_and_the_last_has_the_position() -> None:
    rig = Rig(page_records=2)
    await rig.engine.apply(chunk(0, 1, 2, 3, 4))
    assert [POSITION in page.writes for page in rig.outlet.pages] == [False, False, True]
    assert [bool(page.applied) for page in rig.outlet.pages] == [False, False, True]


async def test_others_run_while_a_fold_takes_long_and_see_nothing_of_it() -> None:
    rig = Rig()
    seen: list[int] = []

    async def other() -> None:
        for _ in range(3):
            seen.append(len(rig.outlet.pages))
            await asyncio.sleep(0)

    long = replace(chunk(0, 1, 2), records=[record(0), record(1, b"long"), record(2, b"long")])
    running = asyncio.create_task(other())
    assert await rig.engine.apply(long)
    assert seen == [0, 0], "once for each turn"
    assert len(rig.outlet.pages) == 1
    assert len(rig.outlet.messages) == 3
    await running


async def test_a_partition_lost_while_a_fold_takes_long_is_not_folded_to_its_end() -> None:
    rig = Rig()
    long = replace(chunk(0, 1), records=[record(0, b"long"), record(1, b"bug")])
    folding = asyncio.create_task(rig.engine.apply(long))
    await asyncio.sleep(0)
    rig.engine.drop()
    assert not await folding
    assert rig.outlet.pages == []


async def test_a_restore_of_many_partitions_lets_others_run_after_each() -> None:
    rig = Rig()
    seen: list[int] = []

    async def other() -> None:
        while len(rig.engine.steps) < 3:
            seen.append(len(rig.engine.steps))
            await asyncio.sleep(0)

    await asyncio.gather(rig.engine.restore({0, 1, 2}), other())
    assert seen == [1, 2]


async def test_a_crash_between_pages_folds_the_chunk_again() -> None:
    rig = Rig(page_records=2, retry_limit_s=0)
    rig.outlet.failures = []
    deliver = rig.outlet.deliver
    count = 0

    async def fail_at_second(page: object) -> None:
        nonlocal count
        count += 1
        if count == 2:
            raise ConnectionError("gone")
        await deliver(page)  # type: ignore[arg-type]

    rig.outlet.deliver = fail_at_second  # type: ignore[method-assign]
    with pytest.raises(ConnectionError):
        await rig.engine.apply(chunk(0, 1, 2, 3))
    await rig.engine.restore({0})
    assert rig.engine.applied_offset(BOOKINGS) is None
    rig.engine.begins_at(BOOKINGS, 0)
    assert await rig.engine.apply(chunk(0, 1, 2, 3))
    assert rig.step.chunks == [[0, 1, 2, 3]]


async def test_a_fault_of_the_log_is_tried_again_without_publishing_twice() -> None:
    rig = Rig()
    rig.outlet.failures = [ConnectionError("once"), ConnectionError("twice")]
    assert await rig.engine.apply(chunk(0, 1))
    assert len(rig.outlet.messages) == 2
    assert rig.engine.applied_offset(BOOKINGS) == 2


async def test_a_fault_that_stays_stops_the_worker_in_the_end() -> None:
    rig = Rig(retry_limit_s=0.2)
    rig.outlet.failures = [ConnectionError("for ever")] * 100
    with pytest.raises(ConnectionError):
        await rig.engine.apply(chunk(0))
    assert rig.engine.applied_offset(BOOKINGS) is None


async def test_a_bug_stops_the_worker_and_names_the_record() -> None:
    rig = Rig()
    content = b'{"event_id": "e-7", "booking_id": "b-1"}'
    faulty = replace(chunk(0, 1, 2), records=[record(0), record(1, b"bug"), record(2)])
    before = metrics.bugs.labels("expand", "bookings")._value.get()
    with pytest.raises(StepFailed, match="record bookings/0/1: ZeroDivisionError"):
        await rig.engine.apply(faulty)
    assert rig.table == {}, "nothing of the chunk is written, so nothing is committed"
    assert metrics.bugs.labels("expand", "bookings")._value.get() == before + 1
    await rig.engine.restore({0})
    with capture_logs() as logs, pytest.raises(StepFailed):
        rig.step.fold = lambda chunk, caught_up=True: _raise(record(5, content))  # type: ignore[assignment, method-assign, misc]
        await rig.engine.apply(chunk(0, 1))
    (line,) = [entry for entry in logs if entry["event"] == "step_failed"]
    assert (line["topic"], line["partition"], line["offset"]) == ("bookings", 0, 5)
    assert (line["event_id"], line["booking_id"]) == ("e-7", "b-1")


@pytest.mark.parametrize("when", ["in the fold", "after the commit"])
async def test_what_waits_behind_a_bug_is_not_folded_on_top_of_it(when: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A chunk of another topic of the same partition waits for its turn: the step may be ahead of the table, which
    would get what it must not hold, and then the journal would not tell how it came to be."""
    rig = Rig()
    await rig.engine.apply(chunk(0))
    before = dict(rig.table)
    faulty = chunk(1)
    if when == "in the fold":
        faulty = replace(faulty, records=[record(1, b"bug")])
    else:
        deliver = rig.outlet.deliver

        async def delivers_and_fails(page: Any) -> None:
            await deliver(page)
            before.update(rig.table)
            raise ZeroDivisionError("after the commit")

        monkeypatch.setattr(rig.outlet, "deliver", delivers_and_fails)
    first = asyncio.ensure_future(rig.engine.apply(faulty))
    waits = asyncio.ensure_future(rig.engine.apply(chunk(0, topic="catalogue")))
    with pytest.raises((StepFailed, ZeroDivisionError)):
        await first
    monkeypatch.undo()
    assert not await waits
    assert rig.table == before
    assert journal(rig)[-1].topic == "bookings"


def _raise(about: object) -> object:
    raise ZeroDivisionError("no")
    yield about


async def test_caught_up_is_told_from_what_waits_behind() -> None:
    rig = Rig()
    await rig.engine.apply(chunk(0, behind=5))
    await rig.engine.apply(chunk(1, behind=0))
    assert rig.step.caught_up == [False, True]


async def test_a_partition_of_others_is_left_alone() -> None:
    rig = Rig()
    rig.engine.drop()
    assert not await rig.engine.apply(chunk(0))
    assert rig.outlet.pages == []


async def test_a_partition_lost_while_its_chunk_waits_is_not_written() -> None:
    """The zombie: the log does not answer, meanwhile the partition goes to another worker."""
    rig = Rig()
    rig.outlet.failures = [ConnectionError("stalled")] * 3
    applying = asyncio.ensure_future(rig.engine.apply(chunk(0)))
    await until(lambda: len(rig.outlet.failures) < 3)
    rig.engine.drop()
    assert not await applying
    assert rig.outlet.pages == []


async def test_a_release_waits_for_the_chunk_in_flight() -> None:
    rig = Rig()
    rig.outlet.failures = [ConnectionError("slow")]
    applying = asyncio.ensure_future(rig.engine.apply(chunk(0)))
    await until(lambda: not rig.outlet.failures)
    await rig.engine.release(5)
    assert await applying
    assert rig.table[POSITION] == b"1"


async def test_a_release_that_takes_too_long_leaves_the_chunk_unwritten() -> None:
    rig = Rig()
    rig.outlet.failures = [ConnectionError("stalled")] * 5
    applying = asyncio.ensure_future(rig.engine.apply(chunk(0)))
    await until(lambda: len(rig.outlet.failures) < 5)
    await rig.engine.release(0.01)
    assert not await applying
    assert rig.table == {}


# --- the journal ------------------------------------------------------------------------------------------


def journal(rig: Rig) -> list[Applied]:
    return [APPLIED.validate_json(message.value or b"") for message in rig.outlet.journal]


async def test_the_journal_says_what_was_applied_in_which_order() -> None:
    rig = Rig()
    rig.engine.begins_at(TP(PREFIX + "catalogue", 0), 0)
    await rig.engine.apply(chunk(0, 1, behind=5))
    await rig.engine.apply(chunk(3, start=0, topic="catalogue"))
    await rig.engine.apply(chunk(1, 2, 3))  # the first of them is known
    await rig.engine.apply(chunk(2, 3))  # all are known: nothing is applied
    told = [(one.topic, one.start, one.end, one.caught_up, one.applied) for one in journal(rig)]
    assert told == [
        ("bookings", 0, 2, False, {}),
        ("catalogue", 0, 4, True, {"bookings": 2}),
        ("bookings", 2, 4, True, {"bookings": 2, "catalogue": 4}),
    ]
    assert [one.restored is not None for one in journal(rig)] == [True, False, False]
    assert {(message.key, message.partition) for message in rig.outlet.journal} == {(b"expand", 0)}
    await rig.engine.restore({0})
    await rig.engine.apply(chunk(4))
    assert journal(rig)[-1].restored is not None, "the first chunk after a restore says so"


async def test_a_chunk_of_several_pages_has_one_entry_with_its_last() -> None:
    rig = Rig(page_records=1)
    await rig.engine.apply(chunk(0, 1, 2))
    assert [len(page.messages) for page in rig.outlet.pages] == [1, 1, 2]
    assert len(journal(rig)) == 1


# --- the agent ------------------------------------------------------------------------------------------------


class Stream:
    """A stream of events that never ends."""

    def __init__(self, chunks: list[Any]) -> None:
        self.waiting = chunks
        self.acknowledged: list[Any] = []

    def noack(self) -> Stream:
        return self

    async def events(self) -> AsyncIterator[Any]:
        for waiting in self.waiting:
            yield SimpleNamespace(value=waiting)
        await asyncio.Event().wait()

    async def ack(self, event: Any) -> None:
        self.acknowledged.append(event.value)


class Applying:
    """An engine whose chunks are durable when they are let through; what is no chunk is a bug."""

    def __init__(self) -> None:
        self.began: list[Any] = []
        self.through = asyncio.Event()

    async def apply(self, chunk: Any) -> bool:
        self.began.append(chunk)
        if chunk == "bug":
            raise StepFailed("bookings/0/7") from ZeroDivisionError()
        await self.through.wait()
        return bool(chunk != "gap")


async def test_partitions_go_side_by_side_and_no_more_than_fit_into_memory() -> None:
    engine, stream = Applying(), Stream([*range(PAGES_AT_ONCE), "gap", "late"])
    consuming = asyncio.ensure_future(_consuming(engine)(stream))
    await until(lambda: len(engine.began) == PAGES_AT_ONCE)
    assert not stream.acknowledged
    engine.through.set()
    await until(lambda: len(stream.acknowledged) == PAGES_AT_ONCE + 1)
    assert "gap" not in stream.acknowledged, "what was not applied is not acknowledged"
    consuming.cancel()
    with pytest.raises(asyncio.CancelledError):
        await consuming


async def test_a_bug_stops_the_agent_with_its_own_error_and_cause() -> None:
    engine, stream = Applying(), Stream(["waits", "bug"])
    with pytest.raises(StepFailed, match="bookings/0/7") as raised:
        await _consuming(engine)(stream)
    assert isinstance(raised.value.__cause__, ZeroDivisionError)
    assert not stream.acknowledged
