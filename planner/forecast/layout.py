"""Which rows a need has, in which order, and where each finds its figures among the slots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from planner.catalogue.index import Catalogue
from planner.catalogue.model import Item
from planner.forecast.outlook import SESSIONS, Floats, Key
from planner.forecast.rows import Rows, Slot, content_of


@dataclass(frozen=True, slots=True)
class Picked:
    """Slots to take from the accumulated moments; those that nothing has used yet have no number and are zero."""

    numbers: npt.NDArray[np.intp]
    unused: npt.NDArray[np.intp]

    def of(self, moments: Floats) -> Floats:
        """(kinds, days, slots) → (kinds, picked, days), contiguous."""
        taken = np.ascontiguousarray(moments[:, :, self.numbers].transpose(0, 2, 1))
        taken[:, self.unused] = 0.0
        return taken


@dataclass(frozen=True, slots=True)
class Pooled:
    """A multi-dose item: its row, its uses, and the totals (position, amount in a container) that it adds to."""

    row: int
    item: Item
    uses: Picked
    adds_to: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """The rows of a need for one tuple of items."""

    items: tuple[str, ...]
    picked: Picked
    container_ml: Floats
    """Content of a container by item; 1 where the item is counted in containers."""
    pooled: tuple[Pooled, ...]
    adds_to: tuple[tuple[tuple[int, float], ...], ...]
    """Of each item, the totals (position, amount in a container) that it adds to."""
    keys: tuple[Key, ...]
    picked_keys: Picked
    units: tuple[str, ...]
    scale: Floats


def lay_out(items: tuple[str, ...], site: str, catalogue: Catalogue, rows: Rows) -> Layout:
    """The layout for ``items`` of the catalogue, in their order; their groups and components in order of id."""
    entities = [catalogue.items[item] for item in items]
    groups = sorted({entity.group for entity in entities})
    components = sorted({entity.component for entity in entities})
    keys: list[Key] = [("group", group) for group in groups]
    keys += [("component", component) for component in components]
    keys.append(SESSIONS)
    position = {key: index for index, key in enumerate(keys)}
    contents = {component: content_of(catalogue, component) for component in components}
    adds_to = [
        (
            (position["group", entity.group], 1.0),
            (position["component", entity.component], contents[entity.component].amounts[entity.id]),
        )
        for entity in entities
    ]
    pooled = [
        Pooled(row, entity, _pick(rows, [("uses", entity.id)]), adds_to[row])
        for row, entity in enumerate(entities)
        if entity.counted_in == "mL"
    ]
    amounts = [contents[c].amounts[_first_item(catalogue, site, c, entities)] for c in components]
    return Layout(
        items=items,
        picked=_pick(rows, [("item", item) for item in items]),
        container_ml=np.array([float(e.content.value) if e.counted_in == "mL" else 1.0 for e in entities]),
        pooled=tuple(pooled),
        adds_to=tuple(adds_to),
        keys=tuple(keys),
        picked_keys=_pick(rows, keys),
        units=("containers",) * len(groups) + tuple(contents[c].unit for c in components) + ("sessions",),
        scale=np.array([1.0] * len(groups) + amounts + [1.0]),
    )


def _pick(rows: Rows, slots: Sequence[Slot | Key]) -> Picked:
    numbers = np.array([rows.slots.get((kind, name), -1) for kind, name in slots], dtype=np.intp)
    return Picked(numbers, np.flatnonzero(numbers < 0))


def _first_item(catalogue: Catalogue, site: str, component: str, entities: list[Item]) -> str:
    """The site's first choice for the component among ``entities``, of which some are the component's."""
    own = [entity.id for entity in entities if entity.component == component]
    chosen = (choice.item for choice in catalogue.choices(site, component))
    return next((item for item in chosen if item in own), own[0])
