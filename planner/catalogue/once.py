"""What is worked out of a catalogue once, and shared by all who ask."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TypeVar, TypeVarTuple
from weakref import WeakKeyDictionary

from planner.catalogue.index import Catalogue

Of = TypeVarTuple("Of")
Found = TypeVar("Found")


def once(function: Callable[[Catalogue, *Of], Found]) -> Callable[[Catalogue, *Of], Found]:
    """Remember what a function gave for a catalogue and hashable arguments, as long as the catalogue is held. What it
    gives is shared, and not to be changed.
    """
    known: WeakKeyDictionary[Catalogue, dict[tuple[*Of], Found]] = WeakKeyDictionary()

    @wraps(function)
    def remembered(catalogue: Catalogue, /, *of: *Of) -> Found:
        of_catalogue = known.get(catalogue)
        if of_catalogue is None:
            of_catalogue = known[catalogue] = {}
        if of not in of_catalogue:
            of_catalogue[of] = function(catalogue, *of)
        return of_catalogue[of]

    return remembered
