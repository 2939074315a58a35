"""``planner dead-letters``: what could not be read, byte for byte, and sending it again after a fix."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import click
import orjson

from planner.records import HEADER_DETAIL, HEADER_OFFSET, HEADER_PARTITION, HEADER_REASON, HEADER_TOPIC
from planner.step import Message, Record
from planner.topics import TOPICS
from streams.cli.base import Exit, Session, print_json_line, session_of, stdout, wait_for
from streams.cli.outcomes import answer_json, show_tally, tally_json
from streams.cli.sending import Outgoing, Sender, Tally
from streams.cli.tables import cell, plain, show, table
from streams.log import LogClient

HEADER_REPLAY_OF = "replay-of"
"""On a record sent again: the dead letter it was, as ``partition/offset``."""
HEADER_REPLAYED = "replayed"
"""On a mark in ``dead-letters`` (no value): the offset, in the same partition, of the letter that was sent again."""

OURS = frozenset({HEADER_TOPIC, HEADER_PARTITION, HEADER_OFFSET, HEADER_REASON, HEADER_DETAIL, HEADER_REPLAY_OF})
PREVIEW_CHARACTERS = 60


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter with its headers read."""

    record: Record
    topic: str
    partition: str
    offset: str
    reason: str
    detail: str
    replayed: bool

    @property
    def name(self) -> str:
        """Where it lies on ``dead-letters``: ``partition/offset``."""
        return f"{self.record.partition}/{self.record.offset}"

    @property
    def came_from(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"

    @property
    def text(self) -> str:
        """The value as text, for a reader."""
        return (self.record.value or b"").decode("utf-8", "backslashreplace")

    def matches(self, pattern: re.Pattern[str] | None) -> bool:
        """Whether the pattern is found in its topic, reason, detail or text."""
        if pattern is None:
            return True
        return any(pattern.search(part) for part in (self.topic, self.reason, self.detail, self.text))


def _pattern(ctx: click.Context, param: click.Parameter, value: str | None) -> re.Pattern[str] | None:
    try:
        return None if value is None else re.compile(value)
    except re.error as error:
        raise click.BadParameter(f"expected a regular expression: {error}", ctx, param) from error


MATCH = click.option(
    "--match", metavar="REGEX", callback=_pattern, help="Only those with it in topic, reason, detail or text."
)


@click.group(
    "dead-letters",
    invoke_without_command=True,
    epilog="""\b
Examples:
  planner dead-letters                          those not yet sent again
  planner dead-letters --match invalid-json --json
  planner dead-letters replay --match unknown-field
""",
)
@MATCH
@click.option("--all", "everything", is_flag=True, help="Also those sent again.")
@click.option("--json", "as_json", is_flag=True, help="JSON Lines; value is text, value_base64 the exact bytes.")
@click.pass_context
def dead_letters(ctx: click.Context, *, match: re.Pattern[str] | None, everything: bool, as_json: bool) -> None:
    """Events that could not be read, kept byte for byte with topic, partition, offset and reason."""
    if ctx.invoked_subcommand is not None:
        return
    found = wait_for(_list(session_of(ctx)))
    shown = [letter for letter in found if letter.matches(match) and (everything or not letter.replayed)]
    if as_json:
        for letter in shown:
            print_json_line(_json(letter))
        return
    console = stdout()
    if not shown:
        show(
            console, "no dead letters" if everything or not found else "no dead letters (--all shows those sent again)"
        )
        return
    made = table("letter", "came", "from", "reason", "detail", "bytes", "text", right=["bytes"])
    for letter in shown:
        text = letter.text
        came = datetime.fromtimestamp(letter.record.timestamp_ms / 1000, UTC)
        made.add_row(
            cell(letter.name + (" (sent again)" if letter.replayed else "")),
            cell(f"{came:%Y-%m-%d %H:%M:%S}"),
            cell(letter.came_from),
            cell(letter.reason, "red"),
            cell(letter.detail),
            cell(f"{len(letter.record.value or b''):,}"),
            cell(text if len(text) <= PREVIEW_CHARACTERS else text[:PREVIEW_CHARACTERS] + "…"),
        )
    show(console, made)
    show(console, f"{len(shown):,} dead letters; planner dead-letters replay sends them again after a fix")


def _json(letter: Letter) -> bytes:
    import base64  # noqa: PLC0415 - only here

    record = letter.record
    return orjson.dumps(
        {
            "letter": letter.name,
            "topic": letter.topic,
            "partition": letter.partition,
            "offset": letter.offset,
            "reason": letter.reason,
            "detail": letter.detail,
            "replayed": letter.replayed,
            "key": None if record.key is None else record.key.decode("utf-8", "backslashreplace"),
            "value": letter.text,
            "value_base64": base64.b64encode(record.value or b"").decode(),
        }
    )


@dead_letters.command(
    epilog="\b\nExamples:\n  planner dead-letters replay\n  planner dead-letters replay --match weight"
)
@MATCH
@click.option("--again", is_flag=True, help="Also those sent again before.")
@click.option("--timeout", "timeout_s", type=click.FloatRange(min=0.1), default=30.0, show_default=True,
              help="Seconds without any further outcome after which to give up waiting.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="JSON Lines: what became of each, then the sum.")
@click.pass_context
def replay(ctx: click.Context, *, match: re.Pattern[str] | None, again: bool, timeout_s: float, as_json: bool) -> None:
    """Send dead letters again, byte for byte, to the topic they came from, and say what became of each.

    Each is sent again once: a mark on the topic remembers it, and what was sent carries the header replay-of. One
    that still cannot be read comes back as a new dead letter.
    """
    tally = wait_for(_replay(session_of(ctx), match, again=again, timeout_s=timeout_s, as_json=as_json))
    if as_json:
        print_json_line(tally_json(tally))
    elif tally.sent == 0:
        show(stdout(), "nothing to send again")
    else:
        show_tally(tally, timeout_s)
    ctx.exit(tally.exit_code() if tally.sent else Exit.DONE)


async def _list(session: Session) -> list[Letter]:
    async with session.client() as client:
        return await read_letters(client)


async def read_letters(client: LogClient) -> list[Letter]:
    """All that the topic keeps, in order of arrival."""
    records: list[Record] = []
    replayed: set[tuple[int, int]] = set()
    async for record in client.read("dead-letters"):
        mark = _header(record, HEADER_REPLAYED)
        if record.value is None and mark.isdecimal():
            replayed.add((record.partition, int(mark)))
        else:
            records.append(record)
    records.sort(key=lambda record: (record.timestamp_ms, record.partition, record.offset))
    return [
        Letter(
            record,
            _header(record, HEADER_TOPIC),
            _header(record, HEADER_PARTITION),
            _header(record, HEADER_OFFSET),
            _header(record, HEADER_REASON),
            _header(record, HEADER_DETAIL),
            (record.partition, record.offset) in replayed,
        )
        for record in records
    ]


def _header(record: Record, name: str) -> str:
    """The first header of this name: later ones are those that the record itself came with."""
    return next((value.decode("utf-8", "backslashreplace") for key, value in record.headers if key == name), "")


async def _replay(
    session: Session, match: re.Pattern[str] | None, *, again: bool, timeout_s: float, as_json: bool
) -> Tally:
    async with session.client() as client:
        letters = [
            letter
            for letter in await read_letters(client)
            if letter.topic in TOPICS and letter.matches(match) and (again or not letter.replayed)
        ]
        on_answer = (lambda answer: print_json_line(answer_json(answer))) if as_json else None
        sender = Sender(client, wait=True, timeout_s=timeout_s, on_answer=on_answer)
        tally = await sender.send(_outgoing(letters))
        # After the sending: a crash in between sends again, which the event's own id makes a duplicate.
        await client.publish([_mark(letter) for letter in letters])
        return tally


def _outgoing(letters: list[Letter]) -> Iterator[Outgoing]:
    for letter in letters:
        record = letter.record
        kept = tuple(header for header in record.headers if header[0] not in OURS)
        headers = ((HEADER_REPLAY_OF, letter.name.encode()), *kept)
        partition = int(letter.partition) if record.key is None and letter.partition.isdecimal() else None
        message = Message(letter.topic, record.key, record.value, partition, headers)
        yield Outgoing(f"letter {plain(letter.name)}", message)


def _mark(letter: Letter) -> Message:
    record = letter.record
    headers = ((HEADER_REPLAYED, str(record.offset).encode()),)
    return Message("dead-letters", record.key, None, record.partition, headers)
