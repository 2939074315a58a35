"""What is there against what is needed: usable stock by day, risk of running out, lots that will expire unused.

Supply of an item through day d, in containers:

    lots not quarantined and not expired (first expired, first out; a lot's last day is its expiry)
    + rests of open multi-dose containers until their ``use_by``
    + open orders that have come by d: at random, as late as their supplier is (``planner.forecast.waiting``)
    − what of lots expired by d is expected to have been left over (``planner.forecast.expiry``)
    − deficit, use presumed of completed sessions that is not yet a whole container
    − what unsettled sessions of the last days are expected to have used
    − par stock of a component whose first choice the item is (kept for an emergency, never planned)

``supply`` is the expected course: an order counts from the day on which it has probably come. ``risk[i, d]`` is P(need
from today through d > supply through d), over need and arrivals alike: having run out by the end of day d *at that
day's balance*. It falls again when a delivery arrives; it does not remember that stock ran out before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from typing import NamedTuple

import numpy as np

from planner.catalogue.index import Catalogue
from planner.catalogue.model import WEEKDAYS, Item
from planner.forecast.expiry import Expiring, losses
from planner.forecast.outlook import Floats, Need, Outlook
from planner.forecast.quantiles import survival
from planner.forecast.waiting import Expected, Waiting, expected_lines, waiting_of
from planner.learning.lateness import Punctuality
from planner.site.state import ItemStock, SiteState

_DAYS_A_WEEK = 7


class _Source(NamedTuple):
    """Containers usable through ``expiry``: a lot, or the rest of an open container (``lot`` None)."""

    expiry: date
    lot: str | None
    quantity: float


class _Place(NamedTuple):
    """Where and when stock is looked at."""

    catalogue: Catalogue
    site: str
    now: datetime
    today: date


def project(state: SiteState, catalogue: Catalogue, need: Need, now: datetime) -> Outlook:
    """The site's outlook at ``now`` (aware; the need's first day is the site's day of ``now``)."""
    today = need.first_day
    days = need.firm_mean.shape[1]
    cumulative_mean, cumulative_variance = cumulative(need)
    index = {item: row for row, item in enumerate(need.items)}
    total, expiring = _on_shelf(state, need, _Place(catalogue, state.site, now, today), days)
    for item_id, kept in par_stock(catalogue, state.site).items():
        if item_id in index:
            total[index[item_id]] -= kept
    if need.unsettled is not None:
        total -= need.unsettled
    lost = losses(expiring, cumulative_mean, cumulative_variance)
    whole = np.repeat(total[:, None], days, axis=1)
    expected = expected_lines(state, catalogue, today, days)
    coming = _expected_course(whole, expected, index)
    waiting = waiting_of(expected, index, days)
    seen = Outlook(
        need=need,
        supply=coming if lost is None else coming - lost.unused,
        cumulative_mean=cumulative_mean,
        cumulative_variance=cumulative_variance,
        risk=np.zeros_like(coming),
        expiring=((),) * len(need.items) if lost is None else lost.lots,
        base=whole if lost is None else whole - lost.unused,
        losses=lost,
        waiting=waiting,
        punctuality=state.learned.lateness.punctuality(catalogue),
    )
    seen.risk[:] = _risk(seen, waiting)
    return seen


def _risk(seen: Outlook, waiting: Waiting) -> Floats:
    """P(need > supply) by item and day, over need and arrivals."""
    taken, spread, added = seen.taken()
    risk = survival(taken, spread, seen.supply + (added + _ROUNDING))
    rows, columns = waiting.uncertain()
    if rows.size and seen.base is not None:
        at, probability, came = waiting.spread(rows, columns)
        cell = rows[at], columns[at]
        short = survival(taken[cell], spread[cell], seen.base[cell] + added[cell] + came + _ROUNDING)
        risk[rows, columns] = np.bincount(at, probability * short)
    return risk


def _on_shelf(state: SiteState, need: Need, place: _Place, days: int) -> tuple[Floats, list[Expiring]]:
    """Containers usable today by item, less those that are held back; and what of them ends within the horizon."""
    last_day = place.today + timedelta(days=days - 1)
    total = np.zeros(len(need.items))
    expiring: list[Expiring] = []
    for row, item_id in enumerate(need.items):
        stock = state.stock.get(item_id)
        if stock is None:
            continue
        item = place.catalogue.items[item_id]
        here = -held_back(stock, item)
        for source in _sources(stock, item, place):
            here += source.quantity
            if source.expiry < last_day:
                day = (source.expiry - place.today).days
                expiring.append(Expiring(row, day, source.lot, source.expiry, source.quantity))
        total[row] = here
    return total, expiring


def _expected_course(base: Floats, expected: Iterable[Expected], index: Mapping[str, int]) -> Floats:
    """Supply with each outstanding line from the day on which it has probably come."""
    supply = base
    for line in expected:
        row, column = index.get(line.item), line.column()
        if row is not None and column is not None:
            if supply is base:
                supply = base.copy()
            supply[row, column:] += line.quantity
    return supply


_ROUNDING = 1e-9
"""Sums of fractions of a container that are whole but for rounding count as whole."""


def cumulative(need: Need) -> tuple[Floats, Floats]:
    """Mean and variance of the need from the first day through each day, errors that days share among them."""
    variance = need.cumulative_variance
    return np.cumsum(need.mean, axis=1), np.cumsum(need.variance, axis=1) if variance is None else variance


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


def par_stock(catalogue: Catalogue, site: str) -> dict[str, int]:
    """Containers kept for an emergency, by item: the site's first choice for the component carries it all."""
    kept: dict[str, int] = {}
    for par in catalogue.sites[site].par_stock:
        item = catalogue.choices(site, par.component)[0].item
        kept[item] = kept.get(item, 0) + par.quantity
    return kept


# --- figures read from an outlook -------------------------------------------------------------------------


def risk_day(outlook: Outlook, row: int, allowed: float) -> int | None:
    """Days from today to the first day whose risk is above ``allowed``; None: there is none in the horizon."""
    above = outlook.risk[row] > allowed
    return int(above.argmax()) if above.any() else None


def stock_out_day(outlook: Outlook, row: int) -> date | None:
    """First day whose expected usable stock is negative; None: there is none in the horizon."""
    short = outlook.usable[row] < -_ROUNDING
    return outlook.need.first_day + timedelta(days=int(short.argmax())) if short.any() else None


def last_safe_order_date(
    catalogue: Catalogue, site: str, item_id: str, needed_on: date, punctuality: Mapping[str, Punctuality] | None = None
) -> date | None:
    """Last day on which an order that is to be on the shelf on ``needed_on`` can be placed.

    A day on which the supplier takes orders and the site is open; it may be past. As late as its supplier is with the
    service level's probability; without ``punctuality``: as late as the catalogue allows for. None: the supplier takes
    orders on no day, or the site was closed on all of the year before.
    """
    supplier = catalogue.supplier_of(item_id)
    closed = catalogue.sites[site].closed_on
    if punctuality is None:
        latest = needed_on - timedelta(days=catalogue.lead_time_days(item_id))
    else:
        expect = punctuality[supplier.id]
        due = expect.days_before(needed_on, expect.quantile(float(catalogue.policy_of(site).service_level)))
        latest = due - timedelta(days=catalogue.stated_lead_days(item_id))
    for back in range(_DAYS_A_WEEK * 53):
        day = latest - timedelta(days=back)
        if WEEKDAYS[day.weekday()] in supplier.order_days and day not in closed:
            return day
    return None
