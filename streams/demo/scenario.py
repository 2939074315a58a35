"""A season's bookings: pure, the same for the same seed. What suppliers and the pharmacy do is in ``world``.

Sessions follow the catalogue's own expectations per site and weekday, so that another catalogue makes another season:
maintenance patients come at their protocol's interval, a status migrainosus on consecutive days, others are booked
days or weeks ahead or walk in. Some are moved, amended, cancelled or missed.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import Any

from planner.catalogue.index import Catalogue
from planner.catalogue.model import WEEKDAYS, ExpectedSessions, ProtocolVersion
from planner.events.bookings import Parameters

FIRST_DAY = date(2026, 3, 2)
"""A Monday."""
WEEKS = 12
SITES = ("north", "harbor", "lakeside")

BAD_WEEK = 8
"""Week (from 0) of a weather front: so many more walk-ins and episodes."""
BAD_WEEK_FACTOR = 1.7

CANCELLED_SHARE = 0.09
MISSED_SHARE = 0.05
MOVED_SHARE = 0.08
AMENDED_SHARE = 0.03
ARRIVAL_TOLD_SHARE = 0.5
WALK_IN_SHARE = 0.4
AHEAD_DAYS_MAX = 21
OPENS, CLOSES = time(8, 0), time(16, 0)

Event = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Visit:
    """A session that took place: what ``world`` takes from the shelf for it."""

    booking_id: str
    site: str
    protocol: str
    version: ProtocolVersion
    parameters: Parameters
    ends: datetime
    next_version: int
    """Of the event that will say that it took place."""


@dataclass(slots=True)
class Season:
    """Events by day in order of ``occurred_at``, and the sessions that end on each day."""

    seed: int
    first_day: date
    days: int
    sites: tuple[str, ...]
    events: dict[date, list[Event]] = field(default_factory=dict)
    """Without completions, which ``world`` writes because they tell what was used. The book as it stands on the eve
    of the first day is told on that eve."""
    visits: dict[date, list[Visit]] = field(default_factory=dict)

    @property
    def eve(self) -> date:
        return self.first_day - timedelta(days=1)


def season(
    catalogue: Catalogue,
    seed: int,
    *,
    first_day: date = FIRST_DAY,
    weeks: int = WEEKS,
    sites: tuple[str, ...] = SITES,
) -> Season:
    """The season of ``sites`` under ``catalogue``; equal arguments give equal seasons.

    Raises:
        KeyError: the catalogue has no such site.
    """
    made = Season(seed, first_day, weeks * 7, sites)
    for site in sites:
        writer = _Writer(catalogue, made, site, random.Random(f"{seed}/{site}"))
        for expected in catalogue.sites[site].expected_sessions:
            version = catalogue.protocol_version(expected.protocol, first_day)
            if version is not None:
                writer.write(expected, version)
    for events in made.events.values():
        events.sort(key=lambda event: (datetime.fromisoformat(event["occurred_at"]), event["event_id"]))
    for visits in made.visits.values():
        visits.sort(key=lambda visit: (visit.ends, visit.booking_id))
    return made


class _Writer:
    """Writes one site's bookings."""

    def __init__(self, catalogue: Catalogue, made: Season, site: str, chance: random.Random) -> None:
        self.catalogue = catalogue
        self.made = made
        self.site = site
        self.chance = chance
        self.zone = catalogue.zone(site)
        self.bookings = 0
        self.patients = 0
        self.last_day = made.first_day + timedelta(days=made.days - 1)

    def write(self, expected: ExpectedSessions, version: ProtocolVersion) -> None:
        """All sessions of one protocol."""
        repeat = version.repeat
        if repeat.kind == "every" and repeat.days is not None:
            self._maintenance(expected, version, repeat.days)
        elif repeat.kind == "consecutive-days" and repeat.days is not None:
            self._episodes(expected, version, repeat.days)
        else:
            self._singles(expected, version)

    # --- who comes when ---

    def _maintenance(self, expected: ExpectedSessions, version: ProtocolVersion, every_days: int) -> None:
        weekly = sum(float(rate) for rate in expected.per_day.values())
        for _ in range(round(weekly * every_days / 7)):
            self.patients += 1
            series = f"series-{self.site}-{self.patients:03}"
            day = self.made.first_day + timedelta(days=self.chance.randrange(every_days))
            known: datetime | None = None
            while day <= self.last_day:
                start = self._start(self._open_day(day, expected))
                # Some of the first ones have been booked at a visit before the season, others are new patients.
                booked = self._eve() if known is None else known
                self._session(expected, version, start, booked, series)
                known = start + timedelta(minutes=version.session_minutes)
                day += timedelta(days=every_days)

    def _episodes(self, expected: ExpectedSessions, version: ProtocolVersion, in_a_row: int) -> None:
        """Several days running, booked at once on the day of the first or the day before."""
        for day in self._days():
            rate = self._rate(expected, day) / in_a_row * self._weather(day)
            for _ in range(self._poisson(rate)):
                self.patients += 1
                series = f"series-{self.site}-{self.patients:03}"
                first = self._start(day)
                booked = self._before(first, self.chance.randrange(2))
                for number in range(in_a_row):
                    start = self._start(day + timedelta(days=number)) if number else first
                    self._session(expected, version, start, booked + timedelta(seconds=number), series)

    def _singles(self, expected: ExpectedSessions, version: ProtocolVersion) -> None:
        for day in self._days():
            for _ in range(self._poisson(self._rate(expected, day))):
                walks_in = self.chance.random() < WALK_IN_SHARE
                ahead = self.chance.randrange(3) if walks_in else self.chance.randrange(3, AHEAD_DAYS_MAX + 1)
                start = self._start(day)
                self._session(expected, version, start, self._before(start, ahead), None)
            for _ in range(self._poisson(self._rate(expected, day) * (self._weather(day) - 1))):
                start = self._start(day)
                self._session(expected, version, start, self._before(start, 0), None)

    # --- one session, from its booking to its end ---

    def _session(
        self,
        expected: ExpectedSessions,
        version: ProtocolVersion,
        start: datetime,
        booked: datetime,
        series: str | None,
    ) -> None:
        if start.date() > self.last_day + timedelta(days=AHEAD_DAYS_MAX):
            return
        self.bookings += 1
        booking = f"bk-{self.site}-{self.bookings:04}"
        parameters = self._parameters(expected, version)
        body = {
            "site": self.site,
            "protocol": expected.protocol,
            "start": start.isoformat(),
            "parameters": parameters.model_dump(mode="json", exclude_none=True),
        }
        if series is not None:
            body["series_id"] = series
        self._tell(booking, 1, "booked", booked, body)
        number, known = 2, booked
        fate = self.chance.random()
        if fate < CANCELLED_SHARE:
            self._tell(booking, number, "cancelled", self._between(booked, start), {})
            return
        if fate < CANCELLED_SHARE + MOVED_SHARE:
            known = moved = self._between(booked, start)
            start = self._start(self._open_day(start.date() + timedelta(days=1 + self.chance.randrange(5)), expected))
            self._tell(booking, number, "rescheduled", moved, {"start": start.isoformat()})
            number += 1
        elif fate < CANCELLED_SHARE + MOVED_SHARE + AMENDED_SHARE:
            parameters = self._parameters(expected, version)
            amended = {"parameters": parameters.model_dump(mode="json", exclude_none=True)}
            known = self._between(booked, start)
            self._tell(booking, number, "amended", known, amended)
            number += 1
        if start.date() > self.last_day:
            return
        if self.chance.random() < MISSED_SHARE:
            self._tell(booking, number, "missed", start + timedelta(hours=1), {})
            return
        arrives = start - timedelta(minutes=5)
        if self.chance.random() < ARRIVAL_TOLD_SHARE and arrives > known:
            self._tell(booking, number, "arrived", arrives, {})
            number += 1
        ends = start + timedelta(minutes=version.session_minutes)
        visit = Visit(booking, self.site, expected.protocol, version, parameters, ends, number)
        self.made.visits.setdefault(start.date(), []).append(visit)

    def _tell(self, booking: str, version: int, kind: str, at: datetime, body: Event) -> None:
        day = max(at.date(), self.made.eve)
        event = {
            "type": f"booking.{kind}",
            "event_id": f"{booking}/{version}",
            "occurred_at": at.isoformat(),
            "source": "demo-booking-system",
            "booking_id": booking,
            "version": version,
            **body,
        }
        self.made.events.setdefault(day, []).append(event)

    def _parameters(self, expected: ExpectedSessions, version: ProtocolVersion) -> Parameters:
        """A patient's weight around the typical one; hours as usual."""
        weight = hours = None
        if "weight_kg" in version.parameters:
            typical = float(expected.typical.get("weight_kg", 75))
            weight = str(min(130, max(45, round(self.chance.gauss(typical, 12)))))
        if "hours" in version.parameters:
            hours = str(expected.typical.get("hours", 4))
        return Parameters.model_validate({"weight_kg": weight, "hours": hours})

    # --- days and instants ---

    def _days(self) -> Iterator[date]:
        """The season, and the days behind it that can be booked within it."""
        for number in range(self.made.days + AHEAD_DAYS_MAX):
            yield self.made.first_day + timedelta(days=number)

    def _rate(self, expected: ExpectedSessions, day: date) -> float:
        if day in self.catalogue.sites[self.site].closed_on:
            return 0.0
        return float(expected.per_day.get(WEEKDAYS[day.weekday()], 0))

    def _weather(self, day: date) -> float:
        return BAD_WEEK_FACTOR if (day - self.made.first_day).days // 7 == BAD_WEEK else 1.0

    def _open_day(self, day: date, expected: ExpectedSessions) -> date:
        for number in range(14):
            if self._rate(expected, day + timedelta(days=number)) > 0:
                return day + timedelta(days=number)
        return day

    def _start(self, day: date) -> datetime:
        minutes = (CLOSES.hour - OPENS.hour) * 60
        slot = self.chance.randrange(minutes // 15) * 15
        return datetime.combine(day, OPENS, self.zone) + timedelta(minutes=slot)

    def _eve(self) -> datetime:
        """On the eve: bookings that the season begins with."""
        seconds = self.chance.randrange(3600)
        return datetime.combine(self.made.eve, time(18, 0), self.zone) + timedelta(seconds=seconds)

    def _before(self, start: datetime, days: int) -> datetime:
        """A moment on the day so many days before ``start``, in any case before it and not before the eve."""
        morning = datetime.combine(start.date() - timedelta(days=days), time(7, 0), self.zone)
        latest = start - timedelta(minutes=10) if days == 0 else morning + timedelta(hours=10)
        at = morning + timedelta(seconds=self.chance.randrange(max(1, int((latest - morning).total_seconds()))))
        return at if at.date() > self.made.eve else self._eve()

    def _between(self, booked: datetime, start: datetime) -> datetime:
        """A moment after the booking and before the session."""
        seconds = (start - booked).total_seconds()
        return booked + timedelta(seconds=int(seconds * (0.05 + 0.85 * self.chance.random())))

    def _poisson(self, mean: float) -> int:
        """Knuth's method; means here are small. Without numpy, so that a seed means the same everywhere."""
        if mean <= 0:
            return 0
        limit, product, count = math.exp(-mean), self.chance.random(), 0
        while product > limit:
            product *= self.chance.random()
            count += 1
        return count
