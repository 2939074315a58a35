"""The real book, counted twice: by pandas straight from the CSV, and from the events that the import makes of it."""

from __future__ import annotations

import itertools
from collections import Counter
from datetime import date, datetime

import orjson
import pandas as pd
import pytest

from streams.importer import Import, load_mapping, read_export
from tests.importing.data import CITY, CITY_MAPPING, needs_city

pytestmark = needs_city

DATES = ["2015-07-01", "2015-12-31", "2016-02-29", "2016-10-15", "2017-03-26", "2017-08-31"]


@pytest.fixture(scope="module")
def book() -> pd.DataFrame:
    dates = ["arrival_date", "booked_date", "status_date"]
    return pd.read_csv(CITY, parse_dates=dates, dtype={"booking_id": str})


@pytest.fixture(scope="module")
def imported() -> Import:
    return read_export(CITY, load_mapping(CITY_MAPPING))


@pytest.fixture(scope="module")
def events(imported: Import) -> list[dict[str, object]]:
    return [orjson.loads(event.value) for event in imported.events]


def local_day(event: dict[str, object], field: str) -> date:
    return datetime.fromisoformat(str(event[field])).date()


def test_every_row_is_read_and_the_outcomes_add_up(book: pd.DataFrame, imported: Import) -> None:
    status = book["status"].value_counts()
    assert imported.unreadable == []
    assert imported.rows == len(book) == 79_330
    assert imported.kinds == {
        "booked": len(book),
        "cancelled": status["Canceled"],
        "completed": status["Check-Out"],
        "missed": status["No-Show"],
    }
    assert len(imported.events) == 158_660


def test_event_ids_are_unique_and_events_in_order(imported: Import, events: list[dict[str, object]]) -> None:
    assert len({event["event_id"] for event in events}) == len(events)
    instants = [datetime.fromisoformat(str(event["occurred_at"])) for event in events]
    assert all(a <= b for a, b in itertools.pairwise(instants))
    version: dict[object, int] = {}
    for event in events:
        assert event["version"] == version.get(event["booking_id"], 0) + 1
        version[event["booking_id"]] = int(str(event["version"]))


@pytest.mark.parametrize("day", DATES)
def test_bookings_on_the_books(book: pd.DataFrame, events: list[dict[str, object]], day: str) -> None:
    """At the end of ``day``: booked by then, neither cancelled nor arrived; per day of the session."""
    at = pd.Timestamp(day)
    cancelled = (book["status"] == "Canceled") & (book["status_date"] <= at)
    wanted = book[(book["booked_date"] <= at) & ~cancelled & (book["arrival_date"] > at)]
    expected = wanted["arrival_date"].dt.date.value_counts().to_dict()

    session: dict[object, date] = {}
    for event in events:
        if local_day(event, "occurred_at") > at.date():
            break
        if event["type"] == "booking.booked":
            session[event["booking_id"]] = local_day(event, "start")
        else:
            del session[event["booking_id"]]
    on_the_books = Counter(start for start in session.values() if start > at.date())
    assert on_the_books == expected
    assert sum(expected.values()) > 0 or day == DATES[-1]  # the book's right edge


def test_protocols_are_those_of_the_room_types(book: pd.DataFrame, events: list[dict[str, object]]) -> None:
    a = book["reserved_room_type"] == "A"
    d = book["reserved_room_type"] == "D"
    contract = book["customer_type"] == "Contract"
    party = book["customer_type"].isin(["Transient-Party", "Contract", "Group"])
    expected = {
        "cocktail-triple": (a & (book["meal"] == "HB")).sum(),
        "hydration": (a & (book["meal"] == "SC")).sum(),
        "dhe-multi-day": (a & ~book["meal"].isin(["HB", "SC"]) & contract).sum(),
        "magnesium": (a & ~book["meal"].isin(["HB", "SC"]) & ~contract).sum(),
        "cocktail-ketorolac": (d & party).sum(),
        "prochlorperazine": (d & ~party).sum(),
        "metoclopramide": (book["reserved_room_type"] == "E").sum(),
        "valproate": (book["reserved_room_type"] == "F").sum(),
        "methylprednisolone": (book["reserved_room_type"] == "B").sum(),
        "eptinezumab": (book["reserved_room_type"] == "G").sum(),
        "ketamine": (book["reserved_room_type"] == "C").sum(),
        "vitamin": (book["reserved_room_type"] == "P").sum(),
    }
    found = Counter(event["protocol"] for event in events if event["type"] == "booking.booked")
    assert found == expected
    assert sum(expected.values()) == len(book)


def test_no_column_of_a_person_is_passed_on(events: list[dict[str, object]]) -> None:
    fields = {field for event in events for field in event}
    assert fields == {
        "type", "event_id", "occurred_at", "source", "booking_id", "version", "site", "protocol", "start", "parameters",
    }  # fmt: skip
