"""What is the matter with an item at a site, now: a *finding* per cause of an alert, with its figures.

Each finder answers one question: is there a reason for an alert of this kind, given the one that already stands?
It raises at one threshold and lets go at a lower one, so that figures swinging about a threshold change nothing.
The words and figures of a finding are composed only when a revision is published.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cached_property
from typing import Literal

from planner.catalogue.index import Catalogue
from planner.catalogue.model import Item
from planner.forecast.outlook import ExpiringLot, Floats, Outlook
from planner.forecast.quantiles import NOTHING, survival
from planner.messages import Alert, AlertKind, SessionAtRisk
from planner.reorder import texts
from planner.reorder.policy import Shortage, SitePlan, site_plan, sticky
from planner.reorder.sessions import BookedDays, MissedSessions
from planner.reorder.triage import Triage
from planner.site.state import ItemStock, Order, OrderLine, SiteState

Severity = Literal["info", "warning", "critical"]

SESSIONS_LISTED = 50
"""Sessions at risk named in an alert, by start; ``reasons`` tells how many there are in all."""
EXPIRY_PROBABILITY = 0.75
"""A lot is worth an alert when some of it is left at expiry with at least this probability …"""
EXPIRY_CONTAINERS = 1.0
"""… and so many containers on average. The alert stays while the outlook names the lot at all (from a lower
probability on), with half as many."""
EXPIRY_SOON_DAYS = 14
"""A lot so near its expiry is a warning, before that an information."""
COUNT_STEP = 0.25
"""Relative change of an expected remainder or a number of sessions (beyond those listed) that is worth telling."""


@dataclass(slots=True)
class Finding:
    """A reason for an alert.

    ``decisive``: the figures whose change makes a new revision, beside the severity; they become part of the
    alert's ``reasons``. ``news``: whether something else than these makes one; ``worse``: and whether it is bad
    news. ``occasion``: what a person who closed the alert closed; another occasion is another episode.
    """

    kind: AlertKind
    severity: Severity
    decisive: texts.Figures
    describe: Callable[[], texts.Description]
    order_quantity: int | None = None
    order_by: date | None = None
    stock_out_day: date | None = None
    lot: str | None = None
    order_id: str | None = None
    missed: MissedSessions | None = None
    news: bool = False
    worse: bool = False
    occasion: str | None = None

    def sessions(self) -> tuple[SessionAtRisk, ...]:
        """Those named in the alert."""
        return () if self.missed is None else self.missed.first(SESSIONS_LISTED)


class View:
    """A site at an instant, as the finders look at it."""

    def __init__(self, state: SiteState, catalogue: Catalogue, outlook: Outlook, now: datetime) -> None:
        self.state = state
        self.catalogue = catalogue
        self.outlook = outlook
        self.now = now
        self.today = catalogue.site_day(state.site, now)
        self.plan: SitePlan = site_plan(state, catalogue, outlook, now)
        self.risk_before: Floats = (outlook.risk * self.plan.missing).max(axis=1)
        """Per item: risk of running out on a day on which an order placed now has not come."""
        self.risk_reached = self.plan.risk(outlook)
        """Per item: risk of running out between its arrival and that of the next chance's order."""
        self.allowed = self.plan.levels(outlook).allowed
        """Per item: what the policy accepts of it."""
        self.margin = float(self.plan.policy.resolve_margin)
        self.critical = float(self.plan.policy.critical_risk)

    @cached_property
    def booked(self) -> BookedDays:
        """The sessions of the days on which an order placed now may be missed."""
        triage = Triage(self.catalogue, self.state.site, self.outlook)
        return BookedDays(self.state, self.plan.first_day.toordinal(), max(self.plan.out_of_reach, default=0), triage)

    @cached_property
    def ordered_at(self) -> dict[str, datetime]:
        """Item → when it was last ordered, by an order that was not cancelled."""
        latest: dict[str, datetime] = {}
        for order in self.state.orders.values():
            if order.status != "cancelled":
                for item in order.lines:
                    latest[item] = max(order.placed_at, latest.get(item, order.placed_at))
        return latest

    @cached_property
    def session_risks(self) -> Floats:
        """Risk that sessions find no stock by item and day, and that no order placed now has come by then.

        Where supply is negative (an emergency stock that is not full, a deficit) nothing is usable: sessions are at
        risk as far as there is need at all, not because the emergency stock is short.
        """
        outlook, missing = self.outlook, self.plan.missing
        short = (missing > 0) & (outlook.supply < 0)
        risk: Floats = outlook.risk.copy()
        if short.any():
            risk[short] = survival(outlook.cumulative_mean[short], outlook.cumulative_variance[short], 0.0)
        risk *= missing
        return risk

    @cached_property
    def session_risk_worst(self) -> list[float]:
        """The largest of ``session_risks`` by item."""
        worst: list[float] = self.session_risks.max(axis=1).tolist()
        return worst

    def item(self, row: int) -> Item:
        return self.plan.entries[row]

    def shortage(self, row: int) -> Shortage:
        return self.plan.shortage(self.outlook, row)


