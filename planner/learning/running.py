"""What has happened at a site since the morning: small, since its entry is written with every chunk that changes it."""

from __future__ import annotations

from dataclasses import dataclass, field

import orjson

_FORMAT = 2


@dataclass(slots=True)
class Running:
    """Numbers of the day that is running, and of the sessions of the last days whose outcome is still being told."""

    new: dict[int, dict[str, int]] = field(default_factory=dict)
    """Session day (ordinal) → profile → sessions newly booked for it today; those that continue a known series left
    out."""
    lost: dict[int, int] = field(default_factory=dict)
    """Session day → sessions cancelled or moved away today."""
    completed: dict[int, dict[str, int]] = field(default_factory=dict)
    """Session day → class of lead → sessions that took place; until the day is settled."""
    missed: dict[int, dict[str, int]] = field(default_factory=dict)
    protocols: dict[str, dict[str, int]] = field(default_factory=dict)
    """Band of days to go (its number as text) → protocol → sessions newly booked today."""
    settled: int = 0
    """The last day (ordinal) whose sessions are all accounted for; 0: none yet."""
    whole: bool = False
    """Whether the running day was seen from its morning on. The first day of a site is not: what is told then may be
    a book loaded whole."""

    def book(self, day: int, profile: str, band: int, protocol: str) -> None:
        """A session was newly booked for ``day``; ``band``: of days to go."""
        of_day = self.new.setdefault(day, {})
        of_day[profile] = of_day.get(profile, 0) + 1
        of_band = self.protocols.setdefault(str(band), {})
        of_band[protocol] = of_band.get(protocol, 0) + 1

    def lose(self, day: int) -> None:
        """A session of ``day`` was cancelled or moved away."""
        self.lost[day] = self.lost.get(day, 0) + 1

    def complete(self, day: int, lead: str) -> None:
        """A session of ``day`` took place; ``lead``: its class (``planner.site.segment``)."""
        if day > self.settled:
            _add(self.completed, day, lead)

    def miss(self, day: int, lead: str) -> None:
        """A session of ``day`` was missed, or cancelled when its day was over."""
        if day > self.settled:
            _add(self.missed, day, lead)

    def next_day(self) -> None:
        """A day is over: what was counted for it is forgotten."""
        self.new.clear()
        self.lost.clear()
        self.protocols.clear()
        self.whole = True

    def settle(self, day: int) -> tuple[dict[str, int], dict[str, int]]:
        """The sessions of ``day``, completed and missed, by class of lead; they are forgotten."""
        self.settled = day
        return self.completed.pop(day, {}), self.missed.pop(day, {})

    def encode(self) -> bytes:
        """See ``planner.learning.part.Part``."""
        counts = [self.new, self.lost, self.completed, self.missed]
        body = [_FORMAT, *counts, self.protocols, self.settled, self.whole]
        return orjson.dumps(body, option=orjson.OPT_NON_STR_KEYS)

    @classmethod
    def decode(cls, data: bytes) -> Running:
        """See ``planner.learning.part.Part``."""
        found, *body = orjson.loads(data)
        if found != _FORMAT:
            raise ValueError(f"running entry: found format {found!r}; expected {_FORMAT}")
        new, lost, completed, missed = ({int(day): number for day, number in part.items()} for part in body[:4])
        return cls(new, lost, completed, missed, *body[4:])


def _add(counts: dict[int, dict[str, int]], day: int, lead: str) -> None:
    of_day = counts.setdefault(day, {})
    of_day[lead] = of_day.get(lead, 0) + 1
