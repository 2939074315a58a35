"""The answers in words: why each kind of alert stands or does not, and what would have to change."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

from planner.explain.model import Verdict
from planner.messages import Alert, AlertKind, AlertState
from planner.reorder.alerts import alert_key
from planner.reorder.findings import (
    EXPIRY_CONTAINERS,
    EXPIRY_PROBABILITY,
    View,
    due_day,
    is_discrepant,
    is_overdue,
    session_risk,
)
from planner.reorder.words import containers, day_text, number, percent


def verdicts(view: View, row: int) -> tuple[Verdict, ...]:
    """All five questions about an item, in the order of the kinds."""
    return (
        _reorder(view, row),
        _stock_out(view, row),
        _expiry(view, row),
        _overdue(view, row),
        _discrepancy(view, row),
    )


def _standing(view: View, row: int, kind: AlertKind) -> Alert | None:
    alert = view.state.alerts.get(alert_key(view.item(row).id, kind))
    return alert if alert is not None and alert.cause_persists else None


def _said(alert: Alert | None) -> str:
    """What is known of a standing alert, as the end of a sentence."""
    if alert is None:
        return ""
    if alert.state is AlertState.RESOLVED:
        return f" A person closed it ({alert.by or 'no name given'}), so it is quiet until this has gone."
    return f" The alert is {alert.state.value}, in revision {alert.revision}."


def _reorder(view: View, row: int) -> Verdict:
    plan, risk = view.plan, float(view.risk_reached[row])
    dates, shortage, item = plan.dates[row], view.shortage(row), view.item(row)
    alert = _standing(view, row, AlertKind.REORDER)
    allowed = float(view.allowed[row])
    above = risk > allowed
    words = (
        f"An order placed now would arrive on {day_text(dates.arrives)} and must last until the next one arrives, on "
        f"{day_text(dates.next_arrives)}. Without it the risk of running out in that time is {percent(risk)}, "
        f"{'more than' if above else 'within'} the {percent(allowed)} that the policy allows."
    )
    if above:
        to_change = (
            f"It resolves when the risk falls below {percent(allowed * view.margin)}: with "
            f"{containers(_to_resolve(view, row))} more usable or due by {day_text(dates.arrives)}, or as much less "
            "needed."
        )
    else:
        spare = -shortage.needed
        to_change = (
            f"It would be raised if more than {containers(spare)} more {'was' if number(spare) == '1' else 'were'} "
            f"needed, to be safe, through {day_text(shortage.day)}, or as many fewer were usable."
        )
        if alert is not None:
            words += (
                f" An alert stands all the same: it resolves below {percent(allowed * view.margin)}, "
                "so that it does not come and go."
            )
    controlled = f" {item.name} is a controlled item: a person must order it." if item.controlled_schedule else ""
    return Verdict(
        kind=AlertKind.REORDER,
        raised=alert is not None and alert.state is not AlertState.RESOLVED,
        words=words + _said(alert) + controlled,
        to_change=to_change,
    )


def _to_resolve(view: View, row: int) -> float:
    """Containers that are missing for the risk to fall below the resolving one."""
    levels = view.plan.levels(view.outlook)
    resolving = replace(levels, allowed=levels.allowed * view.margin)
    needed: float = view.plan.cover(view.outlook, (row,), resolving).needed().tolist()[0]
    return max(needed, 0.0)


def _stock_out(view: View, row: int) -> Verdict:
    plan = view.plan
    critical, days = float(plan.policy.critical_risk), plan.days_before(row)
    alert = _standing(view, row, AlertKind.STOCK_OUT)
    arrives = day_text(plan.dates[row].arrives)
    if not days:
        words, risk = f"An order placed now arrives on {arrives}, today: nothing comes too late.", 0.0
    else:
        by_day = session_risk(view, row)
        risk = float(by_day.max())
        worst = plan.first_day + timedelta(days=int(by_day.argmax()))
        words = (
            f"Before an order placed now can arrive, on {arrives}, the risk that sessions find no stock is at most "
            f"{percent(risk)} (on {day_text(worst)}); from {percent(critical)} on they are named as at risk."
        )
    listed = len(alert.sessions_at_risk) if alert else 0
    return Verdict(
        kind=AlertKind.STOCK_OUT,
        raised=alert is not None and alert.state is not AlertState.RESOLVED,
        words=words + (f" {listed} sessions are listed." if listed else "") + _said(alert),
        to_change=f"It {'resolves below' if alert else 'would be raised from'} "
        f"{percent(critical * view.margin if alert else critical)}.",
    )


def _expiry(view: View, row: int) -> Verdict:
    item = view.item(row)
    stock = view.state.stock.get(item.id)
    expired = [lot for lot in stock.lots.values() if lot.quantity and lot.expiry < view.today] if stock else []
    parts = [f"lot {lot.lot} expired on {day_text(lot.expiry)} with {containers(lot.quantity)}" for lot in expired]
    parts += [
        f"of lot {lot.lot} about {number(lot.expected_unused)} of {containers(lot.quantity)} will be left on "
        f"{day_text(lot.expiry)} (any at all: {percent(lot.probability)})"
        for lot in view.outlook.expiring[row]
    ]
    keys = [alert for key, alert in view.state.alerts.items() if key.startswith(f"{item.id}/{AlertKind.EXPIRY.value}/")]
    raised = any(alert.cause_persists and alert.state is not AlertState.RESOLVED for alert in keys)
    words = "; ".join(parts) if parts else "no lot will probably expire unused within the horizon"
    return Verdict(
        kind=AlertKind.EXPIRY,
        raised=raised,
        words=words[0].upper() + words[1:] + ".",
        to_change=f"Raised when at least {containers(EXPIRY_CONTAINERS)} is expected to be left, and any with a "
        f"probability of {percent(EXPIRY_PROBABILITY)}.",
    )


def _overdue(view: View, row: int) -> Verdict:
    item, grace = view.item(row).id, view.plan.policy.overdue_grace_days
    waiting = [order for order in view.state.orders.values() if order.status == "open" and item in order.lines]
    waiting = [order for order in waiting if order.lines[item].outstanding]
    late = [order for order in waiting if is_overdue(view, item, order, order.lines[item])]
    described = ", ".join(_due_texts(view, item, [o.order_id for o in waiting]))
    words = f"Outstanding: {described}." if waiting else "Nothing is outstanding."
    return Verdict(
        kind=AlertKind.ORDER_OVERDUE,
        raised=bool(late),
        words=words,
        to_change=f"An order is overdue {grace} day{'' if grace == 1 else 's'} after the day it is due.",
    )


def _due_texts(view: View, item: str, order_ids: list[str]) -> Iterator[str]:
    for order_id in order_ids:
        order = view.state.orders[order_id]
        due = due_day(view.catalogue, view.state.site, item, order)
        yield f"{containers(order.lines[item].outstanding)} of order {order_id}, due on {day_text(due)}"


def _discrepancy(view: View, row: int) -> Verdict:
    stock, policy = view.state.stock.get(view.item(row).id), view.plan.policy
    raised = stock is not None and is_discrepant(view, stock)
    if stock is None or (stock.last_count is None and not stock.deficit):
        words = "It has not been counted, and no more was taken than there was."
    else:
        count = stock.last_count
        said = []
        if count is not None:
            said.append(f"the last count found {count.counted} where {count.expected} were expected")
        if stock.deficit:
            said.append(f"{containers(stock.deficit)} were taken beyond what the lots had")
        words = "; ".join(said)
        words = words[0].upper() + words[1:] + "."
    return Verdict(
        kind=AlertKind.COUNT_DISCREPANCY,
        raised=raised,
        words=words,
        to_change=f"Tolerated: {containers(float(policy.count_tolerance_containers))}, or "
        f"{percent(float(policy.count_tolerance_fraction))} of what was expected if that is more.",
    )
