"""What is published while brokers and workers die: booking events, stock and orders beside them, bad ones among them.

Everything is drawn from a seed: the same arguments give the same records in the same order.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final
from zlib import crc32

import orjson

from benchmarks.load import CITY_FILE, city_events, default_bundle
from config.book_specs import load_named_book
from planner.catalogue.index import Catalogue
from planner.simulation.books import generate
from planner.step import Message

SITES: Final = ("city", "north", "harbor", "lakeside")
"""The bookings are dealt out to these, so that the plans of several partitions have work."""
ITEMS: Final = (
    "magnesium-sulfate-500mg-ml-2ml-vial", "prochlorperazine-5mg-ml-2ml-vial", "ketorolac-30mg-ml-1ml-vial",
    "saline-flush-10ml", "sodium-chloride-0.9-100ml-bag", "iv-catheter-22g",
)  # fmt: skip
SUPPLIER: Final = "wholesaler"
REMEMBERED: Final = 400
"""Published bookings from which repetitions and stale versions are taken."""

# Share of booking events that are followed by one of these.
SHARES: Final = {
    "duplicate": 0.02, "stale": 0.01, "unknown-protocol": 0.005, "poison": 0.01, "wrong-key": 0.003, "no-value": 0.002,
    "moved": 0.01, "stock": 0.03, "order": 0.01, "bad-stock": 0.006, "bad-order": 0.003, "bad-action": 0.003,
    "bad-clock": 0.001,
}  # fmt: skip

Json = dict[str, Any]


def city(limit: int | None, file: Path = CITY_FILE) -> list[bytes]:
    """Booking events of the City replay, in the order in which they happened."""
    return [message.value or b"" for message in city_events(file)[:limit]]


def book(name: str, limit: int | None, seed: int) -> list[bytes]:
    """Booking events of a synthetic book of ``config/books``."""
    drawn = generate(load_named_book(name), seed, Catalogue(default_bundle()))
    return [event.model_dump_json(exclude_none=True).encode() for event in drawn.events[:limit]]


def lines(file: Path, limit: int | None) -> list[bytes]:
    """Booking events of a file in JSON Lines, as ``planner import bookings --out`` writes it."""
    with file.open("rb") as opened:
        return [line.strip() for _, line in zip(range(limit or 10**9), opened, strict=False)]


def load(bookings: Iterable[bytes], seed: int) -> Iterator[Message]:
    """The booking events at ``SITES``, with all the rest among them."""
    dealer = _Dealer(random.Random(f"load {seed}"))
    for value in bookings:
        yield from dealer.follow(orjson.loads(value))


@dataclass
class _Order:
    order_id: str
    site: str
    item: str
    quantity: int
    confirmed: bool = False


@dataclass
class _Dealer:
    rng: random.Random
    number: int = 0
    recent: list[Message] = field(default_factory=list)
    lots: dict[tuple[str, str], list[str]] = field(default_factory=lambda: defaultdict(list))
    orders: list[_Order] = field(default_factory=list)
    opened: bool = False

    def follow(self, event: Json) -> Iterator[Message]:
        """A booking event at its site, and what comes with it."""
        at = datetime.fromisoformat(event["occurred_at"])
        if not self.opened:
            self.opened = True
            yield from self._opening(at)
        if "site" in event:
            event["site"] = SITES[crc32(event["booking_id"].encode()) % len(SITES)]
        message = _booking(event)
        yield message
        self.recent.append(message)
        if len(self.recent) > REMEMBERED:
            self.recent.pop(self.rng.randrange(len(self.recent)))
        for kind, share in SHARES.items():
            if self.rng.random() < share:
                self.number += 1
                yield from self._beside(kind, at, event)

    def _opening(self, at: datetime) -> Iterator[Message]:
        for site in SITES:
            for item in ITEMS:
                self.number += 1
                yield self._received(site, item, at, 400)

    def _beside(self, kind: str, at: datetime, event: Json) -> Sequence[Message]:
        rng, earlier = self.rng, self.rng.choice(self.recent)
        if kind == "stock":
            return self._stock(at)
        if kind == "order":
            return self._order(at)
        if kind.startswith("bad-"):
            return [self._bad(kind, at)]
        body: Json = orjson.loads(earlier.value or b"{}")
        if kind == "stale":
            earlier = _booking(body | {"event_id": f"stale-{self.number}", "version": 1})
        elif kind == "unknown-protocol":
            start = (at + timedelta(days=9)).isoformat()
            fields = {"version": 1, "site": "city", "protocol": "leeches", "start": start}
            name = f"unknown-{self.number}"
            earlier = _booking(self._event("booking.booked", at, {"booking_id": name, **fields}))
        elif kind == "poison":
            earlier = earlier._replace(value=rng.randbytes(rng.randrange(1, 200)))
        elif kind == "wrong-key":
            earlier = earlier._replace(key=b"another", value=orjson.dumps(body | {"event_id": f"key-{self.number}"}))
        elif kind == "no-value":
            earlier = earlier._replace(value=None)
        elif kind == "moved":
            start = (at + timedelta(days=rng.randrange(1, 60))).isoformat()
            fields = {"version": event["version"] + 1, "site": rng.choice(SITES), "start": start}
            name = event["booking_id"]
            earlier = _booking(self._event("booking.rescheduled", at, {"booking_id": name, **fields}))
        return [earlier]

    # --- the shelf ----------------------------------------------------------------------------------------

    def _event(self, kind: str, at: datetime, fields: Json) -> Json:
        head = {"type": kind, "event_id": f"e-{self.number}", "occurred_at": at.isoformat(), "source": "soak"}
        return head | fields

    def _site_event(self, topic: str, kind: str, at: datetime, site: str, fields: Json) -> Message:
        return Message(topic, site.encode(), orjson.dumps(self._event(kind, at, {"site": site, **fields})))

    def _received(self, site: str, item: str, at: datetime, quantity: int) -> Message:
        lot = f"lot-{self.number}"
        self.lots[site, item].append(lot)
        expiry = (at + timedelta(days=self.rng.randrange(90, 500))).date().isoformat()
        fields = {"item": item, "lot": lot, "expiry": expiry, "quantity": quantity}
        return self._site_event("stock", "stock.received", at, site, fields)

    def _stock(self, at: datetime) -> list[Message]:
        rng = self.rng
        site, item = rng.choice(SITES), rng.choice(ITEMS)
        if (turn := rng.random()) < 0.4:
            return [self._received(site, item, at, rng.randrange(20, 300))]
        lots = self.lots[site, item]
        if turn < 0.6:
            fields: Json = {"item": item, "quantity": rng.randrange(1, 5)}
            return [self._site_event("stock", "stock.dispensed", at, site, fields)]
        if turn < 0.8:
            fields = {"item": item, "quantity": 1, "reason": "broken", "lot": rng.choice(lots)}
            return [self._site_event("stock", "stock.wasted", at, site, fields)]
        found = [{"lot": lot, "quantity": rng.randrange(0, 150)} for lot in lots[-3:]]
        message = self._site_event("stock", "stock.counted", at, site, {"item": item, "lots": found})
        return [message, message] if turn > 0.95 else [message]

    def _order(self, at: datetime) -> list[Message]:
        rng = self.rng
        if not self.orders or rng.random() < 0.4:
            order = _Order(f"po-{self.number}", rng.choice(SITES), rng.choice(ITEMS), 100 * rng.randrange(1, 6))
            self.orders.append(order)
            placed = {"order_id": order.order_id, "supplier": SUPPLIER,
                      "lines": [{"item": order.item, "quantity": order.quantity}]}  # fmt: skip
            return [self._site_event("orders", "order.placed", at, order.site, placed)]
        order = self.orders[rng.randrange(len(self.orders))]
        if not order.confirmed:
            order.confirmed = True
            promised = (at + timedelta(days=rng.randrange(1, 9))).date().isoformat()
            told = {"order_id": order.order_id, "promised": promised}
            return [self._site_event("orders", "order.confirmed", at, order.site, told)]
        self.orders.remove(order)
        lot = f"lot-{self.number}"
        self.lots[order.site, order.item].append(lot)
        line = {"item": order.item, "quantity": order.quantity, "lot": lot,
                "expiry": (at + timedelta(days=300)).date().isoformat()}  # fmt: skip
        delivered: Json = {"order_id": order.order_id, "lines": [line], "complete": True}
        return [self._site_event("orders", "order.delivered", at, order.site, delivered)]

    def _bad(self, kind: str, at: datetime) -> Message:
        rng, site = self.rng, self.rng.choice(SITES)
        if kind == "bad-clock":
            return Message("clock", b"0", b"cuckoo", 0)
        kinds: dict[str, tuple[str, str, Json]] = {
            "bad-stock": ("stock", "stock.received",
                          {"item": "unobtainium", "lot": "x", "expiry": "2030-01-01", "quantity": 1}),
            "bad-order": ("orders", "order.cancelled", {"order_id": f"ghost-{self.number}"}),
            "bad-action": ("alert-actions", "alert.acknowledged", {"alert_id": f"{site}/nothing/reorder/1"}),
        }  # fmt: skip
        topic, event_type, fields = kinds[kind]
        if rng.random() < 0.5:
            return Message(topic, site.encode(), rng.randbytes(40))
        return self._site_event(topic, event_type, at, site, fields)


def _booking(event: Json) -> Message:
    return Message("bookings", event["booking_id"].encode(), orjson.dumps(event))
