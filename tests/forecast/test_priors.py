"""Stated priors: steps by days to go, weekdays, closing days."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np

from planner.forecast.priors import PriorModel
from tests.forecast.clinic import MONDAY, SITE, catalogue


def test_keep_probability_is_that_of_the_largest_step_at_or_below() -> None:
    model = PriorModel(catalogue())
    days_to_go = np.array([0.0, 2.9, 3.0, 13.0, 14.0, 400.0])
    assert model.keep_probability(SITE, "infusion", days_to_go).tolist() == [0.95, 0.95, 0.9, 0.9, 0.8, 0.8]


def test_sessions_to_come_are_the_share_not_yet_booked_of_what_the_weekday_expects() -> None:
    sessions = PriorModel(catalogue(per_day="4")).to_come(SITE, "infusion", MONDAY, 12)
    # Monday to Sunday, then Monday to Friday; the second Thursday is 2026-11-26, when the site is closed
    expected = [0.4] * 5 + [0, 0] + [2, 2, 2, 0, 2]
    np.testing.assert_allclose(sessions.mean, expected)
    np.testing.assert_allclose(sessions.variance, np.array(expected) * 1.5)


def test_days_count_from_the_first_day() -> None:
    model = PriorModel(catalogue(per_day="4"))
    thursday = MONDAY + timedelta(days=3)
    assert model.to_come(SITE, "infusion", thursday, 4).mean.tolist() == [0.4, 0.4, 0, 0]
    assert model.to_come(SITE, "infusion", date(2026, 11, 26), 1).mean.tolist() == [0]


def test_a_protocol_that_the_site_does_not_expect_has_none_to_come() -> None:
    assert not PriorModel(catalogue()).to_come(SITE, "infusion", MONDAY, 90).mean.any()
