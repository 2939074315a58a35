"""Where the events tell the time: nothing of a slower partition is history yet, and nothing holds time for ever."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.booking_step import BookingStep
from planner.plan.event_clock import EventClock
from planner.plan_step import PlanStep
from planner.step import Record
from tests.driver import Driver, MemoryEntries, encode, key_of
from tests.plan.clinic import MAGNESIUM, NORTH, Desk, at, bundle
from tests.plan.test_properties import Told, World


def hour_of(partition: int, now: datetime) -> dict[str, Any]:
    """An hour as ``expand`` tells it."""
    text = f"{now:%Y-%m-%dT%H:00:00}Z"
    body = {"type": "clock.ticked", "event_id": f"clock/{text}/{partition}", "source": f"expand/{partition}"}
    return {**body, "occurred_at": text, "now": text}


def partition_of_bookings(number: int, days: Sequence[int]) -> list[Told]:
    """What one partition of ``expand`` publishes: a session stated on each of ``days`` for two days later."""
    desk, told = Desk(), []
    for n, day in enumerate(days):
        when = at(day, "09:30")
        told.append(("requirements", hour_of(number, when)))
        told.append(("requirements", desk.stated(f"b{number}-{n}", at(day + 2), when)))
    return told


def merged(chance: random.Random, *partitions: list[Told]) -> list[Told]:
    """In order within each partition, one ahead of the other as it happens."""
    left = [list(told) for told in partitions]
    found = []
    while any(left):
        ahead = chance.choice([told for told in left if told])
        for _ in range(min(len(ahead), 2 * chance.randrange(1, 4))):
            found.append(ahead.pop(0))
    return found


def watermarks(records: Sequence[Record]) -> list[datetime | None]:
    """After each record, by the definition alone: the least of the latest hours of the partitions seen by then,
    and never earlier than before."""
    marks: dict[str, datetime] = {}
    now: datetime | None = None
    found = []
    for record in records:
        body = orjson.loads(record.value or b"")
        if body["type"] == "clock.ticked":
            marks[body["source"]] = datetime.fromisoformat(body["now"])
            now = min(marks.values()) if now is None else max(now, min(marks.values()))
        found.append(now)
    return found


def alerts_of(messages: list[Any]) -> list[bytes | None]:
    return [message.value for message in messages if message.topic == "alerts"]


days = st.lists(st.integers(0, 9), min_size=1, max_size=7).map(sorted)


@given(days, days, st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_history_means_the_same_in_any_chunks(first: list[int], second: list[int], seed: int) -> None:
    chance = random.Random(seed)
    told = merged(chance, partition_of_bookings(0, first), partition_of_bookings(1, second))
    stocked: Told = ("stock", Desk().received(at(0), MAGNESIUM, 9))

    singly, chunked = World("event"), World("event")
    for world in (singly, chunked):
        world.fold(world.records([stocked]), caught_up=False)
    records = singly.records(told)
    expected = watermarks(records)
    one_by_one = []
    for record, mark in zip(records, expected, strict=True):
        one_by_one += alerts_of(singly.fold([record], caught_up=False))
        assert singly.step.now == max(mark or at(0), at(0)), "the receipt was told at its own time, before any hour"
    in_chunks, begin = [], 0
    while begin < len(records):
        end = min(begin + chance.choice((1, 2, 5, 9)), len(records))
        in_chunks += alerts_of(chunked.fold(records[begin:end], caught_up=False))
        begin = end
        assert chunked.step.now == max(expected[end - 1] or at(0), at(0))
        if chance.random() < 0.3:
            restarted = PlanStep(0, bundle(), "event")
            restarted.restore(chunked.table)
            assert restarted.now == chunked.step.now
    assert in_chunks == one_by_one, "an alert is of its day, however the log was read"
    for world in (singly, chunked):
        world.fold([])
        assert world.step.now == max(at(0), at(max(first[-1], second[-1]), "09:30"))
    assert singly.facts == chunked.facts


def fold(step: PlanStep, topic: str, *events: Any, caught_up: bool) -> None:
    values = [encode(event) for event in events]
    records = [Record(topic, 0, n, 0, key_of(topic, value, 0), value) for n, value in enumerate(values)]
    for _ in step.fold(records, caught_up=caught_up):
        pass


def test_a_quiet_partition_holds_time_only_while_more_waits() -> None:
    step = World("event").step
    fold(step, "requirements", hour_of(0, at(0)), hour_of(1, at(5)), caught_up=False)
    fold(step, "requirements", hour_of(1, at(6)), caught_up=False)
    assert step.now == at(0)
    fold(step, "requirements", hour_of(1, at(7)), caught_up=True)
    assert step.now == at(7)
    fold(step, "requirements", hour_of(0, at(1)), caught_up=False)
    assert step.now == at(7), "it never runs back"


def test_stock_read_ahead_of_requirements_moves_no_time() -> None:
    step, desk = World("event").step, Desk()
    fold(step, "requirements", hour_of(0, at(0)), caught_up=False)
    fold(step, "stock", desk.received(at(30), MAGNESIUM, 9), caught_up=True)
    assert step.now == at(0), "requirements wait"
    fold(step, "requirements", hour_of(0, at(2)), caught_up=False)
    assert step.now == at(2)
    fold(step, "requirements", hour_of(0, at(3)), caught_up=True)
    assert step.now == at(30)


def test_without_bookings_stock_tells_the_time() -> None:
    step, desk = World("event").step, Desk()
    fold(step, "stock", desk.received(at(1), MAGNESIUM, 9), desk.received(at(3), MAGNESIUM, 9), caught_up=False)
    assert step.now == at(3)


def test_a_restart_in_the_middle_means_the_same() -> None:
    """Also what was read last: after it, stock that comes first must not take time to the end of the history."""
    world = World("event")
    told = [("requirements", hour_of(p, at(day))) for p, day in ((0, 1), (1, 4), (0, 2))]
    world.fold(world.records(told), caught_up=False)
    world.step = PlanStep(0, bundle(), "event")
    world.step.restore(world.table)
    assert world.step.now == at(2)
    world.fold(world.records([("stock", Desk().received(at(20), MAGNESIUM, 9))]))
    assert world.step.now == at(2)
    world.fold(world.records([("requirements", hour_of(0, at(6)))]), caught_up=False)
    assert world.step.now == at(4)


def test_the_marks_come_back_from_the_table_as_they_were() -> None:
    clock = EventClock()
    table = MemoryEntries()
    assert not clock.take_writes()
    assert clock.mark("expand/1", at(3)) == at(3)
    assert clock.mark("expand/0", at(2)) == at(2)
    assert clock.mark("expand/1", at(1)) == at(2)
    assert not clock.see(at(9), waits=True)
    assert clock.see(at(8), waits=False)
    clock.behind = True
    table.apply(clock.take_writes())
    again = EventClock.restored(table)
    assert again.marks == clock.marks == {"expand/0": at(2), "expand/1": at(3)}
    assert (again.greatest, again.behind) == (at(9), True)
    assert not again.take_writes(), "nothing has changed since"


def test_with_the_wall_clock_hours_of_events_are_passed_over() -> None:
    driver = Driver(lambda: PlanStep(0, bundle()))
    driver.feed("requirements", hour_of(0, at(5)))
    assert driver.step.now is None
    assert driver.counts["ticks_passed_over"] == 1
    assert not driver.published


def test_an_hour_that_cannot_be_meant_is_passed_over() -> None:
    driver = Driver(lambda: PlanStep(0, bundle(), "event"))
    driver.feed("requirements", hour_of(0, datetime(2199, 1, 1, tzinfo=at(0).tzinfo)))
    assert driver.step.now is None
    assert driver.counts["ticks_refused"] == 1


def test_what_expand_tells_is_what_plan_reads() -> None:
    """The two steps together: a session booked on one day, and one later, with nothing else to tell the time."""
    expand = Driver(lambda: BookingStep(0, 1, bundle(), "event"))
    for number, day in enumerate((0, 3)):
        booked = {
            "type": "booking.booked",
            "event_id": f"e{number}",
            "occurred_at": at(day, "09:30"),
            "booking_id": f"b{number}",
            "version": 1,
            "site": NORTH,
            "protocol": "infusion",
            "start": at(day + 2),
        }
        expand.feed("bookings", booked)
    plan = World("event")
    told = [("requirements", m.value) for m in expand.messages("requirements")]
    for record in plan.records(told)[:3]:
        plan.fold([record], caught_up=False)
    assert plan.step.now == at(3).replace(minute=0), "the hour of the second, before its requirement"
    plan.fold([])
    assert set(plan.step.sites[NORTH].bookings) == {"b0"}


def test_an_event_told_far_ahead_of_history_is_remembered_by_its_own_day() -> None:
    """Stock is read months ahead of the bookings; when time has come to it, its repetition is still known."""
    driver = Driver(lambda: PlanStep(0, bundle(), "event"))
    desk = Desk()
    driver.append("requirements", hour_of(0, at(0)), desk.stated("b0", at(2), at(0)), hour_of(0, at(60)))
    driver.append("requirements", desk.stated("b1", at(61), at(60)))
    used = desk.event("stock.dispensed", at(60), item=MAGNESIUM, quantity=7)
    driver.append("stock", used, used)
    driver.fold_next("requirements", 2)
    driver.fold_next("stock", 1)
    driver.run()
    assert [outcome["status"] for outcome in driver.values("outcomes")] == ["applied", "duplicate"]
    assert driver.step.sites[NORTH].stock[MAGNESIUM].deficit == 7
