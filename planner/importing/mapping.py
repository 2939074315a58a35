"""How to read an export: which columns hold what, how dates are written, what a status means, which protocol a row is.

A person writes it as a YAML file (``config/mappings/``); an unknown or missing field is a fault.
"""

from __future__ import annotations

from datetime import time
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, Field, model_validator

from planner.base import Positive, Slug, StrictModel

EventKind = Literal["booked", "cancelled", "completed", "missed"]
ORDER: tuple[EventKind, ...] = ("booked", "cancelled", "completed", "missed")
"""The order of a booking's events at one instant."""

TIME_DIRECTIVES = ("%H", "%I")
"""A date format with one of these holds a time of day too."""


def _timezone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"expected an IANA time zone such as 'Europe/Lisbon', found {name!r}") from error
    return name


def _clock_time(text: str) -> str:
    try:
        time.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"expected a time of day such as '08:30', found {text!r}") from error
    return text


ClockTime = Annotated[str, AfterValidator(_clock_time)]
"""A time of day at the site, ``HH:MM``."""


class Spread(StrictModel):
    """Start times for an export that holds days only: slots from ``first`` to ``last``, one per booking by its id.

    The same booking always gets the same slot, so that importing twice says the same.
    """

    first: ClockTime
    last: ClockTime
    every_minutes: Annotated[int, Field(ge=1, le=720)]

    @model_validator(mode="after")
    def _forwards(self) -> Self:
        if time.fromisoformat(self.last) < time.fromisoformat(self.first):
            raise ValueError(f"expected last at or after first, found {self.first} to {self.last}")
        return self


class Columns(StrictModel):
    """Names of the export's columns."""

    booking_id: str
    start: str
    """When the session is."""
    booked: str
    """When it was booked."""
    status: str
    status_changed: str | None = None
    """When the status came to be."""
    series: str | None = None
    """Id shared by the sessions of a patient's series."""


class StatusRule(StrictModel):
    """What a status tells besides that the session was booked: one more event, or none."""

    event: Literal["cancelled", "completed", "missed"] | None
    at: Literal["start", "status_changed"] = "start"
    """Which column says when it happened."""


class SiteRule(StrictModel):
    """The site from a column: through ``values``, or, without them, the cell itself."""

    column: str
    values: dict[str, Slug] = {}


class Cell(StrictModel):
    """A number from a column."""

    column: str


class ParameterRule(StrictModel):
    """Parameters of the session: a stated constant, or a column."""

    weight_kg: Positive | Cell | None = None
    hours: Positive | Cell | None = None


class ProtocolRule(StrictModel):
    """The first rule whose ``when`` (column: value, or any of several) all hold names the protocol."""

    when: dict[str, str | tuple[str, ...]] = {}
    protocol: Slug
    parameters: ParameterRule = ParameterRule()


class Mapping(StrictModel):
    """All that is needed to read one booking system's export."""

    name: Slug
    """Stands in the events' ids and source: the same name and row give the same event ids."""
    site: Slug | SiteRule
    timezone: Annotated[str, AfterValidator(_timezone)]
    """In which days and times of the export are meant."""
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] = ","
    encoding: str = "utf-8-sig"
    columns: Columns
    date_formats: Annotated[tuple[str, ...], Field(min_length=1)] = ("%Y-%m-%d",)
    """Tried in this order (Python's strptime directives)."""
    start_time: ClockTime | Spread | None = None
    """Start of sessions where the start column holds a day only; absent: a day only is a fault of the row."""
    occurred_time: dict[EventKind, ClockTime] = {"booked": "06:00", "cancelled": "07:00", "completed": "20:00"}
    """When a day's events happened, where their column holds a day only; ``missed`` is as ``completed``."""
    statuses: Annotated[dict[str, StatusRule], Field(min_length=1)]
    protocols: Annotated[tuple[ProtocolRule, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        times = [self.time_of(kind) for kind in ("booked", "cancelled", "completed")]
        if times != sorted(times):
            raise ValueError("occurred_time: expected booked, then cancelled, then completed within a day")
        if self.columns.status_changed is None:
            bare = [name for name, rule in self.statuses.items() if rule.event and rule.at == "status_changed"]
            if bare:
                raise ValueError(f"statuses {bare} happen at status_changed: expected columns.status_changed")
        return self

    def time_of(self, kind: EventKind) -> time:
        """When an event of this kind happens on a day without a time."""
        defaults: dict[EventKind, str] = {"booked": "06:00", "cancelled": "07:00", "completed": "20:00"}
        text = self.occurred_time.get(kind)
        if text is None:
            text = self.occurred_time.get("completed") if kind == "missed" else None
        return time.fromisoformat(text or defaults["completed" if kind == "missed" else kind])

    def columns_used(self) -> tuple[str, ...]:
        """Every column that the mapping reads, in order of first mention."""
        names = [name for name in self.columns.model_dump().values() if name is not None]
        if isinstance(self.site, SiteRule):
            names.append(self.site.column)
        for rule in self.protocols:
            names += rule.when
            names += [p.column for p in (rule.parameters.weight_kg, rule.parameters.hours) if isinstance(p, Cell)]
        return tuple(dict.fromkeys(names))
