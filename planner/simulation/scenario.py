"""What a scenario says: a clinic (its own, or sites of a catalogue), its bookings, its suppliers, and what things cost.

Shares and probabilities are numbers from 0 to 1; days are calendar days unless they say *open* days (those of the week
on which the supplier takes orders). Every scenario runs ``warm_up_days`` that are not measured, then ``days`` that are.
"""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal

from pydantic import Field, model_validator

from planner.base import Slug, SomeContainers, StrictModel
from planner.catalogue.model import Weekday

Share = Annotated[float, Field(ge=0, le=1)]
Above = Annotated[float, Field(gt=0, le=1e6)]
_WORKING_WEEK: tuple[Weekday, ...] = ("mon", "tue", "wed", "thu", "fri")
_TOLERANCE = 1e-6


class Ahead(StrictModel):
    """A share of the bookings, made evenly so many days ahead (from, to; both counted)."""

    share: Share
    days: tuple[Annotated[int, Field(ge=0, le=200)], Annotated[int, Field(ge=0, le=200)]]

    @model_validator(mode="after")
    def _in_order(self) -> Ahead:
        if self.days[0] > self.days[1]:
            raise ValueError(f"expected days to rise, found {list(self.days)}")
        return self


class Use(StrictModel):
    """Containers of an item that a session takes; with ``probability`` (PRN) all of them or none."""

    item: Slug
    containers: SomeContainers = 1
    probability: Annotated[float, Field(gt=0, lt=1)] | None = None


class SessionKind(StrictModel):
    """A kind of session (a protocol): its share of all sessions, and what it takes."""

    id: Slug
    share: Share
    uses: Annotated[tuple[Use, ...], Field(min_length=1)]
    ahead: tuple[Ahead, ...] | None = None
    """When it is booked; absent: as the scenario's bookings are."""


class ClinicItem(StrictModel):
    """An item of the scenario's own clinic."""

    id: Slug
    price: Above
    """Money for one container."""
    pack: SomeContainers
    """Containers; orders are whole packs."""
    lead_days: Annotated[int, Field(ge=0, le=200)]
    shelf_life_days: Annotated[int, Field(ge=1, le=3700)] = 720
    """Days for which a delivered lot may still be used."""


class Clinic(StrictModel):
    """A clinic with a small catalogue of its own."""

    sessions_per_day: Annotated[float, Field(gt=0, le=1000)]
    """Sessions that take place on a working day, on average."""
    items: Annotated[tuple[ClinicItem, ...], Field(min_length=1)]
    kinds: Annotated[tuple[SessionKind, ...], Field(min_length=1)]
    lead_days: Annotated[int, Field(ge=0, le=200)] | None = None
    """Instead of every item's own."""
    shelf_life_days: Annotated[int, Field(ge=1, le=3700)] | None = None
    """Instead of every item's own."""

    @model_validator(mode="after")
    def _fits(self) -> Clinic:
        known = {item.id for item in self.items}
        unknown = sorted({use.item for kind in self.kinds for use in kind.uses} - known)
        if unknown:
            raise ValueError(
                f"kinds use {', '.join(unknown)}; expected items of the clinic: {', '.join(sorted(known))}"
            )
        total = sum(kind.share for kind in self.kinds)
        if abs(total - 1) > _TOLERANCE:
            raise ValueError(f"the kinds' shares add up to {total:g}; expected 1")
        return self


class Sites(StrictModel):
    """Sites of a catalogue, with its protocols, items and suppliers; sessions as each site expects them."""

    sites: Annotated[tuple[Slug, ...], Field(min_length=1)]
    catalogue: str | None = None
    """A catalogue's directory, relative to the scenario's file; absent: the default catalogue."""


class Shift(StrictModel):
    """From a measured day on (0: the first) there are ``factor`` times as many sessions."""

    day: Annotated[int, Field(ge=0)]
    factor: Above


