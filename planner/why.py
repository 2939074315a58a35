"""Why there is an alert about an item, or why there is none: the whole chain of figures, which add up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date, datetime, timedelta

import numpy as np

from planner.catalogue.index import Catalogue
from planner.catalogue.model import WEEKDAYS, Item, Policy
from planner.explain.demand import Demand
from planner.explain.learned import learned_figures
from planner.explain.model import Dates, Decision, Explanation, Figure, NeedTotals
from planner.explain.supply import lot_lines, open_lines, order_lines, supply_parts
from planner.explain.verdicts import verdicts
from planner.forecast.learned import LearnedModel
from planner.forecast.model import DemandModel
from planner.forecast.outlook import Floats, Need, Outlook
from planner.forecast.projection import last_safe_order_date, risk_day
from planner.forecast.waiting import announcement
from planner.learning.lateness import Punctuality
from planner.messages import Alert, AlertKind, AlertState
from planner.refusal import Refused
from planner.reorder.alerts import alert_key, key_of
from planner.reorder.findings import View
from planner.reorder.levels import allowed_risk
from planner.reorder.policy import SitePlan, rounded
from planner.reorder.words import day_text
from planner.site.state import Announcement, ItemStock, SiteState

_SEVEREST_FIRST = {"critical": 0, "warning": 1, "info": 2}


def explain(
    state: SiteState,
    catalogue: Catalogue,
    outlook: Outlook,
    item: str,
    now: datetime,
    *,
    alert_id: str | None = None,
    model: DemandModel | None = None,
) -> Explanation:
    """Explain an item at a site, or one alert about it.

    Args:
        outlook: of this state at ``now``, with need from ``model`` (absent: what the site has learned).
        alert_id: of the alert to explain, the current or last episode.

    Raises:
        Refused: ``unknown-item``; ``unknown-alert`` (also of an earlier episode, or of another item).
    """
    if item not in catalogue.items:
        raise Refused("unknown-item", f"item: {item}; expected an item of catalogue {catalogue.version}")
    alerts = sorted((a for a in state.alerts.values() if a.item == item), key=lambda a: a.alert_id)
    alert = _alert(state, alerts, item, alert_id)
    outlook = _with_item(outlook, item)
    view = View(state, catalogue, outlook, now)
    row = view.plan.index[item]
    entry = catalogue.items[item]
    stock = state.stock.get(item, ItemStock())
    decision = _decision(view, row)
    decisive = (decision.decisive_day - outlook.need.first_day).days
    through = _through(view, row, alert)
    demand = Demand(state, catalogue, outlook, model or LearnedModel(state, catalogue), item=entry, row=row)
    return Explanation(
        site=state.site,
        site_name=catalogue.sites[state.site].name,
        item=item,
        item_name=entry.name,
        counted_in=entry.counted_in,
        controlled=entry.controlled_schedule is not None,
        as_of=now,
        catalogue_version=catalogue.version,
        alert=alert,
        history=() if alert is None else _history(alert),
        decision=decision,
        policy=_figures(catalogue, state.site, entry, view.plan.punctuality, announcement(state, entry.supplier, item)),
        dates=_dates(view, row),
        lots=lot_lines(stock, outlook, row, view.today),
        open_containers=open_lines(stock, now),
        orders=order_lines(state, catalogue, item, view.today, decision.decisive_day),
        supply=supply_parts(state, catalogue, outlook, item=entry, row=row, now=now, column=decisive),
        need=_need(view.plan, outlook, row, through),
        bookings=demand.contributions(through + 1),
        to_come=demand.to_come(through + 1),
        unexplained=demand.unexplained(through + 1),
        learned=learned_figures(state, catalogue, entry),
        other_alerts=tuple(a for a in alerts if a is not alert),
    )


def _alert(state: SiteState, alerts: list[Alert], item: str, alert_id: str | None) -> Alert | None:
    if alert_id is None:
        current = [a for a in alerts if a.state is not AlertState.RESOLVED]
        return min(current, key=lambda a: (_SEVEREST_FIRST[a.severity], a.alert_id), default=None)
    parsed = key_of(state.site, alert_id)
    found = None if parsed is None else state.alerts.get(parsed[0])
    if found is None or found.item != item:
        raise Refused("unknown-alert", f"alert_id: {alert_id}; site {state.site} has no such alert about {item}")
    if found.alert_id != alert_id:
        raise Refused("unknown-alert", f"alert_id: {alert_id}; the last episode is {found.alert_id}")
    return found


def _with_item(outlook: Outlook, item: str) -> Outlook:
    """The outlook, with a row of zeros for an item that nothing needs and that is not in stock."""
    need = outlook.need
    if item in need.items:
        return outlook
    zeros = np.zeros((1, outlook.risk.shape[1]))

    def below(array: Floats) -> Floats:
        return np.concatenate((array, zeros))

    return Outlook(
        need=replace(
            need,
            items=(*need.items, item),
            firm_mean=below(need.firm_mean),
            firm_variance=below(need.firm_variance),
            to_come_mean=below(need.to_come_mean),
            to_come_variance=below(need.to_come_variance),
            unsettled=None if need.unsettled is None else np.append(need.unsettled, 0.0),
            other_mean=None if need.other_mean is None else below(need.other_mean),
        ),
        supply=below(outlook.supply),
        cumulative_mean=below(outlook.cumulative_mean),
        cumulative_variance=below(outlook.cumulative_variance),
        risk=below(outlook.risk),
        expiring=(*outlook.expiring, ()),
    )


def _through(view: View, row: int, alert: Alert | None) -> int:
    """Column of the last day whose need is listed: the protection interval's, or a lot's last day if it is later."""
    last = view.plan.last_reached(row)
    if alert is None or alert.kind is not AlertKind.EXPIRY:
        return last
    stock = view.state.stock.get(view.item(row).id)
    lot = None if stock is None or alert.lot is None else stock.lots.get(alert.lot)
    if lot is None:
        return last
    horizon: int = view.outlook.risk.shape[1]
    return max(last, min((lot.expiry - view.plan.first_day).days, horizon - 1))


def _decision(view: View, row: int) -> Decision:
    shortage, item, plan = view.shortage(row), view.item(row), view.plan
    column = (shortage.day - plan.first_day).days
    risk = float(view.risk_reached[row])
    published = view.state.alerts.get(alert_key(item.id, AlertKind.REORDER))
    standing = published is not None and published.cause_persists and published.state is not AlertState.RESOLVED
    quantity = published.order_quantity if standing and published is not None else None
    return Decision(
        decisive_day=shortage.day,
        supply=shortage.supply,
        need_mean=float(view.outlook.cumulative_mean[row, column]),
        need_quantile=shortage.need_quantile,
        needed=shortage.needed,
        quantity=rounded(shortage.wanted, item) if quantity is None else quantity,
        risk=risk,
        allowed_risk=float(view.allowed[row]),
        risk_before_arrival=float(view.risk_before[row]),
        critical_risk=float(plan.policy.critical_risk),
        verdicts=verdicts(view, row),
    )


def _need(plan: SitePlan, outlook: Outlook, row: int, through: int) -> NeedTotals:
    need: Need = outlook.need
    days = slice(0, through + 1)
    mean, variance = outlook.cumulative_mean[row, through], outlook.cumulative_variance[row, through]
    return NeedTotals(
        through=plan.first_day + timedelta(days=through),
        firm_mean=float(need.firm_mean[row, days].sum()),
        firm_variance=float(need.firm_variance[row, days].sum()),
        to_come_mean=float(need.to_come_mean[row, days].sum()),
        to_come_variance=float(need.to_come_variance[row, days].sum()),
        mean=float(mean),
        variance=float(variance),
        quantile=plan.need_quantile(outlook, row, through),
    )


def _dates(view: View, row: int) -> Dates:
    dates, plan = view.plan.dates[row], view.plan
    passes = risk_day(view.outlook, row, allowed_risk(plan.policy, plan.entries[row]))
    needed_on = None if passes is None else plan.first_day + timedelta(days=passes)
    return Dates(
        today=view.today,
        chance=dates.chance,
        cutoff=dates.cutoff,
        arrives=dates.arrives,
        next_chance=dates.next_chance,
        next_arrives=dates.next_arrives,
        covers_until=plan.covered_until(row),
        last_safe_order_date=None
        if needed_on is None
        else last_safe_order_date(view.catalogue, view.state.site, view.item(row).id, needed_on, plan.punctuality),
    )


def _history(alert: Alert) -> tuple[str, ...]:
    """What the alert itself remembers; its revisions are on the ``alerts`` topic."""
    said = [f"opened {alert.opened_at.isoformat()}"]
    if alert.revision > 1:
        by = f" by event {alert.cause_event_id}" if alert.cause_event_id else ""
        said.append(f"revision {alert.revision} {alert.updated_at.isoformat()}{by}")
    elif alert.cause_event_id:
        said[0] += f" by event {alert.cause_event_id}"
    if alert.by:
        said.append(f"last touched by {alert.by}")
    if alert.snoozed_until:
        said.append(f"snoozed until {day_text(alert.snoozed_until)}")
    if alert.order_awaited_until:
        said.append(f"an order is awaited until {alert.order_awaited_until.isoformat()}")
    if alert.state is AlertState.RESOLVED:
        how = "closed by a person" if alert.cause_persists else "resolved"
        said.append(f"{how}{f' by event {alert.resolved_by_event_id}' if alert.resolved_by_event_id else ''}")
    return tuple(said)


def _measure(policy: Policy, item: Item) -> str:
    """In what the accepted risk is measured."""
    if policy.shortage_cost is not None and item.price:
        return f"money: a session that lacks it costs {policy.shortage_cost}"
    return {
        "cycle": "cycle: not running out before the next order comes",
        "fill": "fill: share of the need that is met from the shelf",
        "session": "session: a session finds all that it needs, shared among its items",
    }[policy.service_measure]


def _lateness(expect: Punctuality, level: float, source: str) -> tuple[Figure, ...]:
    """What the supplier's own deliveries have taught, beside what its allowance states."""
    late = expect.late["stated"]
    names = [name for name, delivers in zip(WEEKDAYS, expect.delivers, strict=True) if delivers]
    return (
        Figure(name="orders seen to come", value=round(expect.orders, 1), unit="orders", source=source),
        Figure(name="late, by the stated lead time", value=round(float(1 - late[0]), 4), source=source),
        Figure(name="late, by its promises", value=round(float(1 - expect.late["promised"][0]), 4), source=source),
        Figure(name="late at most, at the service level", value=expect.quantile(level), unit="days", source=source),
        Figure(name="delivery days", value=" ".join(names), source=source),
        Figure(name="part of a line that comes first", value=round(expect.fill, 4), source=source),
    )


