"""Doses: every item that may fill a line can express its dose, and at least one fits it, at every site."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

from pydantic import BaseModel

from planner.catalogue.amounts import containers_per, convert, ml_per
from planner.catalogue.draft import Draft, Placed
from planner.catalogue.faults import Fault, Place
from planner.catalogue.index import narrowed
from planner.catalogue.model import Component, ContainerUse, Diluent, Dose, Item, ItemChoice, Line, Protocol
from planner.units import Quantity, Unit, UnitError

_FORMS = ("fixed", "per_kg", "per_hour", "per_kg_hour")


class PlacedLine(NamedTuple):
    """A line of a protocol, and where it stands."""

    protocol: Placed[Protocol]
    path: Place
    line: Line


class Choices(NamedTuple):
    """Items that may fill a component, as a list stands in some file."""

    source: Placed[BaseModel]
    path: Place
    component: str
    listed: tuple[ItemChoice, ...]


def _lines(draft: Draft) -> Iterator[PlacedLine]:
    for protocol in draft.protocols:
        for number, version in enumerate(protocol.entity.versions):
            for index, line in enumerate(version.lines):
                yield PlacedLine(protocol, ("versions", number, "lines", index), line)


def _all_choices(draft: Draft) -> Iterator[Choices]:
    """Every list of choices of the catalogue."""
    for component in draft.components:
        yield Choices(component, ("filled_by",), component.entity.id, component.entity.filled_by)
    for protocol, path, line in _lines(draft):
        if line.items is not None:
            yield Choices(protocol, (*path, "items"), line.component, line.items)
    for site in draft.sites:
        for name, listed in site.entity.preferences.items():
            yield Choices(site, ("preferences", name), name, listed)


def choices_of_the_component(draft: Draft) -> Iterator[Fault]:
    """An item fills its own component: salts are not mixed. Fluids may stand for fluids, supplies for supplies."""
    for source, path, name, listed in _all_choices(draft):
        component = draft.component.get(name)
        for index, choice in enumerate(listed):
            item = draft.item.get(choice.item)
            if component is not None and item is not None and not _fits_kind(draft, component, item):
                wanted = f"an item of {name}; it is of {item.component}, and salts and drugs are not mixed"
                yield source.fault((*path, index, "item"), choice.item, wanted)


def _fits_kind(draft: Draft, component: Component, item: Item) -> bool:
    if item.component == component.id:
        return True
    own = draft.component.get(item.component)
    return own is None or (own.kind == component.kind and component.kind != "drug")


def fluid_diluents(draft: Draft) -> Iterator[Fault]:
    """A diluent is a volume of a fluid."""
    for protocol, path, line in _lines(draft):
        if line.diluent is None:
            continue
        fluid = draft.component.get(line.diluent.component)
        if fluid is not None and fluid.kind != "fluid":
            wanted = f"a fluid; {fluid.id} is a {fluid.kind}"
            yield protocol.fault((*path, "diluent", "component"), fluid.id, wanted)
        if line.diluent.volume.unit is not Unit.ML:
            yield protocol.fault((*path, "diluent", "volume"), line.diluent.volume, "a volume in mL")


class Stated(NamedTuple):
    """A quantity of a line and the component it is of; ``below`` is its path within the line."""

    below: Place
    component: str
    quantity: Quantity


def _form(dose: Dose) -> tuple[str, Quantity]:
    return next((name, quantity) for name in _FORMS if (quantity := getattr(dose, name)) is not None)


def _quantities(line: Line) -> Iterator[Stated]:
    """Quantities that an item must be able to express."""
    name, quantity = _form(line.dose)
    yield Stated(("dose", name), line.component, quantity)
    if line.waste is not None:
        yield Stated(("waste",), line.component, line.waste)
    if line.diluent is not None and line.diluent.volume.unit is Unit.ML:
        yield Stated(("diluent", "volume"), line.diluent.component, line.diluent.volume)


def convertible_doses(draft: Draft) -> Iterator[Fault]:
    """Every item that may fill a line, anywhere, can express its dose, waste and diluent; so can the maximum."""
    for protocol, path, line in _lines(draft):
        for below, name, quantity in _quantities(line):
            component = draft.component.get(name)
            if component is None or (below[0] == "diluent" and component.kind != "fluid"):
                continue
            for item in _candidates(draft, component, line if name == line.component else None):
                problem = _conversion_problem(item, component, quantity.unit)
                if problem:
                    value = f"{quantity} of {name} with {item.id}"
                    yield protocol.fault((*path, *below), value, f"a unit that every item of it can express: {problem}")
        component = draft.component.get(line.component)
        if component is not None and line.dose.maximum is not None:
            try:
                convert(line.dose.maximum, _form(line.dose)[1].unit, component.salt)
            except UnitError as error:
                wanted = f"a unit that meets the dose's: {error}"
                yield protocol.fault((*path, "dose", "maximum"), line.dose.maximum, wanted)


def _candidates(draft: Draft, component: Component, line: Line | None) -> list[Item]:
    """Items that may fill a component at some site, once each; those of another salt are reported elsewhere."""
    listed = list(line.items if line is not None and line.items is not None else component.filled_by)
    if line is None or line.items is None:
        for site in draft.sites:
            listed += site.entity.preferences.get(component.id, ())
    items = {choice.item: draft.item.get(choice.item) for choice in listed}
    return [item for item in items.values() if item is not None and _fits_kind(draft, component, item)]


def _conversion_problem(item: Item, component: Component, unit: Unit) -> str | None:
    try:
        containers_per(item, component, unit)
        if item.use is ContainerUse.MULTI_DOSE:
            ml_per(item, component, unit)
    except UnitError as error:
        return str(error)
    return None


def unambiguous_volumes(draft: Draft) -> Iterator[Fault]:
    """A drug's dose in mL means one amount: the items that may fill it have one concentration."""
    for protocol, path, line in _lines(draft):
        name, quantity = _form(line.dose)
        component = draft.component.get(line.component)
        if component is None or component.kind != "drug" or quantity.unit is not Unit.ML:
            continue
        found = {_strength(item) for item in _candidates(draft, component, line)}
        if len(found) > 1:
            wanted = f"a dose by amount: its items have several concentrations ({', '.join(sorted(found))})"
            yield protocol.fault((*path, "dose", name), quantity, wanted)


