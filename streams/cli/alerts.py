"""``planner alerts``: what the pharmacy is told."""

from __future__ import annotations

import contextlib

import click
from rich.text import Text

from planner.messages import Alert, AlertState
from planner.step import Record
from streams.cli.base import Session, print_json_line, session_of, stdout, wait_for
from streams.cli.tables import SEVERITY_STYLES, cell, instant, plain, show, table
from streams.log import LogClient

SEVERITIES = ("critical", "warning", "info")
STATE_STYLES = {AlertState.RESOLVED: "green", AlertState.OPEN: "bold"}


@click.command(
    epilog="""\b
Examples:
  planner alerts                          those that are not over, the gravest first
  planner alerts --site harbor --all      also those resolved
  planner alerts --follow                 each change as it comes, until interrupted
  planner alerts --follow --json | while read alert; do …; done
""",
)
@click.option("--site", metavar="SITE", help="Only this site.")
@click.option("--item", metavar="ITEM", help="Only this item.")
@click.option("--all", "everything", is_flag=True, help="Also resolved ones.")
@click.option("--follow", is_flag=True, help="Then each change as it comes, until interrupted.")
@click.option("--json", "as_json", is_flag=True, help="JSON Lines: the messages as on the topic alerts.")
@click.pass_context
def alerts(
    ctx: click.Context, *, site: str | None, item: str | None, everything: bool, follow: bool, as_json: bool
) -> None:
    """Alerts: reorder, stock-out, lots that will expire unused, overdue orders, counts far from expectation, forecasts
    that have begun to go wrong.

    One alert per episode, under one id, with a rising revision; it resolves by itself when its cause goes. Ask
    planner why ALERT for the figures behind it; planner ack, snooze, ordered or close answers it. An id may be
    shortened to what is enough to tell it from the others.
    """

    def wanted(alert: Alert) -> bool:
        return (site is None or alert.site == site) and (item is None or alert.item == item)

    async def run(session: Session) -> None:
        async with session.client() as client:
            ends = await client.end_offsets("alerts")
            standing = [(record, alert) for record, alert in await read_alerts(client) if wanted(alert)]
            if not everything:
                standing = [(record, alert) for record, alert in standing if alert.state is not AlertState.RESOLVED]
            if as_json:
                for record, _ in standing:
                    print_json_line(record.value or b"")
            else:
                show_alerts([alert for _, alert in standing], everything=everything)
            if not follow:
                return
            async for record in client.read("alerts", ends, follow=True):
                if record.value is None:
                    continue
                alert = Alert.model_validate_json(record.value)
                if wanted(alert) and as_json:
                    print_json_line(record.value)
                elif wanted(alert):
                    show(stdout(), alert_line(alert))

    with contextlib.suppress(KeyboardInterrupt):
        wait_for(run(session_of(ctx)))


async def read_alerts(client: LogClient) -> list[tuple[Record, Alert]]:
    """Every alert's last revision, the gravest and most urgent first."""
    records = (await client.latest("alerts")).values()
    found = [(record, Alert.model_validate_json(record.value)) for record in records if record.value is not None]
    return sorted(found, key=lambda pair: urgency(pair[1]))


def urgency(alert: Alert) -> tuple[bool, int, int, str]:
    """Resolved ones last; the gravest first; then by the day to order."""
    return (
        alert.state is AlertState.RESOLVED,
        SEVERITIES.index(alert.severity),
        10**7 if alert.order_by is None else alert.order_by.toordinal(),
        alert.alert_id,
    )


def show_alerts(found: list[Alert], *, everything: bool) -> None:
    """A table of alerts, or a line that there is none."""
    console = stdout()
    if not found:
        show(console, "no alerts" if everything else "no alerts that are not over (--all shows resolved ones)")
        return
    made = table("severity", "state", "alert", "order by", "quantity", "what", right=["quantity"])
    for alert in found:
        made.add_row(
            cell(alert.severity, SEVERITY_STYLES[alert.severity]),
            cell(alert.state.value, STATE_STYLES.get(alert.state, "")),
            cell(alert.alert_id),
            cell(alert.order_by),
            cell(alert.order_quantity),
            cell(alert.summary),
        )
    show(console, made)


def alert_line(alert: Alert) -> Text:
    """A revision on one line: when, what it became, what it says, and because of which event."""
    line = Text(f"{instant(alert.updated_at)}  ")
    line.append(f"{alert.state.value:<12} ", style=STATE_STYLES.get(alert.state, ""))
    line.append(f"{alert.severity:<8} ", style=SEVERITY_STYLES[alert.severity])
    line.append(f"{plain(alert.alert_id)} r{alert.revision}: {plain(alert.summary)}")
    cause = alert.resolved_by_event_id if alert.state is AlertState.RESOLVED else alert.cause_event_id
    if cause is not None:
        line.append(f"  (by {plain(cause)})", style="dim")
    return line
