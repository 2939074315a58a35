"""What an explanation holds. Quantities are containers unless they say otherwise; days are the site's."""

from __future__ import annotations

from datetime import date
from typing import Literal

from planner.base import Identifier, Instant, Model, Slug
from planner.messages import Alert, AlertKind, CountedIn


class Figure(Model):
    """A figure of the policy or the catalogue, and the entry that says so."""

    name: str
    value: str | int | float | None
    unit: str = ""
    source: str
    """``policy standard``, ``supplier acme``, ``item magnesium-vial``, ``site north``."""


class LearnedFigure(Model):
    """A parameter that the site's own log has changed."""

    name: str
    value: float
    prior: float
    """What is believed where nothing is learned."""
    unit: str = ""
    words: str
    """One sentence: what it is, and what it was learned from."""


class Dates(Model):
    """The chances to order, and what each would still reach."""

    today: date
    chance: date
    """The order that can be placed now leaves on this day …"""
    cutoff: Instant
    arrives: date
    next_chance: date
    """… and if it is left out, the next one on this."""
    next_arrives: date
    covers_until: date
    """Last day that an order placed now must cover: the protection interval is today through this day."""
    last_safe_order_date: date | None
    """Last day on which an order still arrives before the risk passes the policy; absent: beyond the horizon."""


class LotLine(Model):
    """A lot on the shelf, and whether it counts."""

    lot: str
    expiry: date
    quantity: int
    usable: bool
    why: str
    expected_unused: float | None = None


class OpenLine(Model):
    """An opened multi-dose container."""

    lot: str
    remaining_ml: float
    use_by: Instant
    usable: bool


class OrderedLine(Model):
    """An order with something of the item outstanding."""

    order_id: Identifier
    supplier: str
    outstanding: float
    """Containers; a fraction where its supplier has announced, or been seen, to send less than was ordered."""
    expected: date
    """The day by which it has probably come."""
    why: str
    in_time: bool
    """Whether it is part of the expected supply on the decisive day."""
    probability: float
    """That it has come by then."""


class SupplyPart(Model):
    """A part of the supply through the decisive day; the parts add up to it."""

    name: str
    containers: float


class Contribution(Model):
    """A booked session's part of the need."""

    booking_id: Identifier
    day: date
    start: Instant
    status: str
    protocol: str
    protocol_version: int
    catalogue_version: str
    mean: float
    """Of the session if it takes place, in ``counted_in``."""
    maximum: float
    probability_kept: float
    expected: float
    """Containers: mean × probability (× containers per mL of its day, for a multi-dose item)."""


class ToComePart(Model):
    """Sessions of a protocol that are expected but not yet booked."""

    protocol: str
    sessions: float
    expected: float


class NeedTotals(Model):
    """Need from today through ``through``: the contributions' sum is ``firm_mean``, the parts' ``to_come_mean``."""

    through: date
    firm_mean: float
    firm_variance: float
    to_come_mean: float
    to_come_variance: float
    mean: float
    variance: float
    quantile: float
    """At the service level."""


class Verdict(Model):
    """One question, its answer, and what would have to change for another one."""

    kind: AlertKind
    raised: bool
    words: str
    to_change: str | None = None


class Decision(Model):
    """What follows for ordering."""

    decisive_day: date
    """The day in reach of an order placed now on which most is missing."""
    supply: float
    need_mean: float
    need_quantile: float
    needed: float
    """Quantile − supply; not above zero: nothing."""
    quantity: int
    risk: float
    """Of running out on a day that an order placed now can help, before the next one arrives."""
    allowed_risk: float
    risk_before_arrival: float
    critical_risk: float
    verdicts: tuple[Verdict, ...]


class Explanation(Model):
    """Why there is an alert about an item at a site, or why there is none."""

    schema_version: Literal[1] = 1
    site: Slug
    site_name: str
    item: Slug
    item_name: str
    counted_in: CountedIn
    controlled: bool
    as_of: Instant
    catalogue_version: Identifier
    alert: Alert | None
    """The alert asked for, else the item's most severe one that is not over."""
    history: tuple[str, ...]
    """What is known of the episode."""
    decision: Decision
    policy: tuple[Figure, ...]
    dates: Dates
    lots: tuple[LotLine, ...]
    open_containers: tuple[OpenLine, ...]
    orders: tuple[OrderedLine, ...]
    supply: tuple[SupplyPart, ...]
    need: NeedTotals
    bookings: tuple[Contribution, ...]
    to_come: tuple[ToComePart, ...]
    unexplained: float
    """Containers in the need through the same day that no booking, present or to come, explains."""
    learned: tuple[LearnedFigure, ...]
    other_alerts: tuple[Alert, ...] = ()
