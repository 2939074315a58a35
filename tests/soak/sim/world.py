"""The world of a script: a log in memory, workers with the real engine and steps, and what may befall them.

Nothing here knows the time: the log's own comes with the script.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import structlog

import planner.booking.adoption
from planner.booking_step import BookingStep
from planner.plan_step import PlanStep
from planner.step import Message, Record
from planner.step import Step as PureStep
from planner.topics import composed_key
from streams import names
from streams.delivery.chunk import Chunk
from streams.delivery.outlet import Page
from streams.log import partition_of
from tests.driver import MemoryEntries
from tests.soak.sim.script import Script, Step, catalogue
from tests.soak.sim.worker import Worker

Slot = tuple[str, int]
"""Agent and partition."""

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
