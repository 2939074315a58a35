"""``planner import``: a booking system's export becomes events."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import orjson
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from planner.importing.mapping import ORDER
from planner.importing.rows import ImportedEvent
from planner.step import Message
from streams.cli.base import Exit, Failure, Session, print_json_line, session_of, stderr, stdout, wait_for
from streams.cli.outcomes import answer_json, show_tally, tally_json
from streams.cli.sending import Outgoing, Sender, Tally
from streams.cli.tables import cell, plain, show, table
from streams.importer import ExportError, Import, load_mapping, read_export

ROWS_SHOWN = 20


@click.group("import")
def import_() -> None:
    """Bring in what another system has exported."""


@import_.command(
    epilog="""\b
Examples:
  planner import bookings bookings.csv.gz --map config/mappings/city.yaml --dry-run
  planner import bookings bookings.csv.gz --map config/mappings/city.yaml
  planner import bookings export.csv --map my.yaml --out events.jsonl

\b
A mapping (YAML) says which columns hold what, how dates are written, what a status means, and by rules which
protocol a row is; config/mappings/city.yaml is one with comments.
""",
)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--map", "mapping_file", required=True, metavar="MAPPING.yaml",
              type=click.Path(exists=True, dir_okay=False, path_type=Path), help="How to read FILE.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Read everything and say what would be sent; send nothing.")
@click.option("--out", type=click.Path(dir_okay=False, writable=True, path_type=Path), metavar="FILE",
              help="Write the events to FILE as JSON Lines instead of sending them.")  # fmt: skip
@click.option("--no-wait", is_flag=True, help="Do not wait for outcomes; the events are durable on the log.")
@click.option("--timeout", "timeout_s", type=click.FloatRange(min=0.1), default=60.0, show_default=True,
              help="Seconds without any further outcome after which to give up waiting.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="One JSON object: rows, events, unreadable rows, outcomes.")
@click.pass_context
def bookings(
    ctx: click.Context,
    *,
    file: Path,
    mapping_file: Path,
    dry_run: bool,
    out: Path | None,
    no_wait: bool,
    timeout_s: float,
    as_json: bool,
) -> None:
    """Turn a booking system's export (CSV, also .gz) into booking events, in the order in which they happened.

    Rows that cannot be read are reported with line and reason, and the others go on. Event ids depend on the mapping's
    name and the row alone: importing the same file again gives duplicates and changes nothing.

    A history of months needs a worker that takes time from the events: planner run --clock event.

    Exit code: as of publish; 3 also if rows could not be read.
    """
    with _progress() as progress:
        found = _read(progress, file, mapping_file)
        tally = None
        if out is not None:
            with out.open("wb") as target:
                target.writelines(event.value + b"\n" for event in found.events)
        elif not dry_run:
            tally = wait_for(_send(session_of(ctx), progress, found, not no_wait, timeout_s))
    if as_json:
        print_json_line(_import_json(found, tally))
    else:
        _show(found, dry_run, out)
        if tally is not None:
            show_tally(tally, timeout_s)
            show(
                stdout(), "The sites' plans follow the bookings: planner topics says how many requirements still wait."
            )
    code = Exit.DONE if tally is None else tally.exit_code()
    ctx.exit(max(code, Exit.REFUSED) if found.unreadable else code)


def _progress() -> Progress:
    """A bar on standard error; nothing where that is not a terminal."""
    console = stderr()
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        console=console, transient=True, disable=not console.is_terminal,
    )  # fmt: skip


def _read(progress: Progress, file: Path, mapping_file: Path) -> Import:
    reading = progress.add_task("reading, bytes", total=file.stat().st_size)
    try:
        mapping = load_mapping(mapping_file)
        found = read_export(file, mapping, on_progress=lambda done: progress.update(reading, completed=done))
    except ExportError as error:
        raise Failure(plain_lines(str(error)), "Correct the mapping, or give another with --map.") from error
    progress.update(reading, completed=file.stat().st_size)
    return found


def plain_lines(text: str) -> str:
    """Several lines of text, each safe to print."""
    return "\n".join(plain(line) for line in text.splitlines())


async def _send(session: Session, progress: Progress, found: Import, wait: bool, timeout_s: float) -> Tally:
    sending = progress.add_task("sent, events", total=len(found.events))
    answering = progress.add_task("answered", total=len(found.events), visible=wait)
    async with session.client() as client:
        sender = Sender(client, wait=wait, timeout_s=timeout_s, on_answer=lambda _answer: progress.advance(answering))
        return await sender.send(_outgoing(found.events), on_sent=lambda n: progress.advance(sending, n))


def _outgoing(events: list[ImportedEvent]) -> Iterator[Outgoing]:
    for event in events:
        yield Outgoing(f"line {event.row}", Message("bookings", event.key, event.value))


def _show(found: Import, dry_run: bool, out: Path | None) -> None:
    console = stdout()
    if found.unreadable:
        rows = table("line", "not read, because", right=["line"])
        for fault in found.unreadable[:ROWS_SHOWN]:
            rows.add_row(cell(fault.line), cell(fault.reason))
        show(console, rows)
        if len(found.unreadable) > ROWS_SHOWN:
            show(console, f"… and {len(found.unreadable) - ROWS_SHOWN:,} more; --json tells all of them")
    kinds = ", ".join(f"{found.kinds[kind]:,} {kind}" for kind in ORDER if found.kinds[kind])
    unread = f", {len(found.unreadable):,} of them not readable" if found.unreadable else ""
    show(console, f"{found.rows:,} rows{unread}: {len(found.events):,} events" + (f" ({kinds})" if kinds else ""))
    if out is not None:
        show(console, f"written to {plain(out)}; send them with: planner publish {plain(out)}")
    elif dry_run:
        show(console, "nothing was sent (--dry-run)")


def _import_json(found: Import, tally: Tally | None) -> bytes:
    body: dict[str, object] = {
        "rows": found.rows,
        "events": len(found.events),
        "kinds": dict(found.kinds),
        "unreadable": [{"line": fault.line, "reason": fault.reason} for fault in found.unreadable],
    }
    if tally is not None:
        body["outcomes"] = orjson.Fragment(tally_json(tally))
        body["faults"] = [orjson.Fragment(answer_json(answer)) for answer in tally.answers]
    return orjson.dumps(body)
