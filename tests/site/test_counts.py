"""A count is a snapshot: whatever order it and what happened around it are told in, the same stock is left."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.events.stock import STOCK_EVENTS
from planner.refusal import Refused
from planner.site.consumption import take_session
from planner.site.entries import restore_sites, take_writes
from planner.site.lots import on_shelf
from planner.site.movements import REMEMBERED, REMEMBERED_MOST
from planner.site.state import ItemStock, SiteState
from planner.site.stock import apply_stock
from planner.site.touched import Touched
from tests.plan.clinic import KETAMINE, NORTH, SOUTH, VITAMIN, at
from tests.site.test_stock_conservation import CATALOGUE, EXPIRY, open_ml, profile

Told = tuple[datetime, dict[str, Any]]


class Shelf:
    """One item's stock at a site, told of events."""

    def __init__(self, item: str = KETAMINE, opening: int = 30) -> None:
        self.item = item
        self.state = SiteState(NORTH)
        self.touched = Touched()
        self.number = 0
        for lot in ("B", "C"):
            self.tell((at(-2), {"type": "stock.received", "lot": lot, "quantity": opening}))

    @property
    def stock(self) -> ItemStock:
        return self.state.stock[self.item]

    def tell(self, told: Told) -> str | None:
        """Apply; the reason if it is refused."""
        when, body = told
        self.number += 1
        if body["type"] == "session":
            needed = profile(
                self.item, mean=body["mean"], maximum=body["mean"] * 2, certain=body.get("certain", Decimal(0))
            )
            take_session(self.state, CATALOGUE, needed, None, when, touched=self.touched, cause="e")
            return None
        more = {"expiry": EXPIRY[body["lot"]]} if body["type"] in {"stock.received", "stock.transferred-in"} else {}
        head = {"event_id": f"e{self.number}", "occurred_at": when, "site": NORTH, "item": self.item}
        try:
            apply_stock(self.state, CATALOGUE, STOCK_EVENTS.validate_python({**body, **head, **more}), self.touched)
        except Refused as refused:
            return refused.reason
        return None

    @property
    def left(self) -> tuple[Any, ...]:
        stock = self.stock
        count = stock.last_count
        lots = {lot.lot: lot.quantity for lot in stock.lots.values()}
        return lots, stock.deficit, stock.presumed, open_ml(stock), count and (count.counted_at, count.counted)


def count_of(**lots: int) -> dict[str, Any]:
    return {"type": "stock.counted", "lots": [{"lot": lot, "quantity": n} for lot, n in lots.items()]}


