"""A booking's own changes of its protocol's lines."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from planner.catalogue.index import Catalogue
from planner.catalogue.model import Dose, Line
from planner.events.bookings import AddLine, ChangeLine, Override, RemoveLine
from planner.refusal import Refused

ADDED = "added-"
"""Lines that a booking adds are named ``added-1``, ``added-2``, … in their order."""
_ROUTES: dict[str, Literal["infusion", "push", "supply"]] = {"drug": "push", "fluid": "infusion", "supply": "supply"}


def apply_overrides(catalogue: Catalogue, lines: Iterable[Line], overrides: Iterable[Override]) -> list[Line]:
    """The protocol's lines as the booking wants them; overrides apply in their order.

    A changed dose is the prescriber's own: it replaces the protocol's, its parameters and its maximum. An added
    drug is given as a push (drawn up, flushed, no bag), an added fluid as an infusion, a supply as it is.

    Raises:
        Refused: ``unknown-line``, ``unknown-component``.
    """
    wanted = {line.id: line for line in lines}
    added = 0
    for override in overrides:
        match override:
            case RemoveLine():
                _known(wanted, override.line)
                del wanted[override.line]
            case ChangeLine():
                line = _known(wanted, override.line)
                changes: dict[str, object] = {}
                if override.dose is not None:
                    changes["dose"] = Dose(fixed=override.dose)
                if override.probability is not None:
                    changes["probability"] = override.probability
                wanted[override.line] = line.model_copy(update=changes)
            case AddLine():
                added += 1
                name = f"{ADDED}{added}"
                wanted[name] = _added(catalogue, name, override)
    return list(wanted.values())


def _known(lines: dict[str, Line], name: str) -> Line:
    line = lines.get(name)
    if line is None:
        raise Refused("unknown-line", f"overrides: found line {name!r}; expected one of {', '.join(lines) or 'none'}")
    return line


def _added(catalogue: Catalogue, name: str, override: AddLine) -> Line:
    component = catalogue.components.get(override.component)
    if component is None:
        raise Refused(
            "unknown-component", f"overrides: found component {override.component!r}; expected one of the catalogue's"
        )
    # Built beside the validator: a protocol's own line may not have such a name.
    return Line.model_construct(
        id=name,
        component=component.id,
        dose=Dose(fixed=override.dose),
        route=_ROUTES[component.kind],
        probability=override.probability,
    )
