"""How late suppliers deliver: learned as one counts by hand, by promises and stated lead times, open orders too."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.events import ORDER_EVENTS
from planner.learning.lateness import (
    EXCEEDS_ALLOWANCE,
    HALF_LIFE_DAYS,
    LATE_AND_UNSTATED,
    LATE_MOST,
    PRIOR_ORDERS,
    Lateness,
    close_day,
    prior_chances,
)
from planner.site.orders import apply_order
from planner.site.state import SiteState
from planner.site.touched import Touched
from tests.forecast.clinic import CATHETER, MONDAY, SITE, VIAL, at, catalogue

CLINIC = catalogue()
ACME = CLINIC.suppliers["acme"]
"""Two days of lead time, an allowance of one."""
SLOW = CLINIC.suppliers["slow"]
P = 1 - EXCEEDS_ALLOWANCE**0.5


class Desk:
    """Orders at acme, day by day."""

    def __init__(self) -> None:
        self.state = SiteState(SITE)
        self.state.today = MONDAY.toordinal()
        self.number = 0
        self.touched = Touched()

    @property
    def day(self) -> date:
        return date.fromordinal(self.state.today)

    @property
    def known(self) -> Lateness:
        return self.state.learned.lateness

    def tell(self, kind: str, order: str, day: date | None = None, **fields: Any) -> None:
        self.number += 1
        event = {
            "event_id": f"e{self.number}",
            "occurred_at": at(day or self.day),
            "site": SITE,
            "type": f"order.{kind}",
            "order_id": order,
            **fields,
        }
        apply_order(self.state, CLINIC, ORDER_EVENTS.validate_python(event), self.touched)

    def place(self, order: str, **lines: int) -> None:
        told = [
            {"item": item.replace("_", "-"), "quantity": n} for item, n in (lines or {"magnesium_vial": 10}).items()
        ]
        self.tell("placed", order, supplier="acme", lines=told)

    def deliver(self, order: str, quantity: int = 10, item: str = VIAL, day: date | None = None, **more: Any) -> None:
        line = {"item": item, "quantity": quantity, "lot": f"L{self.number}", "expiry": date(2060, 1, 1)}
        self.tell("delivered", order, day, lines=[line], **more)

    def pass_days(self, days: int) -> None:
        for _ in range(days):
            close_day(self.state, CLINIC, self.touched)
            self.state.today += 1

    def comes_after(self, days: int) -> None:
        """An order that is placed today and comes so many days later, and the day after that."""
        name = f"o{self.number}"
        self.place(name)
        self.pass_days(days)
        self.deliver(name)
        self.pass_days(1)


@pytest.mark.parametrize("allowance", [1, 2, 3, 7])
def test_the_stated_allowance_is_what_one_order_in_eighty_exceeds(allowance: int) -> None:
    late = Lateness().late_probabilities(ACME.model_copy(update={"late_allowance_days": allowance}))
    assert late.sum() == pytest.approx(1)
    assert late[allowance + 1 :].sum() == pytest.approx(EXCEEDS_ALLOWANCE)
    assert (np.diff(late[:10]) < 0).all()


def test_no_allowance_is_never_late_until_it_is() -> None:
    assert prior_chances(0) == (1.0, LATE_AND_UNSTATED)
    assert Lateness().late_probabilities(SLOW)[0] == 1
    assert SLOW.late_allowance_days == 0


def test_chances_are_counted() -> None:
    """Three orders on time, one a day late, one three days late: 5 trials on day 0, 2 on day 1, 1 on days 2 and 3."""
    desk = Desk()
    for days in (2, 2, 2, 3, 5):
        desk.comes_after(days)
    expect = desk.known.expect(ACME)
    w, halved = PRIOR_ORDERS, 0.5 ** (1 / HALF_LIFE_DAYS)
    assert 0.9 < halved**18 < 1  # eighteen days weigh little: within 7 %
    pooled = (w * P + 2) / (w + 4)
    wanted = [(w * P + 3) / (w + 5), (w * pooled + 1) / (w + 2), (w * pooled) / (w + 1), (w * pooled + 1) / (w + 1)]
    np.testing.assert_allclose(expect.chances["stated"][:4], wanted, rtol=0.02)
    # nothing was promised: that is as it was stated
    np.testing.assert_allclose(expect.chances["promised"][:LATE_MOST], P)


def test_a_promise_is_judged_by_itself() -> None:
    """Promised for a day after the stated lead time, and kept: late by the one, in time by the other."""
    desk = Desk()
    for number in range(20):
        desk.place(f"o{number}")
        desk.tell("confirmed", f"o{number}", promised=desk.day + timedelta(days=3))
        desk.pass_days(3)
        desk.deliver(f"o{number}")
        desk.pass_days(1)
    assert desk.known.late_probabilities(ACME, "promised")[0] > 0.95
    assert desk.known.late_probabilities(ACME, "stated")[1] > 0.75


def test_an_open_order_counts_as_far_as_it_was_waited_for() -> None:
    """Censored: after ten days of waiting for what was due after two, it is known to be more than seven days late."""
    desk = Desk()
    desk.place("open")
    desk.pass_days(10)
    late = desk.known.late_probabilities(ACME)
    w = PRIOR_ORDERS
    chance = [w * P / (w + 1)] + [w * (w * P / (w + 7)) / (w + 1)] * 7
    np.testing.assert_allclose(desk.known.expect(ACME).chances["stated"][:8], chance, rtol=0.02)
    desk.tell("cancelled", "open")
    desk.pass_days(5)
    assert desk.known.late_probabilities(ACME) == pytest.approx(late)


def test_early_is_in_time() -> None:
    desk = Desk()
    for _ in range(30):
        desk.comes_after(0)
    assert desk.known.late_probabilities(ACME)[0] > 0.98


def test_what_is_told_late_counts_for_the_day_on_which_it_came() -> None:
    prompt, late = Desk(), Desk()
    for desk in (prompt, late):
        desk.place("o1")
        desk.pass_days(3)
    came = prompt.day
    prompt.deliver("o1")
    prompt.pass_days(4)
    late.pass_days(4)
    late.deliver("o1", day=came)
    np.testing.assert_allclose(
        late.known.expect(ACME).chances["stated"], prompt.known.expect(ACME).chances["stated"], rtol=0.02
    )


def test_an_order_counts_once_however_many_lines_it_has() -> None:
    one, many = Desk(), Desk()
    one.place("o1")
    many.place("o1", magnesium_vial=10, catheter=50)
    for desk in (one, many):
        desk.pass_days(4)
        desk.deliver("o1")
    many.deliver("o1", 50, CATHETER)
    np.testing.assert_allclose(
        many.known.expect(ACME).chances["stated"], one.known.expect(ACME).chances["stated"], rtol=1e-9
    )


def test_part_deliveries_fill_a_part() -> None:
    desk = Desk()
    assert desk.known.expected_fill("acme") == 1
    for number in range(40):
        desk.place(f"o{number}")
        desk.pass_days(2)
        desk.deliver(f"o{number}", 6)
        desk.deliver(f"o{number}", 4) if number % 2 else desk.deliver(f"o{number}", 1, complete=True)
        desk.pass_days(1)
    assert desk.known.expected_fill("acme") == pytest.approx((PRIOR_ORDERS + 0.6 * 40) / (PRIOR_ORDERS + 40), rel=0.03)


def test_delivery_days_are_learned_and_weekends_are_no_delay() -> None:
    """What is ordered on Thursdays and Fridays, with a lead time of two days, comes on Mondays."""
    desk = Desk()
    for week in range(8):
        for weekday, days in ((0, 2), (1, 2), (3, 4), (4, 3)):  # Wed, Thu, Mon, Mon
            desk.state.today = MONDAY.toordinal() + 7 * week + weekday
            desk.place(f"o{week}-{weekday}")
            came = desk.day + timedelta(days=days)
            while desk.day < came:
                desk.pass_days(1)
            desk.deliver(f"o{week}-{weekday}")
    delivers = desk.known.delivers_on("acme")
    assert delivers == (True, False, True, True, False, False, False)
    expect = desk.known.expect(ACME)
    friday = MONDAY + timedelta(days=4)
    assert expect.delivery_day(friday) == MONDAY + timedelta(days=7)
    assert expect.days_late(friday - timedelta(days=1), friday + timedelta(days=4)) == 1
    assert expect.columns(MONDAY, friday, 12).tolist() == [7, 9, 10]
    # learned while every day still was one: since then all came when they were due
    assert expect.late["stated"][0] > 0.75


def test_what_is_forgotten_gives_way_to_what_is_new() -> None:
    desk = Desk()
    for _ in range(30):
        desk.comes_after(2)
    reliable = desk.known.late_probabilities(ACME)[0]
    desk.pass_days(720)
    for _ in range(10):
        desk.comes_after(4)
    assert reliable > 0.95
    assert desk.known.late_probabilities(ACME)[0] < 0.4
    assert desk.known.late_probabilities(ACME)[2] > 0.4


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 10), st.booleans()), max_size=12))
def test_any_history_gives_probabilities_and_is_restored_to_the_bit(history: list[tuple[int, int, bool]]) -> None:
    desk = Desk()
    for number, (days, quantity, whole) in enumerate(history):
        desk.place(f"o{number}")
        desk.pass_days(days)
        desk.deliver(f"o{number}", quantity, complete=whole)
        desk.pass_days(1)
    expect = desk.known.expect(ACME)
    for basis in ("stated", "promised"):
        assert expect.late[basis].sum() == pytest.approx(1)
        assert (expect.late[basis] >= 0).all()
    assert 0 < expect.fill <= 1
    restored = Lateness.decode(desk.known.encode())
    assert restored == desk.known
    assert restored.encode() == desk.known.encode()
    assert len(desk.known.encode()) < 5_000
    assert ("lateness" in desk.touched.learned) == bool(history)


def test_the_truth_is_found() -> None:
    """15 % of 400 orders, five a day, are late by one to five days: each probability is found within .035."""
    rng = np.random.default_rng(4)
    desk = Desk()
    coming: dict[date, list[str]] = {}
    for _ in range(90):
        for _ in range(5 if len(coming) < 82 else 0):
            name = f"o{desk.number}"
            desk.place(name)
            late = 0 if rng.random() >= 0.15 else int(rng.integers(1, 6))
            coming.setdefault(desk.day + timedelta(days=2 + late), []).append(name)
        for name in coming.get(desk.day, ()):
            desk.deliver(name)
        desk.pass_days(1)
    found = desk.known.late_probabilities(ACME)
    np.testing.assert_allclose(found[:6], [0.85, *[0.03] * 5], atol=0.035)
    assert found[:6].sum() > 0.97


def test_another_format_is_refused() -> None:
    with pytest.raises(ValueError, match="found format 9"):
        Lateness.decode(b'{"format": 9}')
