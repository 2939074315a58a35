"""Whether what a run left on the log is what its inputs say: each event ended once, tables and messages equal a fold.

The fold is done anew, from the records of the input topics through the pure steps, in chunks of other sizes.
"""

from __future__ import annotations

import random
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from benchmarks.load import default_bundle
from planner.booking_step import BookingStep
from planner.journal import APPLIED, chain
from planner.plan_step import PlanStep
from planner.records import HEADER_OFFSET, HEADER_PARTITION, HEADER_TOPIC
from planner.step import Effects, Message, Record
from planner.verify.compare import differences, value_difference
from streams.cli.routing import ANSWERED
from streams.log import partition_of
from streams.names import EXPAND, INPUTS, PLAN, position_key
from tests.driver import MemoryEntries
from tests.soak.kafka_log import Snapshot

CHUNK_RECORDS_MAX: Final = 200
Coordinates = tuple[str, int, int]
"""Topic, partition, offset."""


@dataclass
class Findings:
    """What was counted, and all that is not as it should be."""

    events: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    repeats: Counter[str] = field(default_factory=Counter)
    """Topic → messages that were published again, just as before."""
    compared: Counter[str] = field(default_factory=Counter)
    """What → number of entries or messages that were compared."""
    wrong: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """Kind of fault → each."""


def check(snapshot: Snapshot, *, repeats_allowed: bool) -> Findings:
    """Every check. Nothing of the workers is asked; only the log counts."""
    found = Findings()
    expected = _fold_expand(snapshot, found)
    _check_outcomes(snapshot, found, expected)
    _check_dead_letters(snapshot, found)
    _check_positions(snapshot, found)
    _fold_plan(snapshot, found)
    _check_afresh(snapshot, found)
    if not repeats_allowed:
        for topic, number in (+found.repeats).items():
            found.wrong["repeats"].append(f"{topic}: {number} messages were published again")
    return found


# --- each event once --------------------------------------------------------------------------------------


def _check_outcomes(snapshot: Snapshot, found: Findings, expected: dict[Coordinates, bytes]) -> None:
    """One outcome for each record of the topics that are answered; told again, it is the same."""
    told: dict[Coordinates, bytes] = {}
    for record in snapshot.all("outcomes"):
        outcome = orjson.loads(record.value or b"")
        where = (outcome["topic"], outcome["partition"], outcome["offset"])
        if where not in told:
            told[where] = record.value or b""
            found.statuses[outcome["status"]] += 1
        elif told[where] == record.value:
            found.repeats["outcomes"] += 1
        else:
            where_bytes = "/".join(map(str, where)).encode()
            found.wrong["two outcomes"].append(
                str(value_difference("outcomes", where_bytes, told[where], record.value))
            )
    for topic in sorted(ANSWERED):
        for partition, records in snapshot.records[topic].items():
            for record in records:
                found.events += 1
                where = (topic, partition, record.offset)
                outcome_bytes = told.pop(where, None)
                if outcome_bytes is None:
                    found.wrong["no outcome"].append("/".join(map(str, where)))
                elif where in expected and expected[where] != outcome_bytes:
                    where_bytes = "/".join(map(str, where)).encode()
                    difference = value_difference("outcomes", where_bytes, expected[where], outcome_bytes)
                    found.wrong["outcome differs"].append(str(difference))
    found.wrong["outcome of nothing"] += ["/".join(map(str, where)) for where in told]


def _check_dead_letters(snapshot: Snapshot, found: Findings) -> None:
    """What was told to be dead-lettered is there byte for byte, and nothing else is."""
    letters: dict[Coordinates, tuple[bytes | None, bytes | None]] = {}
    for letter in snapshot.all("dead-letters"):
        headers = dict(reversed(letter.headers))  # the first of a name is ours
        where = (headers[HEADER_TOPIC].decode(), int(headers[HEADER_PARTITION]), int(headers[HEADER_OFFSET]))
        found.repeats["dead-letters"] += where in letters
        letters[where] = (letter.key, letter.value)
    dead = {
        (outcome["topic"], outcome["partition"], outcome["offset"])
        for outcome in map(_body, snapshot.all("outcomes"))
        if outcome["status"] == "dead-lettered"
    }
    # the clock's records have no outcome; here all of them are unreadable
    dead |= {("clock", record.partition, record.offset) for record in snapshot.all("clock")}
    found.wrong["no dead letter"] += [str(where) for where in sorted(dead - letters.keys())]
    found.wrong["dead letter of a sound record"] += [str(where) for where in sorted(letters.keys() - dead)]
    for topic, partition, offset in sorted(dead & letters.keys()):
        stretch = snapshot.records[topic][partition]
        record = stretch[bisect_left(stretch, offset, key=_offset)]
        found.compared["dead letters"] += 1
        if (record.key, record.value) != letters[topic, partition, offset]:
            found.wrong["dead letter differs"].append(f"{topic}/{partition}/{offset}")


