"""What events have changed at a site: the entries to write, and what must be planned again."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from planner.site.state import Profile


@dataclass(slots=True)
class Touched:
    """Changes of one site since they were last taken.

    The first group is taken with each chunk (entries to write), the second with each review.
    """

    bookings: set[str] = field(default_factory=set)
    profiles: set[str] = field(default_factory=set)
    stock: set[str] = field(default_factory=set)
    orders: set[str] = field(default_factory=set)
    announced: set[str] = field(default_factory=set)
    seen: set[str] = field(default_factory=set)
    learned: set[str] = field(default_factory=set)
    """Names of the parts of what the site has learned."""
    site: bool = False
    told: bool = False
    """Which forecasts have been published."""

    days: set[int] = field(default_factory=set)
    """Ordinals of days whose counts of bookings changed."""
    sessions: dict[str, tuple[Profile, int, str]] = field(default_factory=dict)
    """Profile → itself, and the number and id of the last event that changed how many sessions need it."""
    items: dict[str, tuple[int, str | None]] = field(default_factory=dict)
    """Item → number and id of the last event that changed its stock or orders; no id: the clock."""
    all_items: bool = False
    """Everything may differ: a new day, a cutoff, a catalogue, a restart."""
    cause: str | None = None
    """The event behind ``all_items``, if one is."""
    events: int = 0
    """Events since the last review."""
    wake: datetime | None = None
    """The earliest instant at which the clock itself will change something that these events set up."""

    @property
    def to_review(self) -> bool:
        return bool(self.all_items or self.items or self.sessions)

    def session(self, profile: Profile, cause: str) -> None:
        """The number of sessions that need ``profile`` changed."""
        self.sessions[profile.id] = (profile, self.events, cause)

    def item(self, item: str, cause: str | None) -> None:
        """The orders or the alerts of an item changed."""
        self.items[item] = (self.events, cause)

    def stock_of(self, item: str, cause: str | None) -> None:
        """The stock of an item changed."""
        self.stock.add(item)
        self.items[item] = (self.events, cause)

    def wake_at(self, instant: datetime) -> None:
        """Something ends at ``instant`` by itself."""
        if self.wake is None or instant < self.wake:
            self.wake = instant

    def causes(self) -> dict[str, str | None]:
        """Items to review → the last event that touched each; None: the clock."""
        latest = dict(self.items)
        for profile, number, cause in self.sessions.values():
            for item in profile.items:
                known = latest.get(item)
                if known is None or known[0] <= number:
                    latest[item] = (number, cause)
        return {item: cause for item, (_, cause) in latest.items()}

    def reviewed(self) -> None:
        """Forget what a review has taken into account."""
        self.days.clear()
        self.sessions.clear()
        self.items.clear()
        self.all_items = False
        self.cause = None
        self.events = 0
