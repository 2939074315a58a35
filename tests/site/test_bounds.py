"""What a site can hold has a limit that is named: a publisher that invents lots or orders harms nobody but itself."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from planner.events import orders as order_events
from planner.events import stock as stock_events
from planner.events.orders import ORDER_EVENTS
from planner.events.stock import STOCK_EVENTS
from planner.refusal import Refused
from planner.site import orders
from planner.site.entries import restore_sites, take_writes
from planner.site.lots import EMPTIED_MOST, on_shelf
from planner.site.orders import OPEN_MOST, apply_order
from planner.site.receipts import LOTS_MOST
from planner.site.state import ItemStock, SiteState
from planner.site.stock import apply_stock
from planner.site.touched import Touched
from tests.plan.clinic import CATHETER, MAGNESIUM, MONDAY, NORTH, SOUTH, Desk, at
from tests.plan.driving import start
from tests.site.test_stock_conservation import CATALOGUE

EXPIRY = MONDAY + timedelta(days=300)
SUPPLIER = CATALOGUE.items[MAGNESIUM].supplier


class Site:
    """A site told of stock and orders; its table is what was written of it."""

    def __init__(self) -> None:
        self.state = SiteState(NORTH)
        self.touched = Touched()
        self.table: dict[bytes, bytes] = {}
        self.number = 0

    @property
    def stock(self) -> ItemStock:
        return self.state.stock[MAGNESIUM]

    def tell(self, kind: str, **fields: Any) -> None:
        self.number += 1
        head = {"type": kind, "event_id": f"e{self.number}", "occurred_at": at(0), "site": NORTH}
        if kind.startswith("stock."):
            event = STOCK_EVENTS.validate_python({**head, "item": MAGNESIUM, **fields})
            apply_stock(self.state, CATALOGUE, event, self.touched)
        else:
            apply_order(self.state, CATALOGUE, ORDER_EVENTS.validate_python({**head, **fields}), self.touched)

    def receive(self, lot: str, **fields: Any) -> None:
        self.tell("stock.received", **{"lot": lot, "expiry": EXPIRY, "quantity": 1, **fields})

    def place(self, order: str) -> None:
        lines = [{"item": MAGNESIUM, "quantity": 700}, {"item": CATHETER, "quantity": 1}]
        self.tell("order.placed", order_id=order, supplier=SUPPLIER, lines=lines)

    def refuses(self, reason: str, kind: str, **fields: Any) -> str:
        """The event is refused, and nothing is changed or written; the detail."""
        before = self.written()
        with pytest.raises(Refused) as refused:
            self.tell(kind, **fields)
        assert refused.value.reason == reason
        assert list(take_writes(self.state, self.touched)) == [], "nothing of it is written"
        assert self.written() == before
        return refused.value.detail

    def written(self) -> dict[bytes, bytes]:
        """The table, after what was touched is written."""
        for key, value in take_writes(self.state, self.touched):
            if value is None:
                self.table.pop(key, None)
            else:
                self.table[key] = value
        return dict(self.table)


def full() -> Site:
    """As many lots as there may be, each of one container."""
    site = Site()
    for number in range(LOTS_MOST):
        site.receive(f"L{number}")
    return site


# --- lots -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["stock.received", "stock.transferred-in"])
def test_a_lot_too_many_is_refused_by_name(kind: str) -> None:
    site = full()
    more = {"from_site": SOUTH} if kind == "stock.transferred-in" else {}
    detail = site.refuses("too-many-lots", kind, lot="M", expiry=EXPIRY, quantity=1, **more)
    assert detail.startswith(f"lot: found 'M' beside 500 lots of {MAGNESIUM} with containers")
    assert "expected at most 500 of an item at a site" in detail
    site.receive("L7", quantity=3)
    assert on_shelf(site.stock) == LOTS_MOST + 3, "what is there may be received"
    site.receive("M", item=CATHETER)
    assert on_shelf(site.state.stock[CATHETER]) == 1, "other items have room of their own"


def test_what_was_emptied_does_not_count() -> None:
    site = full()
    site.tell("stock.dispensed", quantity=1)
    site.receive("M")
    site.refuses("too-many-lots", "stock.received", lot="N", expiry=EXPIRY, quantity=1)
    site.tell("stock.counted", lots=[{"lot": "M", "quantity": 1}])
    for number in range(LOTS_MOST - 1):
        site.receive(f"N{number}", occurred_at=at(1))
    site.refuses("too-many-lots", "stock.received", lot="L0", expiry=EXPIRY, quantity=1)


def test_emptied_lots_are_forgotten_when_there_are_too_many_of_them() -> None:
    site = Site()
    site.receive("kept", quantity=5, expiry=MONDAY)
    for number in range(EMPTIED_MOST * 2):
        expiry = EXPIRY + timedelta(days=number % 700)
        site.receive(f"L{number}", expiry=expiry)
        site.tell("stock.dispensed", quantity=1, lot=f"L{number}")
    assert len(site.stock.lots) <= EMPTIED_MOST + 2
    assert on_shelf(site.stock) == site.stock.lots["kept"].quantity == 5
    last = sorted(lot.expiry for lot in site.stock.lots.values())
    assert last[1] > EXPIRY + timedelta(days=100), "those that expire first go first"
    assert site.stock.deficit == 0
    written = site.written()
    assert restore_sites(written.items())[NORTH].stock == site.state.stock


def test_a_lot_in_quarantine_counts_and_is_not_forgotten() -> None:
    site = full()
    for number in range(LOTS_MOST):
        site.tell("stock.quarantined", lot=f"L{number}")
    site.tell("stock.counted", lots=[])
    assert on_shelf(site.stock) == 0
    site.refuses("too-many-lots", "stock.received", lot="M", expiry=EXPIRY, quantity=1)
    site.tell("stock.quarantined", lot="L0", released=True)
    site.receive("M", occurred_at=at(1))
    assert sum(lot.quarantined for lot in site.stock.lots.values()) == LOTS_MOST - 1


def test_a_delivery_with_lots_too_many_is_refused_as_a_whole() -> None:
    site = full()
    site.place("o1")
    site.tell("stock.dispensed", quantity=1)
    lines = [{"item": item, "quantity": 1, "lot": lot, "expiry": EXPIRY} for item, lot in
             [(CATHETER, "C"), (MAGNESIUM, "M"), (MAGNESIUM, "N"), (MAGNESIUM, "L9")]]  # fmt: skip
    detail = site.refuses("too-many-lots", "order.delivered", order_id="o1", lines=lines)
    assert detail.startswith("lines.lot: found 'M' and 1 more beside 499 lots")
    assert site.state.orders["o1"].lines[CATHETER].delivered == 0
    assert CATHETER not in site.state.stock
    site.tell("order.delivered", order_id="o1", lines=lines[:2])
    assert on_shelf(site.stock) == LOTS_MOST


# --- orders -----------------------------------------------------------------------------------------------


def test_an_open_order_too_many_is_refused_by_name() -> None:
    site = Site()
    for number in range(OPEN_MOST):
        site.place(f"o{number}")
    placing = {"supplier": SUPPLIER, "lines": [{"item": MAGNESIUM, "quantity": 1}]}
    detail = site.refuses("too-many-orders", "order.placed", order_id="more", **placing)
    assert detail.startswith(f"order_id: found 'more' beside 2000 open orders of {NORTH}; expected at most 2000")
    site.refuses("order-exists", "order.placed", order_id="o3", **placing)
    site.tell("order.confirmed", order_id="o3", promised=EXPIRY)
    site.tell("order.cancelled", order_id="o4")
    site.tell("order.placed", order_id="more", **placing)


def test_closed_orders_are_forgotten_when_there_are_too_many_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orders, "CLOSED_MOST", 20)
    site = Site()
    site.place("open")
    for number in range(50):
        site.place(f"o{number:02}")
        site.tell("order.cancelled", order_id=f"o{number:02}", occurred_at=at(number // 10))
        site.written()
    assert "open" in site.state.orders
    assert sorted(site.state.orders)[:-1] == [f"o{number}" for number in range(29, 50)], "those closed longest go first"
    assert restore_sites(site.written().items())[NORTH].orders == site.state.orders, "from the table too"


# --- at the step ------------------------------------------------------------------------------------------


def test_the_step_refuses_them_and_goes_on() -> None:
    driver, desk = start()
    driver.feed("stock", *(desk.received(at(0), MAGNESIUM, 1, lot=f"L{n}") for n in range(LOTS_MOST + 3)))
    driver.feed("stock", desk.received(at(0), CATHETER, 1), Desk(SOUTH).received(at(0), MAGNESIUM, 1))
    said = [outcome.get("reason") for outcome in driver.values("outcomes")]
    assert said == [None] * LOTS_MOST + ["too-many-lots"] * 3 + [None] * 2


def test_what_publishers_are_told_are_the_limits() -> None:
    assert f"{LOTS_MOST:,} other lots" in (stock_events.Received.__doc__ or "")
    assert f"{OPEN_MOST:,} others" in (order_events.Placed.__doc__ or "")
