"""A clinic's book: its sessions as they are booked, cancelled, missed and wanted, whatever any policy does.

The same seed gives the same book to every policy (common random numbers); what is drawn for bookings, attendance, PRN
use and deliveries comes from generators of its own, spawned from the seed.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

import numpy as np
import numpy.typing as npt
import orjson

from planner.simulation.clinic import Lines, SessionType, SiteClinic
from planner.simulation.scenario import Ahead

OPENS, LAST_START, ORDERED_AT = time(8, 0), time(15, 0), time(16, 30)
"""Local times: first booking of a day; last session to begin; when orders are placed. Later news is the next day's."""
_FIRST_START_S = 3600
"""Seconds after ``OPENS`` that the first session may begin."""
_SESSION_MINUTES_MOST = 75
"""So that every session of a day has ended before orders are placed."""

Amount = int | Decimal
"""Containers, or mL of a multi-dose item."""
Amounts = dict[str, Amount]


@dataclass(frozen=True, slots=True)
class Streams:
    """Generators of one world, by what they are for."""

    bookings: np.random.Generator
    attendance: np.random.Generator
    use: np.random.Generator
    deliveries: np.random.Generator

    @classmethod
    def of(cls, seed: int, site: int) -> Streams:
        """For a seed and the number of a site."""
        return cls(*(np.random.default_rng(s) for s in np.random.SeedSequence([seed, site]).spawn(4)))


@dataclass(frozen=True, slots=True)
class Told:
    """A booking event as the booking system publishes it."""

    at: datetime
    booking_id: str
    raw: bytes


@dataclass(frozen=True, slots=True)
class Session:
    """A session whose patient comes. ``needs``: without these it cannot take place; ``extra``: what turns out to be
    needed besides (PRN, a second catheter). ``next_version``: of the event that will tell its end."""

    booking_id: str
    start: datetime
    ends: datetime
    needs: Amounts
    extra: Amounts
    items: tuple[str, ...]
    """Every item that it might have used."""
    next_version: int

    def wanted(self) -> Amounts:
        """Needs and extra together."""
        total = dict(self.needs)
        for item, amount in self.extra.items():
            total[item] = total.get(item, 0) + amount
        return total


@dataclass(slots=True)
class Book:
    """By day (number, 0: the first simulated): what is told, and the sessions whose patients come, by start.

    ``missed``: events that tell of patients who did not come, beside ``told``, on the day itself.
    """

    days: int
    told: defaultdict[int, list[Told]] = field(default_factory=lambda: defaultdict(list))
    sessions: defaultdict[int, list[Session]] = field(default_factory=lambda: defaultdict(list))

    def sort(self) -> None:
        """Put each day in the order of time."""
        for told in self.told.values():
            told.sort(key=lambda t: (t.at, t.booking_id))
        for sessions in self.sessions.values():
            sessions.sort(key=lambda s: (s.start, s.booking_id))

    def wanted(self, items: tuple[str, ...]) -> npt.NDArray[np.float64]:
        """What the patients who come want; shape (items, days), containers or mL."""
        row = {item: number for number, item in enumerate(items)}
        total = np.zeros((len(items), self.days))
        for day, sessions in self.sessions.items():
            if day < self.days:
                for session in sessions:
                    for part in (session.needs, session.extra):
                        for item, amount in part.items():
                            if item in row:
                                total[row[item], day] += float(amount)
        return total


def synthetic_book(clinic: SiteClinic, streams: Streams) -> Book:
    """Bookings drawn as the scenario says. Sessions lie as far beyond the last day as any is booked ahead."""
    book = Book(clinic.scenario.days)
    beyond = max(ahead.days[1] for kind in clinic.types for ahead in kind.ahead)
    days = book.days + beyond + 1
    load = _load(clinic, streams.bookings, days)
    number = 0
    for kind in clinic.types:
        week = np.array(kind.per_weekday)
        first = clinic.first_day.weekday()
        bookings = clinic.scenario.bookings
        kept = (1 - bookings.cancelled) * (1 - bookings.missed)
        rates = week[(first + np.arange(days)) % 7] * load / max(kept, 1e-9)
        counts = streams.bookings.poisson(rates)
        of_day = np.repeat(np.arange(days), counts)
        ahead = _days_ahead(kind.ahead, streams.bookings, of_day.size)
        within = streams.bookings.random((2, of_day.size))  # where in the day it begins, and is booked
        for day, before, (start, booked) in zip(of_day.tolist(), ahead.tolist(), within.T.tolist(), strict=True):
            number += 1
            _one(clinic, kind, book, streams, number, day=day, before=before, start=start, booked=booked)
    book.sort()
    return book


def _load(clinic: SiteClinic, random: np.random.Generator, days: int) -> npt.NDArray[np.float64]:
    """Factor of each day's sessions: the week's load (gamma, mean 1) and the shift."""
    bookings = clinic.scenario.bookings
    weeks = days // 7 + 1
    sd = bookings.weekly_load_sd
    of_week = random.gamma(1 / sd**2, sd**2, weeks) if sd > 0 else np.ones(weeks)
    load = np.repeat(of_week, 7)[:days]
    if bookings.shift is not None:
        load[clinic.scenario.horizon.warm_up_days + bookings.shift.day :] *= bookings.shift.factor
    closed = [(day - clinic.first_day).days for day in clinic.catalogue.sites[clinic.site].closed_on]
    load[[day for day in closed if 0 <= day < days]] = 0.0
    return load


