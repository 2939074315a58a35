"""Histories to break workers with: bookings, with stock, orders, hours, poison and duplicates among them.

Time is told by ``clock`` records of the history itself, so that a fold of the log repeats it. Equal seeds give equal
histories.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson

from benchmarks import load
from planner.catalogue.digest import version_of
from planner.catalogue.model import Bundle
from planner.step import Message
from streams.cli.routing import TOPIC_OF
from streams.clock import ticks

SITES: Final = ("north", "harbor", "lakeside")
BEGINS: Final = datetime(2026, 3, 2, 15, tzinfo=UTC)
HOURS_BETWEEN_TICKS: Final = 5


def invented(seed: int, count: int, bundle: Bundle, partitions: int, *, days: int = 12) -> list[Message]:
    """About ``count`` records of a few clinics over some days; every kind of event and of outcome."""
    chance = random.Random(seed)
    bookings: list[tuple[datetime, Message]] = []
    live: dict[str, int] = {}
    sites = [site.id for site in bundle.sites if site.id in SITES]
    protocols = [protocol.id for protocol in bundle.protocols if protocol.id in load.MIX]
    weights = [*(load.MIX[protocol] for protocol in protocols), 3]
    for number in range(count):
        at = BEGINS + timedelta(days=days) * (number / count)
        kind = chance.choices(["booked", "rescheduled", "amended", "cancelled", "completed", "missed"],
                              [50, 12, 10, 10, 14, 4])[0]  # fmt: skip
        name = f"b-{number}" if kind == "booked" or not live else chance.choice(list(live))
        kind = kind if name in live else "booked"
        live[name] = version = live.get(name, 0) + 1
        start = at + timedelta(days=chance.randrange(1, 30), hours=chance.randrange(6))
        fields: dict[str, Any] = {}
        if kind == "booked":
            (protocol,) = chance.choices([*protocols, "no-such-protocol"], weights)
            fields = {"site": chance.choice(sites), "protocol": protocol, "start": start}
            if protocol in load.BY_WEIGHT:
                fields["parameters"] = {"weight_kg": chance.randrange(45, 111)}
        elif kind == "rescheduled":
            fields = {"start": start}
        elif kind == "amended":
            fields = {"protocol": chance.choice(["magnesium", "hydration"]), "parameters": {}}
        if kind in {"cancelled", "completed", "missed"}:
            del live[name]
        bookings.append((at, load.booking(kind, name, version, at, fields)))
    return list(_spiced(bookings, chance, bundle, partitions, sites))


def city(seed: int, count: int, bundle: Bundle, partitions: int) -> list[Message]:
    """The first ``count`` real bookings of the City, among made-up stock and orders of its site.

    Raises:
        NoLoad: the City's file is not there.
    """
    chance = random.Random(seed)
    events = load.city_events()[:count]
    dated = [(datetime.fromisoformat(orjson.loads(m.value or b"")["occurred_at"]), m) for m in events]
    opening = load.opening_stock(bundle, "city") + load.standing_orders(bundle, "city")
    return opening + list(_spiced(dated, chance, bundle, partitions, ("city",)))


def _spiced(
    bookings: Sequence[tuple[datetime, Message]],
    chance: random.Random,
    bundle: Bundle,
    partitions: int,
    sites: Sequence[str],
) -> Iterator[Message]:
    items = [item.id for item in bundle.items]
    tick_at = bookings[0][0]
    recent: list[Message] = []
    for number, (at, message) in enumerate(bookings):
        if at >= tick_at:
            yield from ticks(at, partitions)
            tick_at = at + timedelta(hours=HOURS_BETWEEN_TICKS)
        yield message
        recent = [*recent[-200:], message]
        what = chance.random()
        if what < 0.12:
            site = chance.choice(sites)
            event = _supply(chance, f"x-{number}", site, chance.choice(items), at)
            recent.append(event)
            yield event
        elif what < 0.16:
            yield _poison(chance, number, sites)
        elif what < 0.21:
            yield chance.choice(recent)


def _supply(chance: random.Random, event_id: str, site: str, item: str, at: datetime) -> Message:
    lot = f"lot-{chance.randrange(4)}"
    expiry = at.date() + timedelta(days=300)
    kind = chance.choice(["received", "received", "dispensed", "counted", "wasted", "placed", "delivered"])
    if kind == "received":
        return load.received(site, item, event_id, chance.randrange(1, 40), at)
    if kind == "counted":
        return load.counted(site, item, event_id, {lot: chance.randrange(20)}, at)
    if kind in {"placed", "delivered"}:
        line: dict[str, Any] = {"item": item, "quantity": chance.randrange(1, 30)}
        fields: dict[str, Any] = {"order_id": f"o-{chance.randrange(20)}"}
        if kind == "placed":
            fields |= {"supplier": "wholesaler", "lines": [line]}
        else:
            fields |= {"lines": [line | {"lot": lot, "expiry": expiry}]}
        return _event(f"order.{kind}", event_id, site, at, fields)
    fields = {"item": item, "quantity": chance.randrange(1, 6)}
    if kind == "wasted":
        fields |= {"reason": "broken", "witness": "w"}
    return _event(f"stock.{kind}", event_id, site, at, fields)


def _event(kind: str, event_id: str, site: str, at: datetime, fields: dict[str, Any]) -> Message:
    body = {
        "schema_version": 1,
        "type": kind,
        "event_id": event_id,
        "occurred_at": at,
        "source": "history",
        "site": site,
    }
    topic = TOPIC_OF[kind.partition(".")[0]]
    return Message(topic, site.encode(), orjson.dumps(body | fields))


def _poison(chance: random.Random, number: int, sites: Sequence[str]) -> Message:
    """Bytes that are no event, events that are not acceptable, and nothing at all."""
    site = chance.choice(sites).encode()
    torn = b'{"type": "booking.booked", "event_id": "p-%d", ' % number
    return chance.choice(
        [
            Message("bookings", b"p-%d" % number, torn),
            Message("bookings", b"p-%d" % number, chance.randbytes(40)),
            Message("bookings", None, b"[]", 0),
            Message("stock", site, torn),
            Message("orders", site, b"\xff\xfe"),
            Message("alert-actions", site, b'{"type":"alert.closed","alert_id":"none/x/reorder/1","event_id":"p-%d",'
                    b'"occurred_at":"2014-01-01T00:00:00Z","source":"s","site":"%s"}' % (number, site)),
        ]
    )  # fmt: skip


def small_bundle() -> Bundle:
    """The default catalogue with a few of its protocols and sites: a worker is quick with it."""
    protocols, sites = ("magnesium", "hydration"), ("north",)
    bundle = load.default_bundle()
    small = bundle.model_copy(
        update={
            "protocols": tuple(protocol for protocol in bundle.protocols if protocol.id in protocols),
            "sites": tuple(
                site.model_copy(
                    update={"expected_sessions": tuple(e for e in site.expected_sessions if e.protocol in protocols)}
                )
                for site in bundle.sites
                if site.id in sites
            ),
        }
    )
    return small.model_copy(update={"version": version_of(small)})
