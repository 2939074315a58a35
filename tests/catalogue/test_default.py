"""The default catalogue: sound, complete against the facts, and every line convertible whatever is chosen."""

from __future__ import annotations

import math
from datetime import date
from decimal import Decimal
from fractions import Fraction
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.load import DEFAULT_CATALOGUE, load_catalogue
from planner.catalogue.amounts import containers_of, convert
from planner.catalogue.check import check_bundle
from planner.catalogue.index import Catalogue
from planner.catalogue.model import Component, ContainerUse, Item, ItemChoice, Line
from planner.units import Quantity, Unit

PROMISED = {
    *("magnesium", "prochlorperazine", "metoclopramide", "ondansetron-dexamethasone", "cocktail-ketorolac"),
    *("cocktail-triple", "valproate", "dhe-multi-day", "ketamine", "methylprednisolone", "eptinezumab"),
    *("vitamin", "hydration"),
}


@cache
def default() -> Catalogue:
    result = load_catalogue(DEFAULT_CATALOGUE)
    assert result.bundle is not None, "\n".join(map(str, result.faults))
    return Catalogue(result.bundle)


def test_it_is_sound_also_as_a_record_of_the_topic() -> None:
    assert check_bundle(default().bundle) == ()


def test_it_holds_what_was_promised() -> None:
    catalogue = default()
    assert len(catalogue.items) >= 40
    assert catalogue.protocols.keys() >= PROMISED
    assert {"north", "harbor", "lakeside", "city"} <= catalogue.sites.keys()
    assert len({site.timezone for site in catalogue.sites.values()}) == len(catalogue.sites)
    assert 2 <= len(catalogue.suppliers) <= 4
    assert all(site.par_stock for site in catalogue.sites.values())


def test_every_fact_has_a_source_and_what_is_not_found_is_marked() -> None:
    for item in default().items.values():
        by_field = {name: fact for fact in item.facts for name in fact.of}
        assert by_field["price"].evidence == "assumed", item.id
        assert {"content", "component"} & by_field.keys(), item.id
    for protocol in default().protocols.values():
        assert protocol.facts, protocol.id


def test_hazards_and_schedules() -> None:
    items = default().items.values()
    assert {i.component for i in items if i.hazardous} == {"dihydroergotamine", "valproate"}
    assert {i.component for i in items if i.controlled_schedule == "III"} == {"ketamine"}
    assert all(i.controlled_schedule == "III" for i in items if i.component == "ketamine")


def lines() -> list[tuple[str, int, Line]]:
    return [
        (protocol.id, version.version, line)
        for protocol in default().protocols.values()
        for version in protocol.versions
        for line in version.lines
    ]


def every_choice(component: Component, line: Line | None) -> list[Item]:
    catalogue = default()
    listed = {choice for site in catalogue.sites for choice in catalogue.choices(site, component.id, line)}
    listed |= set(component.filled_by)
    return [catalogue.items[choice.item] for choice in listed]


@given(weight=st.integers(30, 250), hours=st.sampled_from(["0.5", "1", "4", "6"]), case=st.sampled_from(lines()))
@settings(max_examples=200, deadline=None)
def test_every_line_converts_for_every_choice(weight: int, hours: str, case: tuple[str, int, Line]) -> None:
    """Containers hold the dose exactly: containers × content, back in the dose's unit, is the dose."""
    line, component = case[2], default().components[case[2].component]
    form = line.dose.fixed or line.dose.per_kg or line.dose.per_hour or line.dose.per_kg_hour
    assert form is not None
    factor = Decimal(1)
    if line.dose.per_kg or line.dose.per_kg_hour:
        factor *= weight
    if line.dose.per_hour or line.dose.per_kg_hour:
        factor *= Decimal(hours)
    dose = Quantity(value=form.value * factor, unit=form.unit)
    for item in every_choice(component, line):
        containers = containers_of(item, component, dose)
        assert containers > 0
        assert amount_held(item, component, containers, dose.unit) == Fraction(dose.value), (case, item.id)
    if line.diluent is not None:
        fluid = default().components[line.diluent.component]
        for bag in every_choice(fluid, None):
            held = containers_of(bag, fluid, line.diluent.volume) * Fraction(bag.content.value)
            assert held == Fraction(line.diluent.volume.value)


def amount_held(item: Item, component: Component, containers: Fraction, unit: Unit) -> Fraction:
    """Computed the other way round than the code under test: from containers to amount, through the label."""
    content = containers * Fraction(item.content.value)
    if item.content.unit is unit:
        return content
    if item.content.unit is not Unit.ML:
        one = convert(Quantity(value=Decimal(1), unit=item.content.unit), unit, component.salt)
        return content * one
    assert item.concentration is not None
    strength = Quantity(value=item.concentration.value, unit=item.concentration.unit)
    return content * convert(strength, unit, component.salt)


