"""A worker of the simulated world: the real engines, whose coroutines are driven by hand.

It stops wherever it waits for the log, so a chunk can be left there for as long as the script likes: while the worker
dies, is stopped, or loses the partition to another.
"""

from __future__ import annotations

import random
from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from faust.types import TP

from planner.step import Message
from streams import names
from streams.delivery.chunk import Chunk
from streams.delivery.outlet import Fenced, Page
from streams.engine import Engine
from tests.engine.fakes import at_once

if TYPE_CHECKING:
    from tests.soak.sim.world import Slot, World

Input = tuple[str, str, int]
"""Agent, topic and partition."""


class Pause:
    """Where a worker waits for the log."""

    def __init__(self, before: str) -> None:
        self.before = before

    def __await__(self) -> Iterator[Pause]:
        yield self


@dataclass(eq=False)
class Flight:
    """A chunk on its way through a worker."""

    chunk: Chunk
    run: Coroutine[Any, Any, bool]
    pause: Pause | None = None
    page: Page | None = None
    published: bool = False
    """Whether the page's messages are out, and its entries not yet written."""
    number: int = 0
    """Of the page."""


class Worker:
    """A process with an engine for each agent; its ``outlet`` is itself, as it stands before the log."""

    faults: tuple[type[Exception], ...] = ()

    def __init__(self, world: World) -> None:
        self.world = world
        self.partitions: set[int] = set()
        self.positions: dict[Input, int] = {}
        """Where each agent's consumer continues."""
        self.flights: dict[Slot, Flight] = {}
        self.engines = {agent: self._engine(agent) for agent in names.INPUTS}

    def _engine(self, agent: str) -> Engine:
        return Engine(
            agent,
            prefix="",
            make_step=lambda partition: self.world.make_step(agent, partition),
            entries=lambda partition: self.world.tables[agent, partition],
            outlet=self,
            seek_back=partial(self._seek_back, agent),
            earliest_offset=self._earliest_offset,
            compacted=["catalogue"],
        )

    async def _seek_back(self, agent: str, tp: TP, offset: int) -> None:
        self.world.counts["gaps found"] += 1
        self.positions[agent, tp.topic, tp.partition] = offset

    async def _earliest_offset(self, tp: TP) -> int:
        return 0

    # --- the outlet ---

    async def deliver(self, page: Page) -> None:
        """As a log may do it: all at once, as both of ours do, or by publishing first and writing then."""
        world, slot = self.world, (page.agent, page.partition)
        flight = self.flights[slot]
        flight.page, flight.published = page, False
        world.pages = flight.number = number = world.pages + 1
        if not world.atomic:
            await Pause("publish")
            self._check(page)
            world.tell(page.messages, slot, number)
            flight.published = True
        await Pause("write")
        self._check(page)
        if world.atomic:
            world.tell(page.messages, slot, number)
        world.write(slot, page, number, flight.chunk)
        flight.page = None
        await Pause("go on")

    def _check(self, page: Page) -> None:
        """Nobody writes for a partition that is another's. The log knows it (a lease, a lock), whatever we believe."""
        if not page.still_ours() or not self.world.owns(self, page.partition):
            self.world.counts["writes refused"] += 1
            raise Fenced

    async def publish(self, messages: Sequence[Message]) -> None:
        """Of no chunk."""
        raise NotImplementedError("the world asks the steps itself for what is due")

    # --- partitions ---

    def let_go(self, *, gracefully: bool) -> None:
        """Partitions are revoked: what is in flight comes to its end, or is dropped."""
        if gracefully:
            self.finish()
        for engine in self.engines.values():
            engine.drop()
        self.finish()
        self.partitions = set()

    def take_over(self, partitions: set[int]) -> None:
        """Own exactly these, from the tables; every input continues where the table says."""
        self.partitions = partitions
        self.positions = {}
        for agent, engine in self.engines.items():
            at_once(engine.restore(partitions))
            for partition in sorted(partitions):
                for topic in names.INPUTS[agent]:
                    applied = engine.applied_offset(TP(topic, partition))
                    self.positions[agent, topic, partition] = applied or 0

    def die(self, chance: random.Random) -> None:
        """At once, wherever it is; of messages that are being published some may get out, in order by partition."""
        for slot, flight in self.flights.items():
            page = flight.page
            waits_to_publish = flight.pause is not None and flight.pause.before == "publish"
            if page is not None and waits_to_publish and self.world.owns(self, slot[1]) and chance.random() < 0.7:
                self.world.counts["publications torn"] += 1
                whole = {topic: chance.random() for topic in sorted({m.topic for m in page.messages})}
                kept = [m for m in page.messages if chance.random() < 0.9 or whole[m.topic] < 0.5]
                self.world.tell(_prefixes(page.messages, kept), slot, flight.number)
            elif page is not None and flight.published:
                self.world.counts["published and not written"] += 1
            flight.run.close()
        self.flights.clear()

    # --- work ---

    def begin(self, chance: random.Random) -> None:
        """Often there is something in flight when misfortune comes."""
        for _ in range(chance.choice((0, 1, 1, 2))):
            self.work(chance, pauses=chance.randint(1, 3))

    def work(self, chance: random.Random, pauses: int | None = None) -> bool:
        """Go on with a chunk in flight or take the next; False: nothing waits.

        ``pauses``: how often it waits for the log before it is left alone (None: as chance has it).
        """
        waiting = [
            (agent, topic, p)
            for (agent, topic, p), position in self.positions.items()
            if (agent, p) in self.flights or position < len(self.world.logs[topic, p])
        ]
        if not waiting:
            return False
        agent, topic, partition = chance.choice(waiting)
        flight = self.flights.get((agent, partition))
        if flight is None:
            flight = self._take_off(agent, topic, partition, chance.choice((1, 2, 5, 20, 100)))
        if pauses is None:
            pauses = 1_000 if chance.random() < 0.7 else chance.randint(1, 3)
        self._go_on((agent, partition), flight, pauses)
        return True

    def _take_off(self, agent: str, topic: str, partition: int, most: int) -> Flight:
        log = self.world.logs[topic, partition]
        start = self.positions[agent, topic, partition]
        records = log[start : start + most]
        end = start + len(records)
        self.positions[agent, topic, partition] = end
        chunk = Chunk(topic, partition, start, end, len(log) - end, records)
        flight = self.flights[agent, partition] = Flight(chunk, self.engines[agent].apply(chunk))
        self.world.counts["chunks"] += 1
        return flight

    def _go_on(self, slot: Slot, flight: Flight, pauses: int) -> None:
        for _ in range(pauses):
            try:
                flight.pause = flight.run.send(None)
            except StopIteration as end:
                del self.flights[slot]
                self.world.counts["chunks acknowledged" if end.value else "chunks not acknowledged"] += 1
                return

    def finish(self) -> None:
        """Everything in flight comes to its end."""
        for slot, flight in list(self.flights.items()):
            self._go_on(slot, flight, 1_000)

    def publish_due(self, chance: random.Random) -> bool:
        """What may wait, of every slot; False: nothing does."""
        messages: list[tuple[Message, Slot]] = []
        for agent, engine in self.engines.items():
            for partition, step in engine.steps.items():
                if (agent, partition) not in self.flights:  # between chunks
                    messages += [(message, (agent, partition)) for message in step.due()]
        for message, slot in messages:
            if self.world.owns(self, slot[1]):
                self.world.tell([message], slot, None)
        return bool(messages)

    def misplace(self, chance: random.Random) -> None:
        """The consumer's position is not where it was: records come again, or are passed over."""
        if not self.positions:
            return
        agent, topic, partition = chance.choice(sorted(self.positions))
        end = len(self.world.logs[topic, partition])
        moved = self.positions[agent, topic, partition] + chance.choice((-3, -1, 1, 1, 2))
        self.positions[agent, topic, partition] = min(max(moved, 0), end)


def _prefixes(messages: Sequence[Message], kept: Sequence[Message]) -> list[Message]:
    """Of each topic the messages up to the first that is not ``kept``."""
    cut: set[str] = set()
    out = []
    for message in messages:
        if not any(message is other for other in kept):
            cut.add(message.topic)
        if message.topic not in cut:
            out.append(message)
    return out
