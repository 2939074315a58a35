"""What must hold of a catalogue as a whole: one function per invariant, each returning the faults it finds.

``INVARIANTS`` is all of them; ``planner.catalogue.check`` runs them over a draft.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from planner.catalogue.draft import Draft
from planner.catalogue.faults import Fault
from planner.catalogue.invariants import codes, doses, entities, references, sites

Invariant = Callable[[Draft], Iterator[Fault]]

INVARIANTS: Final[tuple[Invariant, ...]] = (
    references.unique_ids,
    references.known_references,
    references.kits_without_cycles,
    references.kits_of_a_size,
    entities.known_facts,
    entities.contents_by_kind,
    entities.reachable_concentrations,
    entities.rising_tables,
    entities.versions_in_order,
    entities.unique_lines,
    entities.stated_parameters,
    doses.choices_of_the_component,
    doses.fluid_diluents,
    doses.convertible_doses,
    doses.unambiguous_volumes,
    doses.fillable_lines,
    doses.countable_supplies,
    codes.checked_codes,
    codes.unique_codes,
    sites.known_time_zones,
    sites.open_preferences,
    sites.kept_par_stock,
    sites.plausible_expectations,
)
