"""What is scarce goes to those that need it most: no other item, no PRN line; then by start."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest

from planner.catalogue.index import Catalogue
from planner.catalogue.model import ItemChoice
from planner.messages import Alert, AlertKind
from planner.reorder.alerts import review
from planner.reorder.triage import Triage
from planner.site.state import Moments, Profile, SiteState
from tests.reorder.clinic import EPTINEZUMAB, MAGNESIUM, MONDAY, SITE, at, book, bundle, outlook, stock


def clinic() -> Catalogue:
    """Eptinezumab may stand in for magnesium, as far as this test goes."""
    plain = bundle()
    choices = (ItemChoice(item=MAGNESIUM), ItemChoice(item=EPTINEZUMAB))
    components = tuple(
        c.model_copy(update={"filled_by": choices}) if c.id == "magnesium" else c for c in plain.components
    )
    return Catalogue(plain.model_copy(update={"components": components}))


def prn(state: SiteState, booking: str, clock: str, day: int = 0) -> None:
    """A session that takes two with a probability of a half."""
    book(state, booking, at(MONDAY + timedelta(days=day), clock), {MAGNESIUM: "1"})
    entry = state.bookings[booking]
    profile = state.profiles[entry.profile]
    moments = Moments(Decimal(1), Decimal(1), Decimal(2), Decimal(0))
    state.profiles["prn"] = Profile("prn", profile.protocol, 1, "test-1", {MAGNESIUM: moments})
    state.bookings[booking] = entry._replace(profile="prn")


def short(state: SiteState, catalogue: Catalogue, need: list[float]) -> Alert:
    seen = outlook(state, MONDAY, {MAGNESIUM: need})
    [found] = [a for a in review(state, catalogue, seen, at(MONDAY), "e1") if a.kind is AlertKind.STOCK_OUT]
    return found


def test_the_one_that_may_do_without_waits_though_it_starts_first() -> None:
    state = SiteState(SITE)
    stock(state, MAGNESIUM, 4)
    prn(state, "PRN", "09:30")
    for name, day, clock in (("A", 0, "10:00"), ("B", 1, "09:00"), ("C", 1, "10:00")):
        book(state, name, at(MONDAY + timedelta(days=day), clock), {MAGNESIUM: "2"})
    found = short(state, Catalogue(bundle()), [3, 4])
    # four containers: A and B have them; of those that have not, C needs it most
    assert [(s.booking_id, s.need) for s in found.sessions_at_risk] == [("C", "only"), ("PRN", "optional")]
    assert found.reasons["sessions_without_other"] == 1
    assert "1 of them can do with nothing else, and come first" in found.summary


def test_stock_kept_for_those_in_need_is_not_given_away_before() -> None:
    """A delivery on the second day: the PRN line of the first day is no danger to the sessions after it."""
    state = SiteState(SITE)
    stock(state, MAGNESIUM, 1)
    prn(state, "PRN", "09:30")
    book(state, "A", at(MONDAY + timedelta(days=1), "10:00"), {MAGNESIUM: "1"})
    book(state, "B", at(MONDAY + timedelta(days=1), "11:00"), {MAGNESIUM: "1"})
    found = short(state, Catalogue(bundle()), [1, 2])
    assert [s.booking_id for s in found.sessions_at_risk] == ["B", "PRN"]


@pytest.mark.parametrize(("there", "need"), [(0, "only"), (5, "alternative")])
def test_another_item_that_is_there_is_an_alternative(there: int, need: str) -> None:
    state = SiteState(SITE)
    stock(state, EPTINEZUMAB, there)
    book(state, "A", at(MONDAY, "10:00"), {MAGNESIUM: "2"})
    found = short(state, clinic(), [2])
    assert [(s.booking_id, s.need) for s in found.sessions_at_risk] == [("A", need)]


def test_an_alternative_that_is_needed_itself_is_none() -> None:
    state = SiteState(SITE)
    stock(state, EPTINEZUMAB, 5)
    seen = outlook(state, MONDAY, {MAGNESIUM: [2], EPTINEZUMAB: [5]})
    book(state, "A", at(MONDAY, "10:00"), {MAGNESIUM: "2"})
    profile = state.profiles[state.bookings["A"].profile]
    assert Triage(clinic(), SITE, seen).need(profile, MAGNESIUM, 3) == "only"


def test_a_line_that_allows_one_item_has_no_alternative() -> None:
    catalogue = clinic()
    protocols = tuple(
        p.model_copy(
            update={
                "versions": tuple(
                    v.model_copy(
                        update={
                            "lines": tuple(
                                line.model_copy(update={"items": (ItemChoice(item=MAGNESIUM),)})
                                if line.component == "magnesium"
                                else line
                                for line in v.lines
                            )
                        }
                    )
                    for v in p.versions
                )
            }
        )
        for p in catalogue.bundle.protocols
    )
    strict = Catalogue(catalogue.bundle.model_copy(update={"protocols": protocols}))
    state = SiteState(SITE)
    stock(state, EPTINEZUMAB, 5)
    book(state, "A", at(MONDAY, "10:00"), {MAGNESIUM: "2"})
    assert short(state, strict, [2]).sessions_at_risk[0].need == "only"
    state.alerts.clear()
    state.standing = None
    assert short(state, catalogue, [2]).sessions_at_risk[0].need == "alternative"