def chosen(site: str, component_id: str, dose: str) -> tuple[str, int]:
    """The first choice that fits, by the rule that components.yaml states."""
    catalogue = default()
    component, quantity = catalogue.components[component_id], Quantity.model_validate(dose)
    for choice in catalogue.choices(site, component_id):
        containers = containers_of(catalogue.items[choice.item], component, quantity)
        if fits(choice, containers):
            return choice.item, math.ceil(containers)
    raise AssertionError(f"no item fits {dose} of {component_id} at {site}")


def fits(choice: ItemChoice, containers: Fraction) -> bool:
    if choice.exact and containers.denominator != 1:
        return False
    return choice.up_to_containers is None or math.ceil(containers) <= choice.up_to_containers


@pytest.mark.parametrize(
    ("site", "component", "dose", "item", "containers"),
    [
        ("north", "magnesium-sulfate", "2 g", "magnesium-sulfate-500mg-ml-2ml-vial", 2),
        ("harbor", "magnesium-sulfate", "2 g", "magnesium-sulfate-premix-2g-50ml-bag", 1),
        ("harbor", "magnesium-sulfate", "1 g", "magnesium-sulfate-premix-1g-100ml-bag", 1),
        ("harbor", "magnesium-sulfate", "3 g", "magnesium-sulfate-500mg-ml-2ml-vial", 3),
        ("north", "magnesium-sulfate", "5 g", "magnesium-sulfate-500mg-ml-10ml-vial", 1),
        ("north", "sodium-chloride-0.9", "50 mL", "sodium-chloride-0.9-50ml-bag", 1),
        ("north", "sodium-chloride-0.9", "100 mL", "sodium-chloride-0.9-100ml-bag", 1),
        ("north", "sodium-chloride-0.9", "101 mL", "sodium-chloride-0.9-250ml-bag", 1),
        ("north", "sodium-chloride-0.9", "500 mL", "sodium-chloride-0.9-500ml-bag", 1),
        ("north", "sodium-chloride-0.9", "1500 mL", "sodium-chloride-0.9-1000ml-bag", 2),
        ("north", "hydration-fluid", "1000 mL", "sodium-chloride-0.9-1000ml-bag", 1),
        ("lakeside", "hydration-fluid", "500 mL", "lactated-ringer-500ml-bag", 1),
        ("north", "ketorolac", "15 mg", "ketorolac-15mg-ml-1ml-vial", 1),
        ("north", "ketorolac", "30 mg", "ketorolac-30mg-ml-1ml-vial", 1),
        ("north", "dexamethasone", "4 mg", "dexamethasone-4mg-ml-1ml-vial", 1),
        ("north", "dexamethasone", "10 mg", "dexamethasone-10mg-ml-1ml-vial", 1),
        ("north", "methylprednisolone", "250 mg", "methylprednisolone-125mg-vial", 2),
        ("north", "methylprednisolone", "1000 mg", "methylprednisolone-1g-vial", 1),
        ("north", "valproate", "1000 mg", "valproate-100mg-ml-5ml-vial", 2),
        ("north", "ketamine", "109 mg", "ketamine-10mg-ml-20ml-multidose-vial", 1),
        ("north", "eptinezumab", "300 mg", "eptinezumab-100mg-ml-1ml-vial", 3),
        ("north", "dihydroergotamine", "0.5 mg", "dihydroergotamine-1mg-ml-1ml-ampule", 1),
    ],
)
def test_the_choice_that_a_pharmacist_expects(site: str, component: str, dose: str, item: str, containers: int) -> None:
    assert chosen(site, component, dose) == (item, containers)


def test_what_the_repeat_rules_say() -> None:
    day = date(2026, 1, 5)
    found = {
        name: (version.repeat.kind, version.repeat.days)
        for name in ("magnesium", "eptinezumab", "dhe-multi-day", "metoclopramide")
        if (version := default().protocol_version(name, day))
    }
    assert found == {
        "magnesium": ("every", 28),
        "eptinezumab": ("every", 84),
        "dhe-multi-day": ("consecutive-days", 3),
        "metoclopramide": ("none", None),
    }


def test_no_more_than_three_sterile_products_are_mixed_at_the_clinic() -> None:
    """Facts: immediate-use compounding. The bag of a diluent counts, so two drugs go into one."""
    version = default().protocol_version("vitamin", date(2026, 1, 5))
    assert version is not None
    assert len([line for line in version.lines if line.supply_mode == "stocked"]) <= 3
    assert [line.id for line in version.lines if line.supply_mode == "externally-compounded"]


def test_bulk_packages_are_open_for_four_hours_and_multi_dose_vials_for_28_days() -> None:
    for item in default().items.values():
        if item.use is ContainerUse.MULTI_DOSE:
            assert item.open_hours == (4 if "bulk" in item.id else 28 * 24), item.id


def test_the_priors_are_monotone() -> None:
    for policy in default().policies.values():
        keep = [row.value for row in policy.keep_probability]
        to_come = [row.value for row in policy.still_to_come]
        assert keep == sorted(keep, reverse=True)
        assert to_come == sorted(to_come)
        assert policy.still_to_come[-1].days == 90
