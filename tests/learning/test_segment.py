"""Segments: composed, taken apart, and kept with a booking."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from planner.site.bookings import state_requirement
from planner.site.entries import restore_sites, take_writes
from planner.site.segment import LEAD_CLASSES, Traits, compose, lead_class, parse, series_key
from planner.site.state import Profile, SiteState
from planner.site.touched import Touched
from tests.learning.messages import stated


def test_every_lead_has_its_class() -> None:
    expected = {0: "0", 1: "1-3", 3: "1-3", 4: "4-13", 13: "4-13", 14: "14-41", 41: "14-41", 42: "42-", 700: "42-"}
    assert {days: lead_class(days) for days in expected} == expected
    assert set(expected.values()) == set(LEAD_CLASSES)
    assert (lead_class(-3), lead_class(None)) == ("0", "unknown")


@pytest.mark.parametrize("source", ["web", "a+b+c", "desk 3", "Zürich"])
@pytest.mark.parametrize("series", [True, False])
@pytest.mark.parametrize("days", [0, 2, 10, 20, 50])
def test_what_is_composed_is_parsed(source: str, series: bool, days: int) -> None:
    text = compose("magnesium-2g", series=series, lead_days=days, source=source)
    assert parse(text) == Traits("magnesium-2g", series, lead_class(days), source)


def test_what_nobody_told_is_unknown() -> None:
    unknown = Traits("infusion", series=False, lead="unknown", source="unknown")
    assert parse(compose("infusion", series=False, lead_days=None, source=None)) == unknown
    # what earlier versions wrote in the table
    assert parse("infusion") == unknown
    assert parse("infusion+series") == unknown._replace(series=True)


def test_equal_segments_are_one_object() -> None:
    first, second = (compose("infusion", series=True, lead_days=days, source="we" + "b") for days in (5, 6))
    assert first is second


def test_a_series_key_is_short_and_its_own() -> None:
    keys = {series_key(f"{n}" * 60) for n in range(1_000)}
    assert len(keys) == 1_000
    assert {len(key) for key in keys} == {8}


def test_a_booking_keeps_its_segment_and_series_and_so_does_the_table() -> None:
    state, touched = SiteState("north"), Touched()
    profile = Profile("p", "infusion", 1, "c", {})
    told: dict[str, Any] = {"booked_on": date(2026, 10, 20), "source": "web"}
    state_requirement(state, stated("b1", date(2026, 11, 3), **told), profile, touched, 5)
    state_requirement(state, stated("b2", date(2026, 11, 3), **told, series_id="s"), profile, touched, 5)
    state_requirement(state, stated("b3", date(2026, 11, 3), series=True), profile, touched, 5)
    found = {name: (parse(entry.segment), entry.series) for name, entry in state.bookings.items()}
    assert found == {
        "b1": (Traits("infusion", series=False, lead="14-41", source="web"), None),
        "b2": (Traits("infusion", series=True, lead="14-41", source="web"), series_key("s")),
        "b3": (Traits("infusion", series=True, lead="unknown", source="unknown"), None),
    }
    # a new day is a new lead; an arrival is not
    moved = stated("b1", date(2026, 12, 3), **told, revision=2)
    state_requirement(state, moved, profile, touched, 5)
    assert parse(state.bookings["b1"].segment).lead == "42-"
    written = {key: value for key, value in take_writes(state, touched) if value is not None}
    assert restore_sites(written.items())["north"].bookings == state.bookings
