"""What the end of a site's day teaches about use: sessions, dispenses, waste and counts of the settled days."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

import numpy as np

from planner.catalogue.index import Catalogue
from planner.catalogue.model import ContainerUse
from planner.learning.use import Expected
from planner.learning.using import DayUse, content
from planner.site.state import SiteState
from planner.site.touched import Touched

DAYS_MOST = 400


def close_day(state: SiteState, catalogue: Catalogue, touched: Touched) -> None:
    """The site's day is over: learn from the days that the learned book has settled."""
    learned = state.learned
    using, last = learned.using, learned.running.settled
    first = max((using.settled or last - 1) + 1, last - DAYS_MOST + 1)
    for day in sorted({*range(first, last + 1), *(day for day in using.days if day <= last)}):
        _learn(state, catalogue, day, using.take(day))
    touched.learned.update(("using", "use", "other"))


def realised_use(state: SiteState, catalogue: Catalogue, day: int) -> dict[str, float]:
    """Containers that left the shelf for sessions, in the process or unexplained on a day (ordinal) that is not learned
    from yet, by item, as far as it is told.

    Of sessions whose use nobody told it is the expected one, corrected by what counts have taught. What counts do not
    find belongs to no day; its daily mean is added to a day that is settled, so that what is said here is what the need
    foretells.
    """
    learned, site = state.learned, catalogue.sites[state.site]
    record = learned.using.days.get(day, DayUse())
    used: dict[str, float] = {}
    amounts = record.dispensed if site.consumption == "dispensed" else _of_sessions(state, record)
    for item, amount in amounts.items():
        entry = catalogue.items.get(item)
        if entry is not None and entry.use is not ContainerUse.MULTI_DOSE:
            used[item] = amount
    if site.consumption == "completions":
        for item, amount in record.other.items():
            entry = catalogue.items.get(item)
            if entry is not None and entry.use is not ContainerUse.MULTI_DOSE:
                used[item] = used.get(item, 0.0) + amount
    for item, amount in record.opened.items():
        used[item] = used.get(item, 0.0) + amount
    for item, (amount, _) in record.wasted.items():
        used[item] = used.get(item, 0.0) + amount
    if day <= learned.running.settled and date.fromordinal(day) not in site.closed_on:
        for item, missing in learned.other.missing.items():
            used[item] = used.get(item, 0.0) + missing.expected().mean
    return {item: amount for item, amount in used.items() if amount > 0}


def _of_sessions(state: SiteState, record: DayUse) -> dict[str, float]:
    """Told use, and of the others the presumed one, in what the items are counted in."""
    used: dict[str, float] = {}
    for profile, number in record.sessions.items():
        known = state.profiles.get(profile)
        for item, moments in known.items.items() if known is not None else ():
            used[item] = used.get(item, 0.0) + number * float(moments.mean)
    for item, expected in used.items():
        told = record.told.get(item)
        a, e = (0.0, 0.0) if told is None else (told[1], told[2])
        used[item] = a + max(expected - e, 0.0) * state.learned.use.presumed(item)
    return used


def _learn(state: SiteState, catalogue: Catalogue, day: int, record: DayUse) -> None:
    use, other = state.learned.use, state.learned.other
    site = catalogue.sites[state.site]
    use.age()
    unexplained = dict(record.other)
    if site.consumption == "completions":
        use.learn(use.expect(record.sessions, state.profiles, day), record.told)
    else:
        expected = use.expect(_with_untold(state, catalogue, day, record.sessions), state.profiles, day)
        use.learn_days(expected, record.dispensed, _unclear(state, catalogue))
        for item, containers in _beside_sessions(catalogue, record, expected, use.items).items():
            unexplained[item] = unexplained.get(item, 0.0) + containers
    for item, (containers, squares) in record.wasted.items():
        entry = catalogue.items.get(item)
        if entry is not None and use.uses(item):
            size = content(entry)
            use.learn_waste(item, containers * size, squares * size * size)
        else:
            unexplained[item] = unexplained.get(item, 0.0) + containers
    known = {item: amount for item, amount in unexplained.items() if item in catalogue.items}
    other.close_day(day, known, is_open=date.fromordinal(day) not in site.closed_on)
    _learn_counts(state, catalogue, day, record)


def _with_untold(state: SiteState, catalogue: Catalogue, day: int, sessions: Mapping[str, int]) -> dict[str, float]:
    """Sessions of the day by profile; those of which nobody told how they ended took place as often as the policy
    says of a session on its day."""
    result = {profile: float(number) for profile, number in sessions.items()}
    kept = float(catalogue.policy_of(state.site).keep_probability[0].value)
    arrived = state.arrived.get(day, {})
    for (_, profile), number in sorted(state.demand.get(day, {}).items()):
        result[profile] = result.get(profile, 0.0) + number * kept
    for profile, number in arrived.items():
        result[profile] = result.get(profile, 0.0) + number * (1 - kept)
    return result


def _unclear(state: SiteState, catalogue: Catalogue) -> list[str]:
    """Multi-dose items whose dispenses do not tell what sessions use."""
    by = state.learned.using.dispensed_by
    items = [catalogue.items[item] for item in state.learned.use.items if item in catalogue.items]
    return [item.id for item in items if item.use is ContainerUse.MULTI_DOSE and by.get(item.id) != "volume"]


def _beside_sessions(catalogue: Catalogue, record: DayUse, expected: Expected, items: list[str]) -> dict[str, float]:
    """Containers dispensed on a day of which no session was to use any."""
    asked = {items[at] for at in np.flatnonzero(expected.e > 0).tolist()}
    return {
        item: amount / content(catalogue.items[item])
        for item, amount in record.dispensed.items()
        if item not in asked and item in catalogue.items
    }


def _learn_counts(state: SiteState, catalogue: Catalogue, day: int, record: DayUse) -> None:
    """What counts of the day did not find: use that was presumed too low, and, beyond the tolerance, other use."""
    using = state.learned.using
    missing = {item: (amount, record.tolerance[item]) for item, amount in record.found.items()}
    for item in [item for item, counted in using.counted.items() if counted <= day]:
        del using.counted[item]
        stock = state.stock.get(item)
        if stock is not None and stock.last_count is not None:
            before = missing.get(item, (0.0, 0.0))[0]
            found = count_finding(catalogue, state.site, stock.last_count.expected, stock.last_count.counted)
            missing[item] = before + found[0], found[1]
    for item, (containers, tolerance) in missing.items():
        _learn_count(state, catalogue, item, containers, tolerance)


def _learn_count(state: SiteState, catalogue: Catalogue, item: str, missing: float, tolerance: float) -> None:
    use, other = state.learned.use, state.learned.other
    days = other.begin_counts(item)
    if days is None or item not in catalogue.items:
        # nobody knows how long the shelf had been different, or since when
        use.first_count(item)
        return
    entry = catalogue.items[item]
    if entry.use is ContainerUse.MULTI_DOSE:
        # the books tell mL, a count containers: what is open lies between
        use.first_count(item)
        rest = missing
    else:
        rest = use.learn_count(item, missing)
    other.miss(item, rest if abs(rest) > tolerance else 0.0, days)


def count_finding(catalogue: Catalogue, site: str, expected: int, counted: int) -> tuple[float, float]:
    """Containers that a count did not find (negative: found more), and how many the policy lets pass."""
    policy = catalogue.policy_of(site)
    tolerance = max(float(policy.count_tolerance_containers), float(policy.count_tolerance_fraction) * expected)
    return float(expected - counted), tolerance
