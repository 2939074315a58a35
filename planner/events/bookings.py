"""Booking events, keyed by booking id on the ``bookings`` topic.

A booking's ``version`` rises with each event about it; an event with a version at or below the one applied
changes nothing (equal: duplicate, lower: stale).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from planner.base import Identifier, Instant, Model, NonNegative, Positive, Probability, Slug
from planner.events.envelope import Event
from planner.units import Quantity


class Parameters(Model):
    """What a protocol needs to know about the session; nothing else about the patient is accepted."""

    weight_kg: Positive | None = None
    hours: Positive | None = None


class AddLine(Model):
    """A per-booking addition of a component beside the protocol's own lines."""

    change: Literal["add"] = "add"
    component: Slug
    dose: Quantity
    probability: Probability | None = None


class RemoveLine(Model):
    """A per-booking removal of the protocol's line ``line``."""

    change: Literal["remove"] = "remove"
    line: Slug


class ChangeLine(Model):
    """A per-booking change of the dose or the PRN probability of the protocol's line ``line``."""

    change: Literal["change"] = "change"
    line: Slug
    dose: Quantity | None = None
    probability: Probability | None = None


Override = Annotated[AddLine | RemoveLine | ChangeLine, Field(discriminator="change")]


class ItemUse(Model):
    """What a session really used of an item: whole containers, or mL of a multi-dose container."""

    item: Slug
    containers: NonNegative | None = None
    volume_ml: NonNegative | None = None


class _BookingEvent(Event):
    booking_id: Identifier
    version: Annotated[int, Field(ge=1, le=1_000_000)]


class Booked(_BookingEvent):
    """A session was booked."""

    type: Literal["booking.booked"] = "booking.booked"
    site: Slug
    protocol: Slug
    start: Instant
    parameters: Parameters = Parameters()
    overrides: Annotated[tuple[Override, ...], Field(max_length=32)] = ()
    series_id: Identifier | None = None


class Rescheduled(_BookingEvent):
    """The session moved to another start, and perhaps to another site."""

    type: Literal["booking.rescheduled"] = "booking.rescheduled"
    start: Instant
    site: Slug | None = None


class Amended(_BookingEvent):
    """Protocol, parameters or overrides changed; a field that is absent stays as it was."""

    type: Literal["booking.amended"] = "booking.amended"
    protocol: Slug | None = None
    parameters: Parameters | None = None
    overrides: Annotated[tuple[Override, ...], Field(max_length=32)] | None = None


class Cancelled(_BookingEvent):
    """The session will not take place. Before its booking: waits for it."""

    type: Literal["booking.cancelled"] = "booking.cancelled"
    reason: Annotated[str, Field(max_length=200)] | None = None


class Arrived(_BookingEvent):
    """The patient is there: the session takes place."""

    type: Literal["booking.arrived"] = "booking.arrived"


class Completed(_BookingEvent):
    """The session took place; ``actual_use`` replaces the expected use where it is given."""

    type: Literal["booking.completed"] = "booking.completed"
    actual_use: Annotated[tuple[ItemUse, ...], Field(max_length=200)] | None = None


class Missed(_BookingEvent):
    """The patient did not come."""

    type: Literal["booking.missed"] = "booking.missed"


BookingEvent = Annotated[
    Booked | Rescheduled | Amended | Cancelled | Arrived | Completed | Missed, Field(discriminator="type")
]
BOOKING_EVENTS: TypeAdapter[BookingEvent] = TypeAdapter(BookingEvent)
