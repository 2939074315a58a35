"""Scenario files: those that come with the planner, and faults in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.scenarios import ScenarioError, load_scenario, scenario_names
from planner.simulation.clinic import clinics_of
from tests.simulation.small import bundle, scenario

GOOD = """\
title: A copy
based_on: steady
"""


@pytest.mark.parametrize("name", scenario_names())
def test_those_that_come_with_the_planner_are_whole(name: str) -> None:
    known = load_scenario(name)
    assert known.id == name
    for made in clinics_of(known, bundle()):
        assert made.items
        assert all(facts.price > 0 for facts in made.items.values())
    if known.tuned_on is not None:
        assert load_scenario(known.tuned_on).tuned_on is None


def test_a_scenario_says_only_what_differs() -> None:
    steady, lead = load_scenario("steady"), load_scenario("lead-10")
    assert steady.clinic is not None
    assert lead.clinic == steady.clinic.model_copy(update={"lead_days": 14})
    assert lead.bookings == steady.bookings


def test_a_file_of_ones_own_may_be_based_on_ours(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(GOOD + "bookings: {cancelled: 0.2}\n", encoding="utf-8")
    mine = load_scenario(str(path))
    assert (mine.id, mine.bookings.cancelled, mine.bookings.missed) == ("mine", 0.2, 0.08)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (GOOD + "bookings: {cancelled: 1.5}\n", ["bookings.cancelled", "1.5", "less than or equal to 1"]),
        (GOOD + "bookings: {canceled: 0.1}\n", ["bookings.canceled", "Extra inputs"]),
        (GOOD + "bookings: {ahead: [{share: 0.5, days: [0, 3]}]}\n", ["bookings", "add up to 0.5", "expected 1"]),
        (GOOD + "sites: {sites: [north]}\n", ["both of clinic and sites"]),
        (GOOD + "deliveries: {allocation: {day: 400, days: 7, share: 0.4}}\n", ["allocation.day", "400", "364"]),
        ("title: [\n", ["line"]),
        ("based_on: nowhere\ntitle: None there\n", ["nowhere", "not there", "steady"]),
        ("based_on: faulty\ntitle: Of itself\n", ["based_on", "deep"]),
    ],
)
def test_faults_are_told_with_their_field(tmp_path: Path, text: str, told: list[str]) -> None:
    path = tmp_path / "faulty.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ScenarioError) as fault:
        load_scenario(str(path))
    for part in told:
        assert part in str(fault.value)


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(ScenarioError, match=r"stedy.*steady"):
        load_scenario("stedy")


def test_an_unknown_item_in_a_kind_is_told() -> None:
    body = load_scenario("steady").model_dump()
    body["clinic"]["kinds"][0]["uses"][0]["item"] = "nothing"
    with pytest.raises(ValueError, match=r"kinds use nothing; expected items of the clinic: catheter"):
        type(scenario()).model_validate(body)


def test_a_site_that_the_catalogue_lacks_is_told() -> None:
    with pytest.raises(ValueError, match=r"sites.sites: found 'atlantis'; expected of .*harbor"):
        clinics_of(scenario(clinic=None, sites={"sites": ["atlantis"]}), bundle())
