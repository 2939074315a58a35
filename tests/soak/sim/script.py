"""What happens in a world, drawn from one seed before anything runs: a list of steps that can be kept and shortened.

A step never looks at the world when it is drawn, and carries the numbers by which it chooses when it runs. So any part
of a script is a script, and a kept one means the same whatever becomes of this generator.
"""

from __future__ import annotations

import base64
import random
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final, Literal, NamedTuple

import orjson

from planner.catalogue.digest import version_of
from planner.catalogue.model import Bundle
from planner.topics import CATALOGUE_KEY
from tests.driver import encode, key_of
from tests.plan.clinic import MONDAY, NORTH, SOUTH, at, bundle, tick
from tests.soak.sim.events import ITEMS, Desk

Action = Literal["publish", "work", "kill", "start", "rebalance", "freeze", "thaw", "due", "misplace"]


class Step(NamedTuple):
    """One thing that happens.

    ``publish``: a record is appended to ``partition`` of ``topic`` (None: by its key) at ``at_ms``. ``work``: a worker
    goes on with a chunk. ``kill``: a worker dies. ``start``: another one joins. ``rebalance``: partitions change hands.
    ``freeze``: a worker is stopped and loses its partitions. ``thaw``: it goes on where it was. ``due``: what may wait
    is published. ``misplace``: a consumer's position is lost. ``number``: by which it chooses what it needs.
    """

    action: Action
    number: int = 0
    topic: str = ""
    partition: int | None = None
    key: bytes | None = None
    value: bytes | None = None
    at_ms: int = 0


@dataclass(frozen=True)
class Script:
    """A world's circumstances and all that happens in it."""

    seed: int
    partitions: int
    log: Literal["atomic", "publish-then-write"]
    """Whether messages and table entries become durable together, or messages before entries."""
    clock: Literal["wall", "event"]
    catalogue: str
    """Name of the catalogue that every worker begins with."""
    bookings_per_page: int
    """Most bookings of a page when a catalogue is adopted."""
    steps: tuple[Step, ...]

    def having(self, steps: Iterable[Step]) -> Script:
        """The same circumstances, and other steps."""
        return replace(self, steps=tuple(steps))

    def dump(self) -> bytes:
        """To be kept in a file."""
        body = asdict(self)
        body["steps"] = [_dumped(step) for step in self.steps]
        return orjson.dumps(body, option=orjson.OPT_INDENT_2)

    @classmethod
    def load(cls, text: bytes) -> Script:
        """A script that ``dump`` wrote."""
        body = orjson.loads(text)
        return cls(**{**body, "steps": tuple(_loaded(step) for step in body["steps"])})


def _dumped(step: Step) -> dict[str, Any]:
    shown: dict[str, Any] = {k: v for k, v in step._asdict().items() if v != Step._field_defaults.get(k)}
    for name in ("key", "value"):
        if (raw := getattr(step, name)) is not None:
            try:
                shown[name] = raw.decode()
            except UnicodeDecodeError:
                shown[name] = {"base64": base64.b64encode(raw).decode()}
    return shown


def _loaded(shown: dict[str, Any]) -> Step:
    for name in ("key", "value"):
        raw = shown.get(name)
        if raw is not None:
            shown[name] = base64.b64decode(raw["base64"]) if isinstance(raw, dict) else raw.encode()
    return Step(**shown)


# --- catalogues -------------------------------------------------------------------------------------------

CATALOGUES: Final[dict[str, dict[str, Any]]] = {
    "base": {},
    "more": {"magnesium": "6 mL"},
    "safer": {"service_level": "0.99"},
    "north-only": {"sites": (NORTH,)},
}
"""Name → how it differs. In ``north-only`` half of the world is unknown."""


@lru_cache
def catalogue(name: str) -> Bundle:
    """A catalogue by name: the test clinics' with three items, so that a world is cheap. ``ketamine`` is a protocol by
    weight."""
    content = bundle(**CATALOGUES[name]).model_dump(mode="json", exclude_defaults=True)
    content["items"] = [item for item in content["items"] if item["id"] in ITEMS]
    content["components"] = [c for c in content["components"] if f"{c['id']}-vial" in ITEMS or c["id"] in ITEMS]
    infusion, by_weight = (protocol["versions"][0] for protocol in content["protocols"])
    infusion["lines"] = [line for line in infusion["lines"] if line["component"] != "ketorolac"]
    by_weight["lines"][0] |= {"component": "magnesium", "probability": "0.3"}
    made = Bundle.model_validate(content)
    return made.model_copy(update={"version": version_of(made)})


@lru_cache
def wire(name: str) -> bytes:
    """The catalogue as its topic carries it."""
    return orjson.dumps(catalogue(name).model_dump(mode="json"))


# --- drawing ----------------------------------------------------------------------------------------------

BEGIN: Final = at(MONDAY, "06:00")

_CALM: Final = (("work", 30), ("due", 4))
_ROUGH: Final = (
    ("work", 60), ("due", 4), ("kill", 5), ("start", 3), ("rebalance", 2), ("freeze", 2), ("thaw", 2), ("misplace", 4),
)  # fmt: skip