# --- running out ------------------------------------------------------------------------------------------


def session_risk(view: View, row: int) -> Floats:
    """Risk per day that sessions find no stock and no order placed now helps; shape (days out of reach,)."""
    return view.session_risks[row, : view.plan.days_before(row)]


def _threshold(level: float, margin: float, standing: bool) -> float:
    return level * margin if standing else level


def is_stock_out(view: View, row: int, standing: bool) -> bool:
    """Whether an order placed now comes too late, by the policy's critical risk (with hysteresis)."""
    level = _threshold(view.critical, view.margin, standing)
    if view.risk_before[row] < level or not view.plan.days_before(row):
        return False
    return view.session_risk_worst[row] >= level


def _is_answered(view: View, row: int, standing: Alert, shortage: Shortage) -> bool:
    """Whether at least a multiple has come in or been ordered since the alert was last told: what it said is done, a
    risk within the policy will do, and what is needed now is another matter.

    Without it an order of just the proposed quantity, which leaves just the allowed risk, would not resolve. What has
    been used since may hide in the supply what was ordered, so orders are looked at too."""
    before, item = standing.reasons.get("supply"), view.item(row)
    if isinstance(before, float) and shortage.supply >= before + item.order_multiple:
        return True
    placed_at = view.ordered_at.get(item.id)
    return placed_at is not None and placed_at >= standing.updated_at


def find_reorder(view: View, row: int, standing: Alert | None) -> Finding | None:
    """Waiting for the next chance would leave more risk than the policy allows."""
    risk, allowed = float(view.risk_reached[row]), float(view.allowed[row])
    if risk <= allowed and (standing is None or risk < allowed * view.margin):
        return None
    shortage, item, dates = view.shortage(row), view.item(row), view.plan.dates[row]
    answered = standing is not None and _is_answered(view, row, standing, shortage)
    if answered and risk <= allowed:
        return None
    published = None if standing is None or answered else standing.order_quantity
    # above the resolving threshold but within the policy nothing more is needed than was said
    quantity = published if published is not None and risk <= allowed else sticky(shortage.wanted, item, published)
    order_by = dates.chance if standing is None or standing.order_by is None else standing.order_by
    late = order_by < dates.chance
    critical = is_stock_out(view, row, standing is not None and standing.severity == "critical")
    return Finding(
        kind=AlertKind.REORDER,
        severity="critical" if critical else "warning",
        decisive={"order_quantity": quantity, "late": int(late)},
        describe=lambda: texts.reorder(
            view.outlook,
            view.plan,
            view.catalogue,
            row,
            shortage=shortage,
            quantity=quantity,
            order_by=order_by,
            risk=risk,
            allowed=allowed,
            risk_before=float(view.risk_before[row]),
        ),
        order_quantity=quantity,
        order_by=order_by,
    )


