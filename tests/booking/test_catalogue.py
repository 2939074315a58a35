"""A catalogue that changes while bookings stand: who is stated anew, who stays, and what a crash leaves."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from planner.booking import adoption
from planner.booking_step import BookingStep
from planner.catalogue.model import Bundle
from planner.messages import REQUIREMENTS, RequirementStated
from tests.booking.events import event, wire
from tests.driver import Driver
from tests.expansion import sample


def bundle_with_dose(dose: str) -> Bundle:
    edited = sample.content()
    sample.entity(edited, "protocols", "magnesium")["versions"][0]["lines"][0]["dose"] = {"fixed": dose}
    return sample.bundle(edited)


def driver_with(*events: dict[str, Any], clock: str = "wall") -> Driver[BookingStep]:
    driver = Driver(lambda: BookingStep(0, 4, sample.bundle(), clock))  # type: ignore[arg-type]
    driver.feed("bookings", *events)
    driver.published.clear()
    return driver


def stated(driver: Driver[BookingStep]) -> list[RequirementStated]:
    read = [REQUIREMENTS.validate_json(m.value) for m in driver.messages("requirements") if m.value]
    assert all(isinstance(r, RequirementStated) for r in read)
    return [r for r in read if isinstance(r, RequirementStated)]


def test_future_bookings_of_changed_protocols_are_stated_anew() -> None:
    driver = driver_with(
        event("booked", "past", 1, start="2024-04-20T10:00:00Z"),
        event("booked", "today", 1, start="2024-05-01T06:00:00Z"),
        event("booked", "later", 1),
        event("booked", "other", 1, protocol="valproate", parameters={"weight_kg": 70}),
        event("booked", "gone", 1),
        event("cancelled", "gone", 2),
        event("booked", "here", 1),
        event("arrived", "here", 2),
    )
    new = bundle_with_dose("3 g")
    driver.feed("catalogue", wire(new))
    told = stated(driver)
    assert [(r.booking_id, r.revision, int(r.lines[0].mean), r.catalogue_version) for r in told] == [
        ("later", 2, 3, new.version),
        ("today", 2, 3, new.version),
    ]
    assert {r.event_id for r in told} == {f"catalogue/{new.version}/0"}
    (outcome,) = driver.values("outcomes")
    assert (outcome["event_id"], outcome["status"]) == (f"catalogue/{new.version}/0", "applied")
    assert outcome["detail"] == "2 of 2 bookings concerned are as it states them"
    # the next event of a booking goes on from there, under the new catalogue
    driver.feed("bookings", event("arrived", "later", 2), event("booked", "new", 1))
    assert [(r.booking_id, r.revision, int(r.lines[0].mean)) for r in stated(driver)[2:]] == [
        ("later", 3, 3),
        ("new", 1, 3),
    ]


def test_an_equal_catalogue_changes_nothing() -> None:
    driver = driver_with(event("booked", "b1", 1))
    driver.feed("catalogue", wire(sample.bundle()))
    assert driver.outcomes() == [f"catalogue/{sample.bundle().version}/0: duplicate same-catalogue"]
    assert not driver.messages("requirements")


def test_a_price_or_a_name_states_nothing_anew() -> None:
    driver = driver_with(event("booked", "b1", 1))
    edited = sample.content()
    sample.entity(edited, "items", "magnesium-vial-2ml")["price"] = "9"
    driver.feed("catalogue", wire(sample.bundle(edited)))
    assert not driver.messages("requirements")
    assert driver.values("outcomes")[0]["detail"] == "0 of 0 bookings concerned are as it states them"
    assert driver.step.catalogue.items["magnesium-vial-2ml"].price == 9


@pytest.mark.parametrize("section", ["preferences", "first_stick_probability"])
def test_what_steers_a_site_concerns_its_bookings_alone(section: str) -> None:
    driver = driver_with(event("booked", "n", 1), event("booked", "s", 1, site="south"))
    edited = sample.content()
    north = sample.entity(edited, "sites", "north")
    if section == "preferences":
        north["preferences"] = {"magnesium": [{"item": "magnesium-premix-2g"}]}
    else:
        north["first_stick_probability"] = "0.9"
    driver.feed("catalogue", wire(sample.bundle(edited)))
    assert [r.booking_id for r in stated(driver)] == ["n"]


def test_a_booking_that_cannot_be_expanded_any_more_stays_on_its_last_requirement() -> None:
    driver = driver_with(
        event("booked", "b1", 1),
        event("booked", "b2", 1, protocol="dhe"),
        event("booked", "b3", 1, site="south"),
        event("booked", "b4", 1),
    )
    edited = sample.content()
    edited["protocols"] = [p for p in edited["protocols"] if p["id"] != "dhe"]
    edited["sites"] = [s for s in edited["sites"] if s["id"] != "south"]
    sample.entity(edited, "protocols", "magnesium")["versions"][0]["lines"][0]["dose"] = {"fixed": "3 g"}
    driver.feed("catalogue", wire(sample.bundle(edited)))
    assert [r.booking_id for r in stated(driver)] == ["b1", "b4"]
    (outcome,) = driver.values("outcomes")
    assert "2 stay on their last requirement (1 unknown-protocol, 1 unknown-site; booking b2:" in outcome["detail"]
    assert driver.counts["bookings_kept_on_last_requirement"] == 2
    # nothing is dropped: such a session still takes place, by the lines it had
    driver.feed("bookings", event("arrived", "b2", 2), event("completed", "b2", 3), event("cancelled", "b3", 2))
    assert [(r["type"], r["booking_id"]) for r in driver.values("requirements")[2:]] == [
        ("requirement.stated", "b2"),
        ("requirement.used", "b2"),
        ("requirement.withdrawn", "b3"),
    ]
    assert driver.values("requirements")[2]["lines"][0]["item"] == "dhe-ampule"


def test_an_override_of_another_component_is_followed_too() -> None:
    """A line that only this booking has may change with a catalogue that leaves the booking's protocol alone."""
    add = [{"change": "add", "component": "dhe", "dose": {"value": "1", "unit": "mg"}}]
    driver = driver_with(event("booked", "b1", 1, overrides=add), event("booked", "b2", 1))
    edited = sample.content()
    sample.entity(edited, "items", "dhe-ampule")["concentration"] = {"value": "0.5", "unit": "mg"}
    driver.feed("catalogue", wire(sample.bundle(edited)))
    assert [r.booking_id for r in stated(driver)] == ["b1"]
    assert [line.mean for line in stated(driver)[0].lines if line.line == "added-1"] == [2]


