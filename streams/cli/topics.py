"""``planner topics``: what is on the log, and what still waits to be applied."""

from __future__ import annotations

from typing import Any

import click
import orjson

from planner.topics import TOPICS
from streams.cli.base import Session, print_json_line, session_of, stdout, wait_for
from streams.cli.tables import cell, show, table
from streams.inspect import applied_offsets
from streams.log import UnknownTopic


@click.command(epilog="\b\nExamples:\n  planner topics\n  planner topics --json | jq 'select(.waiting > 0)'")
@click.option("--json", "as_json", is_flag=True, help="JSON Lines: one topic each.")
@click.pass_context
def topics(ctx: click.Context, *, as_json: bool) -> None:
    """The topics of this log: what they hold, how many records were written, and how many wait to be applied."""
    rows = wait_for(_topics(session_of(ctx)))
    if as_json:
        for row in rows:
            print_json_line(orjson.dumps(row))
        return
    made = table("topic", "direction", "kept", "partitions", "written", "waiting", "holds",
                 right=["partitions", "written", "waiting"])  # fmt: skip
    for row in rows:
        waiting = row["waiting"]
        made.add_row(
            cell(row["topic"]), cell(row["direction"]), cell("last of each key" if row["compacted"] else "by age"),
            cell(row["partitions"]), cell(f"{row['written']:,}"),
            cell("" if waiting is None else f"{waiting:,}", "yellow" if waiting else ""), cell(row["holds"]),
        )  # fmt: skip
    show(stdout(), made)


async def _topics(session: Session) -> list[dict[str, Any]]:
    async with session.client() as client:
        applied = await _applied(client)
        rows = []
        for topic in TOPICS.values():
            ends = await client.end_offsets(topic.name)
            # Of a topic that both agents read, what waits for the one that is further behind.
            lags = [
                sum(end - offsets.get(partition, 0) for partition, end in ends.items())
                for by_topic in applied.values()
                for name, offsets in by_topic.items()
                if name == topic.name
            ]
            rows.append(
                {
                    "topic": topic.name,
                    "direction": topic.direction,
                    "compacted": topic.compacted,
                    "partitions": len(ends),
                    "written": sum(ends.values()),
                    "waiting": max(lags) if lags else sum(ends.values()) if topic.direction != "out" else None,
                    "holds": topic.holds,
                }
            )
        return rows


async def _applied(client: Any) -> dict[str, dict[str, dict[int, int]]]:
    try:
        return await applied_offsets(client)
    except UnknownTopic:
        return {}
