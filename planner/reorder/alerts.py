"""Alerts: one per cause and episode, published only when the decision changes.

An *episode* lasts from the review that first finds a cause to the one that finds it gone. Within it the alert keeps
its id and its revision rises when the *decision* changes: the severity, what the finding calls decisive (the quantity
to order, …) or news (the day of a stock-out, a session that enters or leaves those at risk), or what a person did.
Everything else in it (risk, figures, words) is as of the last revision. So events that do not change the decision give
nothing, however many; nor does what only the passing of days does in a stock-out that lasts (see ``find_stock_out``).

    open ──acknowledged──► acknowledged ─┐
      │ ▲                      │ worse   │
      │ └──────────────────────┘         ├── cause gone ──► resolved (cause_persists: false)
      ├──snoozed──► snoozed ─────────────┤
      │ ▲  until the day, or worse │     │
      │ └──────────────────────────┘     │
      ├──ordered──► ordered ─────────────┤
      │ ▲  not covered in time, or cancelled
      │ └──────────────────────────┘     │
      └──closed──► resolved (cause_persists: true), quiet until the cause has gone

A review is a function of state, outlook and time: made twice it gives nothing the second time. That is also what
"the alerts equal a plan made afresh" means with hysteresis: a review of the state gives no revision.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime, timedelta

from planner.catalogue.index import Catalogue
from planner.forecast.outlook import Outlook
from planner.messages import Alert, AlertKind, AlertState
from planner.reorder import texts
from planner.reorder.findings import (
    Finding,
    View,
    find_discrepancy,
    find_expiring,
    find_overdue,
    find_reorder,
    find_stock_out,
    is_discrepant,
    is_overdue,
    lots_of_interest,
)
from planner.site.state import SiteState

ORDERED_WAIT = timedelta(hours=48)
"""How long an ``ordered`` alert waits for an order that covers it before it opens again."""

_KINDS = (
    AlertKind.REORDER,
    AlertKind.STOCK_OUT,
    AlertKind.EXPIRY,
    AlertKind.ORDER_OVERDUE,
    AlertKind.COUNT_DISCREPANCY,
)
_NUMBERS = {kind.value: number for number, kind in enumerate(_KINDS)}
_RANK = {"info": 0, "warning": 1, "critical": 2}

Subject = tuple[int, str]
"""(index of the kind, lot or order, empty for the kinds that have none): the order in which alerts are reviewed."""


def alert_key(item: str, kind: AlertKind, subject: str = "") -> str:
    """The key of an alert in ``SiteState.alerts``."""
    return f"{item}/{kind.value}/{subject}" if subject else f"{item}/{kind.value}"


def key_of(site: str, alert_id: str) -> tuple[str, int] | None:
    """(key in ``SiteState.alerts``, episode) of an alert id; None if it is not an id of this site."""
    head, _, episode = alert_id.rpartition("/")
    if not head.startswith(f"{site}/") or not (episode.isascii() and episode.isdigit()):
        return None
    return head[len(site) + 1 :], int(episode)


def episode_of(alert: Alert) -> int:
    return int(alert.alert_id.rpartition("/")[2])


def standing_keys(state: SiteState) -> dict[str, set[str]]:
    """item → keys of the alerts whose cause has not gone (those a person closed among them); of no drift, which is
    about no item."""
    if state.standing is None:
        state.standing = {}
        for key, alert in state.alerts.items():
            if alert.cause_persists and alert.kind is not AlertKind.FORECAST_DRIFT:
                state.standing.setdefault(alert.item, set()).add(key)
    return state.standing


def put(state: SiteState, key: str, alert: Alert) -> Alert:
    """Store a revision; the only way in which ``planner.reorder`` changes ``SiteState.alerts``."""
    standing = standing_keys(state)
    state.alerts[key] = alert
    if alert.kind is AlertKind.FORECAST_DRIFT:
        return alert
    if alert.cause_persists:
        standing.setdefault(alert.item, set()).add(key)
    elif alert.item in standing:
        standing[alert.item].discard(key)
        if not standing[alert.item]:
            del standing[alert.item]
    return alert


def revised(alert: Alert, now: datetime, cause: str | None, **changes: object) -> Alert:
    """The next revision of an alert."""
    values = {"revision": alert.revision + 1, "updated_at": now, "cause_event_id": cause, **changes}
    return alert.model_copy(update=values)


# --- the review -------------------------------------------------------------------------------------------


def review(  # noqa: PLR0917 (the five that a review is of, and a restriction)
    state: SiteState,
    catalogue: Catalogue,
    outlook: Outlook,
    now: datetime,
    cause: str | Mapping[str, str] | None,
    items: Collection[str] | None = None,
) -> list[Alert]:
    """Bring the alerts of a site up to date; the new revisions, which are also in ``state.alerts``.

    Args:
        outlook: of this state at ``now``.
        cause: the event whose application led to this review, or the last such event by item.
        items: those that may have changed; None: all. Time changes all items: a review after a clock event, or
            the first one of a day, must not be restricted.
    """
    view = View(state, catalogue, outlook, now)
    standing = standing_keys(state)
    if items is not None:
        items = {*items, *_siblings(view, standing, items)}
    revisions: list[Alert] = []
    for row, subjects in _candidates(view, standing, items):
        item = view.plan.items[row]
        by = cause if cause is None or isinstance(cause, str) else cause.get(item)
        for number, subject in sorted(subjects):
            alert = _settle(view, row, _KINDS[number], subject, by)
            if alert is not None:
                revisions.append(alert)
    # items that the catalogue no longer has: nothing can be said about them any more
    for item in sorted(standing.keys() - view.plan.index.keys()):
        if items is None or item in items:
            by = cause if cause is None or isinstance(cause, str) else cause.get(item)
            revisions += [_over(view, key, state.alerts[key], item, by) for key in sorted(standing[item])]
    return revisions


def _candidates(
    view: View, standing: Mapping[str, set[str]], items: Collection[str] | None
) -> Iterator[tuple[int, set[Subject]]]:
    """Rows with anything to look at, and the subjects: nearly all items have none, and cost next to nothing."""
    plan, state = view.plan, view.state
    running_out = (view.risk_reached > view.allowed).tolist()
    too_late = (view.risk_before >= view.critical).tolist()
    overdue = _overdue_orders(view)
    rows = range(len(plan.items)) if items is None else sorted(plan.index[i] for i in items if i in plan.index)
    ordered = {plan.index[item] for item, keys in standing.items() if item in plan.index}
    plan.work_out(view.outlook, [row for row in rows if running_out[row] or row in ordered])
    for row in rows:
        item = plan.items[row]
        stock = state.stock.get(item)
        subjects: set[Subject] = {_subject_of(item, key) for key in standing.get(item, ())}
        if running_out[row]:
            subjects.add((0, ""))
        if too_late[row]:
            subjects.add((1, ""))
        for lot in lots_of_interest(view, row, stock):
            subjects.add((2, lot))
        for order_id in overdue.get(item, ()):
            subjects.add((3, order_id))
        if stock is not None and is_discrepant(view, stock):
            subjects.add((4, ""))
        if subjects:
            yield row, subjects


def _siblings(view: View, standing: Mapping[str, set[str]], items: Collection[str]) -> Iterator[str]:
    """Items that are short and of one component with any of ``items``: whether those are there says who may wait."""
    entries = view.catalogue.items
    components = {entries[item].component for item in items if item in entries}
    for item in standing:
        if (
            item in entries
            and entries[item].component in components
            and alert_key(item, AlertKind.STOCK_OUT) in (standing[item])
        ):
            yield item


def _subject_of(item: str, key: str) -> Subject:
    kind, _, subject = key[len(item) + 1 :].partition("/")
    return _NUMBERS[kind], subject


def _overdue_orders(view: View) -> dict[str, list[str]]:
    overdue: dict[str, list[str]] = {}
    for order_id, order in view.state.orders.items():
        if order.status == "open":
            for item, line in order.lines.items():
                if is_overdue(view, item, order, line):
                    overdue.setdefault(item, []).append(order_id)
    return overdue


def _find(view: View, row: int, kind: AlertKind, subject: str, standing: Alert | None) -> Finding | None:
    match kind:
        case AlertKind.REORDER:
            return find_reorder(view, row, standing)
        case AlertKind.STOCK_OUT:
            return find_stock_out(view, row, standing)
        case AlertKind.EXPIRY:
            return find_expiring(view, row, subject, standing)
        case AlertKind.ORDER_OVERDUE:
            return find_overdue(view, row, subject)
        case AlertKind.COUNT_DISCREPANCY:
            return find_discrepancy(view, row, standing)
        case AlertKind.FORECAST_DRIFT:
            return None  # of no item: ``planner.reorder.drift``


# --- one alert --------------------------------------------------------------------------------------------


def _settle(view: View, row: int, kind: AlertKind, subject: str, cause: str | None) -> Alert | None:
    """Open, revise, wake or resolve one alert; None when nothing is to be published."""
    item = view.plan.items[row]
    key = alert_key(item, kind, subject)
    last = view.state.alerts.get(key)
    standing = last if last is not None and last.cause_persists else None
    finding = _find(view, row, kind, subject, standing)
    if finding is None:
        return None if standing is None else _over(view, key, standing, view.item(row).name, cause)
    if standing is None or _is_another_occasion(standing, finding):
        episode = 1 if last is None else episode_of(last) + 1
        return put(view.state, key, _opened(view, row, f"{key}/{episode}", finding, cause))
    to = _next_state(view, standing, finding)
    if to is None:
        return None
    return put(view.state, key, _with_finding(view, standing, finding, to, cause))


def _next_state(view: View, alert: Alert, finding: Finding) -> AlertState | None:
    """The state that a standing alert goes to, or stays in, with a revision; None: no revision is due."""
    if alert.state in {AlertState.OPEN, AlertState.ACKNOWLEDGED}:
        if not _is_other_decision(alert, finding):
            return None
        return AlertState.OPEN if _is_worse(alert, finding) else alert.state
    wakes = False
    if alert.state is AlertState.SNOOZED:
        over = alert.snoozed_until is not None and view.today >= alert.snoozed_until
        wakes = over or _is_worse(alert, finding)
    elif alert.state is AlertState.ORDERED:
        over = alert.order_awaited_until is not None and view.now >= alert.order_awaited_until
        wakes = over or _is_order_cancelled(view, alert)
    return AlertState.OPEN if wakes else None


def _is_order_cancelled(view: View, alert: Alert) -> bool:
    order = None if alert.order_id is None else view.state.orders.get(alert.order_id)
    return order is not None and order.status == "cancelled"


def _is_other_decision(alert: Alert, finding: Finding) -> bool:
    return alert.severity != finding.severity or finding.news or not finding.decisive.items() <= alert.reasons.items()


def _is_worse(alert: Alert, finding: Finding) -> bool:
    """Worse: a higher severity, what the finding itself calls worse, or a new occasion."""
    if finding.worse or _RANK[finding.severity] > _RANK[alert.severity]:
        return True
    return finding.occasion is not None and finding.occasion != alert.reasons.get("occasion")


def _is_another_occasion(alert: Alert, finding: Finding) -> bool:
    """Whether a person closed the alert for an occasion that is past (a count, and now there is a newer one)."""
    return (
        alert.state is AlertState.RESOLVED
        and finding.occasion is not None
        and finding.occasion != alert.reasons.get("occasion")
    )


def _opened(view: View, row: int, path: str, finding: Finding, cause: str | None) -> Alert:
    item = view.item(row)
    description = finding.describe()
    return Alert(
        alert_id=f"{view.state.site}/{path}",
        revision=1,
        site=view.state.site,
        item=item.id,
        kind=finding.kind,
        severity=finding.severity,
        state=AlertState.OPEN,
        opened_at=view.now,
        updated_at=view.now,
        cause_event_id=cause,
        summary=description.summary,
        reasons=_reasons(description, finding),
        order_quantity=finding.order_quantity,
        order_by=finding.order_by,
        stock_out_day=finding.stock_out_day,
        lot=finding.lot,
        order_id=finding.order_id,
        sessions_at_risk=finding.sessions(),
        controlled=item.controlled_schedule is not None,
        catalogue_version=view.catalogue.version,
    )


def _reasons(description: texts.Description, finding: Finding) -> texts.Figures:
    return {**description.reasons, **finding.decisive, "occasion": finding.occasion}


def _with_finding(view: View, alert: Alert, finding: Finding, to: AlertState, cause: str | None) -> Alert:
    description = finding.describe()
    summary = description.summary
    if alert.state is AlertState.ORDERED:
        summary = texts.ordered_in_vain(
            summary, ORDERED_WAIT, alert.order_id if _is_order_cancelled(view, alert) else None
        )
    return revised(
        alert,
        view.now,
        cause,
        severity=finding.severity,
        state=to,
        summary=summary,
        reasons=_reasons(description, finding),
        order_quantity=finding.order_quantity,
        order_by=finding.order_by,
        stock_out_day=finding.stock_out_day,
        # what a person said of an order or a snooze is over when the alert is open again
        order_id=finding.order_id,
        snoozed_until=None,
        order_awaited_until=None,
        sessions_at_risk=finding.sessions(),
        catalogue_version=view.catalogue.version,
    )


def _over(view: View, key: str, alert: Alert, item_name: str, cause: str | None) -> Alert:
    """The last revision of an episode: its cause has gone. Of one that a person closed it says just that."""
    closed = alert.state is AlertState.RESOLVED
    return put(
        view.state,
        key,
        revised(
            alert,
            view.now,
            cause,
            state=AlertState.RESOLVED,
            resolved_by_event_id=alert.resolved_by_event_id if closed else cause,
            cause_persists=False,
            summary=texts.gone(alert, item_name, cause),
            sessions_at_risk=(),
            snoozed_until=None,
            order_awaited_until=None,
        ),
    )
