"""``planner verify``: is what the worker keeps and publishes what the log says?"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click
import orjson
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from streams.cli.base import Exit, Failure, Session, print_json_line, session_of, stderr, stdout, wait_for
from streams.cli.tables import cell, plain, show, table
from streams.verify.readers import Gone
from streams.verify.run import PATIENCE_S, Report, Verification


@click.command(
    epilog="""\b
Examples:
  planner verify                      everything, from the beginning of the log
  planner verify --site harbor        what is known and published of one site
  planner verify --partition 0        one partition of both tables
  planner verify --follow 10          again every 10 minutes, what has come since; ends at the first difference
  planner verify --json | jq .difference
""",
)
@click.option("--partition", "partitions", type=click.IntRange(min=0), multiple=True, metavar="N",
              help="Only this partition; may be repeated.")  # fmt: skip
@click.option("--site", metavar="SITE", help="Only this site: its plan, forecasts, alerts and proposals.")
@click.option("--follow", type=click.FloatRange(min=0.01), metavar="MINUTES", help="Again and again, until it differs.")
@click.option("--patience", "patience_s", type=click.FloatRange(min=0.1), default=PATIENCE_S, show_default=True,
              metavar="SECONDS", help="How long a published figure may differ while its site is quiet.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="JSON: one object a verification.")
@click.pass_context
def verify(
    ctx: click.Context, *, partitions: tuple[int, ...], site: str | None, follow: float | None, patience_s: float,
    as_json: bool,
) -> None:  # fmt: skip
    """Compute the state anew from the log and compare it with the live tables and topics.

    Works beside a running worker and without one. Compared are: every entry of both tables; that every event has
    exactly one outcome or dead letter; the requirements between the agents; the last alert, proposal, forecast and
    accuracy of each key. Prints the first difference: where, which key and field, both values. See docs/verify.md.

    Exit code: 0 no difference, 1 a difference, or the log lacks what it takes to verify.
    """
    if partitions and site is not None:
        raise click.UsageError("--site has its own partition; give one of --site and --partition")
    session = session_of(ctx)
    ctx.exit(wait_for(_verify(session, partitions or None, site, follow, patience_s, as_json=as_json)))


async def _verify(
    session: Session, partitions: tuple[int, ...] | None, site: str | None, follow: float | None, patience_s: float,
    *, as_json: bool,
) -> Exit:  # fmt: skip
    async with session.client() as client:
        with _progress() as progress:
            verification = Verification(
                client, session.settings, partitions=partitions, site=site, patience_s=patience_s, progress=progress
            )
            while True:
                try:
                    report = await verification.verify()
                except Gone as gone:
                    raise Failure(f"cannot verify: {gone}") from None
                if as_json:
                    print_json_line(orjson.dumps(report.as_json()))
                else:
                    _show(report)
                if report.difference is not None:
                    return Exit.FAILED
                if follow is None:
                    return Exit.DONE
                await asyncio.sleep(follow * 60)


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal, nothing elsewhere."""
    console = stderr()
    columns = (TextColumn("folding"), BarColumn(), MofNCompleteColumn(), TextColumn("records"), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("folding", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _show(report: Report) -> None:
    made = table("compared", "from", "records", "entries", "repeated", right=["records", "entries", "repeated"])
    for name, counted in report.tables.items():
        since = "a later state" if name in report.since else "the beginning"
        made.add_row(
            cell(name), cell(since), cell(f"{counted['records']:,}"), cell(f"{counted['entries']:,}"), cell(None)
        )
    for name, number in report.ends.items():
        repeated = report.repeated.get(name, 0)
        made.add_row(
            cell(name), cell(None), cell(f"{number:,}"), cell(None), cell(f"{repeated:,}" if repeated else None)
        )
    for name, number in report.published.items():
        made.add_row(cell(name), cell(None), cell(None), cell(f"{number:,}"), cell(None))
    out = stdout()
    show(out, made)
    for name, why in report.since.items():
        show(out, f"{plain(name)}: verified from its state at the time of asking on, since {plain(why)}")
    for name, number in report.removed.items():
        show(out, f"{plain(name)}: {number:,} are not on the log any more (retention) and were not compared")
    for name, number in report.in_motion.items():
        show(out, f"{plain(name)}: {number:,} changed whenever they were looked at, and were not compared")
    if report.difference is None:
        show(out, "No difference.")
        return
    found = report.difference
    show(out, cell(f"The first difference: {found.where}: {found.key}", "bold red"))
    if found.field:
        show(out, cell(f"  field       {found.field}"))
    show(out, cell(f"  recomputed  {found.recomputed}"))
    show(out, cell(f"  found       {found.found}"))
