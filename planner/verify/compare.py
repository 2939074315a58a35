"""Two states, or two messages, to the first difference between them, in words that a person can act on.

Tables are compared entry by entry in the order of their keys. Values are JSON: a difference names the field in which
they differ first, by its name where the entry is a list without names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from planner.topics import SEPARATOR

ABSENT: Final = "(none)"
"""What is shown where one side has nothing."""
_SHOWN_CHARACTERS: Final = 300

_BOOKING_ROW: Final = (
    "format", "status", "version", "revision", "site", "protocol", "start", "day", "weight_kg", "hours", "overrides",
    "series_id", "protocol_version", "catalogue_version", "lines_id", "event_ids", "booked_on", "source",
)  # fmt: skip
_SITE_BOOKING: Final = ("revision", "day", "start_s", "segment", "profile", "status", "series")
_ANNOUNCED: Final = ("first_day", "last_day", "share")
_MOMENTS: Final = ("mean", "variance", "maximum", "certain")
_LOT: Final = ("lot", "expiry", "quantity", "quarantined")
_OPEN: Final = ("lot", "opened_at", "use_by", "remaining_ml")
_COUNT: Final = ("event_id", "counted_at", "expected", "counted", "presumed", "lots")
_LINE: Final = ("ordered", "confirmed", "delivered")


@dataclass(frozen=True, slots=True)
class Difference:
    """The first thing in which what was found is not what was recomputed."""

    where: str
    """Table or topic with its partition: ``plan-table/2``, ``forecasts``."""
    key: str
    """The entry's key, its parts joined by `` / ``."""
    field: str
    """Path of the field that differs: ``lots[0].quantity``; empty: the whole value, or there is none on one side."""
    recomputed: str
    """What the log gives: JSON, shortened; ``(none)``: nothing."""
    found: str
    """What the table or topic holds; ``(none)``: nothing."""

    def __str__(self) -> str:
        at = f", {self.field}" if self.field else ""
        return f"{self.where}: {self.key}{at}: recomputed {self.recomputed}, found {self.found}"


def first_difference(recomputed: Mapping[bytes, bytes], found: Mapping[bytes, bytes], where: str) -> Difference | None:
    """The first entry, in the order of keys, in which two tables differ; None: they are equal, byte for byte."""
    return next(differences(recomputed, found, where), None)


def differences(recomputed: Mapping[bytes, bytes], found: Mapping[bytes, bytes], where: str) -> Iterator[Difference]:
    """Every entry in which two tables differ, in the order of keys: of each, the first field."""
    unlike = {key for key, value in recomputed.items() if found.get(key) != value}
    unlike |= found.keys() - recomputed.keys()
    for key in sorted(unlike):
        yield value_difference(where, key, recomputed.get(key), found.get(key))


def value_difference(where: str, key: bytes, recomputed: bytes | None, found: bytes | None) -> Difference:
    """In what two values of a key differ first; None: there is none. They are known to differ."""
    name = readable_key(key)
    if recomputed is None or found is None:
        return Difference(where, name, "", shown(recomputed), shown(found))
    one, other = _parsed(recomputed), _parsed(found)
    kind = key.decode("utf-8", "replace").partition(SEPARATOR)[0]
    path = _first_path(one, other, "", kind)
    if path is None:  # the same JSON in other bytes
        return Difference(where, name, "bytes", _shortened(repr(recomputed)), _shortened(repr(found)))
    return Difference(where, name, path[0], _text(path[1]), _text(path[2]))


def readable_key(key: bytes) -> str:
    """A composed key for a reader."""
    return key.decode("utf-8", "backslashreplace").replace(SEPARATOR, " / ")


def shown(value: bytes | None) -> str:
    """A value for a reader: JSON as it is, other bytes as Python writes them, shortened."""
    if value is None:
        return ABSENT
    try:
        return _shortened(value.decode())
    except UnicodeDecodeError:
        return _shortened(repr(value))


class _Missing:
    """Stands for a field that one side lacks."""


_MISSING: Final = _Missing()


def _parsed(value: bytes) -> Any:
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        return value


def _first_path(one: Any, other: Any, path: str, kind: str) -> tuple[str, Any, Any] | None:
    """The first place, depth first, in which two JSON values differ, and what stands there."""
    if isinstance(one, dict) and isinstance(other, dict):
        for name in [*one, *(name for name in other if name not in one)]:
            at = f"{path}.{name}" if path else name
            found = _first_path(one.get(name, _MISSING), other.get(name, _MISSING), at, kind)
            if found is not None:
                return found
        return None
    if isinstance(one, list) and isinstance(other, list):
        names = _names(kind, path, max(len(one), len(other)))
        for index in range(max(len(one), len(other))):
            left = one[index] if index < len(one) else _MISSING
            right = other[index] if index < len(other) else _MISSING
            named = names[index] if index < len(names) else None
            at = f"{path}[{index}]" if named is None else f"{path}.{named}" if path else named
            found = _first_path(left, right, at, kind)
            if found is not None:
                return found
        return None
    # 1 and 1.0 and True are equal to Python, not to a reader of JSON
    return None if type(one) is type(other) and one == other else (path, one, other)


def _names(kind: str, path: str, length: int) -> tuple[str, ...]:
    """Names of the elements of a list in an entry; none: it is a list of equals, or one that we do not know."""
    named: tuple[str, ...] = ()
    if kind == "booking" and not path:
        named = _BOOKING_ROW if length > len(_SITE_BOOKING) else _SITE_BOOKING
    elif kind == "announced" and not path:
        named = _ANNOUNCED
    elif kind == "profile" and path.startswith("items."):
        named = _MOMENTS
    elif kind == "order" and path.startswith("lines."):
        named = _LINE
    elif kind == "stock":
        named = _COUNT if path == "last_count" else _LOT if path.startswith("lots[") else named
        named = _OPEN if path.startswith("open[") else named
    return named


def _text(value: Any) -> str:
    if isinstance(value, _Missing):
        return ABSENT
    if isinstance(value, bytes):
        return _shortened(repr(value))
    return _shortened(orjson.dumps(value).decode())


def _shortened(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"
