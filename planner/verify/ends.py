"""Does every input have exactly one end? What the fold says of each offset, beside what the log was told of it.

A worker that dies between publishing and writing tells the same again: equal repeats are counted and are no
difference. Values are kept as digests, so that millions of them fit.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, NamedTuple

import orjson

from planner.records import HEADER_OFFSET, HEADER_PARTITION, HEADER_REASON, HEADER_TOPIC
from planner.step import Message, Record
from planner.verify.compare import ABSENT, Difference, shown

Coordinates = tuple[str, int, int]
"""Topic, partition, offset of an input."""


Folded = Mapping[tuple[str, int], tuple[int, int]]
"""Topic and partition → the offsets of its inputs that were folded again: from, to before."""


class _Told(NamedTuple):
    digest: bytes
    what: str
    """Status and reason, shared by all that have the same."""


@dataclass(slots=True)
class Ends:
    """Outcomes, or dead letters, by the input that they tell of."""

    topic: str
    """``outcomes`` or ``dead-letters``."""
    recomputed: dict[Coordinates, _Told] = field(default_factory=dict)
    repeated: int = 0
    """Messages found that say again what was said before, word for word."""
    _found: set[Coordinates] = field(default_factory=set)
    _early: list[tuple[Coordinates, _Told]] = field(default_factory=list)
    """Found, and not yet folded again."""
    _words: dict[str, str] = field(default_factory=dict)

    def expect(self, message: Message) -> None:
        """The fold tells this.

        Raises:
            ValueError: it has told something of this input already: a step's bug.
        """
        coordinates, told = self._read(message.value, message.headers)
        if coordinates in self.recomputed:
            raise ValueError(f"{self.topic}: {coordinates} has two ends in one fold")
        self.recomputed[coordinates] = told

    def find(self, record: Record, folded: Folded) -> Difference | None:
        """The log was told this."""
        coordinates, told = self._read(record.value, record.headers)
        return self._judge(coordinates, told, folded, record.value)

    def find_early(self, folded: Folded) -> Difference | None:
        """Look again at what was found before it was folded; the first difference."""
        early, self._early = self._early, []
        found = (self._judge(coordinates, told, folded, None) for coordinates, told in early)
        return next((difference for difference in found if difference is not None), None)

    def _judge(self, coordinates: Coordinates, told: _Told, folded: Folded, value: bytes | None) -> Difference | None:
        topic, partition, offset = coordinates
        since, until = folded.get((topic, partition), (0, 0))
        expected = self.recomputed.get(coordinates)
        if expected is None:
            if since <= offset < until:
                return self._difference(coordinates, ABSENT, told.what)
            if offset >= until > 0:
                self._early.append((coordinates, told))
            return None
        if expected.digest != told.digest:
            found = told.what if expected.what != told.what or value is None else shown(value)
            return self._difference(coordinates, expected.what, found)
        if coordinates in self._found:
            self.repeated += 1
        self._found.add(coordinates)
        return None

    def missing(self) -> Iterator[Difference]:
        """What the fold tells and the log was never told."""
        for coordinates in sorted(self.recomputed.keys() - self._found):
            yield self._difference(coordinates, self.recomputed[coordinates].what, ABSENT)

    def _difference(self, coordinates: Coordinates, recomputed: str, found: str) -> Difference:
        topic, partition, offset = coordinates
        return Difference(self.topic, f"{topic}/{partition}/{offset}", "", recomputed, found)

    def _read(self, value: bytes | None, headers: tuple[tuple[str, bytes], ...]) -> tuple[Coordinates, _Told]:
        if self.topic == "outcomes":
            body: dict[str, Any] = orjson.loads(value or b"{}")
            coordinates = (str(body["topic"]), int(body["partition"]), int(body["offset"]))
            what = f"{body['status']} {body.get('reason') or ''}".rstrip()
            return coordinates, _Told(_digest(value), self._words.setdefault(what, what))
        # the first header of a name is ours, whatever the record came with
        ours = dict(reversed(headers))
        coordinates = (
            ours[HEADER_TOPIC].decode(), int(ours[HEADER_PARTITION]), int(ours[HEADER_OFFSET])
        )  # fmt: skip
        what = ours[HEADER_REASON].decode()
        return coordinates, _Told(_digest(value, headers), self._words.setdefault(what, what))


class Stream:
    """Messages between agents: each that the fold tells must be on the log, and nothing else."""

    def __init__(self, topic: str) -> None:
        self.topic = topic
        self.repeated = 0
        self._recomputed: dict[bytes, str] = {}
        self._found: set[bytes] = set()
        self._unknown: dict[bytes, Difference] = {}

    def __len__(self) -> int:
        return len(self._recomputed)

    def expect(self, message: Message, source: str) -> None:
        """The fold tells this; ``source``: for a reader, who tells it."""
        self._recomputed[_identity(message.key, message.value)] = source

    def find(self, record: Record) -> None:
        """The log holds this."""
        identity = _identity(record.key, record.value)
        if identity not in self._recomputed:
            at = f"{record.topic}/{record.partition}/{record.offset}"
            self._unknown[identity] = Difference(self.topic, at, "", ABSENT, shown(record.value))
        elif identity in self._found:
            self.repeated += 1
        self._found.add(identity)

    def unexplained(self) -> list[Difference]:
        """What the log holds and no fold has told so far."""
        for identity in self._unknown.keys() & self._recomputed.keys():
            del self._unknown[identity]
        return list(self._unknown.values())

    def missing(self) -> Iterator[Difference]:
        """What the fold tells and the log does not hold."""
        for identity, source in self._recomputed.items():
            if identity not in self._found:
                yield Difference(self.topic, f"told by {source}", "", "a message", ABSENT)


class LastOnes:
    """A compacted topic: the last message of each key as the fold tells it, and those that it told on the way."""

    def __init__(self, topic: str) -> None:
        self.topic = topic
        self.last: dict[bytes, bytes | None] = {}
        self._since: defaultdict[bytes, set[bytes]] = defaultdict(set)

    def expect(self, message: Message) -> None:
        """The fold tells this."""
        key = message.key or b""
        self.last[key] = message.value
        self._since[key].add(_digest(message.value))

    def begin(self) -> None:
        """From now on only what is told from now on, and the last of each key, may stand on the log."""
        self._since.clear()

    def agrees(self, key: bytes, found: bytes | None) -> bool:
        """Whether ``found`` is the last that the fold told of a key, or one that it told since ``begin``."""
        return self.last.get(key) == found or _digest(found) in self._since.get(key, ())


def _digest(value: bytes | None, headers: tuple[tuple[str, bytes], ...] = ()) -> bytes:
    hashed = blake2b(b"0" if value is None else b"1" + value, digest_size=8)
    for name, content in headers:
        hashed.update(b"%d,%d" % (len(name), len(content)))
        hashed.update(name.encode() + content)
    return hashed.digest()


def _identity(key: bytes | None, value: bytes | None) -> bytes:
    return _digest(value) + _digest(key)
