"""Proposals per site and supplier: joint, rounded, controlled ones apart, published when they change."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from planner.catalogue.index import Catalogue
from planner.events import ALERT_ACTIONS
from planner.messages import Proposal
from planner.reorder.actions import act
from planner.reorder.alerts import review
from planner.reorder.proposals import propose
from planner.site.state import SiteState
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
    bundle,
    catalogue,
    order,
    outlook,
    stock,
)

CLINIC = catalogue()
NOW = at(MONDAY)


class Desk:
    """Reviews and proposes, as the step does."""

    def __init__(self, clinic: Catalogue = CLINIC, **on_hand: int) -> None:
        self.clinic = clinic
        self.state = SiteState(SITE)
        stock(self.state, EPINEPHRINE, 3)
        for item, quantity in on_hand.items():
            stock(self.state, item.replace("_", "-"), quantity)
        self.need: dict[str, Any] = {}
        self.now = NOW

    def look(self) -> list[Proposal]:
        seen = outlook(self.state, self.clinic.site_day(SITE, self.now), self.need)
        review(self.state, self.clinic, seen, self.now, "e")
        return propose(self.state, self.clinic, seen, self.now)

    def act(self, item: str, kind: str) -> None:
        event = {"type": f"alert.{kind}", "event_id": "a", "occurred_at": self.now, "site": SITE, "by": "ana"}
        event["alert_id"] = self.state.alerts[f"{item}/reorder"].alert_id
        act(self.state, ALERT_ACTIONS.validate_python(event), self.now)


def lines(proposal: Proposal) -> dict[str, int]:
    return {line.item: line.quantity for line in proposal.lines}


def test_one_proposal_per_supplier_and_controlled_ones_apart() -> None:
    desk = Desk(magnesium_vial=10)
    desk.need = {MAGNESIUM: 5.0, KETAMINE: 2.0, EPTINEZUMAB: 1.0, CATHETER: 3.0}
    found = {p.proposal_id: p for p in desk.look()}
    assert {name: lines(p) for name, p in found.items()} == {
        # magnesium: need over 4 days 20, to be safe 28; 10 there; a carton is 25. catheters: 12, 18; multiples of 100
        f"{SITE}/acme": {CATHETER: 100, MAGNESIUM: 25},
        # ketamine: 8, to be safe 13; cartons of 10
        f"{SITE}/acme/controlled": {KETAMINE: 20},
        # eptinezumab: Monday to Monday (the order of Friday comes on Tuesday the 24th): 8, to be safe 13
        f"{SITE}/biologics": {EPTINEZUMAB: 13},
    }
    acme, controlled = found[f"{SITE}/acme"], found[f"{SITE}/acme/controlled"]
    assert (controlled.controlled, acme.controlled) == (True, False)
    assert (acme.order_by, acme.arrives, acme.covers_until) == (
        MONDAY,
        MONDAY + timedelta(days=3),
        MONDAY + timedelta(days=3),
    )
    line = acme.lines[1]
    assert (line.needed, line.need_quantile, line.supply, line.packs, line.on_order) == (18, 28, 10, 1, 0)
    assert line.alert_id == f"{SITE}/{MAGNESIUM}/reorder/1"
    assert acme.value == Decimal(100) * 1 + Decimal(25) * 3


def test_what_is_on_order_is_not_proposed_again() -> None:
    desk = Desk(magnesium_vial=10)
    desk.need = {MAGNESIUM: 5.0}
    assert len(desk.look()) == 1
    order(desk.state, "O-1", MAGNESIUM, 25, NOW)
    [emptied] = desk.look()
    assert (emptied.lines, emptied.revision, emptied.order_by, emptied.value) == ((), 2, None, None)
    assert not desk.look()


def test_items_that_need_an_order_at_the_next_chance_go_along() -> None:
    """Catheters are wanted on Friday: an order of tomorrow comes in time, but today one goes to the supplier anyway."""
    desk = Desk()
    desk.need = {CATHETER: [0, 0, 0, 0, 30.0]}
    assert not desk.look()
    desk.need[MAGNESIUM] = 5.0
    [acme] = desk.look()
    assert lines(acme) == {CATHETER: 100, MAGNESIUM: 50}
    assert acme.lines[0].alert_id is None
    desk.need = {CATHETER: [0, 0, 0, 0, 30.0]}
    stock(desk.state, MAGNESIUM, 500)
    [emptied] = desk.look()
    assert not emptied.lines


def test_with_a_stated_cost_of_a_line_nothing_goes_along_that_saves_nothing() -> None:
    """A line costs the same tomorrow. But to reach the supplier's minimum value of 100 catheters go along."""
    desk = Desk(catalogue(order_line_cost="0.1", holding_cost_per_year="10"))
    desk.need = {CATHETER: [0, 0, 0, 0, 30.0], MAGNESIUM: 5.0}
    [acme] = desk.look()
    assert lines(acme) == {MAGNESIUM: 50}
    assert acme.value == 150
    small = Desk(catalogue(order_line_cost="0.1", holding_cost_per_year="10"), magnesium_vial=10)
    small.need = desk.need
    [acme] = small.look()
    assert lines(acme) == {CATHETER: 100, MAGNESIUM: 25}