def _figures(
    catalogue: Catalogue, site: str, item: Item, punctuality: Mapping[str, Punctuality], announced: Announcement | None
) -> tuple[Figure, ...]:
    policy, supplier = catalogue.policy_of(site), catalogue.supplier_of(item.id)
    of_policy, of_supplier, of_item = f"policy {policy.id}", f"supplier {supplier.id}", f"item {item.id}"
    lead = supplier.lead_time_days if item.lead_time_days is None else item.lead_time_days
    closed: list[date] = sorted(catalogue.sites[site].closed_on)
    return (
        Figure(
            name="service level",
            value=float(policy.service_level if item.service_level is None else item.service_level),
            source=of_policy if item.service_level is None else of_item,
        ),
        Figure(name="service measure", value=_measure(policy, item), source=of_policy),
        Figure(name="review period", value=policy.review_period_days, unit="days", source=of_policy),
        Figure(name="critical risk", value=float(policy.critical_risk), source=of_policy),
        Figure(name="resolve margin", value=float(policy.resolve_margin), source=of_policy),
        Figure(
            name="lead time",
            value=lead,
            unit="days",
            source=of_supplier if item.lead_time_days is None else of_item,
        ),
        Figure(name="late allowance", value=supplier.late_allowance_days, unit="days", source=of_supplier),
        *_lateness(punctuality[supplier.id], float(policy.service_level), f"site {site}, learned"),
        Figure(name="order days", value=" ".join(supplier.order_days), source=of_supplier),
        Figure(name="cutoff", value=supplier.cutoff, unit="site's time", source=of_supplier),
        Figure(name="closed days", value=" ".join(day.isoformat() for day in closed), source=f"site {site}"),
        Figure(name="minimum order", value=item.minimum_order, unit="containers", source=of_item),
        Figure(name="order multiple", value=item.order_multiple, unit="containers", source=of_item),
        Figure(name="pack", value=item.pack.containers, unit="containers", source=of_item),
        Figure(name="shelf life", value=item.shelf_life_days, unit="days", source=of_item),
        Figure(
            name="price", value=None if item.price is None else float(item.price), unit=item.currency, source=of_item
        ),
        *(
            ()
            if announced is None
            else (
                Figure(
                    name="announced",
                    value=f"{float(announced.share):.0%} of orders from {announced.first_day} to {announced.last_day}",
                    source=of_supplier,
                ),
            )
        ),
        Figure(name="controlled schedule", value=item.controlled_schedule, source=of_item),
    )
