"""Inputs drawn from a seed: events spoilt in a place or several, events that are fine but costly, raw bytes."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any, Final, NamedTuple

from tests.plan.clinic import MAGNESIUM, NORTH, SOUTH, VITAMIN
from tests.soak.fuzz.templates import AT, TEMPLATES, Json


class Input(NamedTuple):
    """One record to be; ``kind`` says how it was made."""

    kind: str
    topic: str
    key: bytes | None
    value: bytes | None


_TOPICS: Final = ("bookings",) * 6 + ("stock",) * 4 + ("orders",) * 3 + ("requirements",) * 3
_TOPICS_ALL: Final = (*_TOPICS, *_TOPICS, *_TOPICS, *("alert-actions", "clock") * 3, "catalogue")

_NUMBERS: Final[tuple[Any, ...]] = (
    0, -1, 1, 2**31, 2**53 + 1, 2**63, 2**64, -(2**63) - 1, 10**18, 10**40, 10**400, 0.1, -0.0, 1e-320, 1e308, 1.5,
    float("nan"), float("inf"), float("-inf"), "1e9", "1e999999999", "-1e-999999999", "NaN", "sNaN", "Infinity", "0.1",
    "1_000", "٣", "0x10", "1" * 400, "1e-400", "0." + "0" * 30 + "1", 10_000_000, 999_999_999, 1_000_000,
)  # fmt: skip
_INSTANTS: Final[tuple[Any, ...]] = (
    "0001-01-01T00:00:00Z", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59.999999-23:59", "1970-01-01T00:00:00Z",
    "2000-01-01T00:00:00Z", "2099-12-31T23:59:59Z", "2100-01-01T00:00:00Z", "2026-11-16T14:00:00", "2026-02-30T00:00Z",
    "2026-11-16T24:00:00Z", "2026-11-16T14:00:60Z", "2026-11-01T06:30:00Z", "2026-11-16 14:00Z", "20261116T140000Z",
    0, 1e10, 1e18, -1, 253402300800, "2028-12-31T00:00:00Z", "2026-11-16T14:00:00.123456789Z", "0001-01-01",
    "9999-12-31", "2026-11-16", "2027-12-21T15:00:00Z",
)  # fmt: skip
_TEXTS: Final[tuple[Any, ...]] = (
    "", " ", "x" * 128, "x" * 129, "x" * 512, "x" * 100_000, "a\x00b", "a\x1fb", "a\nb", "\x1b[2J", "\ud800",
    "\udfff\ud800", "\ufeff", "\u202e", "\u200b", "é", "e\u0301", "漢字", "😀", "\U0010ffff", "null",
    "../..", "NaN", "a/b/c", "@position", "+", "a+b+c", "%s%n", "{}", "ﬃ" * 40, "A", "-a", "a" * 96, "a" * 97,
    NORTH, SOUTH, "o1", "b1", MAGNESIUM, VITAMIN, f"{NORTH}/{MAGNESIUM}/reorder/{10**30}", f"{NORTH}/x/y/z/1",
    f"{NORTH}/{MAGNESIUM}/reorder/-1", "Ⅷ", "1 mL", "2 g", "9e9 mL",
)  # fmt: skip
_OTHERS: Final[tuple[Any, ...]] = (
    None,
    True,
    False,
    [],
    {},
    [[]],
    [None],
    {"": None},
    [{}] * 300,
    {"a": {"b": [1, 2]}},
)

Spoil = Callable[[random.Random, Json], None]


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container and key or index in it, at all depths."""
    if isinstance(value, dict):
        for key in value:
            yield value, key
            yield from _places(value[key])
    elif isinstance(value, list):
        for index in range(len(value)):
            yield value, index
            yield from _places(value[index])


def _place(chance: random.Random, body: Json) -> tuple[Any, Any] | None:
    places = list(_places(body))
    return chance.choice(places) if places else None


def _dropped(chance: random.Random, body: Json) -> None:
    if (place := _place(chance, body)) is not None:
        del place[0][place[1]]