class Bookings(StrictModel):
    """How sessions are booked, and what becomes of them. Synthetic, unless ``events`` names a file."""

    ahead: Annotated[tuple[Ahead, ...], Field(min_length=1)]
    cancelled: Share = 0.0
    """Share of the bookings that is cancelled, at an even time between booking and session."""
    missed: Share = 0.0
    """Share of those not cancelled that is missed."""
    weekly_load_sd: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Standard deviation of the weeks' load ÷ its mean."""
    shift: Shift | None = None
    events: str | None = None
    """A file of booking events (JSON lines), relative to the scenario's: the real book. Completions tell which
    sessions took place; what they use is drawn from the catalogue."""
    first_day: date | None = None
    """With ``events``: the first day simulated; absent: the day of the first session."""

    @model_validator(mode="after")
    def _whole(self) -> Bookings:
        total = sum(ahead.share for ahead in self.ahead)
        if abs(total - 1) > _TOLERANCE:
            raise ValueError(f"the shares of ahead add up to {total:g}; expected 1")
        return self


class Allocation(StrictModel):
    """For some weeks the supplier sends each clinic no more than a share of its usual use, in whole packs."""

    day: Annotated[int, Field(ge=0)]
    """Measured day on which it begins."""
    days: Annotated[int, Field(ge=1, le=400)]
    share: Share
    announced_days: Annotated[int, Field(ge=0, le=100)] = 0
    """Days ahead that the supplier says so."""


class Deliveries(StrictModel):
    """How suppliers deliver."""

    late_share: Share = 0.0
    """Share of the order lines that comes late."""
    late_days_max: Annotated[int, Field(ge=0, le=60)] = 0
    """Late lines come 1 to so many open days late, evenly."""
    late_allowance_days: Annotated[int, Field(ge=0, le=90)] = 0
    """What the clinic's catalogue allows for it, before anything is learned; of a scenario's own clinic."""
    order_days: Annotated[tuple[Weekday, ...], Field(min_length=1)] | None = None
    """Days on which orders can be placed; absent: working days, or, at a catalogue's sites, each supplier's own."""
    allocation: Allocation | None = None


class Costs(StrictModel):
    """Money, in the currency of the prices."""

    holding_per_year: Share = 0.22
    """Of the value of what is in stock."""
    order_line: Annotated[float, Field(ge=0)] = 7.5


class Horizon(StrictModel):
    """How long it runs."""

    warm_up_days: Annotated[int, Field(ge=7, le=1000)] = 84
    days: Annotated[int, Field(ge=7, le=4000)] = 364


class Scenario(StrictModel):
    """A scenario: everything but the seeds and the policies."""

    id: Slug
    title: Annotated[str, Field(min_length=3, max_length=160)]
    clinic: Clinic | None = None
    sites: Sites | None = None
    bookings: Bookings
    deliveries: Deliveries = Deliveries()
    costs: Costs = Costs()
    horizon: Horizon = Horizon()
    fill_target: Annotated[float, Field(gt=0.5, lt=1)] = 0.99
    """Share of the wanted containers of each item that every policy is tuned to supply."""
    tuned_on: Slug | None = None
    """Scenario on which the policies are tuned: their parameters are frozen when this one runs. Absent: itself."""
    service_measure: Literal["cycle", "fill", "session"] = "cycle"
    """Of the planner's policy."""
    service_level: Annotated[float, Field(gt=0, lt=1)] = 0.9
    """Of the planner's policy, before it is tuned."""
    review_period_days: Annotated[int, Field(ge=1, le=60)] = 1

    @model_validator(mode="after")
    def _one_of_two(self) -> Scenario:
        if (self.clinic is None) == (self.sites is None):
            found = "both" if self.clinic else "neither"
            raise ValueError(f"found {found} of clinic and sites; expected one of them")
        shift, allocation = self.bookings.shift, self.deliveries.allocation
        if shift is not None and shift.day >= self.horizon.days:
            raise ValueError(f"bookings.shift.day: found {shift.day}; expected below horizon.days {self.horizon.days}")
        if allocation is not None and allocation.day >= self.horizon.days:
            raise ValueError(
                f"deliveries.allocation.day: found {allocation.day}; expected below horizon.days {self.horizon.days}"
            )
        return self

    @property
    def days(self) -> int:
        """Days simulated, the warm-up among them."""
        return self.horizon.warm_up_days + self.horizon.days

    @property
    def order_days(self) -> tuple[Weekday, ...]:
        """Days on which orders can be placed where no supplier says otherwise."""
        return self.deliveries.order_days or _WORKING_WEEK
