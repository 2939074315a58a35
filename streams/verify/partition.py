"""One partition of one agent: its table as of an instant, and the fold that should have led there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from typing import Literal

import orjson

from planner.booking_step import BookingStep
from planner.journal import Applied, Restored, chain
from planner.plan_step import PlanStep
from planner.step import Message, Step
from planner.topics import SEPARATOR, TOPICS, composed_key
from planner.verify.compare import Difference, first_difference
from planner.verify.refold import MemoryTable, Refold
from streams import names
from streams.log import LogClient
from streams.verify.readers import Catalogues, Gone, InputReader, JournalReader, TableReader

Sink = Callable[[str, int, Message], None]
"""Takes what an agent's partition should have published."""


class PartitionCheck:
    """Goes from cut to cut: reads the table, folds what led to it, compares.

    ``since``: where the fold begins, as topic → offset; empty: at the beginning of everything. Where the log no longer
    has the beginning, the first cut is taken as it is, and what comes after it is verified.
    """

    def __init__(
        self, client: LogClient, agent: str, partition: int, *, partitions: int, catalogues: Catalogues,
        journal: JournalReader, clock: Literal["wall", "event"], sink: Sink, progress: Callable[[int], None],
    ) -> None:  # fmt: skip
        self.agent = agent
        self.partition = partition
        self.since: dict[str, int] = {}
        self.gone: str | None = None
        """Why the fold does not begin at the beginning."""
        self.table = TableReader(client, agent, partition)
        self.refold = Refold(self._make_step)
        self.at: dict[str, int] = {}
        """Up to where the fold has come."""
        self._partitions = partitions
        self._catalogues = catalogues
        self._journal = journal
        self._clock = clock
        self._sink = sink
        self._progress = progress
        self._chunks: list[Applied] = []
        self._last: Applied | None = None
        self._sites: set[str] = set()
        self._inputs = {
            topic: InputReader(client, topic, partition, compacted=TOPICS[topic].compacted)
            for topic in names.INPUTS[agent]
        }

    @property
    def name(self) -> str:
        """The table's name, with its partition."""
        return f"{names.table_name(self.agent)}/{self.partition}"

    @property
    def waiting(self) -> int:
        """Records from where the fold is to the cut."""
        return sum(self.table.positions.values()) - sum(self.at.values())

    @property
    def records(self) -> int:
        """Records up to which the fold has come, of all topics."""
        return sum(self.at.values())

    @property
    def sites(self) -> set[str]:
        """Sites of the folded table that its catalogue knows, as of the last ``afresh``."""
        return self._sites

    def fingerprint(self, site: str) -> int:
        """Stands for all entries of a site as they are in the fold; of this process only."""
        entries = self.refold.table.entries
        return hash(frozenset((key, value) for key, value in entries.items() if site_of(key) == site))

    @property
    def caught_up(self) -> bool:
        """Whether, as of the cut, nothing waited on the topic that was last read."""
        return self._last is None or self._last.caught_up

    @property
    def tried(self) -> bool:
        """Whether the journal has chunks beyond the cut: published, perhaps, and not yet written."""
        entries = self._journal.entries[self.agent]
        return bool(entries) and entries[-1] is not self._last

    async def cut(self) -> None:
        """Read the table as of now, and find the chunks that led there."""
        await self.table.advance()
        await self._journal.advance()
        if self.table.positions == self.at:
            self._chunks = []
            return
        found = chain(self._journal.entries[self.agent], self.table.positions)
        beginning = next((n for n, chunk in enumerate(found.chunks) if chunk.applied == self.at), None)
        if beginning is None and found.before != self.at:
            if self.refold.chunks:
                raise Gone(f"{self.name}: the journal has a hole between {self.at} and {found.before}")
            self._last = found.chunks[-1] if found.chunks else None
            self._trust(f"the journal does not reach back to the beginning, but to {found.before}")
            return
        self._chunks = found.chunks[beginning or 0 :]

    def _trust(self, why: str) -> None:
        """Take the table as it is, and verify what follows."""
        self.gone = why
        told = [entry.restored for entry in self._journal.entries[self.agent] if entry.restored is not None]
        clock = told[-1].clock if told else self._clock
        self.refold = Refold(
            lambda restored: self._make_step(restored.model_copy(update={"clock": clock})), self.table.entries
        )
        for message in _decisions(self.table.entries):
            self._sink(self.agent, self.partition, message)
        self.since = dict(self.table.positions)
        self.at = dict(self.table.positions)
        self._chunks = []

    async def fold(self) -> None:
        """Fold the chunks that lead to the cut."""
        for number, chunk in enumerate(self._chunks):
            try:
                records = await self._inputs[chunk.topic].take(chunk.start, chunk.end)
            except Gone as gone:
                if number or self.refold.chunks:
                    raise
                self._trust(str(gone))
                return
            for message in self.refold.apply(chunk, records):
                self._sink(self.agent, self.partition, message)
            self.at = dict(chunk.applied) | {chunk.topic: chunk.end}
            self._last = chunk
            self._progress(chunk.end - chunk.start)
            await asyncio.sleep(0)
        if self._last is not None:
            self._journal.forget_before(self.agent, self._last)
        self._chunks = []

    def difference(self) -> Difference | None:
        """The first entry in which the table is not what the fold gives."""
        return first_difference(self.refold.table.entries, self.table.entries, self.name)

    def difference_of(self, site: str) -> Difference | None:
        """The same among the entries of one site."""
        one, other = (
            {key: value for key, value in entries.items() if site_of(key) == site}
            for entries in (self.refold.table.entries, self.table.entries)
        )
        return first_difference(one, other, self.name)

    def afresh(self, sites: set[str] | None = None) -> list[Message]:
        """What the plan of the folded state publishes when everything is published anew: forecasts, accuracy."""
        entries = self.refold.table.entries
        if sites is not None:
            entries = {key: value for key, value in entries.items() if site_of(key) in {None, *sites}}
        step = PlanStep(self.partition, self._catalogues.of(None))
        step.restore(MemoryTable(entries))
        known = {site for site in step.sites if site in step.catalogue.sites}
        self._sites = known if sites is None else self._sites | known
        messages: list[Message] = []
        while due := step.due():
            messages += due
        return messages

    def _make_step(self, restored: Restored) -> Step:
        bundle = self._catalogues.of(restored.catalogue_version)
        if self.agent == names.EXPAND:
            return BookingStep(self.partition, self._partitions, bundle, clock=restored.clock)
        return PlanStep(self.partition, bundle, clock=restored.clock)


def _decisions(entries: Mapping[bytes, bytes]) -> Iterator[Message]:
    """The alerts and proposals that a table holds, as they were published."""
    for key, value in entries.items():
        kind, *parts = key.decode().split(SEPARATOR)
        if kind == "alert":
            yield Message("alerts", orjson.loads(value)["alert_id"].encode(), value)
        elif kind == "proposal":
            site, name = parts
            yield Message("proposals", composed_key(site, *name.split("/")), value)


def site_of(key: bytes) -> str | None:
    """The site that an entry of ``plan`` is about; None: it is about all."""
    parts = key.decode().split(SEPARATOR, 2)
    return parts[1] if len(parts) > 1 else None
