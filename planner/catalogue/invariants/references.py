"""Ids: each names one thing, each that is referred to exists, and no kit contains itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

from pydantic import BaseModel

from planner.catalogue.draft import SECTIONS, SLUG_FORM, Draft, Placed
from planner.catalogue.faults import Document, Fault, Place, known_name
from planner.catalogue.model import ItemChoice, LineKits, Protocol, Site


class Reference(NamedTuple):
    """A field that names an entity of ``section``."""

    source: Placed[BaseModel]
    path: Place
    section: str
    id: str


KITS_DEEP_MOST: Final = 20
"""Kits within kits; an expansion goes no deeper."""
SUPPLIES_MOST: Final = 200
"""Supplies of a kit with all its kits: more is a mistake, and would make every expansion slow."""

_KIND: Final = {
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
    for document, path, section, name in _references_in_broken(draft):
        known = draft.places[section]
        if name not in known and section not in draft.unread:
            yield document.fault(path, name, known_name(_KIND[section], name, known))


def kits_without_cycles(draft: Draft) -> Iterator[Fault]:
    """No kit contains itself, by whatever way; a cycle is reported at the kit that closes it."""
    placed = {kit.entity.id: kit for kit in reversed(draft.kits)}
    for name, cycle in _walk(draft)[1]:
        yield placed[name].fault(("kits",), " → ".join(cycle), "no kit that contains itself")


def kits_of_a_size(draft: Draft) -> Iterator[Fault]:
    """A kit with all that it contains, counted as often as it is named, is what a session can use."""
    order, cycles = _walk(draft)
    depth: dict[str, int] = {}
    supplies: dict[str, int] = {}
    if cycles:
        return
    placed = {kit.entity.id: kit for kit in reversed(draft.kits)}
    for name in order:
        kit = draft.kit[name]
        below = [inner for inner in kit.kits if inner in depth]
        depth[name] = 1 + max((depth[inner] for inner in below), default=0)
        supplies[name] = len(kit.supplies) + sum(supplies[inner] for inner in below)
        if depth[name] > KITS_DEEP_MOST:
            yield placed[name].fault(("kits",), f"{depth[name]} deep", f"kits at most {KITS_DEEP_MOST} deep")
            return
        if supplies[name] > SUPPLIES_MOST:
            yield placed[name].fault((), f"{supplies[name]} supplies", f"at most {SUPPLIES_MOST} with its kits")
            return


def _walk(draft: Draft) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """Kits in an order in which each comes after those it contains; and (kit, way back to itself) of each cycle."""
    order: list[str] = []
    cycles: list[tuple[str, list[str]]] = []
    done: set[str] = set()
    for start in draft.kit:
        way: dict[str, Iterator[str]] = {}
        if start not in done:
            way[start] = iter(draft.kit[start].kits)
        while way:
            name = next(reversed(way))
            inner = next(way[name], None)
            if inner is None:
                del way[name]
                done.add(name)
                order.append(name)
            elif inner in way:
                names = list(way)
                cycles.append((name, [*names[names.index(inner) :], inner]))
            elif inner in draft.kit and inner not in done:
                way[inner] = iter(draft.kit[inner].kits)
    return order, cycles


_NAMING: Final = {
    "component": "components",
    "group": "groups",
    "item": "items",
    "policy": "policies",
    "protocol": "protocols",
    "supplier": "suppliers",
}
_LISTING: Final = {"kits": "kits", "session_kits": "kits", "protocols": "protocols"}
"""Fields that name an entity, or several, wherever they stand: for what did not validate as a whole."""


def _references_in_broken(draft: Draft) -> Iterator[tuple[Document, Place, str, str]]:
    """What an entity refers to although something else in it is wrong, so that all its faults are told at once."""
    for document, path, raw in draft.broken:
        for below, section, name in _named(raw):
            if SLUG_FORM.fullmatch(name):  # else that is its fault
                yield document, path + below, section, name


def _named(raw: Any, path: Place = ()) -> Iterator[tuple[Place, str, str]]:
    if isinstance(raw, dict):
        for key, value in raw.items():
            if key in _NAMING and isinstance(value, str):
                yield (*path, key), _NAMING[key], value
            elif key in _LISTING and isinstance(value, list):
                for index, name in enumerate(value):
                    if isinstance(name, str):
                        yield (*path, key, index), _LISTING[key], name
            else:
                yield from _named(value, (*path, key))
    elif isinstance(raw, list):
        for index, value in enumerate(raw):
            yield from _named(value, (*path, index))


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
