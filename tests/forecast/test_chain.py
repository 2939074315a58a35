"""All sites together: means and variances add up, days are aligned, one site alone is itself."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np

from planner.forecast.chain import ALL_SITES, of_chain
from planner.forecast.need import SiteNeed
from planner.forecast.projection import project
from planner.forecast.publish import forecast_messages
from planner.messages import Forecast
from planner.site.state import SiteState
from tests.forecast.clinic import CATHETER, MONDAY, SITE, VIAL, at, book, catalogue, profile, receive
from tests.forecast.stated import StatedModel

CATALOGUE = catalogue(per_day="6.5")
SESSION = profile("session", {VIAL: (2.1, 0.09), CATHETER: (1.3, 0.2)})


def forecasts(bookings: int) -> list[Forecast]:
    state = SiteState(SITE)
    for day in range(0, 12, 3):
        book(state, MONDAY + timedelta(days=day), SESSION, bookings)
    receive(state, VIAL, "L1", 6, MONDAY + timedelta(days=4))
    need = SiteNeed(state, CATALOGUE, StatedModel(CATALOGUE, SITE)).refresh(MONDAY)
    outlook = project(state, CATALOGUE, need, at(MONDAY))
    messages = forecast_messages(state, CATALOGUE, outlook, at(MONDAY))
    return [Forecast.model_validate_json(m.value) for m in messages if m.value is not None]


def one(of: list[Forecast], kind: str, name: str) -> Forecast:
    return next(f for f in of if (f.kind, f.id) == (kind, name))


def elsewhere(of: list[Forecast], *, later_days: int = 0) -> list[Forecast]:
    moved = timedelta(days=later_days)
    return [f.model_copy(update={"site": "elsewhere", "first_day": f.first_day + moved}) for f in of]


def test_one_site_alone_is_itself_without_its_risk() -> None:
    alone = forecasts(3)
    for summed in of_chain(alone, CATALOGUE):
        own = one(alone, summed.kind, summed.id)
        assert summed.site == ALL_SITES
        assert summed.risk is None
        assert summed.usable is None
        for figure in ("mean", "variance", "firm_mean", "to_come_variance", "on_hand", "unit", "first_day"):
            assert getattr(summed, figure) == getattr(own, figure), (summed.kind, summed.id, figure)
        if summed.kind != "component":
            assert summed.quantiles == own.quantiles


def test_two_sites_need_what_both_need_and_are_surer_of_it() -> None:
    few, many = forecasts(3), forecasts(5)
    summed = one(of_chain([*few, *elsewhere(many)], CATALOGUE), "item", VIAL)
    sites = [one(few, "item", VIAL), one(many, "item", VIAL)]
    np.testing.assert_allclose(summed.mean, np.add(sites[0].mean, sites[1].mean))
    np.testing.assert_allclose(summed.variance, np.add(sites[0].variance, sites[1].variance))
    assert summed.on_hand == 12
    p99 = np.array(summed.quantiles["0.99"])
    assert (p99 <= np.add(sites[0].quantiles["0.99"], sites[1].quantiles["0.99"])).all()
    busy = np.array(summed.mean) > 1
    assert (p99[busy] > np.array(summed.mean)[busy]).all()


def test_a_site_whose_day_begins_earlier_is_cut_to_the_days_that_all_have() -> None:
    here, east = forecasts(3), elsewhere(forecasts(3), later_days=1)
    summed = one(of_chain([*here, *east], CATALOGUE), "item", VIAL)
    assert summed.first_day == MONDAY + timedelta(days=1)
    assert len(summed.mean) == 89
    own = one(here, "item", VIAL).mean
    np.testing.assert_allclose(summed.mean, np.add(own[1:], own[:-1]))


def test_the_stalest_site_says_how_old_the_sum_is() -> None:
    fresh = forecasts(3)
    old = datetime(2026, 1, 1, tzinfo=UTC)
    stale = [f.model_copy(update={"as_of": old}) for f in elsewhere(fresh)]
    assert {f.as_of for f in of_chain([*fresh, *stale], CATALOGUE)} == {old}


def test_no_site_no_chain() -> None:
    assert of_chain([], CATALOGUE) == []
