"""From lines to what a session needs of each item."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from fractions import Fraction
from weakref import WeakKeyDictionary

from planner.catalogue.index import Catalogue
from planner.events.bookings import Parameters
from planner.expansion.expand import expand
from planner.expansion.moments import as_decimal
from planner.messages import RequirementLine
from planner.site.state import Moments, Profile


def profile_of(
    expansion_id: str, lines: Iterable[RequirementLine], protocol: str, protocol_version: int, catalogue_version: str
) -> Profile:
    """Sum the lines of a requirement by item. Lines not taken from stock have no part.

    Exact: lines of different blocks (the part of ``line`` before the first dot) are independent. Lines of one block
    with probability p are all taken or all not: given that, they are independent, so two lines of the same item with
    means a and b have the covariance p·(a/p)·(b/p) − a·b = a·b·(1 − p)/p.
    """
    blocks: defaultdict[tuple[str, str], list[RequirementLine]] = defaultdict(list)
    for line in lines:
        if line.item is not None:
            blocks[line.item, line.line.partition(".")[0]].append(line)
    sums: dict[str, list[Fraction]] = {}
    for (item, _), block in blocks.items():
        total = sums.setdefault(item, [Fraction(0)] * 4)
        for index, value in enumerate(_block_moments(block)):
            total[index] += value
    items = {item: Moments(*(as_decimal(value) for value in total)) for item, total in sums.items()}
    return Profile(expansion_id, protocol, protocol_version, catalogue_version, items)


def _block_moments(block: list[RequirementLine]) -> tuple[Fraction, Fraction, Fraction, Fraction]:
    means = [Fraction(line.mean) for line in block]
    mean = sum(means, Fraction(0))
    variance = sum((Fraction(line.variance) for line in block), Fraction(0))
    probability = Fraction(block[0].probability)
    if 0 < probability < 1:
        pairs = mean**2 - sum((m**2 for m in means), Fraction(0))
        variance += pairs * (1 - probability) / probability
    maximum = sum((Fraction(line.maximum) for line in block), Fraction(0))
    certain = sum((Fraction(line.certain) for line in block), Fraction(0))
    return mean, variance, maximum, certain


def typical(catalogue: Catalogue, site_id: str, protocol_id: str, day: date) -> Profile | None:
    """What a session of a protocol that is not yet booked needs at a site on ``day``: that of the site's typical
    parameters (``ExpectedSessions.typical``).

    None: the site expects no sessions of the protocol, or no version is in force on that day.

    Raises:
        Refused: the typical parameters do not suffice for the protocol (a catalogue that passed its check has none
            such).
    """
    expected = next((e for e in catalogue.sites[site_id].expected_sessions if e.protocol == protocol_id), None)
    if expected is None:
        return None
    version = catalogue.protocol_version(protocol_id, day)
    if version is None:
        return None
    weight_kg, hours = expected.typical.get("weight_kg"), expected.typical.get("hours")
    known = _typical.setdefault(catalogue, {})
    key = (catalogue.alike[site_id], protocol_id, version.version, weight_kg, hours)
    found = known.get(key)
    if found is None:
        parameters = Parameters(weight_kg=weight_kg, hours=hours)
        expansion = expand(catalogue, site_id, protocol_id, version, parameters, ())
        found = known[key] = profile_of(
            expansion.expansion_id, expansion.lines, protocol_id, version.version, catalogue.version
        )
    return found


_typical: WeakKeyDictionary[Catalogue, dict[tuple[int, str, int, Decimal | None, Decimal | None], Profile]] = (
    WeakKeyDictionary()
)
"""A cache, as large as there are kinds of sites and protocols: sites alike share what is not to be changed."""
