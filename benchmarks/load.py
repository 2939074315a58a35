"""What the benchmarks feed: the City bookings, a made-up book of any size, stock and orders. Equal from run to run."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import orjson

from config.load import DEFAULT_CATALOGUE, load_catalogue
from config.settings import Settings
from planner.catalogue.digest import version_of
from planner.catalogue.model import Bundle
from planner.step import Message
from planner.topics import CATALOGUE_KEY
from streams.cli.routing import TOPIC_OF
from streams.importer import load_mapping, read_export
from streams.log import LogClient
from streams.topics import topic_specs

ROOT = Path(__file__).resolve().parent.parent
CITY_MAPPING = ROOT / "config" / "mappings" / "city.yaml"
CITY_FILE = ROOT.parent / "shared" / "data" / "bookings-city.csv.gz"
"""Where the project's tests look for it too."""
CITY_OPENS = datetime(2014, 9, 1, tzinfo=UTC)
"""Before the first City booking."""

TODAY = date(2026, 3, 2)
"""The first day of the made-up book."""
DAYS = 90
WEEKDAY_HOURS = 9
BATCH = 5_000

# Protocol → how often, and whether it goes by weight: the City's shares, roughly.
MIX = {
    "magnesium": 50, "prochlorperazine": 15, "hydration": 12, "cocktail-triple": 7, "metoclopramide": 5, "valproate": 3,
    "cocktail-ketorolac": 2, "methylprednisolone": 2, "dhe-multi-day": 2, "eptinezumab": 1, "vitamin": 1,
}  # fmt: skip
BY_WEIGHT = frozenset({"valproate"})


class NoLoad(RuntimeError):  # noqa: N818 - named after what is missing
    """What should be fed is not there; the message says what to do."""


def default_bundle() -> Bundle:
    """The default catalogue. Raises NoLoad when it has faults."""
    bundle = load_catalogue(DEFAULT_CATALOGUE).bundle
    if bundle is None:
        raise NoLoad("the default catalogue has faults: run `planner check`")
    return bundle


def bundle_of_sites(count: int) -> Bundle:
    """The default catalogue with ``count`` copies of the site north, ``s000`` and on, in place of its own sites."""
    bundle = default_bundle()
    north = next(site for site in bundle.sites if site.id == "north")
    sites = tuple(north.model_copy(update={"id": f"s{number:03}"}) for number in range(count))
    made = bundle.model_copy(update={"sites": sites})
    return made.model_copy(update={"version": version_of(made)})


def catalogue_messages(bundle: Bundle, partitions: int) -> list[Message]:
    """A catalogue into every partition."""
    value = bundle.model_dump_json().encode()
    return [Message("catalogue", CATALOGUE_KEY, value, partition) for partition in range(partitions)]


# --- the City -----------------------------------------------------------------------------------------------


def city_events(file: Path = CITY_FILE) -> list[Message]:
    """Booking events of the City, in the order in which they happened.

    Raises:
        NoLoad: the file is not there.
    """
    if not file.exists():
        raise NoLoad(f"{file}: not there; give the City bookings with --city FILE")
    found = read_export(file, load_mapping(CITY_MAPPING))
    return [Message("bookings", event.key, event.value) for event in found.events]


def opening_stock(bundle: Bundle, site: str, items: Collection[str] | None = None) -> list[Message]:
    """Two lots of every item (of ``items``), enough for about half of the City's two years."""
    return [
        _event(
            site, "stock.received", f"stock/{item.id}/{lot}", CITY_OPENS,
            {"item": item.id, "lot": lot, "expiry": expiry, "quantity": 20_000},
        )
        for item in bundle.items
        if items is None or item.id in items
        for lot, expiry in (("A", "2016-06-30"), ("B", "2018-12-31"))
    ]  # fmt: skip


