"""What is there against what is needed: usable stock by day, risk of running out, lots that will expire unused.

Supply of an item through day d, in containers:

    lots not quarantined and not expired (first expired, first out; a lot's last day is its expiry)
    + rests of open multi-dose containers until their ``use_by``
    + open orders due by d
    − what of lots expired by d is expected to have been left over
    − deficit, use presumed of completed sessions that is not yet a whole container
    − what unsettled sessions of the last days are expected to have used
    − par stock of a component whose first choice the item is (kept for an emergency, never planned)

``risk[i, d]`` is P(need from today through d > supply through d): having run out by the end of day d *at that day's
balance*. It falls again when a delivery arrives; it does not remember that stock ran out before it.

Under first expired, first out, lot j with q_j containers and last day e is expected to be used by
u_j = min(q_j, max(0, C(e) − Σ_{i<j} u_i)), C the expected cumulative need; q_j − u_j is lost after e.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime, timedelta
from typing import NamedTuple

import numpy as np
from scipy import special

from planner.catalogue.index import Catalogue
from planner.catalogue.model import WEEKDAYS, Item
from planner.forecast.outlook import ExpiringLot, Floats, Need, Outlook
from planner.forecast.quantiles import NOTHING, survival
from planner.site.state import ItemStock, Order, SiteState

LIKELY_UNUSED = 0.5
"""A lot is called expiring from this probability on that some of it will be left."""
OVERDUE_ARRIVES_DAYS_MIN = 1
"""An order that should have come is expected after its supplier's ``late_allowance_days`` from today, and no sooner
than this."""
_DAYS_A_WEEK = 7


class _Source(NamedTuple):
    """Containers usable through ``expiry``: a lot, or the rest of an open container (``lot`` None)."""

    expiry: date
    lot: str | None
    quantity: float


class _Expiring(NamedTuple):
    """A lot whose last day is in the horizon; ``before`` containers are expected to be used of earlier lots."""

    row: int
    day: int
    source: _Source
    before: float


class _Place(NamedTuple):
    """Where and when stock is looked at."""

    catalogue: Catalogue
    site: str
    now: datetime
    today: date


def project(state: SiteState, catalogue: Catalogue, need: Need, now: datetime) -> Outlook:
    """The site's outlook at ``now`` (aware; the need's first day is the site's day of ``now``)."""
    today = need.first_day
    rows, days = need.firm_mean.shape
    cumulative_mean, cumulative_variance = cumulative(need)
    change = np.zeros((rows, days))  # of supply, on each day
    last_day = today + timedelta(days=days - 1)
    index = {item: row for row, item in enumerate(need.items)}
    expiring: list[_Expiring] = []
    place = _Place(catalogue, state.site, now, today)
    for row, item_id in enumerate(need.items):
        stock = state.stock.get(item_id)
        if stock is None:
            continue
        item = catalogue.items[item_id]
        total = -held_back(stock, item)
        used = 0.0
        for source in _sources(stock, item, place):
            total += source.quantity
            if source.expiry >= last_day:
                continue
            day = (source.expiry - today).days
            if source.lot is not None:
                expiring.append(_Expiring(row, day, source, used))
            using = min(source.quantity, max(0.0, float(cumulative_mean[row, day]) - used))
            used += using
            change[row, day + 1] -= source.quantity - using
        change[row, 0] += total
    for order in state.orders.values():
        for item_id, outstanding, arrives in outstanding_lines(catalogue, state.site, order, today):
            if item_id in index and arrives <= last_day:
                change[index[item_id], (arrives - today).days] += outstanding
    for item_id, kept in par_stock(catalogue, state.site).items():
        if item_id in index:
            change[index[item_id], 0] -= kept
    if need.unsettled is not None:
        change[:, 0] -= need.unsettled
    supply = np.cumsum(change, axis=1)
    return Outlook(
        need=need,
        supply=supply,
        cumulative_mean=cumulative_mean,
        cumulative_variance=cumulative_variance,
        risk=survival(cumulative_mean, cumulative_variance, supply + _ROUNDING),
        expiring=_judged(expiring, cumulative_mean, cumulative_variance),
    )


_ROUNDING = 1e-9
"""Sums of fractions of a container that are whole but for rounding count as whole."""


def cumulative(need: Need) -> tuple[Floats, Floats]:
    """Mean and variance of the need from the first day through each day.

    The one place where errors that days share enter. With stated priors days are independent given the priors, so
    variances add up; a model that learns its common error adds (coefficient × cumulative to-come mean)² here.
    """
    return np.cumsum(need.mean, axis=1), np.cumsum(need.variance, axis=1)


def _sources(stock: ItemStock, item: Item, place: _Place) -> list[_Source]:
    """What is usable of an item's stock, first expired first; open containers are used before whole ones."""
    sources = [
        _Source(lot.expiry, lot.lot, float(lot.quantity))
        for lot in stock.lots.values()
        if lot.quantity > 0 and not lot.quarantined and lot.expiry >= place.today
    ]
    for container in stock.open:
        lot = stock.lots.get(container.lot)
        if container.use_by > place.now and not (lot is not None and lot.quarantined):
            last = place.catalogue.site_day(place.site, container.use_by)
            sources.append(_Source(last, None, float(container.remaining_ml) / float(item.content.value)))
    if len(sources) > 1:
        sources.sort(key=_order_of_use)
    return sources


def _order_of_use(source: _Source) -> tuple[bool, date, str, float]:
    return source.lot is not None, source.expiry, source.lot or "", source.quantity


