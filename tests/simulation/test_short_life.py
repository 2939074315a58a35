"""A lot of what soon expires is no larger than it is worth."""

from __future__ import annotations

from decimal import Decimal

from planner.simulation.planner_policy import PlannerPolicy
from planner.simulation.world import Fate, SiteWorld, Totals
from tests.simulation.small import VIAL, clinic


def year_of(shelf_life_days: int, price: float = 400) -> Totals:
    made = clinic(
        clinic={
            "sessions_per_day": 0.6,
            "items": [
                {"id": VIAL, "price": price, "pack": 1, "lead_days": 2, "shelf_life_days": shelf_life_days},
            ],
            "kinds": [{"id": "infusion", "share": 1, "uses": [{"item": VIAL}]}],
        },
        costs={"holding_per_year": 0.02, "order_line": 40},
        horizon={"warm_up_days": 28, "days": 182},
    )
    return SiteWorld(Fate.draw(made, 3)).run(PlannerPolicy(made.with_service_levels({VIAL: Decimal("0.9")})))


def test_lots_of_what_soon_expires_are_smaller() -> None:
    """Lines cost much and holding little, so lots of what keeps are large; of what does not they stay small, and
    hardly anything is thrown away."""
    lasting, expiring = (year_of(days).items[VIAL] for days in (700, 20))
    assert lasting.ordered / lasting.lines > 2 * expiring.ordered / expiring.lines
    assert expiring.expired < 0.15 * expiring.ordered
    assert expiring.wanted == lasting.wanted


def test_what_costs_next_to_nothing_is_ordered_in_lots_all_the_same() -> None:
    """A cheap one that is lost costs less than another line."""
    dear, cheap = (year_of(20, price).items[VIAL] for price in (400, 0.5))
    assert cheap.ordered / cheap.lines > dear.ordered / dear.lines
