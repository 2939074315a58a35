"""Ids: each names one thing, each that is referred to exists, and no kit contains itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from pydantic import BaseModel

from planner.catalogue.draft import SECTIONS, Draft, Placed
from planner.catalogue.faults import Fault, Place, known_name
from planner.catalogue.model import ItemChoice, LineKits, Protocol, Site


class Reference(NamedTuple):
    """A field that names an entity of ``section``."""

    source: Placed[BaseModel]
    path: Place
    section: str
    id: str


_KIND = {
    "groups": "a group",
    "components": "a component",
    "items": "an item",
    "kits": "a kit",
    "protocols": "a protocol",
    "suppliers": "a supplier",
    "sites": "a site",
    "policies": "a policy",
}


def unique_ids(draft: Draft) -> Iterator[Fault]:
    """An id names one entity of its section."""
    for section in SECTIONS:
        for name, places in draft.places[section].items():
            first, where = places[0]
            for document, path in places[1:]:
                found = f"an id of its own; {name} is also at {first.file}:{first.line_of(where)}"
                yield document.fault((*path, "id"), name, found)


def known_references(draft: Draft) -> Iterator[Fault]:
    """Whatever is referred to exists. Sections that could not be read are not judged."""
    for source, path, section, name in _references(draft):
        known = draft.places[section]
        if name not in known and section not in draft.unread:
            yield source.fault(path, name, known_name(_KIND[section], name, known))


def kits_without_cycles(draft: Draft) -> Iterator[Fault]:
    """No kit contains itself, by whatever way; each cycle is reported once, at its first kit."""
    reported: set[frozenset[str]] = set()
    placed = {kit.entity.id: kit for kit in reversed(draft.kits)}
    done: set[str] = set()
    for start in placed:
        way: list[str] = []
        waiting: list[tuple[str, int]] = [(start, 0)]
        while waiting:
            name, depth = waiting.pop()
            del way[depth:]
            if name in way:
                cycle = way[way.index(name) :]
                if frozenset(cycle) not in reported:
                    reported.add(frozenset(cycle))
                    yield placed[name].fault(("kits",), " → ".join([*cycle, name]), "no kit that contains itself")
            elif name in placed and name not in done:
                way.append(name)
                waiting += [(below, depth + 1) for below in placed[name].entity.kits]
        done.add(start)


def _references(draft: Draft) -> Iterator[Reference]:
    for item in draft.items:
        yield Reference(item, ("group",), "groups", item.entity.group)
        yield Reference(item, ("component",), "components", item.entity.component)
        yield Reference(item, ("supplier",), "suppliers", item.entity.supplier)
    for component in draft.components:
        yield from _choices(component, ("filled_by",), component.entity.filled_by)
    for kit in draft.kits:
        for index, supply in enumerate(kit.entity.supplies):
            yield Reference(kit, ("supplies", index, "component"), "components", supply.component)
        yield from _listed(kit, ("kits",), "kits", kit.entity.kits)
    for line_kits in draft.line_kits:
        for field in LineKits.model_fields:
            yield from _listed(line_kits, (field,), "kits", getattr(line_kits.entity, field))
    for protocol in draft.protocols:
        yield from _of_protocol(protocol)
    for site in draft.sites:
        yield from _of_site(site)


def _of_protocol(protocol: Placed[Protocol]) -> Iterator[Reference]:
    for number, version in enumerate(protocol.entity.versions):
        top: Place = ("versions", number)
        yield from _listed(protocol, (*top, "session_kits"), "kits", version.session_kits)
        for index, line in enumerate(version.lines):
            path: Place = (*top, "lines", index)
            yield Reference(protocol, (*path, "component"), "components", line.component)
            if line.diluent is not None:
                yield Reference(protocol, (*path, "diluent", "component"), "components", line.diluent.component)
            yield from _listed(protocol, (*path, "kits"), "kits", line.kits)
            yield from _choices(protocol, (*path, "items"), line.items or ())


def _of_site(site: Placed[Site]) -> Iterator[Reference]:
    yield Reference(site, ("policy",), "policies", site.entity.policy)
    for index, par in enumerate(site.entity.par_stock):
        yield Reference(site, ("par_stock", index, "component"), "components", par.component)
    for component, choices in site.entity.preferences.items():
        yield Reference(site, ("preferences", component), "components", component)
        yield from _choices(site, ("preferences", component), choices)
    yield from _listed(site, ("protocols",), "protocols", site.entity.protocols or ())
    for index, expected in enumerate(site.entity.expected_sessions):
        yield Reference(site, ("expected_sessions", index, "protocol"), "protocols", expected.protocol)


def _listed(source: Placed[BaseModel], path: Place, section: str, names: Iterable[str]) -> Iterator[Reference]:
    for index, name in enumerate(names):
        yield Reference(source, (*path, index), section, name)


def _choices(source: Placed[BaseModel], path: Place, choices: Iterable[ItemChoice]) -> Iterator[Reference]:
    for index, choice in enumerate(choices):
        yield Reference(source, (*path, index, "item"), "items", choice.item)
