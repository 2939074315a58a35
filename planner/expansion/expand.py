"""Expansion: a booking becomes the lines that its session takes from stock.

A protocol line gives a *block* of requirement lines: the drug itself (``magnesium``), its bag
(``magnesium.diluent``) and its supplies (``magnesium.syringe-10ml``). The session's own kits make one more block
(``session.…``). Blocks are independent of one another; within a PRN block everything hangs on one question, whether
the line is given, so its lines share their ``probability`` (see ``planner.expansion.profile``).

What is exact: doses, roundings to whole containers (each line rounds by itself, inside the expectation), means,
variances and maxima. Volumes of multi-dose containers that no decimal number expresses are rounded to 12 decimals.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from hashlib import blake2b
from typing import Any, Literal

import orjson

from planner.catalogue.index import Catalogue
from planner.catalogue.model import Item, Line, ProtocolVersion
from planner.events.bookings import Override, Parameters
from planner.expansion.dose import Amount, Filled, check_parameters, dose_of, fill, require_parameter
from planner.expansion.moments import NOTHING, Taken, as_decimal
from planner.expansion.overrides import apply_overrides
from planner.expansion.supplies import SupplyTaken, kits_of_line, supplies_of, take_supplies
from planner.messages import RequirementLine

SESSION = "session"
"""The block of the session's own supplies; no protocol line has this id."""

SupplyMode = Literal["stocked", "pharmacy-made", "externally-compounded"]

_DIGEST_BYTES = 12
_NOT_TAKEN = ("dose", "waste")
"""Fields of a line that say nothing of what leaves the shelf, and are no part of ``expansion_id``."""


@dataclass(frozen=True, slots=True)
class Expansion:
    """What a session takes.

    ``expansion_id``: digest of the protocol's version and of what the lines take from stock. Equal lines give an
    equal id; lines that differ only in doses that round to the same containers do too, so that bookings by weight
    share their profile. ``lines_json``: the lines as a JSON array, to be spliced into a message.
    """

    lines: tuple[RequirementLine, ...]
    expansion_id: str
    lines_json: bytes


def expand(  # noqa: PLR0917 (what an expansion depends on, all of it)
    catalogue: Catalogue,
    site_id: str,
    protocol_id: str,
    version: ProtocolVersion,
    parameters: Parameters,
    overrides: tuple[Override, ...],
) -> Expansion:
    """Expand a booking of ``version`` of a protocol at a site. Pure and deterministic.

    A line that is not stocked here (``supply_mode``) is reported without item and takes nothing: it comes ready
    made, so it brings no diluent and nothing to draw it up with, but still what it is given with.

    Raises:
        Refused: ``missing-parameter``, ``parameter-out-of-range``, ``unknown-line``, ``unknown-component``,
            ``unit-mismatch``, ``no-item-fits``, ``dose-out-of-range``, ``kits-too-deep``.
        KeyError: the site is not in the catalogue (its caller has checked it).
    """
    check_parameters(parameters)
    for name in version.parameters:
        require_parameter(parameters, name, f"protocol {protocol_id}")
    first_stick = Fraction(catalogue.sites[site_id].first_stick_probability)
    lines: list[RequirementLine] = []
    for line in apply_overrides(catalogue, version.lines, overrides):
        lines += _block(catalogue, site_id, line, parameters, first_stick)
    for supply in take_supplies(catalogue, site_id, first_stick, supplies_of(catalogue, version.session_kits)):
        lines.append(_supply_line(SESSION, supply, Fraction(1)))
    return _expansion(protocol_id, version.version, lines)


def _block(
    catalogue: Catalogue, site_id: str, line: Line, parameters: Parameters, first_stick: Fraction
) -> Iterator[RequirementLine]:
    """The lines of one protocol line; all of them are taken if and only if it is given."""
    component = catalogue.components[line.component]
    dose = dose_of(line.id, line.dose, parameters, component)
    probability = Fraction(1) if line.probability is None else Fraction(line.probability)
    draws = "none"
    if line.supply_mode == "stocked":
        lost = Amount.of(line.waste) if line.waste is not None else None
        choices = catalogue.choices(site_id, line.component, line)
        filled = fill(catalogue, line.id, component, dose, lost=lost, choices=choices)
        draws = filled.item.draws
        yield _filled_line(line.id, line.component, filled, dose, probability)
        if line.diluent is not None and not filled.item.replaces_diluent:
            name = f"{line.id}.diluent"
            fluid = catalogue.components[line.diluent.component]
            volume = Amount.of(line.diluent.volume)
            bags = fill(catalogue, name, fluid, volume, choices=catalogue.choices(site_id, fluid.id))
            yield _filled_line(name, fluid.id, bags, volume, probability)
    else:
        yield _stated(line.id, line.component, None, probability, NOTHING, dose=dose, supply_mode=line.supply_mode)
    # A supply per venipuncture in a line's own kits means that the line has a venipuncture of its own.
    supplies = supplies_of(catalogue, kits_of_line(catalogue, line, draws))
    for supply in take_supplies(catalogue, site_id, first_stick, supplies):
        yield _supply_line(line.id, supply, probability)


def _filled_line(name: str, component: str, filled: Filled, dose: Amount, probability: Fraction) -> RequirementLine:
    taken = Taken.exactly(filled.amount).with_probability(probability)
    return _stated(name, component, filled.item, probability, taken, dose=dose, waste=probability * filled.waste)


def _supply_line(block: str, supply: SupplyTaken, probability: Fraction) -> RequirementLine:
    taken = supply.taken.with_probability(probability)
    return _stated(f"{block}.{supply.component}", supply.component, supply.item, probability, taken)


def _stated(
    name: str,
    component: str,
    item: Item | None,
    probability: Fraction,
    taken: Taken,
    *,
    dose: Amount | None = None,
    waste: Fraction = Fraction(0),
    supply_mode: SupplyMode = "stocked",
) -> RequirementLine:
    return RequirementLine(
        line=name,
        component=component,
        item=None if item is None else item.id,
        supply_mode=supply_mode,
        dose=None if dose is None else dose.reported(),
        probability=as_decimal(probability),
        unit="containers" if item is None else item.counted_in,
        mean=as_decimal(taken.mean),
        variance=as_decimal(taken.variance),
        maximum=as_decimal(taken.maximum),
        certain=as_decimal(taken.certain),
        waste=as_decimal(waste),
    )


def _expansion(protocol_id: str, version: int, lines: list[RequirementLine]) -> Expansion:
    # What is absent from a line's JSON has the model's default; decimals travel as text, never as binary floats.
    stated = [line.model_dump(mode="json", exclude_defaults=True) for line in lines]
    taken = [{name: value for name, value in line.items() if name not in _NOT_TAKEN} for line in stated]
    identity: list[Any] = [protocol_id, version, taken]
    digest = blake2b(orjson.dumps(identity), digest_size=_DIGEST_BYTES).hexdigest()
    return Expansion(tuple(lines), digest, orjson.dumps(stated))