def test_a_time_zone_that_moves_the_day_states_anew() -> None:
    driver = driver_with(event("booked", "b1", 1, start="2024-05-06T23:30:00Z"))
    edited = sample.content()
    sample.entity(edited, "sites", "north")["timezone"] = "America/New_York"
    driver.feed("catalogue", wire(sample.bundle(edited)))
    assert [r.day.isoformat() for r in stated(driver)] == ["2024-05-06"]


def nonsense() -> dict[str, bytes]:
    good = sample.bundle()
    dangling = sample.content()
    sample.entity(dangling, "components", "dhe")["filled_by"] = [{"item": "gone"}]
    zone = sample.content()
    sample.entity(zone, "sites", "north")["timezone"] = "Mars/Olympus"
    return {
        "invalid-json": b"{",
        "invalid-event": wire(good).replace(b'"containers":25', b'"containers":-25', 1),
        "unsupported-schema-version": wire(good).replace(b'"schema_version":1', b'"schema_version":7', 1),
        "faulty-catalogue": wire(sample.unchecked(dangling)),
        "faulty-catalogue 2": wire(sample.unchecked(zone)),
        "faulty-catalogue 3": orjson.dumps(good.model_dump(mode="json") | {"version": "mine"}),
        "too-large": b" " * 9_000_000,
    }


@pytest.mark.parametrize("name", nonsense())
def test_nonsense_never_replaces_a_good_catalogue(name: str) -> None:
    driver = driver_with(event("booked", "b1", 1))
    driver.feed("catalogue", nonsense()[name])
    (letter,) = driver.messages("dead-letters")
    assert letter.value == nonsense()[name]
    assert dict(letter.headers)["reason"].decode() == name.split(maxsplit=1)[0]
    assert driver.outcomes() == [f"catalogue/0/0: dead-lettered {name.split(maxsplit=1)[0]}"]
    assert driver.step.catalogue.version == sample.bundle().version
    driver.feed("catalogue", wire(bundle_with_dose("3 g")))
    assert [r.booking_id for r in stated(driver)] == ["b1"]


def test_another_key_on_the_catalogue_topic_is_kept_apart() -> None:
    driver = driver_with()
    driver.feed("catalogue", wire(bundle_with_dose("3 g")), key=b"mine")
    assert driver.outcomes() == ["catalogue/0/0: dead-lettered wrong-key"]


def test_the_catalogue_in_the_table_wins_over_the_one_it_is_started_with() -> None:
    driver = driver_with()
    driver.feed("catalogue", wire(bundle_with_dose("3 g")))
    driver.restart()
    assert driver.step.catalogue.version == bundle_with_dose("3 g").version
    driver.feed("bookings", event("booked", "b1", 1))
    assert stated(driver)[0].lines[0].mean == 3


@pytest.mark.parametrize("pages", range(5))
def test_a_crash_between_pages_leaves_no_booking_behind(pages: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """After any durable page the record comes again: what is told and kept in the end is what one pass gives."""
    monkeypatch.setattr(adoption, "BOOKINGS_PER_PAGE_MOST", 3)
    events = [event("booked", f"b{n:02}", 1) for n in range(11)]
    new, newer = wire(bundle_with_dose("3 g")), wire(bundle_with_dose("4 g"))

    whole = driver_with(*events)
    whole.feed("catalogue", new, newer)
    crashed = driver_with(*events)
    crashed.append("catalogue", new, newer)
    crashed.crash(pages=pages)
    crashed.run()

    assert crashed.table.entries == whole.table.entries
    assert len(stated(whole)) == 22
    latest = {(r.booking_id, r.revision): r for r in stated(whole)}
    assert {(r.booking_id, r.revision): r for r in stated(crashed)} == latest
    assert {o["event_id"]: o["status"] for o in crashed.values("outcomes")} == {
        o["event_id"]: o["status"] for o in whole.values("outcomes")
    }


def test_pages_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adoption, "BOOKINGS_PER_PAGE_MOST", 3)
    driver = driver_with(*(event("booked", f"b{n}", 1) for n in range(8)))
    records = driver.append("catalogue", wire(bundle_with_dose("3 g")))
    pages = list(driver.step.fold(records))
    assert [(len([m for m in p.messages if m.topic == "requirements"]), p.more) for p in pages] == [
        (3, True),
        (3, True),
        (2, False),
    ]
