"""Both steps over a table in memory, as a target: whatever is fed, each record ends once, in time, without harm."""

from __future__ import annotations

import signal
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from types import FrameType
from typing import Any, Final

import orjson

from planner.booking_step import CLOCK_ENTRY, BookingStep
from planner.plan_step import PlanStep
from planner.step import Message, Record
from planner.step import Step as PureStep
from planner.topics import SEPARATOR, composed_key
from tests.driver import MemoryEntries
from tests.soak.fuzz.mutate import Input
from tests.soak.fuzz.templates import AT, CATALOGUE, TEMPLATES

LOGGED_AT_MS: Final = 1_795_000_000_000
"""When every record is appended: some days after the templates' events, so that what is of the future is refused."""
SECONDS_PER_INPUT_MOST: Final = 5.0
"""A watchdog, not a measure: nothing takes a hundredth of it on an idle machine."""
_ANSWERED: Final = frozenset({"bookings", "stock", "orders", "alert-actions"})
_COUNTED: Final = (
    "requirements", "requirements_repeated", "requirements_unreadable", "ticks_unreadable", "ticks_refused",
    "ticks_passed_over", "catalogues", "catalogues_unreadable",
)  # fmt: skip

_BY_REVIEWS: Final = {b"alert", b"proposal", b"told", b"waiting"}


class Harm(AssertionError):  # noqa: N818 (named after what happened)
    """An input did what no input may; the message says which."""