def _retyped(chance: random.Random, body: Json) -> None:
    if (place := _place(chance, body)) is not None:
        pool = chance.choice((_NUMBERS, _INSTANTS, _TEXTS, _OTHERS))
        place[0][place[1]] = deepcopy(chance.choice(pool))


def _extreme(chance: random.Random, body: Json) -> None:
    """Another value of the type that is there."""
    if (place := _place(chance, body)) is None:
        return
    old = place[0][place[1]]
    if isinstance(old, str) and old[:2] == "20" and "-" in old:
        new = chance.choice(_INSTANTS)
    elif isinstance(old, int | float) or (isinstance(old, str) and old[:1].isdigit()):
        new = chance.choice(_NUMBERS)
    elif isinstance(old, str):
        new = chance.choice(_TEXTS)
    else:
        new = deepcopy(chance.choice(_OTHERS))
    place[0][place[1]] = new


def _added(chance: random.Random, body: Json) -> None:
    places = [body, *(c[k] for c, k in _places(body) if isinstance(c[k], dict))]
    chance.choice(places)[chance.choice((*(t for t in _TEXTS if len(t) < 200), "patient_name", "type"))] = deepcopy(
        chance.choice((*_NUMBERS, *_TEXTS, *_OTHERS))
    )


def _repeated(chance: random.Random, body: Json) -> None:
    """A list becomes long."""
    lists = [c[k] for c, k in _places(body) if isinstance(c[k], list) and 0 < len(c[k]) < 40]
    if lists:
        chosen = chance.choice(lists)
        chosen.extend(deepcopy(chosen[:1]) * chance.choice((1, 31, 33, 200, 700)))


def _other_type(chance: random.Random, body: Json) -> None:
    body["type"] = chance.choice(TEMPLATES[chance.choice(tuple(TEMPLATES))]).get("type", "x")


SPOILS: Final[dict[str, Spoil]] = {
    "field dropped": _dropped,
    "field retyped": _retyped,
    "value extreme": _extreme,
    "field added": _added,
    "list long": _repeated,
    "type of another": _other_type,
}


def _text(body: Json) -> bytes:
    """As JSON that need not be: NaN, integers of any size, lone surrogates."""
    return json.dumps(body, ensure_ascii=True).encode()


def key_of(topic: str, body: Json) -> bytes:
    name = body.get("booking_id" if topic == "bookings" else "site")
    if topic == "catalogue":
        return b"catalogue"
    return name.encode("utf-8", "surrogatepass") if isinstance(name, str) else b"unreadable"


def _ids(chance: random.Random, topic: str, body: Json) -> None:
    """Ids of its own, now and then one that was there before."""
    number = chance.randrange(400) if chance.random() < 0.3 else chance.getrandbits(40)
    if "event_id" in body:
        body["event_id"] = f"e{number}"
    if topic == "requirements":
        body |= {"booking_id": f"b{number % 50_000}", "revision": chance.randrange(1, 9)}
    elif topic == "bookings":
        body |= {"booking_id": f"b{number % 50_000}", "version": chance.choice((1, 1, 2, 3))}
    elif "order_id" in body and chance.random() < 0.5:
        body["order_id"] = f"o{number % 40}"


def valid(chance: random.Random) -> Input:
    """An event in which nothing is wrong, so that the others meet a state."""
    topic = chance.choice(_TOPICS)
    body = deepcopy(chance.choice(TEMPLATES[topic]))
    _ids(chance, topic, body)
    return Input("valid", topic, key_of(topic, body), _text(body))


def spoilt(chance: random.Random) -> Input:
    """An event with one to three faults of a kind."""
    topic = chance.choice(_TOPICS_ALL)
    body = deepcopy(chance.choice(TEMPLATES[topic]))
    if topic != "catalogue":
        _ids(chance, topic, body)
    kind = chance.choice(tuple(SPOILS))
    # lists in lists, each made long, would be gigabytes
    for _ in range(1 if kind == "list long" else chance.choice((1, 1, 2, 3))):
        SPOILS[kind](chance, body)
    return Input(kind, topic, key_of(topic, body), _text(body))


