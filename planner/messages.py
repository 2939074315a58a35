"""Messages out: what becomes of an event, what a booking needs, and what the plan says.

Keys and topics are in ``planner.topics``. Dates are the site's days; instants are UTC-aware.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field, TypeAdapter

from planner.base import ComposedIdentifier, Identifier, Instant, Model, Slug
from planner.events.bookings import ItemUse
from planner.events.control import ClockTicked
from planner.units import Quantity

CountedIn = Literal["containers", "mL"]


# --- outcomes ---------------------------------------------------------------------------------------------


class OutcomeStatus(StrEnum):
    """The four ends an event can come to; every event in comes to exactly one."""

    APPLIED = "applied"
    DUPLICATE = "duplicate"
    REFUSED = "refused"
    DEAD_LETTERED = "dead-lettered"


class Outcome(Model):
    """What became of one event; key: event id. (topic, partition, offset) tells redelivery from repetition."""

    schema_version: Literal[1] = 1
    event_id: str
    """The event's own id; of an unreadable event ``topic/partition/offset``."""
    event_type: str | None = None
    status: OutcomeStatus
    reason: str | None = None
    """A named reason in kebab case for duplicate and refused (``stale-version``, ``unknown-site``, …)."""
    detail: str | None = None
    """The reason for a reader: field, value, and what was expected."""
    topic: str
    partition: int
    offset: int
    booking_id: str | None = None
    site: str | None = None
    catalogue_version: str | None = None


# --- requirements -----------------------------------------------------------------------------------------


Moment = Annotated[Decimal, Field(ge=0, le=Decimal("1e12"), allow_inf_nan=False, max_digits=60)]
"""Exact, with as many digits as products of probabilities take. Bounded: 1e-999999999 has as many as it says."""


class RequirementLine(Model):
    """A line of a booking's requirement: containers (or mL, multi-dose) of one item.

    ``mean``, ``variance`` (unit²), ``maximum`` and ``certain`` (what is taken when no PRN or extra is) are exact.
    """

    line: str
    """Protocol line, and after a dot what it brings: ``magnesium``, ``magnesium.diluent``, ``session.catheter``."""
    component: Slug
    item: Slug | None = None
    """None when the line is not taken from stock (``supply_mode``)."""
    supply_mode: Literal["stocked", "pharmacy-made", "externally-compounded"] = "stocked"
    dose: Quantity | None = None
    probability: Annotated[Decimal, Field(ge=0, le=1, allow_inf_nan=False, max_digits=60)] = Decimal(1)
    unit: CountedIn = "containers"
    mean: Moment
    variance: Moment
    maximum: Moment
    certain: Moment
    waste: Moment = Decimal(0)
    """Expected content discarded, in the unit of the item's content (mL, mg), while the line is given."""


class _Requirement(Model):
    schema_version: Literal[1] = 1
    booking_id: Identifier
    revision: Annotated[int, Field(ge=1, le=1_000_000_000)]
    """Rises with each message about the booking: a lower or equal one changes nothing."""
    booking_version: Annotated[int, Field(ge=1, le=1_000_000)]
    site: Slug
    event_id: Identifier
    """The event that caused it."""
    occurred_at: Instant


class RequirementStated(_Requirement):
    """A booking expanded: what its session needs, replacing what was stated before."""

    type: Literal["requirement.stated"] = "requirement.stated"
    status: Literal["booked", "arrived"] = "booked"
    protocol: Slug
    protocol_version: Annotated[int, Field(ge=1, le=1_000_000)]
    catalogue_version: Identifier
    start: Instant
    day: date
    """The site's day of ``start``."""
    booked_on: date | None = None
    """The day it was booked, by the site it was booked at; stays when it is rescheduled or amended, and is a new one
    when it is booked anew after it was cancelled or missed. Absent: booked before this was kept."""
    source: Identifier | None = None
    """The system or person that booked it. Absent: as ``booked_on``."""
    series: bool = False
    """Part of a patient's series (maintenance, several days)."""
    series_id: Identifier | None = None
    """Pseudonym that the sessions of a patient's series share."""
    expansion_id: Identifier
    """Digest of the lines: equal lines, equal id."""
    lines: tuple[RequirementLine, ...]


