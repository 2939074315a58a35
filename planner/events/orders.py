"""Purchase-order events, keyed by site on the ``orders`` topic. Quantities are whole containers."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, model_validator

from planner.base import Identifier, Model, Probability, Slug, SomeContainers
from planner.events.envelope import Event


class OrderLine(Model):
    """An item and how much of it was ordered or confirmed."""

    item: Slug
    quantity: SomeContainers


class DeliveredLine(Model):
    """Containers of one lot that came with a delivery."""

    item: Slug
    quantity: SomeContainers
    lot: Identifier
    expiry: date


class _OrderEvent(Event):
    site: Slug
    order_id: Identifier


class Placed(_OrderEvent):
    """An order was sent to a supplier. Refused (``too-many-orders``) where 2,000 others of the site are open."""

    type: Literal["order.placed"] = "order.placed"
    supplier: Slug
    lines: Annotated[tuple[OrderLine, ...], Field(min_length=1, max_length=200)]


class Confirmed(_OrderEvent):
    """The supplier promised a day, and perhaps less than was asked (``lines``: what it will send)."""

    type: Literal["order.confirmed"] = "order.confirmed"
    promised: date
    lines: Annotated[tuple[OrderLine, ...], Field(max_length=200)] | None = None


class Delivered(_OrderEvent):
    """Goods came in, by lot: they are stock from now on. ``complete``: nothing more will come."""

    type: Literal["order.delivered"] = "order.delivered"
    lines: Annotated[tuple[DeliveredLine, ...], Field(min_length=1, max_length=200)]
    complete: bool = False


class OrderCancelled(_OrderEvent):
    """What has not come will not come."""

    type: Literal["order.cancelled"] = "order.cancelled"


class SupplyAnnounced(Event):
    """A supplier says that it will be short: of orders placed from ``first_day`` through ``last_day`` (the site's days)
    it will send only ``share``. A later announcement of the same supplier and item takes its place; a share of 1 takes
    it back."""

    type: Literal["supply.announced"] = "supply.announced"
    site: Slug
    supplier: Slug
    item: Slug | None = None
    """Absent: all that the supplier delivers."""
    first_day: date
    last_day: date
    share: Probability

    @model_validator(mode="after")
    def _days_in_order(self) -> SupplyAnnounced:
        if self.last_day < self.first_day:
            raise ValueError(f"last_day: found {self.last_day}; expected {self.first_day}, the first day, or later")
        return self


OrderEvent = Annotated[Placed | Confirmed | Delivered | OrderCancelled | SupplyAnnounced, Field(discriminator="type")]
ORDER_EVENTS: TypeAdapter[OrderEvent] = TypeAdapter(OrderEvent)