def standing_orders(bundle: Bundle, site: str) -> list[Message]:
    """One confirmed order a month with each supplier, of all its items, for two years."""
    messages = []
    for supplier in bundle.suppliers:
        lines = [{"item": item.id, "quantity": 500} for item in bundle.items if item.supplier == supplier.id]
        for month in range(24 if lines else 0):
            order = f"{supplier.id}-{month:02}"
            promised = date(2015 + (6 + month) // 12, (6 + month) % 12 + 1, 1)
            placed = {"order_id": order, "supplier": supplier.id, "lines": lines}
            messages.append(_event(site, "order.placed", f"{order}/placed", CITY_OPENS, placed))
            told = {"order_id": order, "promised": promised}
            messages.append(_event(site, "order.confirmed", f"{order}/confirmed", CITY_OPENS, told))
    return messages


def _event(site: str, kind: str, event_id: str, at: datetime, fields: Mapping[str, object]) -> Message:
    body = {"schema_version": 1, "type": kind, "event_id": event_id, "occurred_at": at, "source": "benchmark"}
    topic = TOPIC_OF[kind.partition(".")[0]]
    return Message(topic, site.encode(), orjson.dumps({**body, "site": site, **fields}))


def received(site: str, item: str, event_id: str, quantity: int, at: datetime) -> Message:
    """A lot of its own came in."""
    fields = {"item": item, "lot": event_id, "expiry": at.date() + timedelta(days=700), "quantity": quantity}
    return _event(site, "stock.received", event_id, at, fields)


def counted(site: str, item: str, event_id: str, lots: dict[str, int], at: datetime) -> Message:
    """The shelf was counted."""
    found = [{"lot": lot, "quantity": quantity} for lot, quantity in lots.items()]
    return _event(site, "stock.counted", event_id, at, {"item": item, "lots": found})


# --- a made-up book -----------------------------------------------------------------------------------------


def booking(kind: str, booking_id: str, version: int, at: datetime, fields: Mapping[str, object]) -> Message:
    """One event of a booking."""
    body: dict[str, object] = {
        "schema_version": 1,
        "type": f"booking.{kind}",
        "event_id": f"{booking_id}/{version}",
        "occurred_at": at,
        "source": "benchmark",
        "booking_id": booking_id,
        "version": version,
    }
    return Message("bookings", booking_id.encode(), orjson.dumps({**body, **fields}))


def book(sites: list[str], count: int, *, first: int = 0, seed: int = 1) -> Iterator[Message]:
    """``count`` sessions booked at these sites for the next ``DAYS`` days; none is over."""
    rng = random.Random(seed * 1_000_003 + first)
    protocols, weights = list(MIX), list(MIX.values())
    opened = datetime.combine(TODAY, datetime.min.time(), UTC)
    for number in range(first, first + count):
        (protocol,) = rng.choices(protocols, weights)
        day = opened + timedelta(days=rng.randrange(1, DAYS))
        start = day + timedelta(hours=15 + rng.randrange(WEEKDAY_HOURS), minutes=rng.choice((0, 30)))
        fields: dict[str, object] = {"site": rng.choice(sites), "protocol": protocol, "start": start}
        if protocol in BY_WEIGHT:
            fields["parameters"] = {"weight_kg": rng.randrange(45, 111)}
        yield booking("booked", f"b{number:08}", 1, opened + timedelta(seconds=60), fields)


def later_events(count: int, live: int, *, first: int = 0, seed: int = 2) -> Iterator[Message]:
    """Events of distinct bookings among ``live`` ones: half move, a quarter are cancelled, a quarter are amended."""
    rng = random.Random(seed)
    at = datetime.combine(TODAY, datetime.min.time(), UTC) + timedelta(seconds=120)
    for turn, number in enumerate(rng.sample(range(first, first + live), count)):
        booking_id = f"b{number:08}"
        if turn % 4 == 0:
            yield booking("cancelled", booking_id, 2, at, {})
        elif turn % 4 == 1:
            yield booking("amended", booking_id, 2, at, {"protocol": "magnesium", "parameters": {}})
        else:
            start = at + timedelta(days=rng.randrange(1, DAYS), hours=15)
            yield booking("rescheduled", booking_id, 2, at, {"start": start})


# --- onto a log ---------------------------------------------------------------------------------------------


async def fill(client: LogClient, settings: Settings, *parts: list[Message] | Iterator[Message]) -> tuple[int, int]:
    """Make the topics and publish; returns the number of booking events and their bytes."""
    await client.ensure_topics(topic_specs(settings))
    return await publish(client, *parts)


async def publish(client: LogClient, *parts: list[Message] | Iterator[Message]) -> tuple[int, int]:
    """Publish in batches; returns the number of booking events and their bytes."""
    events = size = 0
    for part in parts:
        batch: list[Message] = []
        for message in part:
            batch.append(message)
            if message.topic == "bookings":
                events += 1
                size += len(message.key or b"") + len(message.value or b"")
            if len(batch) >= BATCH:
                await client.publish(batch)
                batch = []
        if batch:
            await client.publish(batch)
    return events, size
