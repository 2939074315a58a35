"""Forecasts for a terminal: a table of several, or one day by day with the fan of its quantiles."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from planner.messages import Forecast
from streams.cli.tables import cell, instant, number, percent, plain, risk_style, sparkline, table

FAN = (("0.5", "█"), ("0.8", "▓"), ("0.95", "▒"), ("0.99", "░"))
"""What the fan's shades reach to."""
FAN_WIDTH = 28
WEEK = 7
OVERVIEW_DAYS = 28


def view(forecasts: Iterable[Forecast], days: int) -> RenderableType:
    """One forecast by day, several as a table, the most urgent first."""
    ordered = sorted(forecasts, key=_urgency)
    if len(ordered) == 1:
        return by_day(ordered[0], days)
    return overview(ordered)


def _urgency(forecast: Forecast) -> tuple[int, int, str, str, str]:
    """The last safe day to order, then coverage."""
    last, covered = forecast.last_safe_order_date, forecast.coverage_days
    return (
        10**7 if last is None else last.toordinal(),
        10**7 if covered is None else covered,
        forecast.site,
        forecast.kind,
        forecast.id,
    )


def overview(forecasts: list[Forecast]) -> Table:
    """A line each."""
    made = table(
        "site", "what", "unit", "on hand", "need 7 d", "(90 %)", "need", "usable", "risk 7 d", "covered", "order by",
        right=["on hand", "need 7 d", "(90 %)", "risk 7 d", "covered"],
    )  # fmt: skip
    for forecast in forecasts:
        risk = _at(forecast.risk, WEEK - 1)
        made.add_row(
            cell(forecast.site),
            cell(forecast.id if forecast.kind == "item" else f"{forecast.kind} {forecast.id}"),
            cell(forecast.unit),
            cell(number(forecast.on_hand)),
            cell(number(sum(forecast.mean[:WEEK]))),
            cell(number(week_bound(forecast))),
            cell(sparkline(forecast.mean[:OVERVIEW_DAYS]), "cyan"),
            _usable(forecast),
            cell(percent(risk), risk_style(risk)),
            cell(_covered(forecast)),
            cell(_order_by(forecast), "bold" if forecast.last_safe_order_date else ""),
        )
    return made


def week_bound(forecast: Forecast) -> float:
    """Need of a week that is hardly exceeded: mean + 1.28 standard deviations, days taken as independent."""
    variance = sum(forecast.variance[:WEEK])
    return float(sum(forecast.mean[:WEEK]) + 1.2816 * variance**0.5)


def by_day(forecast: Forecast, days: int) -> Group:
    """One forecast: a heading, and a line per day with the fan of its quantiles."""
    facts = [f"on hand {number(forecast.on_hand)}"] if forecast.on_hand is not None else []
    if forecast.kind == "item":
        facts += [f"covered {_covered(forecast)}", f"order by {_order_by(forecast) or 'beyond the horizon'}"]
    if forecast.stock_out_day is not None:
        facts.append(f"expected to run out on {forecast.stock_out_day}")
    heading = Text(f"{plain(forecast.site)}  {forecast.kind} {plain(forecast.id)}, {forecast.unit}", style="bold")
    details = Text(
        ", ".join([*facts, f"as of {instant(forecast.as_of)}, catalogue {plain(forecast.catalogue_version)}"])
    )
    made = table(
        "day", "firm", "to come", "mean", "50 %", "80 %", "90 %", "95 %", "99 %", "fan", "usable", "risk",
        right=["firm", "to come", "mean", "50 %", "80 %", "90 %", "95 %", "99 %", "usable", "risk"],
    )  # fmt: skip
    days = min(days, len(forecast.mean))
    top = max(forecast.quantiles["0.99"][:days], default=0.0)
    for day in range(days):
        risk = _at(forecast.risk, day)
        usable = _at(forecast.usable, day)
        made.add_row(
            cell(f"{forecast.first_day + timedelta(days=day):%a %Y-%m-%d}"),
            cell(number(forecast.firm_mean[day])),
            cell(number(forecast.to_come_mean[day])),
            cell(number(forecast.mean[day])),
            *(cell(number(forecast.quantiles[q][day])) for q in ("0.5", "0.8", "0.9", "0.95", "0.99")),
            cell(fan({q: forecast.quantiles[q][day] for q, _ in FAN}, top), "cyan"),
            cell(number(usable), "red" if usable is not None and usable < 0 else ""),
            cell(percent(risk), risk_style(risk)),
        )
    return Group(heading, details, made)


def fan(quantiles: dict[str, float], top: float) -> str:
    """A bar from 0: solid to the median, lighter towards what is hardly exceeded. ``top`` is its full width."""
    if top <= 0:
        return ""
    bar = ""
    for quantile, shade in FAN:
        length = round(quantiles[quantile] / top * FAN_WIDTH)
        bar += shade * (length - len(bar))
    return bar


def line_of(forecast: Forecast) -> str:
    """A forecast on one line, for output that is no terminal."""
    parts = [instant(forecast.as_of), plain(forecast.site), forecast.kind, plain(forecast.id)]
    parts.append(f"need 7 d {number(sum(forecast.mean[:WEEK]))} {forecast.unit}")
    if forecast.on_hand is not None:
        parts.append(f"on hand {number(forecast.on_hand)}")
    if forecast.risk is not None:
        parts.append(f"risk 7 d {percent(_at(forecast.risk, WEEK - 1))}")
        parts.append(f"order by {_order_by(forecast) or '-'}")
    return "  ".join(parts)


def _usable(forecast: Forecast) -> Text:
    if forecast.usable is None:
        return Text("")
    shown = forecast.usable[:OVERVIEW_DAYS]
    bars = sparkline(shown)
    text = Text()
    for value, bar in zip(shown, bars, strict=True):
        text.append(bar if value >= 0 else "×", style="green" if value >= 0 else "red")
    return text


def _covered(forecast: Forecast) -> str:
    if forecast.kind != "item":
        return ""
    if forecast.coverage_days is None:
        return f">{len(forecast.mean)} d"
    return f"{forecast.coverage_days} d"


def _order_by(forecast: Forecast) -> str:
    return "" if forecast.last_safe_order_date is None else forecast.last_safe_order_date.isoformat()


def _at(values: list[float] | None, index: int) -> float | None:
    return None if not values else values[min(index, len(values) - 1)]
