"""The index: what steps ask of a catalogue."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from config.load import load_catalogue
from planner.catalogue.index import Catalogue
from planner.catalogue.model import Bundle, ItemChoice, Line
from tests.catalogue.cases import SMALL, Case


def small(directory: Path | None = None, *edits: tuple[str, str, str]) -> Catalogue:
    path = SMALL if directory is None else Case("edited", list(edits)).build(directory)
    result = load_catalogue(path)
    assert result.bundle is not None, result.faults
    return Catalogue(result.bundle)


@pytest.mark.parametrize(
    ("day", "version"),
    [("2019-12-31", None), ("2020-01-01", 1), ("2020-12-31", 1), ("2021-01-01", 2), ("2199-01-01", 2)],
)
def test_the_version_in_force(day: str, version: int | None) -> None:
    found = small().protocol_version("infusion", date.fromisoformat(day))
    assert (found.version if found else None) == version


def test_a_version_that_ended_leaves_a_gap(tmp_path: Path) -> None:
    catalogue = small(tmp_path, ("protocols.yaml", "effective_from: 2021-01-01", "effective_from: 2021-06-01"))
    assert catalogue.protocol_version("infusion", date(2021, 3, 1)) is None
    assert catalogue.protocol_version("infusion", date(2021, 6, 1)) is not None


def choice(*items: str) -> tuple[ItemChoice, ...]:
    return tuple(ItemChoice(item=item) for item in items)


def test_a_site_prefers_and_a_line_allows() -> None:
    catalogue = small()
    version = catalogue.protocol_version("infusion", date(2022, 1, 1))
    assert version is not None
    line: Line = version.lines[0]
    assert catalogue.choices("north", "steroid") == choice("steroid-powder")
    assert catalogue.choices("north", "magnesium", line) == choice("magnesium-big-vial")
    both = line.model_copy(update={"items": choice("magnesium-vial", "magnesium-big-vial")})
    assert catalogue.choices("north", "magnesium", both) == choice("magnesium-big-vial")
    other = line.model_copy(update={"items": choice("magnesium-vial")})
    assert catalogue.choices("north", "magnesium", other) == choice("magnesium-vial")


def test_a_day_is_the_sites_day() -> None:
    catalogue = small()
    assert catalogue.site_day("north", datetime(2026, 3, 8, 6, 59, tzinfo=UTC)) == date(2026, 3, 7)
    assert catalogue.site_day("north", datetime(2026, 3, 8, 7, 0, tzinfo=UTC)) == date(2026, 3, 8)
    assert catalogue.zone("north").key == "America/Denver"


def test_lead_time_is_the_items_or_the_suppliers_and_the_allowance(tmp_path: Path) -> None:
    catalogue = small(
        tmp_path, ("items.yaml", "    shelf_life_days: 500\n", "    shelf_life_days: 500\n    lead_time_days: 9\n")
    )
    assert catalogue.lead_time_days("magnesium-vial") == 3
    assert catalogue.lead_time_days("magnesium-bag") == 10
    assert catalogue.supplier_of("magnesium-bag").id == "house"
    assert catalogue.policy_of("north").service_level == Decimal("0.98")


EXPANSION_CHANGES = {
    "a dose": ("protocols.yaml", "fixed: 500 mg", "fixed: 501 mg"),
    "an item's content": ("items.yaml", "content: 100 mL", "content: 110 mL"),
    "an item that only a site prefers": ("items.yaml", "4.06 mEq", "4.07 mEq"),
    "a supply in a kit's kit": ("kits.yaml", "quantity: 1", "quantity: 2"),
    "kits of lines": ("kits.yaml", "draws_vial: [draw]", "push: [draw]"),
    "a site's first stick": ("sites.yaml", "first_stick_probability: 0.8", "first_stick_probability: 0.7"),
    "a site's preference": ("sites.yaml", "[{item: magnesium-big-vial}]", "[{item: magnesium-vial}]"),
    "a salt": ("components.yaml", "246.47", "246.5"),
    "a site's zone": ("sites.yaml", "America/Denver", "America/Chicago"),
}
OTHER_CHANGES = {
    "a name": ("items.yaml", "name: Saline 100 mL", "name: Saline, 100 mL"),
    "a pack": ("items.yaml", "{containers: 96}", "{containers: 48}"),
    "a code": ("items.yaml", ", valid_from: 2018-01-01", ""),
    "a supplier": ("suppliers.yaml", "lead_time_days: 2", "lead_time_days: 4"),
    "a policy": ("policies.yaml", "service_level: 0.98", "service_level: 0.95"),
    "an item that the protocol never takes": ("items.yaml", "200 mg/mL", "100 mg/mL"),
}


@pytest.mark.parametrize("edit", EXPANSION_CHANGES.values(), ids=EXPANSION_CHANGES)
def test_what_an_expansion_depends_on_moves_the_protocols_digest(edit: tuple[str, str, str], tmp_path: Path) -> None:
    changed = small(tmp_path, edit)
    assert changed.definition_digest("infusion") != small().definition_digest("infusion")
    assert changed.version != small().version


@pytest.mark.parametrize("edit", OTHER_CHANGES.values(), ids=OTHER_CHANGES)
def test_what_it_does_not_depend_on_leaves_the_digest(edit: tuple[str, str, str], tmp_path: Path) -> None:
    changed = small(tmp_path, edit)
    assert changed.definition_digest("infusion") == small().definition_digest("infusion")
    assert changed.version != small().version


def test_a_component_that_a_booking_adds_counts_too(tmp_path: Path) -> None:
    changed = small(tmp_path, OTHER_CHANGES["an item that the protocol never takes"])
    added = ["magnesium-chloride", "unheard-of"]
    assert changed.definition_digest("infusion", added) != small().definition_digest("infusion", added)


REORDERED = "groups: [{id: supplies, name: Supplies}, {name: Drugs, id: drugs}]\n"
LAYOUTS = {
    "the order of entities": ("groups.yaml", "(all)", REORDERED),
    "a comment": ("groups.yaml", "groups:\n", "# the groups\n\ngroups:\n"),
    "a trailing zero": ("policies.yaml", "service_level: 0.98", "service_level: 0.980"),
    "a default written out": ("items.yaml", "replaces_diluent: true", "replaces_diluent: true\n    use: single-dose"),
}


@pytest.mark.parametrize("edit", LAYOUTS.values(), ids=LAYOUTS)
def test_equal_content_has_an_equal_version(edit: tuple[str, str, str], tmp_path: Path) -> None:
    assert small(tmp_path, edit).version == small().version


def test_a_bundle_survives_its_wire_form() -> None:
    bundle = small().bundle
    assert Bundle.model_validate_json(bundle.model_dump_json()) == bundle