def find_stock_out(view: View, row: int, standing: Alert | None) -> Finding | None:
    """An order placed now comes too late for sessions that are already near."""
    if not is_stock_out(view, row, standing is not None):
        return None
    risk = session_risk(view, row).tolist()
    day = _stock_out_day(view, risk, None if standing is None else standing.stock_out_day)
    missed = view.booked.missed(view.outlook, row, view.item(row), view.plan.days_before(row))
    worse, news = (False, False) if standing is None else _stock_out_news(view, row, standing, day, missed)
    return Finding(
        kind=AlertKind.STOCK_OUT,
        severity="critical",
        decisive={},
        describe=lambda: texts.stock_out(
            view.outlook, view.plan, view.catalogue, row, day=day, risk=max(risk), missed=missed
        ),
        stock_out_day=day,
        missed=missed,
        news=worse or news,
        worse=worse,
    )


def _stock_out_news(view: View, row: int, told: Alert, day: date, missed: MissedSessions) -> tuple[bool, bool]:
    """(whether it is worse than was told, whether it is otherwise): all but what only the passing of days does.

    - The day: an earlier one, a later one; once the day told has come, that nothing is short until a later one.
    - The sessions, of those named and yet to begin on the days told of: one that enters, one that leaves. Beyond
      ``SESSIONS_LISTED``: that there are more by ``COUNT_STEP``.
    - Sessions of later days, which come before the arrival of an order as days pass: told together, when half of
      the days before the arrival are days not told of.
    """
    through = told.reasons.get("sessions_through")
    count = told.reasons.get("sessions_at_risk")
    if told.stock_out_day is None or not isinstance(through, str) or not isinstance(count, int):
        return False, True  # told by another version of the planner
    worse = day < told.stock_out_day
    if told.stock_out_day > view.today:
        news = day != told.stock_out_day
    else:
        passed = (day - view.plan.first_day).days
        news = passed > 0 and view.outlook.cumulative_mean[row, passed - 1] > NOTHING
    last = date.fromisoformat(through).toordinal()
    left = last + 1 - view.plan.first_day.toordinal()
    if missed.last_day > last and 2 * left <= view.plan.days_before(row):
        news = True
    worse |= missed.through(last) > max(SESSIONS_LISTED, (1 + COUNT_STEP) * count)
    if count > SESSIONS_LISTED:
        return worse, news  # not all of them were named
    now_s = view.now.timestamp()
    before = {(s.booking_id, start) for s in told.sessions_at_risk if (start := int(s.start.timestamp())) > now_s}
    now = missed.starts(SESSIONS_LISTED, now_s, last)
    return worse or bool(now - before), news or bool(before - now)


def _stock_out_day(view: View, risk: list[float], published: date | None) -> date:
    """First day at critical risk; the published one stays while it is at risk and none before it is critical."""
    first = view.plan.first_day
    above = next((column for column, value in enumerate(risk) if value >= view.critical), None)
    column = None if published is None else (published - first).days
    if column is not None and 0 <= column < len(risk):
        still = risk[column] >= view.critical * view.margin
        if still and (above is None or above >= column):
            return first + timedelta(days=column)
    return first + timedelta(days=risk.index(max(risk)) if above is None else above)


def held(value: float, published: str | int | float | None, least: float) -> float:
    """``published`` while ``value`` is within ``COUNT_STEP`` of it (at least ``least``), else ``value``."""
    if isinstance(published, int | float) and abs(value - published) <= max(least, COUNT_STEP * published):
        return published
    return value


# --- expiry -----------------------------------------------------------------------------------------------


def find_expiring(view: View, row: int, lot: str, standing: Alert | None) -> Finding | None:
    """A lot that has expired on the shelf, or of which some will probably be left when it does."""
    stock = view.state.stock.get(view.item(row).id)
    held_lot = None if stock is None else stock.lots.get(lot)
    if held_lot is None or held_lot.quantity <= 0:
        return None
    if held_lot.expiry < view.today:
        gone = ExpiringLot(lot, held_lot.expiry, held_lot.quantity, float(held_lot.quantity), 1.0)
        return _expiry_finding(view, row, gone, standing)
    for expiring in view.outlook.expiring[row]:
        if expiring.lot == lot:
            if standing is not None:
                likely = expiring.expected_unused >= EXPIRY_CONTAINERS / 2
            else:
                likely = expiring.probability >= EXPIRY_PROBABILITY and expiring.expected_unused >= EXPIRY_CONTAINERS
            return _expiry_finding(view, row, expiring, standing) if likely else None
    return None