def _changed(chance: random.Random, text: bytes) -> bytes:
    spoiled = bytearray(text)
    for _ in range(chance.choice((1, 2, 8))):
        spoiled[chance.randrange(len(spoiled))] = chance.randrange(256)
    return bytes(spoiled)


def _nested(chance: random.Random, text: bytes) -> bytes:
    deep = chance.choice((100, 200, 300, 10_000))
    return text[:-1] + b', "x": ' + b"[" * deep + b"]" * deep + b"}"


def _control(chance: random.Random, text: bytes) -> bytes:
    at = chance.randrange(len(text) + 1)
    return text[:at] + bytes([chance.randrange(32)]) + text[at:]


BYTES: Final[dict[str, Callable[[random.Random, bytes], bytes | None]]] = {
    "cut short": lambda chance, text: text[: chance.randrange(len(text) + 1)],
    "bytes changed": _changed,
    "BOM": lambda chance, text: b"\xef\xbb\xbf" + text,
    "UTF-16": lambda chance, text: text.decode().encode("utf-16"),
    "key twice": lambda chance, text: b'{"version": 3, "type": "booking.missed", ' + text[1:],
    "nested deep": _nested,
    "escapes": lambda chance, text: text.replace(b"e", rb"\u0065"),
    "raw control": _control,
    "two documents": lambda chance, text: text + text,
    "raw": lambda chance, text: chance.randbytes(chance.choice((0, 1, 3, 20, 200))),
    "no value": lambda chance, text: None,
}


def bytewise(chance: random.Random) -> Input:
    """Bytes of an event spoilt with no regard to what they mean, or no event at all."""
    topic = chance.choice(_TOPICS)
    body = deepcopy(chance.choice(TEMPLATES[topic]))
    _ids(chance, topic, body)
    name = chance.choice(tuple(BYTES))
    key = chance.choice((key_of(topic, body), key_of(topic, body), None, b"", b"\xff", b"x" * 2_000))
    return Input(name, topic, key, BYTES[name](chance, _text(body)))


def hostile(chance: random.Random) -> Input:
    """Well formed, and made to be costly."""
    number = chance.getrandbits(40)
    kind = chance.choice(("long ids", "many overrides", "far ahead", "many lots", "many lines", "large", "many orders"))
    topic = {"many lots": "stock", "many lines": "orders", "many orders": "orders"}.get(kind, "bookings")
    body = deepcopy(TEMPLATES[topic][0])
    _ids(chance, topic, body)
    if kind == "long ids":
        body |= {"series_id": f"{number:0128d}", "source": f"{number + 1:0128d}", "booking_id": f"{number:0128d}"}
    elif kind == "many overrides":
        add = {"change": "add", "component": "magnesium", "dose": "1000000 mL"}
        body["overrides"] = [add] * chance.choice((32, 33, 10_000))
    elif kind == "far ahead":
        body["start"] = chance.choice(("2027-12-21T15:00:00Z", "2028-11-15T15:00:00Z", "2099-12-30T15:00:00Z"))
    elif kind == "many lots":
        body |= {"lot": f"L{number}", "order_id": None, "quantity": chance.choice((1, 10_000_000))}
    elif kind == "many lines":
        body |= {
            "order_id": f"o{number}",
            "lines": [{"item": MAGNESIUM, "quantity": 10_000_000}] * chance.choice((200, 201)),
        }
    elif kind == "many orders":
        body |= {"order_id": f"o{number}", "occurred_at": AT}
    else:
        body["note"] = "x" * chance.choice((100_000, 1_000_000, 1_048_576))
    return Input(f"hostile: {kind}", topic, key_of(topic, body), _text(body))


_MAKERS: Final = ((valid, 25), (spoilt, 49), (bytewise, 25), (hostile, 1))


def draw(chance: random.Random, count: int) -> list[Input]:
    """So many inputs."""
    makers, weights = zip(*_MAKERS, strict=True)
    return [maker(chance) for maker in chance.choices(makers, weights, k=count)]
