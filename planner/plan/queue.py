"""Which sites wait to be reviewed and to have their forecasts published, and how many are let through now.

When nothing more waits on any topic, all are, and so they are while only a few records come at a time: events that
come in as fast as they are planned are no backlog (unless they tell the time: then a history is read, whose alerts must
not depend on where its chunks end). In a backlog a site is reviewed for every ``RECORDS_PER_ITEM_REVIEWED`` records
folded and item that it has, and its forecasts go out for every ``RECORDS_PER_ITEM_TOLD``, those that wait longest
first: so the cost of a record stays bounded, however many sites and items there are, and no site is starved. A site
that an event of a topic without a backlog touched does not wait: a delivery or a count is decided upon at once while
old bookings are read. The table keeps which sites wait for a review, so that a restart need not review the others.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Final

import orjson

from planner.step import Entries

WAITING_ENTRY: Final = b"waiting"
RECORDS_PER_ITEM_REVIEWED = 24
RECORDS_PER_ITEM_TOLD = 48
"""What a review and forecasts take grows with the items of a site (``benchmarks.scaling_axes`` tells how much)."""
ITEMS_MORE = 4
"""A site without any item would take as long as so many."""
SITES_PER_PUBLICATION = 4
"""Sites whose forecasts are let through at once, so that the publication does not hold up what comes in."""
BACKLOG_RECORDS = 64
"""A chunk of fewer records, behind which more waits, is of events that came in while others were planned; a backlog
fills chunks."""
PATIENCE_CHUNKS = 8
"""A topic that was behind, and of which nothing came in so many chunks of others, is not behind any more."""


class _Ration:
    """What records of a backlog have paid for, in items."""

    def __init__(self) -> None:
        self._items = 0.0

    def earn(self, items: float) -> None:
        """More was paid for."""
        self._items += items

    def take(self, items: int) -> bool:
        """Whether a site with so many items can be let through; then it is taken off."""
        cost = items + ITEMS_MORE
        if self._items < cost:
            return False
        self._items -= cost
        return True

    def forfeit(self) -> None:
        """What was not needed is not saved up."""
        self._items = 0.0


class SiteQueue:
    """The sites of one partition that wait; each once, longest waiting first.

    Args:
        backlog_records: size from which a chunk, behind which more waits, is of a backlog.
    """

    def __init__(self, backlog_records: int = 1) -> None:
        self._backlog_records = backlog_records
        self.reviews: dict[str, None] = {}
        self._at_once: dict[str, None] = {}
        self._live = True
        """Whether nothing more waits behind what is being folded."""
        self.forecasts: dict[str, None] = {}
        self._behind: dict[str, int] = {}
        self._deep: set[str] = set()
        """Topics that are behind and were so by a backlog."""
        self._to_review, self._to_tell = _Ration(), _Ration()
        self._kept: list[str] = []
        """Sites that wait for a review by the table."""

    @classmethod
    def restored(cls, entries: Entries, sites: Collection[str], backlog_records: int = 1) -> SiteQueue:
        """The queue of these sites as the table has it: the forecasts of all wait."""
        queue = cls(backlog_records)
        stored = entries.get(WAITING_ENTRY)
        queue._kept = [] if stored is None else orjson.loads(stored)
        queue.reviews = dict.fromkeys(site for site in queue._kept if site in sites)
        queue.forecasts = dict.fromkeys(sites)
        return queue

    def take_writes(self) -> dict[bytes, bytes | None]:
        """What changed of the table's entry."""
        waiting = [*self._at_once, *self.reviews]
        if waiting == self._kept:
            return {}
        self._kept = waiting
        return {WAITING_ENTRY: orjson.dumps(waiting) if waiting else None}

    def folded(self, topic: str | None, records: int, *, caught_up: bool) -> None:
        """A chunk of a topic was folded; ``caught_up``: nothing more waits behind it. No topic: none is behind."""
        self._behind = {name: left - 1 for name, left in self._behind.items() if left > 1}
        if topic is None:
            self._behind.clear()
        elif caught_up:
            self._behind.pop(topic, None)
        else:
            self._behind[topic] = PATIENCE_CHUNKS
            if records >= self._backlog_records:
                self._deep.add(topic)
        self._deep &= self._behind.keys()
        self._live = topic not in self._deep
        if self._deep:
            self._to_review.earn(records / RECORDS_PER_ITEM_REVIEWED)
            self._to_tell.earn(records / RECORDS_PER_ITEM_TOLD)

    @property
    def behind(self) -> tuple[str, ...]:
        """Topics of which more waits."""
        return tuple(sorted(self._behind))

    def still_behind(self, topic: str) -> None:
        """More of a topic waited when the state was last written."""
        self._behind[topic] = PATIENCE_CHUNKS

    @property
    def in_backlog(self) -> bool:
        """Whether more waits on any topic: what time it is cannot be told from what has been read."""
        return bool(self._behind)

    @property
    def rationed(self) -> bool:
        """Whether reviews and forecasts are: there is a backlog."""
        return bool(self._deep)

    def touch(self, site: str, *, by_event: bool) -> None:
        """A site is to be reviewed; ``by_event``: of the topic that is being folded, not by time or a catalogue."""
        (self._at_once if by_event and self._live else self.reviews).setdefault(site)

    def next_reviews(self, items: Callable[[str], int]) -> Iterator[str]:
        """Sites to review now; each leaves the queue as it is given out. ``items``: how many a site has."""
        for site in list(self._at_once):
            self.reviewed(site)
            yield site
        for site in list(self.reviews):
            if self._deep and not self._to_review.take(items(site)):
                return
            self.reviewed(site)
            yield site
        self._to_review.forfeit()

    def reviewed(self, site: str) -> None:
        """It does not wait any more."""
        self._at_once.pop(site, None)
        self.reviews.pop(site, None)

    def next_forecasts(self, items: Callable[[str], int]) -> list[str]:
        """Sites to publish the forecasts of now; they leave the queue. ``items``: how many a site has."""
        chosen: list[str] = []
        for site in list(self.forecasts)[:SITES_PER_PUBLICATION]:
            if self._deep and not self._to_tell.take(items(site)):
                break
            chosen.append(site)
            del self.forecasts[site]
        if not self.forecasts or len(chosen) == SITES_PER_PUBLICATION:
            self._to_tell.forfeit()
        return chosen
