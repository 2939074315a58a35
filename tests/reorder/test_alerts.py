"""Alerts by episode: no storms, the same twice, and the same for the touched items as for all."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.forecast.outlook import ExpiringLot
from planner.messages import Alert, AlertKind, AlertState
from planner.reorder.alerts import key_of, review, standing_keys
from planner.reorder.findings import SESSIONS_LISTED
from planner.reorder.levels import allowed_risk
from planner.site.state import CountFinding, SiteState
from tests.reorder.clinic import (
    CATHETER,
    EPINEPHRINE,
    EPTINEZUMAB,
    ITEMS,
    KETAMINE,
    MAGNESIUM,
    MONDAY,
    SITE,
    VITAMIN,
    at,
    book,
    catalogue,
    order,
    outlook,
    stock,
    unbook,
)

CLINIC = catalogue()
NOW = at(MONDAY)
NAMES = [item["id"] for item in ITEMS]


def site(**on_hand: int) -> SiteState:
    state = SiteState(SITE)
    stock(state, EPINEPHRINE, 3)
    for item, quantity in on_hand.items():
        stock(state, item.replace("_", "-"), quantity)
    return state


def test_a_thousand_events_that_do_not_change_the_decision_give_nothing() -> None:
    """The need swings about the threshold and about a carton's boundary: one revision opens the alert, and that is
    all; then, with plenty of stock, one resolves it."""
    state = site(magnesium_vial=20)
    published: list[Alert] = []
    for number in range(1000):
        # through Thursday 13.6 … 20 on average: risk .04 … .44 of needing more than 20
        per_day = 3.4 + 1.6 * (number % 7) / 6
        seen = outlook(state, MONDAY, {MAGNESIUM: per_day})
        published += review(state, CLINIC, seen, NOW, f"e{number}", [MAGNESIUM])
    assert [(a.kind, a.revision) for a in published] == [(AlertKind.REORDER, 1)]
    assert published[0].cause_event_id == "e1"
    stock(state, MAGNESIUM, 200)
    for number in range(1000, 2000):
        seen = outlook(state, MONDAY, {MAGNESIUM: 3.4 + 1.6 * (number % 7) / 6})
        published += review(state, CLINIC, seen, NOW, f"e{number}", [MAGNESIUM])
    assert [(a.revision, a.state, a.resolved_by_event_id) for a in published[1:]] == [
        (2, AlertState.RESOLVED, "e1000"),
    ]


def test_a_thousand_bookings_beyond_the_list_are_told_by_quarters() -> None:
    """In a shortage each new booking that is not reached is news while sessions can be named; then only as their
    number grows by a quarter."""
    state = site(magnesium_vial=0)
    published: list[Alert] = []
    for number in range(1000):
        book(state, f"B{number:04d}", at(MONDAY, "10:00") + timedelta(seconds=number), {MAGNESIUM: "1"})
        seen = outlook(state, MONDAY, {MAGNESIUM: [number + 1.0]})
        alerts = review(state, CLINIC, seen, NOW, f"e{number}", [MAGNESIUM])
        published += [a for a in alerts if a.kind is AlertKind.STOCK_OUT]
    assert len(published[-1].sessions_at_risk) == SESSIONS_LISTED
    assert published[-1].reasons["sessions_at_risk"] >= 750  # type: ignore[operator]
    assert len(published) <= SESSIONS_LISTED + 15


def test_risk_between_the_two_thresholds_changes_nothing_either_way() -> None:
    """With 10 on the shelf and Poisson need: mean 6 has the risk .043 (within 5 %), 7 has .099, 5 has .014."""
    allowed = allowed_risk(CLINIC.policy_of(SITE))
    assert allowed == pytest.approx(0.05)
    state = site(magnesium_vial=10)
    for mean, expected in ((6.0, []), (7.0, ["open"]), (6.0, []), (5.0, ["resolved"]), (6.0, []), (7.0, ["open"])):
        alerts = review(state, CLINIC, outlook(state, MONDAY, {MAGNESIUM: mean / 4}), NOW, "e", [MAGNESIUM])
        assert [a.state.value for a in alerts] == expected
    assert state.alerts[f"{MAGNESIUM}/reorder"].alert_id == f"{SITE}/{MAGNESIUM}/reorder/2"


def test_an_order_of_just_the_proposed_quantity_resolves() -> None:
    """It leaves a risk just within the policy, above the resolving threshold: the order settles it all the same."""
    clinic = catalogue(resolve_margin="0.01")
    state = site(eptinezumab_vial=2)
    seen = outlook(state, MONDAY, {EPTINEZUMAB: 1.0})
    [opened, *_] = review(state, clinic, seen, NOW, "e1", [EPTINEZUMAB])
    assert opened.order_quantity is not None
    stock(state, EPTINEZUMAB, 2 + opened.order_quantity - 1)
    one_short = outlook(state, MONDAY, {EPTINEZUMAB: 1.0})
    still = [a.state for a in review(state, clinic, one_short, NOW, "e2") if a.kind is AlertKind.REORDER]
    assert AlertState.RESOLVED not in still
    stock(state, EPTINEZUMAB, 2 + opened.order_quantity)
    enough = outlook(state, MONDAY, {EPTINEZUMAB: 1.0})
    resolved = [a for a in review(state, clinic, enough, NOW, "e3") if a.kind is AlertKind.REORDER]
    assert [a.resolved_by_event_id for a in resolved] == ["e3"]


def test_an_emergency_stock_that_is_short_is_reordered_but_no_session_is_at_risk() -> None:
    state = SiteState(SITE)
    stock(state, EPINEPHRINE, 1)
    alerts = review(state, CLINIC, outlook(state, MONDAY, {}), NOW, "e1")
    assert [(a.item, a.kind, a.severity, a.order_quantity) for a in alerts] == [
        (EPINEPHRINE, AlertKind.REORDER, "warning", 5)
    ]
    assert "2 containers are missing from the emergency stock" in alerts[0].summary


def test_a_smaller_or_later_session_may_still_be_reached() -> None:
    state = site(magnesium_vial=10)
    order(state, "O-1", MAGNESIUM, 25, NOW, promised=MONDAY + timedelta(days=2))
    for name, day, clock, use in (
        ("A", 0, "10:00", "8"),
        ("B", 1, "09:00", "4"),
        ("C", 1, "10:00", "2"),
        ("D", 2, "10:00", "20"),
    ):
        book(state, name, at(MONDAY + timedelta(days=day), clock), {MAGNESIUM: use})
    seen = outlook(state, MONDAY, {MAGNESIUM: [8, 6, 20]})
    [found] = [a for a in review(state, CLINIC, seen, NOW, "e1") if a.kind is AlertKind.STOCK_OUT]
    assert [(s.booking_id, s.day, s.needs) for s in found.sessions_at_risk] == [("B", MONDAY + timedelta(days=1), 4)]
    assert found.stock_out_day == MONDAY + timedelta(days=1)
    assert "1 booked session is not reached on Tue 17 Nov 2026 09:00 (B)" in found.summary


def test_when_the_last_safe_chance_passes_it_is_said_once() -> None:
    """Poisson 7 on Thursday, 10 there: risk .099, not critical. Monday's order was the last to come by Thursday."""
    state = site(magnesium_vial=10)
    need = {MAGNESIUM: [0, 0, 0, 7.0]}
    review(state, CLINIC, outlook(state, MONDAY, need), NOW, "e1")
    late = review(state, CLINIC, outlook(state, MONDAY, need), at(MONDAY, "16:01"), "tick")
    assert [(a.revision, a.severity, a.order_by, a.state) for a in late] == [(2, "warning", MONDAY, AlertState.OPEN)]
    assert "by Tue 17 Nov 2026 16:00 (the last safe day was Mon 16 Nov 2026)" in late[0].summary
    tuesday = MONDAY + timedelta(days=1)
    for clock in ("09:00", "16:30"):
        seen = outlook(state, tuesday, {MAGNESIUM: [0, 0, 7.0]})
        assert not review(state, CLINIC, seen, at(tuesday, clock), "tick")


