"""The Faust app: two agents, two tables, one log. Built inside the running loop; nothing is opened at import."""

from __future__ import annotations

from config.settings import Settings
from planner.booking_step import BookingStep
from planner.catalogue.model import Bundle
from planner.plan_step import PlanStep
from streams import names
from streams.delivery.assembly import PlannerApp, assemble


def build_app(settings: Settings, bundle: Bundle) -> PlannerApp:
    """The planner: ``expand`` and ``plan`` over the log of the settings. Call it inside the running loop."""
    return assemble(
        settings,
        {
            names.EXPAND: lambda partition: BookingStep(partition, settings.partitions, bundle, clock=settings.clock),
            names.PLAN: lambda partition: PlanStep(partition, bundle, clock=settings.clock),
        },
    )
