"""Supply, taken apart: lots and whether they count, open containers, orders, and what is held back."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta

from planner.catalogue.index import Catalogue
from planner.catalogue.model import ContainerUse, Item
from planner.explain.model import LotLine, OpenLine, OrderedLine, SupplyPart
from planner.forecast.outlook import Outlook
from planner.forecast.projection import par_stock
from planner.forecast.waiting import Expected, expected_lines
from planner.messages import HORIZON_DAYS
from planner.site.state import ItemStock, Lot, SiteState

_ROUNDING = 1e-9


def lot_lines(stock: ItemStock, outlook: Outlook, row: int, today: date) -> tuple[LotLine, ...]:
    """Every lot with anything in it, first expired first."""
    unused = {lot.lot: lot.expected_unused for lot in outlook.expiring[row]}
    lots = sorted((lot for lot in stock.lots.values() if lot.quantity), key=lambda lot: (lot.expiry, lot.lot))
    return tuple(
        LotLine(
            lot=lot.lot,
            expiry=lot.expiry,
            quantity=lot.quantity,
            usable=_is_usable(lot, today),
            why=_why(lot, today),
            expected_unused=unused.get(lot.lot),
        )
        for lot in lots
    )


def _is_usable(lot: Lot, today: date) -> bool:
    return not lot.quarantined and lot.expiry >= today


def _why(lot: Lot, today: date) -> str:
    if lot.quarantined:
        return "quarantined: not counted until it is released"
    if lot.expiry < today:
        return "expired: not counted, to be taken off the shelf"
    return "usable through its expiry"


def open_lines(stock: ItemStock, now: datetime) -> tuple[OpenLine, ...]:
    """The opened containers, and whether what is left of them still counts."""
    lines = []
    for container in sorted(stock.open, key=lambda c: (c.use_by, c.lot)):
        lot = stock.lots.get(container.lot)
        usable = container.use_by > now and not (lot is not None and lot.quarantined)
        remaining = float(container.remaining_ml)
        lines.append(OpenLine(lot=container.lot, remaining_ml=remaining, use_by=container.use_by, usable=usable))
    return tuple(lines)


def order_lines(
    state: SiteState, catalogue: Catalogue, item: str, today: date, decisive: date
) -> tuple[OrderedLine, ...]:
    """Orders with something of the item outstanding, by the day they are expected."""
    lines = []
    column = (decisive - today).days
    for line in expected_lines(state, catalogue, today, HORIZON_DAYS):
        if line.item != item:
            continue
        at = line.column()
        expected = today + timedelta(days=HORIZON_DAYS if at is None else at)
        lines.append(
            OrderedLine(
                order_id=line.order.order_id,
                supplier=line.order.supplier,
                outstanding=line.quantity,
                expected=expected,
                why=_why_then(line, expected, today),
                in_time=expected <= decisive,
                probability=float(line.arrived[column]) if column < HORIZON_DAYS else 1.0,
            )
        )
    return tuple(sorted(lines, key=lambda line: (line.expected, line.order_id)))


def _why_then(line: Expected, expected: date, today: date) -> str:
    promised = line.order.promised
    if promised is None:
        return "no promise: the stated lead time after it was placed, as late as this supplier has been"
    if promised < today:
        return f"promised for {promised}, overdue: as what has not come by then has come"
    if expected == promised:
        return "promised"
    return f"promised for {promised}, as late as this supplier has been"


def supply_parts(
    state: SiteState, catalogue: Catalogue, outlook: Outlook, *, item: Item, row: int, now: datetime, column: int
) -> tuple[SupplyPart, ...]:
    """What the supply through day ``column`` is made of; the parts add up to ``outlook.supply[row, column]``."""
    decisive = outlook.need.first_day + timedelta(days=column)
    parts = list(_known_parts(state, catalogue, outlook, item=item, row=row, now=now, decisive=decisive))
    rest = float(outlook.supply[row, column]) - sum(part.containers for part in parts)
    if abs(rest) > _ROUNDING:
        parts.append(SupplyPart(name=f"expected to expire unused before {decisive}", containers=rest))
    return tuple(parts)


def _known_parts(
    state: SiteState, catalogue: Catalogue, outlook: Outlook, *, item: Item, row: int, now: datetime, decisive: date
) -> Iterator[SupplyPart]:
    stock = state.stock.get(item.id, ItemStock())
    today = outlook.need.first_day
    size = float(item.content.value) if item.use is ContainerUse.MULTI_DOSE else 1.0
    lots = sum(line.quantity for line in lot_lines(stock, outlook, row, today) if line.usable)
    opened = sum(line.remaining_ml for line in open_lines(stock, now) if line.usable) / size
    orders = order_lines(state, catalogue, item.id, today, decisive)
    unsettled = 0.0 if outlook.need.unsettled is None else float(outlook.need.unsettled[row])
    for name, containers in (
        ("usable lots", float(lots)),
        ("rest of open containers", opened),
        (f"orders expected by {decisive}", sum(line.outstanding for line in orders if line.in_time)),
        ("emergency stock, not planned with", -float(par_stock(catalogue, state.site).get(item.id, 0))),
        ("taken beyond what the lots had", -float(stock.deficit)),
        ("used by completed sessions, not yet a whole container", -float(stock.presumed) / size),
        ("probably used by past sessions whose end nobody has told", -unsettled),
    ):
        if containers:
            yield SupplyPart(name=name, containers=containers)
