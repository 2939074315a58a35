"""How stock events change a site's lots. Each either changes the state or raises ``Refused`` and changes nothing.

A day is the site's day of ``occurred_at``, not of the clock: the same events mean the same whenever they are folded.

Refusals: ``already-expired``, ``expiry-out-of-range``, ``lot-expiry-differs``, ``too-many-lots`` (a site has at most
500 of an item with containers or in quarantine: ``planner.site.receipts``), ``unknown-lot`` (a count or a named lot;
its expiry is not known, so it has to be received first), ``duplicate-lot``, ``stale-count``, ``late-count``,
``lot-expired``, ``lot-quarantined``, ``not-multi-dose``, ``witness-missing``, ``same-site``, ``unknown-site``,
``taken-by-completion``, and those of ``planner.site.orders`` for a receipt that names an order.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from functools import partial, singledispatch

from planner.catalogue.index import Catalogue
from planner.catalogue.model import ContainerUse, Item
from planner.events.stock import (
    Counted,
    Dispensed,
    Quarantined,
    Received,
    StockEvent,
    TransferredIn,
    TransferredOut,
    Wasted,
)
from planner.learning import using
from planner.learning.daily_use import count_finding
from planner.refusal import Refused
from planner.site import orders
from planner.site.lots import fefo, for_waste, take, take_volume, whole_containers
from planner.site.movements import counted, receive, withdraw
from planner.site.receipts import check_receipt, check_room, known_lots
from planner.site.state import ItemStock, Lot, SiteState, Took
from planner.site.touched import Touched


class Shelf:
    """What an event needs to know beside itself: the item's stock, its catalogue entry, and the site's day."""

    __slots__ = ("at", "catalogue", "day", "item", "state", "stock", "touched")

    def __init__(self, state: SiteState, catalogue: Catalogue, event: StockEvent, touched: Touched) -> None:
        self.state = state
        self.catalogue = catalogue
        self.touched = touched
        self.item: Item = catalogue.items[event.item]
        self.at: datetime = event.occurred_at.astimezone(UTC)
        self.day: date = catalogue.site_day(state.site, event.occurred_at)
        # not yet in the state: a refused event leaves no trace
        self.stock: ItemStock = state.stock.get(event.item) or ItemStock()

    def lot(self, name: str) -> Lot:
        """A lot by name.

        Raises:
            Refused: ``unknown-lot``.
        """
        lot = self.stock.lots.get(name)
        if lot is None:
            raise Refused("unknown-lot", f"lot: found {name!r}; expected one of {known_lots(self.stock)}")
        return lot

    def usable_lot(self, name: str) -> Lot:
        """A lot that sessions may take from. Raises ``Refused``: ``unknown-lot``, ``lot-quarantined``,
        ``lot-expired``."""
        lot = self.lot(name)
        if lot.quarantined:
            raise Refused("lot-quarantined", f"lot: {name!r} is quarantined; expected it to be released before its use")
        if lot.expiry < self.day:
            raise Refused("lot-expired", f"lot: {name!r} expired after {lot.expiry}; expected one usable on {self.day}")
        return lot

    def withdraw(self, quantity: int, lots: list[Lot], *, took: Took = "use", lot: str | None = None) -> None:
        """Take whole containers that left the shelf when the event says so."""
        taken = partial(take, self.stock, quantity, lots)
        withdraw(self.stock, self.item, self.at, taken, amount=Decimal(quantity), took=took, lot=lot)


def apply_stock(state: SiteState, catalogue: Catalogue, event: StockEvent, touched: Touched) -> str | None:
    """Apply an event of a known site and item.

    Returns:
        What there is to say about it (a count's difference), else None.

    Raises:
        Refused: see the module.
    """
    shelf = Shelf(state, catalogue, event, touched)
    said = _apply(event, shelf)
    state.stock[event.item] = shelf.stock
    touched.stock_of(event.item, event.event_id)
    return said


@singledispatch
def _apply(event: StockEvent, shelf: Shelf) -> str | None:
    raise TypeError(f"no rule for {type(event).__name__}")


@_apply.register
def _received(event: Received, shelf: Shelf) -> str | None:
    check_receipt(shelf.stock, event.lot, event.expiry, shelf.day)
    check_room(shelf.stock, event.item, (event.lot,))
    if event.order_id is not None:
        quantities = {event.item: event.quantity}
        orders.receive(shelf.state, shelf.catalogue, event.order_id, quantities, shelf.day, shelf.touched)
        orders.learned_of(shelf.state, shelf.catalogue, event.order_id, event.event_id, shelf.touched)
    receive(shelf.stock, shelf.at, event.lot, event.expiry, event.quantity)
    return None


@_apply.register
def _transferred_in(event: TransferredIn, shelf: Shelf) -> str | None:
    _other_site("from_site", event.from_site, shelf)
    check_receipt(shelf.stock, event.lot, event.expiry, shelf.day)
    check_room(shelf.stock, event.item, (event.lot,))
    receive(shelf.stock, shelf.at, event.lot, event.expiry, event.quantity)
    return None


@_apply.register
def _transferred_out(event: TransferredOut, shelf: Shelf) -> str | None:
    _other_site("to_site", event.to_site, shelf)
    # a quarantined or expired lot may be sent back, but only by name
    lots = fefo(shelf.stock, shelf.day) if event.lot is None else [shelf.lot(event.lot)]
    shelf.withdraw(event.quantity, lots, lot=event.lot)
    return _deficit(shelf)


def _other_site(field: str, site: str, shelf: Shelf) -> None:
    if site == shelf.state.site:
        raise Refused("same-site", f"{field}: found {site!r}, the event's own site; expected another")
    if site not in shelf.catalogue.sites:
        raise Refused("unknown-site", f"{field}: found {site!r}; expected a site of the catalogue")


@_apply.register
def _counted(event: Counted, shelf: Shelf) -> str | None:
    stock = shelf.stock
    found: dict[str, int] = {}
    for line in event.lots:
        if line.lot in found:
            raise Refused("duplicate-lot", f"lots: found {line.lot!r} twice; expected each lot once")
        found[line.lot] = line.quantity
    unknown = [name for name, quantity in found.items() if quantity and name not in stock.lots]
    if unknown:
        raise Refused(
            "unknown-lot",
            f"lots: found {', '.join(map(repr, unknown))}; expected lots of {event.item} that were received:"
            f" {known_lots(stock)}. Their expiry is not known: receive them first, then count again",
        )
    site_day = partial(shelf.catalogue.site_day, shelf.state.site)
    last = stock.last_count
    before = None if last is None else count_finding(shelf.catalogue, shelf.state.site, last.expected, last.counted)
    finding = counted(stock, shelf.item, shelf.at, found, event_id=event.event_id, site_day=site_day)
    using.counted(shelf.state, shelf.day.toordinal(), event.item, before, shelf.touched)
    return f"expected {finding.expected}, counted {finding.counted}"


@_apply.register
def _dispensed(event: Dispensed, shelf: Shelf) -> str | None:
    if event.booking_id is not None and shelf.catalogue.sites[event.site].consumption == "completions":
        raise Refused(
            "taken-by-completion",
            f"booking_id: found {event.booking_id!r}; the site takes a session's use from its completion, so that this"
            " would count it twice; expected no booking_id, or a site with consumption: dispensed",
        )
    lots = [shelf.usable_lot(event.lot)] if event.lot is not None else fefo(shelf.stock, shelf.day)
    before = whole_containers(shelf.stock)
    if event.quantity is not None:
        shelf.withdraw(event.quantity, lots, lot=event.lot)
        _learn_dispensed(shelf, event.quantity * using.content_of(shelf.item), before, by_volume=False)
        return _deficit(shelf)
    if event.volume_ml is not None:
        if shelf.item.use is not ContainerUse.MULTI_DOSE:
            raise Refused(
                "not-multi-dose",
                f"volume_ml: {event.item} is {shelf.item.use}; expected quantity, in whole containers",
            )
        zone = shelf.catalogue.zone(event.site)
        draw = partial(take_volume, shelf.stock, shelf.item, event.volume_ml, shelf.at, zone, lot=event.lot)
        use_by = withdraw(shelf.stock, shelf.item, shelf.at, draw, lot=event.lot)
        if use_by is not None:
            shelf.touched.wake_at(use_by)
        _learn_dispensed(shelf, event.volume_ml, before, by_volume=True)
    return _deficit(shelf)


def _learn_dispensed(shelf: Shelf, amount: Decimal, before: int, *, by_volume: bool) -> None:
    """``amount`` in what the item is counted in; ``before``: whole containers before it was taken."""
    state, day = shelf.state, shelf.day.toordinal()
    for_sessions = shelf.catalogue.sites[state.site].consumption == "dispensed"
    using.dispensed(
        state, day, shelf.item, amount, by_volume=by_volume, for_sessions=for_sessions, touched=shelf.touched
    )
    if shelf.item.use is ContainerUse.MULTI_DOSE:
        using.opened(state, day, shelf.item, before - whole_containers(shelf.stock), shelf.touched)


@_apply.register
def _wasted(event: Wasted, shelf: Shelf) -> str | None:
    if shelf.item.controlled_schedule is not None and event.witness is None:
        raise Refused(
            "witness-missing",
            f"witness: absent; expected who saw {event.item} (schedule {shelf.item.controlled_schedule}) thrown away",
        )
    if event.lot is not None:
        shelf.lot(event.lot)
    if event.reason == "open-expired" and shelf.item.use is ContainerUse.MULTI_DOSE:
        # it left its lot when it was opened
        candidates = sorted(shelf.stock.open, key=lambda open_: (open_.use_by, open_.lot))
        gone = [c for c in candidates if event.lot is None or c.lot == event.lot][: event.quantity]
        shelf.stock.open = [open_ for open_ in shelf.stock.open if not any(open_ is c for c in gone)]
        return None
    recalled = event.reason == "recalled"
    lots = for_waste(shelf.stock, recalled=recalled) if event.lot is None else [shelf.stock.lots[event.lot]]
    shelf.withdraw(event.quantity, lots, took="recalled" if recalled else "waste", lot=event.lot)
    if event.reason not in using.NOT_A_PROCESS:
        using.wasted(shelf.state, shelf.day.toordinal(), shelf.item, event.quantity, shelf.touched)
    return _deficit(shelf)


@_apply.register
def _quarantined(event: Quarantined, shelf: Shelf) -> str | None:
    shelf.lot(event.lot).quarantined = not event.released
    return None


def _deficit(shelf: Shelf) -> str | None:
    count = shelf.stock.last_count
    if count is not None and shelf.at <= count.counted_at:
        return f"it is in the count of {count.counted_at.isoformat()}, which is now expected to find {count.expected}"
    if not shelf.stock.deficit:
        return None
    return f"{shelf.stock.deficit} containers more were taken than the lots had: expected a receipt or a count"
