"""A count is a snapshot of an instant: what happened at or before it is in it, whenever it is told.

- A withdrawal told after the count it precedes changes no lot. It moves what the count was expected to find, so that a
  difference it explains goes, and one that it makes shows. Of a multi-dose item the open containers change as they did
  then; those it opened are in the count.
- A receipt told after the count it precedes is in the count if the count names the lot: then it too moves only what was
  expected. A lot that the count did not name was not there yet, and is taken as received.
- A count told after what followed it is what was there then: what came and went since is done again upon it. Movements
  are remembered for that for ``REMEMBERED``; of a count from before what is remembered nobody knows what followed
  (refused, ``late-count``). One from before the last count is nothing new (refused, ``stale-count``).

So counts and withdrawals of different instants may be told in any order among each other, and leave the same lots.
The *level* of an item is what its shelf has less what was presumed to be used and is no whole container yet. Every
movement changes it by its exact amount, which is how the level at an earlier instant is known.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from decimal import ROUND_CEILING, Decimal
from typing import TypeVar

from planner.catalogue.model import ContainerUse, Item
from planner.refusal import Refused
from planner.site.lots import fefo, for_waste, on_shelf, put, take
from planner.site.state import CountFinding, ItemStock, Movement, Took

T = TypeVar("T")

REMEMBERED = timedelta(hours=24)
"""How long before an item's latest movement others are remembered."""
REMEMBERED_MOST = 500
"""Movements of an item, whatever happens in so many hours."""


def withdraw(
    stock: ItemStock,
    item: Item,
    at: datetime,
    taken: Callable[[], T],
    *,
    amount: Decimal | None = None,
    took: Took = "use",
    lot: str | None = None,
) -> T:
    """Take something that left the shelf ``at`` (in UTC) by calling ``taken``; what it returns.

    ``amount``: by how many containers the level falls (None: not known before). ``took`` and ``lot`` say from which
    lots it takes, for doing so again upon a count that is told later.
    """
    count = stock.last_count
    if count is not None and at <= count.counted_at:
        return _in_the_count(stock, item, count, taken)
    if amount is not None:
        result = taken()
    else:
        before = _level(stock, item)
        result = taken()
        amount = before - _level(stock, item)
    if amount:
        remember(stock, Movement(at, amount, took, lot))
    return result


def _in_the_count(stock: ItemStock, item: Item, count: CountFinding, taken: Callable[[], T]) -> T:
    """Take from what was there before the count, as far as that is still known, and leave the lots as counted."""
    quantities = {name: lot.quantity for name, lot in stock.lots.items()}
    deficit, presumed, before = stock.deficit, stock.presumed, on_shelf(stock)
    if _carries(item):
        stock.presumed = count.presumed
    result = taken()
    count.expected -= before - on_shelf(stock)
    for name, quantity in quantities.items():
        stock.lots[name].quantity = quantity
    stock.deficit = deficit
    if _carries(item):
        count.presumed, stock.presumed = stock.presumed, presumed
    return result


def receive(stock: ItemStock, at: datetime, lot: str, expiry: date, quantity: int) -> None:
    """Containers of a lot came in ``at`` (in UTC)."""
    count = stock.last_count
    if count is not None and at <= count.counted_at:
        in_the_count = lot in count.lots
        if in_the_count:
            count.expected += quantity
        put(stock, lot, expiry, 0 if in_the_count else quantity)
        return
    put(stock, lot, expiry, quantity)
    remember(stock, Movement(at, Decimal(-quantity), "use", lot))


def counted(
    stock: ItemStock,
    item: Item,
    at: datetime,
    found: Mapping[str, int],
    *,
    event_id: str,
    site_day: Callable[[datetime], date],
) -> CountFinding:
    """The shelf had ``found`` (lot → containers) ``at`` (in UTC); lots not named had none.

    Raises:
        Refused: ``stale-count``, ``late-count``.
    """
    last = stock.last_count
    if last is not None and at < last.counted_at:
        raise Refused(
            "stale-count",
            f"occurred_at: found {at.isoformat()}; expected one after the last count, {last.counted_at.isoformat()}",
        )
    if stock.forgotten_until is not None and at < stock.forgotten_until:
        raise Refused(
            "late-count",
            f"occurred_at: found {at.isoformat()}; expected one after {stock.forgotten_until.isoformat()}: what came"
            " and went before then is not remembered one by one. Count again",
        )
    since = [movement for movement in stock.movements if movement.at > at]
    level = _level(stock, item) + sum((movement.amount for movement in since), Decimal(0))
    expected = int(level.to_integral_value(ROUND_CEILING))
    for name, lot in stock.lots.items():
        lot.quantity = found.get(name, 0)
    stock.deficit = 0
    presumed = Decimal(0)
    if _carries(item):
        # expected use that was not yet a whole container: the shelf has shown what was really used
        presumed = expected - level
        stock.presumed = Decimal(0)
    stock.movements = since
    for movement in since:
        _again(stock, item, movement, site_day)
    finding = CountFinding(event_id, at, expected, sum(found.values()), presumed, frozenset(found))
    stock.last_count = finding
    return finding


def _again(stock: ItemStock, item: Item, movement: Movement, site_day: Callable[[datetime], date]) -> None:
    named = None if movement.lot is None else stock.lots.get(movement.lot)
    if movement.amount < 0:
        if named is not None:
            put(stock, named.lot, named.expiry, -int(movement.amount))
        return
    amount = movement.amount
    if _carries(item):
        stock.presumed += amount
        amount = Decimal(int(stock.presumed))
        stock.presumed -= amount
    if named is not None:
        lots = [named]
    elif movement.took == "use":
        lots = fefo(stock, site_day(movement.at))
    else:
        lots = for_waste(stock, recalled=movement.took == "recalled")
    take(stock, int(amount), lots)


def _carries(item: Item) -> bool:
    """Whether ``presumed`` is in containers, a part of the level; of a multi-dose item it is in mL, apart from it."""
    return item.use is not ContainerUse.MULTI_DOSE


def _level(stock: ItemStock, item: Item) -> Decimal:
    return on_shelf(stock) - stock.presumed if _carries(item) else Decimal(on_shelf(stock))


def remember(stock: ItemStock, movement: Movement) -> None:
    """Keep a movement for a count that is told later; old ones are forgotten."""
    movements = stock.movements
    movements.append(movement)
    begin = movement.at - REMEMBERED
    if movements[0].at > begin and len(movements) <= REMEMBERED_MOST:
        return
    kept = 0
    while movements[kept].at <= begin or len(movements) - kept > REMEMBERED_MOST:
        at = movements[kept].at
        if stock.forgotten_until is None or at > stock.forgotten_until:
            stock.forgotten_until = at
        kept += 1
    del movements[:kept]
