"""A worker restarts with 1,000,000 live bookings: how long to its first new event, how much memory, how much disk.

The state is that of a chain: one site's book is folded by the real steps, and its table entries are written for every
site, under the site's and its bookings' own names, into the changelogs of both tables. So a million bookings take a
minute, and every entry is as the steps wrote it. On Kafka (``--broker``) a first start finds an empty disk and reads
the changelogs; a second one finds its store.
"""

from __future__ import annotations

import asyncio
import re
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from benchmarks import load
from benchmarks.table import met, show
from benchmarks.worker import Worker, WorkerEnded
from config.settings import Settings
from planner.booking_step import BookingStep
from planner.catalogue.model import Bundle
from planner.journal import APPLIED
from planner.plan_step import PlanStep
from planner.step import Effects, Message, Record
from planner.topics import composed_key
from planner.verify.refold import MemoryTable
from streams import names
from streams.log import LogClient, open_client, partition_of
from streams.topics import topic_specs

BOOKINGS = 1_000_000
SITES = 1_000
PARTITIONS = 4
TARGET_S = 20.0
TARGET_BYTES = 1_500
PATIENCE_S = 1_800.0
_TEMPLATE, _SITE = "s000", "s007"
_BATCH = 20_000
_BOOKING = re.compile(rb"b(\d{8})")


class _Book(NamedTuple):
    """The entries of both tables of one site with its book."""

    expand: dict[bytes, bytes]
    plan: dict[bytes, bytes]


def _fold(bundle: Bundle, bookings: int) -> _Book:
    """One site's bookings through the real steps."""
    expand, plan = BookingStep(0, 1, bundle, clock="event"), PlanStep(0, bundle, clock="event")
    tables = MemoryTable(), MemoryTable()
    expand.restore(tables[0])
    plan.restore(tables[1])
    # kept by both, so that what was planned by it is not planned anew
    catalogue = _records("catalogue", load.catalogue_messages(bundle, 1))
    for step, table in ((expand, tables[0]), (plan, tables[1])):
        for effects in step.fold(catalogue):
            _write(table, effects)
    stated: list[Message] = []
    events = list(load.book([_TEMPLATE], bookings))
    for effects in expand.fold(_records("bookings", events)):
        _write(tables[0], effects)
        stated += [message for message in effects.messages if message.topic == "requirements"]
    for effects in plan.fold(_records("requirements", stated)):
        _write(tables[1], effects)
    return _Book(tables[0].entries, tables[1].entries)


def _records(topic: str, messages: list[Message]) -> list[Record]:
    return [Record(topic, 0, n, 4_000_000_000_000, m.key, m.value) for n, m in enumerate(messages)]


def _write(table: MemoryTable, effects: Effects) -> None:
    table.write(effects.writes)


def _entries(book: _Book, sites: int, bookings: int) -> Iterator[Message]:
    """The changelogs of a chain of such sites."""
    shared = {agent: {k: v for k, v in entries.items() if not _of_a_booking_or_site(k)}
              for agent, entries in (("expand", book.expand), ("plan", book.plan))}  # fmt: skip
    for agent, entries in shared.items():
        for partition in range(PARTITIONS):
            for key, value in entries.items():
                yield Message(names.changelog(agent), key, value, partition)
    for number in range(sites):
        site = b"s%03d" % number
        first = number * bookings
        at = partition_of(site, PARTITIONS)
        for agent, own in (("expand", book.expand), ("plan", book.plan)):
            for key, value in own.items():
                if key in shared[agent]:
                    continue
                named = _renamed(key, site, first)
                partition = at if agent == "plan" else partition_of(named.rpartition(b"\x1f")[2], PARTITIONS)
                yield Message(names.changelog(agent), named, _renamed(value, site, first), partition)


def _of_a_booking_or_site(key: bytes) -> bool:
    return key.startswith(composed_key("booking", "")) or _TEMPLATE.encode() in key


def _renamed(text: bytes, site: bytes, first: int) -> bytes:
    text = text.replace(_TEMPLATE.encode(), site)
    return _BOOKING.sub(lambda found: b"b%08d" % (first + int(found[1])), text)


async def _fill(client: LogClient, settings: Settings, bookings: int) -> tuple[int, int]:
    """Write the state; the number of entries and their bytes."""
    bundle = load.bundle_of_sites(SITES)
    await client.ensure_topics(topic_specs(settings))
    await client.publish(load.catalogue_messages(bundle, PARTITIONS))
    each = bookings // SITES
    count = size = 0
    batch: list[Message] = []
    for message in _entries(_fold(bundle, each), SITES, each):
        batch.append(message)
        count, size = count + 1, size + len(message.key or b"") + len(message.value or b"")
        if len(batch) == _BATCH:
            await client.publish(batch)
            batch = []
    for agent in (names.EXPAND, names.PLAN):
        batch += [Message(names.changelog(agent), names.position_key("catalogue"), b"0", p) for p in range(PARTITIONS)]
    await client.publish(batch)
    return count, size


