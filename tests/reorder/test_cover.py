"""Order-up-to levels when the next order is late at random: textbook instances, stockpyl as an oracle, and rules."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from stockpyl.eoq import economic_order_quantity
from stockpyl.newsvendor import newsvendor_discrete, newsvendor_normal, newsvendor_poisson

from planner.catalogue.index import Catalogue
from planner.forecast.outlook import Need, Outlook
from planner.forecast.projection import project
from planner.learning.lateness import Basis, Lateness, Punctuality, probabilities
from planner.reorder.cover import Cover
from planner.reorder.policy import SitePlan, rounded, site_plan
from planner.site.state import Announcement, SiteState
from tests.reorder.clinic import (
    CATHETER,
    DAYS,
    EPTINEZUMAB,
    MAGNESIUM,
    MONDAY,
    SITE,
    at,
    bundle,
    order,
    outlook,
    stock,
)

Floats = npt.NDArray[np.float64]
EVERY_DAY = (True,) * 7


def clinic(supplier: dict[str, Any] | None = None, item: dict[str, Any] | None = None, **policy: Any) -> Catalogue:
    """The clinic, with other figures of acme, of its magnesium, and of the policy."""
    plain = bundle(**policy)
    suppliers = tuple(s.model_copy(update=supplier or {}) if s.id == "acme" else s for s in plain.suppliers)
    items = tuple(i.model_copy(update=item or {}) if i.id == MAGNESIUM else i for i in plain.items)
    return Catalogue(plain.model_copy(update={"suppliers": suppliers, "items": items}))


def punctual(*chances_late: float) -> Punctuality:
    """A supplier with P(late = k) of its stated lead time as given; every day is a delivery day."""
    late = np.zeros(61)
    late[: len(chances_late)] = chances_late
    left = 1 - np.concatenate(([0.0], np.cumsum(late)[:-1]))
    chances = np.where(left > 1e-12, late / np.maximum(left, 1e-12), 1.0)
    np.testing.assert_allclose(probabilities(chances), late, atol=1e-12)
    bases: tuple[Basis, Basis] = ("stated", "promised")
    return Punctuality(dict.fromkeys(bases, chances), dict.fromkeys(bases, late), EVERY_DAY, 1.0, 9.0)


def seen_with(expect: Punctuality, state: SiteState, need: dict[str, Any], dispersion: float = 1.0) -> Outlook:
    plain = outlook(state, MONDAY, need, dispersion=dispersion)
    return Outlook(
        plain.need, plain.supply, plain.cumulative_mean, plain.cumulative_variance, plain.risk, plain.expiring,
        punctuality={"acme": expect, "biologics": punctual(1.0)},
    )  # fmt: skip


def level(plan: SitePlan, seen: Outlook, item: str = MAGNESIUM) -> float:
    """The order-up-to level."""
    return plan.shortage(seen, plan.index[item]).need_quantile


def alone(plan: SitePlan) -> SitePlan:
    """The plan, as if there were no chance to order after the next one: the problem of the textbooks."""
    return replace(plan, meanwhile=())


# --- stockpyl -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("service", ["0.8", "0.95", "0.99"])
@pytest.mark.parametrize("mean", [0.7, 6.0, 60.0])
def test_base_stock_of_poisson_need(service: str, mean: float) -> None:
    """The protection interval is four days: its level is that of the newsvendor with p ÷ (h + p) the service level."""
    h = 1 - float(service)
    wanted, _ = newsvendor_poisson(h, 1 - h, mean)
    seen = outlook(SiteState(SITE), MONDAY, {MAGNESIUM: mean / 4})
    assert level(site_plan(SiteState(SITE), clinic(service_level=service), seen, at(MONDAY)), seen) == wanted


def test_base_stock_of_normal_need_with_a_lead_time() -> None:
    """(R, S) with R + L = 4 days of mean 50 and standard deviation 8: Snyder & Shen 2019, §4.3.2, by stockpyl."""
    wanted, _ = newsvendor_normal(0.02, 0.98, 50, 8, lead_time=3)
    seen = outlook(SiteState(SITE), MONDAY, {MAGNESIUM: 50.0}, dispersion=64 / 50)
    found = level(site_plan(SiteState(SITE), clinic(service_level="0.98"), seen, at(MONDAY)), seen)
    assert found == pytest.approx(wanted, abs=2)


LATE = {0: 0.7, 1: 0.2, 3: 0.1}


@pytest.mark.parametrize("service", ["0.9", "0.95", "0.98", "0.995"])
@pytest.mark.parametrize("daily", [0.4, 3.0, 20.0])
def test_random_lead_time_is_the_newsvendor_of_the_mixture(service: str, daily: float) -> None:
    """Need over a random lead time is the mixture of its conditional distributions (Eppen & Martin 1988, eq. 3): its
    level is that of stockpyl's discrete newsvendor with that distribution."""
    x = np.arange(400)
    mixture = sum(p * stats.poisson.pmf(x, daily * (4 + k)) for k, p in LATE.items())
    h = 1 - float(service)
    wanted, _ = newsvendor_discrete(h, 1 - h, demand_pmf=dict(zip(x.tolist(), mixture.tolist(), strict=True)))
    expect = punctual(*[LATE.get(k, 0.0) for k in range(4)])
    seen = seen_with(expect, SiteState(SITE), {MAGNESIUM: daily})
    plan = alone(site_plan(SiteState(SITE), clinic(service_level=service), seen, at(MONDAY)))
    assert level(plan, seen) == pytest.approx(wanted, abs=1 if daily > 10 else 0)


