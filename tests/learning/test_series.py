"""Sessions that known series imply: against series whose rules are known."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import date

import numpy as np
import pytest

from planner.catalogue.model import Repeat
from planner.learning.rhythm import FORGET_DAYS_LEAST, Pattern, Rhythm, pattern_of
from planner.learning.series import Continued, Known, NewSession, Series, Sessions
from planner.messages import HORIZON_DAYS
from planner.site.segment import series_key

MONTHLY = Repeat(kind="every", days=28)
FLAT = np.ones(7)
START = 740_000


@dataclass
class Rules:
    """How the patients of a clinic behave."""

    repeat: Repeat = MONTHLY
    goes_on: float = 0.85
    ahead: float = 0.0
    """Probability that the next session is booked with the present one, before it takes place."""
    lag: Callable[[random.Random], int] = lambda chance: chance.choice((0, 0, 3, 10, 20, 26))
    """Days from a session to the booking of the next one."""
    away: Callable[[random.Random], int] = lambda chance: chance.choice((-1, 0, 0, 0, 0, 1, 7))
    """Days by which a session differs from the repeat."""
    kept: float = 1.0
    run: int = 0
    """Sessions at most in a series; 0: any number."""
    starts: float = 1.5
    """New series a day."""


@dataclass
class Patient:
    key: str
    number: int = 1
    latest: int = 0
    """Day of the latest session, or of the one on the books."""
    books_on: int | None = None


@dataclass
class Clinic:
    rules: Rules
    seed: int
    series: Series = field(default_factory=Series)
    continued: Continued = field(default_factory=Continued)
    today: int = START
    booked: dict[int, dict[str, bool]] = field(default_factory=dict)
    """Day → series with a session → whether the series implied it."""
    held: dict[int, list[tuple[int, bool]]] = field(default_factory=dict)
    """Day → for each session held, when it was booked and whether that was implied."""
    told: dict[tuple[int, str], int] = field(default_factory=dict)
    total: int = 0

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.patients: dict[str, Patient] = {}

    def book(self, patient: Patient, day: int) -> None:
        implied = self.series.is_continuation(patient.key, day)
        if implied:
            implied = self.continued.book(patient.key, NewSession(day, "p", "infusion")) is None
        self.booked.setdefault(day, {})[patient.key] = implied
        self.told[day, patient.key] = self.today
        patient.latest, patient.books_on = day, None

    def day(self) -> None:
        chance, rules = self.random, self.rules
        for _ in range(int(rules.starts) + (chance.random() < rules.starts % 1)):
            patient = Patient(series_key(f"series-{self.seed}-{self.total}"))
            self.total += 1
            self.patients[patient.key] = patient
            self.book(patient, self.today + chance.randrange(1, 15))
        for patient in [p for p in self.patients.values() if p.books_on == self.today]:
            self.book(patient, max(patient.latest + self._apart(), self.today + 1))
        here = self.booked.pop(self.today, {})
        came: dict[str, str] = {}
        for key, implied in here.items():
            patient = self.patients[key]
            if chance.random() >= rules.kept:
                patient.latest = self.today
                patient.books_on = self.today + 2 if chance.random() < rules.goes_on else None
                continue
            came[key] = "infusion"
            self.held.setdefault(self.today, []).append((self.told[self.today, key], implied))
            patient.number += 1
            over = rules.run and patient.number > rules.run
            if not over and chance.random() < rules.goes_on:
                if chance.random() < rules.ahead:
                    raise AssertionError("booked with the session before it")
                patient.books_on = self.today + rules.lag(chance)
                if patient.books_on == self.today:
                    self.book(patient, self.today + self._apart())
        self.close(came)

    def _apart(self) -> int:
        every = self.rules.repeat.days or 1
        return (every if self.rules.repeat.kind == "every" else 1) + self.rules.away(self.random)

    def close(self, came: dict[str, str]) -> None:
        ahead: dict[str, tuple[int, str]] = {}
        for day, keys in sorted(self.booked.items()):
            for key in keys:
                ahead[key] = (day, "infusion")
        next_day = dict.fromkeys(self.booked.get(self.today + 1, {}), "infusion")
        self.series.close_day(
            self.today, Sessions(came, ahead, next_day), lambda _: pattern_of(self.rules.repeat), FLAT, ()
        )
        self.continued.first.clear()
        self.today += 1

    def run(self, days: int) -> Clinic:
        for _ in range(days):
            self.day()
        return self

    def expected(self, days: int) -> float:
        return float(self.series.implied("infusion", date.fromordinal(self.today), days).mean.sum())

    def realised(self, origin: int, days: int) -> int:
        """Sessions held on the days from ``origin`` on that were booked from then on and implied by their series."""
        return sum(
            implied and told >= origin
            for day in range(origin, origin + days)
            for told, implied in self.held.get(day, ())
        )


def compared(clinic: Clinic, days: int, origins: int) -> tuple[float, float]:
    """Mean number implied and realised, over origins of a clinic that has been learned from."""
    expected, first = [], clinic.today
    for _ in range(origins):
        expected.append(clinic.expected(days))
        clinic.day()
    clinic.run(days)
    return float(np.mean(expected)), float(np.mean([clinic.realised(first + n, days) for n in range(origins)]))


BOOKS_LATE = Rules(lag=lambda chance: chance.choice((20, 24, 27)))
LOSES_SOME = Rules(kept=0.85)
WEEKLY = Rules(repeat=Repeat(kind="every", days=7), goes_on=0.8, lag=lambda c: c.choice((0, 1, 4)), away=lambda c: 0)


@pytest.mark.parametrize(
    ("rules", "days"),
    [(Rules(), 7), (Rules(), 28), (BOOKS_LATE, 7), (BOOKS_LATE, 28), (LOSES_SOME, 28), (Rules(goes_on=0.4), 28)],
)
def test_what_is_implied_is_what_comes(rules: Rules, days: int) -> None:
    clinic = Clinic(rules, seed=days).run(500)
    expected, realised = compared(clinic, days, 120)
    assert expected == pytest.approx(realised, rel=0.1)


def test_series_that_repeat_soon_are_followed_through_several_sessions() -> None:
    """All but the sessions of series not begun yet: they are the curve's first, and nobody's after that."""
    expected, realised = 0.0, 0
    for seed in range(4):
        clinic = Clinic(replace(WEEKLY), seed=seed).run(250)
        clinic.rules.starts = 0.0  # nobody begins from now on
        first = clinic.today
        expected += clinic.expected(28)
        realised += clinic.run(28).realised(first, 28)
    assert expected == pytest.approx(realised, rel=0.1)


def test_a_run_of_days_ends_where_the_protocol_says() -> None:
    repeat = Repeat(kind="consecutive-days", days=3)
    rules = Rules(repeat=repeat, goes_on=0.95, lag=lambda c: 0, away=lambda c: 0, run=3, starts=3.0)
    clinic = Clinic(rules, seed=4).run(250)
    expected, realised = compared(clinic, 3, 100)
    assert expected == pytest.approx(realised, rel=0.1)
    rhythm = clinic.series.rhythms
    assert rhythm["infusion", 0].goes_on()[0] > 0.85
    assert rhythm["infusion", 1].goes_on()[0] < 0.05


@pytest.mark.parametrize(("goes_on", "lag"), [(0.9, 0), (0.5, 14)])
def test_the_truth_is_recovered(goes_on: float, lag: int) -> None:
    rules = Rules(goes_on=goes_on, lag=lambda c: lag, away=lambda c: 2 if c.random() < 0.5 else 0)
    rhythm = Clinic(rules, seed=7).run(600).series.rhythms["infusion", 1]
    assert rhythm.goes_on()[0] == pytest.approx(goes_on, abs=0.06)
    assert rhythm.goes_on()[22] < 0.15  # who has not booked by then has stopped
    apart = rhythm.apart()
    assert apart.sum() == pytest.approx(1)
    assert (apart[28], apart[30]) == (pytest.approx(0.5, abs=0.12), pytest.approx(0.5, abs=0.12))
    assert rhythm.waiting > 0.95


# --- one series, step by step -----------------------------------------------------------------------------

KEY = series_key("s")
NOTHING = Sessions({}, {}, {})


def monthly(protocol: str) -> Pattern | None:
    return pattern_of(MONTHLY) if protocol == "infusion" else None


def learned(*days: tuple[int, Sessions], until: int | None = None) -> Series:
    """The part after closing the days from the first one named on."""
    series = Series()
    given = dict(days)
    first, last = min(given), max(given) if until is None else until
    for day in range(first, last + 1):
        series.close_day(day, given.get(day, NOTHING), monthly, FLAT, ())
    return series


def booked_for(day: int) -> Sessions:
    return Sessions({}, {KEY: (day, "infusion")}, {})


BEFORE = (START - 1, Sessions({}, {KEY: (START, "infusion")}, {KEY: "infusion"}))
HELD = (START, Sessions({KEY: "infusion"}, {}, {}))


def test_a_series_waits_from_the_morning_of_its_latest_session() -> None:
    series = learned(BEFORE)
    assert series.known == {KEY: Known("infusion", START, 1, waits=True)}
    assert series.is_continuation(KEY, START + 28)
    assert not series.is_continuation(KEY, START)
    assert not series.is_continuation(series_key("other"), START + 28)
    assert series.protocols() == ["infusion"]


def test_its_next_session_is_implied_around_the_repeat() -> None:
    series = learned(BEFORE, HELD)
    mean, variance = series.implied("infusion", date.fromordinal(START + 1), 60)
    assert mean.argmax() == 27
    assert 0.5 < mean[:45].sum() < 1.0
    assert (variance >= 0).all()
    assert (variance <= mean + 1e-9).all()
    nothing = series.implied("other", date.fromordinal(START + 1), 60)
    assert nothing.mean.tolist() == nothing.variance.tolist() == [0.0] * 60


def test_one_on_the_books_is_not_implied_once_more() -> None:
    open_ = learned(BEFORE, HELD, until=START + 10).implied("infusion", date.fromordinal(START + 11), 30)
    booked = learned(BEFORE, HELD, (START + 10, booked_for(START + 28)))
    assert not booked.known[KEY].waits
    assert not booked.is_continuation(KEY, START + 56)
    following = booked.implied("infusion", date.fromordinal(START + 11), 30).mean
    assert following[:18].sum() == 0
    assert following.sum() < 0.25 * open_.mean.sum()
    # the one after it is, and it is due 28 days later
    after = booked.implied("infusion", date.fromordinal(START + 11), HORIZON_DAYS).mean
    assert after[:60].argmax() == 28 + 28 - 11


def test_a_series_whose_booking_is_lost_is_the_curves_again() -> None:
    series = learned(BEFORE, HELD, (START + 10, booked_for(START + 28)), (START + 11, NOTHING))
    assert series.known == {}
    assert not series.is_continuation(KEY, START + 40)
    assert series.rhythms["infusion", 0].takes_place < learned(BEFORE, HELD).rhythms["infusion", 0].takes_place


def test_a_session_that_is_lost_or_put_off_on_its_day() -> None:
    second = Sessions({}, {KEY: (START + 28, "infusion")}, {KEY: "infusion"})
    during = [(START + n, booked_for(START + 28)) for n in range(1, 27)]
    arriving = (BEFORE, HELD, *during, (START + 27, second))
    assert learned(*arriving).known[KEY] == Known("infusion", START + 28, 2, waits=True)
    assert learned(*arriving, (START + 28, NOTHING)).known == {}
    put_off = learned(*arriving, (START + 28, booked_for(START + 33)))
    assert put_off.known[KEY] == Known("infusion", START, 1, waits=False)
    assert learned(BEFORE, (START, NOTHING)).known == {}
    assert learned(BEFORE, (START, booked_for(START + 5))).known == {}


def test_a_series_that_stays_silent_is_forgotten_and_implies_less_and_less() -> None:
    series = learned(BEFORE, HELD)
    left = []
    for day in range(START + 1, START + 90):
        left.append(series.implied("infusion", date.fromordinal(day), 40).mean.sum())
        series.close_day(day, NOTHING, monthly, FLAT, ())
    assert left[50] < 0.3 * left[0]
    assert left[80] < 0.05
    assert series.known == {}
    assert series.protocols() == []


def test_one_who_walks_in_is_known_from_then_on() -> None:
    series = learned((START, NOTHING), (START + 1, Sessions({KEY: "infusion"}, {}, {})))
    assert series.known == {KEY: Known("infusion", START + 1, 1, waits=True)}


def test_protocols_that_do_not_repeat_imply_nothing() -> None:
    sessions = Sessions({KEY: "single"}, {}, {})
    series = learned((START, sessions))
    assert (series.known, series.protocols()) == ({}, [])
    assert pattern_of(Repeat(kind="none")) is None
    assert pattern_of(Repeat(kind="every", days=365)) is None
    assert pattern_of(Repeat(kind="consecutive-days", days=2)) is not None


def test_a_protocol_that_changes_its_repeat_begins_anew() -> None:
    series = learned(BEFORE, HELD)
    series.close_day(START + 1, NOTHING, lambda _: pattern_of(Repeat(kind="every", days=7)), FLAT, ())
    assert {rhythm.pattern for rhythm in series.rhythms.values()} == {Pattern(7, 2, (0.8, 0.8))}
    assert series.rhythms["infusion", 1] == Rhythm(Pattern(7, 2, (0.8, 0.8)), 1)
    series.close_day(START + 2, NOTHING, lambda _: None, FLAT, ())
    assert (series.known, series.rhythms) == ({}, {})


def test_nothing_is_implied_for_days_on_which_the_site_is_closed() -> None:
    series = Series()
    week = np.array([1.4, 1.4, 1.4, 1.4, 1.4, 0.0, 0.0])
    closed = [date.fromordinal(START + 28)]
    for day, sessions in (BEFORE, HELD):
        series.close_day(day, sessions, monthly, week, closed)
    mean = series.implied("infusion", date.fromordinal(START + 1), 60).mean
    assert mean[27] == 0.0
    weekend = [n for n in range(60) if date.fromordinal(START + 1 + n).weekday() >= 5]
    # one session was seen, whatever day it was; the week stated counts for ten
    assert mean[weekend].sum() < 0.1 * mean.sum()
    assert mean[:45].sum() > 0.5


def test_what_is_asked_for_later_days_is_what_was_said_for_them() -> None:
    series = learned(BEFORE, HELD)
    whole = series.implied("infusion", date.fromordinal(START + 1), HORIZON_DAYS).mean
    assert series.implied("infusion", date.fromordinal(START + 11), 20).mean.tolist() == whole[10:30].tolist()
    assert series.implied("infusion", date.fromordinal(START - 1), 5).mean.tolist() == [0.0, 0.0, *whole[:3]]
    beyond = series.implied("infusion", date.fromordinal(START + 80), 30).mean
    assert beyond.tolist() == [*whole[79:], *[0.0] * 19]


def test_of_several_bookings_on_one_day_the_first_in_time_was_implied() -> None:
    sessions = [NewSession(START + days, "p", "infusion") for days in (56, 28, 84)]
    for order in ((0, 1, 2), (2, 1, 0), (1, 0, 2)):
        continued = Continued()
        others = [continued.book(KEY, sessions[n]) for n in order]
        assert continued.first == {KEY: sessions[1]}
        assert {other for other in others if other is not None} == {sessions[0], sessions[2]}
        assert continued.on(START + 28) == {"p": 1}
        assert continued.on(START + 56) == {}
        again = Continued.decode(continued.encode())
        assert again == continued


# --- entries ----------------------------------------------------------------------------------------------


def test_an_entry_is_the_part_and_goes_on_alike() -> None:
    clinic = Clinic(LOSES_SOME, seed=11)
    other = Clinic(LOSES_SOME, seed=11)
    for n in range(160):
        clinic.day()
        other.day()
        if n % 3 == 0:
            again = Series.decode(other.series.encode())
            assert again == other.series
            assert again.encode() == other.series.encode()
            other.series = again
            other.continued = Continued.decode(other.continued.encode())
    assert clinic.series == other.series
    assert clinic.series.known


def test_the_entry_of_1500_live_series_stays_small() -> None:
    series = Series()
    protocols = [f"protocol-{n}" for n in range(12)]
    keys = [series_key(f"{n}") for n in range(1_500)]
    for day in range(START, START + 27):
        held = {key: protocols[n % 12] for n, key in enumerate(keys) if n % 27 == day - START}
        ahead = {key: (day + 20, protocols[n % 12]) for n, key in enumerate(keys) if n % 3 == 0}
        series.close_day(day, Sessions(held, ahead, {}), lambda _: pattern_of(MONTHLY), FLAT, ())
    assert len(series.known) > 1_400
    assert len(series.encode()) < 60_000


def test_days_that_went_by_unseen_leave_no_arrivals_open() -> None:
    series = learned(BEFORE)
    series.close_day(START + 9, NOTHING, monthly, FLAT, ())
    assert series.arriving == {}
    assert series.known == {KEY: Known("infusion", START, 1, waits=True)}


@pytest.mark.parametrize("kind", [Series, Continued])
def test_an_entry_of_another_format_is_named(kind: type[Series | Continued]) -> None:
    data = b'{"format":7}' if kind is Series else b"[7]"
    with pytest.raises(ValueError, match="found format 7; expected 1"):
        kind.decode(data)


@pytest.mark.parametrize("repeat", [Repeat(kind="every", days=d) for d in (1, 7, 28, 84, 150)])
@pytest.mark.parametrize("stage", [0, 1])
def test_before_anything_is_learned_the_stated_prior_holds(repeat: Repeat, stage: int) -> None:
    pattern = pattern_of(repeat)
    assert pattern is not None
    rhythm = Rhythm(pattern, stage)
    assert rhythm.goes_on()[0] == pytest.approx(pattern.goes_on[stage])
    assert (np.diff(rhythm.goes_on()) <= 1e-12).all()
    assert rhythm.apart().sum() == pytest.approx(1)
    assert rhythm.apart().argmax() == pattern.every
    assert rhythm.apart().size == pattern.forget_after + 1 > FORGET_DAYS_LEAST
