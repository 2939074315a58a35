"""Portions: against enumeration of what sessions may take, and those of a site's sessions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import timedelta
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.expansion.moments import as_decimal
from planner.forecast.need import SiteNeed
from planner.forecast.portions import portion, portion_of
from planner.site.state import Moments, SiteState
from tests.forecast.clinic import BULK, CATHETER, MONDAY, SITE, VIAL, book, catalogue, profile
from tests.forecast.stated import StatedModel


def moments(chances: Mapping[int, Fraction]) -> Moments:
    """Of a use with these probabilities, the least and the greatest of which it is known."""
    mean = sum((p * x for x, p in chances.items()), Fraction(0))
    variance = sum((p * (x - mean) ** 2 for x, p in chances.items()), Fraction(0))
    return Moments(as_decimal(mean), as_decimal(variance), *(as_decimal(Fraction(f(chances))) for f in (max, min)))


@pytest.mark.parametrize(
    ("chances", "taken"),
    [
        ({3: "1"}, 3),
        ({0: "0.7", 3: "0.3"}, 3),
        ({3: "0.8", 6: "0.2"}, 3),
        ({2: "0.8", 3: "0.2"}, 1),
        ({0: "0.5", 2: "0.25", 4: "0.25"}, 1),  # two at a time, but not known from the moments
        ({0: "1"}, 0),
    ],
)
def test_what_is_taken_at_once(chances: dict[int, str], taken: int) -> None:
    assert portion_of(moments({x: Fraction(p) for x, p in chances.items()})) == taken


@given(st.dictionaries(st.integers(0, 12), st.integers(1, 8), min_size=1, max_size=4))
def test_every_amount_is_a_multiple(weights: dict[int, int]) -> None:
    total = sum(weights.values())
    found = portion_of(moments({x: Fraction(w, total) for x, w in weights.items()}))
    assert all(found == x == 0 or x % max(found, 1) == 0 for x in weights)
    if len(weights) == 1:
        assert found == math.gcd(*weights)


def test_parts_of_a_container_are_no_portions() -> None:
    taken = profile("half", {VIAL: ("1.5", "0")})
    assert portion_of(taken.items[VIAL]) == 1


def test_the_portion_of_several_sessions_is_what_they_have_in_common() -> None:
    three, six, two = (profile(n, {VIAL: (n, "0")}) for n in ("3", "6", "2"))
    other = profile("other", {CATHETER: ("1", "0")})
    assert portion(VIAL, [six, other, three]) == 3
    assert portion(VIAL, [six, three, two]) == 1
    assert portion(VIAL, [other]) == 0
    assert portion(VIAL, [six], 4) == 2


def test_portions_of_a_site_are_those_of_sessions_booked_and_to_come() -> None:
    """Typical sessions take two vials, and half of them 1 mL of what is counted in mL; a booked one takes three."""
    busy = catalogue(per_day="6.5")
    state = SiteState(SITE)
    need = SiteNeed(state, busy, StatedModel(busy, SITE))
    assert need.refresh(MONDAY).portions == {VIAL: 2}
    far = MONDAY + timedelta(days=200)
    need.touch(book(state, far, profile("four", {VIAL: ("4", "0"), BULK: ("10", "0")})))
    assert need.refresh(MONDAY).portions == {VIAL: 2}
    need.touch(book(state, far, profile("three", {VIAL: ("3", "0")})))
    assert (
        need.refresh(MONDAY).portions == {} == SiteNeed(state, busy, StatedModel(busy, SITE)).refresh(MONDAY).portions
    )
    quiet = catalogue()
    assert SiteNeed(state, quiet, StatedModel(quiet, SITE)).refresh(MONDAY).portions == {}
