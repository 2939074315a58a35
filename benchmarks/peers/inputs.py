"""What is fed: the City replay or a made-up chain of sites, with stale and unreadable records among them; and what the
small job must give for it, worked out here without any log."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import orjson

from benchmarks import load
from benchmarks.peers.small import Row, advance, changes, need_key, read
from planner.step import Message

SEED = 3
STALE_EVERY = 200
POISON_EVERY = 400
POISON = (
    b"\xff\xfe not JSON",
    b'{"schema_version":1,"type":"booking.booked"}',
    b'{"schema_version":1,"type":"booking.cancelled","event_id":"x","occurred_at":"2015-01-01T00:00:00Z",'
    b'"source":"benchmark","booking_id":"x","version":-1}',
    b"[1, 2",
)
CHAIN_SITES = 1_000


def city(file: Path, count: int | None = None) -> list[Message]:
    """The first ``count`` events of the City, from its CSV or from what ``planner import bookings`` made of it."""
    if file.suffix != ".jsonl":
        return with_faults(load.city_events(file)[:count])
    with file.open("rb") as lines:
        values = [line.rstrip(b"\n") for line in islice(lines, count)]
    return with_faults([Message("bookings", orjson.loads(v)["booking_id"].encode(), v) for v in values])


def chain(count: int) -> list[Message]:
    """Bookings at 1,000 sites; a third of the events are later ones: moved, cancelled, amended."""
    sites = [site.id for site in load.bundle_of_sites(CHAIN_SITES).sites]
    booked = count * 2 // 3
    later = islice(load.later_events(count - booked, booked, seed=SEED), count - booked)
    return with_faults([*load.book(sites, booked, seed=SEED), *later])


def with_faults(events: list[Message]) -> list[Message]:
    """Every so often a copy of an earlier event, and a record that nobody can read."""
    rng = random.Random(SEED)
    found = []
    for number, event in enumerate(events, 1):
        found.append(event)
        if number % STALE_EVERY == 0:
            found.append(events[rng.randrange(number)])
        if number % POISON_EVERY == 0:
            found.append(Message("bookings", b"poison-%d" % number, rng.choice(POISON)))
    return found


@dataclass
class Expected:
    """What the small job must give."""

    needs: dict[bytes, int] = field(default_factory=dict)
    """Key of a total → its last value."""
    requirements: int = 0
    poison: int = 0


def expected(events: Iterator[Message] | list[Message]) -> Expected:
    """A plain fold."""
    found, rows = Expected(), dict[str, Row]()
    for message in events:
        event = read(message.value)
        if event is None:
            found.poison += 1
            continue
        old = rows.get(event.booking_id)
        new = advance(old, event)
        if new is None:
            continue
        rows[event.booking_id] = new
        changed = changes(old, new)
        found.requirements += bool(changed)
        for day, item, more in changed:
            key = need_key(new[1], day, item)
            found.needs[key] = found.needs.get(key, 0) + more
    if found.requirements < len(rows):
        raise ValueError(f"{found.requirements} requirements of {len(rows)} bookings: the job does not fit this input")
    return found


def need(value: bytes | None) -> int:
    """The number in a total's message."""
    number: int = orjson.loads(value or b"")["need"]
    return number
