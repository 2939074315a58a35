"""Quix Streams: two streaming dataframes of one application, state in RocksDB with changelogs, a commit every second.

Records go one by one, as the library hands them over, so that each changed total is published at once.
"""

from __future__ import annotations

from typing import Any

from quixstreams import Application
from quixstreams.state import State

from benchmarks.peers.job import OUTPUT, Task, task
from benchmarks.peers.small import Event, advance, need_key, need_value, read, told
from streams.kafka.connection import COMPRESSION


def book(both: tuple[bytes, Event], state: State) -> dict[str, Any] | None:
    """The first step; the state is the booking's."""
    event = both[1]
    old = state.get("row")
    new = advance(old, event)
    if new is None:
        return None
    state.set("row", new)
    return told(event, old, new)


def add(body: dict[str, Any], state: State) -> list[dict[str, Any]]:
    """The second step; the state is the site's."""
    totals = []
    for day, item, more in body["changes"]:
        key = f"{day}|{item}"
        total = state.get(key, 0) + more
        state.set(key, total)
        totals.append(need_value(body["site"], day, item, total))
    return totals


def build(given: Task) -> Application:
    """The application; both dataframes are registered with it."""
    app = Application(
        broker_address=given.broker, consumer_group=given.prefix + "quix", auto_offset_reset="earliest",
        commit_interval=1.0, state_dir=given.directory / "state", loglevel="WARNING", consumer_poll_timeout=0.1,
        # the partition of a key as all others choose it
        producer_extra_config={
            "acks": "all", "enable.idempotence": True, "partitioner": "murmur2_random", "compression.type": COMPRESSION,
        },
    )  # fmt: skip
    bookings = app.topic(given.prefix + "bookings", value_deserializer="bytes")
    poison = app.topic(given.prefix + "dead-letters", value_serializer="bytes")
    requirements = app.topic(given.prefix + "requirements")
    totals = app.topic(given.prefix + OUTPUT)

    events = app.dataframe(bookings).apply(lambda value: (value, read(value)))
    events.filter(lambda both: both[1] is None).apply(lambda both: both[0]).to_topic(poison)
    told_sites = events.filter(lambda both: both[1] is not None).apply(book, stateful=True)
    told_sites.filter(lambda body: body is not None).to_topic(requirements, key=lambda body: body["site"].encode())

    needs = app.dataframe(requirements).apply(add, stateful=True, expand=True)
    needs.to_topic(totals, key=lambda need: need_key(need["site"], need["day"], need["item"]))
    return app


if __name__ == "__main__":
    build(task()).run()
