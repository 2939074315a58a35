"""The ``planner`` command: one module per family, loaded when one of its commands is asked for."""

from __future__ import annotations

import asyncio
import importlib
import sys
from typing import Any, NoReturn

import click
from pydantic import ValidationError

from config.settings import Settings, SettingsError
from streams.cli.base import EXIT_CODES, Exit, Session, sentence
from streams.log import LogBusy, LogError, LogFull, LogUnavailable, UnknownTopic, WorkerPresent

COMMANDS = {
    # in the order in which somebody new needs them
    "demo": "streams.cli.demo:demo",
    "run": "streams.cli.run:run",
    "publish": "streams.cli.publish:publish",
    "import": "streams.cli.importing:import_",
    "forecasts": "streams.cli.forecasts:forecasts",
    "requirements": "streams.cli.requirements:requirements",
    "alerts": "streams.cli.alerts:alerts",
    "proposals": "streams.cli.proposals:proposals",
    "why": "streams.cli.why:why",
    "accuracy": "streams.cli.accuracy:accuracy",
    "stock": "streams.cli.stock:stock",
    "ack": "streams.cli.actions:ack",
    "snooze": "streams.cli.actions:snooze",
    "ordered": "streams.cli.actions:ordered",
    "close": "streams.cli.actions:close",
    "check": "streams.cli.check:check",
    "catalogue": "streams.cli.catalogue:catalogue",
    "dead-letters": "streams.cli.dead_letters:dead_letters",
    "verify": "streams.cli.verify:verify",
    "topics": "streams.cli.topics:topics",
    "schema": "streams.cli.schema:schema",
    "backtest": "streams.cli.backtest:backtest",
    "synthesize": "streams.cli.synthesize:synthesize",
    "simulate": "streams.cli.simulate:simulate",
    "whatif": "streams.cli.whatif:whatif",
}

HINTS: dict[type[LogError], str] = {
    WorkerPresent: "Only one worker may have an embedded log; other commands work beside it.",
    UnknownTopic: "Start a worker once (planner run): it creates the topics. Or is --broker or --prefix another?",
    LogFull: "Make room on the disk and try again: nothing of this write was kept.",
    LogBusy: "Try again; if it stays so, look for a process that holds the file.",
    LogUnavailable: "Check --broker (or PLANNER_BROKER_URL), and that the brokers run.",
}


class Commands(click.Group):
    """Commands by name, imported when used; what they raise becomes one clear line and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        where = COMMANDS.get(cmd_name)
        if where is None:
            return None
        module, _, name = where.partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        import difflib  # noqa: PLC0415 - only for a word that is no command

        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            hint = f" Did you mean '{near[0]}'?" if near else ""
            raise click.UsageError(f"No such command {args[0]!r}.{hint}", ctx)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except LogError as error:
            hint = next((text for kind, text in HINTS.items() if isinstance(error, kind)), "")
            if isinstance(ctx.obj, Session) and ctx.obj.settings.embedded and hint == HINTS[LogUnavailable]:
                hint = "Check --broker (or PLANNER_BROKER_URL)."
            stop(f"{error}", hint, Exit.LOG)
        except KeyboardInterrupt:
            ctx.exit(Exit.INTERRUPTED)
        except asyncio.CancelledError:
            ctx.exit(Exit.INTERRUPTED)


def stop(message: str, hint: str, code: int) -> NoReturn:
    """End the command with one clear line: what happened, and what to do."""
    click.echo(sentence(message, hint), err=True)
    sys.exit(code)


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="\b\nExit codes:\n"
    + "\n".join(f"  {code.value:>3}  {meaning}" for code, meaning in EXIT_CODES.items())
    + "\n\n\b\nCompletion (bash; zsh and fish likewise):\n"
    + '  eval "$(_PLANNER_COMPLETE=bash_source planner)"',
)
@click.option("--broker", metavar="URL", help="The log: sqlite:///DIR/planner.db or kafka://host:port[,host:port].")
@click.option("--prefix", metavar="TEXT", help="Stands before the name of every topic.")
@click.version_option(package_name="infusion-supply-planner", message="%(version)s")
@click.pass_context
def main(ctx: click.Context, broker: str | None, prefix: str | None) -> None:
    """Plans the supplies of infusion clinics from their bookings, event by event.

    Every command works beside a running worker, on the embedded log and on Kafka. Settings come from PLANNER_…
    variables (docs/settings.md); --broker and --prefix win over them. Tables are for people; with --json, standard
    output holds JSON or JSON Lines and nothing else, and messages go to standard error.

    \b
    Begin here:
      planner demo                          a season of three clinics in about a minute
      planner run                           a worker on the embedded log, in one terminal …
      planner publish events.jsonl          … events to it from another
      planner forecasts --site harbor       and what they mean
    """
    given = {"broker_url": broker, "topic_prefix": prefix}
    try:
        settings = Settings(**{name: value for name, value in given.items() if value is not None})
    except SettingsError as error:
        stop(str(error), "Correct or unset it.", Exit.USAGE)
    except ValidationError as error:
        faults = [
            f"{_source(str(f['loc'][0]) if f['loc'] else '', given)}: {f['msg'].removeprefix('Value error, ')}"
            for f in error.errors()
        ]
        stop("; ".join(faults), "", Exit.USAGE)
    ctx.obj = Session(settings)


def _source(setting: str, given: dict[str, str | None]) -> str:
    """Where a setting's value came from: the option or the variable."""
    options = {"broker_url": "--broker", "topic_prefix": "--prefix"}
    if given.get(setting) is not None:
        return options[setting]
    return f"PLANNER_{setting.upper()}" if setting else "settings"
