"""The simulated world: nothing is lost, everybody sees the same, and the planner's books are the world's."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from datetime import date, datetime

import numpy as np
import pytest

from planner.reorder.calendar import order_dates
from planner.simulation.book import ORDERED_AT
from planner.simulation.clinic import clinics_of
from planner.simulation.planner_policy import PlannerPolicy
from planner.simulation.world import Fate, Placed, SiteWorld, Today
from tests.simulation.small import BAG, VIAL, bundle, clinic, scenario


class Fixed:
    """Orders the same quantities on every day on which it can."""

    name = "fixed"

    def __init__(self, quantities: Mapping[str, int]) -> None:
        self.quantities = quantities
        self.days: list[Today] = []
        self.orders: list[Placed] = []

    def observe(self, today: Today) -> None:
        self.days.append(today)

    def order(self, today: Today) -> Mapping[str, int]:
        return {item: q for item, q in self.quantities.items() if item in today.orderable}

    def placed(self, orders: Sequence[Placed], at: datetime) -> None:
        self.orders += orders


PLENTY = {VIAL: 5, BAG: 10}
SCARCE = {VIAL: 0, BAG: 10}


@pytest.mark.parametrize("quantities", [PLENTY, SCARCE])
def test_what_was_received_was_used_wasted_or_is_there(quantities: Mapping[str, int]) -> None:
    world = SiteWorld(Fate.draw(clinic(), 7))
    policy = Fixed(quantities)
    world.run(policy)
    for shelf in world.shelves.values():
        assert shelf.received == pytest.approx(shelf.used + shelf.expired + shelf.open_waste + shelf.containers)
    ordered = sum(order.quantity for order in policy.orders if order.item == BAG)
    under_way = sum(order.quantity for order in world.under_way if order.item == BAG)
    assert world.shelves[BAG].received == world.opening_quantities()[BAG] + ordered - under_way


def test_multi_dose_containers_are_kept_account_of_too() -> None:
    sites = {"clinic": None, "sites": {"sites": ["harbor"]}, "horizon": {"warm_up_days": 7, "days": 14}}
    harbor = clinics_of(scenario(**sites), bundle())[0]
    world = SiteWorld(Fate.draw(harbor, 3))
    world.run(Fixed({}))
    pooled = [shelf for shelf in world.shelves.values() if shelf.pooled]
    assert any(shelf.used for shelf in pooled)
    for shelf in pooled:
        assert shelf.received == pytest.approx(shelf.used + shelf.expired + shelf.open_waste + shelf.containers)


def test_a_session_without_its_needs_is_sent_home_and_counted() -> None:
    world = SiteWorld(Fate.draw(clinic(), 7))
    policy = Fixed(SCARCE)
    totals = world.run(policy)
    ends = [end for today in policy.days for end in today.ends]
    assert totals.sent_home > 0
    assert totals.items[VIAL].short > 0
    assert totals.items[BAG].short == 0
    assert all(not end.used for end in ends if end.outcome == "sent-home")
    measured = [e for today in policy.days[28:] for e in today.ends]
    assert len(measured) == totals.complete + totals.incomplete + totals.sent_home


def test_every_policy_sees_the_same_world() -> None:
    seen = []
    for quantities in (PLENTY, SCARCE):
        fate = Fate.draw(clinic(), 11)
        policy = Fixed(quantities)
        SiteWorld(fate).run(policy)
        sessions = [end.session for today in policy.days for end in today.ends]
        told = [told for today in policy.days for told in today.told]
        delays = {(o.item, o.day): o.due - o.promised for o in policy.orders if o.item == BAG}
        seen.append((sessions, told, delays))
    assert seen[0] == seen[1]


def test_seeds_are_reproducible_and_differ() -> None:
    first, again, other = (Fate.draw(clinic(), seed) for seed in (5, 5, 6))
    items = (BAG, VIAL)
    assert np.array_equal(first.book.wanted(items), again.book.wanted(items))
    assert np.array_equal(first.late_days, again.late_days)
    assert not np.array_equal(first.book.wanted(items), other.book.wanted(items))


def test_other_deliveries_leave_the_patients_as_they_are() -> None:
    late = Fate.draw(clinic(), 5)
    reliable = Fate.draw(clinic(deliveries={}), 5)
    assert np.array_equal(late.book.wanted((VIAL,)), reliable.book.wanted((VIAL,)))
    assert not reliable.late_days.any()


def test_the_book_is_as_the_scenario_says() -> None:
    made = clinic(horizon={"warm_up_days": 7, "days": 1400})
    book = Fate.draw(made, 1).book
    sessions = sum(len(of_day) for of_day in book.sessions.values())
    working_days = 1407 * 5 / 7
    assert sessions / working_days == pytest.approx(3, rel=0.05)
    wanted = book.wanted((BAG, VIAL)).sum(axis=1)
    assert wanted[1] / wanted[0] == pytest.approx(1.25, rel=0.03)
    kinds = [b"booked", b"cancelled", b"missed"]
    told = [t.raw for of_day in book.told.values() for t in of_day]
    booked, cancelled, missed = (sum(b"booking." + kind in raw for raw in told) for kind in kinds)
    assert cancelled / booked == pytest.approx(0.1, abs=0.01)
    assert missed / (booked - cancelled) == pytest.approx(0.1, abs=0.015)


def test_a_shift_brings_more_sessions_from_its_day_on() -> None:
    shift = {"ahead": [{"share": 1, "days": [0, 3]}], "shift": {"day": 700, "factor": 2}}
    made = clinic(bookings=shift, horizon={"warm_up_days": 7, "days": 1400})
    wanted = Fate.draw(made, 1).book.wanted((BAG,))[0]
    assert wanted[707:].mean() / wanted[:707].mean() == pytest.approx(2, rel=0.07)


def test_an_allocation_caps_what_is_sent() -> None:
    allocation = {"day": 0, "days": 28, "share": 0.5}
    made = clinic(deliveries={"allocation": allocation})
    world = SiteWorld(Fate.draw(made, 2))
    policy = Fixed({BAG: 50})
    world.run(policy)
    during = sum(o.quantity for o in policy.orders if o.item == BAG and 28 <= o.day < 56)
    after = [o.quantity for o in policy.orders if o.item == BAG and o.day >= 56]
    assert 0 < during <= 0.5 * 3 * 20 + 1e-9
    assert set(after) == {50}


def test_an_announcement_comes_before_its_allocation() -> None:
    made = clinic(deliveries={"allocation": {"day": 14, "days": 7, "share": 0.5, "announced_days": 10}})
    policy = Fixed(PLENTY)
    SiteWorld(Fate.draw(made, 2)).run(policy)
    assert [today.number for today in policy.days if today.announced is not None] == [28 + 14 - 10]


def test_a_policy_that_orders_broken_packs_is_told_so() -> None:
    with pytest.raises(ValueError, match="expected whole multiples"):
        SiteWorld(Fate.draw(clinic(), 1)).run(Fixed({VIAL: 3}))


def test_a_world_continues_under_another_policy_as_if_it_had_never_stopped() -> None:
    fate = Fate.draw(clinic(), 4)
    whole = SiteWorld(fate).run(Fixed(PLENTY))
    world = SiteWorld(fate)
    world.run(Fixed(PLENTY), until=40)
    continued = copy.deepcopy(world)
    assert continued.run(Fixed(PLENTY)) == whole
    assert world.run(Fixed(SCARCE)) != whole


def test_the_planner_keeps_the_worlds_books() -> None:
    made = clinic()
    world = SiteWorld(Fate.draw(made, 9))
    policy = PlannerPolicy(made)
    while world.day < made.scenario.days:
        world.pass_day(policy)
        state = policy.plan.sites[made.site]
        for item, shelf in world.shelves.items():
            stock = state.stock[item]
            assert sum(lot.quantity for lot in stock.lots.values()) == shelf.whole, (world.day, item)
            assert stock.deficit == 0
            assert stock.presumed == 0
    assert world.totals.orders > 0
    assert world.totals.complete > 0


def test_the_planner_decides_the_same_again() -> None:
    made = clinic()
    first, again = (SiteWorld(Fate.draw(made, 9)).run(PlannerPolicy(made)) for _ in range(2))
    assert first == again


def test_closed_days_have_neither_sessions_nor_orders() -> None:
    small = clinic()
    closed = date(2026, 1, 20)
    sites = tuple(s.model_copy(update={"closed_on": (closed,)}) for s in small.catalogue.bundle.sites)
    changed = small.catalogue.bundle.model_copy(update={"sites": sites})
    made = type(small)(
        small.scenario, type(small.catalogue)(changed), small.site, 0, small.types, small.items, small.first_day
    )
    policy = Fixed(PLENTY)
    SiteWorld(Fate.draw(made, 1)).run(policy)
    number = (closed - made.first_day).days
    assert not policy.days[number].ends
    assert not policy.days[number].orderable
    assert policy.days[number + 1].ends


def test_the_planner_orders_for_the_day_on_which_it_orders() -> None:
    """Orders are placed before the suppliers' cutoffs, so what the planner takes for the next chance is this one."""
    sites = {"clinic": None, "sites": {"sites": ["harbor"]}}
    for made in (clinic(), clinics_of(scenario(**sites), bundle())[0]):
        at = SiteWorld(Fate.draw(made, 1)).local(date(2026, 1, 21), ORDERED_AT)
        for item in made.items:
            dates = order_dates(made.catalogue, made.site, item, at)
            weekdays = made.items[item].order_weekdays
            assert (dates.chance == date(2026, 1, 21)) == (2 in weekdays), item