def _check_positions(snapshot: Snapshot, found: Findings) -> None:
    """Every table ends where its inputs end, and no stretch of an input was ever written twice."""
    for agent, topics in INPUTS.items():
        for partition in range(snapshot.partitions):
            at = dict.fromkeys(topics, 0)
            for page in snapshot.tables.pages[agent, partition]:
                if page.end <= at[page.topic]:
                    found.wrong["applied twice"].append(
                        f"{agent}/{partition}: {page.topic} up to {page.end} after {at[page.topic]}"
                    )
                at[page.topic] = page.end
            found.compared["pages"] += len(snapshot.tables.pages[agent, partition])
            for topic in topics:
                records = snapshot.records[topic][partition]
                if records and at[topic] <= records[-1].offset:
                    found.wrong["not applied"].append(
                        f"{agent}/{partition}: {topic} up to {at[topic]} of {records[-1].offset + 1}"
                    )


# --- expand, folded anew ----------------------------------------------------------------------------------


def _fold_expand(snapshot: Snapshot, found: Findings) -> dict[Coordinates, bytes]:
    """The table of ``expand`` and what it passes on; returns the outcomes that the fold gives."""
    rng = random.Random(f"chunks {snapshot.seed}")
    outcomes: dict[Coordinates, bytes] = {}
    stated: dict[int, dict[int, list[Message]]] = {}
    for partition in range(snapshot.partitions):
        step = BookingStep(partition, snapshot.partitions, default_bundle(), clock="event")
        entries = MemoryEntries()
        step.restore(entries)
        messages: list[Message] = []
        for topic in ("catalogue", "bookings"):
            for chunk in _chunks(snapshot.records[topic][partition], rng):
                for page in step.fold(chunk):
                    entries.apply(page.writes)
                    messages += page.messages
        for message in messages:
            if message.topic == "outcomes":
                told = orjson.loads(message.value or b"")
                outcomes[told["topic"], told["partition"], told["offset"]] = message.value or b""
        stated[partition] = _by_target([m for m in messages if m.topic == "requirements"], snapshot.partitions)
        _compare_table(snapshot, found, EXPAND, partition, entries.entries)
    _compare_requirements(snapshot, found, stated)
    return outcomes


def _by_target(messages: list[Message], partitions: int) -> dict[int, list[Message]]:
    by_target: dict[int, list[Message]] = defaultdict(list)
    for message in messages:
        target = message.partition
        if target is None:
            target = partition_of(message.key or b"", partitions)
        by_target[target].append(message)
    return by_target


def _compare_table(
    snapshot: Snapshot, found: Findings, agent: str, partition: int, recomputed: dict[bytes, bytes], *,
    kinds: frozenset[str] | None = None,
) -> None:  # fmt: skip
    def wanted(key: bytes) -> bool:
        kind = key.partition(b"\x1f")[0].decode()
        return kind != "@position" if kinds is None else kind in kinds

    held = {key: value for key, value in snapshot.tables.entries[agent, partition].items() if wanted(key)}
    recomputed = {key: value for key, value in recomputed.items() if wanted(key)}
    found.compared[f"{agent} entries"] += len(held)
    for difference in differences(recomputed, held, f"{agent}-table/{partition}"):
        found.wrong[f"{agent} table"].append(str(difference))


def _compare_requirements(snapshot: Snapshot, found: Findings, stated: dict[int, dict[int, list[Message]]]) -> None:
    """What each partition of ``expand`` told each partition of ``plan``: all of it, in its order, first told."""
    for target, records in snapshot.records["requirements"].items():
        heard: dict[int, dict[tuple[bytes | None, bytes | None], None]] = defaultdict(dict)
        for record in records:
            body = _body(record)
            source = (
                int(body["source"].rpartition("/")[2])
                if body["type"] == "clock.ticked"
                else partition_of(body["booking_id"].encode(), snapshot.partitions)
            )
            found.repeats["requirements"] += (record.key, record.value) in heard[source]
            heard[source].setdefault((record.key, record.value))
        for source in range(snapshot.partitions):
            wanted = [(message.key, message.value) for message in stated[source].get(target, [])]
            found.compared["requirements"] += len(wanted)
            for place, (one, other) in enumerate(zip(wanted, heard[source], strict=False)):
                if one != other:
                    what = value_difference(f"requirements/{target} of {source}", b"%d" % place, one[1], other[1])
                    found.wrong["requirements"].append(str(what))
                    break
            if len(wanted) != len(heard[source]):
                found.wrong["requirements"].append(
                    f"{target} of {source}: {len(heard[source])} were told, {len(wanted)} recomputed"
                )


def _chunks(records: list[Record], rng: random.Random) -> Iterator[list[Record]]:
    at = 0
    while at < len(records):
        size = rng.randrange(1, CHUNK_RECORDS_MAX)
        yield records[at : at + size]
        at += size


# --- plan, folded anew ------------------------------------------------------------------------------------

