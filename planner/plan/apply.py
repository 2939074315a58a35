"""What a requirement, and an event of stock or orders, changes at its site."""

from __future__ import annotations

from collections import Counter
from datetime import UTC

from planner.catalogue.index import Catalogue
from planner.events.orders import Confirmed, Delivered, OrderCancelled, OrderEvent, Placed, SupplyAnnounced
from planner.events.stock import StockEvent
from planner.learning.using import session
from planner.messages import RequirementStated, RequirementUsed, RequirementWithdrawn
from planner.plan.requirements import Read
from planner.plan.site import PlannedSite
from planner.refusal import Refused
from planner.site.bookings import state_requirement, use_requirement, withdraw_requirement
from planner.site.consumption import take_session
from planner.site.orders import apply_order
from planner.site.stock import apply_stock


def apply_requirement(planned: PlannedSite, catalogue: Catalogue, read: Read, counts: Counter[str]) -> bool:
    """Apply a requirement to its site. False: it is known already, and nothing changed."""
    message, touched = read.message, planned.touched
    if isinstance(message, RequirementStated) and read.profile is not None:
        return state_requirement(planned.state, message, read.profile, touched, int(message.start.timestamp()))
    if isinstance(message, RequirementUsed):
        return _use_session(planned, catalogue, message, counts)
    if isinstance(message, RequirementWithdrawn):
        return withdraw_requirement(planned.state, message, touched)
    raise TypeError(f"no rule for {type(message).__name__}")


def apply_event(planned: PlannedSite, catalogue: Catalogue, event: StockEvent | OrderEvent) -> str | None:
    """Apply an event; what is worth saying in its outcome.

    Raises:
        Refused: for the reasons that its own rules have, and ``unknown-item``.
    """
    match event:
        case Placed() | Confirmed() | Delivered() | OrderCancelled() | SupplyAnnounced():
            apply_order(planned.state, catalogue, event, planned.touched)
            return None
    if event.item not in catalogue.items:
        raise Refused("unknown-item", f"item: found {event.item!r}; expected an item of the catalogue")
    return apply_stock(planned.state, catalogue, event, planned.touched)


def _use_session(planned: PlannedSite, catalogue: Catalogue, message: RequirementUsed, counts: Counter[str]) -> bool:
    before = planned.state.bookings.get(message.booking_id)
    used, profile = use_requirement(planned.state, message, planned.touched)
    if used and planned.known and catalogue.sites[message.site].consumption == "dispensed":
        if before is not None and before.day > planned.state.learned.using.settled:
            session(planned.state, before.day, before.profile, planned.touched)
    elif used and planned.known:
        left_out = take_session(
            planned.state,
            catalogue,
            profile,
            message.actual_use,
            message.occurred_at.astimezone(UTC),
            touched=planned.touched,
            cause=message.event_id,
            day=None if before is None or not before.profile else before.day,
        )
        if left_out:
            counts["uses_left_out"] += left_out
    return used or planned.state.bookings.get(message.booking_id) is not before
