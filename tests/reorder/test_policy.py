"""The order quantity against published instances and oracles, and its own rules."""

from __future__ import annotations

import math
from datetime import timedelta

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from planner.forecast.quantiles import quantiles
from planner.reorder.policy import rounded, site_plan, sticky
from planner.site.state import SiteState
from tests.reorder.clinic import (
    CATHETER,
    EPINEPHRINE,
    MAGNESIUM,
    MONDAY,
    SITE,
    at,
    catalogue,
    order,
    outlook,
    stock,
)

POISSON = [
    # Order-up-to levels of stockpyl 1.0.2, newsvendor_poisson(h, p, mean) with p / (h + p) the service level; the
    # second row is the docstring's instance (Snyder & Shen, Fundamentals of Supply Chain Theory, 2019, ch. 4).
    ("0.8", 0.7, 1),
    ("0.8", 6, 8),
    ("0.8", 20, 24),
    ("0.8", 60, 66),
    ("0.9", 0.7, 2),
    ("0.9", 6, 9),
    ("0.9", 20, 26),
    ("0.9", 60, 70),
    ("0.95", 0.7, 2),
    ("0.95", 6, 10),
    ("0.95", 20, 28),
    ("0.95", 60, 73),
    ("0.98", 0.7, 3),
    ("0.98", 6, 12),
    ("0.98", 20, 30),
    ("0.98", 60, 76),
    ("0.99", 0.7, 3),
    ("0.99", 6, 12),
    ("0.99", 20, 31),
    ("0.99", 60, 79),
]


@pytest.mark.parametrize(("service_level", "mean", "level"), POISSON)
def test_order_up_to_level_of_poisson_need(service_level: str, mean: float, level: int) -> None:
    """On Monday morning the protection interval of magnesium is Monday to Thursday: four days."""
    clinic = catalogue(service_level=service_level)
    state = SiteState(SITE)
    seen = outlook(state, MONDAY, {MAGNESIUM: mean / 4})
    plan = site_plan(SiteState(SITE), clinic, seen, at(MONDAY))
    row = plan.index[MAGNESIUM]
    assert plan.covered_until(row) == MONDAY + timedelta(days=3)
    shortage = plan.shortage(seen, row)
    assert (shortage.day, shortage.need_quantile, shortage.needed) == (MONDAY + timedelta(days=3), level, level)


@pytest.mark.parametrize(("service_level", "level"), [("0.9", 19), ("0.95", 22), ("0.99", 28)])
def test_order_up_to_level_of_overdispersed_need(service_level: str, level: int) -> None:
    """Negative binomial, mean 12, variance 30: stockpyl 1.0.2, newsvendor_discrete with that distribution."""
    clinic = catalogue(service_level=service_level)
    seen = outlook(SiteState(SITE), MONDAY, {MAGNESIUM: 3.0}, dispersion=2.5)
    plan = site_plan(SiteState(SITE), clinic, seen, at(MONDAY))
    assert plan.shortage(seen, plan.index[MAGNESIUM]).need_quantile == level


@pytest.mark.parametrize(("review", "level"), [(1, 114.712), (6, 220.806)])
def test_order_up_to_level_of_normal_need(review: int, level: float) -> None:
    """R + L = 5 and 10 periods of mean 20 and standard deviation 4 at 95 %: S = (R + L) μ + k σ √(R + L) (Silver,
    Pyke & Thomas 2017, §6.10; figures: stockpyl 1.0.2, newsvendor_normal with lead times 4 and 9). Whole containers
    of a distribution with the same moments are within one of it."""
    # placed on Tuesday morning, seen from Tuesday: R + L days until the next order arrives
    clinic = catalogue(service_level="0.95", review_period_days=review)
    tuesday = MONDAY + timedelta(days=1)
    seen = outlook(SiteState(SITE), tuesday, {MAGNESIUM: 20.0}, dispersion=0.8)
    plan = site_plan(SiteState(SITE), clinic, seen, at(tuesday))
    row = plan.index[MAGNESIUM]
    days = plan.last_reached(row) + 1
    expected = days * 20 + (level - {1: 100, 6: 200}[review]) * math.sqrt(days / {1: 5, 6: 10}[review])
    assert plan.shortage(seen, row).need_quantile == pytest.approx(expected, abs=1)


def test_booked_need_moves_the_level_one_for_one() -> None:
    """Advance demand information (Gallego & Özer 2001, §2): with bookings that are certain, the level is what is
    booked plus the base stock of the unbooked remainder."""
    remainder = quantiles([6.0], [6.0], (0.95,))[0, 0]
    for booked in (0, 10, 40):
        assert quantiles([booked + 6.0], [6.0], (0.95,))[0, 0] == pytest.approx(booked + remainder, abs=1)


@pytest.mark.parametrize(
    ("item", "needed", "quantity"),
    [
        (MAGNESIUM, 0.0, 0),
        (MAGNESIUM, -3.0, 0),
        (MAGNESIUM, 0.1, 25),
        (MAGNESIUM, 25.0, 25),
        (MAGNESIUM, 25.5, 50),
        (CATHETER, 1.0, 100),
        (CATHETER, 101.0, 200),
        (EPINEPHRINE, 1.0, 5),
        (EPINEPHRINE, 6.0, 6),
    ],
)
def test_rounding_to_multiples_and_minimum(item: str, needed: float, quantity: int) -> None:
    assert rounded(needed, catalogue().items[item]) == quantity


