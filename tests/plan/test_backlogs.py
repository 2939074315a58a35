"""Backlogs and restarts: what is reviewed and published when, and what comes back from the table."""

from __future__ import annotations

import gc
import weakref
from datetime import timedelta

import pytest

import planner.plan.queue
import planner.plan.sites
from planner.plan.queue import (
    BACKLOG_RECORDS,
    ITEMS_MORE,
    RECORDS_PER_ITEM_REVIEWED,
    RECORDS_PER_ITEM_TOLD,
    SITES_PER_PUBLICATION,
    SiteQueue,
)
from planner.plan_step import PlanStep
from planner.reorder.policy import site_plan
from planner.step import TURN
from tests.driver import Driver
from tests.plan.clinic import (
    MAGNESIUM,
    NORTH,
    SOUTH,
    VITAMIN,
    Desk,
    at,
    bundle,
    tick,
)
from tests.plan.driving import alerts, start, stocked

REVIEWED = RECORDS_PER_ITEM_REVIEWED * (len(bundle().items) + ITEMS_MORE)
"""Records of a backlog for a review of a site that plans every item."""

# --- backlogs ---------------------------------------------------------------------------------------------


def test_in_a_backlog_reviews_are_rationed_and_made_up_at_its_end() -> None:
    driver, desk = start()
    stocked(driver, desk)
    before = driver.counts["reviews"]
    driver.append("requirements", *[desk.stated(f"b{i}", at(1), at(0)) for i in range(3 * REVIEWED)])
    driver.run(chunk=BACKLOG_RECORDS)
    assert 3 <= driver.counts["reviews"] - before <= 4
    assert driver.step.gauges()["sites_waiting"] == 0


def test_the_queue_lets_through_the_longest_waiting_and_starves_none() -> None:
    queue = SiteQueue()
    seen: list[str] = []
    for _ in range(100):
        for site in ("a", "b", "c", "d"):
            queue.reviews.setdefault(site)
        queue.folded("requirements", 10 * RECORDS_PER_ITEM_REVIEWED, caught_up=False)
        seen += queue.next_reviews(lambda _: 10 - ITEMS_MORE)
    assert {site: seen.count(site) for site in "abcd"} == dict.fromkeys("abcd", 25)


def test_what_a_record_of_a_backlog_costs_does_not_grow_with_the_items_of_a_site() -> None:
    """Ten times the items: a tenth of the reviews, and of the forecasts."""
    made: dict[int, tuple[int, int]] = {}
    for items in (10, 100):
        queue = SiteQueue()
        reviews = forecasts = 0
        for _ in range(1000):
            queue.reviews.setdefault("a")
            queue.forecasts.setdefault("a")
            queue.folded("requirements", RECORDS_PER_ITEM_REVIEWED, caught_up=False)
            reviews += len(list(queue.next_reviews(lambda _, n=items - ITEMS_MORE: n)))
            forecasts += len(queue.next_forecasts(lambda _, n=items - ITEMS_MORE: n))
        made[items] = reviews, forecasts
    share = RECORDS_PER_ITEM_REVIEWED / RECORDS_PER_ITEM_TOLD
    assert made == {10: (100, 100 * share), 100: (10, 10 * share)}


def test_what_is_reviewed_does_not_depend_on_what_was_published() -> None:
    """``planner verify`` folds the log again, and publishes nothing."""

    def reviews(*, publishing: bool) -> list[int]:
        driver, desk = start()
        driver.feed("catalogue", bundle())
        driver.feed("requirements", desk.stated("a", at(1), at(0)))
        driver.restart()
        driver.append("requirements", *[desk.stated(f"b{i}", at(1), at(0)) for i in range(12 * BACKLOG_RECORDS)])
        made = []
        while driver.backlog("requirements"):
            if publishing:
                driver.step.due()
                driver.step.outlook(NORTH)
            driver.fold_next("requirements", BACKLOG_RECORDS)
            made.append(driver.counts["reviews"])
        return made

    assert reviews(publishing=True) == reviews(publishing=False)


