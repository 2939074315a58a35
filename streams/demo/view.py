"""The demo's live view and its summary."""

from __future__ import annotations

from collections import Counter

from rich.console import Group, RenderableType
from rich.layout import Layout
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from planner.messages import AlertState
from planner.topics import composed_key
from streams.cli.tables import SEVERITY_STYLES, cell, number, percent, plain, risk_style, sparkline
from streams.demo.board import Board, Change

MARKS = {"raised": "▲", "resolved": "✔", "acknowledged": "·", "ordered": "·"}
WEEK = 7
DAYS_SHOWN = 21


def live(board: Board) -> RenderableType:
    """The whole screen."""
    layout = Layout()
    layout.split_column(Layout(_header(board), size=3), Layout(name="body"), Layout(_footer(board), size=3))
    layout["body"].split_row(Layout(name="left", ratio=3), Layout(_alerts(board), ratio=2))
    layout["left"].split_column(Layout(_bookings(board), ratio=2), Layout(_forecasts(board), ratio=3))
    return layout


def _header(board: Board) -> Panel:
    text = Text()
    text.append(f"{board.today:%a %d %b %Y}" if board.today else "starting", style="bold")
    done = 0 if board.today is None else max(0, (board.today - board.first_day).days + 1)
    text.append(f"   day {done} of {board.days}   seed {board.seed}   ")
    text.append(f"{board.sent:,} events sent, ")
    text.append(", ".join(f"{count:,} {status}" for status, count in sorted(board.outcomes.items())) or "none answered")
    bar = ProgressBar(total=board.days, completed=done)
    return Panel(Group(text) if done == 0 else Group(_row(text, bar)), title="three infusion clinics, one season")


def _row(left: RenderableType, right: RenderableType) -> Table:
    row = Table.grid(expand=True)
    row.add_column(ratio=4)
    row.add_column(ratio=1)
    row.add_row(left, right)
    return row


def _bookings(board: Board) -> Panel:
    lines = [Text(plain(line), no_wrap=True, overflow="ellipsis") for line in reversed(board.bookings)]
    return Panel(Group(*lines), title="bookings → what their sessions take")


def _forecasts(board: Board) -> Panel:
    made = Table.grid(padding=(0, 1))
    for justify in ("left", "left", "right", "right", "left", "right", "left"):
        made.add_column(justify=justify, no_wrap=True)
    made.add_row(*(Text(name, style="bold") for name in ("site", "item", "hand", "7 d", "usable", "risk", "order by")))
    for site, item in board.tracked:
        forecast = board.forecasts.get(composed_key(site, "item", item))
        if forecast is None:
            continue
        usable = Text()
        shown = (forecast.usable or [])[:DAYS_SHOWN]
        for value, bar in zip(shown, sparkline(shown), strict=True):
            usable.append(bar if value >= 0 else "×", style="green" if value >= 0 else "red")
        risk = None if forecast.risk is None else forecast.risk[WEEK - 1]
        last = forecast.last_safe_order_date
        need = number(sum(forecast.mean[:WEEK]), 0)
        made.add_row(
            cell(site),
            cell(item),
            cell(number(forecast.on_hand, 0)),
            cell(need),
            usable,
            cell(percent(risk), risk_style(risk)),
            cell(f"{last:%d %b}" if last is not None else ""),
        )
    return Panel(made, title="forecasts: stock usable over the next 21 days (× expected to be short)")


def _alerts(board: Board) -> Panel:
    standing = Counter(alert.severity for alert in board.standing())
    counts = Text(", ".join(f"{standing[s]} {s}" for s in ("critical", "warning", "info") if standing[s]) or "none")
    lines = [counts, Text("")]
    for change in reversed(board.feed):
        lines += change_lines(change)
    return Panel(Group(*lines), title="alerts: standing, and the latest changes")


def change_lines(change: Change) -> list[Text]:
    """What changed, and the event that did it."""
    alert = change.alert
    resolved = alert.state is AlertState.RESOLVED
    head = Text(no_wrap=True, overflow="ellipsis")
    head.append(f"{MARKS.get(change.verb, '●')} ", style="green" if resolved else SEVERITY_STYLES[alert.severity])
    head.append(f"{change.verb} ", style="green" if resolved else SEVERITY_STYLES[alert.severity])
    what = f"{alert.site} {alert.item}: {alert.kind.value}"
    if alert.order_quantity and not resolved:
        what += f", {alert.order_quantity} by {alert.order_by}"
    head.append(plain(what))
    cause = alert.resolved_by_event_id if resolved else alert.cause_event_id
    if cause is None:
        return [head]
    return [head, Text(f"    by {plain(cause)}", style="dim", no_wrap=True, overflow="ellipsis")]


def _footer(board: Board) -> Panel:
    text = Text(plain(board.caption) or "patients come every 28 days, walk in, move, cancel, stay away", style="italic")
    return Panel(text)


def week_line(board: Board, completed: int) -> str:
    """Progress on one line, for output that is no terminal."""
    standing = Counter(alert.severity for alert in board.standing())
    alerts = ", ".join(f"{standing[s]} {s}" for s in ("critical", "warning", "info") if standing[s]) or "none"
    return (
        f"{board.today}  {board.sent:,} events, {board.outcomes['applied']:,} applied; {completed:,} sessions;"
        f" {board.raised.total():,} alerts raised, {board.resolved.total():,} resolved, standing: {alerts}"
    )
