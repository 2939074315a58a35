"""An event of every type on every topic, in which nothing is wrong: what the mutators begin with."""

from __future__ import annotations

from typing import Any, Final

import orjson

from planner.catalogue.index import Catalogue
from tests.plan.clinic import CATHETER, KETAMINE, MAGNESIUM, NORTH, SOUTH, VITAMIN, Desk, at, bundle

AT: Final = "2026-11-16T14:00:00Z"
CATALOGUE: Final = bundle()

Json = dict[str, Any]


def _event(kind: str, **fields: Any) -> Json:
    return {"schema_version": 1, "type": kind, "event_id": "e1", "occurred_at": AT, "source": "fuzz", **fields}


def _booking(kind: str, **fields: Any) -> Json:
    return _event(f"booking.{kind}", booking_id="b1", version=1, **fields)


_WANTED: Final[Json] = {
    "protocol": "infusion",
    "parameters": {"weight_kg": "80", "hours": "2"},
    "overrides": [
        {"change": "add", "component": "ketorolac", "dose": "1 mL", "probability": "0.5"},
        {"change": "change", "line": "magnesium", "dose": {"value": "3", "unit": "mL"}},
        {"change": "remove", "line": "vitamin"},
    ],
}
_START: Final = "2026-11-19T15:00:00Z"
_HERE: Final[Json] = {"site": NORTH, "item": MAGNESIUM}
_LOT: Final[Json] = {"lot": "L1", "expiry": "2028-01-01", "quantity": 20}
_ORDER: Final[Json] = {"site": NORTH, "order_id": "o1"}
_LINE: Final[Json] = {"item": MAGNESIUM, "quantity": 25}
_ALERT: Final[Json] = {"site": NORTH, "alert_id": f"{NORTH}/{MAGNESIUM}/reorder/1", "by": "p", "note": "n"}
_DESK: Final = Desk(NORTH, Catalogue(CATALOGUE))

TEMPLATES: Final[dict[str, list[Json]]] = {
    "bookings": [
        _booking("booked", site=NORTH, start=_START, series_id="s1", **_WANTED),
        _booking("rescheduled", site=SOUTH, start=_START),
        _booking("amended", **_WANTED),
        _booking("cancelled", reason="ill"),
        _booking("arrived"),
        _booking(
            "completed", actual_use=[{"item": CATHETER, "containers": "2"}, {"item": VITAMIN, "volume_ml": "2.5"}]
        ),
        _booking("missed"),
    ],
    "stock": [
        _event("stock.received", **_HERE, **_LOT, order_id="o1"),
        _event("stock.received", **_HERE, **_LOT),
        _event("stock.counted", **_HERE, lots=[{"lot": "L1", "quantity": 7}]),
        _event("stock.dispensed", **_HERE, quantity=3, lot="L1"),
        _event("stock.dispensed", site=SOUTH, item=VITAMIN, volume_ml="7.5", booking_id="b1"),
        _event("stock.wasted", site=NORTH, item=KETAMINE, quantity=1, reason="broken", witness="w"),
        _event("stock.transferred-out", **_HERE, quantity=1, to_site=SOUTH),
        _event("stock.transferred-in", **_HERE, **_LOT, from_site=SOUTH),
        _event("stock.quarantined", **_HERE, lot="L1", released=False, reason="recall"),
    ],
    "orders": [
        _event("order.placed", **_ORDER, supplier="acme", lines=[_LINE]),
        _event("order.confirmed", **_ORDER, promised="2026-11-18", lines=[_LINE]),
        _event("order.delivered", **_ORDER, lines=[{"item": MAGNESIUM, **_LOT}], complete=False),
        _event("order.cancelled", **_ORDER),
        _event(
            "supply.announced", site=NORTH, supplier="acme", item=MAGNESIUM, first_day="2026-11-16",
            last_day="2026-12-16", share="0.6",
        ),
    ],
    "alert-actions": [
        _event("alert.acknowledged", **_ALERT),
        _event("alert.snoozed", **_ALERT, until="2026-11-20", until_worse=True),
        _event("alert.ordered", **_ALERT, order_id="o1"),
        _event("alert.closed", **_ALERT),
    ],
    "clock": [_event("clock.ticked", now=AT)],
    "requirements": [
        orjson.loads(_DESK.stated("b1", at(3), at(0), series=True, booked_on="2026-11-10", source="w", series_id="s")),
        orjson.loads(orjson.dumps(_DESK.withdrawn("b1", at(0)))),
        orjson.loads(orjson.dumps(_DESK.used("b1", at(0), [{"item": MAGNESIUM, "containers": "3"}]))),
    ],
    "catalogue": [CATALOGUE.model_dump(mode="json")],
}  # fmt: skip
"""Topic → events of all its types."""
