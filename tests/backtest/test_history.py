"""Books by day: what was known when, and what is only scored."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from planner.backtest.history import History, together
from planner.backtest.series import Weights, find_series
from planner.backtest.use import SessionUse
from planner.backtest.walk import Walk
from tests.backtest.book import booked, event, log_of
from tests.plan.clinic import MAGNESIUM, NORTH, SOUTH, at, bundle


def walked(*events: dict[str, Any], site: str = NORTH) -> tuple[History, Walk]:
    walk = Walk(log_of(*events), bundle())
    series = [find_series(walk.catalogue, name) for name in ("sessions", MAGNESIUM)]
    weights = Weights(walk.catalogue, series)
    use = SessionUse(walk.catalogue, weights, walk.lines)
    history = History(walk.first_day, walk.days, 5, weights, len(series))
    for end in walk.through():
        if end.site == site:
            for session in end.completed:
                history.take(session.day, use.of(session))
            history.close(end.day, walk.state(site))
    return history, walk


EVENTS = [
    booked("a", at(0), at(2)),
    booked("b", at(0), at(2)),
    booked("c", at(1), at(2)),
    event("cancelled", "b", 2, at(1)),
    event("completed", "a", 2, at(2, "12:00")),
    event("completed", "c", 2, at(4, "12:00")),
    booked("d", at(0), at(3)),
    booked("e", at(7), at(8)),
]


def test_a_row_is_the_book_as_it_was_at_the_end_of_the_day() -> None:
    history, _ = walked(*EVENTS)
    book = history.book(0)
    assert book.on_books[0].tolist() == [0, 2, 1, 0, 0]
    assert book.on_books[1].tolist() == [2, 1, 0, 0, 0]
    assert book.on_books[2].tolist() == [1, 0, 0, 0, 0]
    assert history.book(1).on_books[1].tolist() == [4, 2, 0, 0, 0], "two vials a session"


def test_a_day_is_settled_when_all_is_told_or_three_days_later() -> None:
    book = walked(*EVENTS)[0].book(0)
    # day 2 waits for c until day 4; day 3 waits for d, of which nothing is ever told, until day 6
    assert book.settled.tolist() == [1, 2, 2, 2, 3, 3, 6 + 1, 8]
    assert book.told.tolist() == [0, 0, 2, 0, 0, 0, 0, 0]


def test_what_is_told_later_is_realised_and_not_told() -> None:
    late = event("completed", "d", 2, at(7, "18:00"))
    book = walked(*EVENTS, late)[0].book(0)
    assert book.told[3] == 0
    assert book.realised.tolist() == [0, 0, 2, 1, 0, 0, 0, 0]


def test_a_session_that_moves_is_on_the_book_of_its_new_site() -> None:
    moved = [booked("a", at(0), at(2)), event("rescheduled", "a", 2, at(1), start=at(3, site=SOUTH), site=SOUTH)]
    done = event("completed", "a", 3, at(3, "20:00"))
    north, _ = walked(*moved, done)
    south, _ = walked(*moved, done, site=SOUTH)
    assert north.book(0).on_books[:2].tolist() == [[0, 1, 0, 0, 0], [0, 0, 0, 0, 0]]
    assert south.book(0).on_books[:2].tolist() == [[0, 0, 0, 0, 0], [0, 1, 0, 0, 0]]
    assert (north.book(0).realised.sum(), south.book(0).realised.tolist()) == (0, [0, 0, 0, 1, 0])
    assert south.begins == 1


def test_together_is_the_sum_and_waits_for_the_slowest() -> None:
    north, _ = walked(*EVENTS)
    chain = together([north.book(0), walked(*EVENTS[1:])[0].book(0)])
    assert chain.on_books[1].tolist() == [3, 2, 0, 0, 0]
    assert chain.realised[2] == 3


def test_the_day_is_the_sites_own() -> None:
    """Half past eleven in the evening in New York is the next day in Berlin."""
    history, walk = walked(booked("a", at(0), at(1, "23:30")), event("completed", "a", 2, at(1, "23:45")))
    assert walk.first_day == date(2026, 11, 16)
    assert history.book(0).realised.tolist() == [0, 1]
    assert walk.reached_day == walk.last_day == walk.first_day + timedelta(days=1)
