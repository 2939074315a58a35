"""The explanation says what the outlook says: its parts add up, and its words fit the alerts."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.explain.model import Explanation
from planner.forecast.need import SiteNeed
from planner.forecast.outlook import Outlook
from planner.forecast.projection import project
from planner.messages import AlertKind
from planner.refusal import Refused
from planner.reorder.alerts import review
from planner.site.state import OpenContainer, SiteState
from planner.why import explain
from tests.forecast.stated import StatedModel
from tests.reorder.clinic import (
    CATHETER,
    EPINEPHRINE,
    EPTINEZUMAB,
    KETAMINE,
    MAGNESIUM,
    MONDAY,
    SITE,
    VITAMIN,
    at,
    book,
    catalogue,
    order,
    stock,
)

CLINIC = catalogue()
NOW = at(MONDAY)


def seen(state: SiteState) -> Outlook:
    need = SiteNeed(state, CLINIC, StatedModel(CLINIC, SITE))
    return project(state, CLINIC, need.refresh(MONDAY), NOW)


def why(state: SiteState, item: str, alert_id: str | None = None) -> Explanation:
    return explain(state, CLINIC, seen(state), item, NOW, alert_id=alert_id, model=StatedModel(CLINIC, SITE))


def busy_site() -> SiteState:
    """Some of everything."""
    state = SiteState(SITE)
    for number in range(30):
        start = at(MONDAY + timedelta(days=number // 6), f"{9 + number % 6:02d}:00")
        uses = {MAGNESIUM: str(1 + number % 3), VITAMIN: "2.5", CATHETER: "1.34"}
        book(state, f"B{number:02d}", start, uses, "arrived" if number in {0, 3} else "booked")
    stock(state, MAGNESIUM, 12, "A", date(2026, 11, 17))
    stock(state, MAGNESIUM, 9, "B")
    stock(state, MAGNESIUM, 7, "OLD", date(2026, 11, 15))
    stock(state, MAGNESIUM, 5, "RECALLED")
    state.stock[MAGNESIUM].lots["RECALLED"].quarantined = True
    state.stock[MAGNESIUM].presumed = Decimal("0.4")
    stock(state, VITAMIN, 2)
    state.stock[VITAMIN].open.append(
        OpenContainer("V0", NOW - timedelta(days=2), NOW + timedelta(days=20), Decimal(12))
    )
    state.stock[VITAMIN].open.append(OpenContainer("V1", NOW - timedelta(days=30), NOW - timedelta(days=2), Decimal(9)))
    stock(state, EPINEPHRINE, 2)
    stock(state, CATHETER, 0)
    state.stock[CATHETER].deficit = 4
    order(state, "O-1", MAGNESIUM, 25, at(MONDAY - timedelta(days=1)), promised=MONDAY + timedelta(days=2))
    order(state, "O-2", MAGNESIUM, 50, NOW)
    order(state, "O-3", MAGNESIUM, 25, at(MONDAY - timedelta(days=9)), promised=MONDAY - timedelta(days=3))
    return state


@pytest.mark.parametrize("item", [MAGNESIUM, VITAMIN, CATHETER, EPINEPHRINE, KETAMINE, EPTINEZUMAB])
def test_the_parts_add_up_to_the_outlook(item: str) -> None:
    state = busy_site()
    outlook = seen(state)
    told = why(state, item)
    if item not in outlook.need.items:
        assert (told.need.mean, told.supply, told.bookings) == (0, (), ())
        return
    row = outlook.need.items.index(item)
    through = (told.need.through - MONDAY).days
    firm, to_come = outlook.need.firm_mean[row, : through + 1], outlook.need.to_come_mean[row, : through + 1]
    assert sum(b.expected for b in told.bookings) == pytest.approx(firm.sum(), rel=1e-12, abs=1e-12)
    assert told.need.firm_mean == pytest.approx(firm.sum(), rel=1e-12)
    assert sum(p.expected for p in told.to_come) == pytest.approx(to_come.sum(), rel=1e-12, abs=1e-12)
    assert told.need.mean == pytest.approx(told.need.firm_mean + told.need.to_come_mean, rel=1e-12)
    assert told.need.variance == pytest.approx(told.need.firm_variance + told.need.to_come_variance, rel=1e-12)
    column = (told.decision.decisive_day - MONDAY).days
    assert sum(part.containers for part in told.supply) == pytest.approx(outlook.supply[row, column], abs=1e-9)
    assert told.decision.supply == outlook.supply[row, column]
    assert told.decision.needed == told.decision.need_quantile - told.decision.supply


def test_a_booking_says_what_it_adds_and_why() -> None:
    state = busy_site()
    told = why(state, MAGNESIUM)
    by_id = {b.booking_id: b for b in told.bookings}
    arrived, today, thursday = by_id["B00"], by_id["B01"], by_id["B18"]
    assert (arrived.status, arrived.probability_kept, arrived.expected) == ("arrived", 1, 1)
    assert (today.probability_kept, today.mean, today.expected) == (0.95, 2, pytest.approx(1.9))
    assert (thursday.day, thursday.probability_kept) == (MONDAY + timedelta(days=3), 0.9)
    assert (today.protocol, today.protocol_version, today.catalogue_version) == ("infusion", 1, "test-1")
    assert [b.start for b in told.bookings] == sorted(b.start for b in told.bookings)


def test_arrivals_shared_by_segments_still_add_up() -> None:
    """Two segments of one profile, of different probability, and one patient has arrived."""

    class Model(StatedModel):
        def keep_probability(self, segment, first_day, days):  # type: ignore[no-untyped-def]
            return super().keep_probability(segment, first_day, days) * (0.5 if segment == "other" else 1.0)

    state = SiteState(SITE)
    for number, status in enumerate(["arrived", "booked", "booked", "booked"]):
        book(state, f"B{number}", at(MONDAY, "10:00"), {MAGNESIUM: "2"}, status)
    for name in ("B2", "B3"):
        state.bookings[name] = state.bookings[name]._replace(segment="other")
    profile = state.bookings["B0"].profile
    state.demand[MONDAY.toordinal()] = {("infusion", profile): 2, ("other", profile): 2}
    model = Model(CLINIC, SITE)
    outlook = project(state, CLINIC, SiteNeed(state, CLINIC, model).refresh(MONDAY), NOW)
    told = explain(state, CLINIC, outlook, MAGNESIUM, NOW, model=model)
    firm = outlook.need.firm_mean[outlook.need.items.index(MAGNESIUM)].sum()
    assert sum(b.expected for b in told.bookings) == pytest.approx(firm, rel=1e-12)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 20), st.integers(8, 17), st.sampled_from(["1", "2", "0.56"]), st.booleans()),
        max_size=25,
    ),
    st.sampled_from([MAGNESIUM, VITAMIN, EPTINEZUMAB]),
    st.integers(0, 40),
)
def test_contributions_add_up_whatever_is_booked(
    sessions: list[tuple[int, int, str, bool]], item: str, on_hand: int
) -> None:
    state = SiteState(SITE)
    stock(state, item, on_hand, expiry=MONDAY + timedelta(days=3))
    for number, (day, hour, use, here) in enumerate(sessions):
        status = "arrived" if here and day == 0 else "booked"
        book(state, f"B{number}", at(MONDAY + timedelta(days=day), f"{hour:02d}:00"), {item: use}, status)
    outlook = seen(state)
    told = why(state, item)
    row = outlook.need.items.index(item)
    days = (told.need.through - MONDAY).days + 1
    assert sum(b.expected for b in told.bookings) == pytest.approx(
        outlook.need.firm_mean[row, :days].sum(), rel=1e-9, abs=1e-12
    )
    column = (told.decision.decisive_day - MONDAY).days
    assert sum(p.containers for p in told.supply) == pytest.approx(outlook.supply[row, column], abs=1e-9)


def test_lots_orders_and_open_containers_say_whether_they_count() -> None:
    told = why(busy_site(), MAGNESIUM)
    assert [(lot.lot, lot.usable) for lot in told.lots] == [
        ("OLD", False),
        ("A", True),
        ("B", True),
        ("RECALLED", False),
    ]
    assert "quarantined" in told.lots[3].why
    assert "expired" in told.lots[0].why
    assert [(o.order_id, o.expected, o.in_time) for o in told.orders] == [
        ("O-3", MONDAY, True),
        ("O-1", MONDAY + timedelta(days=2), True),
        ("O-2", MONDAY + timedelta(days=3), True),
    ]
    assert "overdue" in told.orders[0].why
    names = {part.name: part.containers for part in told.supply}
    assert names["usable lots"] == 21
    assert names["used by completed sessions, not yet a whole container"] == pytest.approx(-0.4)
    vitamin = why(busy_site(), VITAMIN)
    assert [(o.lot, o.usable) for o in vitamin.open_containers] == [("V1", False), ("V0", True)]
    assert {p.name: p.containers for p in vitamin.supply}["rest of open containers"] == pytest.approx(12 / 30)
    assert {p.name: p.containers for p in why(busy_site(), EPINEPHRINE).supply} == {
        "usable lots": 2,
        "emergency stock, not planned with": -3,
    }


def test_what_expires_before_it_is_used_is_a_part_of_its_own() -> None:
    state = SiteState(SITE)
    stock(state, EPTINEZUMAB, 10, expiry=MONDAY)
    told = why(state, EPTINEZUMAB)
    parts = {part.name: part.containers for part in told.supply}
    assert parts == {"usable lots": 10, f"expected to expire unused before {told.decision.decisive_day}": -10}


def test_the_policy_says_where_each_figure_comes_from() -> None:
    figures = {f.name: f for f in why(busy_site(), VITAMIN).policy}
    assert (figures["lead time"].value, figures["lead time"].source) == (7, "item vitamin-vial")
    assert (figures["service level"].value, figures["service level"].source) == (0.95, "policy standard")
    assert figures["order days"].source == "supplier biologics"
    assert {f.name: f for f in why(busy_site(), MAGNESIUM).policy}["lead time"].source == "supplier acme"


def test_no_alert_says_how_far_it_is() -> None:
    """Nothing booked and 40 on the shelf: the need to come through Thursday has a .95 quantile well below 40; taking
    away what is spare keeps the peace, one more container breaks it."""
    state = SiteState(SITE)
    stock(state, MAGNESIUM, 40)
    told = why(state, MAGNESIUM)
    verdict = told.decision.verdicts[0]
    spare = int(-told.decision.needed)
    assert (verdict.kind, verdict.raised, told.alert) == (AlertKind.REORDER, False, None)
    assert f"more than {spare} containers" in (verdict.to_change or "")
    assert told.decision.quantity == 0
    stock(state, MAGNESIUM, 40 - spare)
    assert not review(state, CLINIC, seen(state), NOW, "e1", [MAGNESIUM])
    stock(state, MAGNESIUM, 40 - spare - 1)
    assert [a.kind for a in review(state, CLINIC, seen(state), NOW, "e2", [MAGNESIUM])] == [AlertKind.REORDER]


def test_an_alert_says_what_resolves_it() -> None:
    state = busy_site()
    state.orders.clear()
    review(state, CLINIC, seen(state), NOW, "e1")
    told = why(state, MAGNESIUM)
    assert told.alert is not None
    assert (told.alert.kind, told.alert.severity) == (AlertKind.REORDER, "critical")
    assert told.decision.quantity == told.alert.order_quantity
    assert told.history[0].endswith("by event e1")
    reorder = told.decision.verdicts[0]
    assert reorder.raised
    missing = float((reorder.to_change or "").split("with ")[1].split(" ")[0])
    stock(state, MAGNESIUM, 1000 if missing > 900 else int(missing) + 1, "NEW")
    kinds = {a.kind: a.state.value for a in review(state, CLINIC, seen(state), NOW, "e2", [MAGNESIUM])}
    assert kinds[AlertKind.REORDER] == "resolved"


def test_an_alert_can_be_asked_for_by_its_id() -> None:
    state = busy_site()
    review(state, CLINIC, seen(state), NOW, "e1")
    overdue = f"{SITE}/{MAGNESIUM}/order-overdue/O-3/1"
    told = why(state, MAGNESIUM, overdue)
    assert told.alert is not None
    assert told.alert.alert_id == overdue
    assert overdue not in [a.alert_id for a in told.other_alerts]
    verdict = next(v for v in told.decision.verdicts if v.kind is AlertKind.ORDER_OVERDUE)
    assert verdict.raised
    assert "25 containers of order O-3, due on Fri 13 Nov 2026" in verdict.words


def test_an_expiry_alert_is_explained_through_the_last_day_of_the_lot() -> None:
    state = SiteState(SITE)
    stock(state, EPTINEZUMAB, 10, "E", MONDAY + timedelta(days=30))
    book(state, "B1", at(MONDAY + timedelta(days=28), "10:00"), {EPTINEZUMAB: "3"})
    review(state, CLINIC, seen(state), NOW, "e1")
    told = why(state, EPTINEZUMAB, f"{SITE}/{EPTINEZUMAB}/expiry/E/1")
    assert told.need.through == MONDAY + timedelta(days=30)
    assert [b.booking_id for b in told.bookings] == ["B1"]


@pytest.mark.parametrize(
    ("item", "alert_id", "reason"),
    [
        ("aspirin", None, "unknown-item"),
        (MAGNESIUM, f"{SITE}/{MAGNESIUM}/reorder/1", "unknown-alert"),
        (MAGNESIUM, f"{SITE}/{MAGNESIUM}/order-overdue/O-3/7", "unknown-alert"),
        (CATHETER, f"{SITE}/{MAGNESIUM}/order-overdue/O-3/1", "unknown-alert"),
        (CATHETER, "nonsense", "unknown-alert"),
    ],
)
def test_what_cannot_be_explained_is_refused(item: str, alert_id: str | None, reason: str) -> None:
    state = busy_site()
    review(state, CLINIC, seen(state), NOW, "e1", [MAGNESIUM])
    state.alerts.pop(f"{MAGNESIUM}/reorder", None)
    with pytest.raises(Refused) as refused:
        why(state, item, alert_id)
    assert refused.value.reason == reason


def test_an_explanation_travels_as_json() -> None:
    told = why(busy_site(), MAGNESIUM)
    assert Explanation.model_validate_json(told.model_dump_json()) == told