def _strength(item: Item) -> str:
    if item.concentration is None:
        return "none stated"
    return f"{item.concentration.value.normalize():f} {item.concentration.unit}/mL"


class Wanted(NamedTuple):
    """What some item has to fit: a line's dose, or its diluent."""

    line: Line
    component: Component
    diluent: Diluent | None = None

    @property
    def allowed(self) -> tuple[ItemChoice, ...] | None:
        """What the line itself says may be used."""
        return self.line.items if self.diluent is None else None

    def __str__(self) -> str:
        quantity = _form(self.line.dose)[1] if self.diluent is None else self.diluent.volume
        return f"{quantity} of {self.component.id}"

    def most_containers(self, item: Item) -> tuple[bool, Fraction] | None:
        """(whether every session takes so much, the most containers a session takes); None if there is no bound.

        Raises:
            UnitError: the item cannot express it.
        """
        if self.diluent is not None:
            return True, _containers(item, self.component, self.diluent.volume)
        form, quantity = _form(self.line.dose)
        lost = _containers(item, self.component, self.line.waste) if self.line.waste is not None else Fraction(0)
        dose = _containers(item, self.component, quantity)
        most = _containers(item, self.component, self.line.dose.maximum) if self.line.dose.maximum is not None else None
        if form == "fixed":
            return True, (dose if most is None else min(dose, most)) + lost
        return None if most is None else (False, most + lost)


def _containers(item: Item, component: Component, quantity: Quantity) -> Fraction:
    return Fraction(quantity.value) * containers_per(item, component, quantity.unit)


def fillable_lines(draft: Draft) -> Iterator[Fault]:
    """At every site at least one item fits the dose, and one the diluent, by the choices' own rules."""
    for protocol, path, line in _lines(draft):
        component = draft.component.get(line.component)
        if component is not None and line.supply_mode == "stocked":
            yield from _unfilled(draft, protocol, (*path, "dose", _form(line.dose)[0]), Wanted(line, component))
        if line.diluent is not None and line.diluent.volume.unit is Unit.ML:
            fluid = draft.component.get(line.diluent.component)
            if fluid is not None:
                wanted = Wanted(line, fluid, line.diluent)
                yield from _unfilled(draft, protocol, (*path, "diluent", "volume"), wanted)


def _unfilled(draft: Draft, protocol: Placed[Protocol], path: Place, wanted: Wanted) -> Iterator[Fault]:
    allowed = wanted.allowed if wanted.allowed is not None else wanted.component.filled_by
    if not _some_fits(draft, wanted, allowed):
        yield protocol.fault(
            path, str(wanted), "a quantity that at least one item fits by its up_to_containers and exact"
        )
    for site in draft.sites:
        preferred = site.entity.preferences.get(wanted.component.id)
        given = site.entity.protocols is None or protocol.entity.id in site.entity.protocols
        if preferred and given and not _some_fits(draft, wanted, narrowed(preferred, wanted.allowed)):
            expected = f"at least one item that fits {wanted}, line {wanted.line.id} of {protocol.entity.id}"
            items = ", ".join(choice.item for choice in preferred)
            yield site.fault(("preferences", wanted.component.id), items, expected)


def _some_fits(draft: Draft, wanted: Wanted, choices: tuple[ItemChoice, ...]) -> bool:
    """Whether a choice is sure to fit. Choices that are faulty in another way are taken to fit: one fault each."""
    for choice in choices:
        item = draft.item.get(choice.item)
        if item is None or not _fits_kind(draft, wanted.component, item):
            return True
        try:
            containers = wanted.most_containers(item)
        except UnitError:
            return True
        if containers is None:
            if choice.up_to_containers is None and not choice.exact:
                return True
            continue
        always, most = containers
        split = choice.exact and not (always and most.denominator == 1)
        if not split and (choice.up_to_containers is None or math.ceil(most) <= choice.up_to_containers):
            return True
    return False


def countable_supplies(draft: Draft) -> Iterator[Fault]:
    """Kits hold supplies and fluids by the container; a drug has a dose, and belongs in a line."""
    for kit in draft.kits:
        for index, supply in enumerate(kit.entity.supplies):
            component = draft.component.get(supply.component)
            if component is not None and component.kind == "drug":
                wanted = "a supply or fluid: a drug belongs in a protocol's line, with its dose"
                yield kit.fault(("supplies", index, "component"), component.id, wanted)
