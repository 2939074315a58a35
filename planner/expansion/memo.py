"""Expansions of one catalogue, remembered: a booking like one seen before costs a look-up."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from hashlib import blake2b
from typing import NamedTuple
from zoneinfo import ZoneInfo

import orjson

from planner.catalogue.index import Catalogue
from planner.catalogue.model import Protocol, ProtocolVersion
from planner.events.bookings import Override, Parameters
from planner.expansion.dose import check_parameters
from planner.expansion.expand import expand

REMEMBERED_MOST = 2_048
"""Expansions kept (about 6 KB each, 12 MB in all); beyond, the half that was made first is dropped."""

_DIGEST_BYTES = 12


MemoKey = tuple[int, str, int, Decimal | None, Decimal | None, tuple[Override, ...]]
"""All that an expansion depends on under one catalogue: the site's preferences and first-stick probability (as a number
that sites alike share), protocol, version, weight and hours (None where the protocol does not use them), overrides."""


class Version(NamedTuple):
    """A version of a protocol, and what of a booking its expansion depends on. Days are ordinals."""

    number: int
    first_day: int
    last_day: int
    by_weight: bool
    by_hours: bool
    definition: ProtocolVersion


class Given(NamedTuple):
    """A protocol that a site gives: all that is asked for every booking of it, found by one look-up."""

    site: str
    protocol: str
    zone: ZoneInfo
    steering: int
    """See ``MemoKey``."""
    versions: tuple[Version, ...]
    """By their first day."""

    def version_on(self, day: int) -> Version | None:
        """The last version that has begun on the site's ``day`` (ordinal), unless that one has ended."""
        in_force: Version | None = None
        for version in self.versions:
            if version.first_day > day:
                break
            in_force = version
        return None if in_force is None or day > in_force.last_day else in_force


class Stated(NamedTuple):
    """An expansion ready to be sent: ``lines`` is the JSON object ``{"expansion_id":…,"lines":[…]}``."""

    lines_id: str
    """Digest of ``lines``, doses included."""
    expansion_id: str
    lines: bytes


class Expander:
    """``expand`` with a memory, for one catalogue. Refusals are not remembered."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        self._remembered: dict[MemoKey, Stated] = {}
        versions = {name: _versions(protocol) for name, protocol in catalogue.protocols.items()}
        self.given: dict[tuple[str, str], Given] = {}
        """Site and protocol → that the site gives it."""
        for site in catalogue.sites.values():
            steering = catalogue.alike[site.id]
            for name in catalogue.protocols:
                if site.protocols is None or name in site.protocols:
                    self.given[site.id, name] = Given(site.id, name, catalogue.zone(site.id), steering, versions[name])

    def key(self, given: Given, version: Version, parameters: Parameters, overrides: tuple[Override, ...]) -> MemoKey:
        """What the expansion depends on; equal keys, equal expansions."""
        return (
            given.steering,
            given.protocol,
            version.number,
            parameters.weight_kg if version.by_weight else None,
            parameters.hours if version.by_hours else None,
            overrides,
        )

    def stated(self, given: Given, version: Version, parameters: Parameters, overrides: tuple[Override, ...]) -> Stated:
        """The expansion, made or remembered. Raises as ``expand``."""
        key = self.key(given, version, parameters, overrides)
        found = self._remembered.get(key)
        if found is None:
            found = self._make(given, version, parameters, overrides)
            if len(self._remembered) >= REMEMBERED_MOST:
                for old in list(self._remembered)[: REMEMBERED_MOST // 2]:
                    del self._remembered[old]
            self._remembered[key] = found
        elif parameters.weight_kg is not None or parameters.hours is not None:
            # a parameter that the protocol does not use is no part of the key, and must be believable all the same
            check_parameters(parameters)
        return found

    def _make(self, given: Given, version: Version, parameters: Parameters, overrides: tuple[Override, ...]) -> Stated:
        expansion = expand(self.catalogue, given.site, given.protocol, version.definition, parameters, overrides)
        lines = b'{"expansion_id":%b,"lines":%b}' % (orjson.dumps(expansion.expansion_id), expansion.lines_json)
        return Stated(blake2b(lines, digest_size=_DIGEST_BYTES).hexdigest(), expansion.expansion_id, lines)


def _versions(protocol: Protocol) -> tuple[Version, ...]:
    return tuple(_version(version) for version in sorted(protocol.versions, key=lambda v: v.effective_from))


def _version(version: ProtocolVersion) -> Version:
    doses = [line.dose for line in version.lines]
    by_weight = any(d.per_kg is not None or d.per_kg_hour is not None for d in doses)
    by_hours = any(d.per_hour is not None or d.per_kg_hour is not None for d in doses)
    return Version(
        number=version.version,
        first_day=version.effective_from.toordinal(),
        last_day=(version.effective_to or date.max).toordinal(),
        by_weight=by_weight or "weight_kg" in version.parameters,
        by_hours=by_hours or "hours" in version.parameters,
        definition=version,
    )
