"""What every command shares: exit codes, errors, the log's client, and where output goes."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from dataclasses import dataclass
from enum import IntEnum
from typing import IO, Any, TypeVar

import click
from rich.console import Console

from config.settings import Settings
from streams.log import Opening, Security, open_client

T = TypeVar("T")

PIPED_WIDTH = 1_000
"""Columns of a table that goes to a file or pipe: as many as it needs."""


class Exit(IntEnum):
    """Exit codes."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    REFUSED = 3
    DEAD_LETTERED = 4
    TIMED_OUT = 5
    NOT_FOUND = 6
    LOG = 7
    INTERRUPTED = 130


EXIT_CODES = {
    Exit.DONE: "done; of events: all applied, or applied before (duplicate)",
    Exit.FAILED: "failed, or faults found (check)",
    Exit.USAGE: "the command was not used as its --help says, or a setting is wrong",
    Exit.REFUSED: "some events were refused, or lines not sent or rows not read",
    Exit.DEAD_LETTERED: "some events could not be read (dead letters)",
    Exit.TIMED_OUT: "some events had no outcome in time: is a worker running?",
    Exit.NOT_FOUND: "no such alert, booking, site or item",
    Exit.LOG: "the log cannot be reached, or did not take what it was given",
    Exit.INTERRUPTED: "interrupted",
}


class Failure(click.ClickException):
    """A command cannot do what it was asked to: what happened, and what to do about it."""

    def __init__(self, message: str, hint: str = "", code: Exit = Exit.FAILED) -> None:
        super().__init__(message)
        self.hint = hint
        self.exit_code = code.value

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(sentence(self.message, self.hint), file=file, err=file is None)


def sentence(message: str, hint: str) -> str:
    """What happened, and what to do about it, for one clear line."""
    end = "" if message.endswith((".", "?", "!")) else "."
    return f"planner: {message}{end} {hint}".rstrip()


@dataclass(frozen=True)
class Session:
    """The settings of this command line, and what is opened with them."""

    settings: Settings

    def client(self) -> Opening:
        """A client of the log, to be used as ``async with session.client() as client``."""
        return client_of(self.settings)


def client_of(settings: Settings) -> Opening:
    """A client of the log that the settings name."""
    password = settings.sasl_password
    security = Security(
        protocol=settings.security_protocol,
        mechanism=settings.sasl_mechanism,
        username=settings.sasl_username,
        password=None if password is None else password.get_secret_value(),
        ca_file=settings.ssl_ca_file,
        certificate_file=settings.ssl_cert_file,
        key_file=settings.ssl_key_file,
    )
    return open_client(
        settings.broker_url,
        settings.topic_prefix,
        security=security,
        replication_factor=settings.replication_factor,
    )


def session_of(ctx: click.Context) -> Session:
    """The session that the group has made."""
    session = ctx.find_object(Session)
    if session is None:
        raise RuntimeError("the command was called without its group")
    return session


def wait_for(work: Coroutine[Any, Any, T]) -> T:
    """Run a command's asynchronous part."""
    return asyncio.run(work)


def stdout() -> Console:
    """Where results go. Data is never read as markup or emoji; a pipe gets no colours and all the width it needs."""
    return _console(sys.stdout)


def stderr() -> Console:
    """Where messages and progress go."""
    return _console(sys.stderr)


def _console(file: Any) -> Console:
    width = None if file.isatty() else PIPED_WIDTH
    return Console(file=file, markup=False, emoji=False, highlight=False, width=width)


def print_json_line(value: bytes) -> None:
    """One JSON text on a line of standard output, as it is on the wire."""
    click.echo(value)
