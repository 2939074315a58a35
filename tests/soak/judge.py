"""Judges a log after faults: everything on it is compared with a fold of its inputs that nothing ever disturbed.

In which order a partition of an agent applied its inputs is on the log: its journal tells each chunk. The judge folds
the inputs once more, in that order but in chunks of its own, with its own tables, and compares:

- every offset of every input was applied, and each that must have an outcome has exactly one;
- the tables equal the fold's, byte for byte, apart from what depends on when a site was looked at (alerts, proposals);
- what was published with the chunks is what the fold publishes: nothing missing, nothing else, nothing twice;
- alerts and proposals rise by one revision at a time, the last are those in the tables, and a plan made afresh from the
  tables decides nothing else and forecasts what was last published.

It knows a log whose time comes from ``clock`` records.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from planner.booking_step import BookingStep
from planner.catalogue.model import Bundle
from planner.journal import APPLIED, chain
from planner.journal import TOPIC as JOURNAL
from planner.plan.queue import WAITING_ENTRY
from planner.plan_step import PlanStep
from planner.step import Message, Record, Step
from planner.topics import SEPARATOR
from streams.inspect import TableView
from streams.log import LogClient
from streams.names import EXPAND, INPUTS, POSITION, changelog
from tests.driver import MemoryEntries

WITH_CHUNKS = ("requirements", "outcomes", "dead-letters")
"""Topics whose every record goes out with a chunk and is the same however the log is cut into chunks."""
REVISED = ("alerts", "proposals")
ANSWERED = ("bookings", "catalogue", "stock", "orders", "alert-actions")
DECISIONS = tuple(f"{kind}{SEPARATOR}".encode() for kind in ("alert", "proposal"))
BY_WHEN_LOOKED_AT = (*DECISIONS, f"told{SEPARATOR}".encode(), WAITING_ENTRY)
"""Entries that depend on when the site was reviewed, and so on where chunks ended. ``planner verify`` judges them."""
Output = tuple[bytes | None, bytes | None, tuple[tuple[str, bytes], ...]]
Stretches = dict[tuple[str, int], list[tuple[str, int]]]


class Course:
    """Each revision of an alert, which the log keeps for a minute only; and, once judged, the order of the fold."""

    def __init__(self) -> None:
        self.applied: Stretches = {}
        """(agent, partition) → (input, offset it was applied up to), in order."""
        self.revisions: dict[tuple[str, bytes], list[int]] = defaultdict(list)
        """(topic, key) → revisions as they came."""
        self._read: dict[str, dict[int, int]] = defaultdict(dict)

    async def follow(self, client: LogClient) -> None:
        """Read what has been written since the last time."""
        for topic in REVISED:
            async for record in self._new(client, topic):
                if record.value is not None and record.key is not None:
                    self.revisions[topic, record.key].append(orjson.loads(record.value)["revision"])

    async def _new(self, client: LogClient, topic: str) -> Any:
        read = self._read[topic]
        async for chunk in client.read_chunks(topic, dict(read)):
            for record in chunk:
                yield record
            read[chunk[-1].partition] = chunk[-1].offset + 1


@dataclass
class Verdict:
    """What was counted; a fault raises instead."""

    inputs: dict[str, int] = field(default_factory=dict)
    statuses: Counter[str] = field(default_factory=Counter)
    entries: int = 0
    alerts: int = 0

    def __str__(self) -> str:
        statuses = ", ".join(f"{count:,} {status}" for status, count in sorted(self.statuses.items()))
        return f"{sum(self.inputs.values()):,} inputs ended once ({statuses}); {self.entries:,} table entries equal"


async def judge(
    client: LogClient, bundle: Bundle, course: Course, *, seed: int, holes: bool, ended: bool = True
) -> Verdict:
    """Judge a log that nobody writes to.

    Args:
        holes: whether offsets may be taken by what is no record: the markers of Kafka's transactions.
        ended: whether everything on it must have been applied; else what was not is left out of the judgement.

    Raises:
        AssertionError: with the first difference.
    """
    await course.follow(client)
    verdict = Verdict()
    partitions = await client.partitions("bookings")
    expected: dict[str, Counter[Output]] = {topic: Counter() for topic in WITH_CHUNKS}
    due: list[Message] = []
    decided: dict[bytes, bytes] = {}
    for agent in INPUTS:
        for partition in range(partitions):
            step: BookingStep | PlanStep = (
                BookingStep(partition, partitions, bundle) if agent == EXPAND else PlanStep(partition, bundle)
            )
            inputs = await _inputs(client, agent, partition)
            table = TableView(await client.latest(changelog(agent), partition))
            stretches = course.applied[agent, partition] = await _stretches(client, agent, partition, table)
            _check_course(f"{agent}/{partition}", stretches, inputs, holes=holes, ended=ended)
            entries, messages = _fold(step, inputs, stretches, random.Random(f"{seed}/{agent}/{partition}"))
            for message in messages:
                if message.topic in expected:
                    expected[message.topic][message.key, message.value, message.headers] += 1
            verdict.entries += _check_table(agent, partition, table, entries)
            if isinstance(step, PlanStep):
                due += _check_plan(partition, bundle, table, step, ended=ended)
                decided |= {key: value for prefix in DECISIONS for key, value in table.scan(prefix)}
    if ended:
        await _check_published(client, due, decided)
    for topic in WITH_CHUNKS:
        await _check_outputs(client, topic, expected[topic])
    await _check_outcomes(client, verdict, ended=ended)
    verdict.alerts = _check_revisions(course)
    return verdict


async def _inputs(client: LogClient, agent: str, partition: int) -> dict[str, list[Record]]:
    return {topic: [record async for record in client.read(topic, partitions=[partition])] for topic in INPUTS[agent]}


async def _stretches(client: LogClient, agent: str, partition: int, table: TableView) -> list[tuple[str, int]]:
    """Input and offset it was applied up to, chunk by chunk, as the journal tells."""
    entries = [APPLIED.validate_json(r.value or b"") async for r in client.read(JOURNAL, partitions=[partition])]
    positions = {key[len(POSITION) + 1 :].decode(): int(value) for key, value in table.scan(POSITION)}
    told = chain([entry for entry in entries if entry.agent == agent], positions)
    assert not told.before, f"{agent}/{partition}: the journal leads back to {told.before} only"
    return [(entry.topic, entry.end) for entry in told.chunks]


def _check_course(
    where: str, stretches: Sequence[tuple[str, int]], inputs: Mapping[str, list[Record]], *, holes: bool, ended: bool
) -> None:
    reached: dict[str, int] = {}
    for topic, end in stretches:
        last = reached.get(topic, 0)
        assert end > last, f"{where}: {topic} was applied up to {last}, then up to {end}"
        reached[topic] = end
    for topic, records in inputs.items():
        end = records[-1].offset + 1 if records else 0
        last = reached.get(topic, 0)
        assert last == end or (last < end and not ended) or (last > end and holes), (
            f"{where}: {topic} was applied up to {last} of {end}"
        )


def _fold(
    step: Step, inputs: Mapping[str, list[Record]], stretches: Sequence[tuple[str, int]], chance: random.Random
) -> tuple[dict[bytes, bytes], list[Message]]:
    """Fold in the order of the stretches, in chunks of any size; entries without positions, and all messages."""
    table = MemoryEntries()
    step.restore(table)
    messages: list[Message] = []
    for chunk in _cut(inputs, stretches, chance):
        for page in step.fold(chunk, caught_up=chance.random() < 0.5):
            table.apply(page.writes)
            messages += page.messages
        if chance.random() < 0.1:
            step.due()
    return table.entries, messages


def _cut(
    inputs: Mapping[str, list[Record]], stretches: Sequence[tuple[str, int]], chance: random.Random
) -> Iterator[list[Record]]:
    done = dict.fromkeys(inputs, 0)
    waiting: list[Record] = []
    for topic, end in [*stretches, ("", 0)]:
        if waiting and waiting[0].topic != topic:
            while waiting:
                size = chance.choice((1, 7, 100, 3000))
                yield waiting[:size]
                waiting = waiting[size:]
        if topic:
            records = inputs[topic]
            begin = done[topic]
            while done[topic] < len(records) and records[done[topic]].offset < end:
                done[topic] += 1
            waiting += records[begin : done[topic]]


def _check_table(agent: str, partition: int, table: TableView, folded: Mapping[bytes, bytes]) -> int:
    found = {key: value for key, value in table.scan(b"") if not key.startswith((POSITION, *BY_WHEN_LOOKED_AT))}
    wanted = {key: value for key, value in folded.items() if not key.startswith(BY_WHEN_LOOKED_AT)}
    for key in sorted(found.keys() | wanted.keys()):
        assert found.get(key) == wanted.get(key), (
            f"{agent}/{partition}: the table has {key!r}: {found.get(key)!r}, a fold gives {wanted.get(key)!r}"
        )
    return len(found)


def _check_plan(partition: int, bundle: Bundle, table: TableView, folded: PlanStep, *, ended: bool) -> list[Message]:
    """The table is the fold's state, and a plan made afresh from it decides nothing else; returns its forecasts."""
    afresh = PlanStep(partition, bundle)
    afresh.restore(table)
    assert afresh.now == folded.now
    assert afresh.sites.keys() == folded.sites.keys()
    for site, state in folded.sites.items():
        undecided: dict[str, Any] = {"alerts": {}, "proposals": {}, "standing": None}
        assert replace(afresh.sites[site], **undecided) == replace(state, **undecided), site
    if not ended:
        return []
    afresh.review_all()
    decided = [message for page in afresh.fold([]) for message in page.messages]
    assert not decided, f"plan/{partition}: a plan made afresh decides otherwise: {decided[0]}"
    return _all_due(afresh)


