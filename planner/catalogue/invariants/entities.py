"""What must hold within an entity and cannot be seen field by field."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from functools import cache
from itertools import pairwise
from typing import Any, Final, get_args

from pydantic import BaseModel

from planner.catalogue.amounts import rate
from planner.catalogue.draft import SECTIONS, Draft, Placed
from planner.catalogue.faults import Fault, Place, known_name
from planner.catalogue.model import ByDaysToGo, Dose, Fact, Line, Protocol
from planner.units import MASS_IN_MG, Unit, UnitError

CONTENT_UNITS: Final = {
    "drug": frozenset({Unit.ML, Unit.MEQ, Unit.MMOL, Unit.UNIT, *MASS_IN_MG}),
    "fluid": frozenset({Unit.ML}),
    "supply": frozenset({Unit.EACH}),
}
"""Kind of component → units in which a container of it may be stated."""


def known_facts(draft: Draft) -> Iterator[Fault]:
    """A fact is about fields that the entity has (also those below it: ``dose`` for a protocol)."""
    for section, kind in SECTIONS.items():
        for placed in draft.listed(section):
            yield from _facts(placed, (), placed.entity.facts, _field_names(kind))
    for protocol in draft.protocols:
        for number, version in enumerate(protocol.entity.versions):
            for index, line in enumerate(version.lines):
                yield from _facts(protocol, ("versions", number, "lines", index), line.facts, _field_names(Line))


def _facts(placed: Placed[BaseModel], path: Place, facts: tuple[Fact, ...], known: frozenset[str]) -> Iterator[Fault]:
    for number, fact in enumerate(facts):
        for index, name in enumerate(fact.of):
            if name not in known:
                yield placed.fault((*path, "facts", number, "of", index), name, known_name("a field", name, known))


@cache
def _field_names(kind: type[BaseModel]) -> frozenset[str]:
    names = set(kind.model_fields)
    for field in kind.model_fields.values():
        for below in _models_in(field.annotation):
            names |= _field_names(below)
    return frozenset(names - {"facts"})


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)


def contents_by_kind(draft: Draft) -> Iterator[Fault]:
    """A supply is counted in pieces, a fluid holds mL, a drug an amount."""
    for placed in draft.items:
        item = placed.entity
        component = draft.component.get(item.component)
        if component is not None and item.content.unit not in CONTENT_UNITS[component.kind]:
            units = ", ".join(sorted(CONTENT_UNITS[component.kind]))
            yield placed.fault(
                ("content",), item.content, f"a content in {units}: {component.id} is a {component.kind}"
            )


def reachable_concentrations(draft: Draft) -> Iterator[Fault]:
    """A concentration is of something that the container holds: its unit and the content's can meet."""
    for placed in draft.items:
        item = placed.entity
        component = draft.component.get(item.component)
        if item.concentration is None or component is None or item.content.unit is Unit.ML:
            continue
        shown = f"{item.concentration.value} {item.concentration.unit}/mL"
        if item.content.unit is Unit.EACH:
            yield placed.fault(("concentration",), shown, f"none: the content is {item.content}")
            continue
        try:
            rate(item.concentration.unit, item.content.unit, component.salt)
        except UnitError as error:
            yield placed.fault(("concentration",), shown, f"a unit that meets the content {item.content}: {error}")


def rising_tables(draft: Draft) -> Iterator[Fault]:
    """Tables by days to go start at 0 and rise, so that each number of days has one value."""
    for placed in draft.policies:
        for name in ("keep_probability", "still_to_come"):
            table: tuple[ByDaysToGo, ...] = getattr(placed.entity, name)
            if table[0].days != 0:
                yield placed.fault((name, 0, "days"), table[0].days, "0: the table starts at today")
            for index, (before, row) in enumerate(pairwise(table), 1):
                if row.days <= before.days:
                    yield placed.fault((name, index, "days"), row.days, f"more than {before.days}, the row before")


def versions_in_order(draft: Draft) -> Iterator[Fault]:
    """On any day at most one version of a protocol is in force, and later versions have higher numbers."""
    for placed in draft.protocols:
        numbered = sorted(enumerate(placed.entity.versions), key=lambda pair: pair[1].effective_from)
        for index, version in numbered:
            if version.effective_to is not None and version.effective_to < version.effective_from:
                path: Place = ("versions", index, "effective_to")
                yield placed.fault(path, version.effective_to, f"{version.effective_from} (effective_from) or later")
        for (_, before), (index, version) in pairwise(numbered):
            if version.version <= before.version:
                wanted = f"more than {before.version}, the version in force before"
                yield placed.fault(("versions", index, "version"), version.version, wanted)
            # An open end is closed by the next version; a stated one must come before it.
            last = before.effective_to or before.effective_from
            if version.effective_from <= last:
                why = f"is in force until {last}" if before.effective_to else "begins on that day"
                wanted = f"{last + timedelta(days=1)} or later: version {before.version} {why}"
                yield placed.fault(("versions", index, "effective_from"), version.effective_from, wanted)


def unique_lines(draft: Draft) -> Iterator[Fault]:
    """A line's id names one line of its version."""
    for placed in draft.protocols:
        for number, version in enumerate(placed.entity.versions):
            seen: set[str] = set()
            for index, line in enumerate(version.lines):
                if line.id in seen:
                    path: Place = ("versions", number, "lines", index, "id")
                    yield placed.fault(path, line.id, "an id that no other line of this version has")
                seen.add(line.id)


def stated_parameters(draft: Draft) -> Iterator[Fault]:
    """A protocol asks a booking for the parameters that its doses take."""
    for placed in draft.protocols:
        for number, version in enumerate(placed.entity.versions):
            for index, line in enumerate(version.lines):
                for form, name in needed_parameters(line.dose):
                    if name not in version.parameters:
                        path: Place = ("versions", number, "lines", index, "dose", form)
                        wanted = f"{name} among the parameters of version {version.version}"
                        yield placed.fault(path, getattr(line.dose, form), wanted)


def needed_parameters(dose: Dose) -> Iterator[tuple[str, str]]:
    """(form, parameter) pairs of what the dose takes."""
    for form, names in (
        ("per_kg", ("weight_kg",)),
        ("per_hour", ("hours",)),
        ("per_kg_hour", ("weight_kg", "hours")),
    ):
        if getattr(dose, form) is not None:
            yield from ((form, name) for name in names)


def parameters_of(protocol: Protocol) -> set[str]:
    """Parameters that any version asks for."""
    return {name for version in protocol.versions for name in version.parameters}
