"""From files as read to entities: each validated by itself, so that one fault does not hide the next.

A ``Draft`` is what the invariants look at: the entities that validated, each with its place in a file, and the ids
of all others, so that one broken entity does not raise a fault wherever it is referred to.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from typing import Annotated, Any, Final, Generic, Protocol, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from planner.catalogue import model
from planner.catalogue.faults import Document, Fault, Place, known_name

E_co = TypeVar("E_co", bound=BaseModel, covariant=True)

SECTIONS: Final[dict[str, type[BaseModel]]] = {
    "groups": model.Group,
    "components": model.Component,
    "items": model.Item,
    "kits": model.Kit,
    "protocols": model.Protocol,
    "suppliers": model.Supplier,
    "sites": model.Site,
    "policies": model.Policy,
}
"""What each section lists. ``line_kits`` stands beside them, one mapping in the file of the kits."""

SECTIONS_OF_FILE: Final = {section: (section,) for section in SECTIONS} | {"kits": ("kits", "line_kits")}
"""File ``NAME.yaml``, or any file in a folder ``NAME``: the sections it may hold."""


class Named(Protocol):
    """An entity: it has an id."""

    @property
    def id(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Placed(Generic[E_co]):
    """An entity, and where it stands."""

    entity: E_co
    document: Document
    path: Place

    def fault(self, path: Place, value: Any, expected: str) -> Fault:
        """A fault at ``path`` below the entity."""
        return self.document.fault(self.path + path, value, expected)


@dataclass
class Draft:
    """All that was read, before it is known to hold together."""

    groups: list[Placed[model.Group]] = field(default_factory=list)
    components: list[Placed[model.Component]] = field(default_factory=list)
    items: list[Placed[model.Item]] = field(default_factory=list)
    kits: list[Placed[model.Kit]] = field(default_factory=list)
    protocols: list[Placed[model.Protocol]] = field(default_factory=list)
    suppliers: list[Placed[model.Supplier]] = field(default_factory=list)
    sites: list[Placed[model.Site]] = field(default_factory=list)
    policies: list[Placed[model.Policy]] = field(default_factory=list)
    line_kits: list[Placed[model.LineKits]] = field(default_factory=list)
    places: dict[str, dict[str, list[tuple[Document, Place]]]] = field(
        default_factory=lambda: {section: {} for section in SECTIONS}
    )
    """section → id → where it stands, also of entities that did not validate."""
    broken: list[tuple[Document, Place, Any]] = field(default_factory=list)
    """Where entities that did not validate stand, and what was read there: their references can still be judged."""
    unread: set[str] = field(default_factory=set)
    """Sections of which a part could not be read: what they hold is not known, so references are not judged."""

    def listed(self, section: str) -> list[Placed[Any]]:
        """The entities of a section."""
        listed: list[Placed[Any]] = getattr(self, section)
        return listed

    @cached_property
    def component(self) -> dict[str, model.Component]:
        """Components by id, of those that validated."""
        return _by_id(self.components)

    @cached_property
    def item(self) -> dict[str, model.Item]:
        """Items by id, of those that validated."""
        return _by_id(self.items)

    @cached_property
    def kit(self) -> dict[str, model.Kit]:
        """Kits by id, of those that validated."""
        return _by_id(self.kits)

    @cached_property
    def protocol(self) -> dict[str, model.Protocol]:
        """Protocols by id, of those that validated."""
        return _by_id(self.protocols)


N = TypeVar("N", bound=model._Entity)


def _by_id(placed: list[Placed[N]]) -> dict[str, N]:
    return {one.entity.id: one.entity for one in reversed(placed)}


def read(documents: Sequence[Document], unread: Set[str] = frozenset()) -> tuple[Draft, list[Fault]]:
    """Validate every entity of every document by itself. Nothing is raised: what does not fit is a fault.

    ``unread``: sections of which a file could not be read.
    """
    draft = Draft(unread=set(unread))
    faults: list[Fault] = []
    for document in documents:
        faults += _read_document(draft, document)
    for section in SECTIONS:
        if not draft.places[section] and section not in draft.unread:
            file = next((d.file for d in documents if section in _sections_of(d)), f"{section}.yaml")
            faults.append(Fault(file, 0, section, "(none)", f"at least one of {section}"))
            draft.unread.add(section)
    if not draft.line_kits and "line_kits" not in draft.unread:
        faults.append(Fault("kits.yaml", 0, "line_kits", "(absent)", "a mapping line_kits"))
    return draft, faults


def _sections_of(document: Document) -> tuple[str, ...]:
    stem = document.file.split("/")[0].removesuffix(".yaml")
    return SECTIONS_OF_FILE.get(stem, ())


def _read_document(draft: Draft, document: Document) -> Iterator[Fault]:
    sections = _sections_of(document)
    if not sections:
        yield document.fault((), document.file, known_name("the name of a known file", document.file, known_files()))
        return
    content = document.content
    if not isinstance(content, dict):
        draft.unread.update(sections)
        what = "an empty file" if content is None else _kind(content)
        yield document.fault((), what, f"a mapping with {' and '.join(sections)}")
        return
    for key, listed in content.items():
        if key not in sections:
            draft.unread.update(sections)  # most likely one of them, misspelt
            yield document.fault((key,), key, known_name("a section of this file", str(key), sections))
        elif key == "line_kits":
            yield from _read_line_kits(draft, document, listed)
        elif not isinstance(listed, list):
            draft.unread.add(key)
            yield document.fault((key,), _kind(listed), f"a list of {key}")
        else:
            for index, raw in enumerate(listed):
                yield from _read_entity(draft, document, key, index, raw)


def known_files() -> list[str]:
    """Names that files of a catalogue may have."""
    return [f"{stem}.yaml" for stem in SECTIONS_OF_FILE] + [f"{stem}/*.yaml" for stem in SECTIONS_OF_FILE]


def _read_line_kits(draft: Draft, document: Document, raw: Any) -> Iterator[Fault]:
    if draft.line_kits:
        yield document.fault(
            ("line_kits",), _kind(raw), f"line_kits only once; also in {draft.line_kits[0].document.file}"
        )
        return
    entity, faults = _validated(model.LineKits, document, ("line_kits",), raw)
    yield from faults
    if entity is None:
        draft.unread.add("line_kits")
    else:
        draft.line_kits.append(Placed(entity, document, ("line_kits",)))


def _read_entity(draft: Draft, document: Document, section: str, index: int, raw: Any) -> Iterator[Fault]:
    path: Place = (section, index)
    if isinstance(raw, dict) and isinstance(raw.get("id"), str) and SLUG_FORM.fullmatch(raw["id"]):
        draft.places[section].setdefault(raw["id"], []).append((document, path))
    else:
        draft.unread.add(section)
    entity, faults = _validated(SECTIONS[section], document, path, raw)
    yield from faults
    if entity is None:
        draft.broken.append((document, path, raw))
    else:
        draft.listed(section).append(Placed(entity, document, path))


M = TypeVar("M", bound=BaseModel)


def _validated(kind: type[M], document: Document, path: Place, raw: Any) -> tuple[M | None, list[Fault]]:
    if not isinstance(raw, dict):
        return None, [document.fault(path, _kind(raw), "a mapping")]
    booleans = [
        document.fault(path + below, value, "a number, text or list, not true or false")
        for below, value in _booleans(raw)
        if not _is_boolean_field(kind, below)
    ]
    try:
        entity = kind.model_validate(raw)
    except ValidationError as error:
        refused = {document.line_of(path + tuple(found["loc"])) for found in error.errors()}
        found = [_fault_of(kind, document, path, details) for details in error.errors()]
        return None, found + [fault for fault in booleans if fault.line not in refused]
    return (None, booleans) if booleans else (entity, [])


def _kind(raw: Any) -> str:
    match raw:
        case dict():
            return "a mapping"
        case list():
            return "a list"
        case None:
            return "nothing"
        case _:
            return str(raw)


def _booleans(raw: Any, path: Place = ()) -> Iterator[tuple[Place, bool]]:
    """Booleans in raw content: pydantic would take ``true`` for the number 1."""
    if isinstance(raw, bool):
        yield path, raw
    elif isinstance(raw, dict):
        for key, value in raw.items():
            yield from _booleans(value, (*path, key))
    elif isinstance(raw, list):
        for index, value in enumerate(raw):
            yield from _booleans(value, (*path, index))


def _is_boolean_field(kind: type[BaseModel], path: Place) -> bool:
    inside = _models_at(kind, path[:-1])
    fields = [m.model_fields[str(path[-1])] for m in inside if str(path[-1]) in m.model_fields]
    return not fields or any(field.annotation is bool for field in fields)


def _models_at(kind: type[BaseModel], path: Place) -> list[type[BaseModel]]:
    """Models that may stand at ``path`` below ``kind``."""
    types: list[Any] = [kind]
    for step in path:
        below: list[Any] = []
        for one in types:
            if isinstance(one, type) and issubclass(one, BaseModel):
                if str(step) in one.model_fields:
                    below += _parts(one.model_fields[str(step)].annotation)
            else:
                below += [part for argument in get_args(one) for part in _parts(argument)]
        types = below
    return [one for one in types if isinstance(one, type) and issubclass(one, BaseModel)]


def _parts(annotation: Any) -> list[Any]:
    """Union members, without Annotated; containers stay whole."""
    if get_origin(annotation) is Annotated:
        return _parts(get_args(annotation)[0])
    if get_origin(annotation) in (tuple, dict, list, None):
        return [annotation]
    return [part for argument in get_args(annotation) for part in _parts(argument)]


_EXPECTED: Final = {
    "missing": "a value: the field is required",
    "decimal_parsing": "a number",
    "decimal_type": "a number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "int_type": "a whole number",
    "finite_number": "a finite number",
    "string_type": "text (a code or number needs quotes)",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}
SLUG_FORM: Final = re.compile(r"[a-z0-9][a-z0-9.-]{0,95}")
_SLUG: Final = "lower-case letters, digits, dots and hyphens, 1 to 96 characters"


def _fault_of(kind: type[BaseModel], document: Document, path: Place, details: ErrorDetails) -> Fault:
    """A validation error of pydantic in our words."""
    where = tuple(step for step in details["loc"] if step != "[key]")
    value, context = details["input"], details.get("ctx", {})
    expected = details["msg"].removeprefix("Value error, ").removeprefix("Input should be ").removeprefix("expected ")
    match details["type"]:
        case "extra_forbidden":
            known = {name for found in _models_at(kind, where[:-1]) for name in found.model_fields}
            value, expected = where[-1], known_name("a known field", str(where[-1]), known)
        case "misfit":
            where, value = (*where, str(context["field"])), context["value"]
        case "missing":
            value, expected = None, _EXPECTED["missing"]
        case "string_pattern_mismatch":
            pattern = str(context.get("pattern"))
            expected = _SLUG if "a-z0-9.-" in pattern else f"text of the form {pattern}"
        case "too_short":
            value, expected = _kind(value) if value else "(none)", f"at least {context.get('min_length')} in the list"
        case known_type if known_type in _EXPECTED:
            expected = _EXPECTED[known_type]
    if isinstance(value, Decimal) and not value.is_finite():
        expected = "a finite number"
    return document.fault(path + where, value, expected)