@pytest.mark.parametrize(("allowance", "service"), [(3, 0.95), (6, 0.9), (0, 0.95)])
def test_day_by_day_the_accepted_risk_is_what_is_left(allowance: int, service: float) -> None:
    """Orders each day, late at random just as the supplier's allowance says, several outstanding at once: the days on
    which stock does not suffice are no more than are accepted, and not far fewer."""
    every_day = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
    catalogue = clinic(
        {"late_allowance_days": allowance, "order_days": every_day}, {"multiple": 1}, service_level=str(service)
    )
    plain = catalogue.bundle
    sites = tuple(site.model_copy(update={"closed_on": ()}) for site in plain.sites)
    catalogue = Catalogue(plain.model_copy(update={"sites": sites}))
    late = Lateness().late_probabilities(catalogue.suppliers["acme"])
    rng = np.random.default_rng(2)
    daily, state, comes = 6.0, SiteState(SITE), dict[date, list[str]]()
    mean = np.full((1, 45), daily)
    zero = np.zeros_like(mean)
    here, short, days = 40, 0, 250
    for number in range(days):
        day = MONDAY + timedelta(days=number)
        for name in comes.pop(day, ()):
            here += state.orders.pop(name).lines[MAGNESIUM].ordered
        need = int(rng.poisson(daily))
        short += need > here
        here = max(here - need, 0)
        # in the evening the day is over: what is planned begins tomorrow, for which no order can be placed any more
        stock(state, MAGNESIUM, here, expiry=date(2040, 1, 1))
        now = at(day, "15:59")
        mean[0, 0] = 0.0
        seen = project(state, catalogue, Need(day, (MAGNESIUM,), mean, mean.copy(), zero, zero), now)
        quantity = rounded(site_plan(state, catalogue, seen, now).shortage(seen, 0).wanted, catalogue.items[MAGNESIUM])
        if quantity:
            order(state, f"o{number}", MAGNESIUM, quantity, now)
            comes.setdefault(day + timedelta(days=3 + int(rng.choice(late.size, p=late))), []).append(f"o{number}")
    assert 0.3 * (1 - service) < short / days < 1.4 * (1 - service)


def test_it_is_not_the_normal_approximation() -> None:
    """Eppen & Martin's point: the usual formula, which adds up the variances of need and lead time as if their sum
    were normal, is far off what the mixture needs, here when one order in ten comes six days late."""
    seen = seen_with(punctual(0.9, 0, 0, 0, 0, 0, 0.1), SiteState(SITE), {MAGNESIUM: 25.0})
    found = level(alone(site_plan(SiteState(SITE), clinic(service_level="0.88"), seen, at(MONDAY))), seen)
    x = np.arange(600)
    exact = 0.9 * stats.poisson.cdf(x, 100) + 0.1 * stats.poisson.cdf(x, 250)
    assert found == pytest.approx(int((exact < 0.88).sum()), abs=1)
    mean, variance = 115.0, 115 + 25**2 * 0.09 * 36
    usual = stats.norm.ppf(0.88, mean, variance**0.5)
    assert abs(found - usual) > 25


def test_the_lot_is_the_economic_order_quantity() -> None:
    line, price, holding, daily = 7.5, 3.0, 0.22, 10.0
    wanted, _ = economic_order_quantity(line, price * holding, daily * 365)
    costs = {"order_line_cost": str(line), "holding_cost_per_year": str(holding)}
    catalogue = clinic(**costs)
    seen = outlook(SiteState(SITE), MONDAY, {MAGNESIUM: daily})
    shortage = site_plan(SiteState(SITE), catalogue, seen, at(MONDAY)).shortage(seen, seen.need.items.index(MAGNESIUM))
    assert shortage.wanted > shortage.needed
    assert shortage.wanted == 25 * round(wanted / 25)
    assert rounded(shortage.wanted, catalogue.items[MAGNESIUM]) == shortage.wanted


