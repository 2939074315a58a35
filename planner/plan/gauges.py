"""What is worth watching of a partition's sites, by name."""

from __future__ import annotations

from collections.abc import Sequence

from planner.messages import AlertState
from planner.site.state import SiteState


def gauges_of(states: Sequence[SiteState], *, waiting: int) -> dict[str, float]:
    """Counts as they are now; ``waiting``: sites that wait for a review."""
    return {
        "sites": len(states),
        "sites_waiting": waiting,
        "bookings_live": sum(len(ids) for state in states for ids in state.by_day.values()),
        "bookings_unsettled": sum(state.unsettled for state in states),
        "alerts_open": sum(
            alert.state is not AlertState.RESOLVED for state in states for alert in state.alerts.values()
        ),
        "orders_open": sum(order.status == "open" for state in states for order in state.orders.values()),
        "deficit_containers": sum(stock.deficit for state in states for stock in state.stock.values()),
    }
