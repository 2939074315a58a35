"""What a forecast costs: a site with 30 items and 90 days of 100 bookings each, on one core.

    python -m benchmarks.forecast_cost

Prints the median of repeated runs in microseconds, and the bytes of the messages. Absolute times mean little on a
shared machine; the ratios in one run do.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np

from planner.catalogue.index import Catalogue
from planner.catalogue.model import WEEKDAYS, Bundle
from planner.forecast.learned import LearnedModel
from planner.forecast.need import SiteNeed
from planner.forecast.projection import project
from planner.forecast.publish import forecast_messages, keys_of
from planner.site.state import ItemStock, Lot, Moments, Order, OrderLine, Profile, SiteState

SITE = "site"
ITEMS = 30
MULTI_DOSE = 3
GROUPS = 8
PROFILES = 60
ITEMS_A_SESSION = 18
BOOKINGS_A_DAY = 100
DAYS = 90
TODAY = date(2026, 11, 16)
NOW = datetime(2026, 11, 16, 15, tzinfo=UTC)


def build_catalogue() -> Catalogue:
    """30 items, three of them multi-dose, in 8 groups; one protocol whose sessions take a third of them."""

    def item(number: int) -> dict[str, Any]:
        entity = {
            "id": f"item-{number:02}",
            "name": f"Item {number}",
            "group": f"group-{number % GROUPS}",
            "component": f"component-{number:02}",
            "content": "2 mL",
            "pack": {"containers": 10},
            "shelf_life_days": 700,
            "supplier": "supplier",
        }
        if number < MULTI_DOSE:
            entity |= {"content": "30 mL", "use": "multi-dose", "open_hours": "4" if number == 0 else "672"}
        return entity

    line = {"route": "push", "dose": {"fixed": "2 mL"}}
    every_day = dict.fromkeys(WEEKDAYS, "20")
    return Catalogue(
        Bundle.model_validate(
            {
                "version": "benchmark",
                "groups": [{"id": f"group-{g}", "name": f"Group {g}"} for g in range(GROUPS)],
                "components": [
                    {
                        "id": f"component-{n:02}",
                        "name": f"Component {n}",
                        "kind": "drug",
                        "filled_by": [{"item": f"item-{n:02}"}],
                    }
                    for n in range(ITEMS)
                ],
                "items": [item(n) for n in range(ITEMS)],
                "kits": [],
                "line_kits": {},
                "protocols": [
                    {
                        "id": f"protocol-{p}",
                        "name": f"Protocol {p}",
                        "versions": [
                            {
                                "version": 1,
                                "effective_from": "2020-01-01",
                                "session_minutes": 60,
                                "repeat": {"kind": "none"},
                                "lines": [
                                    {"id": f"line-{n}", "component": f"component-{n:02}", **line}
                                    for n in range(p, ITEMS, 3)
                                ],
                            }
                        ],
                    }
                    for p in range(3)
                ],
                "suppliers": [{"id": "supplier", "name": "Supplier", "lead_time_days": 3}],
                "sites": [
                    {
                        "id": SITE,
                        "name": "Site",
                        "timezone": "America/New_York",
                        "policy": "policy",
                        "first_stick_probability": "0.8",
                        "expected_sessions": [{"protocol": f"protocol-{p}", "per_day": every_day} for p in range(3)],
                    }
                ],
                "policies": [
                    {
                        "id": "policy",
                        "name": "Policy",
                        "service_level": "0.95",
                        "review_period_days": 1,
                        "critical_risk": "0.3",
                        "resolve_margin": "0.5",
                        "count_tolerance_containers": 1,
                        "count_tolerance_fraction": "0.05",
                        "keep_probability": [{"days": 0, "value": "0.95"}, {"days": 7, "value": "0.85"}],
                        "still_to_come": [{"days": 0, "value": "0.1"}, {"days": 14, "value": "0.6"}],
                        "dispersion": "2",
                    }
                ],
            }
        )
    )


def build_state(rng: np.random.Generator) -> SiteState:
    """Bookings of 60 profiles on each of 90 days, two lots of every item, and an order of every third."""
    state = SiteState(SITE)
    for number in range(PROFILES):
        items = {}
        for n in sorted(rng.choice(ITEMS, ITEMS_A_SESSION, replace=False)):
            mean = Decimal(int(rng.integers(1, 4)))
            variance = Decimal("0.24") if rng.random() < 0.2 else Decimal(0)
            items[f"item-{n:02}"] = Moments(mean, variance, mean + 1, mean)
        name = f"profile-{number:02}"
        state.profiles[name] = Profile(name, "protocol-0", 1, "benchmark", items)
    for day in range(DAYS):
        counts = state.demand[TODAY.toordinal() + day]
        for number in rng.integers(0, PROFILES, BOOKINGS_A_DAY):
            key = f"protocol-{number % 3}", f"profile-{number:02}"
            counts[key] = counts.get(key, 0) + 1
    for n in range(ITEMS):
        stock = state.stock[f"item-{n:02}"] = ItemStock()
        stock.lots["A"] = Lot("A", TODAY + timedelta(days=20), 400)
        stock.lots["B"] = Lot("B", TODAY + timedelta(days=400), int(rng.integers(500, 6000)))
    for n in range(0, ITEMS, 3):
        placed = NOW - timedelta(days=1)
        state.orders[f"order-{n}"] = Order(f"order-{n}", "supplier", placed, {f"item-{n:02}": OrderLine(500)})
    return state


def median_us(run: Callable[[], object], repeats: int) -> float:
    """Median microseconds of a call."""
    taken = []
    for _ in range(repeats):
        start = time.perf_counter_ns()
        run()
        taken.append((time.perf_counter_ns() - start) / 1000)
    return statistics.median(taken)


def main() -> None:
    catalogue = build_catalogue()
    state = build_state(np.random.default_rng(1))
    model = LearnedModel(state, catalogue)
    need = SiteNeed(state, catalogue, model)
    need.refresh(TODAY)
    tomorrow = TODAY.toordinal() + 1

    def one_day() -> None:
        need.touch(tomorrow)
        need.refresh(TODAY)

    def all_days() -> None:
        need.touch_all()
        need.refresh(TODAY)

    current = need.refresh(TODAY)
    outlook = project(state, catalogue, current, NOW)

    def one_day_and_project() -> None:
        need.touch(tomorrow)
        project(state, catalogue, need.refresh(TODAY), NOW)

    session = keys_of(catalogue, state.profiles["profile-00"].items)
    messages = forecast_messages(state, catalogue, outlook, NOW)
    some = forecast_messages(state, catalogue, outlook, NOW, session)
    rows = [
        (
            "new SiteNeed and refresh",
            lambda: SiteNeed(state, catalogue, model).refresh(TODAY),
            20,
        ),
        ("refresh of all days", all_days, 20),
        ("touch and refresh of one day", one_day, 300),
        ("project", lambda: project(state, catalogue, current, NOW), 300),
        ("one day: touch, refresh, project", one_day_and_project, 300),
        (f"messages of all {len(messages)} keys", lambda: forecast_messages(state, catalogue, outlook, NOW), 30),
        (
            f"messages of one session's {len(some)} keys",
            lambda: forecast_messages(state, catalogue, outlook, NOW, session),
            30,
        ),
    ]
    write = sys.stdout.write
    for name, run, repeats in rows:
        write(f"{name:44}{median_us(run, repeats):12,.0f} µs\n")
    sizes = [len(message.value or b"") for message in messages]
    write(f"{'bytes per message, mean (largest)':44}{statistics.mean(sizes):12,.0f} ({max(sizes):,})\n")


if __name__ == "__main__":
    main()