class RequirementWithdrawn(_Requirement):
    """The site no longer needs anything for the booking."""

    type: Literal["requirement.withdrawn"] = "requirement.withdrawn"
    reason: Literal["moved", "cancelled", "missed"]


class RequirementUsed(_Requirement):
    """The session took place; ``actual_use`` where it was told."""

    type: Literal["requirement.used"] = "requirement.used"
    actual_use: tuple[ItemUse, ...] | None = None


RequirementMessage = Annotated[RequirementStated | RequirementWithdrawn | RequirementUsed, Field(discriminator="type")]
RequirementRecord = Annotated[
    RequirementStated | RequirementWithdrawn | RequirementUsed | ClockTicked, Field(discriminator="type")
]
"""What the ``requirements`` topic holds: where the events tell the time, also the hours, in order with the rest."""
REQUIREMENTS: TypeAdapter[RequirementRecord] = TypeAdapter(RequirementRecord)


# --- forecasts --------------------------------------------------------------------------------------------

QUANTILES = (0.5, 0.8, 0.9, 0.95, 0.99)
HORIZON_DAYS = 90


class Forecast(Model):
    """Need, usable stock and risk of one item, group or component at one site, or its number of sessions; arrays by
    day from ``first_day``.

    Need is in ``unit`` per day. For an item everything is in containers; for a group in containers of its items;
    for a component in the unit of its content (mg, mL, each). Stock and risk are given for items only.
    """

    schema_version: Literal[1] = 1
    site: Slug
    kind: Literal["item", "group", "component", "sessions"]
    id: Slug
    unit: str
    as_of: Instant
    first_day: date
    catalogue_version: Identifier
    mean: list[float]
    variance: list[float]
    quantiles: dict[str, list[float]]
    """Keys "0.5" "0.8" "0.9" "0.95" "0.99"."""
    firm_mean: list[float]
    firm_variance: list[float]
    to_come_mean: list[float]
    to_come_variance: list[float]
    on_hand: float | None = None
    usable: list[float] | None = None
    """Expected usable stock at the end of each day; negative: expected shortage."""
    risk: list[float] | None = None
    """Probability that stock has run out by the end of each day."""
    coverage_days: int | None = None
    """Days from today on which ``risk`` stays within 1 − the item's service level, taken as a cycle service whatever
    the policy measures; absent: the whole horizon."""
    stock_out_day: date | None = None
    """First day whose expected usable stock is negative."""
    last_safe_order_date: date | None = None
    """Last day on which an order still arrives before ``coverage_days`` are over; absent: beyond the horizon."""


class LeadAccuracy(Model):
    """How good forecasts of the total over ``lead_days`` days have been. Means decay (half-life 90 days of origins)."""

    lead_days: int
    n: float
    """Origins scored, decayed. Every day is one at a lead of 1 day, else every second to fifth."""
    realised: float
    """Mean of what the totals came to, in containers (sessions)."""
    bias: float
    """Mean of what they came to − mean forecast."""
    pinball: float
    """Mean pinball loss over the quantiles .5 .8 .9 .95 .99."""
    relative_loss: float | None
    """``pinball`` ÷ ``realised``; absent where nothing was used."""
    simple_worse: float | None = None
    """Mean loss of the simple method (the mean of the same weekday over eight weeks) less the planner's ÷ the mean of
    both; below 0 it has been better. Items only."""
    coverage: dict[str, float]
    """Share of totals at or below the quantiles "0.8" "0.9" "0.95"; a count's is above that by nature."""
    spread_factor: float
    """What past errors multiply the variance by, as it is now; 1 for sessions, calibrated as they are forecast."""


class Accuracy(Model):
    """How good the planner's own forecasts of one series at one site have been; key: site + series."""

    schema_version: Literal[1] = 1
    site: Slug
    series: str
    """``sessions``, ``group/<id>`` or ``item/<id>``."""
    as_of: Instant
    through: date
    """The last day whose use is final and is part of it."""
    method: Literal["planner", "simple"] = "planner"
    """What forecasts are made with: an item whose simple method scores better uses it."""
    leads: tuple[LeadAccuracy, ...]
    """By lead, those of which anything has been scored."""


