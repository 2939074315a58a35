"""What is long over is forgotten, lines as well, and what comes about it later does not begin it anew."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from planner.booking import retention
from planner.booking_step import BookingStep
from planner.topics import composed_key
from tests.booking.events import event
from tests.driver import Driver
from tests.expansion import sample

BUNDLE = sample.bundle()
OPENS = datetime(2024, 1, 1, 8, tzinfo=UTC)
KEEP, UNSETTLED = retention.ENDED_KEEP_DAYS, retention.UNSETTLED_KEEP_DAYS


def at(day: int) -> str:
    return (OPENS + timedelta(days=day)).isoformat()


def told(kind: str, booking: str, version: int, day: int, **fields: Any) -> dict[str, Any]:
    """An event of a day, counted from the first."""
    return event(kind, booking, version, occurred_at=at(day), **fields)


def booked(booking: str, day: int, version: int = 1, **fields: Any) -> dict[str, Any]:
    """Booked on a day for the day after it."""
    return told("booked", booking, version, day, **{"start": at(day + 1), **fields})


def driver(*log: Any, chunk: int = 100) -> Driver[BookingStep]:
    made = Driver(lambda: BookingStep(0, 2, BUNDLE, "event"), chunk=chunk)
    made.feed("bookings", *log)
    return made


def names(made: Driver[BookingStep], kind: str) -> set[str]:
    prefix = composed_key(kind, "")
    return {key[len(prefix) :].decode() for key in made.table.entries if key.startswith(prefix)}


def test_a_booking_that_is_over_is_forgotten_after_its_days() -> None:
    log = [booked("b1", 0), told("completed", "b1", 2, 1)]
    assert names(driver(*log, booked("b2", 1 + KEEP)), "booking") == {"b1", "b2"}
    later = driver(*log, booked("b2", 2 + KEEP))
    assert names(later, "booking") == {"b2"}
    assert later.counts["bookings_forgotten"] == 1


def test_a_late_event_of_a_forgotten_booking_is_refused_and_tells_no_site() -> None:
    log = [booked("b1", 0), told("completed", "b1", 2, 1), booked("b2", 2 + KEEP)]
    once = driver(*log)
    again = driver(*log, log[0], log[1], told("cancelled", "b1", 3, 1))
    assert [(o["status"], o.get("reason")) for o in again.values("outcomes")[3:]] == [("refused", "too-late")] * 3
    assert again.messages("requirements") == once.messages("requirements")
    for kind in ("booking", "ends", "lines", "lines-until"):
        assert names(again, kind) == names(once, kind)


def test_a_new_event_of_a_forgotten_booking_finds_it_unknown() -> None:
    made = driver(booked("b1", 0), told("completed", "b1", 2, 1), booked("b2", 2 + KEEP))
    made.feed("bookings", told("arrived", "b1", 3, 3 + KEEP), booked("b1", 3 + KEEP, 4))
    assert [o.get("reason") for o in made.values("outcomes")[3:]] == ["unknown-booking", None]


def test_one_that_nobody_settled_is_kept_longer() -> None:
    log = [booked("b1", 0), booked("b2", 2 + KEEP)]
    made = driver(*log)
    assert names(made, "booking") == {"b1", "b2"}
    made.feed("bookings", told("completed", "b1", 2, 3 + KEEP), booked("b3", 3 + 2 * KEEP))
    assert made.values("outcomes")[2]["status"] == "applied"
    assert "b1" in names(made, "booking")
    made.feed("bookings", booked("b4", 4 + 2 * KEEP))
    assert "b1" not in names(made, "booking")
    assert names(driver(*log, booked("b3", 1 + UNSETTLED)), "booking") >= {"b1"}
    assert "b1" not in names(driver(*log, booked("b3", 2 + UNSETTLED)), "booking")


def test_a_cancellation_that_waits_in_vain_is_forgotten() -> None:
    assert names(driver(told("cancelled", "b1", 2, 0), booked("b2", 1 + KEEP)), "booking") == {"b2"}


def test_lines_go_when_no_booking_has_them_and_not_before() -> None:
    weighed = {"protocol": "valproate", "parameters": {"weight_kg": "70"}}
    log: list[Any] = [booked("b0", 0, **weighed)]
    log += [booked(f"b{n}", n * 30, **weighed) for n in range(1, 6)]
    made = driver(*log, told("arrived", "b5", 2, 151))
    assert len(names(made, "lines")) == 1
    assert made.values("outcomes")[-1]["status"] == "applied", "its lines are stated again"
    log = [event for n in range(6) for event in (booked(f"b{n}", n, **weighed), told("missed", f"b{n}", 2, n + 1))]
    made = driver(*log, *(booked(f"c{n}", n * 20) for n in range(1, 9)))
    assert len(names(made, "lines")) == len(names(made, "lines-until")) == 1
    row = made.step.booking("c8")
    assert row is not None
    assert names(made, "lines") == {row.lines_id}


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["booked", "rescheduled", "cancelled", "completed", "missed", "arrived"]),
            st.sampled_from(["b1", "b2", "b3"]),
            st.integers(0, 70),
            st.sampled_from(["30", "70"]),
        ),
        max_size=14,
    ),
    st.integers(1, 5),
)
def test_chunks_and_restarts_change_nothing_over_years(steps: list[tuple[str, str, int, str]], chunk: int) -> None:
    """With jumps of days to years; every row has its day to be forgotten on, and its lines."""
    log, day = [], 0
    for number, (kind, booking, jump, weight) in enumerate(steps, 1):
        day += jump * jump // 8
        fields: dict[str, Any] = {"start": at(day + jump)} if kind in {"booked", "rescheduled"} else {}
        if kind == "booked":
            fields |= {"protocol": "valproate", "parameters": {"weight_kg": weight}}
        log.append(told(kind, booking, number, day, **fields))
    whole, pieces = driver(*log), driver(chunk=chunk)
    for item in log:
        pieces.append("bookings", item)
        if item["version"] % 3 == 0:
            pieces.run()
            pieces.restart()
    pieces.run()
    assert pieces.published == whole.published
    assert pieces.table.entries == whole.table.entries
    ends = {name.partition("\x1f")[2]: int(name.partition("\x1f")[0]) for name in names(whole, "ends")}
    assert ends.keys() == names(whole, "booking")
    for booking, due in ends.items():
        row = whole.step.booking(booking)
        assert row is not None
        assert row.due == due >= (OPENS + timedelta(days=day)).toordinal()
        assert not row.lines_id or row.lines_id in names(whole, "lines")