def test_an_event_of_a_topic_without_a_backlog_is_decided_upon_at_once() -> None:
    """While old bookings are read, a count that finds an empty shelf does not wait for their reviews."""
    driver, desk = start()
    stocked(driver, desk)
    driver.append("requirements", *[desk.stated(f"b{i}", at(1), at(0)) for i in range(3 * BACKLOG_RECORDS)])
    driver.fold_next("requirements", BACKLOG_RECORDS)
    assert driver.table.get(b"waiting") == b'["north"]'
    driver.append("stock", desk.event("stock.counted", at(0), item=MAGNESIUM, lots=[{"lot": "L1", "quantity": 0}]))
    before = len(driver.published)
    driver.fold_next("stock", 1)
    assert [message for message in driver.published[before:] if message.topic == "alerts"]
    assert driver.table.get(b"waiting") is None


def test_events_that_come_in_while_others_are_planned_are_no_backlog() -> None:
    driver, desk = start()
    stocked(driver, desk)
    driver.append("requirements", *[desk.stated(f"b{i}", at(1), at(0)) for i in range(BACKLOG_RECORDS + 10)])
    reviews = driver.counts["reviews"]
    for number in range(1, 6):
        driver.fold_next("requirements", 2)
        assert driver.counts["reviews"] == reviews + number
        assert driver.step.due(), "nor do forecasts wait"


def test_time_wakes_no_site_out_of_turn_in_a_backlog() -> None:
    driver, desk = start()
    stocked(driver, desk)
    driver.append("requirements", *[desk.stated(f"b{i}", at(1), at(0)) for i in range(2 * BACKLOG_RECORDS)])
    driver.fold_next("requirements", BACKLOG_RECORDS)
    reviews = driver.counts["reviews"]
    driver.append("clock", tick(at(1)))
    driver.fold_next("clock", 1)
    assert driver.counts["reviews"] == reviews


def test_the_queue_believes_a_topic_behind_until_it_is_not_or_falls_silent() -> None:
    queue = SiteQueue()
    queue.folded("requirements", 1, caught_up=False)
    queue.folded("clock", 1, caught_up=True)
    assert queue.in_backlog
    queue.folded("requirements", 1, caught_up=True)
    assert not queue.in_backlog
    queue.folded("requirements", 1, caught_up=False)
    for _ in range(20):
        queue.folded("clock", 1, caught_up=True)
    assert not queue.in_backlog


def test_forecasts_of_many_sites_are_published_in_turns() -> None:
    queue = SiteQueue()
    names = [f"s{i}" for i in range(SITES_PER_PUBLICATION + 3)]
    queue.forecasts |= dict.fromkeys(names)
    assert queue.next_forecasts(len) + queue.next_forecasts(len) == names
    assert queue.next_forecasts(len) == []


def test_sites_with_nothing_to_tell_do_not_keep_the_others_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    driver, desk = start()
    stocked(driver, desk)
    unknown = desk.stated("b", at(1), at(0)).replace(b'"north"', b'"absent"')
    driver.feed("requirements", unknown)
    driver.restart()
    monkeypatch.setattr(planner.plan.queue, "SITES_PER_PUBLICATION", 1)
    assert {message.key.split(b"\x1f")[0] for message in driver.step.due() if message.key} == {b"north"}
    assert driver.step.due() == []


def turns(driver: Driver[PlanStep], topic: str) -> int:
    """Fold what waits of a topic; how often others may run before the page comes."""
    pages = list(driver.step.fold(driver.backlog(topic)))
    assert [page is TURN for page in pages] == [True] * (len(pages) - 1) + [False]
    return len(pages) - 1


@pytest.mark.parametrize("clock", ["wall", "event"])
def test_others_may_run_after_each_site_of_which_a_day_begins(clock: str) -> None:
    """At a thousand sites of one time zone that is half a minute."""
    driver, desk = start(clock)
    stocked(driver, desk)
    driver.feed("stock", Desk(SOUTH).received(at(0), MAGNESIUM, 1))
    driver.append("clock", tick(at(0) + timedelta(seconds=5)))
    assert turns(driver, "clock") == 0, "time alone costs nothing"
    driver.append("clock", tick(at(1)))
    assert turns(driver, "clock") == 2


