"""What if: the catalogue that was asked for, the days of the log, and what comes of both."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Any

import numpy as np
import orjson
import pytest

from planner.catalogue.check import check_bundle
from planner.catalogue.digest import version_of
from planner.catalogue.index import Catalogue
from planner.catalogue.model import Bundle
from planner.learning.lateness import Lateness
from planner.simulation.book import Session
from planner.simulation.measure import Run
from planner.simulation.planner_policy import PlannerPolicy
from planner.simulation.present import Present, differing, plan_present, vary_present
from planner.simulation.whatif import (
    FIGURES,
    CannotAsk,
    Changes,
    Figure,
    Walk,
    WalkedThrough,
    changed_bundle,
    difference,
    walk_through,
)
from planner.simulation.whatif_log import (
    LEARNING_SHARE,
    NothingToWalk,
    SiteLog,
    accepted,
    left_out,
    read_site_log,
    real_bookings,
    vary,
)
from planner.simulation.world import Fate, SiteWorld
from planner.site.state import SiteState
from tests.simulation.small import bundle

SITE = "north"
VIAL = "magnesium-sulfate-500mg-ml-2ml-vial"
FLUSH = "saline-flush-10ml"
DAYS = 42
FIRST = date(2026, 2, 2)
"""A Monday."""


# --- a small site and its log -------------------------------------------------------------------------------


@cache
def small_bundle(level: str = "0.98") -> Bundle:
    """The default catalogue with one site that gives two protocols, at this service level."""
    body = bundle().model_dump()
    body["sites"] = [site for site in body["sites"] if site["id"] == SITE]
    body["sites"][0]["expected_sessions"] = [
        expected
        for expected in body["sites"][0]["expected_sessions"]
        if expected["protocol"] in {"magnesium", "hydration"}
    ]
    for policy in body["policies"]:
        policy["service_level"] = Decimal(level)
    made = Bundle.model_validate(body)
    made = made.model_copy(update={"version": version_of(made)})
    assert check_bundle(made) == ()
    return made


def event(booking: str, version: int, kind: str, at: datetime, **body: Any) -> bytes:
    head = {
        "type": f"booking.{kind}",
        "event_id": f"{booking}/{version}",
        "occurred_at": at.isoformat(),
        "source": "test",
        "booking_id": booking,
        "version": version,
    }
    return orjson.dumps(head | body)


@cache
def told(days: int = DAYS) -> tuple[bytes, ...]:
    """A book of four to eight sessions a working day; a tenth is cancelled; pairs of bookings are series."""
    random = np.random.default_rng(5)
    events: list[tuple[datetime, bytes]] = []
    number = 0
    for day in range(days):
        on = FIRST + timedelta(days=day)
        if on.weekday() > 4:
            continue
        for _ in range(int(random.integers(4, 9))):
            number += 1
            name = f"bk-{number}"
            start = datetime(on.year, on.month, on.day, 16 + number % 5, tzinfo=UTC)
            booked = start - timedelta(days=int(random.integers(1, 12)))
            body = {
                "site": SITE,
                "protocol": "magnesium" if random.random() < 0.8 else "hydration",
                "start": start.isoformat(),
                "series_id": f"series-{number // 2}" if number % 4 < 2 else None,
            }
            events.append((booked, event(name, 1, "booked", booked, **body)))
            if random.random() < 0.1:
                at = booked + timedelta(hours=3)
                events.append((at, event(name, 2, "cancelled", at)))
            else:
                at = start + timedelta(hours=1)
                events.append((at, event(name, 2, "completed", at)))
    return tuple(raw for _, raw in sorted(events))


@cache
def site_log() -> SiteLog:
    return read_site_log(told(), Catalogue(small_bundle()), SITE, 90)


@cache
def walked(level: str, changes: Changes, seeds: tuple[int, ...] = (1, 2)) -> WalkedThrough:
    base = small_bundle(level)
    changed = changed_bundle(base, SITE, changes)
    return walk_through(base, changed, changes, site_log(), lateness=Lateness(), seeds=seeds)


def figures(found: WalkedThrough) -> dict[str, tuple[float, float]]:
    return {one.figure.name: (one.before, one.after) for one in found.differences()}


# --- the catalogue ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (Changes(service_level=Decimal("1.5")), "service-level: found 1.5; expected above 0 and below 1"),
        (Changes(lead_times=(("acme", 3),)), "lead-time: found 'acme'; expected an item .*wholesaler"),
        (Changes(lead_times=((FLUSH, 400),)), "lead-time: saline-flush-10ml: found 400; expected from 0 to 365"),
        (Changes(suppliers=((FLUSH, "acme"),)), "supplier: saline-flush-10ml: found 'acme'; expected one of .*fluid"),
        (Changes(suppliers=(("acme", "wholesaler"),)), "supplier: item: found 'acme'; expected one of"),
        (Changes(protocols=(("magic", 1),)), "protocol: found 'magic'; expected one of .*magnesium"),
        (Changes(protocols=(("magnesium", 7),)), "protocol: magnesium: found version 7; expected one of 1, 2"),
        (Changes(bookings=1.5), r"bookings: found \+150%; expected from -90% to \+100%"),
        (Changes(service_level=Decimal("0.980")), "nothing is changed"),
        (Changes(lead_times=(("wholesaler", 1),)), "nothing is changed"),
    ],
)
def test_what_cannot_be_is_refused_by_field_and_value(changes: Changes, said: str) -> None:
    with pytest.raises(CannotAsk, match=said):
        changed_bundle(small_bundle(), SITE, changes)


def test_an_unknown_site_is_refused() -> None:
    with pytest.raises(CannotAsk, match="site: found 'south'; expected one of the catalogue's: north"):
        changed_bundle(small_bundle(), "south", Changes(service_level=Decimal("0.9")))


def test_a_new_supplier_brings_its_lead_time() -> None:
    own = changed_bundle(small_bundle(), SITE, Changes(lead_times=((FLUSH, 33),)))
    assert Catalogue(own).stated_lead_days(FLUSH) == 33
    moved = Catalogue(changed_bundle(own, SITE, Changes(suppliers=((FLUSH, "fluid-maker"),))))
    assert moved.supplier_of(FLUSH).id == "fluid-maker"
    assert moved.stated_lead_days(FLUSH) == 4
    assert check_bundle(moved.bundle) == ()


def test_a_version_is_in_force_on_all_days() -> None:
    changed = Catalogue(changed_bundle(small_bundle(), SITE, Changes(protocols=(("magnesium", 1),))))
    for day in (date(2012, 1, 1), date(2026, 1, 1)):
        version = changed.protocol_version("magnesium", day)
        assert version is not None
        assert version.version == 1


def test_only_the_sites_policy_is_changed() -> None:
    changed = changed_bundle(small_bundle(), SITE, Changes(service_level=Decimal("0.9"), service_measure="fill"))
    found = {policy.id: (policy.service_level, policy.service_measure) for policy in changed.policies}
    assert found["standard"] == (Decimal("0.9"), "fill")
    assert found["critical"] == (Decimal("0.98"), "cycle")


# --- the log ------------------------------------------------------------------------------------------------


def test_the_window_ends_with_the_last_session_and_leaves_days_to_learn() -> None:
    window = site_log().window
    last = FIRST + timedelta(days=DAYS - 3)  # a Friday
    assert window.last_day == last
    span = (last - FIRST).days + 1
    assert window.warm_up_days == int(span * LEARNING_SHARE)
    assert window.first_day == FIRST
    short = read_site_log(told(), Catalogue(small_bundle()), SITE, 14).window
    assert (short.days, short.last_day, short.first_day) == (14, last, FIRST)


def test_sessions_before_the_window_are_left_out() -> None:
    log = read_site_log(told(200), Catalogue(small_bundle()), SITE, 14)
    assert log.window.first_day == log.window.last_day - timedelta(days=14 + 84 - 1)
    starts = [orjson.loads(line)["start"] for line in log.lines if b"booking.booked" in line]
    assert min(starts)[:10] >= log.window.first_day.isoformat()
    assert len(log.lines) < len(told(200))


def test_a_log_with_too_little_is_refused() -> None:
    catalogue = Catalogue(small_bundle())
    with pytest.raises(NothingToWalk, match="bookings of north: found no completed session"):
        read_site_log([line for line in told() if b"completed" not in line], catalogue, SITE, 90)
    with pytest.raises(NothingToWalk, match=r"span 12 days .* expected at least 14"):
        read_site_log(told(12), catalogue, SITE, 90)
    with pytest.raises(NothingToWalk, match="bookings of harbor"):
        read_site_log(told(), Catalogue(bundle()), "harbor", 90)


def test_only_what_the_booking_step_applies_counts() -> None:
    at = datetime(2026, 2, 2, 12, tzinfo=UTC)
    body = {"site": SITE, "protocol": "magnesium", "start": "2026-02-05T17:00:00+00:00"}
    good = event("one", 1, "booked", at, **body)
    lines = [
        good,
        good,
        event("two", 1, "booked", at, **(body | {"protocol": "magic"})),
        event("one", 2, "completed", at + timedelta(days=4)),
        event("one", 1, "cancelled", at + timedelta(days=5)),
        b'{"type": "booking.booked", "booking_id": "three"}',
    ]
    assert accepted(lines, small_bundle()) == [lines[0], lines[3]]


def test_sessions_that_the_catalogue_cannot_expand_are_counted() -> None:
    at = datetime(2026, 2, 2, 12, tzinfo=UTC)
    strange = [
        event("strange", 1, "booked", at, site=SITE, protocol="magic", start="2026-02-05T17:00:00+00:00"),
        event("strange", 2, "completed", at + timedelta(days=4)),
    ]
    for lines, expected in ((told(), 0), ((*told(), *strange), 1)):
        assert left_out(lines, real_bookings(lines, small_bundle())) == expected


def test_lines_that_are_no_events_are_passed_over() -> None:
    lines = [b"{broken", b"[1]", b'{"type": "stock.counted", "booking_id": "x"}', *told()]
    assert read_site_log(lines, Catalogue(small_bundle()), SITE, 90) == site_log()


def _by_booking(lines: Sequence[bytes]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for line in lines:
        read = orjson.loads(line)
        found.setdefault(read["booking_id"], []).append(read)
    return found


def test_more_bookings_are_copies_of_whole_series() -> None:
    before = _by_booking(told())
    lines = vary(told(), 0.2, 3)
    after = _by_booking(lines)
    assert len(after) - len(before) == pytest.approx(0.2 * len(before), abs=1)
    assert {name: after[name] for name in before} == before
    copies = {name: events for name, events in after.items() if name not in before}
    series = [events[0]["series_id"] for events in before.values() if events[0]["series_id"]]
    copied = [events[0]["series_id"] for events in copies.values() if events[0]["series_id"]]
    assert copied
    assert not set(copied) & set(series)
    assert {copied.count(name) for name in copied} <= {series.count(name) for name in series}
    ids = [read["event_id"] for events in after.values() for read in events]
    assert len(ids) == len(set(ids))
    assert len(accepted(lines, small_bundle())) == len(lines)
    assert vary(told(), 0.2, 3) == lines != vary(told(), 0.2, 4)


def test_fewer_bookings_leave_out_whole_series() -> None:
    before, after = _by_booking(told()), _by_booking(vary(told(), -0.1, 3))
    assert len(before) - len(after) == pytest.approx(0.1 * len(before), abs=1)
    assert all(before[name] == events for name, events in after.items())
    kept = {events[0]["series_id"] for events in after.values()} - {None}
    gone = {before[name][0]["series_id"] for name in before.keys() - after.keys()} - {None}
    assert gone
    assert not kept & gone


# --- the walk -----------------------------------------------------------------------------------------------


def test_a_higher_service_level_keeps_more_stock_and_sends_fewer_home() -> None:
    found = figures(walked("0.6", Changes(service_level=Decimal("0.99"))))
    assert found["mean_value"][1] > found["mean_value"][0] * 1.05
    assert found["sent_home"][1] < found["sent_home"][0]
    assert found["fill"][1] > found["fill"][0]
    assert found["sessions"][0] == found["sessions"][1]


def test_a_longer_lead_time_costs_stock_or_sessions() -> None:
    longer = Changes(lead_times=(("wholesaler", 12), ("supply-house", 12), ("fluid-maker", 12)))
    found = figures(walked("0.98", longer))
    assert found["mean_value"][1] > found["mean_value"][0] or found["sent_home"][1] > found["sent_home"][0]
    assert found["sessions"][0] == found["sessions"][1]


def test_more_bookings_order_more_and_fewer_less() -> None:
    more, fewer = (figures(walked("0.98", Changes(bookings=share))) for share in (0.4, -0.4))
    assert more["sessions"][1] > 1.25 * more["sessions"][0]
    assert more["ordered"][1] > more["ordered"][0]
    assert fewer["sessions"][1] < 0.75 * fewer["sessions"][0]
    assert fewer["ordered"][1] < fewer["ordered"][0]


def test_another_version_uses_what_it_says() -> None:
    found = walked("0.98", Changes(protocols=(("magnesium", 1),)), (1,))
    before, after = found.before[0], found.after[0]
    assert before.sessions == after.sessions
    # 1 g instead of 2: half of the vials, and no ketorolac beside it
    assert after.items[VIAL].wanted == pytest.approx(before.items[VIAL].wanted / 2)
    assert before.items["ketorolac-30mg-ml-1ml-vial"].wanted > 0
    ketorolac = after.items.get("ketorolac-30mg-ml-1ml-vial")
    assert ketorolac is None or ketorolac.wanted == 0


def test_the_same_seeds_give_the_same_answer() -> None:
    changes = Changes(bookings=0.4)
    again = walk_through(
        small_bundle(),
        changed_bundle(small_bundle(), SITE, changes),
        changes,
        site_log(),
        lateness=Lateness(),
        seeds=(1,),
    )
    known = walked("0.98", changes)
    assert again.before[0] == known.before[0]
    assert again.after[0] == known.after[0]
    assert known.before[0] != replace(known.before[1], seed=1), "other seeds, other luck"


def sessions(fate: Fate) -> dict[str, Session]:
    return {session.booking_id: session for of_day in fate.book.sessions.values() for session in of_day}


def test_what_is_changed_changes_nobodys_luck() -> None:
    base, seed = small_bundle(), 4
    moved = changed_bundle(base, SITE, Changes(suppliers=((FLUSH, "wholesaler"),)))
    as_it_is, *others = (
        Walk(made, site_log(), real_bookings(vary(site_log().lines, share, seed), base), Lateness(), seed).fate()
        for made, share in ((base, 0.0), (moved, 0.4), (moved, -0.4))
    )
    known = sessions(as_it_is)
    for fate in others:
        found = sessions(fate)
        assert len(found) != len(known)
        common = found.keys() & known.keys()
        assert len(common) == min(len(found), len(known))
        assert {name: found[name] for name in common} == {name: known[name] for name in common}
        rows = list(fate.clinic.items)
        assert rows == list(as_it_is.clinic.items)
        same = [row for row, item in enumerate(rows) if item != FLUSH]
        assert np.array_equal(fate.late_days[same], as_it_is.late_days[same])


def test_the_planner_follows_the_sites_own_policy() -> None:
    walk = Walk(small_bundle("0.9"), site_log(), real_bookings(site_log().lines, small_bundle()), Lateness(), 1)
    policy = walk.clinic().catalogue.policy_of(SITE)
    assert policy == next(p for p in small_bundle("0.9").policies if p.id == policy.id)


def test_the_interval_of_a_difference_is_students() -> None:
    def run(money: float) -> Run:
        return Run("planner", 1, {}, int(money), 0, 0, 0, 1)

    figure = Figure("complete", "complete", lambda run: run.complete)
    found = difference(figure, [run(10), run(20), run(30)], [run(11), run(23), run(32)])
    assert (found.before, found.after, found.value) == (20, 22, 2)
    # differences 1, 3, 2: standard error 1 ÷ √3; Student's t with 2 degrees of freedom: 4.3027
    assert (found.low, found.high) == pytest.approx((2 - 4.3027 / 3**0.5, 2 + 4.3027 / 3**0.5), abs=1e-4)
    single = difference(figure, [run(10)], [run(12)])
    assert single.value == 2
    assert np.isnan(single.low)


def test_figures_have_names_of_their_own() -> None:
    assert len({figure.name for figure in FIGURES}) == len(FIGURES)


# --- the present --------------------------------------------------------------------------------------------


@cache
def _lived() -> tuple[SiteState, datetime]:
    """The planner's own books of the site after four weeks."""
    walk = Walk(small_bundle(), site_log(), real_bookings(site_log().lines, small_bundle()), Lateness(), 1)
    policy = PlannerPolicy(walk.clinic())
    SiteWorld(walk.fate()).run(policy, until=25)
    now = policy.plan.now
    assert now is not None
    return policy.plan.sites[SITE], now


