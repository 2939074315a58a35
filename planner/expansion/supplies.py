"""Supplies of a line or a session: kits and their kits, the venipunctures, and what they take of each item.

All supplies of one *block* (a line, or the session) share that block's venipunctures, so an item that several of
them take is added up before moments are taken; given the number of venipunctures they are independent.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import NamedTuple

from planner.catalogue.index import Catalogue
from planner.catalogue.model import Item, ItemChoice, Line, Supply
from planner.expansion.moments import Taken, attempts
from planner.refusal import Refused

KITS_DEEP_MOST = 20
"""Kits within kits. A catalogue that passed its check has no cycle; the bound keeps a faulty one from hanging."""


def supplies_of(catalogue: Catalogue, kits: Iterable[str], depth: int = 0) -> Iterator[Supply]:
    """Every supply of ``kits`` and of the kits they contain; a kit named twice counts twice.

    Raises:
        Refused: ``kits-too-deep``.
    """
    if depth > KITS_DEEP_MOST:
        raise Refused("kits-too-deep", f"kits are nested more than {KITS_DEEP_MOST} deep; expected no cycle")
    for name in kits:
        kit = catalogue.kits[name]
        yield from kit.supplies
        yield from supplies_of(catalogue, kit.kits, depth + 1)


def kits_of_line(catalogue: Catalogue, line: Line, draws: str) -> list[str]:
    """The kits a line brings: its own, and by ``line_kits`` those of drawing it up and of its route.

    Once per line, however many containers are drawn: one syringe and needle serve them all. ``draws`` is the chosen
    item's (``none`` when nothing is drawn up here). An admixture is an infusion with a diluent, whether that is a
    bag of its own or the premix itself: both hang on a secondary set.
    """
    by_itself = catalogue.line_kits
    kits = list(line.kits)
    if draws == "vial":
        kits += by_itself.draws_vial
    elif draws == "ampule":
        kits += by_itself.draws_ampule
    if line.route == "push":
        kits += by_itself.push
    elif line.route == "infusion" and line.diluent is not None:
        kits += by_itself.admixture
    return kits


class SupplyTaken(NamedTuple):
    """What a block takes of one supply item."""

    component: str
    item: Item
    taken: Taken


def take_supplies(
    catalogue: Catalogue, site_id: str, first_stick_probability: Fraction, supplies: Iterable[Supply]
) -> list[SupplyTaken]:
    """What a block's supplies take, by item, in order of first mention. A quantity counts containers of the item.

    Raises:
        Refused: ``no-item-fits`` when every item of a component is passed over.
    """
    by_component: defaultdict[str, list[Supply]] = defaultdict(list)
    for supply in supplies:
        by_component[supply.component].append(supply)
    by_item: dict[str, tuple[str, list[Supply]]] = {}
    for component, wanted in by_component.items():
        most = take(wanted, first_stick_probability).maximum
        item = _choose(component, most, catalogue.choices(site_id, component))
        by_item.setdefault(item, (component, []))[1].extend(wanted)
    result = []
    for item, (component, wanted) in by_item.items():
        taken = take(wanted, first_stick_probability)
        if taken.maximum > 0:
            result.append(SupplyTaken(component, catalogue.items[item], taken))
    return result


def _choose(component: str, most: Fraction, choices: Iterable[ItemChoice]) -> str:
    """The first item whose ``up_to_containers`` admits the most that may be taken (pieces are always ``exact``)."""
    passed_over = []
    for choice in choices:
        if choice.up_to_containers is None or most <= choice.up_to_containers:
            return choice.item
        passed_over.append(f"{choice.item} is for up to {choice.up_to_containers}, and {most} may be taken")
    raise Refused("no-item-fits", f"supply {component}: {'; '.join(passed_over) or 'no item fills it'}")


def take(supplies: Iterable[Supply], first_stick_probability: Fraction) -> Taken:
    """The sum of supplies that share their venipunctures: exact, by the law of total variance.

    Given n venipunctures a supply takes ``quantity`` (× n if ``per_attempt``), one more with ``extra_probability``,
    and one more with ``extra_per_restick`` if n > 1 (once, however often it had to be repeated).
    """
    listed = list(supplies)
    mean = second = maximum = Fraction(0)
    for number, chance in attempts(first_stick_probability):
        fixed = Fraction(sum(s.quantity * (number if s.per_attempt else 1) for s in listed))
        extras = [Fraction(s.extra_probability) for s in listed if s.extra_probability]
        if number > 1:
            extras += [Fraction(s.extra_per_restick) for s in listed if s.extra_per_restick]
        mean_given = fixed + sum(extras)
        variance_given = sum((e * (1 - e) for e in extras), Fraction(0))
        mean += chance * mean_given
        second += chance * (variance_given + mean_given**2)
        maximum = max(maximum, fixed + len(extras))
    certain = Fraction(sum(s.quantity for s in listed))
    return Taken(mean, second - mean**2, maximum, certain)
