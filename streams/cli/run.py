"""``planner run``: a worker."""

from __future__ import annotations

import gc
import sys
from pathlib import Path
from typing import Any

import click
from pydantic import ValidationError

from config.settings import Settings
from streams.cli.base import Exit, Failure, session_of


@click.command(
    epilog="""\b
Examples:
  planner run                                        on the embedded log in ./planner-data
  planner run --clock event                          a replay: time comes from the events
  planner --broker kafka://localhost:9092 run --http-port 8080
  PLANNER_LOG_FORMAT=json planner run

\b
The first worker on a log creates its topics and publishes the catalogue. It ends cleanly on SIGTERM or Ctrl-C and
goes on where it was when it is started again. Several may run on Kafka, one on an embedded log.
""",
)
@click.option("--clock", type=click.Choice(["wall", "event"]), help="Where time comes from.")
@click.option("--catalogue", "catalogue_dir", metavar="DIR", type=click.Path(path_type=Path),
              help="Catalogue to publish where the log has none.")  # fmt: skip
@click.option("--partitions", type=int, help="Of every topic; it cannot change once they exist.")
@click.option("--http-port", type=int, help="Serve /healthz, /readyz, /livez and /metrics there.")
@click.option("--log-format", type=click.Choice(["console", "json"]), help="How log lines are written.")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), help="The least severe.")
@click.option(
    "--until-stdin-ends",
    is_flag=True,
    help="Stop when standard input ends: with the program that started the worker and holds the other end.",
)
@click.pass_context
def run(ctx: click.Context, /, until_stdin_ends: bool, **given: Any) -> None:
    """Run a worker: booking events in; requirements, forecasts, alerts and proposals out."""
    chosen = {name: value for name, value in given.items() if value is not None}
    before = session_of(ctx).settings
    try:
        # Built anew, so that what the options say is checked like the environment.
        settings = Settings(**{**{name: getattr(before, name) for name in before.model_fields_set}, **chosen})
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        raise Failure(faults, "See docs/settings.md.", Exit.USAGE) from error
    # What is imported stays: collecting garbage meanwhile, and looking through it ever after, costs and finds nothing.
    gc.disable()
    from streams.worker import work  # noqa: PLC0415 - imports Faust: a second that other commands do not need

    gc.freeze()
    gc.enable()
    sys.exit(work(settings, until_ended=sys.stdin.fileno() if until_stdin_ends else None))
