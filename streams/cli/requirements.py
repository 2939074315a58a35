"""``planner requirements``: one booking, expanded into what its session takes."""

from __future__ import annotations

import unicodedata
from typing import Any

import click
import orjson
from rich.text import Text

from planner.booking.row import BookingRow
from planner.messages import RequirementLine
from streams.cli.base import Exit, Failure, Session, print_json_line, session_of, stdout, wait_for
from streams.cli.tables import cell, number, percent, plain, show, table
from streams.inspect import NothingKnown, booking_of


@click.command(
    epilog="\b\nExamples:\n  planner requirements bk-1001\n  planner requirements bk-1001 --json | jq .lines"
)
@click.argument("booking")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.pass_context
def requirements(ctx: click.Context, *, booking: str, as_json: bool) -> None:
    """What BOOKING needs: protocol lines, items, whole containers (expected, and the most it may take), waste."""
    booking = unicodedata.normalize("NFC", booking)  # as ids are kept
    try:
        row, lines = wait_for(_read(session_of(ctx), booking))
    except NothingKnown as error:
        raise Failure(plain(error), "Has its event been applied (planner publish says so)?", Exit.NOT_FOUND) from error
    if as_json:
        print_json_line(_json(booking, row, lines))
    else:
        _show(booking, row, [RequirementLine.model_validate(line) for line in lines])


async def _read(session: Session, booking: str) -> tuple[BookingRow, list[dict[str, Any]]]:
    async with session.client() as client:
        return await booking_of(client, booking)


def _json(booking: str, row: BookingRow, lines: list[dict[str, Any]]) -> bytes:
    return orjson.dumps(
        {
            "booking_id": booking,
            "status": row.status,
            "version": row.version,
            "site": row.site,
            "protocol": row.protocol,
            "protocol_version": row.protocol_version,
            "catalogue_version": row.catalogue_version,
            "start": row.start,
            "parameters": row.parameters.model_dump(mode="json", exclude_none=True),
            "series_id": row.series_id,
            "lines": lines,
        }
    )


def _show(booking: str, row: BookingRow, lines: list[RequirementLine]) -> None:
    console = stdout()
    show(console, Text(f"{plain(booking)}: {row.status.value}", style="bold"))
    parameters = row.parameters.model_dump(mode="json", exclude_none=True)
    facts = [f"version {row.version}"]
    if row.site:
        facts += [
            f"{plain(row.site)}, {row.start}",
            f"{plain(row.protocol)} version {row.protocol_version}",
            *(f"{name} {value}" for name, value in parameters.items()),
            *([f"series {plain(row.series_id)}"] if row.series_id else []),
            f"catalogue {plain(row.catalogue_version)}",
        ]
    show(console, ", ".join(facts))
    if not lines:
        show(console, "it needs nothing")
        return
    made = table("line", "component", "dose", "item", "given", "certain", "expected", "at most", "unit", "waste",
                 right=["given", "certain", "expected", "at most", "waste"])  # fmt: skip
    for line in lines:
        item = line.item if line.item is not None else line.supply_mode
        made.add_row(
            cell(line.line), cell(line.component), cell(line.dose), cell(item), cell(percent(float(line.probability))),
            cell(number(float(line.certain))), cell(number(float(line.mean), 2)), cell(number(float(line.maximum))),
            cell(line.unit), cell(number(float(line.waste)) if line.waste else ""),
        )  # fmt: skip
    show(console, made)