def draw(seed: int, *, events: int | None = None) -> Script:
    """The script of a seed; ``events``: how many events are told, before they are repeated and spoilt."""
    chance = random.Random(seed)
    partitions = chance.choice((1, 2, 2, 2))
    clock: Literal["wall", "event"] = "event" if chance.random() < 0.25 else "wall"
    told = _told(chance, chance.randint(6, 30) if events is None else events, partitions, clock)
    rough = chance.random() < 0.8
    steps: list[Step] = [Step("start", chance.getrandbits(32)) for _ in range(chance.randint(1, 3))]
    for step in _late(chance, told):
        steps.append(step)
        if chance.random() < 0.45:
            steps += _in_between(chance, chance.randint(1, 6), rough=rough)
    return Script(
        seed=seed,
        partitions=partitions,
        log=chance.choice(("atomic", "publish-then-write")),
        clock=clock,
        catalogue=chance.choice(("base", "base", "base", "north-only")),
        bookings_per_page=chance.choice((1, 2, 3, 2000)),
        steps=tuple(_in_order(steps)),
    )


def _in_between(chance: random.Random, count: int, *, rough: bool) -> list[Step]:
    names, weights = zip(*(_ROUGH if rough else _CALM), strict=True)
    return [Step(action, chance.getrandbits(32)) for action in chance.choices(names, weights, k=count)]


def _told(chance: random.Random, count: int, partitions: int, clock: str) -> list[Step]:
    """What is told, in the order in which it happens."""
    desk = Desk(chance, BEGIN)
    leap = chance.random() < 0.02
    steps = _ticks(chance, desk.now, partitions)
    for _ in range(count):
        desk.pass_time(leap=leap and chance.random() < 0.1)
        what = chance.random()
        if what < 0.1:
            # with a clock of events, those of the worker's own clock are rare
            if clock == "wall" or chance.random() < 0.2:
                steps += _ticks(chance, desk.now, partitions)
        elif what < 0.13:
            steps += _catalogue(chance, desk.now, partitions)
        elif what < 0.19:
            steps.append(_poison(chance, desk.now, partitions))
        else:
            topic, event = desk.event()
            value = encode(event)
            steps.append(Step("publish", 0, topic, None, key_of(topic, value, 0), value, _ms(desk.now)))
    desk.pass_time()
    return steps + _ticks(chance, desk.now, partitions)


def _ms(now: datetime) -> int:
    return int(now.timestamp() * 1000)


def _ticks(chance: random.Random, now: datetime, partitions: int) -> list[Step]:
    """Every partition is told the time; now and then it is late, told twice, or runs back."""
    steps = []
    for partition in range(partitions):
        late = timedelta(hours=chance.choice((0, 0, 0, 0, 1, 30)))
        value = encode(tick(now - late))
        steps.append(Step("publish", 0, "clock", partition, str(partition).encode(), value, _ms(now)))
    return steps


def _catalogue(chance: random.Random, now: datetime, partitions: int) -> list[Step]:
    name = chance.choice(tuple(CATALOGUES))
    return [Step("publish", 0, "catalogue", p, CATALOGUE_KEY, wire(name), _ms(now)) for p in range(partitions)]


_IN: Final = ("bookings", "bookings", "stock", "orders", "alert-actions", "clock", "requirements", "catalogue")
_UNREADABLE: Final = (
    b"", b"{broken", b"[1, 2]", b"\xff\xfe", b'{"type": "booking.teleported"}', b"null", b'{"schema_version": 2}', None,
)  # fmt: skip


def _poison(chance: random.Random, now: datetime, partitions: int) -> Step:
    topic = chance.choice(_IN)
    value = chance.choice(_UNREADABLE) if chance.random() < 0.6 else chance.randbytes(chance.randrange(1, 40))
    key = chance.choice((None, b"poison", NORTH.encode(), SOUTH.encode(), b"b1", CATALOGUE_KEY))
    return Step("publish", 0, topic, chance.randrange(partitions), key, value, _ms(now))


def _late(chance: random.Random, told: list[Step]) -> list[Step]:
    """In the order in which it arrives: reordered, repeated (a publisher that was not sure tries again), misrouted."""
    arriving: list[tuple[float, Step]] = []
    for number, step in enumerate(told):
        spread = chance.choice((0.0, 0.0, 0.5, 3.0, 10.0))
        arriving.append((number + chance.random() * spread, step))
        while chance.random() < 0.15:
            arriving.append((number + chance.random() * 15, step))
        if chance.random() < 0.02 and step.topic in ("bookings", "stock"):
            arriving.append((number + chance.random() * 5, step._replace(key=b"another")))
    arriving.sort(key=lambda entry: entry[0])
    return [step for _, step in arriving]


def _in_order(steps: list[Step]) -> list[Step]:
    """The log's own time never runs back."""
    latest = 0
    ordered = []
    for step in steps:
        latest = max(latest, step.at_ms)
        ordered.append(step._replace(at_ms=latest) if step.action == "publish" else step)
    return ordered


def instant(step: Step) -> datetime:
    """When a record is appended."""
    return datetime.fromtimestamp(step.at_ms / 1000, UTC)
