"""What a child of the nursery may be. Imported once by the process that forks, with all that the children need."""

from __future__ import annotations

import asyncio
import json
import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Final

import aiokafka  # noqa: F401 - so that no child has to
import rocksdict  # noqa: F401
import uvloop  # noqa: F401

import streams.app
import streams.delivery.consumer
import streams.embedded.client
import streams.embedded.parts
import streams.kafka.client
import streams.kafka.parts  # noqa: F401
from config.settings import Settings
from planner.step import Message
from streams import worker
from streams.embedded import schema, transport
from streams.log import LogBusy, open_client
from tests.soak import crashing


async def _no_time(*_: object, **__: object) -> None:
    """In place of the wall's clock: time is what the history's ``clock`` records say, so that a fold can repeat it."""
    await asyncio.Event().wait()


def work(
    crash: dict[str, object] | None = None, counts: str | None = None, upkeep_s: float = transport.UPKEEP_S,
    checkpoint_pages: int = schema.CHECKPOINT_PAGES, file_bytes_max: int | None = None,
) -> int:  # fmt: skip
    """A worker, the whole program.

    Args:
        crash: where it is to go wrong.
        counts: a file for how often it passed each point.
        upkeep_s: how often it removes what may go.
        file_bytes_max: no file of this process may grow beyond.
        checkpoint_pages: pages of WAL after which a commit moves them into the file.
    """
    if file_bytes_max is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes_max, file_bytes_max))
    transport.UPKEEP_S = upkeep_s
    schema.CHECKPOINT_PAGES = checkpoint_pages  # type: ignore[misc]
    worker.tick_by_the_wall = _no_time
    crashing.arm(crash, counts)
    return worker.work(Settings())


def publish(file: str, first: int, batch: int, told: str) -> int:
    """Publish the messages of a file from number ``first`` on; ``told`` gets a line as each batch is durable."""
    messages = [decoded(line) for line in Path(file).read_text().splitlines()]
    return asyncio.run(_publish(messages, first, batch, told))


async def _publish(messages: list[Message], first: int, batch: int, told: str) -> int:
    settings = Settings()
    line = os.open(told, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    async with open_client(settings.broker_url, settings.topic_prefix) as client:
        for start in range(first, len(messages), batch):
            part = messages[start : start + batch]
            while True:
                try:
                    placed = await client.publish(part)
                    break
                except LogBusy:
                    continue
            os.write(line, json.dumps([start, len(part), placed]).encode() + b"\n")
    return 0


def encoded(message: Message) -> str:
    """A line of a publisher's file."""
    key = None if message.key is None else message.key.decode("latin-1")
    return json.dumps([message.topic, key, (message.value or b"").decode("latin-1"), message.partition])


def decoded(line: str) -> Message:
    """The message of a line."""
    topic, key, value, partition = json.loads(line)
    return Message(topic, None if key is None else key.encode("latin-1"), value.encode("latin-1"), partition)


ROLES: Final[dict[str, Callable[..., int]]] = {"worker": work, "publisher": publish}
