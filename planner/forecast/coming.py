"""What sessions still to be booked will need: the streams of the demand model, through their mix of protocols.

A session of a stream is of protocol p with share s_p, whose typical session uses an item with mean m_p and variance
v_p. With a number of sessions of mean μ and variance σ², the stream's use is the compound sum

    mean = μ M        variance = μ V + σ² M²        M = Σ s_p m_p        V = Σ s_p (v_p + m_p²) − M²
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from planner.catalogue.index import Catalogue
from planner.expansion.profile import typical
from planner.forecast.model import Pool, Stream
from planner.forecast.outlook import Floats
from planner.forecast.portions import portion
from planner.forecast.rows import Row, Rows
from planner.site.state import Profile, SiteState


class _Part(NamedTuple):
    """A stream on the days from ``begins`` to before ``ends``, on which the same protocol versions are in force."""

    stream: int
    begins: int
    ends: int
    shares: dict[str, float]
    """Protocol → its share among those of which something is known."""
    mean: Floats
    variance: Floats
    squared: Floats


class Coming:
    """The mixes of a site's streams as dense rows over slots; built anew each day, asked for some days at a time."""

    def __init__(self, state: SiteState, catalogue: Catalogue, rows: Rows) -> None:
        self._state = state
        self._catalogue = catalogue
        self._rows = rows
        self._stated: dict[tuple[str, int], Profile | None] = {}
        self._typical: dict[tuple[str, int], Profile] = {}
        self._usual: dict[tuple[str, int], str] = {}
        """(protocol, version) → what most of its live bookings need, for those whose typical session is not stated."""
        self._unstated: set[tuple[str, int]] = set()
        self._today = date.min
        self._parts: list[_Part] = []
        self.slots: npt.NDArray[np.intp] = np.zeros(0, dtype=np.intp)
        self.portions: dict[str, int] = {}
        """Containers of an item of which every typical session takes a multiple, where it is more than one."""

    def begin(self, streams: Sequence[Stream], today: date, days: int) -> None:
        """A new day: which protocols may come, and what their sessions use."""
        self._typical.clear()
        self._usual = self._most_booked()
        found: list[tuple[int, int, int, dict[str, float], dict[str, Row]]] = []
        for number, stream in enumerate(streams):
            for begins, ends in self._ranges(stream.mix, today, days):
                rows = {p: row for p in sorted(stream.mix) if (row := self._row(p, today + timedelta(days=begins)))}
                total = sum(stream.mix[protocol] for protocol in rows)
                if total > 0:
                    # protocols of which nothing is known leave their share to the others
                    found.append((number, begins, ends, {p: stream.mix[p] / total for p in rows}, rows))
        numbers = [row.slots for *_, rows in found for row in rows.values()]
        self.slots = np.unique(np.concatenate(numbers)) if numbers else np.zeros(0, dtype=np.intp)
        self._today = today
        self._parts = [
            _Part(number, begins, ends, shares, *self._mixed(shares, rows))
            for number, begins, ends, shares, rows in found
        ]
        self.portions = self._of_typical()

    def _of_typical(self) -> dict[str, int]:
        taken = {item for profile in self._typical.values() for item in profile.items}
        known = (self._catalogue.items.get(item) for item in sorted(taken))
        whole = [item.id for item in known if item is not None and item.counted_in != "mL"]
        portions = {item: portion(item, self._typical.values()) for item in whole}
        return {item: number for item, number in portions.items() if number > 1}

    def outdated(self) -> bool:
        """Whether most bookings of a protocol need something else by now: all is to begin anew. So what is to come
        depends on the bookings as they are, not on when the day began."""
        if not self._unstated:
            return False
        usual = self._most_booked()
        return any(usual.get(key) != self._usual.get(key) for key in self._unstated)

    @property
    def profiles(self) -> Iterator[Profile]:
        """The typical sessions of all protocols that may come."""
        return iter(self._typical.values())

    def by_protocol(self, streams: Sequence[Stream]) -> Iterator[tuple[str, int, int, Profile, Floats]]:
        """(protocol, first day, day after the last, its typical session, sessions by day between) of each stream."""
        for part in self._parts:
            mean = streams[part.stream].mean[part.begins : part.ends]
            for protocol, share in part.shares.items():
                version = self._catalogue.protocol_version(protocol, self._today + timedelta(days=part.begins))
                if version is not None:
                    profile = self._typical[protocol, version.version]
                    yield protocol, part.begins, part.ends, profile, mean * share

    def of(self, streams: Sequence[Stream], days: Sequence[int]) -> dict[Pool | None, Floats]:
        """By pool, mean and variance of the use on some days; shape (2, days asked for, slots). Each day's figures are
        a function of that day's alone."""
        sums: dict[Pool | None, Floats] = {}
        asked = np.asarray(days)
        # one part after the other: a sum is the same whichever days are asked for
        for part in self._parts:
            stream = streams[part.stream]
            if stream.pool not in sums:
                sums[stream.pool] = np.zeros((2, len(days), self.slots.size))
            mean, variance = sums[stream.pool]
            inside = (asked >= part.begins) & (asked < part.ends)
            count = np.where(inside, stream.mean[asked], 0.0)[:, None]
            mean += count * part.mean
            variance += count * part.variance
            variance += np.where(inside, stream.variance[asked], 0.0)[:, None] * part.squared
        return sums

    def _mixed(self, shares: Mapping[str, float], rows: Mapping[str, Row]) -> tuple[Floats, Floats, Floats]:
        """M, V and M² by slot."""
        mean, second = np.zeros((2, self.slots.size))
        if len(rows) == 1:
            row = next(iter(rows.values()))
            at = np.searchsorted(self.slots, row.slots)
            mean[at], second[at] = row.mean, row.variance
            return mean, second, mean * mean
        for protocol, row in rows.items():
            at = np.searchsorted(self.slots, row.slots)
            mean[at] += shares[protocol] * row.mean
            second[at] += shares[protocol] * (row.variance + row.mean * row.mean)
        return mean, np.maximum(second - mean * mean, 0.0), mean * mean

    def _ranges(self, protocols: Mapping[str, float], today: date, days: int) -> Iterator[tuple[int, int]]:
        """Runs of days over which no protocol changes its version."""
        changes: set[int] = set()
        for protocol in protocols:
            day = today
            while (change := self._catalogue.next_change(protocol, day)) is not None and (change - today).days < days:
                changes.add((change - today).days)
                day = change
        edges = [0, *sorted(changes), days]
        return pairwise(edges)

    def _row(self, protocol: str, day: date) -> Row | None:
        version = self._catalogue.protocol_version(protocol, day)
        if version is None:
            return None
        key = (protocol, version.version)
        if key not in self._typical:
            if key not in self._stated:
                self._stated[key] = typical(self._catalogue, self._state.site, protocol, day)
            profile = self._stated[key]
            if profile is None:
                self._unstated.add(key)
                if key not in self._usual:
                    return None
                profile = self._state.profiles[self._usual[key]]
            self._typical[key] = profile
        return self._rows.of(self._typical[key])

    def _most_booked(self) -> dict[tuple[str, int], str]:
        """(protocol, version) → the profile that most live bookings have."""
        most: dict[tuple[str, int], tuple[int, str]] = {}
        for profile in self._state.profiles.values():
            key = (profile.protocol, profile.protocol_version)
            most[key] = max(most.get(key, (0, "")), (self._state.profile_uses.get(profile.id, 0), profile.id))
        return {key: profile for key, (_, profile) in most.items()}
