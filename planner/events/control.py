"""What people do with alerts (``alert-actions``, keyed by site) and the passing of time (``clock``)."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, model_validator

from planner.base import ComposedIdentifier, Identifier, Instant, Slug
from planner.events.envelope import Event


class _AlertAction(Event):
    site: Slug
    alert_id: ComposedIdentifier
    by: Identifier | None = None
    note: Annotated[str, Field(max_length=500)] | None = None


class Acknowledged(_AlertAction):
    """Somebody has seen it."""

    type: Literal["alert.acknowledged"] = "alert.acknowledged"


class Snoozed(_AlertAction):
    """Quiet until a day (the site's), or until it gets worse; getting worse always wakes it."""

    type: Literal["alert.snoozed"] = "alert.snoozed"
    until: date | None = None
    until_worse: bool = False

    @model_validator(mode="after")
    def _an_end(self) -> Snoozed:
        if self.until is None and not self.until_worse:
            raise ValueError("expected until (a date) or until_worse: true")
        return self


class AlertOrdered(_AlertAction):
    """Somebody has ordered what it asks for; ``order_id`` if it is known."""

    type: Literal["alert.ordered"] = "alert.ordered"
    order_id: Identifier | None = None


class Closed(_AlertAction):
    """Somebody has decided that it needs nothing more in this episode."""

    type: Literal["alert.closed"] = "alert.closed"


AlertAction = Annotated[Acknowledged | Snoozed | AlertOrdered | Closed, Field(discriminator="type")]
ALERT_ACTIONS: TypeAdapter[AlertAction] = TypeAdapter(AlertAction)


class ClockTicked(Event):
    """Time has passed up to ``now``. An earlier ``now`` than one already seen changes nothing."""

    type: Literal["clock.ticked"] = "clock.ticked"
    now: Instant


CLOCK_EVENTS: TypeAdapter[ClockTicked] = TypeAdapter(ClockTicked)
