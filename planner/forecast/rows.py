"""Profiles as sparse rows of floats over slots: items, uses of multi-dose items, groups, components.

Everything that a forecast adds up over sessions has a slot. The moments of a session's groups and components are
summed within the session first (given that it takes place, its items' uses are taken as independent), so that the
variance that comes from the session's taking place at all is counted on the sum. What a site has learned of an item's
use scales its moments before anything is summed, so that groups and components carry it as well.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from planner.catalogue.amounts import containers_per
from planner.catalogue.index import Catalogue
from planner.catalogue.once import once
from planner.forecast.outlook import SESSIONS, Floats
from planner.site.state import Moments, Profile
from planner.units import Unit, UnitError

Slot = tuple[Literal["item", "uses", "group", "component", "sessions"], str]
_COMPONENT_UNITS = (Unit.MG, Unit.MEQ, Unit.MMOL, Unit.UNIT, Unit.ML, Unit.EACH)
_PRUNE_BEYOND = 64


class Row(NamedTuple):
    """Moments of one session by slot; arrays of one length, each slot at most once."""

    slots: npt.NDArray[np.intp]
    mean: Floats
    variance: Floats


class Content(NamedTuple):
    """The unit in which a component's total is told, and the amount in a container of each of its items."""

    unit: str
    amounts: dict[str, float]


@once
def content_of(catalogue: Catalogue, component: str) -> Content:
    """How a component's total is counted: the first unit that all its items' contents can be told in.

    Where there is none (a powder without concentration beside a liquid), in containers.
    """
    entity = catalogue.components[component]
    items = [item for item in catalogue.items.values() if item.component == component]
    for unit in _COMPONENT_UNITS:
        try:
            return Content(unit.value, {i.id: float(1 / containers_per(i, entity, unit)) for i in items})
        except UnitError:
            continue  # not every item's content meets this unit: the next one
    return Content("containers", {item.id: 1.0 for item in items})


class Rows:
    """Rows of the profiles of one catalogue. Slots are numbered as they appear and never move."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._rows: dict[str, Row] = {}
        self._made_of: dict[str, dict[str, Moments]] = {}
        self._factors: dict[str, tuple[float, float, float]] = {}
        self._slot_arrays: dict[tuple[int, ...], npt.NDArray[np.intp]] = {}
        self.slots: dict[Slot, int] = {}

    def slot(self, slot: Slot) -> int:
        """The number of a slot; a new one is numbered next."""
        return self.slots.setdefault(slot, len(self.slots))

    def of(self, profile: Profile) -> Row:
        """The profile's row. Items that the catalogue does not know are left out."""
        row = self._rows.get(profile.id)
        if row is None:
            row = self._rows[profile.id] = self._row(profile)
            self._made_of[profile.id] = profile.items
        return row

    @property
    def scaled(self) -> Collection[str]:
        """Items of which sessions use something else than their profiles say."""
        return self._factors.keys()

    def scale(self, factors: dict[str, tuple[float, float, float]]) -> None:
        """What sessions use is from now on (f, g, a): mean × f, variance × g + mean × a, for the items named.

        Rows that this changes are forgotten, and made again when they are asked for.
        """
        before, self._factors = self._factors, factors
        changed = {item for item in before.keys() | factors if before.get(item) != factors.get(item)}
        if changed:
            for key in [key for key, items in self._made_of.items() if not changed.isdisjoint(items)]:
                del self._rows[key], self._made_of[key]

    def prune(self, live: Iterable[str]) -> None:
        """Forget rows of other profiles than ``live``, when they are the greater part."""
        live = set(live)
        if len(self._rows) > 2 * len(live) + _PRUNE_BEYOND:
            self._rows = {key: row for key, row in self._rows.items() if key in live}
            self._made_of = {key: items for key, items in self._made_of.items() if key in live}

    def _row(self, profile: Profile) -> Row:
        sums: dict[int, tuple[float, float]] = {}

        def add(slot: Slot, mean: float, variance: float) -> None:
            number = self.slot(slot)
            before = sums.get(number, (0.0, 0.0))
            sums[number] = (before[0] + mean, before[1] + variance)

        for item_id in sorted(profile.items):
            item = self._catalogue.items.get(item_id)
            if item is None:
                continue
            mean, variance = float(profile.items[item_id].mean), float(profile.items[item_id].variance)
            if item_id in self._factors:
                on_mean, on_variance, added = self._factors[item_id]
                mean, variance = mean * on_mean, variance * on_variance + mean * added
            add(("item", item_id), mean, variance)
            if item.counted_in == "mL":
                # P(any use) ≥ E[X]² / E[X²] (Cauchy–Schwarz), with equality where the dose, if given, is fixed
                uses = mean * mean / (mean * mean + variance) if mean > 0 else 0.0
                add(("uses", item_id), uses, uses * (1 - uses))
            else:
                amount = content_of(self._catalogue, item.component).amounts[item_id]
                add(("group", item.group), mean, variance)
                add(("component", item.component), mean * amount, variance * amount * amount)
        add(SESSIONS, 1.0, 0.0)
        slots = tuple(sums)
        shared = self._slot_arrays.setdefault(slots, np.array(slots, dtype=np.intp))
        return Row(shared, np.array([sums[s][0] for s in slots]), np.array([sums[s][1] for s in slots]))
