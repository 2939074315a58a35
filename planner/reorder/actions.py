"""What people do with alerts: acknowledge, snooze, say that it is ordered, close."""

from __future__ import annotations

from datetime import datetime, timedelta

from planner.events.control import Acknowledged, AlertAction, AlertOrdered, Closed, Snoozed
from planner.messages import Alert, AlertKind, AlertState
from planner.refusal import Refused
from planner.reorder.alerts import ORDERED_WAIT, episode_of, key_of, put, revised
from planner.site.state import SiteState

_ORDERABLE = (AlertKind.REORDER, AlertKind.STOCK_OUT)
_WESTMOST = timedelta(hours=-12)
"""The smallest offset of any site's clock."""


def act(state: SiteState, action: AlertAction, now: datetime) -> Alert:
    """Apply a person's action to an alert; its new revision, which is also in ``state.alerts``.

    Raises:
        Refused: ``unknown-alert``, ``alert-resolved`` (also an earlier episode's), ``snooze-in-the-past``,
            ``nothing-to-order`` (an alert that no order settles), ``already-ordered`` (acknowledged or snoozed
            after it was ordered: that would forget the order), ``controlled`` (an order of a controlled item that
            names nobody), ``order-cancelled``, ``order-lacks-item``.
    """
    key, alert = _current(state, action)
    match action:
        case Acknowledged():
            _refuse_if_ordered(alert, "acknowledge")
            changes: dict[str, object] = {"state": AlertState.ACKNOWLEDGED, "snoozed_until": None}
        case Snoozed():
            _refuse_if_ordered(alert, "snooze")
            # without the site's clock at hand: refuse what is past by every clock
            if action.until is not None and action.until <= (now + _WESTMOST).date():
                raise Refused(
                    "snooze-in-the-past", f"until: {action.until}; expected a day after {(now + _WESTMOST).date()}"
                )
            changes = {"state": AlertState.SNOOZED, "snoozed_until": action.until}
        case AlertOrdered():
            _check_order(state, alert, action)
            changes = {
                "state": AlertState.ORDERED,
                "order_id": action.order_id,
                "order_awaited_until": now + ORDERED_WAIT,
                "snoozed_until": None,
            }
        case Closed():
            changes = {
                "state": AlertState.RESOLVED,
                "resolved_by_event_id": action.event_id,
                "snoozed_until": None,
                "order_awaited_until": None,
            }
    changes["by"] = action.by
    return put(state, key, revised(alert, now, action.event_id, **changes))


def _current(state: SiteState, action: AlertAction) -> tuple[str, Alert]:
    parsed = key_of(state.site, action.alert_id)
    alert = None if parsed is None else state.alerts.get(parsed[0])
    if parsed is None or alert is None:
        raise Refused("unknown-alert", f"alert_id: {action.alert_id}; site {state.site} has no such alert")
    key, episode = parsed
    if alert.alert_id != action.alert_id:
        if 1 <= episode < episode_of(alert):
            raise Refused("alert-resolved", f"alert_id: {action.alert_id} is over; the last one is {alert.alert_id}")
        raise Refused("unknown-alert", f"alert_id: {action.alert_id}; the last one is {alert.alert_id}")
    if alert.state is AlertState.RESOLVED:
        raise Refused("alert-resolved", f"alert_id: {action.alert_id} has been resolved since {alert.updated_at}")
    return key, alert


def _refuse_if_ordered(alert: Alert, verb: str) -> None:
    if alert.state is AlertState.ORDERED:
        raise Refused(
            "already-ordered", f"alert_id: {alert.alert_id} is ordered; expected an open alert to {verb}, or close it"
        )


def _check_order(state: SiteState, alert: Alert, action: AlertOrdered) -> None:
    if alert.kind not in _ORDERABLE:
        raise Refused(
            "nothing-to-order", f"alert_id: {alert.alert_id} is about {alert.kind.value}; no order settles it"
        )
    if alert.controlled and action.by is None:
        raise Refused("controlled", f"by: absent; expected who ordered {alert.item}, a controlled item")
    order = None if action.order_id is None else state.orders.get(action.order_id)
    if order is None:
        return  # an order may be told after the action that names it
    if order.status == "cancelled":
        raise Refused("order-cancelled", f"order_id: {action.order_id} was cancelled; expected an open order")
    if alert.item not in order.lines:
        raise Refused("order-lacks-item", f"order_id: {action.order_id} has no line for {alert.item}")
