"""Events that are wrong in every way we could think of, and what must be said about each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

OCCURRED_AT = "2026-03-02T09:00:00-07:00"
DAY = "2026-03-05"
VIAL = "magnesium-sulfate-500mg-ml-2ml-vial"

Json = dict[str, Any]


def booking(booking_id: str, kind: str = "booked", **changes: Any) -> Json:
    """A booking event of the site "north" that is fine but for ``changes``; None takes a field away."""
    event: Json = {
        "type": f"booking.{kind}", "event_id": f"{booking_id}/{kind}", "occurred_at": OCCURRED_AT, "source": "test",
        "booking_id": booking_id, "version": 1,
    }  # fmt: skip
    if kind == "booked":
        event |= {"site": "north", "protocol": "magnesium", "start": f"{DAY}T10:00:00-07:00"}
    return {name: value for name, value in (event | changes).items() if value is not None}


def stock(event_id: str, kind: str = "received", **changes: Any) -> Json:
    """A stock event of the site "north" that is fine but for ``changes``."""
    event: Json = {
        "type": f"stock.{kind}", "event_id": event_id, "occurred_at": OCCURRED_AT, "source": "test", "site": "north",
        "item": VIAL,
    }  # fmt: skip
    if kind == "received":
        event |= {"lot": event_id, "expiry": "2027-03-01", "quantity": 10}
    return {name: value for name, value in (event | changes).items() if value is not None}


@dataclass(frozen=True)
class Bad:
    """One bad record. ``reason`` and every text of ``says`` must be in its outcome."""

    name: str
    status: str
    reason: str
    says: tuple[str, ...]
    event: Json | bytes | None
    topic: str = "bookings"
    key: bytes | None = None
    first: tuple[Json, ...] = ()
    """Events that have to be applied before."""

    @property
    def value(self) -> bytes | None:
        return orjson.dumps(self.event) if isinstance(self.event, dict) else self.event

    @property
    def record_key(self) -> bytes:
        """The key that a careful publisher gives, or one that shows that there was none."""
        if self.key is not None:
            return self.key
        if isinstance(self.event, dict):
            name = self.event.get("booking_id" if self.topic == "bookings" else "site")
            if isinstance(name, str):
                return name.encode()
        return b"unreadable" if self.topic == "bookings" else b"north"


def dead(name: str, event: Json | bytes | None, *says: str, reason: str = "invalid-event", **more: Any) -> Bad:
    return Bad(name, "dead-lettered", reason, says, event, **more)


def refused(name: str, event: Json, reason: str, *says: str, **more: Any) -> Bad:
    return Bad(name, "refused", reason, says, event, **more)


def _raw(event: Json, old: str, new: str) -> bytes:
    """An event's bytes with a piece replaced by what no JSON writer would write."""
    text = orjson.dumps(event).decode()
    if old not in text:
        raise ValueError(f"{old} is not in {text}")
    return text.replace(old, new).encode()


_WEIGHED = booking("bk-nan", protocol="valproate", parameters={"weight_kg": 12345})
_DOSED = booking("bk-dose", overrides=[{"change": "change", "line": "magnesium", "dose": "12345 g"}])
_COUNT = [{"lot": "lot-known", "quantity": 3}]

UNREADABLE = [
    dead("broken JSON", b'{"type": "booking.booked", ', "EOF", reason="invalid-json"),
    dead("no JSON at all", b"<booking id='7'/>", "expected value", reason="invalid-json"),
    dead("empty", b"", reason="invalid-json"),
    dead("not UTF-8", b'{"type": "\xff\xfe"}', reason="invalid-json"),
    dead("nested too deep", b'{"a":' * 50_000, reason="invalid-json"),
    dead("no value", None, "no value", reason="no-value"),
    dead("a list", b"[1, 2]", "object"),
    dead("unknown type", booking("bk-type", type="booking.teleported"), "booking.teleported", "booking.booked"),
    dead("no type", booking("bk-typeless", type=None), "type"),
    dead("newer schema", booking("bk-v9", schema_version=9), "schema_version", "9",
         reason="unsupported-schema-version"),
]  # fmt: skip

WRONG_TYPE = [
    dead("version is a word", booking("bk-word", version="one"), "version", "'one'", "integer"),
    dead("version is a fraction", booking("bk-half", version=1.5), "version", "1.5", "integer"),
    dead("version is zero", booking("bk-zero", version=0), "version", "0", "greater than or equal to 1"),
    dead("start is a word", booking("bk-soon", start="soon"), "start", "'soon'", "datetime"),
    dead("parameters are a list", booking("bk-list", parameters=[]), "parameters"),
    dead("a protocol of another type", booking("bk-num", protocol=17), "protocol", "17", "string"),
    dead("a field is missing", booking("bk-no-start", start=None), "start", "required"),
]