def test_a_controlled_item_says_so() -> None:
    alerts = review(SiteState(SITE), CLINIC, outlook(site(), MONDAY, {KETAMINE: 1.0}), NOW, "e1", [KETAMINE])
    assert {a.controlled for a in alerts} == {True}
    plain = review(SiteState(SITE), CLINIC, outlook(site(), MONDAY, {MAGNESIUM: 1.0}), NOW, "e1", [MAGNESIUM])
    assert {a.controlled for a in plain} == {False}


def test_causes_may_be_told_by_item() -> None:
    state = site()
    seen = outlook(state, MONDAY, {MAGNESIUM: 2.0, KETAMINE: 2.0})
    alerts = review(state, CLINIC, seen, NOW, {MAGNESIUM: "e7"}, [MAGNESIUM, KETAMINE])
    assert {(a.item, a.cause_event_id) for a in alerts} == {(MAGNESIUM, "e7"), (KETAMINE, None)}


def test_an_item_that_the_catalogue_drops_takes_its_alerts_along() -> None:
    state = site()
    review(state, CLINIC, outlook(state, MONDAY, {MAGNESIUM: 2.0}), NOW, "e1", [MAGNESIUM])
    others = [name for name in sorted(NAMES) if name != MAGNESIUM]
    alerts = review(state, CLINIC, outlook(state, MONDAY, {}, items=others), NOW, "catalogue-2")
    assert {(a.item, a.state, a.resolved_by_event_id) for a in alerts} == {
        (MAGNESIUM, AlertState.RESOLVED, "catalogue-2")
    }
    assert not standing_keys(state)