class _Start(NamedTuple):
    restored_s: float
    outcome_s: float
    planned_s: float
    """Until ``plan`` had applied it, and what it raised."""
    rss_bytes: int


async def _start(client: LogClient, url: str, prefix: str, directory: Path, number: int) -> _Start:
    """A worker starts while an event waits for it."""
    at = datetime.combine(load.TODAY, datetime.min.time(), UTC)
    fields = {"site": _SITE, "protocol": "magnesium", "start": at.replace(day=20, hour=17)}
    before = await client.end_offsets("journal")
    await client.publish([load.booking("booked", f"restart-{number}", 1, at, fields)])
    with Worker(url, directory, environment={"PLANNER_TOPIC_PREFIX": prefix}) as worker:
        outcome_s = await _applied_s(client, worker, before, names.EXPAND, "bookings")
        planned_s = await _applied_s(client, worker, before, names.PLAN, "requirements")
        restored_s = worker.said_at_s("restored") or outcome_s
        began_s, rss = worker.started_at_s, worker.rss_bytes()
    return _Start(restored_s - began_s, outcome_s - began_s, planned_s - began_s, rss)


async def _applied_s(client: LogClient, worker: Worker, start: dict[int, int], agent: str, topic: str) -> float:
    """When an agent had applied something of a topic, as the journal says, in seconds since 1970."""
    give_up_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < give_up_s:
        async for record in client.read("journal", start):
            entry = APPLIED.validate_json(record.value or b"")
            if (entry.agent, entry.topic) == (agent, topic):
                return record.timestamp_ms / 1000
        worker.check()
        await asyncio.sleep(0.1)
    raise WorkerEnded(f"{agent} applied nothing of {topic} for {PATIENCE_S:g} s")


def _size_bytes(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


async def _measure(directory: Path, bookings: int, broker: str | None) -> tuple[dict[str, _Start], list[str]]:
    url = broker or f"sqlite:///{directory / 'planner.db'}"
    prefix = "planner." if broker is None else f"{directory.name}-"
    settings = Settings(broker_url=url, topic_prefix=prefix, partitions=PARTITIONS)
    starts = {}
    async with open_client(url, prefix) as client:
        began_s = time.monotonic()
        count, size = await _fill(client, settings, bookings)
        notes = [f"{count:,} entries of {size / count:.0f} bytes, written in {time.monotonic() - began_s:.0f} s."]
        names_ = ("its store on disk",) if broker is None else ("an empty disk", "its store on disk")
        for number, what in enumerate(names_):
            starts[what] = await _start(client, url, prefix, directory, number)
    bytes_ = _size_bytes(directory)
    what = "the log's file" if broker is None else "the worker's store"
    notes.append(f"On disk, {what}: {bytes_ / 1e6:,.0f} MB, {bytes_ / bookings:,.0f} bytes per booking.")
    return starts, notes


def main(*, bookings: int = BOOKINGS, broker: str | None = None) -> None:
    """Print the table."""
    bookings -= bookings % SITES
    with tempfile.TemporaryDirectory(prefix="planner-restart-") as name:
        starts, notes = asyncio.run(_measure(Path(name), bookings, broker))
    rows = [
        (f"from {what}", f"{start.restored_s:.1f}", f"{start.outcome_s:.1f}", f"{start.planned_s:.1f}",
         met(start.planned_s, TARGET_S) if what == "its store on disk" else "", f"{start.rss_bytes / 1e6:,.0f}",
         f"{start.rss_bytes / bookings:,.0f}", met(start.rss_bytes / bookings, TARGET_BYTES))
        for what, start in starts.items()
    ]  # fmt: skip
    show(
        f"Restart with {bookings:,} live bookings at {SITES:,} sites, in seconds from the start of the process"
        f"{' (Kafka)' if broker else ''}",
        (
            "",
            "restored",
            "event's outcome",
            "event planned",
            f"< {TARGET_S:g} s",
            "RSS MB",
            "bytes per booking",
            f"< {TARGET_BYTES:,}",
        ),
        rows,
        *notes,
        "Bytes per booking: all of the worker ÷ bookings, its programs, caches and the plans of the sites included.",
    )


if __name__ == "__main__":
    main()