@given(st.lists(st.floats(0.1, 500), min_size=1, max_size=30), st.sampled_from([MAGNESIUM, CATHETER, EPINEPHRINE]))
@settings(max_examples=80, deadline=None)
def test_a_sticky_quantity_is_always_orderable_and_nearly_enough(needs: list[float], item: str) -> None:
    entry = catalogue().items[item]
    published = None
    for needed in needs:
        published = sticky(needed, entry, published)
        assert published % entry.order_multiple == 0
        assert published >= entry.minimum_order
        slack = max(entry.order_multiple / 2, 0.1 * published)
        assert needed <= published + slack
        assert published <= max(rounded(needed, entry) + entry.order_multiple + slack, rounded(1e-9, entry))


def test_swinging_about_a_boundary_changes_nothing() -> None:
    entry = catalogue().items[MAGNESIUM]
    published = sticky(50.0, entry, None)
    for needed in (51.0, 50.0, 60.0, 24.0, 20.0, 62.5):
        assert sticky(needed, entry, published) == 50
    assert sticky(63.0, entry, published) == 75
    assert sticky(12.0, entry, published) == 25


def test_the_worst_day_decides_not_the_last() -> None:
    """A delivery on the last day of the interval does not help the days before it."""
    clinic = catalogue(review_period_days=7)
    state = SiteState(SITE)
    stock(state, MAGNESIUM, 30)
    order(state, "O-1", MAGNESIUM, 100, at(MONDAY), promised=MONDAY + timedelta(days=9))
    seen = outlook(state, MONDAY, {MAGNESIUM: 8.0})
    plan = site_plan(SiteState(SITE), clinic, seen, at(MONDAY))
    shortage = plan.shortage(seen, plan.index[MAGNESIUM])
    assert shortage.day == MONDAY + timedelta(days=8)
    assert (shortage.supply, shortage.need_quantile) == (30, quantiles([72.0], [72.0], (0.95,))[0, 0])


@settings(max_examples=60, deadline=None)
@example(per_day=5e-324, on_hand=0, dispersion=0.6, arrives=0, level="0.8")
@example(per_day=20.0, on_hand=0, dispersion=0.0, arrives=0, level="0.8")
@given(
    per_day=st.floats(0, 30),
    on_hand=st.integers(0, 150),
    dispersion=st.sampled_from([0.6, 1.0, 2.5]),
    arrives=st.integers(0, 12),
    level=st.sampled_from(["0.8", "0.95", "0.99"]),
)
def test_more_is_needed_just_when_the_risk_is_too_high(
    per_day: float, on_hand: int, dispersion: float, arrives: int, level: str
) -> None:
    clinic = catalogue(service_level=level, review_period_days=5)
    state = SiteState(SITE)
    stock(state, MAGNESIUM, on_hand)
    order(state, "O-1", MAGNESIUM, 25, at(MONDAY), promised=MONDAY + timedelta(days=arrives))
    seen = outlook(state, MONDAY, {MAGNESIUM: per_day}, dispersion=dispersion)
    plan = site_plan(SiteState(SITE), clinic, seen, at(MONDAY))
    row = plan.index[MAGNESIUM]
    too_high = plan.risk(seen)[row] > plan.levels(seen).allowed[row]
    assert (plan.shortage(seen, row).needed > 0) == too_high


def test_a_lead_time_beyond_the_horizon_looks_at_its_last_day() -> None:
    clinic = catalogue(review_period_days=60)
    items = tuple(i.model_copy(update={"lead_time_days": 200}) for i in clinic.bundle.items)
    far = type(clinic)(clinic.bundle.model_copy(update={"items": items}))
    seen = outlook(SiteState(SITE), MONDAY, {MAGNESIUM: 1.0})
    plan = site_plan(SiteState(SITE), far, seen, at(MONDAY))
    row = plan.index[MAGNESIUM]
    assert plan.days_before(row) == 90
    assert plan.last_reached(row) == 89
    assert plan.shortage(seen, row).day == MONDAY + timedelta(days=89)


def test_an_order_that_comes_today_leaves_no_day_before_it() -> None:
    clinic = catalogue()
    items = tuple(i.model_copy(update={"lead_time_days": 0}) for i in clinic.bundle.items)
    suppliers = tuple(s.model_copy(update={"late_allowance_days": 0}) for s in clinic.bundle.suppliers)
    near = type(clinic)(clinic.bundle.model_copy(update={"items": items, "suppliers": suppliers}))
    seen = outlook(SiteState(SITE), MONDAY, {MAGNESIUM: 1.0})
    plan = site_plan(SiteState(SITE), near, seen, at(MONDAY))
    row = plan.index[MAGNESIUM]
    assert plan.days_before(row) == 0
    assert plan.missing[row].max() == 0
    assert plan.last_reached(row) == 0
