"""What a site's policy states, as the curve that learning starts from."""

from __future__ import annotations

import numpy as np
import pytest

from planner.learning.prior import LEAST_HAZARD, LEAST_WEEKDAY, prior_of
from tests.forecast.clinic import SITE, catalogue


def test_tables_are_points_joined_by_lines() -> None:
    """Keep .95 until 3 days to go, .9 there, .8 at 14: half-way between two points it is half-way between them."""
    prior = prior_of(catalogue(per_day="4"), SITE)
    kept = (1 - prior.missed) * np.cumprod(1 - np.where(np.arange(90) > 0, prior.hazard, 0.0))
    assert prior.missed == pytest.approx(0.05)
    assert kept[[3, 14]] == pytest.approx([0.9, 0.8], rel=1e-9)
    assert kept[[1, 2]] == pytest.approx([0.95 - 0.05 / 3, 0.95 - 0.1 / 3], rel=1e-9)
    # beyond the last point the table is flat: almost nobody is lost there, but not nobody
    assert prior.hazard[20:] == pytest.approx(LEAST_HAZARD)


def test_new_bookings_add_up_to_what_is_still_to_come() -> None:
    """Of 4 sessions on a weekday, 20 in a week, a tenth is still to come on the day and a half a week before."""
    prior = prior_of(catalogue(per_day="4"), SITE)
    kept = (1 - prior.missed) * np.cumprod(1 - np.where(np.arange(90) > 0, prior.hazard, 0.0))
    per_day = 20 / 7
    to_come = np.cumsum(prior.new * kept)
    assert to_come[[0, 7, 60]] == pytest.approx([0.1 * per_day, 0.5 * per_day, 0.5 * per_day], rel=0.02)


def test_weekdays_are_those_of_the_expected_sessions() -> None:
    week = prior_of(catalogue(per_day="4"), SITE).week
    assert week[:5] == pytest.approx(7 / 5)
    assert week[5:] == pytest.approx(LEAST_WEEKDAY)


def test_a_site_that_states_nothing_expects_nothing() -> None:
    prior = prior_of(catalogue(), SITE)
    assert not prior.new.any()
    assert prior.shares == {}
    assert prior.week == pytest.approx(1)
