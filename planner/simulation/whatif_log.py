"""A site's own bookings from a log: the days to walk through, the events that count, and more or fewer bookings."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import orjson

from planner.booking_step import BookingStep
from planner.catalogue.index import Catalogue
from planner.catalogue.model import Bundle
from planner.simulation.planner_policy import MemoryEntries
from planner.simulation.real_book import RealBookings, read_bookings
from planner.step import Record

WARM_UP_DAYS = 84
"""Days before those that are measured, in which the planner learns the site's book."""
FEWEST_DAYS = 7
"""Days that are measured, and days of warm-up, at least."""
LEARNING_SHARE = 0.25
"""Of a log too short for both, what is warm-up."""
_AHEAD_MS = 4_000_000_000_000
"""The log's time: after the events' own."""
_CHUNK = 5_000


class NothingToWalk(ValueError):  # noqa: N818 - named after what it says
    """The log does not tell enough of the site's sessions."""


@dataclass(frozen=True, slots=True)
class Window:
    """Days to walk through: the site's, from ``first_day`` on; those of the warm-up are not measured."""

    first_day: date
    warm_up_days: int
    days: int

    @property
    def measured_from(self) -> date:
        """The first measured day."""
        return self.first_day + timedelta(days=self.warm_up_days)

    @property
    def last_day(self) -> date:
        """The last measured day."""
        return self.measured_from + timedelta(days=self.days - 1)


@dataclass(frozen=True, slots=True)
class SiteLog:
    """What a log tells of the bookings of one site."""

    site: str
    window: Window
    lines: tuple[bytes, ...]
    """Booking events, JSON, in the order of the log: of every booking that was ever at the site and whose session lies
    in the window or after it."""


@dataclass(slots=True)
class _Known:
    """A booking at a glance, before anything is validated."""

    lines: list[int] = field(default_factory=list)
    at_site: bool = False
    version: int = 0
    site: str = ""
    start: date | None = None
    completed: bool = False


def read_site_log(lines: Iterable[bytes], catalogue: Catalogue, site: str, days: int) -> SiteLog:
    """The events of a site's bookings, and the last ``days`` days on which it held sessions.

    Where the log is shorter fewer days are measured. The last day is that of the last completed session.

    Args:
        lines: events as JSON, in the order of the log; what is no booking event is passed over.

    Raises:
        NothingToWalk: no session of the site was completed, or they span too few days.
    """
    kept: list[bytes] = []
    known: defaultdict[str, _Known] = defaultdict(_Known)
    for event, line in _booking_events(lines):
        booking = known[event["booking_id"]]
        booking.lines.append(len(kept))
        kept.append(line)
        _glance(booking, event, catalogue, site)
    here = {name: booking for name, booking in known.items() if booking.at_site}
    held = sorted(b.start for b in here.values() if b.completed and b.start is not None and b.site == site)
    if not held:
        raise NothingToWalk(
            f"bookings of {site}: found no completed session; expected booking.completed events of at least "
            f"{2 * FEWEST_DAYS} days"
        )
    window = _window(site, held, days)
    numbers = sorted(
        number
        for booking in here.values()
        if booking.start is None or booking.start >= window.first_day
        for number in booking.lines
    )
    return SiteLog(site, window, tuple(kept[number] for number in numbers))


def _window(site: str, held: Sequence[date], days: int) -> Window:
    span = (held[-1] - held[0]).days + 1
    if span < 2 * FEWEST_DAYS:
        raise NothingToWalk(
            f"bookings of {site}: completed sessions span {span} days ({held[0]} to {held[-1]}); expected at least "
            f"{2 * FEWEST_DAYS}"
        )
    days = min(days, span - max(FEWEST_DAYS, int(span * LEARNING_SHARE)))
    warm_up = min(WARM_UP_DAYS, span - days)
    return Window(held[-1] - timedelta(days=days + warm_up - 1), warm_up, days)


def _booking_events(lines: Iterable[bytes]) -> Iterator[tuple[dict[str, Any], bytes]]:
    """Events with an id of a booking; whether they are sound is for the booking step to say."""
    for line in lines:
        try:
            event = orjson.loads(line)
        except orjson.JSONDecodeError:
            continue
        if not isinstance(event, dict) or not isinstance(event.get("booking_id"), str):
            continue
        if str(event.get("type", "")).startswith("booking."):
            yield event, line


