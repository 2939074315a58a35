"""``planner check``: every fault of a catalogue at once."""

from __future__ import annotations

from pathlib import Path

import click
import orjson

from config.load import load_catalogue
from planner.catalogue.check import CheckResult
from streams.cli.base import Exit, print_json_line, session_of, stdout
from streams.cli.tables import cell, plain, show, table


@click.command(
    epilog="""\b
Examples:
  planner check                     the catalogue of the settings (PLANNER_CATALOGUE_DIR; by default the own one)
  planner check my-catalogue        a copy, edited
  planner check my-catalogue --json | jq -r '"\\(.file):\\(.line): \\(.expected)"'
""",
)
@click.argument("directory", required=False, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="JSON Lines: one fault each; nothing if there is none.")
@click.pass_context
def check(ctx: click.Context, *, directory: Path | None, as_json: bool) -> None:
    """Read the catalogue in DIRECTORY and report all its faults: file, line, field, value and what was expected.

    Exit code: 0 no fault, 1 faults.
    """
    directory = directory or session_of(ctx).settings.catalogue_dir
    result = load_catalogue(directory)
    if as_json:
        for fault in result.faults:
            print_json_line(orjson.dumps(fault))
    elif result.bundle is None:
        show_faults(directory, result)
    else:
        bundle = result.bundle
        show(
            stdout(),
            f"{plain(directory)}: no faults. Version {bundle.version}: {len(bundle.items)} items filling"
            f" {len(bundle.components)} components, {len(bundle.protocols)} protocols, {len(bundle.sites)} sites,"
            f" {len(bundle.suppliers)} suppliers, {len(bundle.policies)} policies",
        )
    ctx.exit(Exit.FAILED if result.bundle is None else Exit.DONE)


def show_faults(directory: Path, result: CheckResult) -> None:
    """A table of faults, and how many there are."""
    made = table("where", "field", "value", "expected")
    for fault in result.faults:
        place = f"{fault.file}:{fault.line}" if fault.line else fault.file
        made.add_row(cell(place), cell(fault.field), cell(fault.value, "red"), cell(fault.expected))
    show(stdout(), made)
    number = len(result.faults)
    show(stdout(), f"{plain(directory)}: {number} fault{'' if number == 1 else 's'}")
