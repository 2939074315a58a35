"""All that a run left on the log, read once: inputs, outcomes, tables as their changelogs tell them, last messages."""

from __future__ import annotations

import pickle
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from planner.step import Record
from planner.topics import TOPICS
from streams.log import LogClient
from streams.names import INPUTS, POSITION, changelog

LATEST: Final = tuple(name for name, topic in TOPICS.items() if topic.direction == "out" and topic.compacted)
"""Topics of which the last message of each key counts."""
WHOLE: Final = tuple(name for name in TOPICS if name not in LATEST)
_POSITION: Final = POSITION + b"\x1f"

Place = tuple[str, int]
"""Agent and partition."""


class Page(NamedTuple):
    """A chunk whose table entries were written: up to which offset of which topic, and when."""

    topic: str
    end: int
    at_ms: int


@dataclass
class Tables:
    """The tables, by following their changelogs: the entries, and each page's end in order."""

    entries: dict[Place, dict[bytes, bytes]] = field(default_factory=lambda: defaultdict(dict))
    pages: dict[Place, list[Page]] = field(default_factory=lambda: defaultdict(list))
    _next: dict[str, dict[int, int]] = field(default_factory=dict)

    async def catch_up(self, client: LogClient) -> None:
        """Read what the changelogs have got since the last time."""
        for agent in INPUTS:
            topic = changelog(agent)
            at = self._next.setdefault(agent, dict.fromkeys(range(await client.partitions(topic)), 0))
            async for chunk in client.read_chunks(topic, dict(at)):
                for record in chunk:
                    self._take(agent, record)
                at[chunk[-1].partition] = chunk[-1].offset + 1

    def _take(self, agent: str, record: Record) -> None:
        place = (agent, record.partition)
        key = record.key or b""
        if record.value is None:
            self.entries[place].pop(key, None)
            return
        self.entries[place][key] = record.value
        if key.startswith(_POSITION):
            self.pages[place].append(Page(key[len(_POSITION) :].decode(), int(record.value), record.timestamp_ms))

    def applied(self, agent: str, topic: str, partition: int) -> int:
        """Offset of the next record to apply."""
        return int(self.entries[agent, partition].get(_POSITION + topic.encode(), b"0"))

    async def waiting(self, client: LogClient) -> dict[str, int]:
        """agent/topic → records that are on the log and not applied."""
        await self.catch_up(client)
        found: dict[str, int] = {}
        for agent, topics in INPUTS.items():
            for topic in topics:
                ends = await client.end_offsets(topic)
                left = sum(max(0, end - self.applied(agent, topic, partition)) for partition, end in ends.items())
                if left:
                    found[f"{agent}/{topic}"] = left
        return found


@dataclass
class Snapshot:
    """What the checks look at; needs no broker any more."""

    seed: int
    partitions: int
    tables: Tables
    records: dict[str, dict[int, list[Record]]]
    """Topic → partition → every record."""
    latest: dict[str, dict[bytes, Record]]
    """Topic → key → the last record, without those that were withdrawn."""
    published: Mapping[str, int]
    """Topic → number of records."""

    def all(self, topic: str) -> list[Record]:
        """Every record of a topic, partition by partition."""
        return [record for _, records in sorted(self.records[topic].items()) for record in records]

    def save(self, file: Path) -> None:
        """Keep it, to be checked again without a broker."""
        with file.open("wb") as opened:
            pickle.dump(self, opened)

    @classmethod
    def load(cls, file: Path) -> Snapshot:
        """One that was kept by ``save``."""
        with file.open("rb") as opened:
            kept: Snapshot = pickle.load(opened)
        return kept


async def take_snapshot(client: LogClient, seed: int, tables: Tables) -> Snapshot:
    """Read everything."""
    await tables.catch_up(client)
    records: dict[str, dict[int, list[Record]]] = {}
    published: dict[str, int] = {}
    for topic in WHOLE:
        count = await client.partitions(topic)
        records[topic] = {partition: [] for partition in range(count)}
        async for chunk in client.read_chunks(topic):
            records[topic][chunk[0].partition] += chunk
        published[topic] = sum(map(len, records[topic].values()))
    latest: dict[str, dict[bytes, Record]] = {}
    for topic in LATEST:
        view: dict[bytes, Record] = {}
        published[topic] = 0
        async for chunk in client.read_chunks(topic):
            published[topic] += len(chunk)
            for record in chunk:
                key = record.key or b""
                if record.value is None:
                    view.pop(key, None)
                else:
                    view[key] = record
        latest[topic] = view
    return Snapshot(seed, len(records["bookings"]), tables, records, latest, published)
