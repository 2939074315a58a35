"""What time it is when the events themselves tell it: a watermark over the partitions of ``expand``.

Each partition of ``expand`` tells the hours that begin in its bookings, in the ``requirements`` topic and in order with
its requirements. While requirements wait, time is that of the slowest partition heard of: what another has told ahead
of it is not yet history. When nothing waits, time is the greatest instant told by anything, so that a quiet partition
does not hold it. See docs/decisions/0007-event-time-is-a-watermark.md.
"""

from __future__ import annotations

from datetime import datetime

import orjson

from planner.step import Entries

ENTRY = b"event-clock"


class EventClock:
    """The marks of one partition of ``plan``; part of its state."""

    def __init__(self) -> None:
        self.marks: dict[str, datetime] = {}
        """Source of hours (``expand/<partition>``) → the latest it told, in UTC."""
        self.greatest: datetime | None = None
        """The latest instant told by anything, in UTC."""
        self.behind = False
        """Whether requirements waited when this was last written: a restart goes on as if they still did."""
        self._written: bytes | None = None

    def see(self, at: datetime, *, waits: bool) -> bool:
        """An event happened ``at`` (in UTC). Whether time may follow it: while more ``waits``, it says nothing about
        how far history has been read, unless no hours have been heard of at all."""
        if self.greatest is None or at > self.greatest:
            self.greatest = at
        return not waits or not self.marks

    def mark(self, source: str, at: datetime) -> datetime:
        """A source has told everything before ``at`` (in UTC). Returns the watermark, the least of the marks."""
        self.see(at, waits=True)
        known = self.marks.get(source)
        if known is None or at > known:
            self.marks[source] = at
        return min(self.marks.values())

    def take_writes(self) -> dict[bytes, bytes | None]:
        """The table's entry, if it is not as it was last taken or restored."""
        if self.greatest is None:
            return {}
        marks = {source: at.isoformat() for source, at in sorted(self.marks.items())}
        entry = orjson.dumps({"marks": marks, "greatest": self.greatest.isoformat(), "behind": self.behind})
        if entry == self._written:
            return {}
        self._written = entry
        return {ENTRY: entry}

    @classmethod
    def restored(cls, entries: Entries) -> EventClock:
        """The marks as the table has them; none yet: a new clock."""
        clock = cls()
        clock._written = entries.get(ENTRY)
        if clock._written is not None:
            body = orjson.loads(clock._written)
            clock.greatest = datetime.fromisoformat(body["greatest"])
            clock.marks = {source: datetime.fromisoformat(at) for source, at in body["marks"].items()}
            clock.behind = body["behind"]
        return clock
