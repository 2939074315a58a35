"""A whole verification: every partition of both agents, and every topic that comes of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from config.settings import Settings
from planner.catalogue.model import Bundle
from planner.step import Message
from planner.verify.compare import Difference
from planner.verify.ends import Ends, Stream
from streams import names
from streams.inspect import NothingKnown, configured_catalogue
from streams.log import LogClient, partition_of
from streams.verify.outputs import Outputs
from streams.verify.partition import PartitionCheck
from streams.verify.readers import Catalogues, JournalReader

PATIENCE_S: Final = 5.0
DEADLINE_FACTOR: Final = 6
"""Of the patience: how long what is always in motion is looked at."""


@dataclass(slots=True)
class Report:
    """What was compared, and the first difference if there is one."""

    difference: Difference | None = None
    tables: dict[str, dict[str, int]] = field(default_factory=dict)
    """Table with partition → records folded, chunks, entries compared."""
    since: dict[str, str] = field(default_factory=dict)
    """Table with partition → why it is verified from a later state on, and not from the beginning."""
    ends: dict[str, int] = field(default_factory=dict)
    """``outcomes``, ``dead-letters``, ``requirements`` → messages compared."""
    repeated: dict[str, int] = field(default_factory=dict)
    """The same → messages that say again what was said before, word for word."""
    published: dict[str, int] = field(default_factory=dict)
    """Compacted topic → keys compared."""
    in_motion: dict[str, int] = field(default_factory=dict)
    """Topic → what could not be compared, since its site changed whenever one looked."""
    removed: dict[str, int] = field(default_factory=dict)
    """Topic → messages that retention has taken away, so that they could not be compared."""

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


class Verification:
    """Verifies a log from its beginning, then, each time it is asked again, what has come since.

    Args:
        partitions: of which numbers; None: all. A site has its own and looks at ``plan`` alone.
        progress: told how many records were folded, of how many.
    """

    def __init__(
        self, client: LogClient, settings: Settings, *, partitions: Collection[int] | None = None,
        site: str | None = None, patience_s: float = PATIENCE_S,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:  # fmt: skip
        self._client = client
        self._settings = settings
        self._only = partitions
        self._site = site
        self._patience_s = patience_s
        self._progress = progress
        self._done = 0
        self._checks: list[PartitionCheck] = []
        self._outputs: Outputs | None = None
        self._ends = {topic: Ends(topic) for topic in ("outcomes", "dead-letters")}
        self._requirements = Stream("requirements")
        self._read_to: dict[str, dict[int, int]] = {}

    async def verify(self) -> Report:
        """Compare everything as of now.

        Raises:
            Gone: the log lacks something that the fold needs.
            LogError: the log cannot be read.
        """
        if not self._checks:
            await self._prepare()
        report = Report()
        report.difference = await self._compare(report)
        return report

    async def _prepare(self) -> None:
        client = self._client
        count = await client.partitions(names.changelog(names.PLAN))
        catalogues = await Catalogues.read(client, self._configured)
        chosen = range(count) if self._only is None else sorted(self._only)
        agents = list(names.INPUTS)
        if self._site is not None:
            chosen, agents = [partition_of(self._site.encode(), count)], [names.PLAN]
        journals = {partition: JournalReader(client, partition) for partition in chosen}
        self._checks = [
            PartitionCheck(
                client, agent, partition, partitions=count, catalogues=catalogues, journal=journals[partition],
                clock=self._settings.clock, sink=self._take, progress=self._advanced,
            )
            for agent in agents
            for partition in chosen
        ]  # fmt: skip
        plans = [check for check in self._checks if check.agent == names.PLAN]
        self._outputs = Outputs(client, plans, lambda site: self._site in {None, site}, self._patience_s)

    def _configured(self) -> Bundle | None:
        try:
            return configured_catalogue(self._settings)
        except NothingKnown:
            return None

    def _take(self, agent: str, partition: int, message: Message) -> None:
        """What a partition should have published."""
        if message.topic in self._ends:
            self._ends[message.topic].expect(message)
        elif message.topic == "requirements":
            self._requirements.expect(message, f"{agent}/{partition}")
        elif self._outputs is not None and message.topic in self._outputs.decided:
            self._outputs.decided[message.topic].expect(message)

    def _advanced(self, records: int) -> None:
        self._done += records
        self._progress(self._done, self._done + max(0, sum(check.waiting for check in self._checks)))

    async def _compare(self, report: Report) -> Difference | None:
        if self._outputs is None:
            raise RuntimeError("_prepare comes first")
        found = await self._tables()
        if found is None and any(check.gone is not None and not check.refold.chunks for check in self._checks):
            # what is there was taken as it is; give the worker time to do something that can be verified
            await asyncio.sleep(self._patience_s)
            found = await self._tables()
        for check in self._checks:
            if check.gone is not None:
                report.since[check.name] = check.gone
            report.tables[check.name] = {
                "records": check.refold.records, "chunks": check.refold.chunks,
                "entries": len(check.refold.table.entries),
            }  # fmt: skip
        found = found or await self._compare_ends(report)
        if found is None and self._site is None:
            found = await self._compare_requirements(report)
        if found is None:
            moved: list[Difference] = []

            async def advance() -> None:
                moved.extend(filter(None, [await self._tables()]))

            found = await self._outputs.compare(advance, self._patience_s * DEADLINE_FACTOR)
            found = moved[0] if moved else found
            report.published = self._outputs.compared
            report.in_motion |= {topic: number for topic, number in self._outputs.in_motion.items() if number}
        return found

    async def _tables(self) -> Difference | None:
        """Take every partition to a new cut, fold what led there, compare; the first difference."""
        for check in self._checks:
            await check.cut()
        for check in self._checks:
            await check.fold()
            if (found := self._of_site(check)) is not None:
                return found
        return None

    def _of_site(self, check: PartitionCheck) -> Difference | None:
        return check.difference() if self._site is None else check.difference_of(self._site)

    # --- every input has one end --------------------------------------------------------------------------

    async def _compare_ends(self, report: Report) -> Difference | None:
        folded = {
            (topic, check.partition): (check.since.get(topic, 0), position)
            for check in self._checks
            for topic, position in check.at.items()
            if topic != "catalogue" or check.agent == names.EXPAND
        }
        for topic, ends in self._ends.items():
            if (early := ends.find_early(folded)) is not None:
                return early
            complete = await self._beginning_kept(topic)
            async for chunk in self._client.read_chunks(topic, self._read_to.setdefault(topic, {})):
                for record in chunk:
                    found = ends.find(record, folded)
                    if found is not None:
                        return found
                if len(chunk) > 1000:
                    await asyncio.sleep(0)
                self._read_to[topic][chunk[0].partition] = chunk[-1].offset + 1
            report.ends[topic], report.repeated[topic] = len(ends.recomputed), ends.repeated
            missing = list(ends.missing())
            if missing and complete:
                return missing[0]
            if missing:
                report.removed[topic] = len(missing)
        return None

    async def _compare_requirements(self, report: Report) -> Difference | None:
        stream = self._requirements
        complete = await self._beginning_kept("requirements")
        until_s = asyncio.get_running_loop().time() + self._patience_s * DEADLINE_FACTOR
        quiet_s = asyncio.get_running_loop().time() + self._patience_s
        while True:
            async for chunk in self._client.read_chunks("requirements", self._read_to.setdefault("requirements", {})):
                for record in chunk:
                    stream.find(record)
                self._read_to["requirements"][chunk[0].partition] = chunk[-1].offset + 1
            report.ends["requirements"], report.repeated["requirements"] = len(stream), stream.repeated
            missing = list(stream.missing())
            if missing and complete:
                return missing[0]
            if missing:
                report.removed["requirements"] = len(missing)
            expands = [check for check in self._checks if check.agent == names.EXPAND]
            if self._only is not None or any(check.gone is not None for check in expands):
                return None  # others may have told what we find
            unexplained = stream.unexplained()
            if not unexplained:
                return None
            before = [check.records for check in expands]
            await asyncio.sleep(0.5)
            if (found := await self._tables()) is not None:
                return found
            now_s = asyncio.get_running_loop().time()
            still = stream.unexplained()
            settled = not any(check.tried for check in expands) or all(
                check.records > was for check, was in zip(expands, before, strict=True)
            )
            if still and still[0] == unexplained[0] and settled and now_s > quiet_s:
                return still[0]
            if now_s > until_s:
                report.in_motion["requirements"] = len(still)
                return None

    async def _beginning_kept(self, topic: str) -> bool:
        """Whether nothing of a topic has been removed by age."""
        return not any((await self._client.first_offsets(topic)).values())
