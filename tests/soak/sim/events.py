"""What the booking system and the pharmacy of two small clinics tell, drawn from a seed: mostly sense."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from typing import Any, Final

from tests.plan.clinic import CATHETER, MAGNESIUM, NORTH, SOUTH, VITAMIN

Told = tuple[str, dict[str, Any]]
"""Topic and event."""

ITEMS: Final = (MAGNESIUM, CATHETER, VITAMIN)
_BOOKINGS: Final = tuple(f"b{n}" for n in range(9))
_ALERTS: Final = ("reorder", "stock-out")
_AFTER: Final = ("rescheduled", "rescheduled", "amended", "arrived", "completed", "missed", "cancelled", "booked")
_ACTIONS: Final = ("alert.acknowledged", "alert.ordered", "alert.closed", "alert.snoozed")


class Desk:
    """Writes events about bookings, stock, orders and alerts of both sites as virtual time passes."""

    def __init__(self, chance: random.Random, now: datetime) -> None:
        self.chance = chance
        self.now = now
        self.versions: dict[str, int] = {}
        self.number = 0

    def pass_time(self, *, leap: bool = False) -> None:
        """Minutes or hours go by; ``leap``: more days than anything is remembered for."""
        hours = self.chance.expovariate(0.7)
        self.now += timedelta(days=40) if leap else timedelta(minutes=round(60 * hours) + 1)

    def event(self) -> Told:
        """The next event."""
        kinds = (self._booking,) * 9 + (self._stock,) * 6 + (self._order,) * 3 + (self._action,)
        return self.chance.choice(kinds)()

    def _event(self, kind: str, **fields: Any) -> dict[str, Any]:
        self.number += 1
        late = timedelta(hours=self.chance.choice((0, 0, 0, 0, 2, 30)))
        return {
            "type": kind,
            "event_id": f"e{self.number}",
            "occurred_at": self.now - late,
            "source": self.chance.choice(("web", "desk", "a+b")),
            **{name: value for name, value in fields.items() if value is not None},
        }

    # --- bookings ---

    def _booking(self) -> Told:
        chance, booking = self.chance, self.chance.choice(_BOOKINGS)
        version = self.versions.get(booking, 0)
        if version:
            kind = chance.choice(_AFTER)
            version += chance.choice((1, 1, 1, 1, 1, 1, 2, 0, -1))
        else:
            # now and then the cancellation comes first
            kind = chance.choice(("booked",) * 9 + ("cancelled", "completed"))
            version = chance.choice((1, 1, 1, 5)) if kind == "booked" else 3
        self.versions[booking] = max(version, self.versions.get(booking, 0))
        fields: dict[str, Any] = {"booking_id": booking, "version": max(version, 1)}
        if kind in {"booked", "rescheduled"}:
            days = chance.choice((-1, 0, 0, 1, 1, 2, 5, 9, 100, 900))
            fields["start"] = self.now + timedelta(days=days, hours=chance.randrange(8))
            fields["site"] = chance.choice((NORTH, NORTH, NORTH, SOUTH, SOUTH, "atlantis"))
            if kind == "rescheduled" and chance.random() < 0.4:
                del fields["site"]
        if kind in {"booked", "amended"}:
            fields["protocol"] = chance.choice(("infusion",) * 6 + ("ketamine", "ketamine", "leeches"))
            fields["parameters"] = (
                {} if chance.random() < 0.3 else {"weight_kg": chance.choice(("50", "80", "80", "90", "900"))}
            )
            if chance.random() < 0.15:
                fields["overrides"] = [chance.choice(_OVERRIDES)]
            if kind == "booked":
                fields["series_id"] = chance.choice((None, None, "s1", "s2"))
        if kind == "completed" and chance.random() < 0.4:
            fields["actual_use"] = chance.choice(_USES)
        return "bookings", self._event(f"booking.{kind}", **fields)

    # --- stock and orders ---

    def _site(self) -> tuple[str, str]:
        site = self.chance.choice((NORTH, SOUTH))
        return site, SOUTH if site == NORTH else NORTH

    def _stock(self) -> Told:
        chance = self.chance
        item, lot, some = chance.choice(ITEMS), chance.choice(("L1", "L2")), chance.randrange(1, 30)
        site, other = self._site()
        named = chance.choice((None, None, lot))
        here = {"site": site, "item": item}
        expiry = {"L1": "2028-01-01", "L2": chance.choice(("2026-11-19", "2026-12-24"))}[lot]
        order = chance.choice((None, None, None, "o1"))
        made: list[Told] = [
            ("stock.received", {"lot": lot, "expiry": expiry, "quantity": some, "order_id": order}),
            ("stock.received", {"lot": lot, "expiry": expiry, "quantity": some}),
            ("stock.received", {"lot": lot, "expiry": expiry, "quantity": some}),
            ("stock.counted", {"lots": [{"lot": lot, "quantity": chance.randrange(40)}]}),
            ("stock.dispensed", {"quantity": some, "lot": named}),
            ("stock.dispensed", {"item": VITAMIN, "volume_ml": str(chance.choice((1, 7.5, 40)))}),
            ("stock.wasted", {"quantity": 1, "reason": chance.choice(_REASONS), "witness": "w", "lot": named}),
            ("stock.transferred-out", {"quantity": 1, "to_site": other, "lot": named}),
            ("stock.transferred-in", {"quantity": 1, "from_site": other, "lot": lot, "expiry": expiry}),
            ("stock.quarantined", {"lot": lot, "released": chance.random() < 0.5}),
        ]
        kind, fields = chance.choice(made)
        return "stock", self._event(kind, **(here | fields))

    def _order(self) -> Told:
        chance = self.chance
        site, _ = self._site()
        here = {"site": site, "order_id": chance.choice(("o1", "o2", "o3"))}
        line = {"item": chance.choice(ITEMS), "quantity": chance.choice((5, 25))}
        day = self.now.date()
        made: list[Told] = [
            ("order.placed", here | {"supplier": "acme", "lines": [line]}),
            ("order.placed", here | {"supplier": "acme", "lines": [line]}),
            ("order.confirmed", here | {"promised": day + timedelta(days=chance.randrange(4))}),
            ("order.delivered", here | {"lines": [{**line, "lot": "L1", "expiry": "2028-01-01"}]}),
            ("order.cancelled", here),
            (
                "supply.announced",
                {"site": site, "supplier": "acme", "first_day": day, "last_day": day + timedelta(days=20),
                 "share": chance.choice(("0.5", "1"))},
            ),
        ]  # fmt: skip
        kind, fields = chance.choice(made)
        return "orders", self._event(kind, **fields)

    def _action(self) -> Told:
        chance = self.chance
        site, _ = self._site()
        alert = f"{site}/{chance.choice(ITEMS)}/{chance.choice(_ALERTS)}/{chance.choice((1, 1, 2))}"
        what = chance.choice(_ACTIONS)
        until = (self.now + timedelta(days=2)).date() if what == "alert.snoozed" else None
        return "alert-actions", self._event(what, site=site, alert_id=alert, by="pharmacist", until=until)


_REASONS: Final = ("broken", "recalled", "open-expired")
_OVERRIDES: Final[tuple[dict[str, Any], ...]] = (
    {"change": "add", "component": "magnesium", "dose": "3 mL"},
    {"change": "remove", "line": "vitamin"},
    {"change": "change", "line": "magnesium", "dose": "9 mL"},
    {"change": "remove", "line": "champagne"},
)
_USES: Final[tuple[list[dict[str, Any]], ...]] = (
    [{"item": MAGNESIUM, "containers": "3"}, {"item": VITAMIN, "volume_ml": "7"}],
    [{"item": CATHETER, "containers": "2"}],
    [{"item": MAGNESIUM, "volume_ml": "1"}],
    [],
)