NOT_A_NUMBER = [
    dead(f"weight {word}", _raw(_WEIGHED, "12345", word), *says, reason=reason, key=b"bk-nan")
    for word, reason, *says in [
        ("NaN", "invalid-event", "weight_kg", "nan", "finite"),
        ("Infinity", "invalid-event", "weight_kg", "inf", "finite"),
        ("-Infinity", "invalid-event", "weight_kg", "inf", "finite"),
        ('"NaN"', "invalid-event", "weight_kg", "NaN", "finite"),
        ('"Infinity"', "invalid-event", "weight_kg", "Infinity", "finite"),
        ("1e999", "invalid-event", "weight_kg"),
        ("nan", "invalid-json"),
    ]
] + [
    dead(f"dose {word}", _raw(_DOSED, "12345 g", word), "dose", says, key=b"bk-dose")
    for word, says in [
        ("NaN g", "NaN"),
        ("Infinity g", "Infinity"),
        ("-2 g", "-2"),
        ("0 g", "0"),
        ("2 spoons", "spoons"),
        ("2", "2"),
    ]
]

INSTANTS = [
    dead("naive start", booking("bk-naive", start=f"{DAY}T10:00:00"), "start", f"{DAY}T10:00:00", "timezone"),
    dead("naive occurred_at", booking("bk-naive-2", occurred_at="2026-03-02T09:00:00"), "occurred_at", "timezone"),
    refused("start in 1970", booking("bk-1970", start="1970-01-01T00:00:00Z"), "start-out-of-range", "start",
            "1970-01-01", "2000-01-01"),
    refused("start in 2199", booking("bk-2199", start="2199-12-31T10:00:00Z"), "start-out-of-range", "start",
            "2199-12-31", "2100-01-01"),
    refused("start in three years", booking("bk-far", start="2029-03-05T10:00:00Z"), "start-out-of-range", "730 days"),
    refused("occurred in 1970", booking("bk-o1970", occurred_at="1970-01-01T00:00:00Z"), "occurred-at-out-of-range",
            "occurred_at", "1970-01-01", "2000-01-01"),
    refused("occurred in 2199", booking("bk-o2199", occurred_at="2199-12-31T00:00:00Z"), "occurred-at-out-of-range",
            "occurred_at", "2199-12-31", "2100-01-01"),
    refused("received in 2199", stock("rx-2199", occurred_at="2199-12-31T00:00:00Z"), "occurred-at-out-of-range",
            "occurred_at", "2199-12-31", topic="stock"),
]  # fmt: skip

UNKNOWN = [
    refused("unknown protocol", booking("bk-p", protocol="leeches"), "unknown-protocol", "protocol", "leeches"),
    refused("unknown site", booking("bk-s", site="atlantis"), "unknown-site", "site", "atlantis"),
    refused("stock of an unknown site", stock("rx-s", site="atlantis"), "unknown-site", "site", "atlantis",
            topic="stock"),
    refused("stock of an unknown item", stock("rx-i", item="unobtainium"), "unknown-item", "item", "unobtainium",
            topic="stock"),
    refused("a component nobody knows", booking("bk-c", overrides=[{"change": "add", "component": "arsenic",
            "dose": "1 mg"}]), "unknown-component", "arsenic"),
    refused("a line that the protocol lacks", booking("bk-l", overrides=[{"change": "remove", "line": "champagne"}]),
            "unknown-line", "champagne"),
    refused("an order to nobody", {"type": "order.placed", "event_id": "o-x", "occurred_at": OCCURRED_AT,
            "source": "test", "site": "north", "order_id": "po-x", "supplier": "nobody",
            "lines": [{"item": VIAL, "quantity": 1}]}, "unknown-supplier", "nobody", topic="orders"),
    refused("a delivery of an unknown order", {"type": "order.delivered", "event_id": "o-y",
            "occurred_at": OCCURRED_AT, "source": "test", "site": "north", "order_id": "po-y",
            "lines": [{"item": VIAL, "lot": "L", "expiry": "2027-01-01", "quantity": 5}]}, "unknown-order", "po-y",
            topic="orders"),
    refused("an alert that is not there", {"type": "alert.acknowledged", "event_id": "a-x",
            "occurred_at": OCCURRED_AT, "source": "test", "site": "north", "alert_id": "north/nothing/reorder/1"},
            "unknown-alert", "north/nothing/reorder/1", topic="alert-actions"),
]  # fmt: skip

