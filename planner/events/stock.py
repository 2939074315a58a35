"""Stock events, keyed by site on the ``stock`` topic. Quantities are whole containers unless they say mL."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, model_validator

from planner.base import Containers, Identifier, Model, Positive, Slug, SomeContainers
from planner.events.envelope import Event


class _StockEvent(Event):
    site: Slug
    item: Slug


class Received(_StockEvent):
    """Containers of a lot came in. With ``order_id`` they also count as a delivery of that order.

    Refused (``too-many-lots``) where the site has 500 other lots of the item with containers or in quarantine.

    A delivery is told once: either as this event or as ``order.delivered``.
    """

    type: Literal["stock.received"] = "stock.received"
    lot: Identifier
    expiry: date
    """The last day on which the lot may be used."""
    quantity: SomeContainers
    order_id: Identifier | None = None


class CountedLot(Model):
    """What was found of one lot."""

    lot: Identifier
    quantity: Containers


class Counted(_StockEvent):
    """The shelf was counted: an assertion about the real world. Lots not named were not there."""

    type: Literal["stock.counted"] = "stock.counted"
    lots: Annotated[tuple[CountedLot, ...], Field(max_length=500)]


class Dispensed(_StockEvent):
    """Containers (or mL of a multi-dose container) left the shelf for sessions; first expired first out
    unless the lot is named."""

    type: Literal["stock.dispensed"] = "stock.dispensed"
    quantity: SomeContainers | None = None
    volume_ml: Positive | None = None
    lot: Identifier | None = None
    booking_id: Identifier | None = None

    @model_validator(mode="after")
    def _one_amount(self) -> Dispensed:
        if (self.quantity is None) == (self.volume_ml is None):
            raise ValueError("expected either quantity (containers) or volume_ml, and not both")
        return self


class Wasted(_StockEvent):
    """Containers were thrown away."""

    type: Literal["stock.wasted"] = "stock.wasted"
    quantity: SomeContainers
    reason: Literal[
        "expired", "broken", "contaminated", "temperature", "prepared-not-used", "open-expired", "recalled", "other"
    ]
    lot: Identifier | None = None
    witness: Identifier | None = None
    """Who saw it: asked for controlled items."""


class TransferredOut(_StockEvent):
    """Containers left for another site."""

    type: Literal["stock.transferred-out"] = "stock.transferred-out"
    quantity: SomeContainers
    to_site: Slug
    lot: Identifier | None = None


class TransferredIn(_StockEvent):
    """Containers came from another site."""

    type: Literal["stock.transferred-in"] = "stock.transferred-in"
    quantity: SomeContainers
    from_site: Slug
    lot: Identifier
    expiry: date


class Quarantined(_StockEvent):
    """A lot may not be used (recall, temperature excursion); ``released`` frees it again."""

    type: Literal["stock.quarantined"] = "stock.quarantined"
    lot: Identifier
    released: bool = False
    reason: Annotated[str, Field(max_length=200)] | None = None


StockEvent = Annotated[
    Received | Counted | Dispensed | Wasted | TransferredOut | TransferredIn | Quarantined,
    Field(discriminator="type"),
]
STOCK_EVENTS: TypeAdapter[StockEvent] = TypeAdapter(StockEvent)