def _expiry_finding(view: View, row: int, lot: ExpiringLot, standing: Alert | None) -> Finding:
    expired = lot.expiry < view.today
    published = None if standing is None else standing.reasons.get("expected_unused")
    unused = lot.expected_unused if expired else held(lot.expected_unused, published, EXPIRY_CONTAINERS)
    soon = expired or (lot.expiry - view.today).days <= EXPIRY_SOON_DAYS
    return Finding(
        kind=AlertKind.EXPIRY,
        severity="warning" if soon else "info",
        decisive={"expected_unused": unused, "expired": int(expired)},
        describe=lambda: texts.expiry(view.item(row), lot, expired),
        lot=lot.lot,
    )


def lots_of_interest(view: View, row: int, stock: ItemStock | None) -> Iterator[str]:
    """Lots that may be worth an expiry alert: those the outlook names, and the expired ones still on the shelf."""
    for expiring in view.outlook.expiring[row]:
        yield expiring.lot
    if stock is not None:
        for lot in stock.lots.values():
            if lot.expiry < view.today and lot.quantity > 0:
                yield lot.lot


# --- orders and counts ------------------------------------------------------------------------------------


def due_day(catalogue: Catalogue, site: str, item: str, order: Order) -> date:
    """The day after which an order is late by any standard: as promised, else the lead time with its allowance."""
    if order.promised is not None:
        return order.promised
    return catalogue.site_day(site, order.placed_at) + timedelta(days=catalogue.lead_time_days(item))


def is_overdue(view: View, item: str, order: Order, line: OrderLine) -> bool:
    """Whether something of the line is outstanding after the promised day and the grace."""
    if order.status != "open" or not line.outstanding or item not in view.plan.index:
        return False
    grace = timedelta(days=view.plan.policy.overdue_grace_days)
    return view.today > due_day(view.catalogue, view.state.site, item, order) + grace


def find_overdue(view: View, row: int, order_id: str) -> Finding | None:
    """An order that should have come."""
    item = view.item(row)
    order = view.state.orders.get(order_id)
    line = None if order is None else order.lines.get(item.id)
    if order is None or line is None or not is_overdue(view, item.id, order, line):
        return None
    due, outstanding = due_day(view.catalogue, view.state.site, item.id, order), line.outstanding
    return Finding(
        kind=AlertKind.ORDER_OVERDUE,
        severity="warning",
        decisive={"due": due.isoformat(), "outstanding": outstanding},
        describe=lambda: texts.overdue(view.catalogue, item, order, due=due, outstanding=outstanding, today=view.today),
        order_id=order_id,
    )


def is_discrepant(view: View, stock: ItemStock) -> bool:
    """Whether the last count was outside the policy's tolerance, or more was taken than there was."""
    count, policy = stock.last_count, view.plan.policy
    if stock.deficit > 0:
        return True
    if count is None:
        return False
    tolerance = max(float(policy.count_tolerance_containers), float(policy.count_tolerance_fraction) * count.expected)
    return abs(count.counted - count.expected) > tolerance


def find_discrepancy(view: View, row: int, standing: Alert | None) -> Finding | None:
    """The shelf is not what the log says."""
    stock = view.state.stock.get(view.item(row).id)
    if stock is None or not is_discrepant(view, stock):
        return None
    count = stock.last_count
    deficit = stock.deficit
    published = None if standing is None else standing.reasons.get("deficit")
    # a deficit that grows with each session is one finding: it is told again when it has doubled
    if isinstance(published, int) and 0 < deficit < 2 * published:
        deficit = published
    counted = None if count is None else count.event_id
    return Finding(
        kind=AlertKind.COUNT_DISCREPANCY,
        severity="warning",
        decisive={"deficit": deficit, "count_event_id": counted},
        describe=lambda: texts.discrepancy(view.item(row), count, stock.deficit, view.catalogue.zone(view.state.site)),
        occasion=counted,
    )
