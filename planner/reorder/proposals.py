"""Proposals: what to order, per site and supplier, in one order.

A line is proposed for each item with a reorder alert; and once a supplier is to be ordered from at all, also for the
items that would need an order at its next chance (joint replenishment with can-order items: Silver, Pyke & Thomas
2017, §11.6), where that saves something. A policy that states what a line costs says that an order costs its lines: to
send one a day early saves nothing then, and is held a day longer, so it goes along only if the order would otherwise be
below the supplier's minimum value. Without a stated cost an order is taken to be worth saving.

Controlled items are proposed apart, flagged, for a person to order. Items that a person has ordered, or whose alert a
person closed, are left out. Lines may have different lead times: ``arrives`` is the day of the last of them,
``covers_until`` the first day that one of them no longer covers, less one.
"""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import NamedTuple

from planner.catalogue.index import Catalogue
from planner.catalogue.model import Item
from planner.forecast.outlook import Outlook
from planner.messages import Alert, AlertKind, AlertState, Proposal, ProposalLine
from planner.reorder.alerts import alert_key, standing_keys
from planner.reorder.policy import SitePlan, site_plan, sticky
from planner.site.state import SiteState

_SAID = {AlertState.OPEN, AlertState.ACKNOWLEDGED}
"""States in which an alert's quantity is kept up to date."""


def proposal_key(supplier: str, controlled: bool) -> str:
    """The key of a proposal in ``SiteState.proposals``."""
    return f"{supplier}/controlled" if controlled else supplier


def propose(state: SiteState, catalogue: Catalogue, outlook: Outlook, now: datetime) -> list[Proposal]:
    """Bring the proposals of a site up to date, after its alerts: the changed ones, also in ``state.proposals``.

    A proposal changes when its items, quantities, dates or prices do; without lines it says that nothing remains
    to be ordered.
    """
    plan = site_plan(state, catalogue, outlook, now)
    wanted = _wanted_rows(state, catalogue, plan, outlook)
    changed: list[Proposal] = []
    for key in sorted(wanted.keys() | {k for k, p in state.proposals.items() if p.lines}):
        published = state.proposals.get(key)
        drafts = _drafts(state, plan, outlook, wanted.get(key, []), published)
        frame = _frame(plan, catalogue, key, drafts)
        if published is None or _decision(plan, drafts, frame) != _published_decision(published):
            lines = tuple(_line(state, plan, outlook, draft) for draft in drafts)
            state.proposals[key] = _proposal(plan, catalogue, key, lines=lines, frame=frame, now=now, last=published)
            changed.append(state.proposals[key])
    return changed


class _Draft(NamedTuple):
    """A line to be: the figures behind it are worked out when it is published."""

    row: int
    quantity: int
    alert_id: str | None


class _Frame(NamedTuple):
    """What holds for all lines."""

    order_by: date | None
    arrives: date | None
    covers_until: date | None
    value: Decimal | None
    below_minimum_value: bool


def _wanted_rows(state: SiteState, catalogue: Catalogue, plan: SitePlan, outlook: Outlook) -> dict[str, list[int]]:
    """proposal key → rows of the items to order, for the suppliers that have an alerting one."""
    wanted: dict[str, list[int]] = {}
    settled: set[int] = set()
    for item in standing_keys(state):
        row = plan.index.get(item)
        alert = state.alerts.get(alert_key(item, AlertKind.REORDER))
        if row is None or alert is None or not alert.cause_persists:
            continue
        if alert.state in {AlertState.ORDERED, AlertState.RESOLVED}:
            settled.add(row)
        else:
            wanted.setdefault(_key_of(plan.entries[row]), []).append(row)
    joint = {key for key, rows in wanted.items() if _saves(state, catalogue, plan, outlook, key, rows)}
    if joint:
        soon = (plan.risk(outlook, later=True) > plan.levels(outlook).allowed).nonzero()[0].tolist()
        for row in soon:
            key = _key_of(plan.entries[row])
            if key in joint and row not in wanted[key] and row not in settled:
                wanted[key].append(row)
    return {key: sorted(rows, key=lambda row: plan.items[row]) for key, rows in wanted.items()}


def _saves(  # noqa: PLR0917 (of whom, and what)
    state: SiteState, catalogue: Catalogue, plan: SitePlan, outlook: Outlook, key: str, rows: list[int]
) -> bool:
    """Whether something is saved by ordering the next chance's items along with ``rows``."""
    if plan.policy.order_line_cost is None:
        return True
    supplier = catalogue.suppliers.get(key.partition("/")[0])
    if supplier is None or supplier.minimum_order_value is None:
        return False
    value = _value(plan, _drafts(state, plan, outlook, rows, None))
    return value is not None and value < supplier.minimum_order_value


def _key_of(item: Item) -> str:
    return proposal_key(item.supplier, item.controlled_schedule is not None)