def _days_ahead(groups: tuple[Ahead, ...], random: np.random.Generator, n: int) -> npt.NDArray[np.int64]:
    shares = np.array([group.share for group in groups])
    chosen = random.choice(len(groups), size=n, p=shares / shares.sum())
    low = np.array([group.days[0] for group in groups])[chosen]
    high = np.array([group.days[1] for group in groups])[chosen]
    days: npt.NDArray[np.int64] = low + (random.random(n) * (high - low + 1)).astype(np.int64)
    return days


def _one(
    clinic: SiteClinic,
    kind: SessionType,
    book: Book,
    streams: Streams,
    number: int,
    *,
    day: int,
    before: int,
    start: float,
    booked: float,
) -> None:
    """Draw what becomes of one booking. The same number of draws whatever comes out."""
    zone = clinic.catalogue.zone(clinic.site)
    on = clinic.first_day + timedelta(days=day)
    span = (LAST_START.hour - OPENS.hour) * 3600 - _FIRST_START_S
    starts = (datetime.combine(on, OPENS, zone) + timedelta(seconds=_FIRST_START_S + round(start * span))).astimezone(
        UTC
    )
    booked_on = on - timedelta(days=before)
    while before and booked_on.weekday() not in clinic.open_weekdays:
        booked_on -= timedelta(days=1)
    booked_at = (datetime.combine(booked_on, OPENS, zone) + timedelta(seconds=round(booked * span))).astimezone(UTC)
    booked_at = min(booked_at, starts - timedelta(minutes=30))
    bookings = clinic.scenario.bookings
    cancels, when, misses = streams.attendance.random(3).tolist()
    needs, extra = draw_use(kind.lines, streams.use)
    booking_id = f"{clinic.site}-{number}"
    body: dict[str, object] = {"site": clinic.site, "protocol": kind.protocol, "start": starts.isoformat()}
    parameters = kind.parameters.model_dump(mode="json", exclude_none=True)
    if parameters:
        body["parameters"] = parameters
    _tell(clinic, book, booked_at, booking_id, kind="booked", version=1, **body)
    if cancels < bookings.cancelled:
        cancelled_at = booked_at + (starts - booked_at) * when
        _tell(clinic, book, cancelled_at, booking_id, kind="cancelled", version=2)
        return
    if day >= book.days:
        return
    if misses < bookings.missed:
        _tell(clinic, book, starts + timedelta(minutes=20), booking_id, kind="missed", version=2)
        return
    ends = starts + timedelta(minutes=min(kind.minutes, _SESSION_MINUTES_MOST))
    book.sessions[day].append(Session(booking_id, starts, ends, needs, extra, kind.items, 2))


def draw_use(lines: Lines, random: np.random.Generator) -> tuple[Amounts, Amounts]:
    """What a session needs for certain, and what turns out to be needed besides. Every line takes one draw."""
    needs: Amounts = {}
    extra: Amounts = {}
    drawn = random.random(len(lines)).tolist()
    given: dict[str, bool] = {}
    for line, uniform in zip(lines, drawn, strict=True):
        if line.item is None:
            continue
        whole = line.unit == "containers"
        certain, more = line.certain, line.maximum - line.certain
        if line.probability < 1:
            # all lines of a block hang on one question
            if not given.setdefault(line.line.partition(".")[0], uniform < float(line.probability)):
                more = Decimal(0)
        elif more > 0:
            more = _extra(uniform, more, float((line.mean - certain) / more), whole=whole)
        if certain > 0:
            needs[line.item] = needs.get(line.item, 0) + (int(certain) if whole else certain)
        if more > 0:
            extra[line.item] = extra.get(line.item, 0) + (int(more) if whole else more)
    return needs, extra


def _extra(uniform: float, most: Decimal, share: float, *, whole: bool) -> Decimal:
    """How much of ``most`` is needed, with mean ``share`` × most: of whole containers each by itself, else all or
    nothing."""
    if not whole:
        return most if uniform < share else Decimal(0)
    n = int(most)
    chance = (1 - share) ** n
    count = 0
    while uniform >= chance and count < n:
        uniform -= chance
        chance *= (n - count) / (count + 1) * share / (1 - share) if share < 1 else math.inf
        count += 1
    return Decimal(count)


def _tell(
    clinic: SiteClinic, book: Book, at: datetime, booking_id: str, *, kind: str, version: int, **body: object
) -> None:
    told = Told(at, booking_id, booking_event(at, booking_id, kind, version, **body))
    day = told_on(clinic, at)
    if day < book.days:
        book.told[day].append(told)


def booking_event(at: datetime, booking_id: str, kind: str, version: int, **body: object) -> bytes:
    """A booking event's JSON."""
    head = {
        "type": f"booking.{kind}",
        "event_id": f"{booking_id}/{version}",
        "occurred_at": at.isoformat(),
        "source": "simulation",
        "booking_id": booking_id,
        "version": version,
    }
    return orjson.dumps(head | body)


def told_on(clinic: SiteClinic, at: datetime) -> int:
    """The number of the day on which what happens ``at`` is known: the next one if orders have been placed by then.
    What happened before the first day is known on it."""
    local = at.astimezone(clinic.catalogue.zone(clinic.site))
    day: date = local.date()
    late = local.time() > ORDERED_AT
    return max((day - clinic.first_day).days + late, 0)
