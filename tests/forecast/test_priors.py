"""Stated priors: steps by days to go, weekdays, closing days."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np

from planner.forecast.priors import PriorModel
from tests.forecast.clinic import MONDAY, SITE, catalogue


def test_keep_probability_is_that_of_the_largest_step_at_or_below() -> None:
    keep = PriorModel(catalogue()).keep_probability(SITE, "infusion", MONDAY, 90)
    assert [keep[days_to_go] for days_to_go in (0, 2, 3, 13, 14, 89)] == [0.95, 0.95, 0.9, 0.9, 0.8, 0.8]


def test_sessions_to_come_are_the_share_not_yet_booked_of_what_the_weekday_expects() -> None:
    (sessions,) = PriorModel(catalogue(per_day="4")).streams(SITE, MONDAY, 12)
    # Monday to Sunday, then Monday to Friday; the second Thursday is 2026-11-26, when the site is closed
    expected = [0.4] * 5 + [0, 0] + [2, 2, 2, 0, 2]
    np.testing.assert_allclose(sessions.mean, expected)
    np.testing.assert_allclose(sessions.variance, np.array(expected) * 1.5)
    assert sessions.mix == {"infusion": 1.0}
    assert sessions.pool is None


def test_days_count_from_the_first_day() -> None:
    model = PriorModel(catalogue(per_day="4"))
    assert model.streams(SITE, MONDAY + timedelta(days=3), 4)[0].mean.tolist() == [0.4, 0.4, 0, 0]
    assert model.streams(SITE, date(2026, 11, 26), 1)[0].mean.tolist() == [0]


def test_a_site_that_expects_nothing_has_nothing_to_come() -> None:
    assert not any(stream.mean.any() for stream in PriorModel(catalogue()).streams(SITE, MONDAY, 90))
