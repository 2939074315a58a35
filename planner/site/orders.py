"""How order events change a site's orders. Each either changes the state or raises ``Refused`` and changes nothing.

An announcement of a supplier changes no order: what is known of its supply is kept until it is over.

Refusals: ``unknown-supplier``, ``unknown-item``, ``item-of-another-supplier``, ``announcement-over``, ``order-exists``,
``too-many-orders`` (a site has at most 2,000 open ones), ``unknown-order``, ``order-closed``, ``item-not-ordered``,
``promised-out-of-range``, ``first_day-out-of-range``, ``last_day-out-of-range``, and those of a receipt
(``already-expired``, ``expiry-out-of-range``, ``lot-expiry-differs``, ``too-many-lots``).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, date
from functools import singledispatch
from typing import Final, NamedTuple

from planner.catalogue.index import Catalogue
from planner.events.orders import Confirmed, Delivered, OrderCancelled, OrderEvent, Placed, SupplyAnnounced
from planner.refusal import Refused
from planner.site.movements import receive as receive_lot
from planner.site.receipts import check_date, check_receipt, check_room
from planner.site.state import Announcement, ItemStock, Order, OrderLine, SiteState
from planner.site.touched import Touched

OPEN_MOST: Final = 2_000
"""Orders that may be open at a site: two hundred suppliers with ten each. What is expected of an item reads every open
order, so that orders which nobody closes would make each forecast cost more. An order has at most 200 lines
(``planner.events.orders``)."""
CLOSED_MOST: Final = 2_000
"""Orders that are closed and remembered. They go after some weeks; sooner, those closed longest, where there are
more: what is told of them then is refused as of an unknown order, not of a closed one."""


class _Desk(NamedTuple):
    """What an event needs to know beside itself."""

    state: SiteState
    catalogue: Catalogue
    touched: Touched


def apply_order(state: SiteState, catalogue: Catalogue, event: OrderEvent, touched: Touched) -> None:
    """Apply an event of a known site.

    Raises:
        Refused: see the module.
    """
    if isinstance(event, SupplyAnnounced):
        _announced(state, catalogue, event, touched)
        return
    _apply(event, _Desk(state, catalogue, touched))
    if isinstance(event, Delivered):
        learned_of(state, catalogue, event.order_id, event.event_id, touched)
    touched.orders.add(event.order_id)
    for item in state.orders[event.order_id].lines:
        touched.item(item, event.event_id)


def _announced(state: SiteState, catalogue: Catalogue, event: SupplyAnnounced, touched: Touched) -> None:
    if event.supplier not in catalogue.suppliers:
        raise Refused("unknown-supplier", f"supplier: found {event.supplier!r}; expected one of the catalogue")
    if event.item is not None:
        if event.item not in catalogue.items:
            raise Refused("unknown-item", f"item: found {event.item!r}; expected an item of the catalogue")
        supplier = catalogue.items[event.item].supplier
        if supplier != event.supplier:
            raise Refused(
                "item-of-another-supplier",
                f"item: found {event.item!r}, which {supplier!r} delivers; expected one of {event.supplier!r}",
            )
    check_date("first_day", event.first_day)
    check_date("last_day", event.last_day)
    today = catalogue.site_day(event.site, event.occurred_at)
    if event.last_day < today:
        raise Refused("announcement-over", f"last_day: found {event.last_day}; expected {today} or later")
    key = event.supplier if event.item is None else f"{event.supplier}/{event.item}"
    if event.share < 1:
        state.announced[key] = Announcement(event.supplier, event.item, event.first_day, event.last_day, event.share)
    else:
        state.announced.pop(key, None)
    touched.announced.add(key)
    concerned = {item.id for item in catalogue.items.values() if item.supplier == event.supplier}
    # an order may name what is usually another supplier's
    concerned.update(*(order.lines for order in state.orders.values() if order.supplier == event.supplier))
    for name in sorted(concerned if event.item is None else concerned & {event.item}):
        touched.item(name, event.event_id)


@singledispatch
def _apply(event: OrderEvent, desk: _Desk) -> None:
    raise TypeError(f"no rule for {type(event).__name__}")


@_apply.register
def _placed(event: Placed, desk: _Desk) -> None:
    if event.order_id in desk.state.orders:
        raise Refused("order-exists", f"order_id: found {event.order_id!r} again; expected one not yet placed")
    if event.supplier not in desk.catalogue.suppliers:
        raise Refused("unknown-supplier", f"supplier: found {event.supplier!r}; expected one of the catalogue")
    quantities = _summed((line.item, line.quantity) for line in event.lines)
    for item in quantities:
        if item not in desk.catalogue.items:
            raise Refused("unknown-item", f"lines.item: found {item!r}; expected an item of the catalogue")
    _make_room(desk, event.order_id)
    desk.state.orders[event.order_id] = Order(
        order_id=event.order_id,
        supplier=event.supplier,
        placed_at=event.occurred_at.astimezone(UTC),
        lines={item: OrderLine(quantity) for item, quantity in quantities.items()},
    )


def _make_room(desk: _Desk, order_id: str) -> None:
    orders = desk.state.orders
    if len(orders) < min(OPEN_MOST, CLOSED_MOST):
        return
    closed = [(order.closed_on, order.order_id) for order in orders.values() if order.closed_on is not None]
    open_ = len(orders) - len(closed)
    if open_ >= OPEN_MOST:
        raise Refused(
            "too-many-orders",
            f"order_id: found {order_id!r} beside {open_} open orders of {desk.state.site}; expected at most"
            f" {OPEN_MOST} (one that is delivered or cancelled is open no more)",
        )
    for _, forgotten in sorted(closed)[: max(0, len(closed) - CLOSED_MOST)]:
        del orders[forgotten]
        desk.touched.orders.add(forgotten)


@_apply.register
def _confirmed(event: Confirmed, desk: _Desk) -> None:
    order = open_order(desk.state, event.order_id)
    check_date("promised", event.promised)
    if event.lines is not None:
        quantities = _summed((line.item, line.quantity) for line in event.lines)
        _check_ordered(order, quantities)
        # what the supplier does not name, it will not send
        for item, line in order.lines.items():
            line.confirmed = quantities.get(item, 0)
    order.promised = event.promised
    _close_if_done(order, desk.catalogue.site_day(event.site, event.occurred_at).toordinal())


@_apply.register
def _delivered(event: Delivered, desk: _Desk) -> None:
    order = open_order(desk.state, event.order_id)
    day = desk.catalogue.site_day(event.site, event.occurred_at)
    expiries: dict[tuple[str, str], object] = {}
    lots: defaultdict[str, dict[str, None]] = defaultdict(dict)
    for line in event.lines:
        if line.item not in desk.catalogue.items:
            raise Refused("unknown-item", f"lines.item: found {line.item!r}; expected an item of the catalogue")
        check_receipt(desk.state.stock.get(line.item) or ItemStock(), line.lot, line.expiry, day)
        before = expiries.setdefault((line.item, line.lot), line.expiry)
        if before != line.expiry:
            raise Refused(
                "lot-expiry-differs",
                f"lines.expiry: found {line.expiry} and {before} for lot {line.lot!r}; expected one expiry of a lot",
            )
        lots[line.item][line.lot] = None
    for item, named in lots.items():
        check_room(desk.state.stock.get(item) or ItemStock(), item, named, "lines.lot")
    receive(
        desk.state,
        desk.catalogue,
        event.order_id,
        _summed((line.item, line.quantity) for line in event.lines),
        day,
        desk.touched,
    )
    if event.complete:
        _close(order, "complete", day.toordinal())
    for line in event.lines:
        stock = desk.state.stock.setdefault(line.item, ItemStock())
        receive_lot(stock, event.occurred_at.astimezone(UTC), line.lot, line.expiry, line.quantity)
        desk.touched.stock_of(line.item, event.event_id)


@_apply.register
def _cancelled(event: OrderCancelled, desk: _Desk) -> None:
    order = open_order(desk.state, event.order_id)
    _close(order, "cancelled", desk.catalogue.site_day(event.site, event.occurred_at).toordinal())


def open_order(state: SiteState, order_id: str) -> Order:
    """An order from which something may still come.

    Raises:
        Refused: ``unknown-order``, ``order-closed``.
    """
    order = state.orders.get(order_id)
    if order is None:
        raise Refused("unknown-order", f"order_id: found {order_id!r}; expected an order placed for {state.site}")
    if order.status != "open":
        raise Refused("order-closed", f"order_id: {order_id!r} is {order.status}; expected an open order")
    return order


def receive(  # noqa: PLR0917 (a site, what came, and when)
    state: SiteState,
    catalogue: Catalogue,
    order_id: str,
    quantities: Mapping[str, int],
    day: date,
    touched: Touched,
) -> None:
    """Containers by item came on an order; the last ones it waits for complete it.

    Raises:
        Refused: ``unknown-order``, ``order-closed``, ``item-not-ordered``.
    """
    order = open_order(state, order_id)
    _check_ordered(order, quantities)
    state.learned.lateness.came(catalogue, state.site, order, quantities, day, state.today)
    touched.learned.add("lateness")
    for item, quantity in quantities.items():
        order.lines[item].delivered += quantity
    _close_if_done(order, day.toordinal())
    touched.orders.add(order_id)


def learned_of(state: SiteState, catalogue: Catalogue, order_id: str, cause: str, touched: Touched) -> None:
    """A delivery has taught how late its supplier is: what is expected of all its items may be another."""
    order = state.orders[order_id]
    suppliers = {order.supplier} | {catalogue.items[item].supplier for item in order.lines if item in catalogue.items}
    for item in catalogue.items.values():
        if item.supplier in suppliers:
            touched.item(item.id, cause)
    for other in state.orders.values():
        if other.supplier == order.supplier and other.status == "open":
            for item_id in other.lines:
                touched.item(item_id, cause)


def _check_ordered(order: Order, items: Iterable[str]) -> None:
    for item in items:
        if item not in order.lines:
            raise Refused(
                "item-not-ordered",
                f"lines.item: found {item!r}; order {order.order_id!r} has {', '.join(order.lines)}"
                " (what came besides is told as stock.received)",
            )


def _close_if_done(order: Order, day: int) -> None:
    if not any(line.outstanding for line in order.lines.values()):
        _close(order, "complete", day)


def _close(order: Order, status: str, day: int) -> None:
    order.status = "complete" if status == "complete" else "cancelled"
    order.closed_on = day


def _summed(lines: Iterable[tuple[str, int]]) -> dict[str, int]:
    quantities: dict[str, int] = {}
    for item, quantity in lines:
        quantities[item] = quantities.get(item, 0) + quantity
    return quantities
