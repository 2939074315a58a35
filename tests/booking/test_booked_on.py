"""What a requirement tells of how its booking came about: the day, who booked it, and its series."""

from __future__ import annotations

from datetime import date
from typing import Any

import orjson
import pytest

from planner.booking.row import BookingRow
from planner.booking_step import BookingStep
from planner.messages import REQUIREMENTS, RequirementStated
from tests.booking.events import event
from tests.driver import Driver
from tests.expansion import sample

MAY_1, MAY_3 = date(2024, 5, 1), date(2024, 5, 3)


def told(*events: dict[str, Any]) -> list[tuple[date | None, str | None, str | None]]:
    """Day booked, source and series of each statement."""
    driver = Driver(lambda: BookingStep(0, 4, sample.bundle()))
    for each in events:
        driver.feed("bookings", each)
        driver.restart()
    read = [REQUIREMENTS.validate_json(m.value) for m in driver.messages("requirements") if m.value]
    return [(r.booked_on, r.source, r.series_id) for r in read if isinstance(r, RequirementStated)]


def booked(version: int, day: int = 1, **fields: Any) -> dict[str, Any]:
    return event("booked", "b", version, **{"occurred_at": f"2024-05-{day:02}T08:00:00Z", "source": "web"} | fields)


def later(kind: str, version: int, **fields: Any) -> dict[str, Any]:
    return event(kind, "b", version, occurred_at="2024-05-03T08:00:00Z", source="desk", **fields)


def test_rescheduling_amending_and_arriving_leave_it_as_it_was() -> None:
    moves = [later("rescheduled", 2), later("rescheduled", 3, site="south"), later("amended", 4), later("arrived", 5)]
    assert told(booked(1, series_id="s-1"), *moves) == [(MAY_1, "web", "s-1")] * 5


def test_restating_a_live_booking_does_not_make_it_younger() -> None:
    assert told(booked(1), booked(2, 3, source="desk")) == [(MAY_1, "web", None)] * 2


@pytest.mark.parametrize("end", ["cancelled", "missed"])
def test_booking_anew_begins_anew(end: str) -> None:
    assert told(booked(1), later(end, 2), booked(3, 3, source="desk")) == [(MAY_1, "web", None), (MAY_3, "desk", None)]


def test_a_booking_made_after_the_cancellation_that_waited_for_it_begins_there() -> None:
    assert told(later("cancelled", 2), booked(3, 3)) == [(MAY_3, "web", None)]


def test_the_day_is_the_sites() -> None:
    assert [site.timezone for site in sample.bundle().sites][:2] == ["Europe/Lisbon", "America/New_York"]
    assert told(booked(1, occurred_at="2024-05-02T23:30:00Z"))[0][0] == MAY_3
    assert told(booked(1, site="south", occurred_at="2024-05-02T01:30:00Z"))[0][0] == MAY_1


def test_an_entry_of_the_first_format_is_still_read() -> None:
    driver = Driver(lambda: BookingStep(0, 4, sample.bundle()))
    driver.feed("bookings", booked(1))
    (key,) = [key for key in driver.table.entries if key.startswith(b"booking")]
    value = driver.table.entries[key]
    fields = orjson.loads(value)
    assert fields[0] == 3
    first = orjson.dumps([1, *fields[1:-3]])
    before, after = BookingRow.decode(first), BookingRow.decode(value)
    assert (before.booked_on, before.source) == (None, None)
    assert (after.booked_on, after.source) == (MAY_1.toordinal(), "web")
    before.booked_on, before.source, before.due = after.booked_on, after.source, after.due
    assert before == after
    driver.table.entries[key] = first
    driver.restart()
    driver.feed("bookings", later("rescheduled", 2), booked(3))
    bodies = [orjson.loads(m.value or b"") for m in driver.messages("requirements")]
    assert [body["booked_on"] for body in bodies] == ["2024-05-01", None, None]


def test_an_unknown_format_is_named() -> None:
    with pytest.raises(ValueError, match=r"found format 4; expected 1 or 2 or 3"):
        BookingRow.decode(b"[4]")
