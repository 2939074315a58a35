"""The chain ladder on books without noise, of which all is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pytest

from planner.catalogue.index import Catalogue
from planner.forecast.outlook import Floats
from planner.learning import ladder
from planner.learning.curve import BAND_OF, BANDS, Curve, DayOfBook
from planner.learning.prior import Prior, prior_of
from planner.messages import HORIZON_DAYS
from tests.learning.book_clinic import FIRST, coverage, losses, spec_of, trial
from tests.learning.test_truth import NAMES, P90, SIMPLE, spread
from tests.plan.clinic import NORTH, bundle

TO_GO = np.arange(HORIZON_DAYS)
DAYS = 420
NEW = np.where(TO_GO == 0, 2.0, np.where(TO_GO < 60, 0.5 * 0.96**TO_GO, 0.0))
"""Bookings made at so many days to go, of a day of level 1."""
STAYS = 0.99
Level = Callable[[int], float]


def summer(day: int) -> float:
    """Nine times as many at the height of the season as half a year later."""
    return 1 + 0.8 * float(np.sin(2 * np.pi * day / 365))


def steady(_: int) -> float:
    return 1.0


def climbed(curve: Curve, prior: Prior, days: int) -> ladder.Ladder:
    every_day = np.ones(HORIZON_DAYS, dtype=np.bool_)
    return ladder.climb(curve, prior, days, curve.paths(prior, 0, every_day, np.ones(HORIZON_DAYS)))


class Known:
    """A book as the sums and mornings of which it consists, every number its expectation.

    Args:
        level: of a day (days from the first; those before it have one too).
        weekends: nobody comes on a Saturday or Sunday, and nobody answers the phone; who would have booked for a
            weekday then does so not at all.
    """

    def __init__(self, level: Level, *, weekends: bool = False) -> None:
        self.level, self.weekends = level, weekends
        stated = prior_of(Catalogue(bundle()), NORTH)
        self.prior: Prior = stated if weekends else replace(stated, week=np.ones_like(stated.week))
        self.curve = Curve.begin(self.prior)
        # of each session day: live bookings as its own days to go pass
        live = np.zeros(DAYS + 2 * HORIZON_DAYS)
        self.held: list[float] = []
        for today in range(-HORIZON_DAYS, DAYS):
            days = today + TO_GO
            new = np.array([self.new(day, ahead) for ahead, day in enumerate(days.tolist())])
            at = days + HORIZON_DAYS
            live[at] += new
            lost = live[at] * (1 - STAYS)
            if today >= 0:
                weekday = (FIRST + timedelta(days=today)).weekday()
                is_open = np.ones(HORIZON_DAYS, dtype=np.bool_)
                self.curve.learn(DayOfBook(new, lost, live[at], is_open, weekday), self.prior, np.ones(HORIZON_DAYS))
                self.curve.settle({"0": round(1e6 * float(live[at[0]]))}, {})
                self.held.append(float(live[at[0]]) * STAYS)
            live[at] -= lost
        self.on_book = live[DAYS + HORIZON_DAYS : DAYS + 2 * HORIZON_DAYS].copy()

    def new(self, day: int, ahead: int) -> float:
        """Bookings made for a day at ``ahead`` days to go."""
        weekdays = {(FIRST + timedelta(days=day - back)).weekday() for back in (0, ahead)}
        if self.weekends and max(weekdays) > 4:
            return 0.0
        return self.level(day) * float(NEW[ahead])

    def truth(self) -> Floats:
        """Still to come of each day ahead, by band; shape (bands, H)."""
        keep = STAYS ** (TO_GO + 1)
        found = np.zeros((BANDS, HORIZON_DAYS))
        for ahead in range(HORIZON_DAYS):
            for to_go in range(ahead + 1):
                found[BAND_OF[to_go], ahead] += self.new(DAYS + ahead, to_go) * keep[to_go]
        return found

    def found(self, *, scale: float = 1.0) -> Floats:
        """What the ladder says; ``scale``: of all that is seen of today's book."""
        return ladder.to_come(
            climbed(self.curve, self.prior, DAYS),
            self.curve,
            self.prior,
            weekday=(FIRST + timedelta(days=DAYS)).weekday(),
            on_book=self.on_book * scale,
            open_days=np.ones(HORIZON_DAYS, dtype=np.bool_),
            past=np.array(self.held[-ladder.PAST_DAYS :]) * scale,
            past_ends=1,
            past_open=np.ones(ladder.PAST_DAYS, dtype=np.bool_),
        )


@pytest.fixture(scope="module")
def steady_book() -> Known:
    return Known(steady)


def test_on_a_steady_book_it_says_what_is_to_come_to_each_band(steady_book: Known) -> None:
    assert steady_book.found() == pytest.approx(steady_book.truth(), rel=0.02, abs=0.005)


def test_a_book_twice_as_strong_brings_twice_as_many(steady_book: Known) -> None:
    assert steady_book.found(scale=2.0) == pytest.approx(2 * steady_book.found())


def test_days_on_which_nobody_comes_or_books_are_no_weak_days() -> None:
    book = Known(steady, weekends=True)
    found, truth = book.found().sum(axis=0), book.truth().sum(axis=0)
    saturday = (5 - (FIRST + timedelta(days=DAYS)).weekday()) % 7
    assert truth[saturday] == 0
    assert found[saturday] < 0.05
    assert found[:28] == pytest.approx(truth[:28], rel=0.15, abs=0.08)


@pytest.fixture(scope="module")
def summer_book() -> Known:
    return Known(summer)


@pytest.mark.parametrize("ahead", [3, 7, 14, 28])
def test_the_season_of_the_days_ahead_is_told_by_their_book(ahead: int, summer_book: Known) -> None:
    """A year and two months in: the height of the season is a month ahead, half a year of memory is of winter."""
    truth, found = summer_book.truth().sum(axis=0)[ahead], summer_book.found().sum(axis=0)[ahead]
    memory = float(np.mean([summer(day + ahead) for day in range(DAYS - 250, DAYS)]))
    assert summer(DAYS + ahead) > 1.4 * memory  # there is something to be told
    assert found == pytest.approx(truth, rel=0.08)


def test_whoever_booked_nothing_yet_has_nothing_to_come() -> None:
    prior = prior_of(Catalogue(bundle()), NORTH)
    curve = Curve.begin(prior)
    nothing = np.zeros(HORIZON_DAYS)
    found = ladder.to_come(
        climbed(curve, prior, 0), curve, prior, weekday=0, on_book=nothing, past=np.zeros(0), past_ends=1,
        open_days=np.ones(HORIZON_DAYS, dtype=np.bool_), past_open=np.ones(0, dtype=np.bool_),
    )  # fmt: skip
    assert found.tolist() == np.zeros((BANDS, HORIZON_DAYS)).tolist()


@pytest.mark.parametrize("lead", [14, 28])
def test_a_season_never_seen_before_is_forecast_by_the_book(lead: int) -> None:
    """The first summer, in the weeks in which it comes and goes: no last year to look at."""
    spec = spec_of(season_amplitude=0.7, season_peak_day=(date(FIRST.year, 7, 5) - date(FIRST.year, 1, 1)).days)
    runs = [trial(spec, seed, first=100, last=228, leads=(lead,), step=4, baselines=SIMPLE) for seed in (1, 2, 3)]
    for method in NAMES:
        assert losses(runs, lead) < losses(runs, lead, method), method
    error = spread(lambda run: coverage([run], lead, P90), runs)
    assert coverage(runs, lead, P90) > 0.87 - 2 * error
