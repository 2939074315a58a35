"""What people do with alerts: each action's effect, and each refusal by name."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from planner.events import ALERT_ACTIONS
from planner.messages import Alert, AlertState
from planner.refusal import Refused
from planner.reorder.actions import act
from planner.reorder.alerts import ORDERED_WAIT, review
from planner.site.state import SiteState
from tests.reorder.clinic import EPTINEZUMAB, KETAMINE, MAGNESIUM, MONDAY, SITE, at, catalogue, order, outlook, stock

CLINIC = catalogue()
NOW = at(MONDAY)
REORDER = f"{SITE}/{MAGNESIUM}/reorder/1"
CONTROLLED = f"{SITE}/{KETAMINE}/reorder/1"
EXPIRED = f"{SITE}/{EPTINEZUMAB}/expiry/E/1"


def alerted() -> SiteState:
    """A site with a reorder alert of a plain and of a controlled item, and an expired lot."""
    state = SiteState(SITE)
    stock(state, "epinephrine-vial", 3)
    stock(state, MAGNESIUM, 7)
    stock(state, KETAMINE, 7)
    stock(state, EPTINEZUMAB, 2, "E", MONDAY - timedelta(days=1))
    review(state, CLINIC, outlook(state, MONDAY, {MAGNESIUM: [0, 0, 0, 9], KETAMINE: [0, 0, 0, 9]}), NOW, "e1")
    assert {a.alert_id for a in state.alerts.values()} == {REORDER, CONTROLLED, EXPIRED}
    return state


def do(state: SiteState, kind: str, alert_id: str = REORDER, **fields: Any) -> Alert:
    event = {
        "type": f"alert.{kind}",
        "event_id": f"a-{kind}",
        "occurred_at": NOW,
        "site": SITE,
        "alert_id": alert_id,
        **fields,
    }
    return act(state, ALERT_ACTIONS.validate_python(event), NOW)


def test_acknowledged() -> None:
    state = alerted()
    alert = do(state, "acknowledged", by="ana")
    assert (alert.state, alert.revision, alert.by) == (AlertState.ACKNOWLEDGED, 2, "ana")
    assert (alert.cause_event_id, alert.updated_at) == ("a-acknowledged", NOW)
    assert state.alerts[f"{MAGNESIUM}/reorder"] == alert
    assert alert.summary == alerted().alerts[f"{MAGNESIUM}/reorder"].summary


def test_snoozed_and_woken_by_hand() -> None:
    state = alerted()
    until = MONDAY + timedelta(days=3)
    assert do(state, "snoozed", until=until).snoozed_until == until
    alert = do(state, "acknowledged")
    assert (alert.state, alert.snoozed_until) == (AlertState.ACKNOWLEDGED, None)


def test_ordered_waits_for_its_order() -> None:
    alert = do(alerted(), "ordered", order_id="O-1")
    assert (alert.state, alert.order_id, alert.order_awaited_until) == (AlertState.ORDERED, "O-1", NOW + ORDERED_WAIT)


def test_closed_is_resolved_while_its_cause_persists() -> None:
    state = alerted()
    do(state, "ordered")
    alert = do(state, "closed", by="ana")
    assert (alert.state, alert.resolved_by_event_id, alert.cause_persists) == (AlertState.RESOLVED, "a-closed", True)
    assert alert.order_awaited_until is None
    seen = outlook(state, MONDAY, {MAGNESIUM: [0, 0, 0, 90], KETAMINE: [0, 0, 0, 9]})
    assert not review(state, CLINIC, seen, NOW, "e2")


def test_an_earlier_episode_is_over() -> None:
    state = alerted()
    quiet = outlook(state, MONDAY, {KETAMINE: [0, 0, 0, 9]})
    need = {MAGNESIUM: [0, 0, 0, 9.0], KETAMINE: [0, 0, 0, 9.0]}
    review(state, CLINIC, quiet, NOW, "e2")
    review(state, CLINIC, outlook(state, MONDAY, need), NOW, "e3")
    with pytest.raises(Refused) as refused:
        do(state, "acknowledged")
    assert (refused.value.reason, "reorder/2" in refused.value.detail) == ("alert-resolved", True)


@pytest.mark.parametrize(
    ("first", "kind", "fields", "reason"),
    [
        (None, "acknowledged", {"alert_id": f"{SITE}/{MAGNESIUM}/reorder/2"}, "unknown-alert"),
        (None, "acknowledged", {"alert_id": f"{SITE}/{MAGNESIUM}/stock-out/1"}, "unknown-alert"),
        (None, "acknowledged", {"alert_id": f"south/{MAGNESIUM}/reorder/1"}, "unknown-alert"),
        (None, "acknowledged", {"alert_id": "x"}, "unknown-alert"),
        (None, "acknowledged", {"alert_id": f"{SITE}/{MAGNESIUM}/reorder/one"}, "unknown-alert"),
        (None, "acknowledged", {"alert_id": f"{SITE}/{MAGNESIUM}/reorder/0"}, "unknown-alert"),
        ("closed", "acknowledged", {}, "alert-resolved"),
        ("closed", "ordered", {}, "alert-resolved"),
        ("ordered", "acknowledged", {}, "already-ordered"),
        ("ordered", "snoozed", {"until_worse": True}, "already-ordered"),
        (None, "snoozed", {"until": MONDAY - timedelta(days=1)}, "snooze-in-the-past"),
        (None, "ordered", {"alert_id": EXPIRED}, "nothing-to-order"),
        (None, "ordered", {"alert_id": CONTROLLED}, "controlled"),
        (None, "ordered", {"order_id": "CANCELLED"}, "order-cancelled"),
        (None, "ordered", {"order_id": "OTHER"}, "order-lacks-item"),
    ],
)
def test_refusals(first: str | None, kind: str, fields: dict[str, Any], reason: str) -> None:
    state = alerted()
    order(state, "CANCELLED", MAGNESIUM, 25, NOW).status = "cancelled"
    order(state, "OTHER", KETAMINE, 10, NOW)
    if first is not None:
        do(state, first)
    before = dict(state.alerts)
    with pytest.raises(Refused) as refused:
        do(state, kind, **fields)
    assert refused.value.reason == reason
    assert refused.value.detail
    assert state.alerts == before


def test_a_person_may_order_a_controlled_item() -> None:
    assert do(alerted(), "ordered", CONTROLLED, by="ana").state is AlertState.ORDERED
