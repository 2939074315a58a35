"""What the planner learns of a synthetic book is what was true of it, through the steps of production.

Bounds are what is wanted plus twice the standard error over independent books (seeds): the totals of one book overlap.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import cache

import numpy as np
import pytest

from planner.backtest.baselines import baselines
from planner.backtest.run import PLANNER
from planner.backtest.walk import Walk
from planner.catalogue.index import Catalogue
from planner.forecast.outlook import Floats
from planner.simulation.books import LeadTime, LevelShift, Truth, generate
from tests.learning.book_clinic import (
    ACUTE,
    FIRST,
    P90,
    P95,
    WEEKS,
    Trial,
    bias,
    coverage,
    log_of,
    losses,
    spec_of,
    trial,
)
from tests.plan.clinic import NORTH, bundle

CHANGE = 140
"""Session day of a change, a Monday."""
FOUR_WEEKS = 28
NAMES = ("seasonal-naive-4w", "additive-28d", "additive-90d")
SIMPLE = [method for method in baselines() if method.name in NAMES]
AFTER = WEEKS.model_copy(update={"lead_after": LeadTime(mean_days=5, sd_days=3, at_most_days=30)})


def spread(of: Callable[[Trial], float], runs: Sequence[Trial]) -> float:
    """Standard error of the mean of a figure over independent books."""
    figures = [of(run) for run in runs]
    return float(np.std(figures, ddof=1) / len(figures) ** 0.5)


# --- the truth is recovered ---


class Learned:
    """What was believed in the mornings after some days, and what was true."""

    def __init__(self, cancellations_told: float, seeds: Sequence[int] = (1, 2, 3)) -> None:
        spec = spec_of(days=330, cancellations_told=cancellations_told)
        in_force = bundle(sites=(NORTH,))
        self.mornings = range(230, 300, 3)
        self.truths: list[Truth] = []
        keep: list[Floats] = []
        to_come: list[Floats] = []
        for seed in seeds:
            book = generate(spec, seed)
            self.truths.append(book.truth[NORTH])
            walk = Walk(log_of(book), in_force)
            wanted = {FIRST.toordinal() + day for day in self.mornings}
            for end in walk.through(FIRST + timedelta(days=self.mornings[-1])):
                morning = end.day.toordinal() + 1
                state = walk.state(NORTH)
                if morning in wanted and state is not None:
                    path = state.learned.book.path(Catalogue(in_force), NORTH, morning)
                    keep.append(path.keep)
                    to_come.append(np.cumsum(path.to_come))
        self.keep = np.mean(keep, axis=0)
        """By days from a morning: those to go at the end of the day before, less one."""
        self.to_come = np.mean(to_come, axis=0)
        """Of the total through each day."""


@cache
def learned(cancellations_told: float) -> Learned:
    return Learned(cancellations_told)


@pytest.mark.parametrize(("days_to_go", "within"), [(1, 0.025), (3, 0.025), (7, 0.025), (14, 0.025), (28, 0.05)])
def test_the_probability_of_being_kept_is_learned(days_to_go: int, within: float) -> None:
    """A month ahead few are booked, and what is stated of them still counts."""
    true = learned(1.0).truths[0].keep_by_days_to_go()[days_to_go]
    assert 0.5 < true < 0.93  # there is something to learn: it falls by days to go, and the prior is another
    assert learned(1.0).keep[days_to_go - 1] == pytest.approx(true, abs=within)


@pytest.mark.parametrize("lead", [1, 7, 14, 28])
def test_what_is_still_to_come_is_learned(lead: int) -> None:
    known = learned(1.0)
    truth = known.truths[0]
    true = np.mean([sum(truth.to_come(h)[day + h - 1] for h in range(1, lead + 1)) for day in known.mornings])
    assert known.to_come[lead - 1] == pytest.approx(float(true), rel=0.06)


@pytest.mark.parametrize("days_to_go", [1, 7, 21])
def test_where_only_misses_are_told_whom_to_expect_is_learned_from_them(days_to_go: int) -> None:
    known = learned(0.0)
    parties = [truth.parties for truth in known.truths]
    on_books = [of.booked >= days_to_go for of in parties]  # who has cancelled is still on them
    came = np.concatenate([of.kept[live] for of, live in zip(parties, on_books, strict=True)])
    assert came.mean() < 0.85
    assert known.keep[days_to_go - 1] == pytest.approx(float(came.mean()), abs=0.03)


def test_where_only_misses_are_told_totals_are_right() -> None:
    spec = spec_of(cancellations_told=0.0)
    runs = [trial(spec, seed, first=140, last=230, leads=(1, 7, 28), step=4) for seed in (1, 2, 3)]
    for lead in (1, 7, 28):
        assert abs(bias(runs, lead)) < 0.03 + 2 * spread(lambda run, at=lead: bias([run], at), runs)
        for level, wanted in ((P90, 0.9), (P95, 0.95)):
            share = coverage(runs, lead, level)
            assert share > wanted - 0.03 - 2 * spread(lambda run, at=lead, of=level: coverage([run], at, of), runs)


# --- from the first week on ---


@cache
def first_weeks() -> list[Trial]:
    return [
        trial(spec_of(days=75), seed, first=6, last=41, leads=(1, 7, 14, 28), step=3, baselines=SIMPLE)
        for seed in (1, 2, 3, 4)
    ]


@pytest.mark.parametrize("lead", [1, 7, 14, 28])
def test_from_the_first_week_on_it_beats_methods_that_have_to_wait(lead: int) -> None:
    runs = first_weeks()
    for method in NAMES:
        assert losses(runs, lead) < 0.85 * losses(runs, lead, method), method
    assert abs(bias(runs, lead)) < 0.05 + 2 * spread(lambda run: bias([run], lead), runs)
    share = coverage(runs, lead, P90)
    assert share > 0.87 - 2 * spread(lambda run: coverage([run], lead, P90), runs)


# --- when habits change ---


def changed(**habits: object) -> list[Trial]:
    """Four to eleven weeks after a change."""
    spec = spec_of(days=CHANGE + FOUR_WEEKS + 49 + 29, **habits)
    first = CHANGE + FOUR_WEEKS
    return [
        trial(spec, seed, first=first, last=first + 49, leads=(1, 7, 14, 28), step=3, baselines=SIMPLE)
        for seed in range(1, 6)
    ]


@cache
def after_a_shift() -> list[Trial]:
    return changed(level_shifts=(LevelShift(on=FIRST + timedelta(days=CHANGE), factor=1.4),))


@cache
def after_a_lead_change() -> list[Trial]:
    return changed(segments=(ACUTE, AFTER), lead_change=FIRST + timedelta(days=CHANGE))


@pytest.mark.parametrize("lead", [1, 7, 14, 28])
@pytest.mark.parametrize(("level", "wanted"), [(P90, 0.9), (P95, 0.95)], ids=["90 %", "95 %"])
def test_four_weeks_after_40_percent_more_sessions_quantiles_cover_again(lead: int, level: int, wanted: float) -> None:
    runs = after_a_shift()
    error = spread(lambda run: coverage([run], lead, level), runs)
    assert coverage(runs, lead, level) > wanted - 0.03 - 2 * error


def test_methods_with_long_windows_do_not_cover_then() -> None:
    """The bound above can be missed."""
    runs = after_a_shift()
    error = spread(lambda run: coverage([run], 28, P90, "additive-90d"), runs)
    assert coverage(runs, 28, P90, "additive-90d") < 0.87 - 2 * error


@pytest.mark.parametrize("lead", [1, 7, 14, 28])
def test_a_change_of_lead_times_alone_is_not_taken_for_one_of_demand(lead: int) -> None:
    runs = after_a_lead_change()
    error = spread(lambda run: bias([run], lead), runs)
    assert abs(bias(runs, lead)) < 0.05 + 2 * error
    if lead > 1:
        assert abs(bias(runs, lead)) < abs(bias(runs, lead, "additive-90d"))
        assert losses(runs, lead) < losses(runs, lead, "additive-90d")


def test_the_book_itself_looks_quite_different_then() -> None:
    """There is something to be fooled by: at 14 days to go a third of what was booked before is."""
    truth = after_a_lead_change()[0].truth
    booked = truth.live()[:, 14]
    mondays = np.arange(0, truth.spec.days, 7)
    before, after = booked[mondays[mondays < CHANGE]].mean(), booked[mondays[mondays >= CHANGE]].mean()
    assert after < 0.4 * before
    assert {PLANNER, *NAMES} == {method for method, _ in after_a_lead_change()[0].scored}