def test_long_and_strange_subjects_keep_their_ids_apart() -> None:
    state = site()
    lots = ["x" * 128, "a/1", "a/1/2", "é-λ"]
    for lot in lots:
        stock(state, MAGNESIUM, 4, lot, MONDAY - timedelta(days=1))
    alerts = review(state, CLINIC, outlook(state, MONDAY, {}), NOW, "e1", [MAGNESIUM])
    assert sorted(a.lot or "" for a in alerts) == sorted(lots)
    for alert in alerts:
        assert key_of(SITE, alert.alert_id) == (f"{MAGNESIUM}/expiry/{alert.lot}", 1)
        assert Alert.model_validate_json(alert.model_dump_json()) == alert
    state.standing = None  # as after a restore
    assert not review(state, CLINIC, outlook(state, MONDAY, {}), NOW, "e2")


# --- properties -------------------------------------------------------------------------------------------

CHANGES = st.one_of(
    st.tuples(st.just("stock"), st.sampled_from(NAMES), st.integers(0, 60)),
    st.tuples(st.just("need"), st.sampled_from(NAMES), st.integers(0, 12)),
    st.tuples(st.just("order"), st.sampled_from(NAMES), st.integers(1, 60)),
    st.tuples(st.just("receive"), st.sampled_from(NAMES), st.just(0)),
    st.tuples(st.just("count"), st.sampled_from(NAMES), st.integers(0, 40)),
    st.tuples(st.just("deficit"), st.sampled_from(NAMES), st.integers(0, 5)),
    st.tuples(st.just("expiring"), st.sampled_from(NAMES), st.integers(0, 8)),
    st.tuples(st.just("book"), st.sampled_from(NAMES), st.integers(0, 3)),
    st.tuples(st.just("hours"), st.just(""), st.integers(1, 30)),
)
Change = tuple[str, str, int]


class World:
    """A site to which things happen, one at a time; ``change`` tells which items they touch (None: all)."""

    def __init__(self) -> None:
        self.state = site()
        self.need: dict[str, float] = {}
        self.now = NOW
        self.count = 0
        self.expiring: dict[str, list[ExpiringLot]] = {}

    @property
    def today(self) -> date:
        return CLINIC.site_day(SITE, self.now)

    def change(self, change: Change) -> list[str] | None:
        kind, item, size = change
        self.count += 1
        shelf = self.state.stock
        if kind == "hours":
            self.now += timedelta(hours=size)
            return None
        if kind == "stock":
            stock(self.state, item, size, expiry=MONDAY + timedelta(days=3 + size))
        elif kind == "need":
            self.need[item] = size / 2
        elif kind == "order":
            order(self.state, f"O-{self.count}", item, size, self.now)
        elif kind == "receive":
            for placed in self.state.orders.values():
                if item in placed.lines:
                    placed.status = "complete"
        elif kind == "book":
            book(self.state, f"B-{item}-{size}", at(self.today + timedelta(days=size), "12:00"), {item: "2"})
        else:
            stock(self.state, item, 10, "L2")
            if kind == "count":
                shelf[item].last_count = CountFinding(f"c{self.count}", self.now, 20, size)
            elif kind == "deficit":
                shelf[item].deficit = size
            else:
                lot = ExpiringLot("L2", date(2028, 1, 1), 10, size, 0.5 + size / 20)
                self.expiring[item] = [lot] if size else []
        return [item]

    def review(self, cause: str, items: Sequence[str] | None) -> list[Alert]:
        seen = outlook(self.state, self.today, self.need, expiring=self.expiring)
        return review(self.state, CLINIC, seen, self.now, cause, items)


@settings(max_examples=60, deadline=None)
@given(st.lists(CHANGES, max_size=25))
def test_touched_items_are_enough_and_a_second_review_finds_nothing(changes: list[Change]) -> None:
    touched, everything = World(), World()
    for number, change in enumerate(changes):
        items = touched.change(change)
        everything.change(change)
        found = touched.review(f"e{number}", items)
        assert found == everything.review(f"e{number}", None)
        assert not touched.review("again", None)
    assert touched.state.alerts == everything.state.alerts


