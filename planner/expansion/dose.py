"""How much of a component a session takes, and which item fills it.

A dose is computed exactly (``Fraction``) from the booking's parameters. The item is the first choice, in order of
preference (the site's, else the line's, else the component's), that can express the dose and fits it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from planner.catalogue.amounts import containers_per, convert, ml_per
from planner.catalogue.index import Catalogue
from planner.catalogue.model import Component, ContainerUse, Dose, Item, ItemChoice
from planner.events.bookings import Parameters
from planner.expansion.moments import as_decimal
from planner.refusal import Refused
from planner.units import Quantity, Unit, UnitError

PARAMETER_BOUNDS: dict[str, tuple[Decimal, Decimal]] = {
    # The lightest adolescent an infusion clinic for migraine sees, and beyond the heaviest weight that infusion
    # chairs and dosing tables are made for: outside, the number is most likely in pounds, grams or another field.
    "weight_kg": (Decimal(20), Decimal(350)),
    # From the shortest push with its observation to a day; several days are several bookings.
    "hours": (Decimal("0.25"), Decimal(24)),
}
"""Smallest and largest value of each parameter that is believed, both included."""

CONTAINERS_PER_LINE_MOST = 500
"""No session takes more containers of anything by one line: beyond, a unit or a decimal point is wrong."""

DOSE_DIGITS_MOST = 18
"""Digits a reported dose may have (``Quantity``); a longer one is reported rounded and counted exactly."""


@dataclass(frozen=True, slots=True)
class Amount:
    """An exact dose: ``value`` in ``unit``."""

    value: Fraction
    unit: Unit

    @classmethod
    def of(cls, quantity: Quantity) -> Amount:
        return cls(Fraction(quantity.value), quantity.unit)

    def reported(self) -> Quantity:
        """As a quantity, at most 18 digits."""
        value = as_decimal(self.value)
        digits = max(len(value.as_tuple().digits), -int(value.as_tuple().exponent))
        if digits > DOSE_DIGITS_MOST:
            value = as_decimal(Fraction(round(self.value * 10**6), 10**6))
        return Quantity.model_construct(value=value, unit=self.unit)


def check_parameters(parameters: Parameters) -> None:
    """A parameter that is given must be believable, whether the protocol needs it or not.

    Raises:
        Refused: ``parameter-out-of-range``.
    """
    for name, (least, most) in PARAMETER_BOUNDS.items():
        value: Decimal | None = getattr(parameters, name)
        if value is not None and not least <= value <= most:
            raise Refused("parameter-out-of-range", f"parameters.{name}: found {value}; expected {least} to {most}")


def dose_of(line: str, dose: Dose, parameters: Parameters, component: Component) -> Amount:
    """The dose of one session: the form times its parameters, capped by ``maximum``.

    Raises:
        Refused: ``missing-parameter``; ``unit-mismatch`` when dose and maximum have no common unit.
    """
    quantity = dose.fixed or dose.per_kg or dose.per_hour or dose.per_kg_hour
    if quantity is None:  # the model allows no such dose
        raise Refused("missing-parameter", f"line {line}: its dose has none of the four forms")
    value = Fraction(quantity.value)
    if dose.per_kg is not None or dose.per_kg_hour is not None:
        value *= require_parameter(parameters, "weight_kg", f"line {line}")
    if dose.per_hour is not None or dose.per_kg_hour is not None:
        value *= require_parameter(parameters, "hours", f"line {line}")
    if dose.maximum is not None:
        try:
            value = min(value, convert(dose.maximum, quantity.unit, component.salt))
        except UnitError as error:
            raise Refused("unit-mismatch", f"line {line}: maximum {dose.maximum}: {error}") from error
    return Amount(value, quantity.unit)


def require_parameter(parameters: Parameters, name: str, needed_by: str) -> Fraction:
    """The value of a parameter.

    Raises:
        Refused: ``missing-parameter``.
    """
    value: Decimal | None = getattr(parameters, name)
    if value is None:
        least, most = PARAMETER_BOUNDS[name]
        raise Refused(
            "missing-parameter", f"parameters.{name}: absent; {needed_by} needs it (expected {least} to {most})"
        )
    return Fraction(value)


@dataclass(frozen=True, slots=True)
class Filled:
    """A dose filled by an item.

    ``amount``: whole containers of a single-dose item, mL of a multi-dose one (pooled later). ``waste``: what is
    discarded, in the unit of the item's content.
    """

    item: Item
    amount: Fraction
    waste: Fraction


def fill(
    catalogue: Catalogue,
    line: str,
    component: Component,
    dose: Amount,
    *,
    lost: Amount | None = None,
    choices: Sequence[ItemChoice],
) -> Filled:
    """The first choice that fits ``dose`` and what is ``lost`` besides it (added to it).

    Raises:
        Refused: ``unit-mismatch`` when no choice can express the dose; ``no-item-fits`` when all that can are
            passed over by their own rules; ``dose-out-of-range`` beyond ``CONTAINERS_PER_LINE_MOST``.
    """
    passed_over: list[str] = []
    unit_errors: list[str] = []
    for choice in choices:
        item = catalogue.items[choice.item]
        try:
            given = _containers(item, component, dose)
            containers = given + (_containers(item, component, lost) if lost else 0)
            filled = _filled(item, component, dose, lost, whole=math.ceil(containers), given=given)
        except UnitError as error:
            unit_errors.append(f"{item.id}: {error}")
            continue
        if choice.exact and containers.denominator != 1:
            passed_over.append(f"{item.id} is not split, and the dose is {float(containers):.4g} containers")
            continue
        if choice.up_to_containers is not None and math.ceil(containers) > choice.up_to_containers:
            passed_over.append(
                f"{item.id} is for up to {choice.up_to_containers} containers, and the dose is {math.ceil(containers)}"
            )
            continue
        if containers > CONTAINERS_PER_LINE_MOST:
            raise Refused(
                "dose-out-of-range",
                f"line {line}: {dose.reported()} of {component.id} is more than {CONTAINERS_PER_LINE_MOST} containers "
                f"of {item.id}",
            )
        return filled
    if not passed_over:
        why = "; ".join(unit_errors) or "none fills it"
        raise Refused("unit-mismatch", f"line {line}: no item expresses {dose.reported()} of {component.id}: {why}")
    raise Refused("no-item-fits", f"line {line}: {dose.reported()} of {component.id}: {'; '.join(passed_over)}")


def _containers(item: Item, component: Component, amount: Amount) -> Fraction:
    return amount.value * containers_per(item, component, amount.unit)


def _filled(
    item: Item, component: Component, dose: Amount, lost: Amount | None, *, whole: int, given: Fraction
) -> Filled:
    if item.use is ContainerUse.MULTI_DOSE:
        volume = dose.value * ml_per(item, component, dose.unit)
        beside = lost.value * ml_per(item, component, lost.unit) if lost else Fraction(0)
        return Filled(item, volume + beside, beside)
    return Filled(item, Fraction(whole), (whole - given) * Fraction(item.content.value))