def test_what_goes_along_covers_the_days_until_the_order_after_next() -> None:
    """Eptinezumab is needed on Wednesday the 25th: the order of Tuesday the 17th must last until the 23rd only, but
    until the 27th if it is to save that of Friday the 20th."""
    desk = Desk()
    desk.need = {VITAMIN: 2.0, EPTINEZUMAB: [0] * 9 + [7.0]}
    [biologics] = desk.look()
    along, alerting = biologics.lines
    assert (along.item, along.alert_id, along.need_quantile, along.quantity) == (EPTINEZUMAB, None, 12, 12)
    assert alerting.alert_id == f"{SITE}/{VITAMIN}/reorder/1"


def test_the_minimum_value_of_an_order_is_flagged() -> None:
    desk = Desk(magnesium_vial=10)
    desk.need = {MAGNESIUM: 5.0}
    [acme] = desk.look()
    assert (acme.value, acme.below_minimum_value) == (Decimal(75), True)
    desk.need[CATHETER] = 3.0
    [acme] = desk.look()
    assert (acme.value, acme.below_minimum_value) == (Decimal(175), False)


def test_without_a_price_or_in_two_currencies_there_is_no_value() -> None:
    for change in ({"price": None}, {"currency": "CAD"}):
        plain = bundle()
        items = tuple(i.model_copy(update=change) if i.id == CATHETER else i for i in plain.items)
        desk = Desk(Catalogue(plain.model_copy(update={"items": items})))
        desk.need = {MAGNESIUM: 5.0, CATHETER: 3.0}
        [acme] = desk.look()
        assert (acme.value, acme.below_minimum_value) == (None, False)


def test_ordered_and_closed_alerts_are_left_out() -> None:
    for kind in ("ordered", "closed"):
        desk = Desk(magnesium_vial=10)
        desk.need = {MAGNESIUM: 5.0, CATHETER: 3.0}
        desk.look()
        desk.act(MAGNESIUM, kind)
        [acme] = desk.look()
        assert lines(acme) == {CATHETER: 100}


def test_a_snoozed_alert_is_still_proposed_with_a_current_quantity() -> None:
    desk = Desk()
    desk.need = {MAGNESIUM: [0, 0, 0, 20]}
    [acme] = desk.look()
    assert lines(acme) == {MAGNESIUM: 50}
    event = {"type": "alert.snoozed", "event_id": "a", "occurred_at": NOW, "site": SITE, "until_worse": True}
    event["alert_id"] = desk.state.alerts[f"{MAGNESIUM}/reorder"].alert_id
    act(desk.state, ALERT_ACTIONS.validate_python(event), NOW)
    desk.need = {MAGNESIUM: [0, 0, 0, 120]}
    [acme] = desk.look()
    assert lines(acme) == {MAGNESIUM: 150}


def test_the_dates_move_with_the_cutoff() -> None:
    desk = Desk()
    desk.need = {MAGNESIUM: 5.0}
    desk.now = at(MONDAY + timedelta(days=5), "12:00")  # Saturday: the next chance is Monday the 23rd
    [before] = desk.look()
    assert before.order_by == MONDAY + timedelta(days=7)
    desk.now = at(MONDAY + timedelta(days=7), "16:30")
    [after] = desk.look()
    assert (after.order_by, after.revision) == (MONDAY + timedelta(days=8), before.revision + 1)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([i["id"] for i in ITEMS]), st.integers(0, 8), st.integers(0, 60)), max_size=12)
)
def test_proposals_are_orderable_consistent_and_said_once(changes: list[tuple[str, int, int]]) -> None:
    desk = Desk()
    revisions: dict[str, int] = {}
    for item, need, on_hand in changes:
        desk.need[item] = float(need)
        stock(desk.state, item, on_hand)
        for proposal in desk.look():
            assert proposal.revision == revisions.get(proposal.proposal_id, 0) + 1
            revisions[proposal.proposal_id] = proposal.revision
            assert Proposal.model_validate_json(proposal.model_dump_json()) == proposal
            for line in proposal.lines:
                entry = CLINIC.items[line.item]
                assert line.quantity % entry.order_multiple == 0
                assert line.quantity >= max(entry.minimum_order, 1)
                assert line.packs * entry.pack.containers >= line.quantity
                assert proposal.controlled == (entry.controlled_schedule is not None)
                assert entry.supplier == proposal.supplier
        assert not desk.look()
        proposed = {line.item for p in desk.state.proposals.values() for line in p.lines}
        alerted = {a.item for k, a in desk.state.alerts.items() if k.endswith("/reorder") and a.cause_persists}
        assert alerted <= proposed
