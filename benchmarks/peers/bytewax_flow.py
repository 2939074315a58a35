"""Bytewax: one dataflow with both steps, stateful by booking and by site, over batches as its engine makes them.

It has no changelogs and commits no offsets: state and offsets of the inputs are snapshots in its recovery store
(SQLite), written every second. After a crash it goes on from the last one: at least once, as the others.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import bytewax.operators as op
import orjson
from bytewax.connectors.kafka import KafkaSinkMessage
from bytewax.connectors.kafka import operators as kop
from bytewax.dataflow import Dataflow
from bytewax.operators import StatefulBatchLogic
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.run import cli_main

from benchmarks.peers.job import OUTPUT, Task, task
from benchmarks.peers.small import Event, Row, advance, need_key, need_value, read, told
from streams.kafka.connection import COMPRESSION

PRODUCER = {
    "acks": "all", "enable.idempotence": "true", "partitioner": "murmur2_random", "compression.type": COMPRESSION,
}  # fmt: skip
SinkMessage = KafkaSinkMessage[bytes | None, bytes | None]


class Booking(StatefulBatchLogic[Event, SinkMessage, Row | None]):
    """The first step, one booking."""

    def __init__(self, row: Row | None) -> None:
        self._row = row

    def on_batch(self, values: list[Event]) -> tuple[Iterable[SinkMessage], bool]:
        """In order; the logic is kept as long as there is a booking."""
        messages: list[SinkMessage] = []
        for event in values:
            new = advance(self._row, event)
            if new is None:
                continue
            if (body := told(event, self._row, new)) is not None:
                messages.append(KafkaSinkMessage(body["site"].encode(), orjson.dumps(body)))
            self._row = new
        return messages, self._row is None

    def snapshot(self) -> Row | None:
        """Rows are replaced, never changed."""
        return self._row


class Site(StatefulBatchLogic[list[Any], SinkMessage, int]):
    """The second step, one (site, day, item): each batch's last total is published."""

    def __init__(self, total: int | None) -> None:
        self._total = total or 0

    def on_batch(self, values: list[Any]) -> tuple[Iterable[SinkMessage], bool]:
        """Add."""
        self._total += sum(more for _, _, _, more in values)
        site, day, item, _ = values[0]
        value = orjson.dumps(need_value(site, day, item, self._total))
        return [KafkaSinkMessage(need_key(site, day, item), value)], False

    def snapshot(self) -> int:
        """The total."""
        return self._total


def parse(message: Any) -> tuple[Any, Event | None]:
    """The message and its event."""
    return message, read(message.value)


def keyed(both: tuple[Any, Event | None]) -> tuple[str, Event] | None:
    """An event under its booking's id."""
    event = both[1]
    return None if event is None else (event.booking_id, event)


def unreadable(both: tuple[Any, Event | None]) -> SinkMessage | None:
    """The record as it came."""
    message, event = both
    return KafkaSinkMessage(message.key, message.value, partition=message.partition) if event is None else None


def changes_of(message: Any) -> list[tuple[str, list[Any]]]:
    """A requirement's changes, each under its total's key."""
    body = orjson.loads(message.value)
    site = body["site"]
    return [(f"{site}|{day}|{item}", [site, day, item, more]) for day, item, more in body["changes"]]


def build(given: Task) -> Dataflow:
    """The dataflow."""
    brokers = [given.broker]
    flow = Dataflow("peer")
    bookings = kop.input("bookings", flow, brokers=brokers, topics=[given.prefix + "bookings"])
    parsed = op.map("parse", bookings.oks, parse)
    poison = op.filter_map("unreadable", parsed, unreadable)
    events = op.filter_map("keyed", parsed, keyed)
    requirements = op.key_rm("to requirements", op.stateful_batch("book", events, Booking))
    needs = kop.input("requirements", flow, brokers=brokers, topics=[given.prefix + "requirements"])
    changed = op.flat_map("changes", needs.oks, changes_of)
    totals = op.key_rm("to totals", op.stateful_batch("add", changed, Site))
    for name, stream in (("dead-letters", poison), ("requirements", requirements), (OUTPUT, totals)):
        kop.output(f"out {name}", stream, brokers=brokers, topic=given.prefix + name, add_config=PRODUCER)
    return flow


if __name__ == "__main__":
    told_us = task()
    snapshots = told_us.directory / "recovery"
    snapshots.mkdir()
    init_db_dir(snapshots, 1)
    cli_main(build(told_us), epoch_interval=timedelta(seconds=1), recovery_config=RecoveryConfig(snapshots))
