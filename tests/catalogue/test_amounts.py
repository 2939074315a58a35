"""Exact conversion: scaling, salts, concentrations, and errors that name what is missing."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.catalogue.amounts import containers_of, convert, rate, volume_ml
from planner.catalogue.model import Component, Concentration, Item, ItemChoice, Pack, Salt
from planner.units import Quantity, Unit, UnitError

SULFATE = Salt(name="heptahydrate", molar_mass_g_per_mol=Decimal("246.47"), valence=2)
MASSES = (Unit.MCG, Unit.MG, Unit.G)
CHEMICAL = (*MASSES, Unit.MEQ, Unit.MMOL)


def quantity(text: str) -> Quantity:
    return Quantity.model_validate(text)


def component(salt: Salt | None = None) -> Component:
    return Component(id="c", name="C", kind="drug", salt=salt, filled_by=(ItemChoice(item="i"),))


def item(content: str, concentration: str | None = None) -> Item:
    return Item(
        id="i",
        name="I",
        group="g",
        component="c",
        content=quantity(content),
        concentration=None if concentration is None else Concentration.model_validate(concentration),
        pack=Pack(containers=1),
        shelf_life_days=1,
        supplier="s",
    )


@pytest.mark.parametrize(
    ("dose", "unit", "printed"),
    [
        ("1 g", Unit.MEQ, "8.12"),  # facts: 1 g = 8.12 mEq = 4.06 mmol; labels print 8.1 / 16.25 / 32.5
        ("1 g", Unit.MMOL, "4.06"),
        ("500 mg", Unit.MEQ, "4.06"),  # the 50 % solution holds 4.06 mEq in each mL
        ("1 g", Unit.MEQ, "8.1"),
        ("2 g", Unit.MEQ, "16.25"),
        ("4 g", Unit.MEQ, "32.5"),
    ],
)
def test_magnesium_sulfate_agrees_with_its_labels_within_half_a_percent(dose: str, unit: Unit, printed: str) -> None:
    computed = convert(quantity(dose), unit, SULFATE)
    assert abs(computed / Fraction(printed) - 1) < Fraction(5, 1000)


@given(
    value=st.decimals(min_value="0.001", max_value="1000000", places=3),
    units=st.tuples(st.sampled_from(CHEMICAL), st.sampled_from(CHEMICAL)),
)
def test_there_and_back_is_exactly_the_same(value: Decimal, units: tuple[Unit, Unit]) -> None:
    there = convert(Quantity(value=value, unit=units[0]), units[1], SULFATE)
    assert there * rate(units[1], units[0], SULFATE) == Fraction(value)


@given(units=st.tuples(*[st.sampled_from(CHEMICAL)] * 3))
def test_a_detour_by_a_third_unit_changes_nothing(units: tuple[Unit, Unit, Unit]) -> None:
    a, b, c = units
    assert rate(a, b, SULFATE) * rate(b, c, SULFATE) == rate(a, c, SULFATE)


@pytest.mark.parametrize(
    ("dose", "content", "concentration", "salt", "containers"),
    [
        ("2 g", "2 mL", "500 mg/mL", None, "2"),
        ("2 g", "50 mL", "40 mg/mL", None, "1"),
        ("1.5 g", "2 mL", "500 mg/mL", None, "3/2"),
        ("10 mg", "30 mL", "3 mg/mL", None, "1/9"),
        ("1000 mcg", "1 mL", "1 mg/mL", None, "1"),
        ("8 mEq", "2 mL", "500 mg/mL", SULFATE, "0.98588"),
        ("24.647 g", "100 mL", "2 mEq/mL", SULFATE, "1"),
        ("250 mg", "500 mg", None, None, "1/2"),  # a powder
        ("5 mL", "500 mg", "50 mg/mL", None, "1/2"),  # a powder made up
        ("100 mL", "250 mL", None, None, "2/5"),  # a fluid
        ("2500 unit", "10 mL", "1000 unit/mL", None, "1/4"),
        ("3 each", "1 each", None, None, "3"),
    ],
)
def test_containers_of_a_dose(
    dose: str, content: str, concentration: str | None, salt: Salt | None, containers: str
) -> None:
    assert containers_of(item(content, concentration), component(salt), quantity(dose)) == Fraction(containers)


@pytest.mark.parametrize(
    ("dose", "content", "concentration", "millilitres"),
    [("2 g", "2 mL", "500 mg/mL", "4"), ("7 mL", "50 mL", None, "7"), ("250 mg", "500 mg", "62.5 mg/mL", "4")],
)
def test_volume_of_a_dose(dose: str, content: str, concentration: str | None, millilitres: str) -> None:
    assert volume_ml(item(content, concentration), component(), quantity(dose)) == Fraction(millilitres)


@pytest.mark.parametrize(
    ("dose", "content", "concentration", "missing"),
    [
        ("2 mEq", "2 mL", "500 mg/mL", "mEq meets mg only through a salt: the component declares none"),
        ("2 mg", "2 mL", None, "i has no concentration: mg of c cannot be expressed in mL"),
        ("2 mL", "500 mg", None, "i holds 500 mg and has no concentration"),
        ("2 each", "2 mL", "500 mg/mL", "each cannot be expressed in mg"),
        ("2 mg", "1 each", None, "mg cannot be expressed in each"),
        ("2 unit", "2 mL", "5 mg/mL", "unit cannot be expressed in mg"),
    ],
)
def test_what_cannot_be_converted_says_what_is_missing(
    dose: str, content: str, concentration: str | None, missing: str
) -> None:
    with pytest.raises(UnitError, match=missing):
        containers_of(item(content, concentration), component(), quantity(dose))


def test_a_volume_of_pieces_or_of_a_powder_cannot_be_measured() -> None:
    with pytest.raises(UnitError, match="counted in each"):
        volume_ml(item("1 each"), component(), quantity("1 mL"))
    with pytest.raises(UnitError, match="no concentration"):
        volume_ml(item("500 mg"), component(), quantity("250 mg"))


def test_even_a_declared_salt_does_not_make_pieces_of_milligrams() -> None:
    with pytest.raises(UnitError, match="mg cannot be expressed in each"):
        convert(quantity("1 mg"), Unit.EACH, SULFATE)
