"""The journal: which records a step has applied, in which order and in what chunks.

A step reads several topics, and the log keeps no order between them; nor does it keep where a chunk ended, on which
reviews and, where events tell the time, the clock depend. The engine therefore writes one entry with each chunk. With
it the state is a fold over the log alone, which anybody can do again to the byte (``planner.verify``).

On Kafka an entry may stand for a chunk whose table write never came to be (a crash between the two, a worker that had
lost its partition). Such an entry is void: ``chain`` leaves it out, since none that follows continues from it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import orjson
from pydantic import TypeAdapter

from planner.base import Model
from planner.step import Message

TOPIC = "journal"


class Restored(Model):
    """How a step was made, where the chunk is the first since it was restored from its table."""

    clock: Literal["wall", "event"] = "wall"
    catalogue_version: str | None = None
    """Of the catalogue it began with, where its table held none."""


class Applied(Model):
    """A chunk that an agent applied to one of its partitions; key: agent. The partition is the record's own."""

    schema_version: Literal[1] = 1
    agent: str
    topic: str
    start: int
    """Offset of the first record of the chunk, in the partition of the same number."""
    end: int
    """Offset of the next record."""
    caught_up: bool
    """Whether nothing more waited behind the chunk."""
    applied: dict[str, int]
    """Topic → offset of the next record to apply, as it was before the chunk."""
    restored: Restored | None = None


APPLIED: TypeAdapter[Applied] = TypeAdapter(Applied)


def applied_message(
    agent: str,
    topic: str,
    partition: int,
    start: int,
    end: int,
    *,
    caught_up: bool,
    applied: Mapping[str, int],
    restored: Mapping[str, Any] | None,
) -> Message:
    """The journal's entry for a chunk; ``restored``: the fields of ``Restored`` (a dict, on the way of every chunk)."""
    body: dict[str, Any] = {
        "schema_version": 1,
        "agent": agent,
        "topic": topic,
        "start": start,
        "end": end,
        "caught_up": caught_up,
        "applied": applied,
    }
    if restored is not None:
        body["restored"] = restored
    return Message(TOPIC, agent.encode(), orjson.dumps(body), partition)


class Chain(NamedTuple):
    """The chunks that lead to a state, first to last."""

    chunks: list[Applied]
    before: dict[str, int]
    """Where they begin: topic → offset of the next record to apply. Empty: at the very beginning."""


def chain(entries: Sequence[Applied], positions: Mapping[str, int]) -> Chain:
    """The entries of one agent and partition that lead to ``positions``, without the void ones.

    Found backwards: the last entry that ends at the positions, the last before it that ends where that one begins …
    """
    at = dict(positions)
    found: list[Applied] = []
    for entry in reversed(entries):
        if entry.end == at.get(entry.topic) and entry.applied | {entry.topic: entry.end} == at:
            found.append(entry)
            at = dict(entry.applied)
            if not at:
                break
    found.reverse()
    return Chain(found, at)
