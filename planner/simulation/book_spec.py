"""What a synthetic booking book is made of: its habits, as parameters that a person edits in YAML.

The demand is stated as *sessions that take place*; how early they are booked, how many more are booked and cancelled
again, and how all of it is told are habits beside it. So two books that differ only in habits have the same demand.
"""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, Field, model_validator

from planner.base import Slug, StrictModel
from planner.catalogue.model import WEEKDAYS, Weekday

LEAD_DAYS_MOST = 400
"""The longest lead time of a booking, in days."""

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Amount = Annotated[float, Field(ge=0, le=1e4, allow_inf_nan=False)]
LeadDays = Annotated[int, Field(ge=0, le=LEAD_DAYS_MOST)]


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"expected an IANA time zone such as 'America/Denver', found {name!r}") from error
    return name


class BookedSite(StrictModel):
    """A clinic with a book of its own, drawn independently. ``factor`` multiplies the book's sessions per day."""

    site: Slug
    timezone: Annotated[str, AfterValidator(_zone)]
    factor: Annotated[float, Field(gt=0, le=100)] = 1.0


class LeadTime(StrictModel):
    """Days from the booking to the session: a gamma density of ``mean_days`` and ``sd_days``, integrated over each
    whole day ± ½ and cut to ``at_least_days`` … ``at_most_days``; with ``sd_days`` 0 always the rounded mean.
    """

    mean_days: Amount
    sd_days: Amount = 0.0
    at_least_days: LeadDays = 0
    at_most_days: LeadDays = LEAD_DAYS_MOST

    @model_validator(mode="after")
    def _a_day_in_it(self) -> Self:
        if self.at_most_days < self.at_least_days:
            raise ValueError(f"expected at_most_days at or above at_least_days, found {self.at_most_days}")
        if self.sd_days == 0 and not self.at_least_days <= round(self.mean_days) <= self.at_most_days:
            raise ValueError(f"expected mean_days between the bounds where sd_days is 0, found {self.mean_days}")
        if self.sd_days > 0 and self.mean_days == 0:
            raise ValueError("expected mean_days above 0 with sd_days above 0")
        return self


class Normal(StrictModel):
    """A parameter of the patient: normal, rounded to whole units, and cut at mean ± 2.5 sd (and at 1)."""

    mean: Annotated[float, Field(gt=0, le=300)]
    sd: Annotated[float, Field(ge=0, le=100)] = 0.0


class ProtocolShare(StrictModel):
    """A protocol, its share of the segment's parties, and the parameters its bookings carry."""

    protocol: Slug
    share: Share = 1.0
    weight_kg: Normal | None = None
    hours: Normal | None = None


class Series(StrictModel):
    """A patient comes again ``every_days`` after each visit (or on the next open day), with the probability
    ``continuation``, whether or not the visit took place. The next visit is booked on the day of the one before, or
    ``booked_days_ahead`` days before it.
    """

    every_days: Annotated[int, Field(ge=2, le=366)]
    continuation: Annotated[float, Field(ge=0, lt=1)]
    booked_days_ahead: Annotated[int, Field(ge=0, le=366)] | None = None

    @model_validator(mode="after")
    def _after_the_visit_before(self) -> Self:
        if self.booked_days_ahead is not None and self.booked_days_ahead >= self.every_days:
            raise ValueError(f"expected booked_days_ahead below every_days, found {self.booked_days_ahead}")
        return self


class Segment(StrictModel):
    """Bookings of one habit.

    ``share``: of the book's sessions that take place (of a series: in the long run, later visits included).
    ``lead_after``: lead time of sessions from the book's ``lead_change`` on; absent: as before.
    ``hazard_factor``: times the book's cancellation hazard. ``miss_probability``: of a booking not cancelled.
    ``group_share``: of parties that are groups of ``group_size_mean`` (2 + Poisson) bookings, made, cancelled and
    missed together.
    """

    name: Slug
    share: Share
    lead: LeadTime
    lead_after: LeadTime | None = None
    hazard_factor: Amount = 1.0
    miss_probability: Annotated[float, Field(ge=0, le=0.9)] = 0.0
    group_share: Share = 0.0
    group_size_mean: Annotated[float, Field(ge=2, le=50)] = 2.0
    protocols: Annotated[tuple[ProtocolShare, ...], Field(min_length=1)]
    series: Series | None = None

    @property
    def party_size_mean(self) -> float:
        """Bookings in a party."""
        return 1 + self.group_share * (self.group_size_mean - 1)

    @model_validator(mode="after")
    def _shares_and_groups(self) -> Self:
        total = sum(part.share for part in self.protocols)
        if abs(total - 1) > 1e-6:
            raise ValueError(f"expected the shares of protocols to add up to 1, found {total:g}")
        if self.series is not None and self.group_share > 0:
            raise ValueError("expected no group_share in a segment with a series")
        return self


