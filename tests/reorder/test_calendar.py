"""When an order can be placed and when it arrives. Thanksgiving, Thu 26 Nov 2026, is a closed day of the site."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.catalogue.model import WEEKDAYS, Supplier
from planner.reorder.calendar import cutoff_on, first_chance, order_dates, valid_until
from tests.reorder.clinic import EPTINEZUMAB, MAGNESIUM, SITE, VITAMIN, ZONE, at, catalogue

TABLE = """
item             | now              | chance     | arrives    | next       | next arrives
magnesium-vial   | 2026-11-16 09:00 | 2026-11-16 | 2026-11-19 | 2026-11-17 | 2026-11-20   # Monday morning
magnesium-vial   | 2026-11-16 16:00 | 2026-11-16 | 2026-11-19 | 2026-11-17 | 2026-11-20   # at the cutoff: in time
magnesium-vial   | 2026-11-16 16:01 | 2026-11-17 | 2026-11-20 | 2026-11-18 | 2026-11-21   # a minute late
magnesium-vial   | 2026-11-20 12:00 | 2026-11-20 | 2026-11-23 | 2026-11-23 | 2026-11-26   # Friday: Monday is next
magnesium-vial   | 2026-11-21 12:00 | 2026-11-23 | 2026-11-26 | 2026-11-24 | 2026-11-27   # Saturday
magnesium-vial   | 2026-11-25 17:00 | 2026-11-27 | 2026-11-30 | 2026-11-30 | 2026-12-03   # closed on Thursday
eptinezumab-vial | 2026-11-16 09:00 | 2026-11-17 | 2026-11-21 | 2026-11-20 | 2026-11-24   # Tuesdays and Fridays
eptinezumab-vial | 2026-11-17 12:01 | 2026-11-20 | 2026-11-24 | 2026-11-24 | 2026-11-28   # cutoff at noon
vitamin-vial     | 2026-11-17 11:00 | 2026-11-17 | 2026-11-24 | 2026-11-20 | 2026-11-27   # its own lead time, 7 days
"""

ROWS = [
    [cell.strip() for cell in line.split("#")[0].split("|")] for line in TABLE.strip().splitlines()[1:] if line.strip()
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0]} {row[1]}")
def test_order_dates(row: list[str]) -> None:
    item, now, *expected = row
    instant = datetime.fromisoformat(now).replace(tzinfo=ZONE)
    dates = order_dates(catalogue(), SITE, item, instant)
    found = (dates.chance, dates.arrives, dates.next_chance, dates.next_arrives)
    assert found == tuple(date.fromisoformat(d) for d in expected)
    assert dates.covers_until == dates.next_arrives - timedelta(days=1)


def test_a_review_period_skips_chances() -> None:
    dates = order_dates(catalogue(review_period_days=7), SITE, MAGNESIUM, at(date(2026, 11, 17)))
    assert (dates.chance, dates.next_chance, dates.later_chance) == (
        date(2026, 11, 17),
        date(2026, 11, 24),
        date(2026, 12, 1),
    )


def test_cutoffs_follow_the_clocks() -> None:
    """16:00 in New York is 20:00 UTC in summer and 21:00 in winter; clocks changed on 1 November 2026."""
    acme = catalogue().suppliers["acme"]
    assert cutoff_on(acme, date(2026, 10, 30), ZONE).hour == 20
    assert cutoff_on(acme, date(2026, 11, 2), ZONE).hour == 21


def test_a_supplier_without_order_days_is_named() -> None:
    supplier = Supplier.model_construct(id="nobody", name="Nobody", lead_time_days=1, order_days=(), cutoff="12:00")
    with pytest.raises(ValueError, match=r"supplier nobody: order_days is empty"):
        first_chance(supplier, date(2026, 11, 16), frozenset())


@settings(max_examples=60, deadline=None)
@given(
    minutes=st.integers(0, 60 * 24 * 400),
    item=st.sampled_from([MAGNESIUM, EPTINEZUMAB, VITAMIN]),
    period=st.integers(1, 21),
)
def test_order_dates_hold_until_they_say(minutes: int, item: str, period: int) -> None:
    clinic = catalogue(review_period_days=period)
    now = at(date(2026, 1, 1), "00:00") + timedelta(minutes=minutes)
    dates = order_dates(clinic, SITE, item, now)
    supplier = clinic.supplier_of(item)
    for chance in (dates.chance, dates.next_chance, dates.later_chance):
        assert WEEKDAYS[chance.weekday()] in supplier.order_days
        assert chance not in clinic.sites[SITE].closed_on
    assert now <= dates.cutoff
    assert dates.chance + timedelta(days=period) <= dates.next_chance
    until = valid_until(clinic, SITE, now)
    assert now <= until
    assert order_dates(clinic, SITE, item, until) == dates