def test_others_may_run_after_each_site_that_a_new_catalogue_plans_anew() -> None:
    driver, desk = start()
    stocked(driver, desk)
    driver.feed("stock", Desk(SOUTH).received(at(0), MAGNESIUM, 1))
    driver.append("catalogue", bundle(service_level="0.9"))
    assert turns(driver, "catalogue") == 2 + 2


# --- after a restart --------------------------------------------------------------------------------------


def test_after_a_restart_forecasts_are_published_again_and_no_alert_is() -> None:
    driver, desk = start()
    stocked(driver, desk, 3)
    whole = {message.key: message.value for message in driver.step.due()}
    assert alerts(driver)
    driver.restart()
    assert {message.key: message.value for message in driver.step.due()} == whole
    assert driver.feed("clock", tick(at(0) + timedelta(seconds=5))) == []


def test_a_restart_reviews_no_site_of_which_nothing_waited() -> None:
    """With hundreds of sites in a partition their reviews would hold up the first event for a minute."""
    driver, desk = start()
    driver.feed("catalogue", bundle())
    stocked(driver, desk, 3)
    reviews = driver.counts["reviews"]
    driver.restart()
    other = Desk(SOUTH)
    driver.feed("stock", other.received(at(0), MAGNESIUM, 1))
    assert driver.counts["reviews"] == reviews + 1
    driver.feed("clock", tick(at(1)))  # and time still wakes it
    assert driver.counts["reviews"] == reviews + 3


def test_a_site_that_waits_for_its_review_waits_after_a_restart_too() -> None:
    driver, desk = start()
    stocked(driver, desk, 3)
    driver.append("requirements", *[desk.stated(f"b{i}", at(1), at(0)) for i in range(2 * BACKLOG_RECORDS)])
    driver.run(chunk=BACKLOG_RECORDS)
    decided = alerts(driver)
    crashed, desk = start()
    crashed.feed("catalogue", bundle())
    stocked(crashed, desk, 3)
    crashed.append("requirements", *[desk.stated(f"b{i}", at(1), at(0)) for i in range(2 * BACKLOG_RECORDS)])
    crashed.fold_next("requirements", BACKLOG_RECORDS)
    assert crashed.table.get(b"waiting") == b'["north"]'
    crashed.restart()
    assert crashed.step.gauges()["sites_waiting"] == 1
    crashed.run()
    assert crashed.table.get(b"waiting") is None
    assert alerts(crashed).keys() == decided.keys()


def test_without_the_catalogue_in_the_table_a_restart_reviews_all() -> None:
    driver, desk = start()
    stocked(driver, desk, 1000)
    reviews = driver.counts["reviews"]
    driver.restart()
    driver.feed("clock", tick(at(0) + timedelta(seconds=5)))
    assert driver.counts["reviews"] == reviews + 1


def test_a_crash_before_the_table_is_written_gives_the_same_again() -> None:
    driver, desk = start()
    stocked(driver, desk, 5)
    driver.append("requirements", *[desk.stated(f"b{i}", at(1), at(0)) for i in range(5)])
    lost = driver.crash(topic="requirements")
    before = len(driver.published)
    driver.run()
    assert driver.published[before:] == lost
    assert lost


def test_an_open_container_ends_by_the_clock_after_a_restart_too() -> None:
    driver, desk = start()
    stocked(driver, desk, 3)
    driver.feed("stock", desk.event("stock.dispensed", at(0), item=VITAMIN, volume_ml="1"))
    driver.restart()
    driver.feed("clock", tick(at(2, "08:59")))
    assert driver.step.sites[NORTH].stock[VITAMIN].open
    driver.feed("clock", tick(at(2)))
    assert not driver.step.sites[NORTH].stock[VITAMIN].open


def test_readers_are_told_why() -> None:
    driver, desk = start()
    stocked(driver, desk, 3)
    explanation = driver.step.explain(NORTH, MAGNESIUM)
    assert explanation.item == MAGNESIUM
    with pytest.raises(ValueError, match="no clock event"):
        PlanStep(0, bundle()).outlook(NORTH)