class HazardFrom(StrictModel):
    """Cancellation hazard per day on which bookings are taken, from ``days`` to go upwards (to the next entry)."""

    days: LeadDays
    per_day: Annotated[float, Field(ge=0, lt=1)]


class LevelShift(StrictModel):
    """From the session day ``on``, sessions per day are multiplied by ``factor`` (with those before it)."""

    on: date
    factor: Annotated[float, Field(gt=0, le=10)]


class BookSpec(StrictModel):
    """Everything that a synthetic book is drawn from. Rates are of the whole book before a site's ``factor``."""

    name: Slug
    about: str = ""
    sites: Annotated[tuple[BookedSite, ...], Field(min_length=1)]
    first_day: date
    """The first day with sessions."""
    days: Annotated[int, Field(ge=1, le=3_660)]
    """Session days drawn, closed ones included."""

    sessions: dict[Weekday, Amount]
    """Sessions that take place on a weekday, on average over a year without trend; days not named are closed."""
    season_amplitude: Annotated[float, Field(ge=0, le=2)] = 0.0
    """a: sessions follow exp(a·cos(2π·(day of year − peak) / 365.25)), scaled to a mean of 1."""
    season_peak_day: Annotated[int, Field(ge=1, le=366)] = 1
    """Day of the year on which it peaks."""
    trend_per_year: Annotated[float, Field(gt=-0.9, le=5)] = 0.0
    """Growth in a year, as a fraction, compounded daily from ``first_day``."""
    closed_on: tuple[date, ...] = ()
    """Days without sessions beside the weekdays that have none."""
    level_shifts: tuple[LevelShift, ...] = ()

    segments: Annotated[tuple[Segment, ...], Field(min_length=1, max_length=20)]
    lead_change: date | None = None
    """Sessions from this day on are booked by each segment's ``lead_after``; the demand is the same."""
    bookings_taken: Literal["every-day", "open-days"] = "every-day"
    """When bookings are made and cancelled. open-days: what would be on a closed day is made on the next open one,
    and nobody cancels on a closed one."""
    hazard: tuple[HazardFrom, ...] = ()
    """Cancellation hazard by days to go; below the first entry 0."""

    dispersion: Annotated[float, Field(ge=1, le=50)] = 1.0
    """Variance ÷ mean of the parties booked for a day at one number of days to go (negative binomial; 1: Poisson)."""
    day_shock_cv: Annotated[float, Field(ge=0, le=2)] = 0.0
    """Coefficient of variation of a gamma factor that all bookings for a session day share."""
    phone_shock_cv: Annotated[float, Field(ge=0, le=2)] = 0.0
    """The same, of a factor that all bookings made on a day share."""

    cancellations_told: Share = 1.0
    """Share of cancellations told when they happen; of the others it is told on their day that they were missed."""
    reschedule_share: Share = 0.0
    """Share of told cancellations, made a day or more before, that are told as a move to a session booked on the
    same day, where there is one of the same segment. Demand, curve and hazards are the same with it."""
    arrivals_told: bool = False
    late_share: Share = 0.0
    """Share of sessions whose end is told 1 … ``late_days_most`` days after."""
    late_days_most: Annotated[int, Field(ge=1, le=30)] = 2
    actual_use: bool = False
    """Completions tell what was used (the generator needs a catalogue for it)."""
    prn_factor: Annotated[float, Field(ge=0, le=10)] = 1.0
    """PRN lines are really given so many times as often as the protocol states (at most always)."""
    adopted: bool = False
    """The log begins on ``first_day``: bookings made before and still live are told then, at once. Otherwise they
    are told when they were made, before ``first_day``."""

    @property
    def last_day(self) -> date:
        """The last session day."""
        return date.fromordinal(self.first_day.toordinal() + self.days - 1)

    @property
    def per_weekday(self) -> tuple[float, ...]:
        """Sessions by ``date.weekday()``."""
        return tuple(self.sessions.get(day, 0.0) for day in WEEKDAYS)

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        total = sum(segment.share for segment in self.segments)
        if abs(total - 1) > 1e-6:
            raise ValueError(f"expected the shares of segments to add up to 1, found {total:g}")
        if not any(self.per_weekday):
            raise ValueError("expected sessions above 0 on some weekday")
        for values, what in (
            ([segment.name for segment in self.segments], "names of segments"),
            ([site.site for site in self.sites], "sites"),
            ([entry.days for entry in self.hazard], "days of hazard"),
        ):
            if len(set(values)) < len(values):
                raise ValueError(f"expected {what} once each, found {', '.join(map(str, values))}")
        return self
