"""Bookings by segment and day ahead: the sums that factors of loss are learned from, to the bit."""

from __future__ import annotations

import random

import numpy as np

from planner.learning.booked import GROUP_OF, GROUPS, WEEK, Booked, weekday_of
from planner.messages import HORIZON_DAYS

FIRST = 739_000
HAZARD = np.array([0.05, 0.03, 1 / 7, 0.01])


def some_demand(chance: random.Random) -> dict[int, dict[tuple[str, str], int]]:
    """Some before the first day and some beyond the horizon."""
    days = [FIRST + chance.randrange(-3, HORIZON_DAYS + 40) for _ in range(60)]
    return {day: {(f"s{chance.randrange(4)}", f"p{n}"): chance.randrange(1, 9) for n in range(3)} for day in days}


def test_losses_to_be_expected_are_those_of_each_booking_by_weekday_and_group_of_days_to_go() -> None:
    chance = random.Random(5)
    demand = some_demand(chance)
    wanted: dict[str, np.ndarray[tuple[int, int], np.dtype[np.float64]]] = {}
    for day, counts in demand.items():
        if (ahead := day - FIRST) >= 0:
            for (segment, _), n in counts.items():
                weights = wanted.setdefault(segment, np.zeros((WEEK, GROUPS)))
                hazard = HAZARD[min(ahead, HAZARD.size - 1)]
                weights[weekday_of(day), GROUP_OF[min(ahead, HORIZON_DAYS - 1)]] += n * hazard
    found = Booked.of(demand, FIRST).at_risk(HAZARD)
    assert found.segments == sorted(wanted)
    np.testing.assert_allclose(found.weights, [wanted[segment] for segment in found.segments], rtol=1e-9, atol=1e-9)
    shuffled = list(demand.items())
    chance.shuffle(shuffled)
    again = Booked.of({day: dict(reversed(counts.items())) for day, counts in shuffled}, FIRST).at_risk(HAZARD)
    assert (again.weights == found.weights).all()


def test_bookings_of_the_first_days_are_counted_by_weekday_and_who_has_none_is_left_out() -> None:
    demand = {FIRST: {("a", "p"): 2, ("a", "q"): 1}, FIRST + 1: {("b", "p"): 4}, FIRST + 9: {("c", "p"): 1}}
    booked = Booked.of(demand, FIRST)
    today, week = booked.within(1), booked.within(WEEK)
    assert (today.segments, week.segments) == (["a"], ["a", "b"])
    assert today.weights.sum() == today.weights[0, weekday_of(FIRST), 0] == 3
    assert week.weights[1, weekday_of(FIRST + 1), 0] == week.weights[1].sum() == 4


def test_no_bookings_are_no_losses() -> None:
    booked = Booked.of({}, FIRST)
    assert booked.segments == booked.at_risk(HAZARD).segments == booked.within(WEEK).segments == []
    assert booked.at_risk(HAZARD).weights.shape == (0, WEEK, GROUPS)
