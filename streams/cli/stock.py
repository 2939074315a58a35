"""``planner stock``: what a site has, by lot, and what it waits for."""

from __future__ import annotations

from datetime import date
from typing import Any

import click
import orjson

from planner.plan_step import PlanStep
from planner.site.state import SiteState
from streams.cli.base import Exit, Failure, Session, print_json_line, session_of, stdout, wait_for
from streams.cli.tables import cell, number, plain, show, table
from streams.inspect import NothingKnown, plan_step_of


@click.command(epilog="\b\nExamples:\n  planner stock harbor\n  planner stock harbor --item saline-flush-10ml --json")
@click.argument("site")
@click.option("--item", metavar="ITEM", help="Only this item.")
@click.option("--json", "as_json", is_flag=True, help="JSON Lines: one item each.")
@click.pass_context
def stock(ctx: click.Context, *, site: str, item: str | None, as_json: bool) -> None:
    """What SITE has: lots, first expired first; opened containers; what was taken beyond them; open orders."""
    try:
        step = wait_for(_step(session_of(ctx), site))
    except NothingKnown as error:
        raise Failure(plain(error), "planner catalogue show lists the sites.", Exit.NOT_FOUND) from error
    today = None if step.now is None else step.catalogue.site_day(site, step.now)
    rows = [row for row in rows_of(step.sites.get(site) or SiteState(site), today) if item in {None, row["item"]}]
    if as_json:
        for row in rows:
            print_json_line(orjson.dumps(row))
    elif not rows:
        show(stdout(), f"{plain(site)} has no stock" if item is None else f"{plain(site)} has no {plain(item)}")
    else:
        _show(rows)


async def _step(session: Session, site: str) -> PlanStep:
    async with session.client() as client:
        return await plan_step_of(client, session.settings, site)


def rows_of(state: SiteState, today: date | None) -> list[dict[str, Any]]:
    """What is known of each item, by its name."""
    on_order: dict[str, list[dict[str, Any]]] = {}
    for order in state.orders.values():
        if order.status == "open":
            for name, line in order.lines.items():
                if line.outstanding:
                    on_order.setdefault(name, []).append(
                        {"order_id": order.order_id, "outstanding": line.outstanding, "promised": order.promised}
                    )
    rows = []
    for name in sorted(state.stock.keys() | on_order.keys()):
        entry = state.stock.get(name)
        lots = [] if entry is None else sorted(entry.lots.values(), key=lambda lot: (lot.expiry, lot.lot))
        rows.append(
            {
                "item": name,
                "on_hand": sum(lot.quantity for lot in lots),
                "usable": sum(
                    lot.quantity for lot in lots if not lot.quarantined and (today is None or lot.expiry >= today)
                ),
                "deficit": 0 if entry is None else entry.deficit,
                "lots": [
                    {
                        "lot": lot.lot,
                        "expiry": lot.expiry,
                        "quantity": lot.quantity,
                        "quarantined": lot.quarantined,
                        "expired": today is not None and lot.expiry < today,
                    }
                    for lot in lots
                    if lot.quantity
                ],
                "open": []
                if entry is None
                else [
                    {"lot": opened.lot, "remaining_ml": str(opened.remaining_ml), "use_by": opened.use_by.isoformat()}
                    for opened in entry.open
                ],
                "orders": on_order.get(name, []),
            }
        )
    return rows


def _show(rows: list[dict[str, Any]]) -> None:
    made = table("item", "on hand", "usable", "lot", "expiry", "quantity", "", "on order",
                 right=["on hand", "usable", "quantity"])  # fmt: skip
    for row in rows:
        orders = "; ".join(
            f"{order['outstanding']} in {order['order_id']}"
            + (f" for {order['promised']}" if order["promised"] else "")
            for order in row["orders"]
        )
        details = [
            (lot["lot"], lot["expiry"], lot["quantity"], _remark(lot), "red" if _remark(lot) else "")
            for lot in row["lots"]
        ]
        details += [
            (
                opened["lot"],
                opened["use_by"][:16].replace("T", " "),
                "",
                f"open, {opened['remaining_ml']} mL left",
                "cyan",
            )
            for opened in row["open"]
        ]
        if row["deficit"]:
            details.append(("", "", -row["deficit"], "taken beyond the lots: count it", "bold red"))
        for index, (lot, expiry, quantity, remark, style) in enumerate(details or [("", "", "", "", "")]):
            first = index == 0
            made.add_row(
                cell(row["item"] if first else ""), cell(number(row["on_hand"]) if first else ""),
                cell(number(row["usable"]) if first else ""), cell(lot), cell(expiry), cell(quantity),
                cell(remark, style), cell(orders if first else ""),
            )  # fmt: skip
    show(stdout(), made)


def _remark(lot: dict[str, Any]) -> str:
    return "quarantined" if lot["quarantined"] else "expired" if lot["expired"] else ""
