"""``planner proposals``: what to order."""

from __future__ import annotations

import click
from rich.text import Text

from planner.messages import Proposal
from planner.step import Record
from streams.cli.base import Session, print_json_line, session_of, stdout, wait_for
from streams.cli.tables import cell, number, plain, show, table


@click.command(epilog="\b\nExamples:\n  planner proposals --site harbor\n  planner proposals --json | jq .lines")
@click.option("--site", metavar="SITE", help="Only this site.")
@click.option("--supplier", metavar="SUPPLIER", help="Only this supplier.")
@click.option("--json", "as_json", is_flag=True, help="JSON Lines: the messages as on the topic proposals.")
@click.pass_context
def proposals(ctx: click.Context, *, site: str | None, supplier: str | None, as_json: bool) -> None:
    """What to order for each site from each supplier, and by when. Controlled items apart: a person orders those."""
    shown = []
    for record in wait_for(_read(session_of(ctx))):
        proposal = Proposal.model_validate_json(record.value or b"")
        if proposal.lines and site in {None, proposal.site} and supplier in {None, proposal.supplier}:
            shown.append((proposal, record))
    shown.sort(key=lambda pair: (pair[0].order_by is None, pair[0].order_by or pair[0].arrives, pair[0].proposal_id))
    if as_json:
        for _, record in shown:
            print_json_line(record.value or b"")
    elif not shown:
        show(stdout(), "nothing to order")
    else:
        for proposal, _ in shown:
            show_proposal(proposal)


async def _read(session: Session) -> list[Record]:
    async with session.client() as client:
        return list((await client.latest("proposals")).values())


def show_proposal(proposal: Proposal) -> None:
    """A heading, and a line per item."""
    console = stdout()
    heading = Text(f"{plain(proposal.site)} from {plain(proposal.supplier)}", style="bold")
    if proposal.controlled:
        heading.append("  controlled: to be ordered by a person", style="bold yellow")
    facts = [
        f"order by {proposal.order_by}" if proposal.order_by else "",
        f"arrives {proposal.arrives}",
        f"covers until {proposal.covers_until}",
        f"value {proposal.value:,.2f}" if proposal.value is not None else "",
        "below the supplier's minimum value" if proposal.below_minimum_value else "",
    ]
    made = table("item", "quantity", "packs", "needed", "supply", "on order", "alert",
                 right=["quantity", "packs", "needed", "supply", "on order"])  # fmt: skip
    for line in proposal.lines:
        made.add_row(
            cell(line.item), cell(line.quantity, "bold"), cell(line.packs), cell(number(line.needed)),
            cell(number(line.supply)), cell(line.on_order), cell(line.alert_id),
        )  # fmt: skip
    show(console, heading, ", ".join(fact for fact in facts if fact), made)
