"""Simple methods against figures worked out by hand, and what they may look at."""

from __future__ import annotations

import numpy as np
import pytest

from planner.backtest.baselines import (
    additive_pickup,
    baselines,
    booked_only,
    multiplicative_pickup,
    seasonal_naive,
)
from planner.backtest.history import Book, running_totals
from planner.messages import QUANTILES


def book_of(told: list[float], on_books: list[list[float]], settled_lag: int = 0) -> Book:
    days = len(told)
    settled = np.maximum(np.arange(days) + 1 - settled_lag, 0)
    return Book(np.array(on_books), np.array(told), settled, np.array(told))


def test_running_totals() -> None:
    assert running_totals(np.array([1.0, 2.0, 4.0, 8.0]), 2).tolist() == [6.0, 12.0]
    assert running_totals(np.array([1.0, 2.0]), 2).tolist() == []


DAYS = np.arange(8)
BOOK = book_of([5, 3, 8, 6, 9, 7, 4, 6], [[2, 1], [4, 1], [3, 2], [6, 3], [4, 3], [2, 2], [5, 1], [0, 0]])


def test_booked_only_knows_what_is_on_the_books() -> None:
    made = booked_only(BOOK, np.array([0, 4]), 2)
    assert made.mean.tolist() == [3.0, 7.0]
    assert made.quantiles.tolist() == [[3.0] * 5, [7.0] * 5]


def test_additive_pickup_adds_what_earlier_origins_picked_up() -> None:
    # at the end of day 5, lead 1: origins 0 … 4 picked up 3−2, 8−4, 6−3, 9−6, 7−4 = 1, 4, 3, 3, 3; the last three
    made = additive_pickup(BOOK, np.array([5]), 1, window_days=3)
    assert made.mean.tolist() == [2 + 3.0]
    assert made.quantiles[0].tolist() == [5.0] * 5
    # lead 2: origins 0 … 3 are settled: 11−3, 14−5, 15−5, 16−9 = 8, 9, 10, 7; the last two
    made = additive_pickup(BOOK, np.array([5]), 2, window_days=2)
    assert made.mean.tolist() == [4 + 8.5]
    assert made.quantiles[0] == pytest.approx([4 + 7 + 3 * q for q in QUANTILES])


def test_multiplicative_pickup_multiplies() -> None:
    # lead 1 at the end of day 5: 3/2, 8/4, 6/3, 9/6, 7/4; the last two: 1.5 and 1.75
    made = multiplicative_pickup(BOOK, np.array([5]), 1, window_days=2)
    assert made.mean.tolist() == [2 * 1.625]
    assert made.quantiles[0] == pytest.approx([2 * (1.5 + 0.25 * q) for q in QUANTILES])


def test_multiplicative_pickup_learns_nothing_from_an_empty_book() -> None:
    book = book_of([5, 3, 8, 6], [[2], [0], [3], [4]])
    made = multiplicative_pickup(book, np.array([3]), 1, window_days=9)
    assert made.mean.tolist() == [pytest.approx(4 * (3 / 2 + 6 / 3) / 2)]


def test_where_no_error_is_known_the_base_stands_alone() -> None:
    assert additive_pickup(BOOK, np.array([0]), 2, 28).mean.tolist() == [3.0]
    assert multiplicative_pickup(BOOK, np.array([1]), 2, 28).quantiles.tolist() == [[5.0] * 5]


def test_seasonal_naive_repeats_last_week() -> None:
    told = [float(day) for day in range(21)]
    book = book_of(told, [[0.0]] * 21)
    # at the end of day 13: days 14 … 22 as days 7 … 13, and again 7 and 8; every error has been 7 a day
    made = seasonal_naive(book, np.array([13]), 9, 1)
    assert made.mean[0] == pytest.approx(sum(range(7, 14)) + 7 + 8 + _errors(9))
    made = seasonal_naive(book, np.array([20]), 2, 2)
    # days 21 and 22 as the means of 14 and 7, and of 15 and 8
    errors = [
        float(sum(told[o + 1 : o + 3]) - sum(_mean_of(told, o, day) for day in (o + 1, o + 2))) for o in range(19)
    ]
    assert made.mean[0] == pytest.approx(10.5 + 11.5 + np.mean(errors))


def _mean_of(told: list[float], origin: int, day: int) -> float:
    while day > origin:
        day -= 7
    return sum(told[d] for d in (day, day - 7) if d >= 0) / 2


def _errors(lead: int) -> float:
    """Of origins 0 … 4, whose nine days are over at the end of day 13: a day without a week before it is 0."""
    errors = []
    for origin in range(5):
        base = 0
        for day in range(origin + 1, origin + 1 + lead):
            back = day
            while back > origin:
                back -= 7
            base += max(back, 0)
        errors.append(sum(range(origin + 1, origin + 1 + lead)) - base)
    return float(np.mean(errors))


def test_forecasts_are_never_below_nothing() -> None:
    book = book_of([0, 0, 0, 0, 0], [[9.0], [9.0], [9.0], [9.0], [1.0]])
    made = additive_pickup(book, np.array([4]), 1, 28)
    assert made.quantiles.min() == 0.0
    assert made.mean[0] == 0.0


@pytest.mark.parametrize("baseline", baselines(), ids=lambda one: one.name)
@pytest.mark.parametrize("lag", [0, 3])
def test_nothing_after_the_origin_matters(baseline: object, lag: int) -> None:
    rng = np.random.default_rng(3)
    told = rng.poisson(5, 80).astype(float)
    on_books = rng.poisson(3, (80, 14)).astype(float)
    origins = np.array([20, 40, 60])
    settled = np.maximum(np.arange(80) + 1 - lag, 0)
    known = Book(on_books, told, settled, told)
    before = baseline.forecast(known, origins, (1, 7, 14))  # type: ignore[attr-defined]
    for at, origin in enumerate(origins):
        later, more = told.copy(), on_books.copy()
        later[origin + 1 - lag :] += 1000
        more[origin + 1 :] += 1000
        planted = Book(more, later, settled, later)
        after = baseline.forecast(planted, origins, (1, 7, 14))  # type: ignore[attr-defined]
        for lead in (1, 7, 14):
            assert np.array_equal(before[lead].quantiles[: at + 1], after[lead].quantiles[: at + 1])
            assert np.array_equal(before[lead].mean[: at + 1], after[lead].mean[: at + 1])
        changed = baseline.forecast(Book(on_books + 9, told + 9, settled, told), origins, (7,))[7]  # type: ignore[attr-defined]
        assert not np.array_equal(before[7].mean, changed.mean), "what is before it does"
