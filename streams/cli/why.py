"""``planner why``: every figure behind an alert, or behind there being none."""

from __future__ import annotations

import click

from planner.explain.model import Explanation
from planner.learning.scores import SESSIONS, group_series
from planner.messages import AlertKind
from planner.plan_step import PlanStep
from planner.refusal import Refused
from planner.why import explain
from streams.cli.actions import find_alert
from streams.cli.base import Exit, Failure, Session, print_json_line, session_of, wait_for
from streams.cli.tables import plain
from streams.cli.why_view import show_explanation
from streams.inspect import NothingKnown, plan_step_of


@click.command(
    epilog="""\b
Examples:
  planner why harbor/magnesium-sulfate-500mg-ml-2ml-vial/reorder/1
  planner why harbor saline-flush-10ml           also when there is no alert
  planner why harbor saline-flush-10ml --json | jq .decision
""",
)
@click.argument("what", nargs=-1, required=True, metavar="ALERT | SITE ITEM")
@click.option("--bookings", "bookings_shown", type=click.IntRange(min=0), default=20, show_default=True,
              help="Most bookings that are listed.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.pass_context
def why(ctx: click.Context, *, what: tuple[str, ...], bookings_shown: int, as_json: bool) -> None:
    """Why there is an ALERT (its id, or enough of its beginning), or what stands with ITEM at SITE.

    The chain: what was decided, the policy's figures, the dates of orders, stock by lot, orders, and the bookings with
    what each contributes. The parts add up to the figures above them.
    """
    if len(what) > 2:
        raise click.UsageError("Give an ALERT, or a SITE and an ITEM.")
    try:
        explanation = wait_for(_explain(session_of(ctx), *what))
    except NothingKnown as error:
        raise Failure(plain(error), "planner catalogue show lists sites and items.", Exit.NOT_FOUND) from error
    except Refused as error:
        hint = "planner alerts --all lists alerts, planner catalogue show items."
        raise Failure(plain(error.detail), hint, Exit.NOT_FOUND) from error
    if as_json:
        print_json_line(explanation.model_dump_json().encode())
    else:
        show_explanation(explanation, bookings_shown)


async def _explain(session: Session, first: str, item: str | None = None) -> Explanation:
    async with session.client() as client:
        alert = None if item is not None else await find_alert(client, first)
        if alert is not None and alert.kind is AlertKind.FORECAST_DRIFT:
            series = alert.item if alert.item == SESSIONS else group_series(alert.item)
            hint = f"planner accuracy {plain(alert.site)} --series {plain(series)} shows how good they have been."
            raise Failure(f"it is about forecasts, not about an item: {plain(alert.summary)}", hint, Exit.NOT_FOUND)
        site = first if alert is None else alert.site
        step = await plan_step_of(client, session.settings, site)
    wanted = item if alert is None else alert.item
    return explain_item(step, site, wanted or "", None if alert is None else alert.alert_id)


def explain_item(step: PlanStep, site: str, item: str, alert_id: str | None) -> Explanation:
    """The explanation from a restored step.

    Raises:
        NothingKnown: nothing has happened at the site yet.
        Refused: unknown item or alert.
    """
    if step.now is None or site not in step.sites:
        raise NothingKnown(f"nothing is known of site {site!r} yet")
    return explain(step.sites[site], step.catalogue, step.outlook(site), item, step.now, alert_id=alert_id)
