"""Exact conversion of doses: from the unit a protocol speaks to millilitres and containers of an item.

Four rules, and nothing else converts:

- mcg, mg and g scale into one another;
- mEq and mmol meet mass, and one another, only through the component's declared salt and its valence;
- mass (mEq, mmol, units) meets mL only through the item's own concentration;
- ``each`` and ``unit`` meet only themselves (``unit`` also mL, through a concentration in units).

Everything is a ``Fraction``: exact, to be rounded (up) once, by whoever counts whole containers.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Final

from planner.catalogue.model import Component, Item, Salt
from planner.units import MASS_IN_MG, Quantity, Unit, UnitError

SUBSTANCE: Final = frozenset({Unit.MEQ, Unit.MMOL})
"""Units that count particles: they meet mass only through a salt."""


def convert(quantity: Quantity, to_unit: Unit, salt: Salt | None) -> Fraction:
    """``quantity`` in ``to_unit``, without the help of a concentration.

    Raises:
        UnitError: the units do not meet, or meet only through a salt that is not declared.
    """
    return Fraction(quantity.value) * rate(quantity.unit, to_unit, salt)


def rate(from_unit: Unit, to_unit: Unit, salt: Salt | None) -> Fraction:
    """How many ``to_unit`` one ``from_unit`` is. Raises as ``convert``."""
    if from_unit is to_unit:
        return Fraction(1)
    if from_unit in MASS_IN_MG and to_unit in MASS_IN_MG:
        return MASS_IN_MG[from_unit] / MASS_IN_MG[to_unit]
    through_salt = {from_unit, to_unit} <= SUBSTANCE | MASS_IN_MG.keys()
    if not through_salt:
        raise UnitError(f"{from_unit} cannot be expressed in {to_unit}{_hint(from_unit, to_unit)}")
    if salt is None:
        raise UnitError(f"{from_unit} meets {to_unit} only through a salt: the component declares none")
    return _mg_of_one(from_unit, salt) / _mg_of_one(to_unit, salt)


def _mg_of_one(unit: Unit, salt: Salt) -> Fraction:
    """Milligrams of the whole salt in one ``unit``; g/mol is mg/mmol, and mEq = mmol × valence."""
    match unit:
        case Unit.MMOL:
            return Fraction(salt.molar_mass_g_per_mol)
        case Unit.MEQ:
            return Fraction(salt.molar_mass_g_per_mol) / salt.valence
        case _:
            return MASS_IN_MG[unit]


def _hint(from_unit: Unit, to_unit: Unit) -> str:
    if Unit.ML in (from_unit, to_unit) and Unit.EACH not in (from_unit, to_unit):
        return ": a concentration is missing"
    return ""


def ml_per(item: Item, component: Component, unit: Unit) -> Fraction:
    """Millilitres of ``item`` that hold one ``unit`` of ``component``.

    For a powder with a concentration (that of the solution it is made up to) the volume of the solution.

    Raises:
        UnitError: the item is counted in pieces, has no concentration, or a salt is missing.
    """
    if item.content.unit is Unit.EACH:
        raise UnitError(f"{item.id} is counted in each and has no volume: {unit} cannot be measured in it")
    if unit is Unit.ML:
        return Fraction(1)
    if item.concentration is None:
        raise UnitError(f"{item.id} has no concentration: {unit} of {component.id} cannot be expressed in mL")
    held = rate_in(item, component, unit, item.concentration.unit)
    return held / Fraction(item.concentration.value)


def containers_per(item: Item, component: Component, unit: Unit) -> Fraction:
    """Containers of ``item`` (a fraction of one) that hold one ``unit`` of ``component``.

    Raises:
        UnitError: see ``ml_per``; also a volume of a powder that has no concentration.
    """
    content = Fraction(item.content.value)
    if item.content.unit is Unit.ML:
        return ml_per(item, component, unit) / content
    if unit is Unit.ML:
        if item.concentration is None:
            raise UnitError(
                f"{item.id} holds {item.content} and has no concentration: mL of {component.id} cannot be measured"
            )
        held = Fraction(item.concentration.value)
        return held * rate_in(item, component, item.concentration.unit, item.content.unit) / content
    return rate_in(item, component, unit, item.content.unit) / content


def rate_in(item: Item, component: Component, from_unit: Unit, to_unit: Unit) -> Fraction:
    """``rate`` through the component's salt; an error says which item and component it was about."""
    try:
        return rate(from_unit, to_unit, component.salt)
    except UnitError as error:
        raise UnitError(f"{error} (component {component.id}, item {item.id})") from error


def volume_ml(item: Item, component: Component, dose: Quantity) -> Fraction:
    """Exact millilitres of ``item`` that ``dose`` of ``component`` takes. Raises as ``ml_per``."""
    return Fraction(dose.value) * ml_per(item, component, dose.unit)


def containers_of(item: Item, component: Component, dose: Quantity) -> Fraction:
    """Exact number of containers of ``item`` (not rounded) that ``dose`` of ``component`` takes.

    Raises as ``containers_per``.
    """
    return Fraction(dose.value) * containers_per(item, component, dose.unit)