@dataclass
class Target:
    """The steps, and what became of all that was fed."""

    bookings: BookingStep = field(default_factory=lambda: BookingStep(0, 1, CATALOGUE))
    plan: PlanStep = field(default_factory=lambda: PlanStep(0, CATALOGUE))
    tables: tuple[MemoryEntries, MemoryEntries] = field(default_factory=lambda: (Table(), Table()))
    offsets: Counter[str] = field(default_factory=Counter)
    ended: Counter[str] = field(default_factory=Counter)
    """Ends by topic, status and reason."""
    kinds: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Kind and status of inputs that have an outcome."""

    def __post_init__(self) -> None:
        self.bookings.restore(self.tables[0])
        self.plan.restore(self.tables[1])
        tick = orjson.dumps(TEMPLATES["clock"][0] | {"now": AT})
        self._fold(self.plan, self.tables[1], [self._record(Input("", "clock", b"0", tick))])

    def _record(self, given: Input) -> Record:
        self.offsets[given.topic] += 1
        return Record(given.topic, 0, self.offsets[given.topic], LOGGED_AT_MS, given.key, given.value)

    def feed(self, inputs: Iterable[Input], *, review: bool = False) -> None:
        """Fold inputs, a chunk by topic; ``review``: also plan all that they touched, and publish it.

        Raises:
            Harm: a record has no end, more than one, or changed something though it was not applied.
        """
        by_topic: dict[str, list[tuple[Record, Input]]] = defaultdict(list)
        for given in inputs:
            by_topic[given.topic].append((self._record(given), given))
        for topic, fed in by_topic.items():
            records = [record for record, _ in fed]
            if topic in {"bookings", "catalogue"}:
                told, _ = self._fold(self.bookings, self.tables[0], records)
                self._ends(fed, told)
            if topic != "bookings":
                told, counts = self._fold(self.plan, self.tables[1], records)
                if topic in _ANSWERED:
                    self._ends(fed, told)
                else:
                    self.ended.update({f"{topic}: {name}": counts[name] for name in _COUNTED if counts[name]})
        if review:
            self._fold(self.plan, self.tables[1], [], caught_up=True)
            while self.plan.due():
                pass

    def harmless(self, given: Input) -> None:
        """Feed one input alone, and see that it changed nothing but the time unless it was applied."""
        before = [dict(table.entries) for table in self.tables]
        ended = self.ended.copy()
        self.feed([given])
        status = {name.split(" ")[1] for name in (self.ended - ended) if name.split(":")[0] in _ANSWERED}
        if status and status <= {"refused", "dead-lettered"}:
            for table, old in zip(self.tables, before, strict=True):
                changed = {k for k in table.entries.keys() | old.keys() if table.entries.get(k) != old.get(k)}
                # the backlog's reviews go on meanwhile
                changed = {key for key in changed if _parts(key)[0] not in _BY_REVIEWS}
                if changed - {CLOCK_ENTRY} - _forgotten(old, table.entries):
                    raise Harm(f"{status} and yet {sorted(changed)} changed: {given}")

    def restart(self) -> None:
        """New steps from the tables: what was applied can be read again."""
        self.bookings, self.plan = BookingStep(0, 1, CATALOGUE), PlanStep(0, CATALOGUE)
        self.bookings.restore(self.tables[0])
        self.plan.restore(self.tables[1])

    def _fold(
        self, step: PureStep, table: MemoryEntries, records: list[Record], *, caught_up: bool = False
    ) -> tuple[list[Message], Counter[str]]:
        told: list[Message] = []
        counts: Counter[str] = Counter()
        for page in step.fold(records, caught_up=caught_up):
            table.apply(page.writes)
            told += page.messages
            counts += page.counts
        return told, counts

    def _ends(self, fed: list[tuple[Record, Input]], told: list[Message]) -> None:
        ends: dict[int, list[dict[str, Any]]] = defaultdict(list)
        for message in told:
            if message.topic == "outcomes":
                outcome = orjson.loads(message.value or b"")
                ends[outcome["offset"]].append(outcome)
        for record, given in fed:
            outcomes = ends[record.offset]
            if len(outcomes) != 1:
                raise Harm(f"{len(outcomes)} outcomes of {given}")
            outcome = outcomes[0]
            status, reason = outcome["status"], outcome.get("reason", "")
            if status in {"refused", "dead-lettered"} and not (reason and outcome.get("detail", "").isprintable()):
                raise Harm(f"no reason that can be read: {outcome} of {given}")
            self.ended[f"{record.topic}: {status} {reason}".strip()] += 1
            self.kinds[given.kind, status] += 1


def _forgotten(before: Mapping[bytes, bytes], after: Mapping[bytes, bytes]) -> set[bytes]:
    """What changed because the time, which a refused event tells as well, has passed the day on which it was due:
    bookings are forgotten, or, if nobody has told how they ended, kept for longer."""
    if after.get(CLOCK_ENTRY) == before.get(CLOCK_ENTRY):
        return set()
    today = datetime.fromisoformat(orjson.loads(after[CLOCK_ENTRY])).toordinal()
    gone = before.keys() - after.keys()
    bookings = {_parts(key)[2] for key in gone if _parts(key)[0] == b"ends" and int(_parts(key)[1]) < today}
    moved = {key for key in before.keys() ^ after.keys() if _parts(key)[0] == b"ends" and _parts(key)[2] in bookings}
    lines = {key for key in gone if _parts(key)[0] in {b"lines", b"lines-until"}}
    return moved | lines | {composed_key("booking", booking.decode()) for booking in bookings}


def _parts(key: bytes) -> list[bytes]:
    return key.split(SEPARATOR.encode(), 2)


class Table(MemoryEntries):
    """Scans without looking for writes meanwhile."""

    def scan(self, prefix: bytes) -> Iterable[tuple[bytes, bytes]]:
        return sorted((key, value) for key, value in self.entries.items() if key.startswith(prefix))


@contextmanager
def watchdog(seconds: float) -> Iterator[None]:
    """Raises ``Harm`` in whatever takes longer."""

    def bark(number: int, frame: FrameType | None) -> None:
        raise Harm(f"more than {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, bark)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def culprit(inputs: list[Input], fails: Callable[[list[Input]], bool]) -> list[Input]:
    """The fewest of the inputs that still fail, found by leaving out ever shorter stretches."""
    stretch = max(len(inputs) // 2, 1)
    while True:
        at, fewer = 0, False
        while at < len(inputs):
            rest = inputs[:at] + inputs[at + stretch :]
            if rest and fails(rest):
                inputs, fewer = rest, True
            else:
                at += stretch
        if stretch == 1 and not fewer:
            return inputs
        stretch = max(stretch // 2, 1)
