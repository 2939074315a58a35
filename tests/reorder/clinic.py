"""A small clinic for the tests of reordering, and outlooks built by hand from a few figures per item."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from planner.catalogue.index import Catalogue
from planner.catalogue.model import Bundle
from planner.forecast.outlook import ExpiringLot, Need, Outlook
from planner.forecast.quantiles import survival
from planner.site.state import BookingEntry, ItemStock, Lot, Moments, Order, OrderLine, Profile, SiteState

SITE = "north"
ZONE = ZoneInfo("America/New_York")
DAYS = 90
MONDAY = date(2026, 11, 16)

MAGNESIUM, EPTINEZUMAB, KETAMINE, EPINEPHRINE, CATHETER, VITAMIN = (
    "magnesium-vial",
    "eptinezumab-vial",
    "ketamine-vial",
    "epinephrine-vial",
    "catheter",
    "vitamin-vial",
)


def _item(item: str, supplier: str, content: str, pack: int, **more: Any) -> dict[str, Any]:
    return {
        "id": item,
        "name": item.replace("-", " ").capitalize(),
        "group": "all",
        "component": item.removesuffix("-vial"),
        "content": content,
        "pack": {"containers": pack},
        "shelf_life_days": 700,
        "supplier": supplier,
        **more,
    }


ITEMS: list[dict[str, Any]] = [
    _item(MAGNESIUM, "acme", "2 mL", 25, price="3"),
    _item(EPTINEZUMAB, "biologics", "1 mL", 1, price="500"),
    _item(KETAMINE, "acme", "20 mL", 10, price="8", controlled_schedule="III"),
    _item(EPINEPHRINE, "acme", "1 mL", 1, price="10", minimum_order=5),
    _item(CATHETER, "acme", "1 each", 50, price="1", multiple=100),
    _item(VITAMIN, "biologics", "30 mL", 1, use="multi-dose", open_hours="672", lead_time_days=7),
]


def bundle(**policy: Any) -> Bundle:
    """The catalogue of the clinic; ``policy`` replaces figures of its policy."""
    standard = {
        "id": "standard",
        "name": "Standard",
        "service_level": "0.95",
        "review_period_days": 1,
        "critical_risk": "0.3",
        "resolve_margin": "0.5",
        "count_tolerance_containers": 1,
        "count_tolerance_fraction": "0.05",
        "overdue_grace_days": 1,
        "keep_probability": [{"days": 0, "value": "0.95"}, {"days": 3, "value": "0.9"}, {"days": 14, "value": "0.8"}],
        "still_to_come": [{"days": 0, "value": "0.1"}, {"days": 7, "value": "0.5"}],
        "dispersion": "1.5",
        **policy,
    }
    components = [
        {"id": i["component"], "name": i["component"], "kind": "drug", "filled_by": [{"item": i["id"]}]} for i in ITEMS
    ]
    protocols = [
        {
            "id": "infusion",
            "name": "Infusion",
            "versions": [
                {
                    "version": 1,
                    "effective_from": "2020-01-01",
                    "session_minutes": 60,
                    "repeat": {"kind": "none"},
                    "lines": [
                        {"id": "magnesium", "component": "magnesium", "route": "push", "dose": {"fixed": "4 mL"}},
                        {"id": "catheter", "component": "catheter", "route": "supply", "dose": {"fixed": "1 each"}},
                        {"id": "vitamin", "component": "vitamin", "route": "push", "dose": {"fixed": "2 mL"}},
                    ],
                }
            ],
        }
    ]
    return Bundle.model_validate(
        {
            "version": "test-1",
            "groups": [{"id": "all", "name": "All"}],
            "components": components,
            "items": ITEMS,
            "kits": [],
            "line_kits": {},
            "protocols": protocols,
            "suppliers": [
                {
                    "id": "acme",
                    "name": "Acme",
                    "lead_time_days": 3,
                    "minimum_order_value": "100",
                },
                {
                    "id": "biologics",
                    "name": "Biologics",
                    "lead_time_days": 4,
                    "order_days": ["tue", "fri"],
                    "cutoff": "12:00",
                },
            ],
            "sites": [
                {
                    "id": SITE,
                    "name": "North",
                    "timezone": "America/New_York",
                    "policy": "standard",
                    "first_stick_probability": "0.8",
                    "closed_on": ["2026-11-26"],
                    "par_stock": [{"component": "epinephrine", "quantity": 3}],
                    "expected_sessions": [
                        {
                            "protocol": "infusion",
                            "per_day": {"mon": "4", "tue": "4", "wed": "4", "thu": "4", "fri": "4"},
                        }
                    ],
                }
            ],
            "policies": [standard],
        }
    )


def catalogue(**policy: Any) -> Catalogue:
    return Catalogue(bundle(**policy))


def at(day: date, clock: str = "09:00") -> datetime:
    """An instant by the site's clock, in UTC."""
    return datetime.combine(day, time.fromisoformat(clock), ZONE).astimezone(UTC)


