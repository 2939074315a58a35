"""The world of a script: a log in memory, workers with the real engine and steps, and what may befall them.

A worker's coroutine is driven by hand and stops wherever it waits for the log, so a chunk can be left there for as long
as the script likes: while its worker dies, is stopped, or loses the partition to another. Nothing here knows the time:
the log's own comes with the script.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import structlog
from faust.types import TP

import planner.booking.adoption
from planner.booking_step import BookingStep
from planner.plan_step import PlanStep
from planner.step import Message, Record
from planner.step import Step as PureStep
from planner.topics import composed_key
from streams import names
from streams.delivery.chunk import Chunk
from streams.delivery.outlet import Fenced, Page
from streams.engine import Engine
from streams.log import partition_of
from tests.driver import MemoryEntries
from tests.soak.sim.script import Script, Step, catalogue

Slot = tuple[str, int]
"""Agent and partition."""
Input = tuple[str, str, int]
"""Agent, topic and partition."""

_BOOKING = composed_key("booking", "")
READ_TOPICS = ("bookings", "requirements", "stock", "orders", "alert-actions", "clock", "catalogue")


class Table(MemoryEntries):
    """A table's partition; scans without looking for writes meanwhile (``tests.driver`` does)."""

    forgot = False
    """Whether a booking was ever taken from it: it had been over for long."""

    def apply(self, writes: Mapping[bytes, bytes | None]) -> None:
        self.forgot |= any(value is None and key.startswith(_BOOKING) for key, value in writes.items())
        super().apply(writes)

    def scan(self, prefix: bytes) -> Iterable[tuple[bytes, bytes]]:
        return sorted((key, value) for key, value in self.entries.items() if key.startswith(prefix))


class Pause:
    """Where a worker waits for the log."""

    def __init__(self, before: str) -> None:
        self.before = before

    def __await__(self) -> Iterator[Pause]:
        yield self


class Told(NamedTuple):
    """A message that got out: by which slot, and with which of its pages (None: it belongs to no chunk)."""

    message: Message
    slot: Slot
    page: int | None


class Folded(NamedTuple):
    """A chunk that is durable."""

    topic: str
    records: tuple[Record, ...]
    caught_up: bool


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


