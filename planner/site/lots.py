"""Lots and open containers of one item: what can be taken, in which order, and what is left.

Nothing is clipped. What is taken beyond the lots is ``deficit``: containers that left the shelf and that no lot had.
A deficit is settled by what comes in next (a receipt or transfer told late: they were taken from it), unless that
lot is quarantined, and wholly by a count. So for every item, in containers::

    received + transferred in + adjustments of counts
        = on hand + used + wasted + transferred out − deficit
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from decimal import ROUND_CEILING, Decimal
from typing import Final
from zoneinfo import ZoneInfo

from planner.catalogue.model import Item
from planner.site.state import ItemStock, Lot, OpenContainer

EMPTIED_MOST: Final = 500
"""Emptied lots of an item that are remembered. They go some weeks after their expiry; sooner, those that expire first,
where there are more: nothing is lost but that an event may name them."""
UNRECORDED_LOT = "unrecorded"
"""The lot of an open container that was taken when no lot had any."""


def put(stock: ItemStock, lot: str, expiry: date, quantity: int) -> None:
    """Containers of a lot come in; a deficit is settled first."""
    entry = stock.lots.get(lot)
    if entry is None:
        if len(stock.lots) >= EMPTIED_MOST:
            _forget_emptied(stock)
        entry = stock.lots[lot] = Lot(lot, expiry, 0)
    settled = 0 if entry.quarantined else min(stock.deficit, quantity)
    stock.deficit -= settled
    entry.quantity += quantity - settled


def _forget_emptied(stock: ItemStock) -> None:
    """Make room for one more; that a lot is quarantined is never forgotten before its time."""
    emptied = [lot for lot in stock.lots.values() if not lot.quantity and not lot.quarantined]
    for lot in sorted(emptied, key=_by_expiry)[: max(0, len(emptied) - EMPTIED_MOST + 1)]:
        del stock.lots[lot.lot]


def fefo(stock: ItemStock, day: date) -> list[Lot]:
    """Lots that may be used on ``day``, first expired first."""
    if not stock.lots:
        return []
    usable = [lot for lot in stock.lots.values() if lot.quantity and not lot.quarantined and lot.expiry >= day]
    usable.sort(key=_by_expiry)
    return usable


def for_waste(stock: ItemStock, *, recalled: bool) -> list[Lot]:
    """Lots that containers are thrown away from when none is named: first expired first, the expired and the
    quarantined among them; of a recall the quarantined ones before all others."""
    lots = [lot for lot in stock.lots.values() if lot.quantity]
    return sorted(lots, key=lambda lot: (not (recalled and lot.quarantined), *_by_expiry(lot)))


def _by_expiry(lot: Lot) -> tuple[date, str]:
    return lot.expiry, lot.lot


def take(stock: ItemStock, quantity: int, lots: Iterable[Lot]) -> Lot | None:
    """Take whole containers from ``lots`` in their order; what they do not have is deficit.

    Returns:
        The lot of the last container taken; None: it is one of the deficit.
    """
    left = quantity
    for lot in lots:
        taken = min(lot.quantity, left)
        lot.quantity -= taken
        left -= taken
        if not left:
            return lot
    stock.deficit += left
    return None


def take_volume(
    stock: ItemStock, item: Item, volume_ml: Decimal, at: datetime, zone: ZoneInfo, *, lot: str | None = None
) -> datetime | None:
    """Take mL of a multi-dose item: from open containers, then from new ones, first expired first.

    A container is open for ``open_hours``, and no longer than its lot may be used. Open ones of a quarantined lot
    are left alone.

    Returns:
        ``use_by`` of the container that was opened and has something left, if there is one.
    """
    left = volume_ml
    for container in sorted(stock.open, key=lambda open_: (open_.use_by, open_.lot)):
        known = stock.lots.get(container.lot)
        if container.use_by <= at or (lot is not None and container.lot != lot) or (known and known.quarantined):
            continue
        taken = min(container.remaining_ml, left)
        container.remaining_ml -= taken
        left -= taken
    stock.open = [container for container in stock.open if container.remaining_ml > 0]
    if not left:
        return None
    content = item.content.value
    opened = int((left / content).to_integral_value(ROUND_CEILING))
    lots = fefo(stock, at.astimezone(zone).date()) if lot is None else [stock.lots[lot]]
    last = take(stock, opened, lots)
    rest = opened * content - left
    if not rest or item.open_hours is None:
        return None
    at = at.astimezone(UTC)
    use_by = at + timedelta(seconds=int(item.open_hours * 3600))
    if last is not None:
        end = datetime.combine(last.expiry + timedelta(days=1), time(), zone).astimezone(UTC)
        use_by = min(use_by, end)
    stock.open.append(OpenContainer(UNRECORDED_LOT if last is None else last.lot, at, use_by, rest))
    return use_by


def discard_open(stock: ItemStock, now: datetime) -> Decimal:
    """Throw away open containers whose time is over. Returns the mL thrown away."""
    wasted = sum((open_.remaining_ml for open_ in stock.open if open_.use_by <= now), Decimal(0))
    stock.open = [open_ for open_ in stock.open if open_.use_by > now]
    return wasted


def whole_containers(stock: ItemStock) -> int:
    """What falls by 1 whenever a container is taken, on the shelf or from what a later count did not find there."""
    return on_shelf(stock) + (0 if stock.last_count is None else stock.last_count.expected)


def on_shelf(stock: ItemStock) -> int:
    """Containers of all lots, usable or not, less the deficit: what a count is expected to find."""
    return sum(lot.quantity for lot in stock.lots.values()) - stock.deficit