BOOKINGS = [
    dead("weight 0", booking("bk-w0", protocol="valproate", parameters={"weight_kg": 0}), "weight_kg", "0",
         "greater than 0"),
    dead("weight below 0", booking("bk-w-1", protocol="valproate", parameters={"weight_kg": -70}), "weight_kg", "-70",
         "greater than 0"),
    refused("weight 900", booking("bk-w900", protocol="valproate", parameters={"weight_kg": 900}),
            "parameter-out-of-range", "weight_kg", "900"),
    refused("no weight", booking("bk-no-w", protocol="valproate"), "missing-parameter", "weight_kg"),
    refused("rescheduled after it was cancelled",
            booking("bk-x", "rescheduled", version=3, start=f"{DAY}T11:00:00-07:00"), "booking-cancelled",
            first=(booking("bk-x"), booking("bk-x", "cancelled", version=2))),
    refused("rescheduled, never booked", booking("bk-y", "rescheduled", version=2, start=f"{DAY}T11:00:00-07:00"),
            "unknown-booking"),
    refused("an older version", booking("bk-z", "amended", version=1, protocol="hydration", event_id="bk-z/late"),
            "stale-version", "version", first=(booking("bk-z", version=5),)),
    refused("under another booking's key", booking("bk-key"), "wrong-key", "bk-other", "bk-key", key=b"bk-other"),
]  # fmt: skip

STOCK = [
    dead("a negative receipt", stock("rx-neg", quantity=-5), "quantity", "-5", "greater than 0", topic="stock"),
    dead("nothing received", stock("rx-0", quantity=0), "quantity", "0", "greater than 0", topic="stock"),
    dead("half a vial", stock("rx-half", quantity=1.5), "quantity", "1.5", "integer", topic="stock"),
    dead("NaN vials", _raw(stock("rx-nan", quantity=12345), "12345", "NaN"), "quantity", "nan", "finite",
         topic="stock"),
    dead("more vials than there are", stock("rx-many", quantity=10**12), "quantity", "10000000", topic="stock"),
    dead("no date", stock("rx-date", expiry="2027-02-30"), "expiry", "2027-02-30", "date", topic="stock"),
    refused("received after it expired", stock("rx-old", expiry="2026-03-01"), "already-expired", "expiry",
            "2026-03-01", "2026-03-02", topic="stock"),
    refused("count of an unknown lot", stock("ct-1", "counted", lots=[*_COUNT, {"lot": "ghost", "quantity": 2}]),
            "unknown-lot", "lots", "ghost", "received", topic="stock", first=(stock("lot-known"),)),
    refused("a lot counted twice", stock("ct-2", "counted", lots=[*_COUNT, *_COUNT]), "duplicate-lot", "lots",
            "lot-known", "once", topic="stock", first=(stock("rx-k2", lot="lot-known"),)),
    refused("a lot with two expiries", stock("rx-two", lot="lot-known", expiry="2028-01-01"), "lot-expiry-differs",
            "expiry", "2028-01-01", "2027-03-01", topic="stock", first=(stock("rx-k3", lot="lot-known"),)),
    refused("waste of an unknown lot", stock("ws-1", "wasted", lot="ghost", quantity=1, reason="broken"),
            "unknown-lot", "ghost", topic="stock"),
]  # fmt: skip

IDS = [
    dead(f"an id with {what}", booking(text), "booking_id", *says, key=b"bk-odd")
    for what, text, *says in [
        ("a line feed", "bk\n1", "U+000A"),
        ("a zero byte", "bk\x001", "U+0000"),
        ("an escape", "bk\x1b[31m1", "U+001B"),
        ("the separator of our keys", "bk\x1f1", "U+001F"),
        ("text turned round", "bk\u202e1", "U+202E"),
        ("no width", "bk\u200b1", "U+200B"),
        ("a blank at its end", "bk1 ", "white space"),
        ("nothing in it", "", "at least 1 character"),
        ("129 characters", "b" * 129, "128"),
    ]
] + [
    dead("half a surrogate pair", _raw(booking("bk-pair-x"), '"bk-pair-x"', '"bk-\\ud800"'), key=b"bk-odd",
         reason="invalid-json"),
    dead("a lot with a tab", stock("rx-tab", lot="L\t1"), "lot", "U+0009", topic="stock"),
    dead("an event id with a null", stock("rx\x00", lot="L1"), "event_id", "U+0000", topic="stock"),
]  # fmt: skip

BAD = [*UNREADABLE, *WRONG_TYPE, *NOT_A_NUMBER, *INSTANTS, *UNKNOWN, *BOOKINGS, *STOCK, *IDS]