few = st.integers(1, 9)
maybe_lot = st.sampled_from([None, None, "B", "C"])
whole = st.one_of(
    st.builds(lambda n, lot: {"type": "stock.dispensed", "quantity": n, "lot": lot}, few, maybe_lot),
    st.builds(
        lambda n, lot: {"type": "stock.transferred-out", "quantity": n, "to_site": SOUTH, "lot": lot}, few, maybe_lot
    ),
    st.builds(
        lambda n, lot, why: {"type": "stock.wasted", "quantity": n, "reason": why, "witness": "w", "lot": lot},
        few,
        maybe_lot,
        st.sampled_from(["broken", "recalled"]),
    ),
)
sessions = st.builds(lambda m: {"type": "session", "mean": m}, st.decimals(Decimal("0.05"), 3, places=2))
volumes = st.builds(lambda n: {"type": "stock.dispensed", "volume_ml": str(n)}, st.integers(1, 70))
counts = st.lists(
    st.builds(lambda b, c: count_of(B=b, C=c), st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=3
)


def instants(events: list[dict[str, Any]], chance: random.Random) -> list[Told]:
    """Distinct ones, within what is remembered."""
    minutes = chance.sample(range(int(REMEMBERED.total_seconds() // 60)), len(events))
    return [(at(0) + timedelta(minutes=minute), event) for minute, event in zip(minutes, events, strict=True)]


@given(st.sampled_from([KETAMINE, VITAMIN]), st.data(), counts, st.integers(0, 2**32))
@settings(max_examples=150, deadline=None)
def test_counts_may_be_told_at_any_time_among_withdrawals(item: str, data: Any, found: list[Any], seed: int) -> None:
    chance = random.Random(seed)
    kinds = st.one_of(whole, sessions) if item == KETAMINE else st.one_of(whole, volumes)
    events = data.draw(st.lists(kinds, min_size=1, max_size=14))
    told = instants([*events, *found], chance)
    withdrawals, counted = told[: len(events)], told[len(events) :]
    shelves = []
    for _ in range(2):
        order = list(withdrawals)
        for count in chance.sample(counted, len(counted)):
            order.insert(chance.randrange(len(order) + 1), count)
        shelf = Shelf(item)
        assert {shelf.tell(one) for one in order} <= {None, "stale-count"}
        shelves.append(shelf)
    assert shelves[0].left == shelves[1].left
    if len(counted) == 1:
        expected = [shelf.stock.last_count and shelf.stock.last_count.expected for shelf in shelves]
        assert expected[0] == expected[1], "and the same difference is found"
    (again,) = restore_sites(take_writes(shelves[0].state, shelves[0].touched)).values()
    assert again.stock == shelves[0].state.stock


def test_the_days_sessions_told_after_its_count_heal_the_difference() -> None:
    shelf = Shelf()
    shelf.tell((at(0, "18:00"), count_of(B=21, C=30)))
    count = shelf.stock.last_count
    assert count is not None
    assert (count.expected, count.counted) == (60, 51)
    for hour in range(9, 18):
        shelf.tell((at(0, f"{hour:02}:30"), {"type": "session", "mean": Decimal(1)}))
    assert (count.expected, count.counted) == (51, 51)
    assert on_shelf(shelf.stock) == 51, "they are not taken a second time"
    shelf.tell((at(0, "18:01"), {"type": "session", "mean": Decimal(1)}))
    assert (count.expected, on_shelf(shelf.stock)) == (51, 50)


def test_what_was_not_used_after_all_makes_a_difference() -> None:
    shelf = Shelf()
    shelf.tell((at(0, "18:00"), count_of(B=30, C=30)))
    shelf.tell((at(0, "12:00"), {"type": "stock.dispensed", "quantity": 7}))
    count = shelf.stock.last_count
    assert count is not None
    assert (count.expected, count.counted, on_shelf(shelf.stock)) == (53, 60, 60)


def test_a_late_receipt_of_a_counted_lot_is_counted_already() -> None:
    shelf = Shelf()
    shelf.tell((at(0, "18:00"), count_of(B=50, C=30)))
    shelf.tell((at(0, "10:00"), {"type": "stock.received", "lot": "B", "quantity": 20}))
    count = shelf.stock.last_count
    assert count is not None
    assert (count.expected, on_shelf(shelf.stock)) == (80, 80)
    shelf.tell((at(0, "11:00"), {"type": "stock.transferred-in", "lot": "A", "quantity": 5, "from_site": SOUTH}))
    assert (count.expected, on_shelf(shelf.stock)) == (80, 85), "the count did not name it: it was not there yet"


def test_a_late_count_keeps_what_came_since() -> None:
    shelf = Shelf()
    shelf.tell((at(0, "12:00"), {"type": "stock.dispensed", "quantity": 4}))
    shelf.tell((at(0, "13:00"), {"type": "stock.received", "lot": "A", "quantity": 5}))
    assert shelf.tell((at(0, "11:00"), count_of(B=29, C=30))) is None
    assert {lot.lot: lot.quantity for lot in shelf.stock.lots.values()} == {"A": 5, "B": 25, "C": 30}
    assert shelf.stock.last_count is not None
    assert shelf.stock.last_count.expected == 60


def test_a_volume_drawn_before_the_count_leaves_its_open_container() -> None:
    shelf = Shelf(VITAMIN)
    shelf.tell((at(0, "18:00"), count_of(B=29, C=30)))
    shelf.tell((at(0, "12:00"), {"type": "stock.dispensed", "volume_ml": "10"}))
    count = shelf.stock.last_count
    assert count is not None
    assert (count.expected, count.counted, on_shelf(shelf.stock)) == (59, 59, 59)
    assert open_ml(shelf.stock) == 20


@pytest.mark.parametrize(("hours", "reason"), [(25, "late-count"), (23, None)])
def test_a_count_from_before_what_is_remembered_is_refused(hours: int, reason: str | None) -> None:
    shelf = Shelf()
    shelf.tell((at(0), {"type": "stock.dispensed", "quantity": 1}))
    shelf.tell((at(0) + timedelta(hours=hours), {"type": "stock.dispensed", "quantity": 1}))
    before = shelf.left
    assert shelf.tell((at(0) - timedelta(minutes=1), count_of(B=1))) == reason
    assert (shelf.left == before) is (reason is not None)
    assert shelf.tell((at(0) + timedelta(hours=1), count_of(B=1))) is None, "nothing after it is forgotten"


def test_movements_remembered_are_bounded() -> None:
    shelf = Shelf(opening=10 * REMEMBERED_MOST)
    for second in range(2 * REMEMBERED_MOST):
        shelf.tell((at(0) + timedelta(seconds=second), {"type": "stock.dispensed", "quantity": 1}))
    assert len(shelf.stock.movements) == REMEMBERED_MOST
    assert shelf.tell((at(0), count_of(B=1))) == "late-count"
    shelf.tell((at(1), count_of(B=1)))
    assert not shelf.stock.movements
