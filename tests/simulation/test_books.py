"""A synthetic book keeps its own truth: what is counted in the events is what its rates say, within sampling error."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from numpy.random import default_rng
from scipy import stats

from config.book_specs import BookSpecError, load_book_spec, load_named_book, named_books
from config.load import DEFAULT_CATALOGUE, load_catalogue
from planner.booking_step import BookingStep
from planner.catalogue.index import Catalogue
from planner.events.bookings import Booked, BookingEvent, Cancelled, Completed, Missed, Rescheduled
from planner.simulation.book_parties import NEVER
from planner.simulation.books import (
    Book,
    BookedSite,
    BookSpec,
    HazardFrom,
    LeadTime,
    LevelShift,
    ProtocolShare,
    Segment,
    Series,
    Truth,
    draw_truth,
    generate,
)
from tests.driver import Driver

ZONE = "America/Denver"
WEEK = dict.fromkeys(("mon", "tue", "wed", "thu", "fri"), 12.0)
ACUTE = Segment(
    name="acute",
    share=0.3,
    lead=LeadTime(mean_days=1, sd_days=1, at_most_days=3),
    miss_probability=0.06,
    protocols=(ProtocolShare(protocol="prochlorperazine"),),
)
WEEKS = Segment(
    name="weeks",
    share=0.7,
    lead=LeadTime(mean_days=12, sd_days=8, at_most_days=60),
    hazard_factor=1.5,
    miss_probability=0.1,
    protocols=(ProtocolShare(protocol="magnesium", share=0.75), ProtocolShare(protocol="hydration", share=0.25)),
)
ALONE = WEEKS.model_copy(update={"share": 1.0})


def spec_of(**more: Any) -> BookSpec:
    """A clinic of 12 sessions a working day."""
    fields: dict[str, Any] = {
        "name": "small",
        "sites": (BookedSite(site="north", timezone=ZONE),),
        "first_day": date(2026, 1, 5),
        "days": 182,
        "sessions": WEEK,
        "segments": (ACUTE, WEEKS),
        "hazard": (HazardFrom(days=0, per_day=0.03), HazardFrom(days=5, per_day=0.01)),
    }
    return BookSpec(**{**fields, **more})


def truth_of(spec: BookSpec, seed: int) -> Truth:
    return draw_truth(spec, spec.sites[0], default_rng(seed))


def by_booking(book: Book) -> dict[str, list[BookingEvent]]:
    found: dict[str, list[BookingEvent]] = defaultdict(list)
    for event in book.events:
        found[event.booking_id].append(event)
    return found


def local(instant: datetime, zone: str = ZONE) -> datetime:
    return instant.astimezone(ZoneInfo(zone))


# --- the demand ---


def test_expected_demand_is_what_was_asked_for_whatever_the_habits() -> None:
    closed = date(2026, 2, 4)
    shift = LevelShift(on=date(2026, 4, 6), factor=1.5)
    grouped = WEEKS.model_copy(update={"group_share": 0.4, "group_size_mean": 5.0})
    for habits in (
        {"bookings_taken": "open-days"},
        {"bookings_taken": "every-day", "segments": (ACUTE, grouped)},
        {"hazard": (HazardFrom(days=0, per_day=0.2), HazardFrom(days=3, per_day=0.01))},
    ):
        truth = truth_of(spec_of(closed_on=(closed,), level_shifts=(shift,), **habits), 1)
        for day, expected in enumerate(truth.expected_demand):
            on = date(2026, 1, 5) + timedelta(days=day)
            wanted = 0.0 if on.weekday() > 4 or on == closed else 12.0 * (1.5 if on >= shift.on else 1.0)
            assert expected == pytest.approx(wanted, abs=1e-9), (habits, on)


def test_season_and_trend_are_those_of_the_year() -> None:
    spec = spec_of(days=731, first_day=date(2025, 1, 1), season_amplitude=0.8, season_peak_day=220, trend_per_year=0.2)
    expected = truth_of(spec, 1).expected_demand
    first, second = expected[:364].sum(), expected[365:729].sum()
    assert second / first == pytest.approx(1.2, rel=0.01)
    wednesdays = expected[:365].reshape(-1)[::7]  # 2025-01-01 was one
    assert abs(int(np.argmax(wednesdays)) * 7 + 1 - 220) <= 7
    assert wednesdays.max() / wednesdays.min() == pytest.approx(np.exp(1.6), rel=0.15)


def test_a_series_has_its_share_in_the_long_run() -> None:
    monthly = WEEKS.model_copy(update={"series": Series(every_days=28, continuation=0.85)})
    expected = truth_of(spec_of(segments=(ACUTE, monthly)), 1).expected_demand
    assert expected.sum() / (12 * 130) == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize(
    "habits",
    [
        {},
        {"bookings_taken": "open-days", "dispersion": 2.0},
        {"segments": (ACUTE, WEEKS.model_copy(update={"series": Series(every_days=28, continuation=0.8)}))},
        {"segments": (ACUTE, WEEKS.model_copy(update={"group_share": 0.3, "group_size_mean": 4.0}))},
    ],
    ids=["plain", "open days", "series", "groups"],
)
def test_drawn_demand_is_the_expected_one_on_average(habits: dict[str, Any]) -> None:
    spec = spec_of(**habits)
    totals = np.array([truth_of(spec, seed).demand.sum() for seed in range(40)])
    expected = truth_of(spec, 0).expected_demand.sum()
    assert abs(totals.mean() - expected) < 4 * totals.std(ddof=1) / len(totals) ** 0.5


def test_overdispersion_and_shared_shocks_are_as_stated() -> None:
    def ratio(**habits: Any) -> float:
        truths = [truth_of(spec_of(hazard=(), segments=(ALONE,), **habits), seed) for seed in range(30)]
        numbers = np.array([np.bincount(t.parties.day, minlength=t.spec.days) for t in truths])
        weekdays = numbers[:, truths[0].expected_demand > 0]
        return float(weekdays.var(axis=0, ddof=1).mean() / weekdays.mean())

    mean = 12 / 0.9  # a tenth is missed
    assert ratio() == pytest.approx(1.0, abs=0.08)
    assert ratio(dispersion=2.5) == pytest.approx(2.5, abs=0.25)
    assert ratio(day_shock_cv=0.3) == pytest.approx(1 + 0.3**2 * mean, abs=0.25)
    # a busy telephone is spread over the days it books for, so a day's number hardly varies by it
    assert 1.0 < ratio(phone_shock_cv=1.0) < 2.5


# --- who is kept ---


def test_cancellations_follow_the_hazard_by_days_to_go() -> None:
    parties = truth_of(spec_of(days=1_500, segments=(ALONE,)), 3).parties
    for to_go in (0, 2, 4, 5, 9, 20):
        reached = (parties.booked > to_go) & (parties.cancelled <= to_go)
        lost = parties.cancelled[reached] == to_go
        hazard = 1.5 * (0.03 if to_go < 5 else 0.01)
        assert abs(lost.mean() - hazard) < 4 * (hazard / lost.size) ** 0.5, to_go


def test_kept_shares_and_new_bookings_by_days_to_go_are_the_truths() -> None:
    truth = truth_of(spec_of(days=1_500, bookings_taken="open-days", dispersion=1.5), 4)
    parties, keep = truth.parties, truth.keep_by_days_to_go()
    for to_go in (0, 1, 3, 7, 14, 30):
        live = (parties.booked >= to_go) & (parties.cancelled < to_go)
        kept = parties.kept[live].mean()
        assert abs(kept - keep[to_go]) < 4 * (keep[to_go] * (1 - keep[to_go]) / live.sum()) ** 0.5, to_go
        made = float((parties.booked == to_go).sum())
        expected = truth.new_bookings[:, to_go].sum()
        assert abs(made - expected) < 4 * (1.5 * expected) ** 0.5, to_go
        on_books = truth.live()[:, to_go].sum()
        assert abs(live.sum() - on_books) < 4 * (2 * on_books) ** 0.5, to_go


def test_a_change_of_lead_times_changes_the_curve_and_not_the_demand() -> None:
    later = WEEKS.model_copy(update={"lead_after": LeadTime(mean_days=4, sd_days=2, at_most_days=20)})
    changed = truth_of(spec_of(segments=(ACUTE, later), lead_change=date(2026, 4, 6)), 1)
    same = truth_of(spec_of(), 1)
    np.testing.assert_allclose(changed.expected_demand, same.expected_demand)
    on = (date(2026, 4, 6) - date(2026, 1, 5)).days
    np.testing.assert_allclose(changed.to_come(7)[:on], same.to_come(7)[:on])
    assert changed.to_come(7)[on] > 1.5 * same.to_come(7)[on]


# --- the truth's own forecast ---


def test_quantiles_of_totals_are_the_poisson_ones_where_nothing_is_booked_or_lost() -> None:
    walk_in = ALONE.model_copy(update={"lead": LeadTime(mean_days=0), "miss_probability": 0.0})
    truth = truth_of(spec_of(segments=(walk_in,), hazard=()), 1)
    found = truth.total_quantiles(13, [1, 7], [0.5, 0.9, 0.99], draws=20_000)  # the end of a Sunday
    for row, mean in enumerate((12, 60)):
        exact = stats.poisson(mean).ppf([0.5, 0.9, 0.99])
        assert np.abs(found[row] - exact).max() <= 1


@pytest.mark.parametrize(
    "habits",
    [
        {"dispersion": 2.0, "bookings_taken": "open-days"},
        {"day_shock_cv": 0.3},
        {"segments": (ACUTE, WEEKS.model_copy(update={"series": Series(every_days=21, continuation=0.85,
                                                                       booked_days_ahead=10)}))},
        {"segments": (ACUTE, WEEKS.model_copy(update={"group_share": 0.3, "group_size_mean": 4.0}))},
    ],
    ids=["dispersion", "day shocks", "series", "groups"],
)  # fmt: skip
def test_quantiles_of_totals_cover_what_they_say(habits: dict[str, Any]) -> None:
    below, above, means = [], [], []
    for seed in range(8):
        truth = truth_of(spec_of(**habits), seed)
        for origin in range(20, 150, 14):
            drawn = truth.totals(origin, [14], draws=300, seed=seed)[:, 0]
            outcome = truth.demand[origin + 1 : origin + 15].sum()
            # the rank of the outcome among its own distribution is uniform; ties count half
            rank = ((drawn < outcome).mean() + (drawn <= outcome).mean()) / 2
            below.append(rank < 0.1)
            above.append(rank > 0.9)
            means.append(rank)
    number = len(means)
    assert abs(np.mean(means) - 0.5) < 4 * (1 / 12 / number) ** 0.5
    for tail in (below, above):
        assert abs(np.mean(tail) - 0.1) < 4 * (0.09 / number) ** 0.5


# --- how it is told ---


def test_the_same_seed_gives_the_same_book_and_another_another() -> None:
    spec = spec_of(days=60, reschedule_share=0.3)
    once, again, other = generate(spec, 1), generate(spec, 1), generate(spec, 2)
    assert once.events == again.events
    assert once.events != other.events
    assert len({event.event_id for event in once.events}) == len(once.events)


def test_the_telling_leaves_the_demand_alone() -> None:
    plain = generate(spec_of(days=60), 1).truth["north"]
    told = generate(spec_of(days=60, reschedule_share=0.5, arrivals_told=True, cancellations_told=0.2), 1).truth[
        "north"
    ]
    for name in ("day", "booked", "cancelled", "missed"):
        np.testing.assert_array_equal(getattr(plain.parties, name), getattr(told.parties, name))


def test_events_agree_with_the_truth() -> None:
    book = generate(spec_of(reschedule_share=0.5), 7)
    held: Counter[date] = Counter()
    start: dict[str, datetime] = {}
    for event in book.events:
        if isinstance(event, Booked | Rescheduled):
            start[event.booking_id] = event.start
        elif isinstance(event, Completed):
            held[local(start[event.booking_id]).date()] += 1
    demand = book.truth["north"].demand
    assert [held[date(2026, 1, 5) + timedelta(days=day)] for day in range(182)] == demand.tolist()
    assert any(isinstance(event, Rescheduled) for event in book.events)


def test_events_are_in_order_and_versions_rise_by_one() -> None:
    book = generate(spec_of(reschedule_share=0.5, arrivals_told=True, late_share=0.3), 7)
    assert [e.occurred_at for e in book.events] == sorted(e.occurred_at for e in book.events)
    for events in by_booking(book).values():
        assert [event.version for event in events] == list(range(1, len(events) + 1))
        assert isinstance(events[0], Booked)


@pytest.mark.parametrize("name", named_books())
def test_every_event_of_the_books_that_come_with_the_planner_is_applied(name: str) -> None:
    bundle = load_catalogue(DEFAULT_CATALOGUE).bundle
    assert bundle is not None
    few = dict.fromkeys(load_named_book(name).sessions, 3.0)
    spec = load_named_book(name).model_copy(update={"days": 21, "sessions": few})
    book = generate(spec, 1, Catalogue(bundle))
    driver = Driver(lambda: BookingStep(0, 1, bundle))
    driver.feed("bookings", *book.events)
    outcomes = Counter(text.split(": ")[1] for text in driver.outcomes())
    assert outcomes == {"applied": len(book.events)}


def test_groups_come_and_cancel_together() -> None:
    groups = ALONE.model_copy(update={"group_share": 1.0, "group_size_mean": 4.0})
    book = generate(spec_of(segments=(groups,), days=120, arrivals_told=False), 5)
    parties = book.truth["north"].parties
    assert parties.size.min() == 2
    assert parties.size.mean() == pytest.approx(4.0, abs=0.3)
    together: dict[tuple[datetime, datetime], Counter[tuple[str, datetime]]] = defaultdict(Counter)
    for first, *rest in by_booking(book).values():
        assert isinstance(first, Booked)
        together[first.occurred_at, first.start][rest[-1].type, rest[-1].occurred_at] += 1
    # parties that share both minutes by chance are few; all others end alike
    alike = [len(ends) == 1 for ends in together.values()]
    assert np.mean(alike) > 0.99
    assert all(sum(ends.values()) >= 2 for ends in together.values())


def test_sessions_are_on_open_days_and_in_working_hours_of_the_site_across_the_change_of_clocks() -> None:
    closed = date(2026, 3, 11)
    sites = (BookedSite(site="north", timezone=ZONE), BookedSite(site="city", timezone="Europe/Lisbon", factor=2.0))
    book = generate(spec_of(sites=sites, closed_on=(closed,), days=120, bookings_taken="open-days"), 2)
    zones = {"north": ZONE, "city": "Europe/Lisbon"}
    seen: Counter[str] = Counter()
    for event in book.events:
        if isinstance(event, Booked):
            start = local(event.start, zones[event.site])
            assert start.weekday() < 5
            assert start.date() != closed
            assert time(8) <= start.time() <= time(16, 30)
            made = local(event.occurred_at, zones[event.site])
            assert made.weekday() < 5
            assert event.occurred_at < event.start
            seen[event.site] += 1
    assert seen["city"] / seen["north"] == pytest.approx(2.0, rel=0.15)
    offsets = {local(e.start).utcoffset() for e in book.events if isinstance(e, Booked) and e.site == "north"}
    assert offsets == {timedelta(hours=-7), timedelta(hours=-6)}


def test_where_only_misses_are_told_who_cancels_is_told_as_missed() -> None:
    told, untold = generate(spec_of(), 3), generate(spec_of(cancellations_told=0.0), 3)
    ends = [Counter(type(event) for event in book.events) for book in (told, untold)]
    assert ends[1][Cancelled] == 0
    assert ends[1][Missed] == ends[0][Missed] + ends[0][Cancelled]
    assert ends[1][Completed] == ends[0][Completed]


def test_ends_are_told_late_as_often_as_stated() -> None:
    book = generate(spec_of(late_share=0.25, late_days_most=3), 3)
    start = {event.booking_id: event.start for event in book.events if isinstance(event, Booked)}
    late = Counter(
        (local(event.occurred_at).date() - local(start[event.booking_id]).date()).days
        for event in book.events
        if isinstance(event, Completed)
    )
    assert set(late) == {0, 1, 2, 3}
    assert 1 - late[0] / late.total() == pytest.approx(0.25, abs=0.04)


def test_a_series_comes_every_so_many_days_and_goes_on_with_its_probability() -> None:
    monthly = ALONE.model_copy(update={"series": Series(every_days=28, continuation=0.8, booked_days_ahead=14)})
    book = generate(spec_of(days=730, segments=(monthly,), closed_on=(date(2026, 5, 25),)), 3)
    parties = book.truth["north"].parties
    order = np.lexsort((parties.day, parties.series))
    series, day, booked = parties.series[order], parties.day[order], parties.booked[order]
    follows = (series[1:] == series[:-1]) & (series[1:] != NEVER)
    gaps = (day[1:] - day[:-1])[follows]
    assert set(gaps.tolist()) == {28, 29}  # a day later where the day was closed
    assert set(booked[1:][follows].tolist()) <= {13, 14, 15}
    # of the visits whose next one would be in the book
    inside = day[:-1] < 700
    went_on = follows[inside].mean()
    assert abs(went_on - 0.8) < 4 * (0.8 * 0.2 / inside.sum()) ** 0.5
    of_series: dict[str, set[str]] = defaultdict(set)
    for event in book.events:
        if isinstance(event, Booked):
            assert event.series_id is not None
            of_series[event.series_id].add(event.protocol)
    assert all(len(protocols) == 1 for protocols in of_series.values())


def test_an_adopted_book_is_told_on_its_first_morning() -> None:
    spec = spec_of(adopted=True, reschedule_share=0.5, days=60)
    book, history = generate(spec, 3), generate(spec.model_copy(update={"adopted": False}), 3)
    first = date(2026, 1, 5)
    assert min(local(event.occurred_at).date() for event in book.events) == first
    assert min(local(event.occurred_at).date() for event in history.events) < first
    at_once = [e for e in book.events if isinstance(e, Booked) and local(e.occurred_at).time() == time(5)]
    assert len(at_once) > 50

    def completed(of: Book) -> int:
        return sum(isinstance(event, Completed) for event in of.events)

    assert completed(book) == completed(history)
    # told then, and live: who cancelled before is not told at all
    assert all(local(e.occurred_at).date() >= first for e in book.events)


def test_completions_tell_what_was_used_of_every_item_and_prn_as_often_as_stated() -> None:
    bundle = load_catalogue(DEFAULT_CATALOGUE).bundle
    assert bundle is not None
    acute = ACUTE.model_copy(update={"share": 1.0})
    spec = spec_of(segments=(acute,), actual_use=True, prn_factor=1.5, days=364)
    book = generate(spec, 3, Catalogue(bundle))
    given = []
    for event in book.events:
        if isinstance(event, Completed):
            assert event.actual_use is not None
            used = {use.item: use.containers for use in event.actual_use}
            assert used["prochlorperazine-5mg-ml-2ml-vial"] == 1
            given.append(used["diphenhydramine-50mg-ml-1ml-vial"] == 1)
    catalogue = Catalogue(bundle)
    line = next(
        line for line in catalogue.bundle.protocols if line.id == "prochlorperazine"
    ).versions[-1].lines[1]  # fmt: skip
    wanted = 1.5 * float(line.probability or 0)
    assert abs(np.mean(given) - wanted) < 4 * (wanted * (1 - wanted) / len(given)) ** 0.5
    with pytest.raises(ValueError, match="expected one"):
        generate(spec, 3)


# --- specifications ---


def test_faults_of_a_specification_name_their_line_and_what_was_expected(tmp_path: Path) -> None:
    good = (Path(load_book_spec.__code__.co_filename).parent / "books" / "few-bookings.yaml").read_text()
    for text, message in (
        (good.replace("lakeside", "Lakeside"), r"sites\.0\.site.*found 'Lakeside'"),
        (good.replace("America/New_York", "America/Newyork"), "expected an IANA time zone"),
        (good.replace("share: 0.3", "share: 0.4"), "expected the shares of segments to add up to 1, found 1.1"),
        (good.replace("per_day: 0.02", "per_dya: 0.02"), "hazard.0.per_dya"),
        (good.replace("{mon: 2, tue: 1.5, wed: 1, thu: 1.5, fri: 1.5}", "{}"), "sessions above 0"),
    ):
        assert text != good
        path = tmp_path / "book.yaml"
        path.write_text(text)
        with pytest.raises(BookSpecError, match=message) as error:
            load_book_spec(path)
        assert str(error.value).startswith(f"{path}:")
    with pytest.raises(BookSpecError, match="expected one of"):
        load_named_book("no-such")
    with pytest.raises(ValueError, match=r"hazard: found .* bookings"):
        generate(spec_of(hazard=(HazardFrom(days=0, per_day=0.3),)), 1)
