"""A small clinic for the tests of the forecast, and the shortest ways to book, receive and order there."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from planner.catalogue.index import Catalogue
from planner.catalogue.model import Bundle
from planner.site.state import ItemStock, Lot, Moments, Order, OrderLine, Profile, SiteState

SITE = "north"
ZONE = ZoneInfo("America/New_York")
MONDAY = date(2026, 11, 16)
VIAL, BAG, CATHETER, BULK, COMPLEX, EPINEPHRINE = (
    "magnesium-vial",
    "magnesium-bag",
    "catheter",
    "vitamin-c-bulk",
    "b-complex-vial",
    "epinephrine-vial",
)


def _item(item: str, component: str, group: str, content: str, **more: Any) -> dict[str, Any]:
    return {
        "id": item,
        "name": item,
        "group": group,
        "component": component,
        "content": content,
        "pack": {"containers": 10},
        "shelf_life_days": 700,
        "supplier": "acme",
        **more,
    }


ITEMS = [
    _item(VIAL, "magnesium", "magnesium", "2 mL", concentration={"value": "500", "unit": "mg"}),
    _item(BAG, "magnesium", "magnesium", "50 mL", concentration={"value": "40", "unit": "mg"}, supplier="slow"),
    _item(CATHETER, "catheter", "supply", "1 each"),
    _item(
        BULK,
        "vitamin-c",
        "vitamin",
        "50 mL",
        concentration={"value": "500", "unit": "mg"},
        use="multi-dose",
        open_hours="4",
    ),
    _item(COMPLEX, "b-complex", "vitamin", "30 mL", use="multi-dose", open_hours="672"),
    _item(EPINEPHRINE, "epinephrine", "rescue", "1 mL"),
]
FILLED_BY = {
    "magnesium": [VIAL, BAG],
    "catheter": [CATHETER],
    "vitamin-c": [BULK],
    "b-complex": [COMPLEX],
    "epinephrine": [EPINEPHRINE],
}
POLICY = {
    "id": "standard",
    "name": "Standard",
    "service_level": "0.95",
    "review_period_days": 1,
    "critical_risk": "0.3",
    "resolve_margin": "0.5",
    "count_tolerance_containers": 1,
    "count_tolerance_fraction": "0.05",
    "keep_probability": [{"days": 0, "value": "0.95"}, {"days": 3, "value": "0.9"}, {"days": 14, "value": "0.8"}],
    "still_to_come": [{"days": 0, "value": "0.1"}, {"days": 7, "value": "0.5"}],
    "dispersion": "1.5",
}


def catalogue(*, per_day: str | None = None, **site: Any) -> Catalogue:
    """The clinic's catalogue. ``per_day``: sessions of ``infusion`` expected each weekday (none if absent);
    ``site`` replaces fields of the site."""
    lines = [
        {"id": "magnesium", "component": "magnesium", "route": "push", "dose": {"fixed": "2 g"}},
        {"id": "catheter", "component": "catheter", "route": "supply", "dose": {"fixed": "1 each"}},
        {"id": "vitamin", "component": "b-complex", "route": "push", "dose": {"fixed": "1 mL"}, "probability": "0.5"},
    ]
    weekdays = dict.fromkeys(("mon", "tue", "wed", "thu", "fri"), per_day)
    version = {"session_minutes": 60, "repeat": {"kind": "none"}}
    return Catalogue(
        Bundle.model_validate(
            {
                "version": "test-1",
                "groups": [{"id": g, "name": g} for g in ("magnesium", "supply", "vitamin", "rescue")],
                "components": [
                    {"id": component, "name": component, "kind": "drug", "filled_by": [{"item": i} for i in items]}
                    for component, items in FILLED_BY.items()
                ],
                "items": ITEMS,
                "kits": [],
                "line_kits": {},
                "protocols": [
                    {
                        "id": "infusion",
                        "name": "Infusion",
                        "versions": [
                            {**version, "version": 1, "effective_from": "2020-01-01", "lines": lines},
                            {**version, "version": 2, "effective_from": "2026-12-14", "lines": lines[:2]},
                        ],
                    }
                ],
                "suppliers": [
                    {"id": "acme", "name": "Acme", "lead_time_days": 2, "late_allowance_days": 1},
                    {"id": "slow", "name": "Slow", "lead_time_days": 9, "order_days": ["tue"]},
                ],
                "sites": [
                    {
                        "id": SITE,
                        "name": "North",
                        "timezone": "America/New_York",
                        "policy": "standard",
                        "first_stick_probability": "0.8",
                        "closed_on": ["2026-11-26"],
                        "expected_sessions": [{"protocol": "infusion", "per_day": weekdays}] if per_day else [],
                        **site,
                    }
                ],
                "policies": [POLICY],
            }
        )
    )


def profile(name: str, uses: Mapping[str, tuple[str, str]]) -> Profile:
    """A profile of (mean, variance) by item."""
    items = {
        item: Moments(Decimal(mean), Decimal(variance), Decimal(mean), Decimal(mean))
        for item, (mean, variance) in uses.items()
    }
    return Profile(name, "infusion", 1, "test-1", items)


def book(state: SiteState, day: date, used: Profile, n: int = 1, *, segment: str = "infusion", arrived: int = 0) -> int:
    """Book ``n`` more sessions on ``day`` (fewer if negative), ``arrived`` of all these. Returns the day's ordinal."""
    state.profiles[used.id] = used
    ordinal = day.toordinal()
    _add(state.demand[ordinal], (segment, used.id), n)
    _add(state.arrived[ordinal], used.id, arrived)
    return ordinal


def _add(counts: dict[Any, int], key: Any, n: int) -> None:
    counts[key] = counts.get(key, 0) + n
    if not counts[key]:
        del counts[key]


def receive(state: SiteState, item: str, lot: str, quantity: int, expiry: date, *, quarantined: bool = False) -> None:
    """Put a lot on the shelf."""
    state.stock.setdefault(item, ItemStock()).lots[lot] = Lot(lot, expiry, quantity, quarantined)


def order(
    state: SiteState, order_id: str, item: str, quantity: int, *, placed: date, promised: date | None = None
) -> Order:
    """Place an order at nine on a day."""
    made = Order(order_id, "acme", at(placed), {item: OrderLine(quantity)}, promised)
    state.orders[order_id] = made
    return made


def at(day: date, clock: str = "09:00") -> datetime:
    """An instant by the site's clock, in UTC."""
    return datetime.combine(day, time.fromisoformat(clock), ZONE).astimezone(UTC)