async def _check_published(client: LogClient, due: Sequence[Message], decided: Mapping[bytes, bytes]) -> None:
    """What was last published is the state's plan: forecasts made afresh, alerts and proposals of the tables."""
    for topic in ("forecasts", "accuracy"):
        published = await client.latest(topic)
        wanted = {m.key: m.value for m in due if m.topic == topic and m.value is not None}
        assert wanted.keys() == published.keys(), f"{topic}: {sorted(wanted.keys() ^ published.keys())[:3]}"
        for key, value in wanted.items():
            found = published[key or b""].value
            assert _without_moment(found) == _without_moment(value), f"{topic}: {key!r}: {found!r}, afresh {value!r}"
    last = {record.value for topic in REVISED for record in (await client.latest(topic)).values()}
    for key, value in decided.items():
        assert value in last, f"{key!r} is in the table and is not what was last published of it"


def _all_due(step: PlanStep) -> list[Message]:
    messages: list[Message] = []
    while more := step.due():
        messages += more
    return messages


def _without_moment(value: bytes | None) -> Any:
    body = orjson.loads(value or b"null")
    if isinstance(body, dict):
        body.pop("as_of", None)
    return body


async def _check_outputs(client: LogClient, topic: str, expected: Counter[Output]) -> None:
    found: Counter[Output] = Counter()
    async for record in client.read(topic):
        found[record.key, record.value, record.headers] += 1
    missing = expected - found
    assert not missing, f"{topic}: {missing.total()} were never published, the first is {next(iter(missing))}"
    strange = found.keys() - expected.keys()
    assert not strange, f"{topic}: {len(strange)} are not what a fold publishes, one is {next(iter(strange))}"
    again = found - expected
    assert not again, f"{topic}: {again.total()} were published again, the first is {next(iter(again))}"


async def _check_outcomes(client: LogClient, verdict: Verdict, *, ended: bool) -> None:
    """Every offset of an input that is answered has an outcome, and only one."""
    told: dict[tuple[str, int, int], bytes | None] = {}
    async for record in client.read("outcomes"):
        body = orjson.loads(record.value or b"")
        where = body["topic"], body["partition"], body["offset"]
        assert told.setdefault(where, record.value) == record.value, f"{where} has two outcomes"
        verdict.statuses[body["status"]] += 1
    for topic in ANSWERED:
        ends = await client.end_offsets(topic)
        verdict.inputs[topic] = sum(ends.values())
        expected = {(topic, partition, offset) for partition, end in ends.items() for offset in range(end)}
        answered = {where for where in told if where[0] == topic}
        assert answered == expected or (not ended and answered < expected), (
            f"{topic}: without outcome or not there: {sorted(answered ^ expected)[:5]}"
        )


def _check_revisions(course: Course) -> int:
    for (topic, key), revisions in course.revisions.items():
        assert revisions == list(range(1, len(revisions) + 1)), f"{topic}: {key!r} has revisions {revisions}"
    return sum(topic == "alerts" for topic, _ in course.revisions)
