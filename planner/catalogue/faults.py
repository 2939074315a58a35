"""A fault of a catalogue: where it is, what stands there, and what was expected instead."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

Place = tuple[str | int, ...]
"""Keys and indices from the top of a file to a value: ``("items", 3, "pack", "containers")``."""

LONGEST_VALUE: Final = 80
_NAMING_KEYS: Final = ("id", "item", "component", "protocol", "version", "days")
"""What names an element of a list to a reader, in order of preference."""


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """One fault. ``line`` counts from 1; 0 means the file or directory as a whole."""

    file: str
    line: int
    field: str
    """Place within the file, elements of lists by their id: ``items[saline-100ml-bag].pack.containers``."""
    value: str
    expected: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.field or 'file'}: {self.value}: expected {self.expected}"


@dataclass(frozen=True, slots=True)
class Document:
    """A file as read: plain content (dict, list, str, int, bool, Decimal, None) and the line of each path."""

    file: str
    """Name relative to the catalogue's directory, with forward slashes."""
    content: Any
    lines: Mapping[Place, int] = field(default_factory=dict)

    def line_of(self, path: Place) -> int:
        """Line of the nearest enclosing value that stands in the file."""
        for length in range(len(path), -1, -1):
            if path[:length] in self.lines:
                return self.lines[path[:length]]
        return 0

    def describe(self, path: Place) -> str:
        """The path for a reader, elements of lists by id."""
        text, here = "", self.content
        for step in path:
            here = _below(here, step)
            if isinstance(step, int):
                text += f"[{_name_of(here, step)}]"
            else:
                text += f".{step}" if text else step
        return text

    def fault(self, path: Place, value: Any, expected: str) -> Fault:
        """A fault at ``path`` of this file."""
        return Fault(self.file, self.line_of(path), self.describe(path), shown(value), expected)


def _below(here: Any, step: str | int) -> Any:
    if isinstance(here, dict):
        return here.get(step)
    if isinstance(here, list | tuple) and isinstance(step, int) and 0 <= step < len(here):
        return here[step]
    return None


def _name_of(element: Any, index: int) -> str:
    if isinstance(element, dict):
        for key in _NAMING_KEYS:
            if isinstance(element.get(key), str | int):
                return str(element[key])
    return str(index)


def shown(value: Any) -> str:
    """A value for a reader, on one line and short."""
    match value:
        case None:
            text = "(absent)"
        case bool():
            text = str(value).lower()
        case dict():
            text = "{" + ", ".join(f"{key}: {shown(entry)}" for key, entry in value.items()) + "}"
        case list() | tuple():
            text = "[" + ", ".join(shown(entry) for entry in value) + "]"
        case "":
            text = "(empty text)"
        case _:
            text = " ".join(str(value).split())
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 1] + "…"


def known_name(kind: str, value: str, known: Collection[str]) -> str:
    """What was expected in place of an unknown ``value``: the nearest known name, or all of them if few."""
    near = difflib.get_close_matches(value, sorted(known), n=1, cutoff=0.75)
    if near:
        return f"{kind}; did you mean {near[0]}?"
    few = f": {', '.join(sorted(known))}" if 0 < len(known) <= 12 else ""
    return f"{kind}{few}"