def stock(state: SiteState, item: str, quantity: int, lot: str = "L1", expiry: date = date(2028, 1, 1)) -> None:
    """Put so many containers of a lot on the shelf, instead of what was there of it."""
    state.stock.setdefault(item, ItemStock()).lots[lot] = Lot(lot, expiry, quantity)


def order(
    state: SiteState, order_id: str, item: str, quantity: int, placed: datetime, *, promised: date | None = None
) -> Order:
    """Place an order."""
    supplier = next(i["supplier"] for i in ITEMS if i["id"] == item)
    placed_order = Order(order_id, supplier, placed, {item: OrderLine(quantity)}, promised)
    state.orders[order_id] = placed_order
    return placed_order


def book(state: SiteState, booking_id: str, start: datetime, uses: Mapping[str, str], status: Any = "booked") -> None:
    """A booked session that uses so many containers (mL of multi-dose items), for certain."""
    day = start.astimezone(ZONE).date().toordinal()
    profile_id = ",".join(f"{item}={use}" for item, use in sorted(uses.items()))
    state.profiles[profile_id] = Profile(
        profile_id,
        "infusion",
        1,
        "test-1",
        {item: Moments(Decimal(use), Decimal(0), Decimal(use), Decimal(use)) for item, use in uses.items()},
    )
    unbook(state, booking_id)
    entry = BookingEntry(1, day, int(start.timestamp()), "infusion", profile_id, status)
    state.bookings[booking_id] = entry
    state.by_day[day].add(booking_id)
    counts = state.demand[day]
    counts["infusion", profile_id] = counts.get(("infusion", profile_id), 0) + 1
    if status == "arrived":
        state.arrived[day][profile_id] = state.arrived[day].get(profile_id, 0) + 1


def unbook(state: SiteState, booking_id: str) -> None:
    """Cancel a booked session, if there is one of this id."""
    entry = state.bookings.pop(booking_id, None)
    if entry is not None:
        state.by_day[entry.day].discard(booking_id)
        state.demand[entry.day]["infusion", entry.profile] -= 1


def outlook(
    state: SiteState,
    today: date,
    need: Mapping[str, float | Sequence[float]],
    *,
    dispersion: float = 1.0,
    expiring: Mapping[str, Sequence[ExpiringLot]] | None = None,
    items: Sequence[str] = tuple(sorted(i["id"] for i in ITEMS)),
) -> Outlook:
    """An outlook written down: need per day (a figure for all days, or one per day), stock on hand, orders by the
    promised day (else three days after they were placed). Lots do not expire in it."""
    mean = np.zeros((len(items), DAYS))
    supply = np.zeros((len(items), DAYS))
    for row, item in enumerate(items):
        per_day = need.get(item, 0.0)
        daily = [per_day] * DAYS if isinstance(per_day, int | float) else [*per_day, *[0.0] * DAYS][:DAYS]
        mean[row] = daily
        shelf = state.stock.get(item, ItemStock())
        usable = sum(lot.quantity for lot in shelf.lots.values() if lot.expiry >= today and not lot.quarantined)
        par = 3 if item == EPINEPHRINE else 0
        supply[row] = usable - shelf.deficit - par
        for placed in state.orders.values():
            if placed.status == "open" and item in placed.lines:
                due = placed.promised or placed.placed_at.astimezone(ZONE).date() + timedelta(days=3)
                supply[row, max((due - today).days, 0) :] += placed.lines[item].outstanding
    cumulative = mean.cumsum(axis=1)
    variance = cumulative * dispersion
    zero = np.zeros_like(mean)
    return Outlook(
        need=Need(today, tuple(items), mean, mean * dispersion, zero, zero),
        supply=supply,
        cumulative_mean=cumulative,
        cumulative_variance=variance,
        risk=survival(cumulative, variance, supply),
        expiring=tuple(tuple((expiring or {}).get(item, ())) for item in items),
    )