@settings(max_examples=60, deadline=None)
@given(st.lists(CHANGES, max_size=25))
def test_alerts_run_through_their_episodes_in_order(changes: list[Change]) -> None:
    world = World()
    last: dict[str, Alert] = {}
    for number, change in enumerate(changes):
        for alert in world.review(f"e{number}", world.change(change)):
            key, episode = key_of(SITE, alert.alert_id) or ("", 0)
            before = last.get(key)
            if before is None or not before.cause_persists:
                previous = 0 if before is None else int(before.alert_id.rpartition("/")[2])
                assert (alert.revision, alert.state, episode) == (1, AlertState.OPEN, previous + 1)
                assert alert.opened_at == world.now
            else:
                assert (alert.alert_id, alert.revision) == (before.alert_id, before.revision + 1)
            assert alert.cause_event_id == f"e{number}"
            assert (alert.state is AlertState.RESOLVED) == (alert.resolved_by_event_id is not None)
            assert alert.summary.endswith(".")
            assert world.state.alerts[key] == alert
            last[key] = alert
    rebuilt = copy.copy(world.state)
    rebuilt.standing = None
    assert standing_keys(rebuilt) == {k: v for k, v in standing_keys(world.state).items() if v}


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.integers(-3, 3), min_size=20, max_size=60),
    st.sampled_from([MAGNESIUM, CATHETER, EPTINEZUMAB]),
)
def test_a_need_that_wanders_within_the_published_quantity_gives_one_revision(steps: list[int], item: str) -> None:
    """38 … 42 a day over the interval: the quantities differ by less than the widened range of the first one."""
    state, need, published = site(), 40.0, 0
    for number, step in enumerate(steps):
        need = min(max(need + step / 8, 38.0), 42.0)
        found = review(state, CLINIC, outlook(state, MONDAY, {item: need}), NOW, f"e{number}", [item])
        published += sum(alert.kind is AlertKind.REORDER for alert in found)
    assert published == 1


def test_a_restart_does_not_repeat_itself() -> None:
    """State and alerts as JSON and back, in another order: a review finds nothing new."""
    world = World()
    for number, change in enumerate([("need", VITAMIN, 6), ("deficit", CATHETER, 2), ("book", VITAMIN, 1)]):
        world.review(f"e{number}", world.change(change))
    alerts = {k: Alert.model_validate_json(a.model_dump_json()) for k, a in reversed(world.state.alerts.items())}
    assert alerts
    world.state.alerts = alerts
    world.state.standing = None
    world.now = datetime.fromisoformat(world.now.isoformat()).astimezone(UTC)
    assert not world.review("restart", None)
    unbook(world.state, f"B-{VITAMIN}-1")
    assert [a.kind for a in world.review("cancel", [VITAMIN])] in ([], [AlertKind.STOCK_OUT])


def test_a_long_shortage_of_many_sessions_is_told_by_stretches_of_days() -> None:
    """A hundred sessions a day and nothing there for four weeks, an order taking three days: told anew every second
    day, though each day other sessions are the first; and nothing while a day's sessions take place one by one."""
    state = site(magnesium_vial=0)
    for day in range(40):
        for number in range(100):
            start = at(MONDAY + timedelta(days=day), "10:00") + timedelta(minutes=number)
            book(state, f"B{day:02d}-{number:02d}", start, {MAGNESIUM: "1"})
    told: list[tuple[int, Alert]] = []
    for day in range(28):
        today = MONDAY + timedelta(days=day)
        for clock, done in (("00:00", 0), ("10:31", 30), ("11:31", 30)):
            for number in range(done):
                ended = number + (30 if clock == "11:31" else 0)
                unbook(state, f"B{day:02d}-{ended:02d}")
            seen = outlook(state, today, {MAGNESIUM: 100.0})
            alerts = review(state, CLINIC, seen, at(today, clock), "tick", [MAGNESIUM])
            told += [(day, a) for a in alerts if a.kind is AlertKind.STOCK_OUT]
    days = [day for day, _ in told]
    assert len(days) == len(set(days))
    assert 9 <= len(days) <= 14
    for _, alert in told:
        assert len(alert.sessions_at_risk) == SESSIONS_LISTED
        assert alert.state is AlertState.OPEN
        assert date.fromisoformat(str(alert.reasons["sessions_through"])) > CLINIC.site_day(SITE, alert.updated_at)
