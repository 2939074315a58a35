"""Expansion in plain tables: a booking in, its lines out; and one row per refusal."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import orjson
import pytest
from pydantic import TypeAdapter

from planner.catalogue.index import Catalogue
from planner.events.bookings import Override, Parameters
from planner.expansion.expand import Expansion, expand
from planner.expansion.memo import Expander
from planner.expansion.profile import profile_of, typical
from planner.messages import RequirementLine
from planner.refusal import Refused
from tests.expansion import sample

DAY = date(2024, 5, 6)
OVERRIDES: TypeAdapter[tuple[Override, ...]] = TypeAdapter(tuple[Override, ...])
LINES: TypeAdapter[tuple[RequirementLine, ...]] = TypeAdapter(tuple[RequirementLine, ...])


def expanded(
    protocol: str = "magnesium",
    *,
    site: str = "north",
    overrides: list[dict[str, Any]] | None = None,
    edited: dict[str, Any] | None = None,
    **parameters: str,
) -> Expansion:
    catalogue = Catalogue(sample.bundle(edited))
    version = catalogue.protocol_version(protocol, DAY)
    assert version is not None
    wanted = OVERRIDES.validate_python(overrides or [])
    return expand(catalogue, site, protocol, version, Parameters.model_validate(parameters), wanted)


def table(expansion: Expansion) -> list[str]:
    """``line: mean unit of item`` with dose, variance and waste where there is something to say."""
    rows = []
    for line in expansion.lines:
        text = f"{line.line}: {line.mean} {line.unit} of {line.item}"
        text += f", dose {line.dose}" if line.dose else ""
        text += f", variance {line.variance}" if line.variance else ""
        text += f", waste {line.waste}" if line.waste else ""
        rows.append(text)
    return rows


def test_magnesium() -> None:
    assert table(expanded()) == [
        "magnesium: 2 containers of magnesium-vial-2ml, dose 2 g",
        "magnesium.diluent: 1 containers of saline-100ml, dose 100 mL",
        "magnesium.syringe: 1 containers of syringe",
        "magnesium.alcohol-prep: 2 containers of alcohol-prep",
        "magnesium.secondary-set: 1 containers of secondary-set",
        "ondansetron: 0.3 containers of ondansetron-vial, dose 4 mg, variance 0.21",
        "ondansetron.syringe: 0.3 containers of syringe, variance 0.21",
        "ondansetron.alcohol-prep: 0.6 containers of alcohol-prep, variance 0.84",
        "ondansetron.flush: 0.3 containers of flush, variance 0.21",
        "session.flush: 2 containers of flush",
        "session.emesis-bag: 0.3 containers of emesis-bag, variance 0.21",
        "session.catheter: 1.3429 containers of catheter, variance 0.37111959",
        "session.start-kit: 1.081 containers of start-kit, variance 0.074439",
        "session.alcohol-prep: 2.6858 containers of alcohol-prep, variance 1.48447836",
    ]


def test_a_premix_brings_its_own_bag_and_is_not_drawn_up() -> None:
    """South prefers the premix bag, unsplit: 2 g is one, and no saline is taken; 3 g falls back on vials."""
    assert table(expanded(site="south"))[:2] == [
        "magnesium: 1 containers of magnesium-premix-2g, dose 2 g",
        "magnesium.secondary-set: 1 containers of secondary-set",
    ]
    three = expanded(site="south", overrides=[{"change": "change", "line": "magnesium", "dose": "3 g"}])
    assert table(three)[:2] == [
        "magnesium: 3 containers of magnesium-vial-2ml, dose 3 g",
        "magnesium.diluent: 1 containers of saline-100ml, dose 100 mL",
    ]


@pytest.mark.parametrize(
    ("weight", "row"),
    [
        ("20", "valproate: 1 containers of valproate-vial, dose 400 mg, waste 1"),
        ("25", "valproate: 1 containers of valproate-vial, dose 500 mg"),
        ("25.0001", "valproate: 2 containers of valproate-vial, dose 500.002 mg, waste 4.99998"),
        ("50", "valproate: 2 containers of valproate-vial, dose 1000 mg"),
        ("350", "valproate: 2 containers of valproate-vial, dose 1000 mg"),
    ],
)
def test_per_kg_with_a_maximum_in_another_unit(weight: str, row: str) -> None:
    assert table(expanded("valproate", weight_kg=weight))[0] == row


def test_multi_dose_is_counted_in_ml_with_what_is_lost() -> None:
    """0.34 mg/kg/h × 80 kg × 4 h = 108.8 mg, and 3 mg stay in the line: 111.8 mg of 30 mg/mL, unrounded."""
    assert table(expanded("ketamine", weight_kg="80", hours="4"))[0] == (
        "ketamine: 3.726666666667 mL of ketamine-mdv, dose 108.8 mg, waste 0.1"
    )


def test_what_is_not_stocked_takes_nothing_but_what_it_is_given_with() -> None:
    rows = [row for row in table(expanded("dhe")) if row.startswith("vitamins")]
    assert rows == [
        "vitamins: 0 containers of None, dose 1 g",
        "vitamins.secondary-set: 1 containers of secondary-set",
    ]


def test_an_ampule_brings_a_filter_needle_and_its_rest_is_discarded() -> None:
    assert table(expanded("dhe"))[:4] == [
        "test: 1 containers of dhe-ampule, dose 0.5 mg, waste 0.5",
        "test.syringe: 1 containers of syringe",
        "test.filter-needle: 1 containers of filter-needle",
        "test.flush: 1 containers of flush",
    ]


def test_overrides_add_remove_and_change() -> None:
    rows = table(
        expanded(
            overrides=[
                {"change": "remove", "line": "ondansetron"},
                {"change": "add", "component": "dhe", "dose": "1 mg", "probability": "0.5"},
                {"change": "add", "component": "saline", "dose": "100 mL"},
                {"change": "change", "line": "magnesium", "dose": "8.12 mEq"},
            ]
        )
    )
    # 8.12 mEq are 4.06 mmol × 246.47 mg = 1000.67 mg of the salt: more than one vial of 1 g
    assert rows[0] == "magnesium: 2 containers of magnesium-vial-2ml, dose 8.12 mEq, waste 1.9986636"
    assert [row for row in rows if row.startswith("added-")] == [
        "added-1: 0.5 containers of dhe-ampule, dose 1 mg, variance 0.25",
        "added-1.syringe: 0.5 containers of syringe, variance 0.25",
        "added-1.filter-needle: 0.5 containers of filter-needle, variance 0.25",
        "added-1.flush: 0.5 containers of flush, variance 0.25",
        "added-2: 1 containers of saline-100ml, dose 100 mL",
    ]
    assert not [row for row in rows if row.startswith("ondansetron")]


def change(dose: str) -> list[dict[str, Any]]:
    return [{"change": "change", "line": "magnesium", "dose": dose}]


REFUSALS: list[tuple[str, dict[str, Any], str, str]] = [
    # protocol, booking, reason, part of the detail
    ("valproate", {}, "missing-parameter", "parameters.weight_kg: absent"),
    ("ketamine", {"weight_kg": "80"}, "missing-parameter", "parameters.hours: absent"),
    ("valproate", {"weight_kg": "19.9"}, "parameter-out-of-range", "found 19.9; expected 20 to 350"),
    ("valproate", {"weight_kg": "900"}, "parameter-out-of-range", "found 900; expected 20 to 350"),
    ("magnesium", {"weight_kg": "900"}, "parameter-out-of-range", "found 900"),
    ("ketamine", {"weight_kg": "80", "hours": "24.5"}, "parameter-out-of-range", "found 24.5; expected 0.25 to 24"),
    ("ketamine", {"weight_kg": "80", "hours": "0.2"}, "parameter-out-of-range", "parameters.hours"),
    ("magnesium", {"overrides": [{"change": "remove", "line": "mg"}]}, "unknown-line", "found line 'mg'; expected one"),
    (
        "magnesium",
        {"overrides": [{"change": "remove", "line": "ondansetron"}, {"change": "change", "line": "ondansetron"}]},
        "unknown-line",
        "expected one of magnesium",
    ),
    (
        "magnesium",
        {"overrides": [{"change": "add", "component": "gold", "dose": "1 g"}]},
        "unknown-component",
        "'gold'",
    ),
    ("magnesium", {"overrides": change("3 unit")}, "unit-mismatch", "no item expresses 3 unit of magnesium"),
    ("magnesium", {"overrides": change("2 each")}, "unit-mismatch", "2 each"),
    ("magnesium", {"overrides": change("2000 g")}, "dose-out-of-range", "2000 g of magnesium is more than 500"),
    (
        "magnesium",
        {"overrides": [{"change": "add", "component": "catheter", "dose": "1 mg"}]},
        "unit-mismatch",
        "1 mg of catheter",
    ),
]


@pytest.mark.parametrize(("protocol", "booking", "reason", "detail"), REFUSALS)
def test_refusals(protocol: str, booking: dict[str, Any], reason: str, detail: str) -> None:
    with pytest.raises(Refused) as refused:
        expanded(protocol, **booking)
    assert refused.value.reason == reason
    assert detail in refused.value.detail


def test_no_item_fits_says_why_each_was_passed_over() -> None:
    edited = sample.content()
    sample.entity(edited, "components", "magnesium")["filled_by"] = [
        {"item": "magnesium-premix-2g", "exact": True},
        {"item": "magnesium-vial-2ml", "up_to_containers": 4},
    ]
    with pytest.raises(Refused) as refused:
        expanded(overrides=change("5 g"), edited=edited)
    assert refused.value.reason == "no-item-fits"
    assert "magnesium-premix-2g is not split" in refused.value.detail
    assert "up to 4 containers, and the dose is 5" in refused.value.detail


def test_lines_json_is_the_lines() -> None:
    for expansion in (expanded(), expanded("ketamine", weight_kg="80", hours="4"), expanded("dhe")):
        assert LINES.validate_json(expansion.lines_json) == expansion.lines
        for line in orjson.loads(expansion.lines_json):
            assert not any(isinstance(value, float) for value in line.values())


def test_doses_that_round_alike_share_their_expansion_id_and_their_profile() -> None:
    """70.1 and 70.2 kg would both be capped; 30 and 31 kg have different doses, the same two vials."""
    light, heavy = expanded("valproate", weight_kg="30"), expanded("valproate", weight_kg="31")
    assert light.lines != heavy.lines
    assert light.expansion_id == heavy.expansion_id
    profiles = [profile_of(e.expansion_id, e.lines, "valproate", 1, "v") for e in (light, heavy)]
    assert profiles[0] == profiles[1]
    assert expanded("valproate", weight_kg="24").expansion_id != light.expansion_id


def test_equal_numbers_written_differently_give_equal_bytes() -> None:
    assert expanded("valproate", weight_kg="70.00").lines_json == expanded("valproate", weight_kg="7E+1").lines_json


def test_a_long_weight_is_counted_exactly_and_reported_rounded() -> None:
    expansion = expanded("ketamine", weight_kg="72.5747792312345678", hours="3.33333333333333333")
    assert LINES.validate_json(expansion.lines_json) == expansion.lines


def test_the_memo_shares_what_does_not_matter_and_nothing_else() -> None:
    edited = sample.content()
    sample.entity(edited, "sites", "south")["protocols"] = None
    expander = Expander(Catalogue(sample.bundle(edited)))

    def stated(protocol: str, site: str = "north", **parameters: str) -> bytes:
        given = expander.given[site, protocol]
        version = given.version_on(DAY.toordinal())
        assert version is not None
        return expander.stated(given, version, Parameters.model_validate(parameters), ()).lines

    assert stated("magnesium") is stated("magnesium", weight_kg="70")
    assert stated("valproate", weight_kg="70") is stated("valproate", weight_kg="70.0")
    assert stated("valproate", weight_kg="30") != stated("valproate", weight_kg="31")
    assert stated("magnesium") != stated("magnesium", "south")
    with pytest.raises(Refused, match="parameter-out-of-range"):
        stated("magnesium", weight_kg="900")


def test_typical_sessions() -> None:
    catalogue = Catalogue(sample.bundle())
    profile = typical(catalogue, "north", "valproate", DAY)
    assert profile is not None
    assert profile.items["valproate-vial"].mean == 2
    assert (profile.protocol, profile.protocol_version, profile.catalogue_version) == (
        "valproate",
        1,
        catalogue.version,
    )
    assert typical(catalogue, "north", "dhe", DAY) is None
    assert typical(catalogue, "north", "magnesium", date(2014, 1, 1)) is None
    assert typical(catalogue, "north", "magnesium", date(2031, 1, 1)) is None
    assert Decimal(profile.items["saline-50ml"].certain) == 1
