"""``planner demo``: a season of three clinics, played to a real worker."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Callable
from datetime import date
from pathlib import Path

import click
from rich.live import Live

from planner.catalogue.index import Catalogue
from streams.cli.base import Failure, session_of, stdout, wait_for
from streams.cli.tables import plain, show
from streams.inspect import NothingKnown, configured_catalogue

SUNDAY = 6


@click.command(
    epilog="""\b
Examples:
  planner demo
  planner demo --seed 7 --data ./season       keeps its log there
  planner demo --weeks 4 --seconds 20
""",
)
@click.option("--seed", type=click.IntRange(0, 10**9), help="Of everything that chance decides; printed.")
@click.option("--weeks", type=click.IntRange(1, 26), default=12, show_default=True, help="Length of the season.")
@click.option("--seconds", type=click.FloatRange(0, 3600), default=45.0, show_default=True,
              help="How long the season takes at least, apart from starting and stopping.")  # fmt: skip
@click.option("--data", type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
              help="Keep the log there, in a new or empty directory; absent: in a temporary one.")  # fmt: skip
@click.pass_context
def demo(ctx: click.Context, *, seed: int | None, weeks: int, seconds: float, data: Path | None) -> None:
    """A season of three clinics in about a minute, on an embedded log of its own.

    Bookings become vials, forecasts move, alerts rise and resolve, each by the event that did it: maintenance patients
    every 28 days, walk-ins, a status migrainosus over days, sessions moved, cancelled and missed; saline on allocation,
    deliveries late and short, a recall, a count that does not agree. A real worker (planner run) does the planning; the
    demo only plays the clinics, the suppliers and the pharmacy, through the log like any outside system.

    It ends by itself and leaves nothing running. Its last lines are commands to ask about what you saw.
    """
    from streams.demo.driver import PREFIX, Demo, NoAnswer  # noqa: PLC0415 - only the demo needs it
    from streams.demo.process import WorkerFailed  # noqa: PLC0415
    from streams.demo.summary import summary  # noqa: PLC0415
    from streams.demo.view import live, week_line  # noqa: PLC0415

    try:
        catalogue = Catalogue(configured_catalogue(session_of(ctx).settings))
    except NothingKnown as error:
        raise Failure(plain(error), "planner check lists them.") from error
    seed = secrets.randbelow(1_000_000) if seed is None else seed
    directory = _directory(data)
    console = stdout()
    show(console, f"seed {seed}, log in {plain(directory)}")
    try:
        played = Demo(catalogue, directory, seed, weeks=weeks, seconds=seconds)
    except KeyError as error:
        raise Failure(f"the catalogue has no site {error}", "The demo plays the default catalogue's sites.") from error

    def each_day(day: date) -> None:
        if day.weekday() == SUNDAY and day >= played.season.first_day:
            show(console, week_line(played.board, played.world.story.completed))

    try:
        with contextlib.ExitStack() as stack:
            refresh: Callable[[], None] | None = None
            if console.is_terminal:
                screen = stack.enter_context(Live(live(played.board), console=console, screen=True, auto_refresh=False))
                refresh = lambda: screen.update(live(played.board), refresh=True)  # noqa: E731
            wait_for(played.run(each_day if refresh is None else lambda _day: None, refresh))
    except (WorkerFailed, NoAnswer) as error:
        raise Failure(plain(error), f"The worker's own words are in {directory / 'worker.log'}.") from error
    show(console, *summary(played, f"{_program()} --broker {played.broker_url}", PREFIX))


def _directory(data: Path | None) -> Path:
    if data is None:
        return Path(tempfile.mkdtemp(prefix="planner-demo-"))
    if data.exists() and any(data.iterdir()):
        raise Failure(f"{data} is not empty", "Give a new directory: a season begins with empty shelves.")
    data.mkdir(parents=True, exist_ok=True)
    return data.resolve()


def _program() -> str:
    """How to call this program from here."""
    if shutil.which("planner"):
        return "planner"
    return os.path.relpath(sys.argv[0])
