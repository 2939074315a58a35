"""What is worth watching of a partition's sites, by name."""

from __future__ import annotations

from collections.abc import Sequence

from planner.learning.scores import SESSIONS
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
        "forecast_coverage_95_worst": min((_coverage(state) for state in states), default=1.0),
        "deficit_containers": sum(stock.deficit for state in states for stock in state.stock.values()),
    }


_LEAD_DAYS = 7
_SCORED_LEAST = 10.0


def _coverage(state: SiteState) -> float:
    """The share of a week's sessions at or below the quantile .95; 1 before there is enough to tell."""
    scores = state.learned.scores.scores(SESSIONS)
    return min((s.coverage[-1] for s in scores if s.lead == _LEAD_DAYS and s.n >= _SCORED_LEAST), default=1.0)
