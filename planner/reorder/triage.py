"""Who gets what is scarce: sessions by need, then by start.

An item that does not suffice goes first to the sessions that cannot do without it, then to those for which another
item would do, then to those that may not need it at all:

``only``         the protocol's line is always given, and no other item that may fill it is there
``alternative``  another item that may fill the line, by the protocol and the site's preferences, is there
``optional``     the item is taken only if a PRN line is given, or as an extra (a second stick)
"""

from __future__ import annotations

from typing import Final
from weakref import WeakKeyDictionary

from planner.catalogue.index import Catalogue
from planner.catalogue.model import Line
from planner.forecast.outlook import Floats, Outlook
from planner.messages import SessionNeed
from planner.site.state import Profile

NEEDS: Final[tuple[SessionNeed, ...]] = ("only", "alternative", "optional")
"""First come first."""


_others: WeakKeyDictionary[Catalogue, dict[tuple[str, str, int, str], frozenset[str]]] = WeakKeyDictionary()
"""By site, protocol, its version and item. A cache only: a function of the catalogue."""


class Triage:
    """What sessions need of the items of a site's outlook."""

    def __init__(self, catalogue: Catalogue, site: str, outlook: Outlook) -> None:
        self._catalogue = catalogue
        self._site = site
        self._index = {item: row for row, item in enumerate(outlook.need.items)}
        self._usable = outlook.usable
        self._known = _others.setdefault(catalogue, {})

    def need(self, profile: Profile, item: str, days: int) -> SessionNeed:
        """How much the sessions of a profile need an item, within the first ``days`` days."""
        moments = profile.items[item]
        if moments.certain <= 0:
            return "optional"
        return "alternative" if any(self._is_there(i, days) for i in self._others(profile, item)) else "only"

    def _is_there(self, item: str, days: int) -> bool:
        """Whether at least a container is left over on each of the days, after what is expected to be needed."""
        row = self._index.get(item)
        if row is None:
            return False
        left: Floats = self._usable[row, : max(days, 1)]
        return bool(left.min() >= 1)

    def _others(self, profile: Profile, item: str) -> frozenset[str]:
        """Other items that could fill all the lines of the session that may take the item."""
        key = self._site, profile.protocol, profile.protocol_version, item
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = frozenset(self._found(profile, item))
        return known

    def _found(self, profile: Profile, item: str) -> set[str]:
        component = self._catalogue.items[item].component if item in self._catalogue.items else None
        if component is None:
            return set()
        found: set[str] | None = None
        for line in self._lines(profile):
            choices = {choice.item for choice in self._catalogue.choices(self._site, line.component, line)}
            if line.component == component and item in choices:
                found = choices if found is None else found & choices
        if found is None:  # no line names it: a supply, which any item of its component can be
            found = {choice.item for choice in self._catalogue.choices(self._site, component)}
        return found - {item}

    def _lines(self, profile: Profile) -> tuple[Line, ...]:
        protocol = self._catalogue.protocols.get(profile.protocol)
        versions = () if protocol is None else protocol.versions
        return next((v.lines for v in versions if v.version == profile.protocol_version), ())