# --- exact enumeration --------------------------------------------------------------------------------------


def test_fill_rate_by_enumeration() -> None:
    """P2: containers short in a cycle of one day, over the day's need, at the level found and one below it."""
    catalogue = clinic(service_level="0.97", service_measure="fill", item={"multiple": 1})
    daily, state = 6.0, SiteState(SITE)
    stock(state, MAGNESIUM, 60)  # enough until this order arrives: what is lost before counts for none
    seen = outlook(state, MONDAY, {MAGNESIUM: daily})
    plan = site_plan(state, catalogue, seen, at(MONDAY))
    found = level(plan, seen)
    x = np.arange(200)

    def short(days: int, there: float) -> float:
        return float(stats.poisson.pmf(x, daily * days) @ np.maximum(x - there, 0))

    def share(there: float) -> float:
        return short(4, there) / daily

    assert share(found) <= 0.03 < share(found - 1)
    # a large lot lasts for many days, and is short only at their end
    lots = clinic(service_level="0.97", service_measure="fill", item={"multiple": 60})
    assert level(site_plan(state, lots, seen, at(MONDAY)), seen) < found


def test_a_fill_rate_is_kept_in_the_long_run() -> None:
    """Base stock day by day, three days of lead time, backlogged: a share of 1 − .95 of the need waits."""
    catalogue = clinic(service_level="0.95", service_measure="fill", item={"multiple": 1})
    state = SiteState(SITE)
    stock(state, MAGNESIUM, 60)
    seen = outlook(state, MONDAY, {MAGNESIUM: 4.0})
    up_to = level(site_plan(state, catalogue, seen, at(MONDAY)), seen)
    rng = np.random.default_rng(3)
    need = rng.poisson(4.0, 60_000)
    through = np.convolve(need, np.ones(4))[3 : len(need)]  # of four days: R + L
    before = np.convolve(need, np.ones(3))[2 : len(need) - 1]
    waits = np.maximum(through - up_to, 0) - np.maximum(before - up_to, 0)
    # on the safe side: what waits for two days is counted twice
    assert 0.02 < waits.sum() / need[3:].sum() <= 0.05


def test_an_empty_shelf_is_ordered_for_however_large_the_lot() -> None:
    """Waiting one more day is always within what a large lot allows for a cycle: it must not be waited for ever."""
    catalogue = clinic(service_level="0.88", service_measure="fill", item={"multiple": 100})
    state = SiteState(SITE)
    seen = outlook(state, MONDAY, {MAGNESIUM: 2.0})
    plan = site_plan(state, catalogue, seen, at(MONDAY))
    assert plan.shortage(seen, seen.need.items.index(MAGNESIUM)).needed > 0


def test_money_is_the_critical_ratio() -> None:
    """A shortage costs 40 a container (a session takes two), holding one for a day 120 × .22 ÷ 365: the newsvendor's
    level."""
    costs = {"holding_cost_per_year": "0.22", "shortage_cost": "80"}
    catalogue = clinic(item={"price": Decimal(120), "multiple": 1}, **costs)
    state = SiteState(SITE)
    seen = outlook(state, MONDAY, {MAGNESIUM: 5.0})
    plan = site_plan(state, catalogue, seen, at(MONDAY))
    held = 120 * 0.22 * 1 / 365
    wanted, _ = newsvendor_poisson(held, 40 - held, 20.0)
    assert plan.sessions[MAGNESIUM].containers == 2
    assert level(plan, seen) == pytest.approx(wanted, abs=1)


def test_money_buys_less_of_what_expires() -> None:
    costs = {"holding_cost_per_year": "0.22", "shortage_cost": "80"}
    levels = []
    for days in (700, 12, 6):
        catalogue = clinic(item={"price": Decimal(120), "multiple": 1, "shelf_life_days": days}, **costs)
        seen = outlook(SiteState(SITE), MONDAY, {MAGNESIUM: 0.5})
        levels.append(level(site_plan(SiteState(SITE), catalogue, seen, at(MONDAY)), seen))
    assert levels[0] >= levels[1] > levels[2] > 0


