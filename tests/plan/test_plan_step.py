"""The plan step: time, bookings, catalogues, bounds, and what it says of unreadable records."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import orjson
import pytest

from planner.plan_step import PlanStep
from planner.site.bookings import KEEP_DAYS, UNSETTLED_KEEP_DAYS, unsettled_bookings
from planner.site.state import SETTLE_DAYS
from tests.driver import Driver
from tests.plan.clinic import (
    CATHETER,
    MAGNESIUM,
    MONDAY,
    NORTH,
    SOUTH,
    VITAMIN,
    Desk,
    at,
    bundle,
    tick,
)
from tests.plan.driving import alerts, start, stocked

# --- alerts at once, forecasts when due -------------------------------------------------------------------


def test_an_event_raises_and_resolves_an_alert_and_is_named_by_it() -> None:
    driver, desk = start()
    stocked(driver, desk)
    driver.feed("stock", desk.event("stock.counted", at(0), item=MAGNESIUM, lots=[{"lot": "L1", "quantity": 1}]))
    count = f"{NORTH}-stock.counted-5"
    assert alerts(driver)["north/magnesium-vial/reorder/1"] == f"open by {count}"
    driver.feed("stock", desk.received(at(0), MAGNESIUM, 500, lot="L2"))
    assert alerts(driver)["north/magnesium-vial/reorder/1"] == f"resolved by {NORTH}-stock.received-6"
    assert driver.values("proposals")[-1]["lines"] == [], "nothing remains to be ordered"


def test_an_alert_that_time_raises_names_the_tick() -> None:
    driver, desk = start()
    stocked(driver, desk, 12)
    driver.feed("requirements", *(desk.stated(f"b{i}", at(20), at(0)) for i in range(6)))
    assert "north/magnesium-vial/stock-out/1" not in alerts(driver), "an order still comes in time"
    nearer = tick(at(19))
    driver.feed("clock", nearer)
    raised = {key: said for key, said in alerts(driver).items() if "magnesium-vial" in key and "open" in said}
    assert raised
    assert all(said == f"open by {nearer['event_id']}" for said in raised.values()), raised


def test_what_time_alone_changes_is_not_the_doing_of_another_sites_event() -> None:
    driver, desk = start("event", ticked=False)
    stocked(driver, desk, 12)
    driver.feed("requirements", *(desk.stated(f"b{i}", at(20), at(0)) for i in range(6)))
    before = alerts(driver)
    driver.feed("stock", Desk(SOUTH).received(at(19), MAGNESIUM, 10))
    raised = {key: said for key, said in alerts(driver).items() if key.startswith("north/") and key not in before}
    assert raised
    assert all(said == f"open by clock/{at(19).isoformat()}" for said in raised.values()), raised


def test_forecasts_wait_until_they_are_due_and_only_for_what_was_touched() -> None:
    driver, desk = start()
    stocked(driver, desk)
    first = driver.step.due()
    assert len(first) > 8
    assert driver.step.due() == []
    driver.feed("stock", desk.received(at(0), MAGNESIUM, 5))
    assert [message.key for message in driver.step.due()] == [
        b"north\x1fcomponent\x1fmagnesium",
        b"north\x1fgroup\x1fdrugs",
        b"north\x1fitem\x1fmagnesium-vial",
    ]


def test_a_day_that_begins_publishes_everything_again() -> None:
    driver, desk = start()
    stocked(driver, desk)
    whole = {message.key for message in driver.step.due()}
    driver.feed("clock", tick(at(0, "23:59")))
    counts = driver.counts["reviews"]
    driver.feed("clock", tick(at(0, "23:59") + timedelta(seconds=1)))
    assert driver.counts["reviews"] == counts, "a tick that crosses nothing costs nothing"
    driver.step.due()
    driver.feed("clock", tick(at(1, "00:00")))
    assert driver.counts["reviews"] == counts + 1
    due = driver.step.due()
    assert {message.key for message in due} == whole
    assert orjson.loads(due[0].value or b"")["first_day"] == "2026-11-17"


def test_time_never_runs_back() -> None:
    driver, desk = start()
    stocked(driver, desk)
    driver.feed("clock", tick(at(3)), tick(at(1)), {**tick(at(4)), "now": "9999-12-31T23:59:59-12:00"})
    assert driver.step.now == at(3)
    driver.restart()
    assert driver.step.now == at(3)


# --- the clock of the events ------------------------------------------------------------------------------


def test_in_event_mode_events_move_time_and_days_are_reviewed_as_they_begin() -> None:
    driver, desk = start("event", ticked=False)
    stocked(driver, desk)
    assert driver.step.now == at(0)
    early = [desk.stated(f"b{i}", at(2), at(0)) for i in range(3)]
    later = [desk.stated("late", at(9), at(day)) for day in (1, 2)]
    driver.append("requirements", *early, *later)
    driver.run(chunk=100)
    assert driver.step.now == at(2)
    assert driver.counts["reviews"] == len(("receipts",) * 4) + 2 + 1, "two days began, and the chunk's own review"


# --- bookings ---------------------------------------------------------------------------------------------


def test_a_completed_session_takes_its_use_where_completions_do() -> None:
    driver, desk = start()
    stocked(driver, desk, 10)
    driver.feed("requirements", desk.stated("b1", at(0), at(0)), desk.used("b1", at(0)), desk.used("b1", at(0)))
    shelf = driver.step.sites[NORTH].stock
    assert shelf[MAGNESIUM].lots["L1"].quantity == 8, "a session is used once, however often it is said"
    assert shelf[VITAMIN].open[0].remaining_ml == 28

    south = Desk(SOUTH)
    driver.feed("stock", south.received(at(0), MAGNESIUM, 10))
    driver.feed("requirements", south.stated("b2", at(0), at(0)), south.used("b2", at(0)))
    assert driver.step.sites[SOUTH].stock[MAGNESIUM].lots["L1"].quantity == 10


def test_a_session_used_after_it_was_withdrawn_is_still_used() -> None:
    driver, desk = start()
    stocked(driver, desk, 10)
    driver.feed("requirements", desk.stated("b1", at(0), at(0)))
    driver.feed("requirements", desk.withdrawn("b1", at(0), "missed"), desk.used("b1", at(0)))
    assert driver.step.sites[NORTH].stock[MAGNESIUM].lots["L1"].quantity == 8


def test_profiles_are_shared_and_dropped_with_their_last_booking() -> None:
    driver, desk = start()
    kg = [desk.stated(f"k{w}", at(3), at(0), protocol="ketamine", weight_kg=str(w)) for w in (60, 70, 120)]
    driver.feed("requirements", *kg, *[desk.stated(f"b{i}", at(3), at(0)) for i in range(9)])
    state = driver.step.sites[NORTH]
    assert sorted(state.profile_uses.values()) == [3, 9], "6, 7 and 12 mL are one vial of 20 mL each"
    for weight in (60, 70, 120):
        driver.feed("requirements", desk.withdrawn(f"k{weight}", at(0)))
    driver.feed("clock", tick(at(KEEP_DAYS + 4)))
    assert list(state.profile_uses.values()) == [9], "the nine sessions that nobody has settled"
    assert len([key for key in driver.table.entries if key.startswith(b"profile")]) == 1


def test_what_is_over_is_forgotten_and_the_unsettled_is_reported() -> None:
    driver, desk = start()
    driver.feed("requirements", *[desk.stated(b, at(1), at(0)) for b in ("done", "gone", "open")])
    driver.feed("requirements", desk.used("done", at(1)), desk.withdrawn("gone", at(1)))
    driver.feed("stock", desk.received(at(0), MAGNESIUM, 1, expiry="2026-11-18"))
    driver.feed("stock", desk.event("stock.wasted", at(0), item=MAGNESIUM, quantity=1, reason="broken"))
    driver.feed("orders", desk.event("order.placed", at(0), order_id="o", supplier="acme", lines=[line(CATHETER, 9)]))
    driver.feed("orders", desk.event("order.cancelled", at(0), order_id="o"))
    state = driver.step.sites[NORTH]

    driver.feed("clock", tick(at(1 + SETTLE_DAYS)))
    assert driver.step.gauges()["bookings_unsettled"] == 0
    assert sum(state.demand[MONDAY.toordinal() + 1].values()) == 1
    driver.feed("clock", tick(at(2 + SETTLE_DAYS)))
    assert driver.step.gauges()["bookings_unsettled"] == 1
    assert unsettled_bookings(state) == [(MONDAY + timedelta(days=1), "open")]
    assert not state.demand

    driver.feed("clock", tick(at(1 + KEEP_DAYS)))
    assert (set(state.bookings), len(state.seen), set(state.orders)) == ({"done", "gone", "open"}, 0, set())
    driver.feed("clock", tick(at(3 + KEEP_DAYS)))
    assert set(state.bookings) == {"open"}
    assert not state.stock[MAGNESIUM].lots
    driver.feed("clock", tick(at(2 + UNSETTLED_KEEP_DAYS)))
    assert not state.bookings
    assert driver.counts["bookings_forgotten_unsettled"] == 1
    left = {key.split(b"\x1f")[0] for key in driver.table.entries} - {b"@position"}
    assert left <= {b"clock", b"site", b"stock", b"alert", b"proposal", b"learned", b"told"}


def test_of_an_alert_that_is_forgotten_no_earlier_episode_stays_on_its_topic() -> None:
    """Found by kafka_kills --city: the first episode of an order that was overdue twice was told for ever."""
    driver, desk = start()
    stocked(driver, desk)
    driver.feed("orders", desk.event("order.placed", at(0), order_id="o", supplier="acme", lines=[line(CATHETER, 9)]))
    driver.feed("clock", tick(at(8)))
    driver.feed("orders", desk.event("order.confirmed", at(8), order_id="o", promised=MONDAY + timedelta(days=15)))
    driver.feed("clock", tick(at(20)))
    driver.feed("orders", desk.event("order.cancelled", at(20), order_id="o"))

    def told() -> dict[bytes | None, bool]:
        last = {message.key: message.value is not None for message in driver.messages("alerts")}
        return {key: there for key, there in last.items() if key and b"order-overdue" in key}

    assert told() == {b"north/catheter/order-overdue/o/%d" % episode: True for episode in (1, 2)}
    driver.feed("clock", tick(at(22 + KEEP_DAYS)))
    assert not any(told().values())


def line(item: str, quantity: int) -> dict[str, Any]:
    return {"item": item, "quantity": quantity}


# --- catalogues and sites ---------------------------------------------------------------------------------


def test_a_catalogue_comes_into_force_and_everything_is_planned_by_it() -> None:
    driver, desk = start()
    stocked(driver, desk)
    driver.feed("requirements", desk.stated("b", at(1), at(0)))
    driver.step.due()
    stricter = bundle(service_level="0.99")
    driver.feed("catalogue", stricter)
    assert driver.step.catalogue.version == stricter.version
    assert {orjson.loads(m.value or b"")["catalogue_version"] for m in driver.step.due()} == {stricter.version}
    assert driver.values("outcomes")[-1]["event_id"] != "catalogue", "the step of expand answers for it"
    driver.restart()
    assert driver.step.catalogue.version == stricter.version


def test_a_faulty_catalogue_changes_nothing() -> None:
    driver, desk = start()
    stocked(driver, desk)
    good = driver.step.catalogue.version
    forged = bundle(service_level="0.99").model_copy(update={"version": "forged"})
    driver.feed("catalogue", forged, b"{broken")
    assert driver.step.catalogue.version == good
    assert driver.counts["catalogues_unreadable"] == 2
    assert not driver.messages("dead-letters")


def test_a_requirement_of_a_site_not_yet_known_is_kept_and_planned_when_it_is() -> None:
    driver = Driver(lambda: PlanStep(0, bundle(sites=(SOUTH,))))
    desk = Desk()
    driver.feed("clock", tick(at(0)))
    driver.feed("requirements", desk.stated("b", at(1), at(0)))
    driver.feed("stock", desk.received(at(0), MAGNESIUM, 1))
    assert driver.outcomes() == ["north-stock.received-1: refused unknown-site"]
    assert driver.step.due() == []
    with pytest.raises(KeyError):
        driver.step.outlook(NORTH)
    driver.feed("catalogue", bundle())
    assert driver.step.due()
    assert driver.step.outlook(NORTH).need.mean.sum() > 0


def test_a_site_that_the_catalogue_loses_is_kept() -> None:
    driver, desk = start()
    stocked(driver, desk)
    driver.feed("catalogue", bundle(sites=(SOUTH,)))
    driver.feed("clock", tick(at(2)))
    assert driver.step.sites[NORTH].stock[MAGNESIUM].lots["L1"].quantity == 1000
    driver.feed("catalogue", bundle())
    assert driver.step.outlook(NORTH).need.first_day == MONDAY + timedelta(days=2)


# --- unreadable records -----------------------------------------------------------------------------------


def test_an_unreadable_event_is_kept_byte_for_byte_and_harms_nothing_else() -> None:
    driver, desk = start()
    driver.feed("stock", b"\xff{", desk.received(at(0), MAGNESIUM, 1), None, b"x" * 1_048_577)
    reasons = [dict(m.headers)["reason"] for m in driver.messages("dead-letters")]
    assert reasons == [b"invalid-json", b"no-value", b"too-large"]
    assert driver.messages("dead-letters")[0].value == b"\xff{"
    assert driver.outcomes() == [
        "stock/0/0: dead-lettered invalid-json",
        "north-stock.received-1: applied",
        "stock/0/2: dead-lettered no-value",
        "stock/0/3: dead-lettered too-large",
    ]


def test_an_unreadable_requirement_or_tick_has_no_outcome() -> None:
    driver, desk = start()
    stated = orjson.loads(desk.stated("b", at(1), at(0)))
    unbelievable = (
        {"occurred_at": "9999-12-31T23:59:59-12:00"},
        {"start": "0001-01-01T00:00:00Z"},
        {"start": "9999-12-31T23:59:59-12:00"},
        {"day": "0001-01-01"},
    )
    driver.feed("requirements", b"{broken", *({**stated, **wrong} for wrong in unbelievable))
    driver.feed("clock", b"{broken")
    reasons = [dict(m.headers)["reason"] for m in driver.messages("dead-letters")]
    assert reasons == [
        b"invalid-json",
        b"occurred-at-out-of-range",
        b"start-out-of-range",
        b"start-out-of-range",
        b"day-out-of-range",
        b"invalid-json",
    ]
    assert not driver.outcomes()
