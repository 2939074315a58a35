"""``planner publish``: events from JSON Lines, and what became of each."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import click

from planner.step import Message
from planner.topics import TOPICS
from streams.cli.base import Exit, Session, print_json_line, session_of, wait_for
from streams.cli.outcomes import answer_json, show_tally, tally_json
from streams.cli.routing import LineError, route
from streams.cli.sending import Outgoing, Sender, Tally
from streams.cli.tables import plain

LINE_FAULTS_SHOWN = 20


class Lines:
    """The records of a file of JSON Lines, and the lines that are none."""

    def __init__(self, lines: IO[bytes], raw_topic: str | None, partitions: int) -> None:
        self.faults: list[tuple[int, str]] = []
        self._lines = lines
        self._raw_topic = raw_topic
        self._partitions = partitions

    def __iter__(self) -> Iterator[Outgoing]:
        for line_number, line in enumerate(self._lines, start=1):
            value = line.rstrip(b"\r\n")
            if not value.strip():
                continue
            try:
                messages = route(value, self._partitions)
                if self._raw_topic is not None:
                    messages = [message._replace(topic=self._raw_topic, partition=None) for message in messages[:1]]
            except LineError as error:
                if self._raw_topic is None:
                    self.faults.append((line_number, str(error)))
                    continue
                messages = [Message(self._raw_topic, None, value)]
            for message in messages:
                yield Outgoing(f"line {line_number}", message)


@click.command(
    epilog="""\b
Examples:
  planner publish events.jsonl
  booking-system export | planner publish - --json
  echo '{broken' | planner publish - --raw bookings      a dead letter, on purpose
""",
)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path))
@click.option("--no-wait", is_flag=True, help="Do not wait for outcomes; the events are durable on the log.")
@click.option("--timeout", "timeout_s", type=click.FloatRange(min=0.1), default=30.0, show_default=True,
              help="Seconds without any further outcome after which to give up waiting.")  # fmt: skip
@click.option("--raw", "raw_topic", metavar="TOPIC", type=click.Choice(sorted(TOPICS)),
              help="Send every line to this topic as it is, even if it is no event.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="JSON Lines: what became of each event, then the sum.")
@click.pass_context
def publish(
    ctx: click.Context, *, file: Path, no_wait: bool, timeout_s: float, raw_topic: str | None, as_json: bool
) -> None:
    """Send events from FILE (JSON Lines; - is standard input) and say what became of each.

    An event goes to its topic by the beginning of its type: booking.… stock.… order.… alert.… clock.… A line that is
    no JSON object of such a type is reported and not sent; the other lines are. An event with a fault inside is sent:
    the worker refuses it or keeps it as a dead letter, and this command says so.

    Exit code: 0 all applied or duplicate, 3 some refused or not sent, 4 some dead letters, 5 some without outcome.
    """
    source = sys.stdin.buffer if str(file) == "-" else file.open("rb")
    with source:
        tally, lines = wait_for(
            _publish(
                session_of(ctx), source, raw_topic=raw_topic, wait=not no_wait, timeout_s=timeout_s, as_json=as_json
            )
        )
    for line_number, reason in lines.faults[:LINE_FAULTS_SHOWN]:
        click.echo(f"planner: line {line_number} was not sent: {plain(reason)}", err=True)
    if len(lines.faults) > LINE_FAULTS_SHOWN:
        click.echo(f"planner: … and {len(lines.faults) - LINE_FAULTS_SHOWN:,} more lines were not sent", err=True)
    if as_json:
        print_json_line(tally_json(tally))
    else:
        show_tally(tally, timeout_s)
    code = tally.exit_code()
    ctx.exit(max(code, Exit.REFUSED) if lines.faults else code)


async def _publish(
    session: Session, source: IO[bytes], *, raw_topic: str | None, wait: bool, timeout_s: float, as_json: bool
) -> tuple[Tally, Lines]:
    async with session.client() as client:
        partitions = await client.partitions("clock")
        lines = Lines(source, raw_topic, partitions)
        on_answer = (lambda answer: print_json_line(answer_json(answer))) if as_json else None
        sender = Sender(client, wait=wait, timeout_s=timeout_s, on_answer=on_answer)
        return await sender.send(lines), lines
