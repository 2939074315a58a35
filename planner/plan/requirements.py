"""Requirement records to messages and profiles, without validating the same lines again and again.

Bookings with the same expansion carry the same lines, byte for byte, at the end of their record. The first time they
are validated whole; after that, a record that ends in bytes already known has only its head validated. What is
remembered is keyed by those bytes themselves, so nothing is taken on trust.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from decimal import Decimal
from hashlib import blake2b
from typing import NamedTuple

import orjson
from pydantic import TypeAdapter, ValidationError

from planner.booking.rules import believed
from planner.events.control import ClockTicked
from planner.expansion.profile import profile_of
from planner.messages import REQUIREMENTS, RequirementLine, RequirementMessage, RequirementStated
from planner.records import MAX_EVENT_BYTES, DeadLetter, decode
from planner.refusal import Refused
from planner.site.state import Moments, Profile
from planner.step import Record

REMEMBERED_MOST = 2_048
"""Tails of records remembered; with 5 KB each about 10 MB."""

_LINES = b',"lines":['
_AT = len(b',"lines":')


class _Head(RequirementStated):
    """A statement whose lines are known from elsewhere."""

    lines: tuple[RequirementLine, ...] = ()


_HEAD: TypeAdapter[_Head] = TypeAdapter(_Head)


class Read(NamedTuple):
    """A requirement message, and the profile of a statement."""

    message: RequirementMessage
    profile: Profile | None


@dataclass(slots=True)
class _Tail:
    """Lines already validated: what they need by item, and the profiles made of it."""

    items: dict[str, Moments]
    profiles: dict[tuple[str, int, str], Profile] = field(default_factory=dict)


class RequirementReader:
    """Reads the records of one partition. A cache only: what it returns is a function of the record."""

    def __init__(self) -> None:
        self._tails: dict[bytes, _Tail] = {}
        self._moments: dict[Moments, Moments] = {}
        self._items: dict[tuple[tuple[str, Moments], ...], dict[str, Moments]] = {}

    def read(self, record: Record) -> Read | ClockTicked | DeadLetter:
        """The message in a record, the hour it tells, or why there is neither."""
        read = self._read(record)
        return _believed(read) if isinstance(read, Read) else read

    def _read(self, record: Record) -> Read | ClockTicked | DeadLetter:
        value = record.value
        if value is not None and len(value) <= MAX_EVENT_BYTES:
            cut = value.find(_LINES)
            tail = self._tails.get(value[cut:]) if cut > 0 else None
            if tail is not None:
                try:
                    head = _HEAD.validate_json(value[:cut] + b"}")
                except ValidationError:
                    return self._read_whole(record)  # which says what is wrong with it
                return Read(head, self._profile(head, tail))
        return self._read_whole(record)

    def _read_whole(self, record: Record) -> Read | ClockTicked | DeadLetter:
        message = decode(REQUIREMENTS, record)
        if isinstance(message, DeadLetter | ClockTicked):
            return message
        if not isinstance(message, RequirementStated):
            return Read(message, None)
        tail = _Tail(self._shared_items(message))
        self._remember(record.value or b"", tail)
        return Read(message, self._profile(message, tail))

    def _remember(self, value: bytes, tail: _Tail) -> None:
        """Only if the lines are the very end of the record, so that its head is all the rest of it."""
        cut = value.find(_LINES)
        if cut <= 0:
            return
        try:
            lines = orjson.loads(value[cut + _AT : -1])
        except orjson.JSONDecodeError:
            return  # something follows the lines: such a record is always read whole
        if not isinstance(lines, list) or value[-1:] != b"}":
            return
        if len(self._tails) >= REMEMBERED_MOST:
            for old in list(self._tails)[: REMEMBERED_MOST // 2]:
                del self._tails[old]
        self._tails[value[cut:]] = tail

    def _shared_items(self, message: RequirementStated) -> dict[str, Moments]:
        """Need by item; equal needs are one object, however many expansions come to them."""
        summed = profile_of(message.expansion_id, message.lines, message.protocol, message.protocol_version, "").items
        if len(self._moments) > 8 * REMEMBERED_MOST:
            self._moments.clear()
            self._items.clear()
        shared = {
            sys.intern(item): self._moments.setdefault(moments, moments) for item, moments in sorted(summed.items())
        }
        return self._items.setdefault(tuple(shared.items()), shared)

    def _profile(self, message: RequirementStated, tail: _Tail) -> Profile:
        key = (message.protocol, message.protocol_version, message.catalogue_version)
        profile = tail.profiles.get(key)
        if profile is None:
            profile = tail.profiles[key] = Profile(
                id=_profile_id(key, tail.items),
                protocol=sys.intern(message.protocol),
                protocol_version=message.protocol_version,
                catalogue_version=sys.intern(message.catalogue_version),
                items=tail.items,
            )
        return profile


def _believed(read: Read) -> Read | DeadLetter:
    """``expand`` has seen to the instants; what else wrote such a record must not stop the partition."""
    message = read.message
    try:
        believed("occurred_at", message.occurred_at)
        if isinstance(message, RequirementStated):
            start = believed("start", message.start)
            if abs(message.day.toordinal() - start.toordinal()) > 1:
                raise Refused("day-out-of-range", f"day: found {message.day}; expected the site's day of {start}")
    except Refused as refused:
        return DeadLetter(refused.reason, refused.detail)
    return read


def _profile_id(key: tuple[str, int, str], items: dict[str, Moments]) -> str:
    """Digest of all that a profile says: expansions that come to the same needs share it."""
    content = [*key, [[item, *map(_text, moments)] for item, moments in items.items()]]
    return blake2b(orjson.dumps(content), digest_size=12).hexdigest()


def _text(value: Decimal) -> str:
    return str(value)