@dataclass(eq=False)
class World:
    """What there is: the log, the tables, who owns what, and all that was told."""

    script: Script
    logs: dict[tuple[str, int], list[Record]] = field(default_factory=lambda: defaultdict(list))
    tables: dict[Slot, Table] = field(default_factory=lambda: defaultdict(Table))
    workers: list[Worker] = field(default_factory=list)
    frozen: list[Worker] = field(default_factory=list)
    owners: dict[int, Worker] = field(default_factory=dict)
    """Partition → the worker that has its slots."""
    told: list[Told] = field(default_factory=list)
    durable: set[int] = field(default_factory=set)
    """Pages whose entries are written."""
    folded: dict[Slot, list[Folded]] = field(default_factory=lambda: defaultdict(list))
    half: dict[Slot, str] = field(default_factory=dict)
    """Slot → topic of which a chunk of several pages is half written."""
    mixed: set[Slot] = field(default_factory=set)
    """Slots in which a half-written chunk waited while one of another topic was applied."""
    counts: Counter[str] = field(default_factory=Counter)
    """What was injected, and what came of it."""
    pages: int = 0
    now_ms: int = 0

    @property
    def atomic(self) -> bool:
        return self.script.log == "atomic"

    def slots(self) -> list[Slot]:
        return [(agent, p) for agent in names.INPUTS for p in range(self.script.partitions)]

    # --- the log ---

    def append(self, message: Message) -> Record:
        """Put a message at the end of its partition."""
        topic, key, value, partition, headers = message
        if partition is None:
            partition = partition_of(key or b"", self.script.partitions)
        log = self.logs[topic, partition]
        record = Record(topic, partition, len(log), self.now_ms, key, value, headers)
        log.append(record)
        return record

    def tell(self, messages: Iterable[Message], slot: Slot, page: int | None) -> None:
        """Messages of a worker become durable."""
        for message in messages:
            self.told.append(Told(message, slot, page))
            if message.topic in READ_TOPICS:
                self.append(message)

    def write(self, slot: Slot, page: Page, number: int, chunk: Chunk) -> None:
        """The entries of a page become durable, all at once."""
        self.tables[slot].apply(page.writes)
        self.durable.add(number)
        if (half := self.half.get(slot)) not in {None, chunk.topic}:
            self.mixed.add(slot)
        if not page.applied:
            self.half[slot] = chunk.topic  # until the last page comes
            return
        if half == chunk.topic:
            del self.half[slot]
        done = sum(len(f.records) for f in self.folded[slot] if f.topic == chunk.topic)
        records = self.logs[chunk.topic, chunk.partition][done : chunk.end]
        self.folded[slot].append(Folded(chunk.topic, tuple(records), chunk.behind <= 0))

    def owns(self, worker: Worker, partition: int) -> bool:
        return self.owners.get(partition) is worker

    # --- workers ---

    def make_step(self, agent: str, partition: int) -> PureStep:
        """A new step of the script's circumstances, not restored."""
        first = catalogue(self.script.catalogue)
        if agent == names.PLAN:
            return PlanStep(partition, first, self.script.clock)
        return BookingStep(partition, self.script.partitions, first, self.script.clock)

    def assign(self, chance: random.Random, *, anew: bool = False) -> None:
        """Every partition to some worker; workers whose partitions change, or all, begin anew from the tables."""
        if not self.workers:
            self.owners = {}
            return
        before = {worker: worker.partitions for worker in self.workers}
        owners = {p: chance.choice(self.workers) for p in range(self.script.partitions)}
        everybody = chance.random() < 0.3 or anew
        for worker in self.workers:
            worker.begin(chance)
        after = {worker: {p for p, owner in owners.items() if owner is worker} for worker in self.workers}
        for worker in self.workers:
            if everybody or after[worker] != before[worker]:
                worker.let_go(gracefully=chance.random() < 0.5)
        self.owners = owners
        for worker in self.workers:
            if everybody or after[worker] != before[worker]:
                worker.take_over(after[worker])

    def happen(self, step: Step) -> None:
        """One step of the script."""
        chance = random.Random(step.number)
        self.counts[step.action] += 1
        match step.action:
            case "publish":
                self.now_ms = step.at_ms
                self.append(Message(step.topic, step.key, step.value, step.partition))
            case "start":
                if len(self.workers) < 4:
                    self.workers.append(Worker(self))
                    self.assign(chance)
            case "rebalance":
                self.assign(chance)
            case "kill":
                self._kill(chance)
            case "freeze":
                if len(self.workers) > 1:
                    worker = self.workers.pop(chance.randrange(len(self.workers)))
                    worker.begin(chance)
                    self.frozen.append(worker)
                    self.assign(chance)
            case "thaw":
                if self.frozen:
                    self._thaw(self.frozen.pop(chance.randrange(len(self.frozen))))
            case "work" | "due" | "misplace":
                if self.workers:
                    worker = chance.choice(self.workers)
                    {"work": worker.work, "due": worker.publish_due, "misplace": worker.misplace}[step.action](chance)

    def _kill(self, chance: random.Random) -> None:
        everyone = self.workers + self.frozen
        if not everyone:
            return
        worker = chance.choice(everyone)
        if worker in self.workers:
            worker.begin(chance)
        worker.die(chance)
        (self.workers if worker in self.workers else self.frozen).remove(worker)
        self.assign(chance)

    def _thaw(self, worker: Worker) -> None:
        """It goes on as if nothing had happened, until it hears that it has nothing any more."""
        before = {slot: dict(table.entries) for slot, table in self.tables.items()}
        told = len(self.told)
        worker.finish()
        worker.publish_due(random.Random(0))
        if before != {slot: dict(table.entries) for slot, table in self.tables.items()} or len(self.told) != told:
            raise AssertionError("a worker that was stopped past its session wrote to the log when it went on")
        worker.take_over(set())
        self.workers.append(worker)

    def settle(self) -> None:
        """Everything that waits is worked off; workers are there, and none is stopped."""
        chance = random.Random(self.script.seed)
        for worker in self.frozen:
            self._thaw(worker)
        self.frozen = []
        if not self.workers:
            self.workers.append(Worker(self))
        self.assign(chance)
        for _ in range(5):
            while sum(worker.work(chance) for worker in self.workers):
                pass
            if self.settled():
                break
            self.assign(chance, anew=True)  # a position that was lost is found again
        else:
            raise AssertionError("the world does not come to rest")
        while sum(worker.publish_due(chance) for worker in self.workers):
            pass

    def settled(self) -> bool:
        """Whether every record of every input was applied."""
        return all(
            self.position(slot, topic) == len(self.logs[topic, slot[1]])
            for slot in self.slots()
            for topic in names.INPUTS[slot[0]]
        )

    def position(self, slot: Slot, topic: str) -> int:
        return int(self.tables[slot].get(names.position_key(topic)) or 0)


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
            engine.restore(partitions)
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


def _nothing(logger: Any, name: str, event: Any) -> Any:
    raise structlog.DropEvent


@contextmanager
def circumstances(script: Script) -> Iterator[None]:
    """What the script sets for the whole process: the size of a page, and silence of the logs."""
    per_page = planner.booking.adoption.BOOKINGS_PER_PAGE_MOST
    before: Mapping[str, Any] = structlog.get_config()
    planner.booking.adoption.BOOKINGS_PER_PAGE_MOST = script.bookings_per_page
    structlog.configure(processors=[_nothing])
    try:
        yield
    finally:
        planner.booking.adoption.BOOKINGS_PER_PAGE_MOST = per_page
        structlog.configure(**before)


def run(script: Script, watch: Callable[[World], None] | None = None) -> World:
    """The world after everything has happened and come to rest. Call within ``circumstances``."""
    world = World(script)
    for step in script.steps:
        world.happen(step)
    world.settle()
    return world