def _glance(booking: _Known, event: dict[str, Any], catalogue: Catalogue, site: str) -> None:
    booking.at_site |= event.get("site") == site
    version = event.get("version")
    if not isinstance(version, int) or version < booking.version:
        return
    booking.version = version
    if isinstance(event.get("site"), str):
        booking.site = event["site"]
    start = _instant(event.get("start"))
    if start is not None:
        booking.start = catalogue.site_day(site, start)
    booking.completed = event["type"] == "booking.completed"


def _instant(text: object) -> datetime | None:
    try:
        found = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return found.astimezone(UTC) if found is not None and found.tzinfo is not None else None


# --- what counts ------------------------------------------------------------------------------------------


def accepted(lines: Sequence[bytes], bundle: Bundle) -> list[bytes]:
    """The events that the real booking step applies under a catalogue: no repetitions, nothing stale or refused."""
    step, entries = BookingStep(0, 1, bundle), MemoryEntries()
    step.restore(entries)
    found: list[bytes] = []
    for first in range(0, len(lines), _CHUNK):
        records = [
            Record("bookings", 0, first + n, _AHEAD_MS + first + n, orjson.loads(line)["booking_id"].encode(), line)
            for n, line in enumerate(lines[first : first + _CHUNK])
        ]
        for page in step.fold(records):
            entries.apply(page.writes)
            for message in page.messages:
                if message.topic == "outcomes" and message.value is not None:
                    outcome = orjson.loads(message.value)
                    if outcome["status"] == "applied":
                        found.append(lines[outcome["offset"]])
    return found


def real_bookings(lines: Sequence[bytes], bundle: Bundle) -> RealBookings:
    """What the events that count under a catalogue say, by booking."""
    return read_bookings(accepted(lines, bundle), Catalogue(bundle))


def left_out(lines: Sequence[bytes], real: RealBookings) -> int:
    """Completed sessions of the events that do not count, since the catalogue cannot say what they take."""
    events = map(orjson.loads, lines)
    completed = {event["booking_id"] for event in events if event["type"] == "booking.completed"}
    return len(completed - real.lines.keys())


# --- more or fewer -------------------------------------------------------------------------------------------


def vary(lines: Sequence[bytes], share: float, seed: int) -> tuple[bytes, ...]:
    """The events with ``share`` (−0.9 to 1) more bookings: a random part of them told twice, or left out.

    The bookings of a series stay together. A copy has ids of its own, and is told when its original is.
    """
    events = [orjson.loads(line) for line in lines]
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for name, series in _series(events).items():
        groups[name if series is None else f"series {series}"].append(name)
    chosen = chosen_of(groups, share, seed)
    if share < 0:
        return tuple(line for event, line in zip(events, lines, strict=True) if event["booking_id"] not in chosen)
    told: list[bytes] = []
    for event, line in zip(events, lines, strict=True):
        told.append(line)
        if event["booking_id"] in chosen:
            told.append(orjson.dumps(_copy(event)))
    return tuple(told)


def chosen_of(groups: Mapping[str, Sequence[str]], share: float, seed: int) -> set[str]:
    """Bookings of random groups, |share| of them all, as near as whole groups come to it."""
    names = sorted(groups)
    left = round(abs(share) * sum(len(members) for members in groups.values()))
    found: set[str] = set()
    for number in np.random.default_rng(seed).permutation(len(names)).tolist():
        members = groups[names[number]]
        # half of a group too many is nearer than none of it
        if len(members) <= 2 * left:
            found.update(members)
            left -= len(members)
        if left <= 0:
            break
    return found


def _series(events: Iterable[dict[str, Any]]) -> dict[str, str | None]:
    """Booking → the series it is one of."""
    found: dict[str, str | None] = {}
    for event in events:
        name = event["booking_id"]
        found[name] = event.get("series_id") or found.get(name)
    return found


def _copy(event: dict[str, Any]) -> dict[str, Any]:
    changed = {name: copy_id(event[name]) for name in ("booking_id", "event_id", "series_id") if event.get(name)}
    return event | changed


def copy_id(identifier: str) -> str:
    """The id of a copy, no longer than an id may be."""
    return f"copy-{hashlib.blake2b(identifier.encode(), digest_size=12).hexdigest()}"
