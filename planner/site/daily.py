"""What the passing of time does to a site by itself: days leave the counts, open containers are thrown away, and
what has long been over is forgotten. Every rule has a bound of its own, so a site's state does not grow for ever.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import NamedTuple

from planner.catalogue.index import Catalogue
from planner.learning.daily import close_day
from planner.messages import AlertKind
from planner.site.bookings import KEEP_DAYS, pass_to
from planner.site.lots import discard_open
from planner.site.state import ItemStock, SiteState
from planner.site.touched import Touched

_OF_A_SUBJECT = frozenset({AlertKind.EXPIRY, AlertKind.ORDER_OVERDUE})
"""Alerts about a lot or an order: there is no end of those. The others are at most one an item and kind."""


class Passed(NamedTuple):
    """What went by itself."""

    forgotten_unsettled: int
    """Bookings forgotten without anyone having told how they ended."""
    discarded_ml: Decimal
    """From open containers whose time was over."""
    forgotten_alerts: tuple[str, ...]
    """Ids of alerts that are over and no longer kept."""


DAYS_CLOSED_MOST = 400
"""A clock that jumps farther ahead has nothing to teach about the days before these."""


def pass_time(state: SiteState, catalogue: Catalogue, today: date, now: datetime, touched: Touched) -> Passed:
    """The clock has reached ``now``, on the site's day ``today`` (not before the last one)."""
    discarded = Decimal(0)
    for item, stock in state.stock.items():
        volume = discard_open(stock, now)
        if volume:
            discarded += volume
            touched.stock_of(item, None)
    ordinal = today.toordinal()
    if ordinal <= state.today:
        return Passed(0, discarded, ())
    _remember_from(state, ordinal, touched)
    unsettled = 0
    if state.today:
        state.today = max(state.today, ordinal - DAYS_CLOSED_MOST)
        while state.today < ordinal:
            close_day(state, catalogue, touched)
            unsettled += pass_to(state, state.today + 1, touched)
    else:
        unsettled = pass_to(state, ordinal, touched)
    _forget_seen(state, ordinal - KEEP_DAYS, touched)
    _forget_lots(state, today - timedelta(days=KEEP_DAYS), touched)
    _forget_orders(state, ordinal - KEEP_DAYS, touched)
    _forget_announcements(state, today, touched)
    alerts = _forget_alerts(state, datetime.combine(today, time(), UTC) - timedelta(days=KEEP_DAYS))
    touched.all_items = True
    return Passed(unsettled, discarded, alerts)


def _remember_from(state: SiteState, today: int, touched: Touched) -> None:
    """The first day the site is told: events applied before it count from it."""
    if state.today == 0:
        for event_id, day in state.seen.items():
            state.seen[event_id] = max(day, today)
        touched.seen.update(state.seen)


def _forget_seen(state: SiteState, before: int, touched: Touched) -> None:
    for event_id in [event_id for event_id, day in state.seen.items() if day < before]:
        del state.seen[event_id]
        touched.seen.add(event_id)


def _forget_lots(state: SiteState, before: date, touched: Touched) -> None:
    """Empty lots stay for a while after their expiry: a late count or return may still name them."""
    for item, stock in state.stock.items():
        for name in [lot.lot for lot in stock.lots.values() if not lot.quantity and lot.expiry < before]:
            del stock.lots[name]
            touched.stock.add(item)


def _forget_orders(state: SiteState, before: int, touched: Touched) -> None:
    for order in [order for order in state.orders.values() if order.closed_on is not None and order.closed_on < before]:
        del state.orders[order.order_id]
        touched.orders.add(order.order_id)


def _forget_announcements(state: SiteState, today: date, touched: Touched) -> None:
    """Kept for a while after it is over: it tells what to expect of orders placed then and not yet confirmed."""
    for key in [key for key, told in state.announced.items() if told.last_day < today - timedelta(days=KEEP_DAYS)]:
        del state.announced[key]
        touched.announced.add(key)


def _forget_alerts(state: SiteState, before: datetime) -> tuple[str, ...]:
    over = [
        (key, alert.alert_id)
        for key, alert in state.alerts.items()
        if alert.kind in _OF_A_SUBJECT and not alert.cause_persists and alert.updated_at < before
    ]
    for key, _ in over:
        del state.alerts[key]
    return tuple(alert_id for _, alert_id in over)


def next_discard(stock: dict[str, ItemStock]) -> datetime | None:
    """When the next open container is thrown away."""
    return min((open_.use_by for entry in stock.values() for open_ in entry.open), default=None)