# --- alerts and proposals ---------------------------------------------------------------------------------


class AlertKind(StrEnum):
    """What an alert is about."""

    REORDER = "reorder"
    STOCK_OUT = "stock-out"
    """An order placed today comes too late; sessions are named."""
    EXPIRY = "expiry"
    ORDER_OVERDUE = "order-overdue"
    COUNT_DISCREPANCY = "count-discrepancy"
    FORECAST_DRIFT = "forecast-drift"
    """Forecasts are off in a way that they were not before; its ``item`` is a group's id, or ``sessions``."""


class AlertState(StrEnum):
    """Where an alert stands in its episode."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    SNOOZED = "snoozed"
    ORDERED = "ordered"
    RESOLVED = "resolved"


SessionNeed = Literal["only", "alternative", "optional"]


# no Model: a chain in a shortage holds a million of them, and an object with slots takes a fifth of the memory
@dataclass(frozen=True, slots=True)
class SessionAtRisk:
    """A booked session that the stock at hand and on order does not reach, once it has gone to those that need it more.

    Those that need it most are listed first, then by start.
    """

    __pydantic_config__: ClassVar[ConfigDict] = Model.model_config

    booking_id: Identifier
    day: date
    start: Instant
    needs: float
    need: SessionNeed = "only"
    """only: it cannot do without this item; alternative: another item that may be used in its place is there; optional:
    it takes the item only if a PRN line is given, or as an extra."""


class Alert(Model):
    """One alert of one episode; key: alert id. A revision is published only when the decision changes."""

    schema_version: Literal[1] = 1
    alert_id: ComposedIdentifier
    """``site/item/kind[/subject]/episode``: stable through the episode; the subject is a lot or an order."""
    revision: int
    site: Slug
    item: Slug
    """Of a ``forecast-drift`` a group's id, or ``sessions``."""
    kind: AlertKind
    severity: Literal["info", "warning", "critical"]
    state: AlertState
    opened_at: Instant
    updated_at: Instant
    cause_event_id: str | None = None
    """The event whose application opened or changed it. For what time alone changes: the clock's tick, or, where
    other events told the time, ``clock/<instant>``."""
    resolved_by_event_id: str | None = None
    summary: str
    """One sentence for the pharmacist, with its figures."""
    reasons: dict[str, str | int | float | None] = {}
    """The figures of the decision by name (risk, allowed_risk, usable, order_arrives, …)."""
    order_quantity: int | None = None
    """Containers to order, rounded to packs."""
    order_by: date | None = None
    stock_out_day: date | None = None
    lot: str | None = None
    order_id: str | None = None
    sessions_at_risk: tuple[SessionAtRisk, ...] = ()
    snoozed_until: date | None = None
    order_awaited_until: Instant | None = None
    """Of an ``ordered`` alert: when it opens again if no order that covers it has been told by then."""
    cause_persists: bool = True
    """Whether what raised it is still so. False once resolved by itself; an alert that a person closed is
    resolved with True and stays quiet until the cause goes (a last revision says so): then an episode may follow."""
    by: str | None = None
    controlled: bool = False
    catalogue_version: Identifier


class ProposalLine(Model):
    """An item to order, and why so much."""

    item: Slug
    quantity: int
    """Containers, rounded to the order multiple and the minimum."""
    packs: int
    needed: float
    """Containers wanted before rounding: quantile of the need over the protection interval − usable supply."""
    need_quantile: float
    supply: float
    on_order: int
    price: Decimal | None = None
    alert_id: str | None = None


class Proposal(Model):
    """What to order from one supplier for one site; key: site + supplier. Without lines: nothing to order."""

    schema_version: Literal[1] = 1
    proposal_id: ComposedIdentifier
    revision: int
    site: Slug
    supplier: Slug
    controlled: bool = False
    """Controlled items are proposed apart and never ordered automatically."""
    as_of: Instant
    order_by: date | None
    arrives: date
    covers_until: date
    lines: tuple[ProposalLine, ...]
    value: Decimal | None = None
    below_minimum_value: bool = False
    catalogue_version: Identifier
