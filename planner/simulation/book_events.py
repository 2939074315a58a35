"""Telling a synthetic book: its parties as booking events, in the order in which they happen."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from decimal import Decimal
from fractions import Fraction
from hashlib import blake2b
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
from numpy.random import Generator

from planner.catalogue.index import Catalogue
from planner.events.bookings import (
    Arrived,
    Booked,
    BookingEvent,
    Cancelled,
    Completed,
    ItemUse,
    Missed,
    Parameters,
    Rescheduled,
)
from planner.expansion.expand import expand
from planner.messages import RequirementLine
from planner.simulation.book_parties import NEVER, Parties
from planner.simulation.book_rates import Ints
from planner.simulation.book_spec import BookedSite, BookSpec, Normal

_MINUTE_S = 60
_DAY_S = 86_400
_FIRST_SLOT, _SLOTS, _SLOT_MINUTES = 8 * 60, 18, 30
"""Sessions begin at 08:00, 08:30, … 16:30."""
_PHONES = (8 * 60, 18 * 60)
_MORNING = (6 * 60, 7 * 60)
"""Cancellations on the day itself."""
_EVENING = (19 * 60, 20 * 60)
"""Who did not come is told."""
_ADOPTED = 5 * 60
_SESSION_MINUTES = 90


class Told(NamedTuple):
    """An event and its place in the order: what happens first is told first."""

    occurred_s: int
    booking: int
    version: int
    event: BookingEvent


class _Root(NamedTuple):
    """What all sessions that one booking id stands for have in common."""

    booking_id: str
    protocol: str
    parameters: Parameters


class Telling:
    """Tells one site's parties. One use."""

    def __init__(
        self,
        spec: BookSpec,
        site: BookedSite,
        parties: Parties,
        *,
        seed: int,
        rng: Generator,
        catalogue: Catalogue | None = None,
    ) -> None:
        if spec.actual_use and catalogue is None:
            raise ValueError("actual_use: found true without a catalogue; expected one, to know what sessions use")
        self.spec, self.site, self.parties = spec, site, parties
        self._catalogue = catalogue
        self._rng = rng
        self._name = f"{spec.name}-{seed}"
        self._zone = ZoneInfo(site.timezone)
        self._first = spec.first_day.toordinal()
        self._midnights: dict[int, int] = {}
        self._uses: dict[tuple[str, int, Parameters], tuple[RequirementLine, ...]] = {}
        self._told: list[Told] = []

    def tell(self) -> list[Told]:
        """Every event of the site, in order."""
        parties = self.parties
        moved_to = self._moves()
        moved_from = {new: old for old, new in moved_to.items()}
        size = parties.day.size
        minutes = self._minutes(size)
        protocols = self._protocols()
        # in order of booking, so that a booking is told before what it moves to
        for party in np.argsort(parties.day - parties.booked, kind="stable").tolist():
            if party in moved_from:
                continue
            for member in range(int(parties.size[party])):
                root = self._root(party, member, int(protocols[party]))
                self._tell_chain(party, moved_to, root, minutes)
        self._told.sort(key=lambda told: told[:3])
        return self._told

    # --- what is drawn for the telling ---

    def _minutes(self, size: int) -> dict[str, Ints]:
        rng = self._rng
        start = _FIRST_SLOT + _SLOT_MINUTES * rng.integers(0, _SLOTS, size)
        same_day = start - rng.integers(5, 45, size)
        late = rng.random(size) < self.spec.late_share
        return {
            "start": start,
            "booked": np.where(self.parties.booked == 0, same_day, rng.integers(*_PHONES, size)),
            "cancelled": np.where(
                self.parties.cancelled == 0, rng.integers(*_MORNING, size), rng.integers(*_PHONES, size)
            ),
            "missed": rng.integers(*_EVENING, size),
            "untold": (rng.random(size) >= self.spec.cancellations_told).astype(np.int64),
            "late_days": late * rng.integers(1, self.spec.late_days_most + 1, size),
        }

    def _protocols(self) -> Ints:
        """Index of each party's protocol in its segment; one for a whole series."""
        parties = self.parties
        chosen = np.zeros(parties.day.size, np.int64)
        for index, segment in enumerate(self.spec.segments):
            of_segment = np.nonzero(parties.segment == index)[0]
            bounds = np.cumsum([part.share for part in segment.protocols])[:-1]
            series = parties.series[of_segment]
            uniform = self._rng.random(of_segment.size + int(series.max(initial=0)) + 1)
            draw = np.where(series == NEVER, uniform[: of_segment.size], uniform[series])
            chosen[of_segment] = np.searchsorted(bounds, draw, side="right")
        return chosen

    def _moves(self) -> dict[int, int]:
        """Cancelled party → the new one that it is told to have moved to."""
        spec, parties = self.spec, self.parties
        if spec.reschedule_share == 0:
            return {}
        single = (parties.size == 1) & (parties.series == NEVER)
        willing = single & (parties.cancelled > 0) & (self._rng.random(parties.day.size) < spec.reschedule_share)
        new: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
        for party in np.nonzero(single)[0].tolist():
            made_on = int(parties.day[party] - parties.booked[party])
            new[int(parties.segment[party]), made_on].append(party)
        moves: dict[int, int] = {}
        for party in np.nonzero(willing)[0].tolist():
            on = int(parties.day[party] - parties.cancelled[party])
            candidates = new[int(parties.segment[party]), on]
            at = next((i for i, other in enumerate(candidates) if parties.day[other] != parties.day[party]), None)
            if at is not None:
                moves[party] = candidates.pop(at)
        return moves

    def _root(self, party: int, member: int, protocol: int) -> _Root:
        part = self.spec.segments[int(self.parties.segment[party])].protocols[protocol]
        digest = blake2b(f"{self._name}:{self.site.site}:{party}:{member}".encode(), digest_size=7).hexdigest()
        if part.weight_kg is None and part.hours is None:
            return _Root(digest, part.protocol, _NO_PARAMETERS)
        parameters = Parameters(weight_kg=self._parameter(part.weight_kg), hours=self._parameter(part.hours))
        return _Root(digest, part.protocol, parameters)

    def _parameter(self, normal: Normal | None) -> Decimal | None:
        if normal is None:
            return None
        z = min(max(self._rng.standard_normal(), -2.5), 2.5)
        return Decimal(max(round(normal.mean + z * normal.sd), 1))

    # --- telling ---

    def _tell_chain(self, party: int, moved_to: dict[int, int], root: _Root, minutes: dict[str, Ints]) -> None:
        """A booking from its making on, through its moves, to its end."""
        parties = self.parties
        made_on = int(parties.day[party] - parties.booked[party])
        at = self._at(made_on, int(minutes["booked"][party]))
        if self.spec.adopted and made_on < 0:
            while parties.cancelled[party] != NEVER and parties.day[party] - parties.cancelled[party] < 0:
                if party not in moved_to:
                    return  # gone before anything was told
                party = moved_to[party]
            at = self._at(0, _ADOPTED)
        series = int(parties.series[party])
        self._add(at, party, root, 1, Booked, {
            "site": self.site.site, "protocol": root.protocol, "start": self._start(party, minutes),
            "parameters": root.parameters,
            "series_id": None if series == NEVER else f"{self._name}:{self.site.site}:s{series}",
        })  # fmt: skip
        version = 1
        while party in moved_to:
            party = moved_to[party]
            version += 1
            at = self._at(int(parties.day[party] - parties.booked[party]), int(minutes["booked"][party]))
            self._add(at, party, root, version, Rescheduled, {"start": self._start(party, minutes)})
        self._tell_end(party, root, version + 1, minutes)

    def _tell_end(self, party: int, root: _Root, version: int, minutes: dict[str, Ints]) -> None:
        parties = self.parties
        day, cancelled = int(parties.day[party]), int(parties.cancelled[party])
        if cancelled != NEVER and not minutes["untold"][party]:
            self._add(self._at(day - cancelled, int(minutes["cancelled"][party])), party, root, version, Cancelled, {})
            return
        late_s = int(minutes["late_days"][party])
        start = int(minutes["start"][party])
        if cancelled != NEVER or parties.missed[party]:
            self._add(self._at(day + late_s, int(minutes["missed"][party])), party, root, version, Missed, {})
            return
        if self.spec.arrivals_told:
            self._add(self._at(day, start), party, root, version, Arrived, {})
            version += 1
        told: dict[str, Any] = {"actual_use": self._used(day, root)} if self.spec.actual_use else {}
        self._add(self._at(day + late_s, start + _SESSION_MINUTES), party, root, version, Completed, told)

    def _add(  # noqa: PLR0917 (an event's parts, in the order of its own fields)
        self, at: int, party: int, root: _Root, version: int, kind: type[BookingEvent], fields: dict[str, Any]
    ) -> None:
        event = kind(
            event_id=f"{self._name}:{root.booking_id}:{version}",
            occurred_at=datetime.fromtimestamp(at, UTC),
            source=self._name,
            booking_id=root.booking_id,
            version=version,
            **fields,
        )
        self._told.append(Told(at, party, version, event))

    def _start(self, party: int, minutes: dict[str, Ints]) -> datetime:
        return datetime.fromtimestamp(self._at(int(self.parties.day[party]), int(minutes["start"][party])), UTC)

    def _at(self, day: int, minute: int) -> int:
        """Unix seconds of a day-time minute of the site's day; clocks change at night."""
        midnight = self._midnights.get(day)
        if midnight is None:
            noon = datetime.combine(date.fromordinal(self._first + day), time(12), self._zone)
            midnight = self._midnights[day] = int(noon.timestamp()) - _DAY_S // 2
        return midnight + minute * _MINUTE_S

    # --- what sessions use ---

    def _used(self, day: int, root: _Root) -> tuple[ItemUse, ...]:
        """A draw of what the session takes of each item; 0 is told too: what is not told counts as expected."""
        given: dict[str, bool] = {}
        amounts: defaultdict[tuple[str, str], Decimal] = defaultdict(Decimal)
        for line in self._lines(day, root):
            if line.item is None or line.probability == 0:
                continue
            block = line.line.partition(".")[0]
            if block not in given:
                stated = float(line.probability)
                given[block] = stated >= 1 or self._rng.random() < min(stated * self.spec.prn_factor, 1.0)
            amounts[line.item, line.unit] += self._amount(line) if given[block] else 0
        return tuple(
            ItemUse(item=item, containers=amount) if unit == "containers" else ItemUse(item=item, volume_ml=amount)
            for (item, unit), amount in amounts.items()
        )

    def _amount(self, line: RequirementLine) -> Decimal:
        """Of a line that is given: whole containers with the line's mean; a volume as it is."""
        mean = Fraction(line.mean) / Fraction(line.probability)
        if line.unit != "containers":
            return line.maximum
        whole, rest = divmod(mean, 1)
        return Decimal(int(whole) + (1 if rest and self._rng.random() < rest else 0))

    def _lines(self, day: int, root: _Root) -> tuple[RequirementLine, ...]:
        if self._catalogue is None:
            raise ValueError("what sessions use is told from a catalogue")
        on = date.fromordinal(self._first + day)
        version = self._catalogue.protocol_version(root.protocol, on)
        if version is None:
            return ()
        key = (root.protocol, version.version, root.parameters)
        if key not in self._uses:
            found = expand(self._catalogue, self.site.site, root.protocol, version, root.parameters, ())
            self._uses[key] = found.lines
        return self._uses[key]


_NO_PARAMETERS = Parameters()


def merged(tellings: list[list[Told]]) -> Iterator[BookingEvent]:
    """The events of several sites as one log."""
    numbered = [
        (told.occurred_s, number, told.booking, told.version, told.event)
        for number, of_site in enumerate(tellings)
        for told in of_site
    ]
    numbered.sort(key=lambda entry: entry[:4])
    return (entry[-1] for entry in numbered)
