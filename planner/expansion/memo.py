"""Expansions of one catalogue, remembered: a booking like one seen before costs a look-up."""

from __future__ import annotations

from collections.abc import Hashable
from decimal import Decimal
from hashlib import blake2b
from typing import NamedTuple

import orjson

from planner.catalogue.index import Catalogue
from planner.catalogue.model import ProtocolVersion
from planner.events.bookings import Override, Parameters
from planner.expansion.dose import check_parameters
from planner.expansion.expand import expand

REMEMBERED_MOST = 2_048
"""Expansions kept (about 6 KB each, 12 MB in all); beyond, the half that was made first is dropped."""

_DIGEST_BYTES = 12


class MemoKey(NamedTuple):
    """All that an expansion depends on under one catalogue. Parameters that the protocol does not use are None."""

    steering: int
    """The site's preferences and first-stick probability, as a number that sites alike share."""
    protocol: str
    version: int
    weight_kg: Decimal | None
    hours: Decimal | None
    overrides: tuple[Override, ...]


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
        self._used: dict[tuple[str, int], tuple[bool, bool]] = {}
        alike: dict[Hashable, int] = {}
        self._steering = {
            site.id: alike.setdefault(
                (site.first_stick_probability, tuple(sorted((c, choices) for c, choices in site.preferences.items()))),
                len(alike),
            )
            for site in catalogue.sites.values()
        }

    def key(
        self,
        site_id: str,
        protocol_id: str,
        version: ProtocolVersion,
        parameters: Parameters,
        overrides: tuple[Override, ...],
    ) -> MemoKey:
        """What the expansion depends on; equal keys, equal expansions."""
        weight, hours = self._parameters_used(protocol_id, version)
        return MemoKey(
            self._steering[site_id],
            protocol_id,
            version.version,
            parameters.weight_kg if weight else None,
            parameters.hours if hours else None,
            overrides,
        )

    def stated(
        self,
        site_id: str,
        protocol_id: str,
        version: ProtocolVersion,
        parameters: Parameters,
        overrides: tuple[Override, ...],
    ) -> Stated:
        """The expansion, made or remembered. Raises as ``expand``."""
        key = self.key(site_id, protocol_id, version, parameters, overrides)
        found = self._remembered.get(key)
        if found is None:
            found = self._make(site_id, protocol_id, version, parameters, overrides)
            if len(self._remembered) >= REMEMBERED_MOST:
                for old in list(self._remembered)[: REMEMBERED_MOST // 2]:
                    del self._remembered[old]
            self._remembered[key] = found
        elif parameters.weight_kg is not None or parameters.hours is not None:
            # a parameter that the protocol does not use is no part of the key, and must be believable all the same
            check_parameters(parameters)
        return found

    def _make(
        self,
        site_id: str,
        protocol_id: str,
        version: ProtocolVersion,
        parameters: Parameters,
        overrides: tuple[Override, ...],
    ) -> Stated:
        expansion = expand(self.catalogue, site_id, protocol_id, version, parameters, overrides)
        lines = b'{"expansion_id":%b,"lines":%b}' % (orjson.dumps(expansion.expansion_id), expansion.lines_json)
        return Stated(blake2b(lines, digest_size=_DIGEST_BYTES).hexdigest(), expansion.expansion_id, lines)

    def _parameters_used(self, protocol_id: str, version: ProtocolVersion) -> tuple[bool, bool]:
        used = self._used.get((protocol_id, version.version))
        if used is None:
            doses = [line.dose for line in version.lines]
            by_weight = any(d.per_kg is not None or d.per_kg_hour is not None for d in doses)
            by_hours = any(d.per_hour is not None or d.per_kg_hour is not None for d in doses)
            used = (by_weight or "weight_kg" in version.parameters, by_hours or "hours" in version.parameters)
            self._used[protocol_id, version.version] = used
        return used
