"""``planner ack``, ``snooze``, ``ordered``, ``close``: what people do with an alert."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

import click
import orjson

from planner.events import ALERT_ACTIONS
from planner.messages import Alert
from planner.step import Message
from streams.cli.alerts import read_alerts
from streams.cli.base import Exit, Failure, Session, session_of, stdout, wait_for
from streams.cli.outcomes import show_tally, tally_json
from streams.cli.sending import Outgoing, Sender, Tally
from streams.cli.tables import plain, show
from streams.inspect import log_now
from streams.log import LogClient

C = TypeVar("C", bound=Callable[..., Any])
CHOICES_SHOWN = 8


def _common(command: C) -> C:
    """Options of every action."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="One JSON object: what became of it."),
        click.option(
            "--timeout",
            "timeout_s",
            type=click.FloatRange(min=0.1),
            default=30.0,
            show_default=True,
            help="Seconds to wait for the outcome.",
        ),
        click.option("--note", metavar="TEXT", help="A remark for whoever looks next; no patient in it."),
        click.option("--by", metavar="NAME", help="Who does it."),
        click.argument("alert"),
    ):
        command = option(command)
    return command


@click.command(epilog="\b\nExample:\n  planner ack harbor/magnesium-sulfate-500mg-ml-2ml-vial/reorder --by pharmacy")
@_common
@click.pass_context
def ack(ctx: click.Context, /, **options: Any) -> None:
    """Say that somebody has seen ALERT (its id, or enough of its beginning)."""
    _act(ctx, "alert.acknowledged", {}, **options)


@click.command(epilog="\b\nExamples:\n  planner snooze ALERT --until 2026-12-01\n  planner snooze ALERT --until-worse")
@_common
@click.option("--until", type=click.DateTime(["%Y-%m-%d"]), help="Quiet until this day of the site.")
@click.option("--until-worse", is_flag=True, help="Quiet until it gets worse (which always wakes it).")
@click.pass_context
def snooze(ctx: click.Context, /, *, until: datetime | None, until_worse: bool, **options: Any) -> None:
    """Keep ALERT quiet for a while."""
    if until is None and not until_worse:
        raise click.UsageError("Say for how long: --until DATE or --until-worse.")
    day = {} if until is None else {"until": until.date().isoformat()}
    _act(ctx, "alert.snoozed", {**day, "until_worse": until_worse}, **options)


@click.command(epilog="\b\nExample:\n  planner ordered ALERT --order po-1042")
@_common
@click.option("--order", "order_id", metavar="ORDER", help="Id of the purchase order, if known.")
@click.pass_context
def ordered(ctx: click.Context, /, *, order_id: str | None, **options: Any) -> None:
    """Say that what ALERT asks for has been ordered."""
    _act(ctx, "alert.ordered", {} if order_id is None else {"order_id": order_id}, **options)


@click.command(epilog="\b\nExample:\n  planner close ALERT --note 'clinic closed that week'")
@_common
@click.pass_context
def close(ctx: click.Context, /, **options: Any) -> None:
    """Say that ALERT needs nothing more in this episode."""
    _act(ctx, "alert.closed", {}, **options)


def _act(
    ctx: click.Context,
    kind: str,
    body: dict[str, Any],
    *,
    alert: str,
    by: str | None,
    note: str | None,
    timeout_s: float,
    as_json: bool,
) -> None:
    extra = {name: value for name, value in (("by", by), ("note", note)) if value is not None}
    found, tally = wait_for(_send(session_of(ctx), alert, {"type": kind, **body, **extra}, timeout_s))
    if as_json:
        click.echo(orjson.dumps({"alert_id": found.alert_id, "outcome": orjson.Fragment(tally_json(tally))}))
    elif tally.statuses["applied"]:
        show(stdout(), f"{plain(found.alert_id)}: {kind.removeprefix('alert.')}")
    else:
        show_tally(tally, timeout_s)
    ctx.exit(tally.exit_code())


async def _send(session: Session, text: str, body: dict[str, Any], timeout_s: float) -> tuple[Alert, Tally]:
    async with session.client() as client:
        alert = await find_alert(client, text)
        event = {
            **body,
            "event_id": f"planner-cli:{uuid.uuid4()}",
            "occurred_at": (await log_now(client, alert.site)).isoformat(),
            "source": "planner-cli",
            "site": alert.site,
            "alert_id": alert.alert_id,
        }
        value = orjson.dumps(event)
        ALERT_ACTIONS.validate_json(value)
        sender = Sender(client, wait=True, timeout_s=timeout_s)
        tally = await sender.send([Outgoing("action", Message("alert-actions", alert.site.encode(), value))])
        return alert, tally


async def find_alert(client: LogClient, text: str) -> Alert:
    """The alert with this id, or the one whose id begins so; of several episodes the latest.

    Raises:
        Failure: there is none, or there are several.
    """
    found = [alert for _, alert in await read_alerts(client)]
    for alert in found:
        if alert.alert_id == text:
            return alert
    beginning = [alert for alert in found if alert.alert_id.startswith(text)]
    latest: dict[str, Alert] = {}
    for alert in sorted(beginning, key=lambda alert: alert.opened_at):
        latest[alert.alert_id.rpartition("/")[0]] = alert
    if not latest:
        raise Failure(f"no alert {plain(text)!r} on the log", "planner alerts --all lists them.", Exit.NOT_FOUND)
    if len(latest) > 1:
        ids = sorted(alert.alert_id for alert in latest.values())
        more = f", … ({len(ids)} in all)" if len(ids) > CHOICES_SHOWN else ""
        raise Failure(
            f"{plain(text)!r} begins several alerts: {', '.join(ids[:CHOICES_SHOWN])}{more}", "Say more of it."
        )
    return next(iter(latest.values()))
