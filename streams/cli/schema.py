"""``planner schema``: the JSON Schema of a topic's messages."""

from __future__ import annotations

import click
import orjson

from planner.payloads import PAYLOADS
from streams.cli.base import print_json_line


@click.command(epilog="\b\nExample:\n  planner schema bookings > bookings.json")
@click.argument("topic", type=click.Choice(sorted(PAYLOADS)))
def schema(topic: str) -> None:
    """Print the JSON Schema of TOPIC's messages (also in docs/schemas)."""
    print_json_line(orjson.dumps(PAYLOADS[topic].json_schema(), option=orjson.OPT_INDENT_2))
