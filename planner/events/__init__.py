"""Events in: what the booking system, the pharmacy and the clock tell the planner."""

from planner.events.bookings import BOOKING_EVENTS, BookingEvent
from planner.events.control import ALERT_ACTIONS as ALERT_ACTIONS
from planner.events.control import CLOCK_EVENTS, AlertAction, ClockTicked
from planner.events.orders import ORDER_EVENTS, OrderEvent
from planner.events.stock import STOCK_EVENTS, StockEvent

__all__ = [
    "ALERT_ACTIONS",
    "BOOKING_EVENTS",
    "CLOCK_EVENTS",
    "ORDER_EVENTS",
    "STOCK_EVENTS",
    "AlertAction",
    "BookingEvent",
    "ClockTicked",
    "OrderEvent",
    "StockEvent",
]
