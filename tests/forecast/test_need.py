"""Need: exact against enumeration, and kept up to date to the bit."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from planner.catalogue.index import Catalogue
from planner.expansion.profile import typical
from planner.forecast.need import SiteNeed
from planner.forecast.outlook import Floats, Need, Totals
from planner.site.state import SiteState
from tests.forecast.clinic import (
    BAG,
    BULK,
    CATHETER,
    COMPLEX,
    EPINEPHRINE,
    MONDAY,
    SITE,
    VIAL,
    book,
    catalogue,
    order,
    profile,
    receive,
)
from tests.forecast.stated import StatedModel

PLAIN = catalogue()
BUSY = catalogue(per_day="6.5", par_stock=[{"component": "epinephrine", "quantity": 3}])

PROFILES = (
    profile("two-vials", {VIAL: ("2", "0"), CATHETER: ("1.34", "0.29")}),
    profile("premix", {BAG: ("1", "0"), CATHETER: ("1.34", "0.29"), EPINEPHRINE: ("0.1", "0.09")}),
    profile("vitamins", {BULK: ("5", "0"), COMPLEX: ("1", "0"), CATHETER: ("1", "0")}),
    profile("prn", {VIAL: ("0.56", "0.2464"), COMPLEX: ("0.5", "0.25")}),
)
ITEMS = (VIAL, BAG, CATHETER, BULK, COMPLEX, EPINEPHRINE)


def fresh(state: SiteState, catalogue: Catalogue, today: date = MONDAY) -> Need:
    return SiteNeed(state, catalogue, StatedModel(catalogue, SITE)).refresh(today)


def row(need: Need, item: str) -> int:
    return need.items.index(item)


def arrays(part: Need | Totals) -> list[Floats]:
    return [part.firm_mean, part.firm_variance, part.to_come_mean, part.to_come_variance]


def assert_same(one: Need, other: Need) -> None:
    assert one.items == other.items
    assert one.first_day == other.first_day
    assert one.totals is not None
    assert other.totals is not None
    assert (one.totals.keys, one.totals.units) == (other.totals.keys, other.totals.units)
    assert one.totals.scale.tobytes() == other.totals.scale.tobytes()
    for mine, theirs in zip(arrays(one) + arrays(one.totals), arrays(other) + arrays(other.totals), strict=True):
        assert mine.tobytes() == theirs.tobytes()
    assert one.unsettled is not None
    assert other.unsettled is not None
    assert one.unsettled.tobytes() == other.unsettled.tobytes()


# --- moments ----------------------------------------------------------------------------------------------


def test_firm_moments_of_one_booking() -> None:
    """Two vials with probability 0.9 (3 days to go): mean 1.8, variance 4 × 0.9 × 0.1."""
    state = SiteState(SITE)
    book(state, MONDAY + timedelta(days=3), PROFILES[0])
    need = fresh(state, PLAIN)
    assert need.items == (CATHETER, VIAL)
    assert need.firm_mean[1, 3] == pytest.approx(1.8)
    assert need.firm_variance[1, 3] == pytest.approx(0.36)
    assert need.firm_mean[:, [0, 1, 2, 4]].sum() == 0
    assert not need.to_come_mean.any()


def test_firm_moments_against_enumeration() -> None:
    """Every outcome of three sessions (kept or not, PRN given or not) enumerated; item, group and component."""
    state = SiteState(SITE)
    day = MONDAY + timedelta(days=14)  # keep probability 0.8
    book(state, day, PROFILES[3], 2)
    book(state, day, profile("both", {VIAL: ("2", "0"), BAG: ("1", "0")}))
    outcomes: list[list[tuple[float, float, float]]] = [
        [(0.2 + 0.8 * 0.44, 0, 0), (0.8 * 0.56, 1, 0)],
        [(0.2 + 0.8 * 0.44, 0, 0), (0.8 * 0.56, 1, 0)],
        [(0.2, 0, 0), (0.8, 2, 1)],
    ]
    vials, group, milligrams = [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]
    for combination in product(*outcomes):
        chance = float(np.prod([p for p, _, _ in combination]))
        vial, bag = sum(v for _, v, _ in combination), sum(b for _, _, b in combination)
        for sums, amount in ((vials, vial), (group, vial + bag), (milligrams, 1000 * vial + 2000 * bag)):
            sums[0] += chance * amount
            sums[1] += chance * amount**2
    need = fresh(state, PLAIN)
    assert need.totals is not None
    at = need.totals.keys.index(("group", "magnesium"))
    of = need.totals.keys.index(("component", "magnesium"))
    assert need.totals.units[of] == "mg"
    assert need.totals.scale[of] == 1000  # a vial, the first choice
    for found, sums in (
        ((need.firm_mean[row(need, VIAL), 14], need.firm_variance[row(need, VIAL), 14]), vials),
        ((need.totals.firm_mean[at, 14], need.totals.firm_variance[at, 14]), group),
        ((need.totals.firm_mean[of, 14], need.totals.firm_variance[of, 14]), milligrams),
    ):
        assert found == pytest.approx((sums[0], sums[1] - sums[0] ** 2))
    # vial and bag of a session come and go together: their variances alone are too little
    together = need.firm_variance[[row(need, VIAL), row(need, BAG)], 14].sum()
    assert need.totals.firm_variance[at, 14] > together + 0.6


def test_a_component_is_counted_in_the_containers_that_are_used() -> None:
    state = SiteState(SITE)
    receive(state, BAG, "A", 1, date(2027, 1, 1))
    need = fresh(state, PLAIN)
    assert need.totals is not None
    assert need.totals.scale[need.totals.keys.index(("component", "magnesium"))] == 2000  # no vial anywhere


def test_arrived_sessions_take_place() -> None:
    state = SiteState(SITE)
    book(state, MONDAY, PROFILES[0], 3, arrived=1)
    need = fresh(state, PLAIN)
    vial = row(need, VIAL)
    assert need.firm_mean[vial, 0] == pytest.approx(2 + 2 * 2 * 0.95)
    assert need.firm_variance[vial, 0] == pytest.approx(2 * 4 * 0.95 * 0.05)


def test_segments_that_share_a_profile_share_its_arrivals() -> None:
    state = SiteState(SITE)
    book(state, MONDAY, PROFILES[0], 3, arrived=2)
    book(state, MONDAY, PROFILES[0], 1, segment="infusion+series")
    need = fresh(state, PLAIN)
    assert need.firm_mean[row(need, VIAL), 0] == pytest.approx(2 * (2 + 2 * 0.95))


def test_sessions_to_come_are_a_compound_sum() -> None:
    """5 sessions of mean 3.25 (half of 6.5) and dispersion 1.5, each with (m, v): μ m and μ v + σ² m²."""
    need = fresh(SiteState(SITE), BUSY)
    session = typical(BUSY, SITE, "infusion", MONDAY)
    assert session is not None
    for item, moments in session.items.items():
        if item == COMPLEX:
            continue
        mean, variance = float(moments.mean), float(moments.variance)
        at = row(need, item)
        assert need.to_come_mean[at, 7] == pytest.approx(3.25 * mean)
        assert need.to_come_variance[at, 7] == pytest.approx(3.25 * variance + 1.5 * 3.25 * mean**2)
        assert need.to_come_mean[at, 5] == 0  # Saturday
        assert need.to_come_mean[at, 10] == 0  # closed


def test_a_new_protocol_version_changes_the_sessions_to_come_from_its_day_on() -> None:
    need = fresh(SiteState(SITE), BUSY)
    vitamin = need.to_come_mean[row(need, COMPLEX)]
    changes = (date(2026, 12, 14) - MONDAY).days
    assert vitamin[changes - 3] > 0
    assert not vitamin[changes:].any()
    assert need.to_come_mean[row(need, VIAL), changes] > 0
    kept = SiteNeed(SiteState(SITE), BUSY, StatedModel(BUSY, SITE))
    assert COMPLEX in kept.refresh(MONDAY).items
    assert COMPLEX not in kept.refresh(date(2026, 12, 14)).items


def test_multi_dose_volume_is_pooled_over_the_day() -> None:
    """Ten sessions of 5 mL that all take place fill one 50 mL container in each of two windows, or hardly more."""
    state = SiteState(SITE)
    book(state, MONDAY, PROFILES[2], 10, arrived=10)
    need = fresh(state, PLAIN)
    assert need.firm_mean[row(need, BULK), 0] == pytest.approx(2, abs=0.01)
    assert need.to_come_mean[row(need, BULK), 0] == 0
    assert need.totals is not None
    at = need.totals.keys.index(("component", "vitamin-c"))
    assert need.totals.units[at] == "mg"
    assert need.totals.firm_mean[at, 0] == pytest.approx(need.firm_mean[row(need, BULK), 0] * 25_000)


def test_sessions_whose_end_has_not_been_told_are_unsettled_for_three_days() -> None:
    state = SiteState(SITE)
    for days_ago in (1, 3, 4):
        book(state, MONDAY - timedelta(days=days_ago), PROFILES[0])
    need = fresh(state, PLAIN)
    assert need.unsettled is not None
    assert need.unsettled[row(need, VIAL)] == pytest.approx(2 * 2 * 0.95)
    assert not need.mean.any()
    dispensing = catalogue(consumption="dispensed")
    receive(state, VIAL, "A", 1, date(2027, 1, 1))
    need = fresh(state, dispensing)
    assert need.unsettled is not None
    assert not need.unsettled.any()


def test_the_items_are_those_that_anything_at_the_site_mentions() -> None:
    state = SiteState(SITE)
    assert fresh(state, PLAIN).items == ()
    receive(state, BAG, "A", 1, date(2027, 1, 1))
    order(state, "o1", CATHETER, 5, placed=MONDAY)
    book(state, MONDAY + timedelta(days=89), PROFILES[3])
    book(state, MONDAY + timedelta(days=90), PROFILES[2])
    book(state, MONDAY, profile("old", {"gone-from-the-catalogue": ("1", "0")}))
    assert fresh(state, PLAIN).items == (COMPLEX, CATHETER, BAG, VIAL)
    assert EPINEPHRINE in fresh(state, BUSY).items  # its par stock


# --- incremental equals afresh ------------------------------------------------------------------------------


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3), st.integers(1, 4)), min_size=1, max_size=12),
)
@settings(max_examples=25, deadline=None)
def test_the_order_in_which_bookings_came_does_not_matter(bookings: list[tuple[int, int, int]]) -> None:
    one, other = SiteState(SITE), SiteState(SITE)
    for day, number, n in bookings:
        book(one, MONDAY + timedelta(days=day), PROFILES[number], n)
    for day, number, n in reversed(bookings):
        for _ in range(n):
            book(other, MONDAY + timedelta(days=day), PROFILES[number])
    assert_same(fresh(one, BUSY), fresh(other, BUSY))


class Incremental(RuleBasedStateMachine):
    """Bookings, arrivals, stock, orders and days go by; what is kept up to date equals what is computed afresh."""

    def __init__(self) -> None:
        super().__init__()
        self.state = SiteState(SITE)
        self.need = SiteNeed(self.state, BUSY, StatedModel(BUSY, SITE))
        self.today = MONDAY

    @rule(day=st.integers(-4, 95), number=st.integers(0, 3), n=st.integers(1, 5), series=st.booleans())
    def booked(self, day: int, number: int, n: int, series: bool) -> None:
        segment = "infusion+series" if series else "infusion"
        self.need.touch(book(self.state, self.today + timedelta(days=day), PROFILES[number], n, segment=segment))

    @rule(data=st.data())
    def cancelled(self, data: st.DataObject) -> None:
        days = sorted(day for day, counts in self.state.demand.items() if counts)
        if days:
            day = data.draw(st.sampled_from(days))
            (segment, used), n = data.draw(st.sampled_from(sorted(self.state.demand[day].items())))
            if n > self.state.arrived[day].get(used, 0):
                date_of = date.fromordinal(day)
                self.need.touch(book(self.state, date_of, self.state.profiles[used], -1, segment=segment))

    @rule(data=st.data())
    def arrived(self, data: st.DataObject) -> None:
        today = self.today.toordinal()
        counts = self.state.demand.get(today, {})
        if counts:
            (_, used), n = data.draw(st.sampled_from(sorted(counts.items())))
            if n > self.state.arrived[today].get(used, 0):
                self.need.touch(book(self.state, self.today, self.state.profiles[used], 0, arrived=1))

    @rule(item=st.sampled_from(ITEMS))
    def received(self, item: str) -> None:
        receive(self.state, item, "A", 3, date(2028, 1, 1))

    @rule(item=st.sampled_from(ITEMS))
    def ordered(self, item: str) -> None:
        order(self.state, f"order-{item}", item, 5, placed=MONDAY)

    @rule(days=st.sampled_from((1, 1, 2, 30)))
    def days_pass(self, days: int) -> None:
        self.today += timedelta(days=days)

    @rule()
    def equal_to_the_bit(self) -> None:
        assert_same(self.need.refresh(self.today), fresh(self.state, BUSY, self.today))

    def teardown(self) -> None:
        self.equal_to_the_bit()


TestIncremental = Incremental.TestCase
TestIncremental.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)


def test_each_step_of_a_days_history_equals_afresh() -> None:
    """In stock before anything is booked; booked; more; fewer; the last one cancelled; the same some days ago."""
    state = SiteState(SITE)
    need = SiteNeed(state, PLAIN, StatedModel(PLAIN, SITE))
    for item in (VIAL, CATHETER, COMPLEX):
        receive(state, item, "A", 3, date(2028, 1, 1))
    need.refresh(MONDAY)
    for day in (MONDAY + timedelta(days=5), MONDAY - timedelta(days=2)):
        for number, n in ((0, 1), (3, 2), (1, 1), (1, -1), (3, -2), (0, -1)):
            need.touch(book(state, day, PROFILES[number], n))
            assert_same(need.refresh(MONDAY), fresh(state, PLAIN))
            assert need.refresh(MONDAY).mean.any() == (day > MONDAY and bool(state.demand[day.toordinal()]))


def test_nothing_touched_gives_the_same_need() -> None:
    state = SiteState(SITE)
    need = SiteNeed(state, BUSY, StatedModel(BUSY, SITE))
    first = need.refresh(MONDAY)
    assert need.refresh(MONDAY) is first
    need.touch(book(state, MONDAY + timedelta(days=1), PROFILES[0]))
    second = need.refresh(MONDAY)
    changed = np.flatnonzero((second.firm_mean != first.firm_mean).any(axis=0))
    assert changed.tolist() == [1]
    need.touch_all()
    assert_same(need.refresh(MONDAY), second)