def held_back(stock: ItemStock, item: Item) -> float:
    """Containers that stand in the books and are gone: deficit, and presumed use short of a whole container."""
    presumed = float(stock.presumed)
    if item.counted_in == "mL":
        presumed /= float(item.content.value)
    return stock.deficit + presumed


def on_hand(state: SiteState, catalogue: Catalogue, item_id: str, now: datetime) -> float:
    """Usable containers on the shelf at ``now``, the rests of open ones among them; par stock included."""
    stock = state.stock.get(item_id)
    if stock is None:
        return 0.0
    item = catalogue.items[item_id]
    place = _Place(catalogue, state.site, now, catalogue.site_day(state.site, now))
    usable = sum(source.quantity for source in _sources(stock, item, place))
    return usable - held_back(stock, item)


def arrival_day(catalogue: Catalogue, site: str, item_id: str, order: Order, today: date) -> date:
    """The day on which what is outstanding is expected: as promised, else the lead time (with its allowance) after
    the order was placed; of an order that should have come, the supplier's allowance from today."""
    if order.promised is not None:
        due = order.promised
    else:
        due = catalogue.site_day(site, order.placed_at) + timedelta(days=catalogue.lead_time_days(item_id))
    if due >= today:
        return due
    allowance = catalogue.supplier_of(item_id).late_allowance_days
    return today + timedelta(days=max(OVERDUE_ARRIVES_DAYS_MIN, allowance))


def outstanding_lines(catalogue: Catalogue, site: str, order: Order, today: date) -> Iterable[tuple[str, int, date]]:
    """(item, containers outstanding, expected day) of an order; of one that is not open nothing."""
    if order.status != "open":
        return
    for item_id, line in order.lines.items():
        if line.outstanding > 0 and item_id in catalogue.items:
            yield item_id, line.outstanding, arrival_day(catalogue, site, item_id, order, today)


def par_stock(catalogue: Catalogue, site: str) -> dict[str, int]:
    """Containers kept for an emergency, by item: the site's first choice for the component carries it all."""
    kept: dict[str, int] = {}
    for par in catalogue.sites[site].par_stock:
        item = catalogue.choices(site, par.component)[0].item
        kept[item] = kept.get(item, 0) + par.quantity
    return kept


def _judged(lots: list[_Expiring], mean: Floats, variance: Floats) -> tuple[tuple[ExpiringLot, ...], ...]:
    """Of each item, the lots of which some will probably be left: P(X < before + quantity) with X the need through
    the expiry, and E[left] = E(before + quantity − X)⁺ − E(before − X)⁺."""
    found: list[list[ExpiringLot]] = [[] for _ in range(mean.shape[0])]
    if lots:
        rows, days = [lot.row for lot in lots], [lot.day for lot in lots]
        m, v = mean[rows, days], variance[rows, days]
        before = np.array([lot.before for lot in lots])
        after = before + np.array([lot.source.quantity for lot in lots])
        probability = 1.0 - survival(m, v, np.ceil(after - _ROUNDING) - 1)
        left = np.clip(_expected_rest(m, v, after) - _expected_rest(m, v, before), 0.0, after - before)
        for at, lot in enumerate(lots):
            if lot.source.lot is not None and probability[at] >= LIKELY_UNUSED:
                source = lot.source
                found[lot.row].append(
                    ExpiringLot(
                        lot.source.lot, source.expiry, int(source.quantity), float(left[at]), float(probability[at])
                    )
                )
    return tuple(tuple(row) for row in found)


def _expected_rest(mean: Floats, variance: Floats, stock: Floats) -> Floats:
    """E(stock − X)⁺ with X gamma distributed: stock·P(s, x) − mean·P(s + 1, x), s the shape and x = stock/scale."""
    spread = (variance > _ROUNDING) & (mean > NOTHING)
    m = np.where(spread, mean, 1.0)
    scale = np.where(spread, variance, 1.0) / m
    x = stock / scale
    rest = stock * special.gammainc(m / scale, x) - m * special.gammainc(m / scale + 1, x)
    return np.where(spread, rest, np.maximum(stock - mean, 0.0))


# --- figures read from an outlook -------------------------------------------------------------------------


def risk_day(outlook: Outlook, row: int, allowed: float) -> int | None:
    """Days from today to the first day whose risk is above ``allowed``; None: there is none in the horizon."""
    above = outlook.risk[row] > allowed
    return int(above.argmax()) if above.any() else None


def stock_out_day(outlook: Outlook, row: int) -> date | None:
    """First day whose expected usable stock is negative; None: there is none in the horizon."""
    short = outlook.usable[row] < -_ROUNDING
    return outlook.need.first_day + timedelta(days=int(short.argmax())) if short.any() else None


def last_safe_order_date(catalogue: Catalogue, site: str, item_id: str, needed_on: date) -> date | None:
    """Last day on which an order that is to be on the shelf on ``needed_on`` can be placed.

    A day on which the supplier takes orders and the site is open; it may be past. None: the supplier takes orders
    on no day, or the site was closed on all of the year before.
    """
    order_days = catalogue.supplier_of(item_id).order_days
    closed = catalogue.sites[site].closed_on
    latest = needed_on - timedelta(days=catalogue.lead_time_days(item_id))
    for back in range(_DAYS_A_WEEK * 53):
        day = latest - timedelta(days=back)
        if WEEKDAYS[day.weekday()] in order_days and day not in closed:
            return day
    return None