def present(made: Bundle, bookings: float = 0.0) -> Present:
    state, now = _lived()
    state = copy.deepcopy(state)
    if bookings:
        vary_present(state, bookings, 1)
    return plan_present(state, Catalogue(made), now, 1 + bookings)


def test_the_present_as_it_is_does_not_differ_from_itself() -> None:
    first = present(small_bundle())
    assert differing(first, present(small_bundle())) == []
    assert VIAL in first.items


def test_a_longer_lead_time_is_a_risk_now() -> None:
    before = present(small_bundle())
    after = present(changed_bundle(small_bundle(), SITE, Changes(lead_times=(("wholesaler", 20),))))
    assert after.risk > before.risk + 0.5
    assert VIAL in differing(before, after)
    assert after.items[VIAL].quantity >= before.items[VIAL].quantity
    orders = [p.items[VIAL].order_by for p in (before, after)]
    assert orders[0] is not None
    assert orders[1] is not None
    assert orders[1] < orders[0]


def test_a_higher_service_level_orders_earlier_now() -> None:
    before = present(small_bundle())
    after = present(changed_bundle(small_bundle(), SITE, Changes(service_level=Decimal("0.9999"))))
    assert after.quantity >= before.quantity
    days = [
        (first.order_by, second.order_by)
        for name, first in before.items.items()
        if (second := after.items[name]).order_by is not None and first.order_by is not None
    ]
    assert all(later <= sooner for sooner, later in days)
    assert any(later < sooner for sooner, later in days)


def test_more_bookings_need_more_now() -> None:
    state, _ = _lived()
    live = sum(len(ids) for day, ids in state.by_day.items() if day >= state.today)
    varied = copy.deepcopy(state)
    vary_present(varied, 0.5, 1)
    found = sum(len(ids) for day, ids in varied.by_day.items() if day >= varied.today)
    assert found == pytest.approx(1.5 * live, abs=1)
    before, more, fewer = (present(small_bundle(), share) for share in (0.0, 1.0, -0.9))
    assert more.risk + more.quantity > before.risk + before.quantity > fewer.risk + fewer.quantity
    assert len(_lived()[0].bookings) == len(state.bookings), "the state that was copied is as it was"
