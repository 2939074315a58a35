"""``planner schema``: the JSON Schema of a topic's messages."""

from __future__ import annotations

from typing import Any

import click
import orjson
from pydantic import TypeAdapter

from planner.catalogue.model import Bundle
from planner.events import ALERT_ACTIONS, BOOKING_EVENTS, CLOCK_EVENTS, ORDER_EVENTS, STOCK_EVENTS
from planner.messages import REQUIREMENTS, Alert, Forecast, Outcome, Proposal
from streams.cli.base import print_json_line

PAYLOADS: dict[str, TypeAdapter[Any]] = {
    "bookings": BOOKING_EVENTS,
    "stock": STOCK_EVENTS,
    "orders": ORDER_EVENTS,
    "alert-actions": ALERT_ACTIONS,
    "clock": CLOCK_EVENTS,
    "catalogue": TypeAdapter(Bundle),
    "requirements": REQUIREMENTS,
    "forecasts": TypeAdapter(Forecast),
    "alerts": TypeAdapter(Alert),
    "proposals": TypeAdapter(Proposal),
    "outcomes": TypeAdapter(Outcome),
}


@click.command(epilog="\b\nExample:\n  planner schema bookings > bookings.json")
@click.argument("topic", type=click.Choice(sorted(PAYLOADS)))
def schema(topic: str) -> None:
    """Print the JSON Schema of TOPIC's messages (also in docs/schemas)."""
    print_json_line(orjson.dumps(PAYLOADS[topic].json_schema(), option=orjson.OPT_INDENT_2))