# --- what is held in memory -------------------------------------------------------------------------------


def test_plans_let_go_are_made_anew_to_the_same_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """With room for one plan, two sites by turns: the same alerts, proposals, forecasts and table as with room."""

    def messages(held: int) -> tuple[list[object], dict[bytes, bytes]]:
        monkeypatch.setattr(planner.plan.sites, "PLANS_HELD", held)
        driver, desk = start()
        south = Desk(SOUTH)
        told: list[object] = []
        stocked(driver, desk, 6)
        for number in range(8):
            when = at(number // 3)
            driver.feed("clock", tick(when))
            driver.feed("requirements", desk.stated(f"n{number}", at(number // 3 + 2), when))
            driver.feed("requirements", south.stated(f"s{number}", at(number // 2 + 1), when))
            driver.feed("stock", desk.received(when, VITAMIN, 2, lot=f"L{number}"))
            driver.run()
            if number % 2:
                told += driver.step.due()
        sites = list(driver.step.sites)
        assert sites == [NORTH, SOUTH]
        return [*driver.published, *told], dict(driver.table.entries)

    assert messages(1) == messages(100)


def test_only_some_plans_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planner.plan.sites, "PLANS_HELD", 1)
    driver, desk = start()
    driver.feed("requirements", desk.stated("n", at(1), at(0)))
    outlook = driver.step.outlook(NORTH)
    plan = site_plan(driver.step.sites[NORTH], driver.step.catalogue, outlook, at(0))
    held = weakref.ref(outlook), weakref.ref(plan)
    del outlook, plan
    assert all(each() is not None for each in held)
    driver.feed("requirements", Desk(SOUTH).stated("s", at(1), at(0)))
    gc.collect()
    assert all(each() is None for each in held)


def test_sites_share_what_is_expected_of_a_supplier_that_never_delivered_there() -> None:
    driver, desk = start()
    driver.feed("stock", Desk(SOUTH).received(at(0), MAGNESIUM, 1))
    lines = [{"item": MAGNESIUM, "quantity": 10}]
    driver.feed("orders", desk.event("order.placed", at(0), order_id="o", supplier="acme", lines=lines))
    lot = {"item": MAGNESIUM, "lot": "L1", "expiry": "2028-01-01", "quantity": 10}
    driver.feed("stock", desk.event("stock.received", at(2), order_id="o", **lot))
    north, south = (driver.step.sites[site].learned.lateness for site in (NORTH, SOUTH))
    catalogue = driver.step.catalogue
    ours, theirs = north.punctuality(catalogue), south.punctuality(catalogue)
    delivered = set(north.suppliers)
    assert delivered
    assert {supplier for supplier, each in ours.items() if each is not theirs[supplier]} == delivered
    north.let_go()
    again = north.punctuality(catalogue)
    assert all(again[supplier] is not ours[supplier] for supplier in delivered), "and what it took is not held"


def test_what_alerts_share_is_shared_after_a_restart_too() -> None:
    """Thousands of alerts of a chain in a shortage name the same sessions."""
    driver, desk = start()
    driver.feed("requirements", *[desk.stated(f"b{i}", at(1), at(0)) for i in range(3)])
    entries = driver.table.entries
    key = next(key for key, value in entries.items() if key.startswith(b"alert") and b'"booking_id"' in value)
    entries[key + b"-too"] = entries[key]
    driver.restart()
    alerts = driver.step.sites[NORTH].alerts
    name = key.decode().rpartition("\x1f")[2]
    missed, again = alerts[name].sessions_at_risk, alerts[f"{name}-too"].sessions_at_risk
    assert len(missed) == 3
    assert all(one is other for one, other in zip(missed, again, strict=True))


def test_partitions_share_one_catalogue() -> None:
    """Read from a record or from the table: that of a chain takes tens of megabytes."""
    driver, _ = start()
    other, _ = start()
    for one in (driver, other):
        one.feed("catalogue", bundle(service_level="0.97"))
    assert driver.step.catalogue.bundle is other.step.catalogue.bundle
    driver.restart()
    assert driver.step.catalogue.bundle is other.step.catalogue.bundle
