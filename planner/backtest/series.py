"""What is scored: sessions, or the use of an item, a group or a component; and how a session's items add up to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Final, Literal, NamedTuple, cast

import numpy as np

from planner.backtest.faults import CannotTest
from planner.catalogue.index import Catalogue
from planner.forecast.outlook import Floats
from planner.forecast.rows import content_of
from planner.site.state import Profile

SeriesKind = Literal["sessions", "item", "group", "component"]

SESSIONS: Final = "sessions"
_NAMED: Final = ("item", "group", "component")
"""In the order in which an id without its kind is looked for."""


class Series(NamedTuple):
    """A series: ``sessions``, or the id of an item, group or component."""

    kind: SeriesKind
    id: str
    unit: str
    name: str
    """As it was asked for: what it is called in tables and files."""


def find_series(catalogue: Catalogue, name: str) -> Series:
    """The series called ``name``: ``sessions``, an id (of an item, else a group, else a component), or ``kind:id``.

    Raises:
        CannotTest: there is none.
    """
    if name == SESSIONS:
        return Series("sessions", SESSIONS, "sessions", name)
    prefix, separator, rest = name.partition(":")
    kinds = [kind for kind in _NAMED if kind == prefix] if separator else list(_NAMED)
    wanted = rest if separator else name
    known = {
        "item": catalogue.items.keys(),
        "group": catalogue.groups.keys(),
        "component": catalogue.components.keys(),
    }
    for kind in kinds:
        if wanted in known[kind]:
            unit = content_of(catalogue, wanted).unit if kind == "component" else "containers"
            return Series(cast(SeriesKind, kind), wanted, unit, name)
    raise CannotTest(
        f"series: found {name!r}; expected {SESSIONS}, or the id of an item, group or component of the catalogue"
        " (item:ID, group:ID or component:ID where one id is several)"
    )


class Weights:
    """How much of each series a container of an item is; 0 for series that it is no part of."""

    def __init__(self, catalogue: Catalogue, series: Sequence[Series]) -> None:
        self._catalogue = catalogue
        self._series = tuple(series)
        self._of_item: dict[str, Floats | None] = {}
        self._of_profile: dict[str, Floats] = {}
        self._of_session = np.array([float(one.kind == "sessions") for one in self._series])

    def of_container(self, item_id: str) -> Floats | None:
        """By series, shape (series,); None: the item is in none of them, or not in the catalogue."""
        if item_id not in self._of_item:
            self._of_item[item_id] = self._container(item_id)
        return self._of_item[item_id]

    def of_use(self, containers: Mapping[str, float]) -> Floats:
        """A session that takes place and uses so many containers of each item; shape (series,)."""
        total = self._of_session.copy()
        for item_id, amount in containers.items():
            weight = self.of_container(item_id)
            if weight is not None:
                total += amount * weight
        return total

    def of_profile(self, profile: Profile) -> Floats:
        """What a session of the profile is expected to use; multi-dose items as a part of their content."""
        found = self._of_profile.get(profile.id)
        if found is None:
            expected = {item: float(moments.mean / self.size(item)) for item, moments in profile.items.items()}
            found = self._of_profile[profile.id] = self.of_use(expected)
        return found

    def size(self, item_id: str) -> Decimal:
        """What a container is in the unit in which sessions count the item: mL of a multi-dose one, else 1."""
        item = self._catalogue.items.get(item_id)
        return item.content.value if item is not None and item.counted_in == "mL" else Decimal(1)

    def _container(self, item_id: str) -> Floats | None:
        item = self._catalogue.items.get(item_id)
        if item is None:
            return None
        weights = np.zeros(len(self._series))
        for at, one in enumerate(self._series):
            if (one.kind, one.id) in {("item", item_id), ("group", item.group)}:
                weights[at] = 1.0
            elif (one.kind, one.id) == ("component", item.component):
                weights[at] = content_of(self._catalogue, item.component).amounts[item_id]
        return weights if weights.any() else None
