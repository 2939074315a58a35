"""Sessions that a patient's series implies: who is due again and has not booked yet.

A series is known from its first session on. It *waits* from the day of its latest session until a later one is on the
books; what ``planner.learning.rhythm`` has learned of its protocol says whether and when it goes on. A booking that a
waiting series makes was foreseen here and is left out of the booking curve (``is_continuation``), all others (a first
one, several at once, the next one before the last took place, another one for one that was lost) are the curve's.
Nothing is counted twice.

What is implied is worked out at the end of each day for the days ahead, so that within a day only what is booked
changes. Series are known by ``series_key``; nothing else of the patient is.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final, NamedTuple

import numpy as np
import orjson

from planner.forecast.outlook import Floats
from planner.learning.implied import SHAPE_DAYS, Due, Implied, implied_sessions
from planner.learning.packed import pack, rounded, unpack
from planner.learning.rhythm import DECAY, Pattern, Rhythm
from planner.messages import HORIZON_DAYS

KEY: Final = 8
"""Characters of a ``series_key``."""
PRIOR_SESSIONS: Final = 10.0
"""Sessions that the stated weekdays count for."""
_FORMAT: Final = 1
_NONE: Final = (np.zeros(0), np.zeros(0))

Patterns = Callable[[str], Pattern | None]
"""Of a protocol, by the catalogue in force."""


class Known(NamedTuple):
    """A series as it is known in the morning."""

    protocol: str
    last: int
    """Ordinal of the day of its latest session that is not ahead."""
    number: int
    """Sessions so far, at most the pattern's ``run``; begins anew after a silence that ends a series."""
    waits: bool


class Sessions(NamedTuple):
    """The sessions of series at a site at the end of a day, by series key."""

    held: Mapping[str, str]
    """Protocols of those of the day that took place or may still be told to have."""
    ahead: Mapping[str, tuple[int, str]]
    """Day (ordinal) and protocol of the last one on the books after the day."""
    next_day: Mapping[str, str]
    """Protocols of those on the books for the next day."""


class NewSession(NamedTuple):
    """A session newly on the books."""

    day: int
    """Ordinal."""
    profile: str
    protocol: str


@dataclass(slots=True)
class Continued:
    """Series that waited this morning and have booked since: the part that is written within the day."""

    first: dict[str, NewSession] = field(default_factory=dict)
    """Series key → the session implied that is on the books now."""

    def book(self, key: str, session: NewSession) -> NewSession | None:
        """A series that waited this morning has booked a session.

        Returns:
            The session, this one or one it booked before, that was not implied and is for the curve to count: of
            several, the first in time was implied, in whatever order they are told. None: there is no other.
        """
        known = self.first.get(key)
        if known is None:
            self.first[key] = session
            return None
        self.first[key], other = sorted((known, session))
        return other

    def on(self, day: int) -> dict[str, int]:
        """Profile → sessions on ``day`` that were implied and are on the books now."""
        return dict(Counter(session.profile for session in self.first.values() if session.day == day))

    def encode(self) -> bytes:
        """See ``planner.learning.part.Part``."""
        return orjson.dumps([_FORMAT, [[key, *session] for key, session in self.first.items()]])

    @classmethod
    def decode(cls, data: bytes) -> Continued:
        """See ``planner.learning.part.Part``."""
        found, *body = orjson.loads(data)
        if found != _FORMAT:
            raise ValueError(f"continued entry: found format {found!r}; expected {_FORMAT}")
        return cls({key: NewSession(*session) for key, *session in body[0]})