def _drafts(
    state: SiteState, plan: SitePlan, outlook: Outlook, rows: list[int], published: Proposal | None
) -> list[_Draft]:
    shown = {} if published is None else {line.item: line.quantity for line in published.lines}
    alerts = [_standing(state, plan.items[row]) for row in rows]
    said = [_said_quantity(alert) for alert in alerts]
    for later in (False, True):
        plan.work_out(
            outlook,
            [row for row, a, q in zip(rows, alerts, said, strict=True) if q is None and (a is None) == later],
            later=later,
        )
    drafts: list[_Draft] = []
    for row, alert, shown_by_alert in zip(rows, alerts, said, strict=True):
        quantity = shown_by_alert
        if quantity is None:
            wanted = plan.shortage(outlook, row, later=alert is None).wanted
            quantity = sticky(wanted, plan.entries[row], shown.get(plan.items[row]))
        drafts.append(_Draft(row, quantity, None if alert is None else alert.alert_id))
    return drafts


def _standing(state: SiteState, item: str) -> Alert | None:
    alert = state.alerts.get(alert_key(item, AlertKind.REORDER))
    return alert if alert is not None and alert.cause_persists else None


def _said_quantity(alert: Alert | None) -> int | None:
    return alert.order_quantity if alert is not None and alert.state in _SAID else None


def _line(state: SiteState, plan: SitePlan, outlook: Outlook, draft: _Draft) -> ProposalLine:
    item = plan.entries[draft.row]
    shortage = plan.shortage(outlook, draft.row, later=draft.alert_id is None)
    return ProposalLine(
        item=item.id,
        quantity=draft.quantity,
        packs=-(-draft.quantity // item.pack.containers),
        needed=shortage.needed,
        need_quantile=shortage.need_quantile,
        supply=shortage.supply,
        on_order=on_order(state, item.id),
        price=item.price,
        alert_id=draft.alert_id,
    )


def on_order(state: SiteState, item: str) -> int:
    """Containers of an item that open orders still have to bring."""
    return sum(
        order.lines[item].outstanding
        for order in state.orders.values()
        if order.status == "open" and item in order.lines
    )


def _frame(plan: SitePlan, catalogue: Catalogue, key: str, drafts: list[_Draft]) -> _Frame:
    supplier = catalogue.suppliers.get(key.partition("/")[0])
    value = _value(plan, drafts)
    minimum = None if supplier is None else supplier.minimum_order_value
    return _Frame(
        order_by=min((plan.dates[draft.row].chance for draft in drafts), default=None),
        arrives=max((plan.dates[draft.row].arrives for draft in drafts), default=None),
        covers_until=min((plan.covered_until(draft.row) for draft in drafts), default=None),
        value=value,
        below_minimum_value=bool(drafts) and value is not None and minimum is not None and value < minimum,
    )


def _value(plan: SitePlan, drafts: list[_Draft]) -> Decimal | None:
    """Money of an order; None when a price is missing or they are in several currencies."""
    total = Decimal(0)
    currencies = set()
    for draft in drafts:
        item = plan.entries[draft.row]
        if item.price is None:
            return None
        total += item.price * draft.quantity
        currencies.add(item.currency)
    return total if len(currencies) == 1 else None


def _proposal(
    plan: SitePlan,
    catalogue: Catalogue,
    key: str,
    *,
    lines: tuple[ProposalLine, ...],
    frame: _Frame,
    now: datetime,
    last: Proposal | None,
) -> Proposal:
    supplier, _, controlled = key.partition("/")
    today = catalogue.site_day(plan.site, now)
    return Proposal(
        proposal_id=f"{plan.site}/{key}",
        revision=1 if last is None else last.revision + 1,
        site=plan.site,
        supplier=supplier,
        controlled=bool(controlled),
        as_of=now,
        order_by=frame.order_by,
        arrives=frame.arrives or today,
        covers_until=frame.covers_until or today,
        lines=lines,
        value=frame.value,
        below_minimum_value=frame.below_minimum_value,
        catalogue_version=catalogue.version,
    )


def _decision(plan: SitePlan, drafts: list[_Draft], frame: _Frame) -> tuple[object, ...]:
    """What makes another revision. Not the figures behind a quantity, nor (without lines) the dates."""
    if not drafts:
        return ()
    lines = [(plan.items[row], quantity, plan.entries[row].price, alert_id) for row, quantity, alert_id in drafts]
    return (lines, frame.order_by, frame.arrives, frame.covers_until, frame.below_minimum_value)


def _published_decision(proposal: Proposal) -> tuple[object, ...]:
    if not proposal.lines:
        return ()
    lines = [(line.item, line.quantity, line.price, line.alert_id) for line in proposal.lines]
    return (lines, proposal.order_by, proposal.arrives, proposal.covers_until, proposal.below_minimum_value)
