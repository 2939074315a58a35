"""The end of the demo: the season's figures, each with the command that asks why."""

from __future__ import annotations

from collections.abc import Iterator

from rich.text import Text

from planner.messages import Alert, AlertKind, AlertState
from streams.cli.tables import plain
from streams.demo.driver import Demo
from streams.demo.world import ALLOCATED_COMPONENT, RECALLED_COMPONENT

ALERTS_ASKED_MAX = 6
KINDS = (
    AlertKind.STOCK_OUT,
    AlertKind.REORDER,
    AlertKind.ORDER_OVERDUE,
    AlertKind.EXPIRY,
    AlertKind.COUNT_DISCREPANCY,
    AlertKind.FORECAST_DRIFT,
)


def summary(played: Demo, program: str, prefix: str) -> list[Text]:
    """What happened, and how to ask about it; ``program`` is how the command line is called with this log."""
    if prefix != "planner.":
        program = f"{program} --prefix {prefix}"
    heading = Text(f"A season of {played.season.days // 7} weeks, seed {played.season.seed}", style="bold")
    story = [Text(f"{day:%d %b}: {plain(text)}") for day, text in played.world.story.captions]
    lines = [Text(""), heading, *story, Text("Each figure, and the command that asks about it:")]
    for name, value, command in _rows(played, program):
        lines.append(Text.assemble((f"  {plain(name)}: ", ""), (plain(value), "bold")))
        lines.append(Text(f"      {plain(command)}", style="cyan"))
    return [*lines, Text(f"The log is kept in {plain(played.database)}")]


def _rows(played: Demo, program: str) -> Iterator[tuple[str, str, str]]:
    board, story = played.board, played.world.story
    answered = ", ".join(f"{count:,} {status}" for status, count in sorted(board.outcomes.items()))
    reasons = ", ".join(f"{count} {reason}" for reason, count in board.refusals.most_common())
    became = f"{board.sent:,}: {answered}" + (f" ({reasons})" if reasons else "")
    yield "events sent, and what became of them", became, f"{program} topics"
    stated = board.requirements["stated"]
    booking = board.last_booking or ""
    yield "requirements stated", f"{stated:,}", f"{program} requirements {booking}"
    yield "sessions completed", f"{story.completed:,}", f"{program} stock {played.season.sites[0]}"
    orders = f"{story.orders:,}, {story.controlled_orders} of them controlled (by a person)"
    yield "orders placed from proposals", orders, f"{program} proposals"
    yield (
        "deliveries",
        f"{story.deliveries:,}; orders late {story.late}, short {story.short}",
        f"{program} alerts --all",
    )
    raised = ", ".join(f"{board.raised[kind.value]} {kind.value}" for kind in KINDS if board.raised[kind.value])
    yield "alerts raised", raised or "none", f"{program} alerts --all"
    resolved = ", ".join(f"{board.resolved[kind.value]} {kind.value}" for kind in KINDS if board.resolved[kind.value])
    yield "alerts resolved", resolved or "none", f"{program} alerts --all --json"
    yield "sessions named as at risk", f"{len(board.at_risk):,}", f"{program} alerts --all"
    messages = f"{board.forecast_messages:,} for {len(played.season.sites)} sites"
    yield "forecasts published", messages, f"{program} forecasts --site {played.season.sites[0]}"
    for alert in asked(played):
        state = "resolved" if alert.state is AlertState.RESOLVED else alert.state.value
        yield f"{alert.site} {alert.item}", f"{alert.kind.value}, {state}", f"{program} why {alert.alert_id}"
    quiet = _quiet(played)
    if quiet is not None:
        site, item = quiet
        yield f"{site} {item}", "no alert", f"{program} why {site} {item}"


def asked(played: Demo) -> list[Alert]:
    """Alerts worth a question, the last episode of each: the shortage, the recall, one of each other kind."""
    latest: dict[str, Alert] = {}
    for alert in sorted(played.board.alerts.values(), key=lambda alert: (alert.opened_at, alert.alert_id)):
        latest[alert.alert_id.rpartition("/")[0]] = alert
    items = played.world.catalogue.items
    chosen: dict[str, Alert] = {}
    for component in (ALLOCATED_COMPONENT, RECALLED_COMPONENT):
        for alert in reversed(latest.values()):
            if alert.kind in {AlertKind.REORDER, AlertKind.STOCK_OUT} and items[alert.item].component == component:
                chosen.setdefault(component, alert)
    for kind in KINDS:
        for alert in reversed(latest.values()):
            if alert.kind is kind and alert not in chosen.values():
                chosen.setdefault(kind.value, alert)
    return list(chosen.values())[:ALERTS_ASKED_MAX]


def _quiet(played: Demo) -> tuple[str, str] | None:
    """A tracked item that no alert stands about."""
    standing = {(alert.site, alert.item) for alert in played.board.standing()}
    return next((pair for pair in played.board.tracked if pair not in standing), None)