INDEPENDENT: Final = frozenset({"booking", "profile", "order", "announced", "seen", "catalogue"})
"""Kinds of entries of ``plan`` that do not depend on where its chunks ended, but on their order alone. The others do:
time (``clock``, ``event-clock``, ``site``), what ends with it (``stock``, ``learned``) and what a review finds
(``alert``, ``proposal``): in event mode time goes to the latest event whenever nothing waits, and so does a review.
The journal says where they ended, and ``planner verify`` compares all of them."""


def _fold_plan(snapshot: Snapshot, found: Findings) -> None:
    """The table of ``plan``: chunks in the order that the journal tells, each taken in several pieces."""
    rng = random.Random(f"pieces {snapshot.seed}")
    for partition in range(snapshot.partitions):
        held = snapshot.tables.entries[PLAN, partition]
        told = [APPLIED.validate_json(record.value or b"") for record in snapshot.records["journal"][partition]]
        positions = {
            key.decode().partition("\x1f")[2]: int(value)
            for key, value in held.items()
            if key.startswith(position_key(""))
        }
        applied = chain([one for one in told if one.agent == PLAN], positions)
        if applied.before:
            found.wrong["journal"].append(f"plan/{partition}: it leads back to {applied.before} only")
        found.compared["void entries of the journal"] += sum(one.agent == PLAN for one in told) - len(applied.chunks)
        step = PlanStep(partition, default_bundle(), clock="event")
        entries = MemoryEntries()
        step.restore(entries)
        for one in applied.chunks:
            stretch = snapshot.records[one.topic][partition]
            records = stretch[bisect_left(stretch, one.start, key=_offset) : bisect_left(stretch, one.end, key=_offset)]
            pieces = list(_chunks(records, rng))
            for number, piece in enumerate(pieces, 1):
                for page in step.fold(piece, caught_up=one.caught_up and number == len(pieces)):
                    entries.apply(page.writes)
        _compare_table(snapshot, found, PLAN, partition, entries.entries, kinds=INDEPENDENT)


def _offset(record: Record) -> int:
    return record.offset


# --- plan, afresh -----------------------------------------------------------------------------------------


def _check_afresh(snapshot: Snapshot, found: Findings) -> None:
    """From the tables alone: a review finds nothing new, and the last messages are what would be published now."""
    fresh: dict[str, dict[bytes, bytes]] = defaultdict(dict)
    for partition in range(snapshot.partitions):
        table = MemoryEntries(snapshot.tables.entries[PLAN, partition])
        step = PlanStep(partition, default_bundle(), clock="event")
        step.restore(table)
        for key, value in table.entries.items():
            kind = key.partition(b"\x1f")[0].decode()
            if kind == "alert":
                fresh["alerts"][_body_of(value)["alert_id"].encode()] = value
            elif kind == "proposal":
                site, name = key.decode().split("\x1f")[1:]
                fresh["proposals"]["\x1f".join([site, *name.split("/")]).encode()] = value
        step.review_all()
        for page in step.fold([]):
            _nothing_new(page, found, partition)
        while due := step.due():
            for message in due:
                if message.value is not None:
                    fresh[message.topic][message.key or b""] = message.value
    _check_earlier_episodes(snapshot, found, fresh["alerts"])
    for topic, held in snapshot.latest.items():
        found.compared[f"last {topic}"] += len(held)
        recomputed = {key: _without_time(topic, value) for key, value in fresh[topic].items()}
        last = {key: _without_time(topic, record.value or b"") for key, record in held.items()}
        for difference in differences(recomputed, last, topic):
            found.wrong[f"last {topic}"].append(str(difference))


def _check_earlier_episodes(snapshot: Snapshot, found: Findings, held: dict[bytes, bytes]) -> None:
    """A table keeps the last episode of what an alert is about. Those before it are resolved, and count as equal."""
    last = {episode[0]: int(episode[2]) for episode in (key.decode().rpartition("/") for key in held)}
    for key, record in snapshot.latest["alerts"].items():
        about, _, episode = key.decode().rpartition("/")
        if key not in held and int(episode) < last.get(about, 0):
            if _body(record)["state"] != "resolved":
                found.wrong["an earlier episode is not resolved"].append(key.decode())
            held[key] = record.value or b""


def _nothing_new(page: Effects, found: Findings, partition: int) -> None:
    for message in page.messages:
        found.wrong["a review of the table finds"].append(
            f"plan-table/{partition}: {message.topic} {message.key!r}: {(message.value or b'')[:600]!r}"
        )


def _without_time(topic: str, value: bytes) -> bytes:
    """A forecast is published when its figures may have changed; ``as_of`` is that moment."""
    if topic not in {"forecasts", "accuracy"}:
        return value
    body = _body_of(value)
    body.pop("as_of", None)
    return orjson.dumps(body)


def _body(record: Record) -> dict[str, Any]:
    return _body_of(record.value or b"")


def _body_of(value: bytes) -> dict[str, Any]:
    body: dict[str, Any] = orjson.loads(value)
    return body