def test_a_sessions_level_is_shared_among_its_items() -> None:
    """The clinic's session takes three items: each may lack in a third of what the session may."""
    state = SiteState(SITE)
    seen = outlook(state, MONDAY, {MAGNESIUM: 5.0, CATHETER: 1.0})
    plan = site_plan(state, clinic(service_level="0.97", service_measure="session"), seen, at(MONDAY))
    allowed = plan.levels(seen).allowed
    assert allowed[plan.index[MAGNESIUM]] == pytest.approx(0.01)
    assert allowed[plan.index[EPTINEZUMAB]] == pytest.approx(0.03)  # in no session that is expected
    wanted, _ = newsvendor_poisson(0.01, 0.99, 20.0)
    assert level(plan, seen) == wanted


# --- advance demand information, deliveries -------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    booked=st.lists(st.integers(0, 30), min_size=1, max_size=8),
    remainder=st.floats(0.2, 8),
    late=st.sampled_from([(1.0,), (0.8, 0.15, 0.05), (0.6, 0.0, 0.4)]),
    there=st.integers(0, 60),
)
def test_base_stock_applies_to_the_modified_position(
    booked: list[int], remainder: float, late: tuple[float, ...], there: int
) -> None:
    """Gallego & Özer 2001, theorem 1: what is booked within the protection interval for certain is taken off the
    position, and the order then depends on the unbooked remainder alone."""
    state = SiteState(SITE)
    expect = punctual(*late)
    days = 4 + len(late) - 1
    known = [*booked, *[0] * 90]
    catalogue = clinic(item={"multiple": 1})
    # booked in the first four days only: through every end of the interval it is the same
    firm = [n if d < 4 else 0 for d, n in enumerate(known[:90])]
    stock(state, MAGNESIUM, there)

    def needed(with_book: bool) -> float:
        plain = seen_with(expect, state, {MAGNESIUM: remainder})
        sure = np.cumsum(firm) if with_book else np.zeros(90)
        row = plain.need.items.index(MAGNESIUM)
        plain.cumulative_mean[row] += sure
        plan = site_plan(state, catalogue, plain, at(MONDAY))
        return plan.shortage(plain, plan.index[MAGNESIUM]).needed

    assert days <= DAYS
    assert needed(True) == pytest.approx(needed(False) + sum(firm), abs=2)


@settings(max_examples=40, deadline=None)
@given(
    per_day=st.floats(0, 30),
    there=st.integers(0, 150),
    due=st.integers(0, 9),
    dispersion=st.sampled_from([0.6, 1.0, 2.5]),
    measure=st.sampled_from(["cycle", "fill", "session"]),
    service=st.sampled_from(["0.8", "0.95", "0.99"]),
)
def test_the_order_is_the_least_that_is_accepted(  # noqa: PLR0917 (what hypothesis varies)
    per_day: float, there: int, due: int, dispersion: float, measure: str, service: str
) -> None:
    state = SiteState(SITE)
    stock(state, MAGNESIUM, there)
    order(state, "O-1", MAGNESIUM, 40, at(MONDAY), promised=MONDAY + timedelta(days=due))
    catalogue = clinic({"late_allowance_days": 2}, service_level=service, service_measure=measure)
    mean = np.full((1, DAYS), per_day)
    zero = np.zeros_like(mean)
    need = Need(MONDAY, (MAGNESIUM,), mean, mean * dispersion, zero, zero)
    seen = project(state, catalogue, need, at(MONDAY))
    plan = site_plan(state, catalogue, seen, at(MONDAY))
    needed = plan.shortage(seen, 0).needed
    allowed = plan.levels(seen).allowed[0]
    cover = plan.cover(seen, (0,))
    risk = plan.risk(seen)[0]
    assert cover.risk(np.zeros(1))[0] == pytest.approx(risk, abs=2e-3)
    assert cover.risk(np.array([needed]))[0] <= allowed + 1e-8
    if measure == "fill" and needed == 1 and not there:
        return  # an empty shelf: see test_an_empty_shelf_is_ordered_for_however_large_the_lot
    if needed > -there - 40:
        assert cover.risk(np.array([needed - 1]))[0] > allowed
    # the supply on the decisive day is whole, so on others up to a container more than is needed may be asked for
    if risk > allowed + 2e-3:
        assert needed > 0
    elif risk < allowed - 2e-3:
        assert needed < 1


def test_many_items_at_once_are_as_one_by_one() -> None:
    state = SiteState(SITE)
    stock(state, MAGNESIUM, 30)
    expect = punctual(0.7, 0.2, 0.1)
    seen = seen_with(expect, state, {MAGNESIUM: 9.0, CATHETER: 3.0, EPTINEZUMAB: 0.4})
    catalogue = clinic(service_level="0.98")
    plan = site_plan(state, catalogue, seen, at(MONDAY))
    rows = list(range(len(seen.need.items)))
    together = plan.cover(seen, rows).needed()
    alone = [plan.cover(seen, (row,)).needed()[0] for row in rows]
    assert together.tolist() == alone
    assert isinstance(plan.cover(seen, rows), Cover)


