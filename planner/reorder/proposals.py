"""Proposals: what to order, per site and supplier, in one order.

A line is proposed for each item with a reorder alert; and once a supplier is to be ordered from at all, also for the
items that would need an order at its next chance (joint replenishment with can-order items: Silver, Pyke & Thomas
2017, §11.6). Controlled items are proposed apart, flagged, for a person to order. Items that a person has ordered, or
whose alert a person closed, are left out. Lines may have different lead times: ``arrives`` is the day of the last of
them, ``covers_until`` the first day that one of them no longer covers, less one.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal

from planner.catalogue.index import Catalogue
from planner.catalogue.model import Item
from planner.forecast.outlook import Outlook
from planner.messages import AlertKind, AlertState, Proposal, ProposalLine
from planner.reorder.alerts import alert_key, standing_keys
from planner.reorder.policy import SitePlan, site_plan, sticky, worst_risk
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
    plan = site_plan(catalogue, state.site, outlook, now)
    wanted = _wanted_rows(state, plan, outlook)
    changed: list[Proposal] = []
    for key in sorted(wanted.keys() | {k for k, p in state.proposals.items() if p.lines}):
        published = state.proposals.get(key)
        lines = [_line(state, plan, outlook, row, published) for row in wanted.get(key, ())]
        revision = 1 if published is None else published.revision + 1
        proposal = _proposal(plan, catalogue, key=key, revision=revision, lines=lines, now=now)
        if published is None or _decision(proposal) != _decision(published):
            state.proposals[key] = proposal
            changed.append(proposal)
    return changed


def _wanted_rows(state: SiteState, plan: SitePlan, outlook: Outlook) -> dict[str, list[int]]:
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
    if wanted:
        soon = (worst_risk(outlook.risk, plan.later) > plan.allowed).nonzero()[0].tolist()
        for row in soon:
            rows = wanted.get(_key_of(plan.entries[row]))
            if rows is not None and row not in rows and row not in settled:
                rows.append(row)
    return {key: sorted(rows, key=lambda row: plan.items[row]) for key, rows in wanted.items()}


def _key_of(item: Item) -> str:
    return proposal_key(item.supplier, item.controlled_schedule is not None)


def _line(state: SiteState, plan: SitePlan, outlook: Outlook, row: int, published: Proposal | None) -> ProposalLine:
    item = plan.entries[row]
    alert = state.alerts.get(alert_key(item.id, AlertKind.REORDER))
    if alert is not None and not alert.cause_persists:
        alert = None
    shortage = plan.shortage(outlook, row, later=alert is None)
    if alert is not None and alert.state in _SAID and alert.order_quantity is not None:
        quantity = alert.order_quantity
    else:
        before = next((line.quantity for line in published.lines if line.item == item.id), None) if published else None
        quantity = sticky(shortage.needed, item, before)
    return ProposalLine(
        item=item.id,
        quantity=quantity,
        packs=-(-quantity // item.pack.containers),
        needed=shortage.needed,
        need_quantile=shortage.need_quantile,
        supply=shortage.supply,
        on_order=on_order(state, item.id),
        price=item.price,
        alert_id=None if alert is None else alert.alert_id,
    )


def on_order(state: SiteState, item: str) -> int:
    """Containers of an item that open orders still have to bring."""
    return sum(
        order.lines[item].outstanding
        for order in state.orders.values()
        if order.status == "open" and item in order.lines
    )


def _proposal(
    plan: SitePlan, catalogue: Catalogue, *, key: str, revision: int, lines: list[ProposalLine], now: datetime
) -> Proposal:
    supplier_id, _, controlled = key.partition("/")
    supplier = catalogue.suppliers.get(supplier_id)
    rows = [plan.index[line.item] for line in lines]
    today = catalogue.site_day(plan.site, now)
    value = _value(catalogue, lines)
    minimum = None if supplier is None else supplier.minimum_order_value
    return Proposal(
        proposal_id=f"{plan.site}/{key}",
        revision=revision,
        site=plan.site,
        supplier=supplier_id,
        controlled=bool(controlled),
        as_of=now,
        order_by=min((plan.dates[row].chance for row in rows), default=None),
        arrives=max((plan.dates[row].arrives for row in rows), default=today),
        covers_until=min((plan.covered_until(row) for row in rows), default=today),
        lines=tuple(lines),
        value=value,
        below_minimum_value=bool(lines) and value is not None and minimum is not None and value < minimum,
        catalogue_version=catalogue.version,
    )


def _value(catalogue: Catalogue, lines: Iterable[ProposalLine]) -> Decimal | None:
    """Money of an order; None when a price is missing or they are in several currencies."""
    total = Decimal(0)
    currencies = set()
    for line in lines:
        if line.price is None:
            return None
        total += line.price * line.quantity
        currencies.add(catalogue.items[line.item].currency)
    return total if len(currencies) == 1 else None


def _decision(proposal: Proposal) -> tuple[object, ...]:
    """What makes another revision. Not the figures behind a quantity, nor (without lines) the dates."""
    if not proposal.lines:
        return ()
    lines = tuple((line.item, line.quantity, line.price, line.alert_id) for line in proposal.lines)
    return (lines, proposal.order_by, proposal.arrives, proposal.covers_until, proposal.below_minimum_value)
