"""Who gets what is scarce: sessions by need, then by start.

An item that does not suffice goes first to the sessions that cannot do without it, then to those for which another
item would do, then to those that may not need it at all:

``only``         the protocol's line is always given, and no other item that may fill it is there
``alternative``  another item that may fill the line, by the protocol and the site's preferences, is there
``optional``     the item is taken only if a PRN line is given, or as an extra (a second stick)
"""

from __future__ import annotations

from typing import Final

from planner.catalogue.index import Catalogue
from planner.catalogue.model import Line
from planner.catalogue.once import once
from planner.forecast.outlook import Floats, Outlook
from planner.messages import SessionNeed
from planner.site.state import Profile

NEEDS: Final[tuple[SessionNeed, ...]] = ("only", "alternative", "optional")
"""First come first."""


class Triage:
    """What sessions need of the items of a site's outlook."""

    def __init__(self, catalogue: Catalogue, site: str, outlook: Outlook) -> None:
        self._catalogue = catalogue
        self._site = site
        self._index = {item: row for row, item in enumerate(outlook.need.items)}
        self._usable = outlook.usable

    def need(self, profile: Profile, item: str, days: int) -> SessionNeed:
        """How much the sessions of a profile need an item, within the first ``days`` days."""
        moments = profile.items[item]
        if moments.certain <= 0:
            return "optional"
        others = _others(self._catalogue, self._site, profile.protocol, profile.protocol_version, item)
        return "alternative" if any(self._is_there(i, days) for i in others) else "only"

    def _is_there(self, item: str, days: int) -> bool:
        """Whether at least a container is left over on each of the days, after what is expected to be needed."""
        row = self._index.get(item)
        if row is None:
            return False
        left: Floats = self._usable[row, : max(days, 1)]
        return bool(left.min() >= 1)


@once
def _others(catalogue: Catalogue, site: str, protocol: str, version: int, item: str) -> frozenset[str]:
    """Other items that could fill all the lines of a session that may take the item."""
    component = catalogue.items[item].component if item in catalogue.items else None
    if component is None:
        return frozenset()
    found: set[str] | None = None
    for line in _lines(catalogue, protocol, version):
        choices = {choice.item for choice in catalogue.choices(site, line.component, line)}
        if line.component == component and item in choices:
            found = choices if found is None else found & choices
    if found is None:  # no line names it: a supply, which any item of its component can be
        found = {choice.item for choice in catalogue.choices(site, component)}
    return frozenset(found - {item})


def _lines(catalogue: Catalogue, protocol: str, version: int) -> tuple[Line, ...]:
    entry = catalogue.protocols.get(protocol)
    versions = () if entry is None else entry.versions
    return next((v.lines for v in versions if v.version == version), ())