@pytest.mark.parametrize("measure", ["cycle", "fill"])
def test_many_items_with_orders_that_may_have_come_are_as_one_by_one(measure: str) -> None:
    state, items = SiteState(SITE), (CATHETER, EPTINEZUMAB, MAGNESIUM)
    for number, item in enumerate(items):
        stock(state, item, 10 * number)
        for late in range(number + 1):
            order(state, f"O-{number}-{late}", item, 30, at(MONDAY), promised=MONDAY + timedelta(days=2 + 4 * late))
    mean = np.outer([3.0, 0.4, 9.0], np.ones(DAYS))
    need = Need(MONDAY, items, mean, 1.5 * mean, np.zeros_like(mean), np.zeros_like(mean))
    catalogue = clinic({"late_allowance_days": 2}, service_level="0.98", service_measure=measure)
    seen = project(state, catalogue, need, at(MONDAY))
    assert seen.waiting is not None
    assert seen.waiting.uncertain()[0].size > 3
    plan = site_plan(state, catalogue, seen, at(MONDAY))
    together = plan.cover(seen, (0, 1, 2)).needed()
    assert together.tolist() == [plan.cover(seen, (row,)).needed()[0] for row in range(3)]
    assert len(set(together.tolist())) == 3


# --- announced shortages ----------------------------------------------------------------------------------------


def announced(first: int, last: int, share: str) -> SiteState:
    state = SiteState(SITE)
    told = Announcement("acme", None, MONDAY + timedelta(days=first), MONDAY + timedelta(days=last), Decimal(share))
    state.announced["acme"] = told
    return state


def wanted(state: SiteState, catalogue: Catalogue, day: date = MONDAY, daily: float = 5.0) -> float:
    seen = outlook(state, day, {MAGNESIUM: daily})
    plan = site_plan(state, catalogue, seen, at(day))
    return plan.shortage(seen, plan.index[MAGNESIUM]).wanted


def test_stock_is_built_up_by_what_will_be_left_out() -> None:
    """60 % for the 42 days from the tenth on: 40 % of 42 days' need more, and what the longer time adds to safety."""
    catalogue = clinic()
    usual = wanted(SiteState(SITE), catalogue)
    more = wanted(announced(10, 51, "0.6"), catalogue) - usual
    assert 0.4 * 42 * 5 + 9 * 5 < more < 0.4 * 42 * 5 + 9 * 5 + 40  # and until the first short order comes
    assert wanted(announced(60, 80, "0.6"), catalogue) == usual  # too early to do anything about


def test_what_would_expire_is_not_built_up() -> None:
    short_lived = clinic(item={"shelf_life_days": 15})
    lasting = clinic()
    state = announced(10, 51, "0.6")
    assert wanted(SiteState(SITE), short_lived) < wanted(state, short_lived) < wanted(state, lasting) - 40


def test_within_the_shortage_more_is_ordered_that_enough_is_sent() -> None:
    catalogue = clinic()
    assert wanted(announced(-5, 20, "0.6"), catalogue) == pytest.approx(wanted(SiteState(SITE), catalogue) / 0.6)
    assert wanted(announced(-20, -1, "0.6"), catalogue) == wanted(SiteState(SITE), catalogue)


def test_days_without_any_supply_are_no_chance_to_order() -> None:
    catalogue = clinic()
    state = announced(1, 14, "0")
    seen = outlook(state, MONDAY, {MAGNESIUM: 5.0})
    plan = site_plan(state, catalogue, seen, at(MONDAY))
    assert plan.dates[plan.index[MAGNESIUM]].next_chance == MONDAY + timedelta(days=15)
    tuesday = outlook(state, MONDAY + timedelta(days=1), {MAGNESIUM: 5.0})
    later = site_plan(state, catalogue, tuesday, at(MONDAY + timedelta(days=1)))
    assert later.dates[later.index[MAGNESIUM]].chance == MONDAY + timedelta(days=15)


def test_an_announcement_of_one_item_concerns_it_alone() -> None:
    state = announced(10, 51, "0.6")
    state.announced[f"acme/{CATHETER}"] = state.announced.pop("acme")._replace(item=CATHETER)
    assert wanted(state, clinic()) == wanted(SiteState(SITE), clinic())
