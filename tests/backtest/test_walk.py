"""The walk: the steps that run in production, at the end of each day, and nothing of what comes after."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import numpy as np
import pytest

from planner.backtest.baselines import baselines
from planner.backtest.faults import CannotTest
from planner.backtest.run import PLANNER, Backtest, Request, Result, Scored
from planner.backtest.walk import Walk
from planner.booking_step import BookingStep
from planner.forecast.chain import ALL_SITES
from planner.messages import QUANTILES
from planner.plan_step import PlanStep
from tests.backtest.book import DAYS, book, booked, day, event, log_of
from tests.driver import Driver
from tests.plan.clinic import KETOROLAC, NORTH, SOUTH, ZONES, at, bundle

LEADS = (1, 7)


def walk_of(events: list[dict[str, Any]]) -> Walk:
    return Walk(log_of(*events), bundle())


def run(events: list[dict[str, Any]], **more: Any) -> Result:
    request = Request(**({"leads": LEADS, "first": day(30), "last": day(50), "step": 5} | more))
    return Backtest(walk_of(events), request).run(baselines())


def of(result: Result, method: str, site: str, lead: int, series: str = "sessions") -> Scored:
    (found,) = [s for s in result.scored if (s.method, s.site, s.lead, s.series.name) == (method, site, lead, series)]
    return found


EVENTS = book()


# --- the same as live -------------------------------------------------------------------------------------


@pytest.mark.parametrize("site", [NORTH, SOUTH])
def test_an_origins_outlook_is_that_of_the_live_planner_a_moment_after_midnight(site: str) -> None:
    origin = day(12)
    midnight = datetime.combine(origin + timedelta(days=1), time(), ZONES[site]).astimezone(UTC)
    expand: Driver[BookingStep] = Driver(lambda: BookingStep(0, 1, bundle(), clock="event"))
    plan: Driver[PlanStep] = Driver(lambda: PlanStep(0, bundle(), clock="event"))
    for one in EVENTS:
        if one["occurred_at"] < midnight:
            for message in expand.feed("bookings", one):
                if message.topic == "requirements":
                    plan.feed("requirements", message.value, key=message.key)
    plan.feed("clock", {"type": "clock.ticked", "event_id": "t", "occurred_at": midnight, "now": midnight})
    live = plan.step.outlook(site).need
    walk = walk_of(EVENTS)
    for end in walk.through():
        if (end.site, end.day) == (site, origin):
            walked = walk.outlook(site).need
            break
    assert walked.first_day == live.first_day == origin + timedelta(days=1)
    assert walked.items == live.items
    assert np.array_equal(walked.mean, live.mean)
    assert np.array_equal(walked.variance, live.variance)


# --- no peeking -------------------------------------------------------------------------------------------


def planted(after: datetime) -> list[dict[str, Any]]:
    """Everything that a forecast could cheat with, told from ``after`` on."""
    events = [booked(f"new-{n}", after + timedelta(hours=n), at(40 + n % 9, "10:00")) for n in range(60)]
    for number, one in enumerate(one for one in EVENTS if one["type"] == "booking.booked"):
        kind = ("cancelled", "completed", "missed")[number % 3]
        events.append(event(kind, one["booking_id"], 999_999, after + timedelta(minutes=number)))
    received = {"item": KETOROLAC, "lot": "L1", "expiry": date(2030, 1, 1), "quantity": 500}
    for site in (NORTH, SOUTH):
        stock = {"type": "stock.received", "event_id": f"s-{site}", "occurred_at": after, "site": site, **received}
        events.append(stock)
    return events


def test_nothing_after_an_origin_changes_its_forecast() -> None:
    """Bookings, cancellations, completions, misses and stock after the origin, with versions far above any."""
    names = ("sessions", KETOROLAC, "drugs")
    without = run(EVENTS, series=names, draw_seed=4)
    after = max(at(41, "00:00", site) for site in (NORTH, SOUTH))  # the end of day 40 has passed at both
    with_them = run(EVENTS + planted(after), series=names, draw_seed=4)
    assert len(without.scored) == len(with_them.scored)
    changed = 0
    for before, later in zip(without.scored, with_them.scored, strict=True):
        assert before[:4] == later[:4]
        shared = [origin for origin in before.origins if origin in later.origins]
        assert shared[:3] == [day(30), day(35), day(40)]
        for origin in shared:
            one, two = before.origins.index(origin), later.origins.index(origin)
            same = np.array_equal(before.quantiles[one], later.quantiles[two])
            same = same and before.mean[one] == later.mean[two]
            if origin <= day(40):
                assert same, (before.method, before.site, before.series.name, before.lead, origin)
            else:
                changed += not same
    assert changed > 50, "what was planted is seen once it has been told"
    assert not np.array_equal(of(without, PLANNER, NORTH, 7).realised, of(with_them, PLANNER, NORTH, 7).realised), (
        "and what took place is another"
    )


def test_the_instant_of_midnight_belongs_to_the_day_that_begins() -> None:
    plain = run(EVENTS, first=day(40), last=day(40))
    midnight = at(41, "00:00")
    more = [booked(f"m-{n}", midnight, at(41, "12:00")) for n in range(20)]
    told = run(EVENTS + more, first=day(40), last=day(40))
    earlier = [one | {"occurred_at": midnight - timedelta(microseconds=1)} for one in more]
    known = run(EVENTS + earlier, first=day(40), last=day(40))
    mean = [float(of(result, PLANNER, NORTH, 1).mean[0]) for result in (plain, told, known)]
    assert mean[0] == mean[1]
    assert mean[2] > mean[0] + 10


# --- what is scored ---------------------------------------------------------------------------------------


def test_realised_is_what_was_completed_on_the_sessions_days_however_late_it_was_told() -> None:
    result = run(EVENTS, first=day(30), last=day(60), step=1)
    starts = {one["booking_id"]: one["start"] for one in EVENTS if one["type"] == "booking.booked"}
    done = [one["booking_id"] for one in EVENTS if one["type"] == "booking.completed"]
    for site in (NORTH, SOUTH):
        days = [starts[name].astimezone(ZONES[site]).date() for name in done if name.startswith(site)]
        for lead in LEADS:
            scored = of(result, PLANNER, site, lead)
            expected = [sum(origin < d <= origin + timedelta(days=lead) for d in days) for origin in scored.origins]
            assert scored.realised.tolist() == expected


def test_all_sites_are_the_sum() -> None:
    result = run(EVENTS)
    for lead in LEADS:
        north, south, both = (of(result, PLANNER, site, lead) for site in (NORTH, SOUTH, ALL_SITES))
        assert both.mean == pytest.approx(north.mean + south.mean)
        assert both.realised == pytest.approx(north.realised + south.realised)
        spread = [one.quantiles[:, -1] - one.quantiles[:, 0] for one in (north, south, both)]
        assert spread[2].sum() < (spread[0] + spread[1]).sum(), "errors of sites are not those of one"


def test_one_site_of_several() -> None:
    alone, all_ = run(EVENTS, sites=(SOUTH,)), run(EVENTS)
    assert {one.site for one in alone.scored} == {SOUTH}
    assert {one.site for one in all_.scored} == {NORTH, SOUTH, ALL_SITES}
    assert np.array_equal(of(alone, PLANNER, SOUTH, 7).quantiles, of(all_, PLANNER, SOUTH, 7).quantiles)


def test_quantiles_rise_and_sessions_are_whole() -> None:
    scored = of(run(EVENTS), PLANNER, NORTH, 7)
    assert (np.diff(scored.quantiles, axis=1) >= 0).all()
    assert np.array_equal(scored.quantiles, np.round(scored.quantiles))
    assert scored.quantiles.shape == (5, len(QUANTILES))


def test_an_item_follows_its_sessions() -> None:
    result = run(EVENTS, series=("sessions", "magnesium-vial", "component:magnesium"))
    sessions = of(result, PLANNER, NORTH, 7)
    vials = of(result, PLANNER, NORTH, 7, "magnesium-vial")
    content = of(result, PLANNER, NORTH, 7, "component:magnesium")
    assert vials.mean == pytest.approx(2 * sessions.mean)
    assert vials.realised == pytest.approx(2 * sessions.realised)
    assert content.mean == pytest.approx(2 * vials.mean)
    assert (vials.series.unit, content.series.unit) == ("containers", "mL")


def test_drawn_use_repeats_with_its_seed() -> None:
    first, again, other, expected = (run(EVENTS, series=(KETOROLAC,), draw_seed=seed) for seed in (4, 4, 5, None))
    realised = [of(r, PLANNER, NORTH, 7, KETOROLAC).realised for r in (first, again, other, expected)]
    assert np.array_equal(realised[0], realised[1])
    assert not np.array_equal(realised[0], realised[2])
    assert np.array_equal(realised[0], np.round(realised[0]))
    assert not np.array_equal(realised[3], np.round(realised[3]))


def test_an_origin_needs_its_lead_within_the_log() -> None:
    result = run(EVENTS, first=day(60), last=day(DAYS + 5), step=1)
    last = max(one["occurred_at"] for one in EVENTS).date()
    assert of(result, PLANNER, NORTH, 1).origins[-1] == last - timedelta(days=1)
    assert of(result, PLANNER, NORTH, 7).origins[-1] == last - timedelta(days=7)


def test_warmup_leaves_out_the_first_days_of_a_site() -> None:
    later = [one for one in EVENTS if not str(one["booking_id"]).startswith(SOUTH) or one["occurred_at"] > at(20)]
    result = run(later, first=day(2), last=day(40), step=1, warmup_days=14)
    assert of(result, PLANNER, NORTH, 1).origins[0] == day(13), "the 14th day of its log"
    begins = min(
        one["occurred_at"] for one in later if one["type"] == "booking.booked" and one["site"] == SOUTH
    ).astimezone(ZONES[SOUTH])
    assert of(result, PLANNER, SOUTH, 1).origins[0] == begins.date() + timedelta(days=13)
    assert day(13) in of(result, PLANNER, ALL_SITES, 1).origins
    assert begins.date() not in of(result, PLANNER, ALL_SITES, 1).origins, "a site that is not asked"


def test_the_fan_is_of_the_middle_origin_or_of_the_one_asked_for() -> None:
    fan = run(EVENTS).fan
    assert fan is not None
    assert (fan.origin, fan.site, fan.mean.size) == (day(40), NORTH, 7)
    assert fan.mean.sum() == pytest.approx(of(run(EVENTS), PLANNER, NORTH, 7).mean[2])
    assert (fan.mean >= 0).all()
    fan = run(EVENTS, fan_origin=day(35)).fan
    assert fan is not None
    assert fan.origin == day(35)
    assert run(EVENTS, fan_origin=day(36)).fan is None


def test_what_the_steps_refuse_is_counted() -> None:
    stale = event("cancelled", str(EVENTS[0]["booking_id"]), 1, at(60))
    strange = booked("x", at(1), at(3), site="elsewhere")
    refused = run([*EVENTS, stale | {"event_id": "again"}, strange]).refused
    assert refused["unknown-site"] == 1


# --- what cannot be tested --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"leads": ()}, "leads: found"),
        ({"leads": (7, 1)}, "rising"),
        ({"leads": (1, 91)}, "1 to 90"),
        ({"leads": (0, 1)}, "1 to 90"),
        ({"first": day(9), "last": day(8)}, "from: found 2026-11-25, after to"),
        ({"step": 0}, "step: found 0"),
        ({"warmup_days": -1}, "warmup: found -1"),
        ({"series": ()}, "series: found none"),
    ],
)
def test_a_request_out_of_range_is_refused_with_its_field(change: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        Request(**({"leads": LEADS, "first": day(1), "last": day(9)} | change))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"series": ("aspirin",)}, "series: found 'aspirin'"),
        ({"series": ("group:infusion",)}, "series: found 'group:infusion'"),
        ({"sites": ("west",)}, "site: found 'west'; expected one of the log's, north, south"),
        ({"first": day(400), "last": day(401)}, "origins: none from"),
        ({"warmup_days": 60}, "warmup: 60 days leave no origin"),
    ],
)
def test_what_does_not_fit_the_log_is_named(change: dict[str, Any], expected: str) -> None:
    with pytest.raises(CannotTest, match=expected):
        run(EVENTS, **change)


def test_a_log_of_other_sites_is_refused() -> None:
    with pytest.raises(CannotTest, match=r"sites of the events: found elsewhere; expected some of the catalogue's"):
        walk_of([booked("x", at(1), at(3), site="elsewhere")])
