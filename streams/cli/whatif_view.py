"""Tables and JSON of ``planner whatif``."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict
from datetime import date
from typing import Any

from rich.console import RenderableType
from rich.table import Table

from planner.catalogue.model import Bundle
from planner.simulation.present import NOTHING, Present, differing
from planner.simulation.whatif import Changes, Difference, WalkedThrough
from streams.cli.tables import cell, number, percent, plain, table

_TOTALS: tuple[tuple[str, str, Callable[[Present], float]], ...] = (
    ("risk", "items expected to run out before an order comes", lambda p: p.risk),
    ("stock_outs", "items that run out whatever is ordered now", lambda p: p.stock_outs),
    ("proposed", "items to order", lambda p: p.proposed),
    ("quantity", "containers to order", lambda p: p.quantity),
    ("value", "value of the proposals", lambda p: float(p.value)),
    ("expiring", "lots expected to expire in part", lambda p: p.expiring),
)
_SHARES = {"fill", "session_service"}
_BEFORE, _AFTER, _MORE = "as it is", "what if", "difference"


def present_tables(site: str, before: Present, after: Present) -> list[RenderableType]:
    """The present both ways: totals, and the items that differ."""
    totals = table("now", _BEFORE, _AFTER, _MORE, right=(_BEFORE, _AFTER, _MORE))
    for _, said, of in _TOTALS:
        totals.add_row(said, number(of(before), 2), number(of(after), 2), _signed(of(after) - of(before), 2))
    parts: list[RenderableType] = [f"now: {plain(site)} at {before.as_of:%Y-%m-%d %H:%M} UTC", totals]
    names = differing(before, after)
    if not names:
        return [*parts, "no item would be planned otherwise now"]
    rows = table("item", "risk before the next delivery", "order by", "runs out", "propose", "value", "expiring lots")
    for name in names:
        first, second = before.items.get(name, NOTHING), after.items.get(name, NOTHING)
        rows.add_row(
            cell(name),
            _both(percent(first.risk), percent(second.risk)),
            _both(_day(first.order_by), _day(second.order_by)),
            _both(_day(first.stock_out), _day(second.stock_out)),
            _both(number(first.quantity), number(second.quantity)),
            _both(number(float(first.value or 0), 2), number(float(second.value or 0), 2)),
            _both(number(first.expiring), number(second.expiring)),
        )
    return [*parts, rows]


def walk_table(walked: WalkedThrough) -> Table:
    """Every figure of the walk, both ways."""
    between = f"{_MORE} (95 %)" if len(walked.seeds) > 1 else _MORE
    rows = table("over these days", _BEFORE, _AFTER, between, right=(_BEFORE, _AFTER, between))
    for found in walked.differences():
        share = found.figure.name in _SHARES
        said: Callable[[float], str] = (lambda x: f"{x:.2%}") if share else number
        rows.add_row(found.figure.said, said(found.before), said(found.after), _difference(found, share=share))
    return rows


def _difference(found: Difference, *, share: bool) -> str:
    def said(value: float) -> str:
        return _signed(value * 100, 2) if share else _signed(value)

    text = said(found.value) + (" points" if share else "")
    return text if math.isnan(found.low) else f"{text} ({said(found.low)} to {said(found.high)})"


def _signed(value: float, digits: int = 1) -> str:
    text = number(abs(value), digits)
    return text if text in {"0", "0.0"} else f"{'+' if value > 0 else '−'}{text}"


def _both(before: str, after: str) -> str:
    return before if before == after else f"{before or '–'} → {after or '–'}"


def _day(day: date | None) -> str:
    return "" if day is None else day.isoformat()


def as_json(
    site: str,
    changes: Changes,
    catalogues: tuple[Bundle, Bundle],
    *,
    now: tuple[Present, Present] | None,
    walked: WalkedThrough | None,
) -> dict[str, Any]:
    """Both answers for a machine; an answer that there is not is null."""
    asked = asdict(changes)
    asked["service_level"] = None if changes.service_level is None else float(changes.service_level)
    return {
        "site": site,
        "catalogue_version": catalogues[0].version,
        "changed_catalogue_version": catalogues[1].version,
        "changes": asked,
        "now": None if now is None else _present_json(*now),
        "walked": None if walked is None else _walk_json(walked),
    }


def _present_json(before: Present, after: Present) -> dict[str, Any]:
    def item(present: Present, name: str) -> dict[str, Any]:
        found = asdict(present.items.get(name, NOTHING))
        return found | {"value": None if found["value"] is None else float(found["value"])}

    return {
        "as_of": before.as_of,
        "totals": {name: {"before": of(before), "after": of(after)} for name, _, of in _TOTALS},
        "items": {
            name: {"before": item(before, name), "after": item(after, name)} for name in differing(before, after)
        },
    }


def _walk_json(walked: WalkedThrough) -> dict[str, Any]:
    window = walked.window
    return {
        "first_day": window.measured_from,
        "last_day": window.last_day,
        "days": window.days,
        "warm_up_days": window.warm_up_days,
        "seeds": walked.seeds,
        "sessions_left_out": {"before": walked.left_out[0], "after": walked.left_out[1]},
        "figures": {
            found.figure.name: {
                "before": found.before,
                "after": found.after,
                "difference": found.value,
                "interval": None if math.isnan(found.low) else [found.low, found.high],
            }
            for found in walked.differences()
        },
    }
