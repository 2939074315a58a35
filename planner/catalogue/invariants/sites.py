"""Sites: a known time zone, preferences that leave a choice, and expectations that can be expanded."""

from __future__ import annotations

from collections.abc import Iterator
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from planner.catalogue.draft import Draft
from planner.catalogue.faults import Fault, known_name
from planner.catalogue.invariants.entities import parameters_of


def known_time_zones(draft: Draft) -> Iterator[Fault]:
    """A site's time zone is an IANA name such as America/Chicago."""
    for placed in draft.sites:
        name = placed.entity.timezone
        if not _is_zone(name):
            yield placed.fault(("timezone",), name, known_name("an IANA time zone", name, available_timezones()))


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # unknown; a path or NUL; a folder such as "America"
        return False
    return True


def open_preferences(draft: Draft) -> Iterator[Fault]:
    """A preference leaves at least one item: an empty one would close the component at the site."""
    for placed in draft.sites:
        for component, choices in placed.entity.preferences.items():
            if not choices:
                wanted = f"at least one item: nothing would fill {component} here"
                yield placed.fault(("preferences", component), "(none)", wanted)


def kept_par_stock(draft: Draft) -> Iterator[Fault]:
    """A component's par stock is stated once."""
    for placed in draft.sites:
        seen: set[str] = set()
        for index, par in enumerate(placed.entity.par_stock):
            if par.component in seen:
                yield placed.fault(("par_stock", index, "component"), par.component, "each component once")
            seen.add(par.component)


def plausible_expectations(draft: Draft) -> Iterator[Fault]:
    """Expected sessions are of protocols given at the site, once each, with the parameters that those take."""
    for placed in draft.sites:
        site, seen = placed.entity, set()
        for index, expected in enumerate(site.expected_sessions):
            path = ("expected_sessions", index)
            protocol = draft.protocol.get(expected.protocol)
            if protocol and site.protocols is not None and expected.protocol not in site.protocols:
                yield placed.fault((*path, "protocol"), expected.protocol, "a protocol that the site gives (protocols)")
            if expected.protocol in seen:
                yield placed.fault((*path, "protocol"), expected.protocol, "each protocol once")
            seen.add(expected.protocol)
            missing = (parameters_of(protocol) if protocol else set()) - set(expected.typical)
            if missing:
                wanted = f"typical values of {', '.join(sorted(missing))}: {expected.protocol} takes them"
                yield placed.fault((*path, "typical"), dict(expected.typical) or None, wanted)
