"""The catalogue in force, indexed: what every step asks of it, answered by id."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from datetime import date, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from planner.catalogue.digest import digest
from planner.catalogue.model import (
    Bundle,
    Item,
    ItemChoice,
    Line,
    Policy,
    ProtocolVersion,
    Site,
    Supplier,
)

_NOT_EXPANDED: Final = {
    "item": {
        "name", "facts", "group", "pack", "codes", "atc", "storage", "protect_from_light", "shelf_life_days",
        "controlled_schedule", "hazardous", "supplier", "lead_time_days", "minimum_order", "multiple", "price",
        "currency", "service_level",
    },
    "named": {"name", "facts"},
}  # fmt: skip
"""Fields that no expansion can depend on: a change of them moves no ``definition_digest``."""


def narrowed(preferred: tuple[ItemChoice, ...], allowed: tuple[ItemChoice, ...] | None) -> tuple[ItemChoice, ...]:
    """A site's preference, as far as a line allows it: all of it when the line says nothing, else what both name;
    if they name nothing together, what the line allows."""
    if allowed is None:
        return preferred
    names = {choice.item for choice in allowed}
    return tuple(choice for choice in preferred if choice.item in names) or allowed


def _steering(site: Site) -> Hashable:
    """What of a site an expansion depends on."""
    return site.first_stick_probability, tuple(sorted(site.preferences.items()))


class Catalogue:
    """A bundle that passed ``check``, by id. Immutable.

    Lookups of an unknown id raise ``KeyError``: whoever has an id from outside asks ``in`` first.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self.version = bundle.version
        self.groups = {entity.id: entity for entity in bundle.groups}
        self.components = {entity.id: entity for entity in bundle.components}
        self.items = {entity.id: entity for entity in bundle.items}
        self.kits = {entity.id: entity for entity in bundle.kits}
        self.line_kits = bundle.line_kits
        self.protocols = {entity.id: entity for entity in bundle.protocols}
        self.suppliers = {entity.id: entity for entity in bundle.suppliers}
        self.sites = {entity.id: entity for entity in bundle.sites}
        self.policies = {entity.id: entity for entity in bundle.policies}
        self._zones = {site.id: ZoneInfo(site.timezone) for site in bundle.sites}
        self._versions = {
            protocol.id: tuple(sorted(protocol.versions, key=lambda version: version.effective_from))
            for protocol in bundle.protocols
        }
        self._digests: dict[tuple[str, frozenset[str]], str] = {}
        numbers: dict[Hashable, int] = {}
        self.alike = {site.id: numbers.setdefault(_steering(site), len(numbers)) for site in bundle.sites}
        """Site → a number that it shares with those at which every expansion is the same."""

    def protocol_version(self, protocol_id: str, day: date) -> ProtocolVersion | None:
        """What the protocol says on a site's ``day``: its last version that has begun, unless that one has ended."""
        in_force: ProtocolVersion | None = None
        for version in self._versions[protocol_id]:
            if version.effective_from > day:
                break
            in_force = version
        if in_force is None or (in_force.effective_to is not None and day > in_force.effective_to):
            return None
        return in_force

    def next_change(self, protocol_id: str, day: date) -> date | None:
        """The first day after ``day`` on which another version, or none, may be in force; None: there is none."""
        changes = (
            change
            for version in self._versions[protocol_id]
            for change in (version.effective_from, version.effective_to and version.effective_to + timedelta(days=1))
            if change is not None and change > day
        )
        return min(changes, default=None)

    def choices(self, site_id: str, component_id: str, line: Line | None = None) -> tuple[ItemChoice, ...]:
        """Items that may fill a component at a site, first choice first.

        The component's ``filled_by``, unless the site prefers otherwise. A line's own ``items`` say what may be
        used there at all; the site's preference then orders and narrows them, as far as it names any of them.
        """
        preferred = self.sites[site_id].preferences.get(component_id)
        allowed = line.items if line is not None else None
        if allowed is None:
            return preferred if preferred is not None else self.components[component_id].filled_by
        return allowed if preferred is None else narrowed(preferred, allowed)

    def zone(self, site_id: str) -> ZoneInfo:
        """The site's time zone."""
        return self._zones[site_id]

    def site_day(self, site_id: str, instant: datetime) -> date:
        """The site's day at ``instant`` (aware)."""
        return instant.astimezone(self._zones[site_id]).date()

    def policy_of(self, site_id: str) -> Policy:
        """The policy the site follows."""
        return self.policies[self.sites[site_id].policy]

    def supplier_of(self, item_id: str) -> Supplier:
        """Who delivers the item."""
        return self.suppliers[self.items[item_id].supplier]

    def lead_time_days(self, item_id: str) -> int:
        """Calendar days from order to shelf after which it is late by any standard: as stated, plus the allowance."""
        return self.stated_lead_days(item_id) + self.supplier_of(item_id).late_allowance_days

    def stated_lead_days(self, item_id: str) -> int:
        """Calendar days from order to shelf, as stated: the item's, or else its supplier's."""
        stated = self.items[item_id].lead_time_days
        return self.supplier_of(item_id).lead_time_days if stated is None else stated

    def definition_digest(self, protocol_id: str, added: Iterable[str] = ()) -> str:
        """Digest of all that an expansion of the protocol can depend on, at any site.

        Its versions, their components with every item that may fill them, the kits by all their ways, the kits of
        lines, and of each site what steers an expansion. Names, prices, codes and the like do not count. Equal
        digests: bookings need not be expanded again. ``added`` are components that a booking's overrides bring in
        beside the protocol's own (unknown ones are left out).
        """
        key = (protocol_id, frozenset(added).intersection(self.components))
        if key not in self._digests:
            self._digests[key] = digest(self._definition(*key))
        return self._digests[key]

    def _definition(self, protocol_id: str, added: frozenset[str]) -> dict[str, Any]:
        protocol = self.protocols[protocol_id]
        kits = self._kits_of(protocol_id)
        components = added | {supply.component for kit in kits for supply in self.kits[kit].supplies}
        for version in protocol.versions:
            components |= {line.component for line in version.lines}
            components |= {line.diluent.component for line in version.lines if line.diluent is not None}
        items = {choice.item for component in components for choice in self.components[component].filled_by}
        items |= {choice.item for version in protocol.versions for line in version.lines for choice in line.items or ()}
        for site in self.sites.values():
            for component in components & site.preferences.keys():
                items |= {choice.item for choice in site.preferences[component]}
        return {
            "protocol": protocol.model_dump(mode="python", exclude=_NOT_EXPANDED["named"]),
            "components": [
                self.components[c].model_dump(mode="python", exclude=_NOT_EXPANDED["named"]) for c in sorted(components)
            ],
            "items": [self._expanded_part(self.items[item]) for item in sorted(items)],
            "kits": [self.kits[k].model_dump(mode="python", exclude=_NOT_EXPANDED["named"]) for k in sorted(kits)],
            "line_kits": self.line_kits.model_dump(mode="python"),
            "sites": [
                {
                    "id": site.id,
                    "timezone": site.timezone,
                    "first_stick_probability": site.first_stick_probability,
                    "given": site.protocols is None or protocol_id in site.protocols,
                    "preferences": {
                        component: [choice.model_dump(mode="python") for choice in site.preferences[component]]
                        for component in sorted(components & site.preferences.keys())
                    },
                }
                for site in sorted(self.sites.values(), key=lambda site: site.id)
            ],
        }

    @staticmethod
    def _expanded_part(item: Item) -> dict[str, Any]:
        return item.model_dump(mode="python", exclude=_NOT_EXPANDED["item"])

    def _kits_of(self, protocol_id: str) -> set[str]:
        """Every kit a session of the protocol may take, by whatever way."""
        brought = self.line_kits
        waiting = [*brought.draws_vial, *brought.draws_ampule, *brought.push, *brought.admixture]
        for version in self.protocols[protocol_id].versions:
            waiting += version.session_kits
            waiting += [kit for line in version.lines for kit in line.kits]
        found: set[str] = set()
        while waiting:
            kit = waiting.pop()
            if kit not in found:
                found.add(kit)
                waiting += self.kits[kit].kits
        return found