@dataclass(slots=True, eq=False)
class Series:
    """What was learned by the morning of ``today``. Mutable; its entry is written once a day."""

    today: int = 0
    """Ordinal; 0: no day was closed yet."""
    known: dict[str, Known] = field(default_factory=dict)
    arriving: dict[str, Known | None] = field(default_factory=dict)
    """Series with a session today → what was known of them before it; None: nothing."""
    rhythms: dict[tuple[str, int], Rhythm] = field(default_factory=dict)
    """By protocol and stage."""
    weekdays: Floats = field(default_factory=lambda: np.zeros(7))
    """Sessions of series by weekday, decayed as the rhythms."""
    expected: dict[str, Implied] = field(default_factory=dict)
    """Protocol → what its series imply from ``today`` on."""

    # --- what it says -------------------------------------------------------------------------------------

    def implied(self, protocol: str, first_day: date, days: int) -> Implied:
        """Sessions of the protocol that known series are expected to book and to hold, and have not booked yet.

        As it was in the morning of ``today``: what series book through the day is not taken off. Nothing is known of
        days beyond ``HORIZON_DAYS``.

        Returns:
            Mean and variance by day from ``first_day`` on; shape (days,) each. The total over days varies no more than
            the sum of the variances says.
        """
        mean, variance = np.zeros((2, days))
        offset = first_day.toordinal() - self.today
        for values, target in zip(self.expected.get(protocol, _NONE), (mean, variance), strict=True):
            here = values[max(offset, 0) :][: days - max(-offset, 0)]
            target[max(-offset, 0) :][: here.size] = here
        return Implied(mean, variance)

    def protocols(self) -> list[str]:
        """Those of which something is implied, in order."""
        return sorted(self.expected)

    def is_continuation(self, key: str, day: int) -> bool:
        """Whether a booking that a series makes today, for ``day`` (ordinal), was implied: it waited this morning."""
        known = self.known.get(key)
        return known is not None and known.waits and day > known.last

    # --- learning -----------------------------------------------------------------------------------------

    def close_day(self, day: int, sessions: Sessions, patterns: Patterns, week: Floats, closed: Iterable[date]) -> None:
        """A day is over: learn from it, and work out what is implied from the next morning on.

        Args:
            day: its ordinal.
            sessions: of series, as they stand.
            patterns: of protocols.
            week: sessions expected by weekday ÷ their mean, before anything is learned; shape (7,).
            closed: days on which the site is closed.
        """
        if self.today != day:
            self.arriving.clear()  # the first day, or days went by unseen
        self._adopt(patterns, {known.protocol for known in self.known.values()}.union(sessions.held.values()))
        self._adopt(patterns, sessions.next_day.values())
        self._adopt(patterns, (protocol for _, protocol in sessions.ahead.values()))
        self._see_waiting(day, sessions)
        self._see_arrivals(day, sessions)
        self.arriving.clear()
        self._begin(day + 1, sessions)
        for rhythm in self.rhythms.values():
            rhythm.close()
        self.weekdays = rounded(self.weekdays * DECAY)
        self.today = day + 1
        self._expect(sessions, week, closed)

    def _adopt(self, patterns: Patterns, protocols: Iterable[str]) -> None:
        """Rhythms of the protocols, by the patterns in force; a pattern that changed begins anew."""
        for protocol in sorted(set(protocols)):
            pattern = patterns(protocol)
            for stage in (0, 1):
                rhythm = self.rhythms.get((protocol, stage))
                if pattern is None:
                    self.rhythms.pop((protocol, stage), None)
                elif rhythm is None or rhythm.pattern != pattern:
                    self.rhythms[protocol, stage] = Rhythm(pattern, stage)

    def _rhythm(self, known: Known) -> Rhythm | None:
        first = self.rhythms.get((known.protocol, 0))
        return None if first is None else self.rhythms[known.protocol, first.pattern.stage(known.number)]

    def _see_waiting(self, day: int, sessions: Sessions) -> None:
        """Which of those that waited were booked, and which of those on the books were lost: they are known no more."""
        waited: Counter[tuple[str, int, int, bool]] = Counter()  # protocol, stage, days since, whether booked
        for key, known in list(self.known.items()):
            rhythm = self._rhythm(known)
            if rhythm is None:
                continue
            came, booked = key in sessions.held, key in sessions.ahead
            arrives = key in self.arriving
            if arrives:
                rhythm.waits += (known.waits, 1)
            if (arrives or not known.waits) and not came and not booked:
                rhythm.kept[1] += 1
                del self.known[key]
                self.arriving.pop(key, None)
            elif arrives and came:
                rhythm.kept += 1
                if known.waits:
                    waited[known.protocol, rhythm.stage, 0, booked] += 1
            elif known.waits and not arrives:
                waited[known.protocol, rhythm.stage, day - known.last, came or booked] += 1
        for (protocol, stage, days_since, booked), n in sorted(waited.items()):
            self.rhythms[protocol, stage].see_wait(days_since, n, booked=booked)

    def _see_arrivals(self, day: int, sessions: Sessions) -> None:
        """Sessions of the day: those that came, walked in, or were put off."""
        for key, before in self.arriving.items():
            if key in sessions.held:
                self._space(before, day)
            elif before is None:
                self.known.pop(key, None)
            else:
                self.known[key] = before
        for key, protocol in sessions.held.items():
            self.weekdays[(day - 1) % 7] += 1
            if key not in self.arriving:
                before = self.known.get(key)
                self._space(before, day)
                self._arrive(key, before, protocol, day)

    def _space(self, before: Known | None, day: int) -> None:
        rhythm = None if before is None else self._rhythm(before)
        if rhythm is not None and before is not None:
            rhythm.see_spacing(day - before.last)

    def _arrive(self, key: str, before: Known | None, protocol: str, day: int) -> None:
        rhythm = self.rhythms.get((protocol, 0))
        if rhythm is not None:
            self.known[key] = Known(protocol, day, _number_after(before, rhythm), waits=False)

    def _begin(self, today: int, sessions: Sessions) -> None:
        """The next morning: sessions of its day, who waits, and who is over."""
        for key, protocol in sessions.next_day.items():
            before = self.known.get(key)
            if (protocol, 0) in self.rhythms:
                self.arriving[key] = before
                self._arrive(key, before, protocol, today)
        for key, known in list(self.known.items()):
            rhythm = self._rhythm(known)
            waits = sessions.ahead.get(key, (0, ""))[0] <= known.last
            if rhythm is None or (waits and today - known.last > rhythm.pattern.forget_after):
                del self.known[key]
            elif waits != known.waits:
                self.known[key] = known._replace(waits=waits)

    def _expect(self, sessions: Sessions, week: Floats, closed: Iterable[date]) -> None:
        """What is implied from ``today`` on, by protocol."""
        due: defaultdict[str, Counter[Due]] = defaultdict(Counter)
        for known in self.known.values():
            if known.waits:
                due[known.protocol][Due(known.last, known.number, waits=True)] += 1
        for key, (day, protocol) in sessions.ahead.items():
            before, rhythm = self.known.get(key), self.rhythms.get((protocol, 0))
            if rhythm is None or (before is not None and before.waits) or day >= self.today + HORIZON_DAYS:
                continue
            due[protocol][Due(day, _number_after(before, rhythm), waits=False)] += 1
        shape = self._open_days(week, closed)
        self.expected = {
            protocol: implied_sessions(self.today, due[protocol], [self.rhythms[protocol, s] for s in (0, 1)], shape)
            for protocol in sorted(due)
        }

    def _open_days(self, week: Floats, closed: Iterable[date]) -> Floats:
        """How much more than on the mean day sessions take place, by day from ``today`` on; shape (SHAPE_DAYS,)."""
        by_weekday = self.weekdays + week * (PRIOR_SESSIONS / 7)
        by_weekday = by_weekday / by_weekday.mean()
        ahead = np.arange(SHAPE_DAYS)
        shape: Floats = by_weekday[(self.today - 1 + ahead) % 7]
        for each in closed:
            index = each.toordinal() - self.today
            if 0 <= index < shape.size:
                shape[index] = 0.0
        return shape

    # --- entries ------------------------------------------------------------------------------------------

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Series) and self.encode() == other.encode()

    __hash__ = None  # type: ignore[assignment]

    def encode(self) -> bytes:
        """See ``planner.learning.part.Part``. The known series are columns, some 17 bytes each."""
        names = sorted({known.protocol for known in self.known.values()})
        names = sorted({*names, *(before.protocol for before in self.arriving.values() if before is not None)})
        number = {name: at for at, name in enumerate(names)}

        def columns(entries: Mapping[str, Known]) -> list[Any]:
            ordered = sorted(entries.items())
            rows = [(number[k.protocol], self.today - k.last, k.number, int(k.waits)) for _, k in ordered]
            return ["".join(key for key, _ in ordered), *map(list, zip(*rows, strict=True))]

        return orjson.dumps(
            {
                "format": _FORMAT,
                "today": self.today,
                "protocols": names,
                "known": columns(self.known),
                "arriving": columns({key: before for key, before in self.arriving.items() if before is not None}),
                "begun": sorted(key for key, before in self.arriving.items() if before is None),
                "rhythms": [
                    [protocol, stage, list(rhythm.pattern), rhythm.as_json()]
                    for (protocol, stage), rhythm in sorted(self.rhythms.items())
                ],
                "weekdays": pack(self.weekdays),
                "expected": {p: [pack(e.mean), pack(e.variance)] for p, e in sorted(self.expected.items())},
            }
        )

    @classmethod
    def decode(cls, data: bytes) -> Series:
        """See ``planner.learning.part.Part``."""
        body = orjson.loads(data)
        if body["format"] != _FORMAT:
            raise ValueError(f"series entry: found format {body['format']!r}; expected {_FORMAT}")
        today, names = body["today"], body["protocols"]

        def read(columns: list[Any]) -> dict[str, Known]:
            keys, *rest = columns
            rows = zip(range(0, len(keys), KEY), *rest, strict=True) if rest else ()
            return {
                keys[at : at + KEY]: Known(names[p], today - ago, number, bool(w)) for at, p, ago, number, w in rows
            }

        made = cls(today, read(body["known"]), dict(read(body["arriving"])))
        made.arriving.update(dict.fromkeys(body["begun"]))
        for protocol, stage, (every, run, goes_on), counts in body["rhythms"]:
            pattern = Pattern(every, run, (goes_on[0], goes_on[1]))
            made.rhythms[protocol, stage] = Rhythm.from_json(pattern, stage, counts)
        made.weekdays = unpack(body["weekdays"], (7,))
        shape = (HORIZON_DAYS,)
        made.expected = {p: Implied(unpack(m, shape), unpack(v, shape)) for p, (m, v) in body["expected"].items()}
        return made


def _number_after(before: Known | None, rhythm: Rhythm) -> int:
    return 1 if before is None else min(before.number + 1, rhythm.pattern.run)
