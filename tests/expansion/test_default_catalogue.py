"""The catalogue that comes with the planner: every protocol expands at every site that gives it, and reads sensibly."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest
from pydantic import TypeAdapter

from config.load import DEFAULT_CATALOGUE, load_catalogue
from planner.catalogue.index import Catalogue
from planner.events.bookings import Parameters
from planner.expansion.expand import expand
from planner.expansion.profile import profile_of, typical
from planner.messages import RequirementLine

LINES: TypeAdapter[tuple[RequirementLine, ...]] = TypeAdapter(tuple[RequirementLine, ...])
WEIGHTS = (Decimal(45), Decimal(80), Decimal("131.5"))


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    bundle = load_catalogue(DEFAULT_CATALOGUE).bundle
    assert bundle is not None
    return Catalogue(bundle)


def test_every_version_expands_at_every_site_that_gives_it(catalogue: Catalogue) -> None:
    for site in catalogue.sites.values():
        for protocol in catalogue.protocols.values():
            if site.protocols is not None and protocol.id not in site.protocols:
                continue
            for version in protocol.versions:
                for weight in WEIGHTS:
                    parameters = Parameters(weight_kg=weight, hours=Decimal(4))
                    expansion = expand(catalogue, site.id, protocol.id, version, parameters, ())
                    assert LINES.validate_json(expansion.lines_json) == expansion.lines
                    for line in expansion.lines:
                        assert 0 <= line.certain <= line.maximum, (protocol.id, line)
                        assert line.mean <= line.maximum, (protocol.id, line)
                        # Bhatia and Davis: a variable within [0, maximum] has a variance of at most (max − μ)·μ
                        assert line.variance <= (line.maximum - line.mean) * line.mean, (protocol.id, line)
                        whole = line.unit == "mL" or (line.maximum % 1 == 0 and line.certain % 1 == 0)
                        assert whole, (protocol.id, line)


def test_expected_sessions_are_typical_ones(catalogue: Catalogue) -> None:
    for site in catalogue.sites.values():
        for expected in site.expected_sessions:
            profile = typical(catalogue, site.id, expected.protocol, date(2026, 1, 5))
            assert profile is not None, (site.id, expected.protocol)
            assert all(moments.maximum > 0 for moments in profile.items.values())


def test_two_grams_of_magnesium_are_two_small_vials(catalogue: Catalogue) -> None:
    site = next(s for s in catalogue.sites if "magnesium-sulfate" not in catalogue.sites[s].preferences)
    version = catalogue.protocols["magnesium"].versions[-1]
    expansion = expand(catalogue, site, "magnesium", version, Parameters(), ())
    profile = profile_of(expansion.expansion_id, expansion.lines, "magnesium", version.version, catalogue.version)
    assert profile.items["magnesium-sulfate-500mg-ml-2ml-vial"].mean == 2
