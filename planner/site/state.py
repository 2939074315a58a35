"""A site's state: what its log says it has, has on order and has promised to patients. Mutable, owned by one step."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Final, Literal, NamedTuple

from planner.forecast.outlook import Key
from planner.learning.state import Learned
from planner.messages import Alert, Proposal

SETTLE_DAYS: Final = 3
"""Days after a session's day within which its end is expected to be told."""
LIVE: Final = frozenset({"booked", "arrived"})
"""A booking's statuses while its session may still take place."""


class Moments(NamedTuple):
    """Exact moments of one session's use of an item, in containers, or mL for a multi-dose item."""

    mean: Decimal
    variance: Decimal
    maximum: Decimal
    certain: Decimal


@dataclass(frozen=True, slots=True)
class Profile:
    """What a session needs, by item: shared by all bookings whose expansion is the same."""

    id: str
    protocol: str
    protocol_version: int
    catalogue_version: str
    items: dict[str, Moments]


class BookingEntry(NamedTuple):
    """A live booking, small: the rest is in its profile."""

    revision: int
    day: int
    """Ordinal of the site's day (``date.toordinal``)."""
    start_s: int
    """Unix seconds."""
    segment: str
    """What the probability that it takes place may depend on: see ``planner.site.segment``."""
    profile: str
    status: Literal["booked", "arrived", "used", "withdrawn"]
    series: str | None = None
    """``series_key`` of the series it is one of."""


@dataclass(slots=True)
class Lot:
    """Whole containers of a lot; usable through ``expiry`` (the last day) unless quarantined."""

    lot: str
    expiry: date
    quantity: int
    quarantined: bool = False


@dataclass(slots=True)
class OpenContainer:
    """An opened multi-dose container."""

    lot: str
    opened_at: datetime
    use_by: datetime
    remaining_ml: Decimal


@dataclass(slots=True)
class CountFinding:
    """The last count, against what was expected."""

    event_id: str
    counted_at: datetime
    expected: int
    """Containers; moved by what is told later and happened before the count."""
    counted: int
    presumed: Decimal = Decimal(0)
    """``ItemStock.presumed`` of the instant of the count (in mL: nothing)."""
    lots: frozenset[str] = frozenset()
    """Lots that the count named."""


Took = Literal["use", "waste", "recalled"]
"""From which lots, where none is named: usable ones, all, all beginning with the quarantined."""


class Movement(NamedTuple):
    """Containers that left the shelf (negative: came)."""

    at: datetime
    amount: Decimal
    """Exact: a session's expected use may be no whole container."""
    took: Took
    lot: str | None


@dataclass(slots=True)
class ItemStock:
    """Stock of an item. Never clipped: what was taken beyond the lots is ``deficit``, a finding in itself."""

    lots: dict[str, Lot] = field(default_factory=dict)
    open: list[OpenContainer] = field(default_factory=list)
    deficit: int = 0
    """Containers taken that no lot had: usable stock is lots − deficit until a count or receipt settles it."""
    presumed: Decimal = Decimal(0)
    """Expected use of completed sessions that is not yet a whole container (mL for multi-dose): the fraction
    carried so that stock falls by what sessions use on average, in whole containers."""
    last_count: CountFinding | None = None
    movements: list[Movement] = field(default_factory=list)
    """Since the last count, of the last hours, in the order in which they were told."""
    forgotten_until: datetime | None = None
    """The latest movement since the last count that is no longer in ``movements``."""


@dataclass(slots=True)
class OrderLine:
    """Containers of an item in an order."""

    ordered: int
    confirmed: int | None = None
    delivered: int = 0

    @property
    def outstanding(self) -> int:
        return max((self.ordered if self.confirmed is None else self.confirmed) - self.delivered, 0)


@dataclass(slots=True)
class Order:
    """A purchase order."""

    order_id: str
    supplier: str
    placed_at: datetime
    lines: dict[str, OrderLine]
    promised: date | None = None
    status: Literal["open", "complete", "cancelled"] = "open"
    closed_on: int | None = None
    """Ordinal of the site's day on which it was completed or cancelled; forgotten some weeks later."""


class Announcement(NamedTuple):
    """A supplier will send only ``share`` of what is ordered from ``first_day`` through ``last_day``."""

    supplier: str
    item: str | None
    first_day: date
    last_day: date
    share: Decimal


Segment = tuple[str, str]
"""(segment, profile id)."""


@dataclass(slots=True)
class SiteState:
    """All that is known of a site. Derived: ``demand``, ``arrived`` and ``by_day`` (from bookings)."""

    site: str
    bookings: dict[str, BookingEntry] = field(default_factory=dict)
    profiles: dict[str, Profile] = field(default_factory=dict)
    demand: defaultdict[int, dict[Segment, int]] = field(default_factory=lambda: defaultdict(dict))
    """day ordinal → (segment, profile) → number of live bookings (booked or arrived). Exact and reversible:
    adding then removing a booking leaves no trace, so the forecast of a day is a function of its counts."""
    arrived: defaultdict[int, dict[str, int]] = field(default_factory=lambda: defaultdict(dict))
    """day ordinal → profile → how many of them have arrived (they take place for certain)."""
    by_day: defaultdict[int, set[str]] = field(default_factory=lambda: defaultdict(set))
    """day ordinal → ids of the live bookings counted in ``demand``: what sessions at risk and explanations read,
    so that neither looks at every booking of the site."""
    stock: dict[str, ItemStock] = field(default_factory=dict)
    orders: dict[str, Order] = field(default_factory=dict)
    announced: dict[str, Announcement] = field(default_factory=dict)
    """supplier (of one item: ``supplier/item``) → what it last announced, until that is over."""
    alerts: dict[str, Alert] = field(default_factory=dict)
    """``item/kind[/subject]`` → the current or last episode's alert."""
    proposals: dict[str, Proposal] = field(default_factory=dict)
    """supplier (controlled items apart: ``supplier/controlled``) → the proposal last published."""
    seen: dict[str, int] = field(default_factory=dict)
    """Id of each applied stock, order and action event → ordinal of the day it was applied: a second one with the
    same id changes nothing. Forgotten after some weeks, so that it stays bounded."""
    today: int = 0
    """Ordinal of the site's last day that the clock has reached; 0: no time has been told yet."""
    unsettled: int = 0
    """Derived: bookings whose day is past by some days and of which nobody has told how they ended. Kept, and
    counted in ``demand`` no more."""
    resting: defaultdict[int, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Derived: day ordinal → ids of all other bookings of that day (used, withdrawn, unsettled), to forget them by."""
    in_series: int = 0
    """Derived: number of bookings that belong to a patient's series."""
    profile_uses: dict[str, int] = field(default_factory=dict)
    """Derived: profile → number of bookings that name it."""
    learned: Learned = field(default_factory=Learned)
    told: set[Key] = field(default_factory=set, compare=False, repr=False)
    """Keys of which a forecast may have been published and not been withdrawn."""
    standing: dict[str, set[str]] | None = field(default=None, compare=False, repr=False)
    """item → keys of its alerts that are not over: a cache of ``alerts``, owned by ``planner.reorder``; None:
    not built yet. Whoever changes ``alerts`` elsewhere sets it to None."""
