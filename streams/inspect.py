"""Reads what the planner knows from the log: the tables' changelogs, restored into the same pure steps.

Works beside a running worker and without one, on both logs: nothing is asked of the worker itself.
"""

from __future__ import annotations

import time
import unicodedata
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

from config.load import load_catalogue
from config.settings import Settings
from planner.booking.requirements import lines_key
from planner.booking.row import BookingRow, booking_key
from planner.catalogue.model import Bundle
from planner.catalogue_records import read_catalogue
from planner.plan.sites import CLOCK_ENTRY
from planner.plan_step import CATALOGUE_ENTRY, PlanStep
from planner.records import DeadLetter
from planner.step import Record
from planner.topics import CATALOGUE_KEY
from streams.log import LogClient, UnknownTopic, partition_of
from streams.names import EXPAND, PLAN, POSITION, changelog

WALL_TOLERANCE_S = 900
"""A plan whose time is this close to when it was written has it from a wall clock."""


class NothingKnown(LookupError):  # noqa: N818 - named after what it says
    """What was asked for is not on the log."""


class TableView:
    """The table of one partition as its changelog holds it: ``planner.step.Entries``, to be read only."""

    def __init__(self, records: Mapping[bytes, Record]) -> None:
        self._entries = {key: record.value for key, record in records.items() if record.value is not None}

    def get(self, key: bytes) -> bytes | None:
        return self._entries.get(key)

    def scan(self, prefix: bytes) -> Iterable[tuple[bytes, bytes]]:
        return [(key, self._entries[key]) for key in sorted(self._entries) if key.startswith(prefix)]


async def bundle_in_force(client: LogClient, settings: Settings) -> Bundle:
    """The catalogue on the log; where there is none yet, the one that a worker would publish.

    Raises:
        NothingKnown: there is none on the log, and the files of the settings have faults.
    """
    found = await published_catalogue(client)
    return configured_catalogue(settings) if found is None else found


def configured_catalogue(settings: Settings) -> Bundle:
    """The catalogue in the settings' directory.

    Raises:
        NothingKnown: it has faults.
    """
    result = load_catalogue(settings.catalogue_dir)
    if result.bundle is None:
        raise NothingKnown(f"the catalogue in {settings.catalogue_dir} has {len(result.faults)} faults")
    return result.bundle


async def published_catalogue(client: LogClient) -> Bundle | None:
    """The newest catalogue on the log that is or will be in force.

    A faulty one never is, yet in a compacted topic it takes the place of the good one before it: then it is the
    tables that know.
    """
    try:
        found = list((await sound_catalogues(client)).values()) or await _adopted_catalogues(client)
    except UnknownTopic:
        return None
    return max(found, key=lambda one: (one[0].timestamp_ms, one[0].offset))[1] if found else None


async def sound_catalogues(client: LogClient) -> dict[int, tuple[Record, Bundle]]:
    """Partition → the last record of its ``catalogue`` topic and what it holds, where the steps will take it."""
    read: dict[bytes | None, Bundle | DeadLetter] = {}
    found = {}
    for partition in range(await client.partitions("catalogue")):
        record = (await client.latest("catalogue", partition)).get(CATALOGUE_KEY)
        if record is None:
            continue
        if record.value not in read:  # mostly all partitions hold the same
            read[record.value] = read_catalogue(record)
        bundle = read[record.value]
        if isinstance(bundle, Bundle):
            found[partition] = (record, bundle)
    return found


async def _adopted_catalogues(client: LogClient) -> list[tuple[Record, Bundle]]:
    topic = changelog(PLAN)
    found = []
    for partition in range(await client.partitions(topic)):
        record = (await client.latest(topic, partition, CATALOGUE_ENTRY)).get(CATALOGUE_ENTRY)
        if record is not None and record.value is not None:
            found.append((record, Bundle.model_validate_json(record.value)))
    return found


async def plan_step_of(client: LogClient, settings: Settings, site: str) -> PlanStep:
    """The plan step of the partition that owns ``site``, restored from the log.

    Raises:
        NothingKnown: no such site in the catalogue in force.
    """
    bundle = await bundle_in_force(client, settings)
    topic = changelog(PLAN)
    partition = partition_of(site.encode(), await client.partitions(topic))
    step = PlanStep(partition, bundle, clock=settings.clock)
    step.restore(TableView(await client.latest(topic, partition)))
    known = sorted(step.catalogue.sites)
    if site not in known:
        raise NothingKnown(f"no site {site!r}; the catalogue has {', '.join(known)}")
    return step


async def booking_of(client: LogClient, booking_id: str) -> tuple[BookingRow, list[dict[str, Any]]]:
    """What is known of a booking, and the lines last stated for it (none: it needs nothing any more).

    Raises:
        NothingKnown: no event about it has been applied.
    """
    topic = changelog(EXPAND)
    booking_id = unicodedata.normalize("NFC", booking_id)
    key = booking_key(booking_id)
    partition = partition_of(booking_id.encode(), await client.partitions(topic))
    record = (await client.latest(topic, partition, key)).get(key)
    if record is None or record.value is None:
        raise NothingKnown(f"no booking {booking_id!r} on this log")
    row = BookingRow.decode(record.value)
    if not row.lines_id:
        return row, []
    stated = (await client.latest(topic, partition, lines_key(row.lines_id))).get(lines_key(row.lines_id))
    if stated is None or stated.value is None:
        raise NothingKnown(f"the lines of booking {booking_id!r} are not on the log any more")
    return row, list(orjson.loads(stated.value)["lines"])


async def log_now(client: LogClient, site: str) -> datetime:
    """What time it is for a site's plan: the wall's, or, on a log whose time comes from its events, theirs."""
    topic = changelog(PLAN)
    partition = partition_of(site.encode(), await client.partitions(topic))
    told = (await client.latest(topic, partition, CLOCK_ENTRY)).get(CLOCK_ENTRY)
    if told is not None and told.value is not None:
        now = datetime.fromisoformat(told.value.decode())
        if abs(now.timestamp() * 1000 - told.timestamp_ms) >= WALL_TOLERANCE_S * 1000:
            return now
    return datetime.fromtimestamp(time.time(), UTC)


async def applied_offsets(client: LogClient) -> dict[str, dict[str, dict[int, int]]]:
    """agent → topic → partition → offset of the next record to apply, as the tables say."""
    found: dict[str, dict[str, dict[int, int]]] = {}
    for agent in (EXPAND, PLAN):
        topic = changelog(agent)
        for partition in range(await client.partitions(topic)):
            entries = await client.latest(topic, partition, POSITION)
            for key, record in entries.items():
                name = key[len(POSITION) + 1 :].decode()
                if record.value is not None:
                    found.setdefault(agent, {}).setdefault(name, {})[partition] = int(record.value)
    return found
