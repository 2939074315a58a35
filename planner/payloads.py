"""What each topic's messages are. Documents and the ``schema`` command read it; dead letters are raw bytes."""

from __future__ import annotations

from typing import Any, Final

from pydantic import TypeAdapter

from planner.catalogue.model import Bundle
from planner.events import ALERT_ACTIONS, BOOKING_EVENTS, CLOCK_EVENTS, ORDER_EVENTS, STOCK_EVENTS
from planner.journal import APPLIED
from planner.messages import REQUIREMENTS, Accuracy, Alert, Forecast, Outcome, Proposal

PAYLOADS: Final[dict[str, TypeAdapter[Any]]] = {
    "bookings": BOOKING_EVENTS,
    "stock": STOCK_EVENTS,
    "orders": ORDER_EVENTS,
    "alert-actions": ALERT_ACTIONS,
    "clock": CLOCK_EVENTS,
    "catalogue": TypeAdapter(Bundle),
    "requirements": REQUIREMENTS,
    "forecasts": TypeAdapter(Forecast),
    "accuracy": TypeAdapter(Accuracy),
    "alerts": TypeAdapter(Alert),
    "proposals": TypeAdapter(Proposal),
    "outcomes": TypeAdapter(Outcome),
    "journal": APPLIED,
}
"""Topic → its payload."""
