"""Two small clinics for the tests of the plan step, and events about them.

``north`` takes stock by completions, ``south`` by dispenses, in another time zone. Sessions of ``infusion`` take two
magnesium vials, a catheter (a second one now and then), 2 mL of a multi-dose vitamin, and perhaps ketorolac.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import orjson

from planner.catalogue.digest import version_of
from planner.catalogue.index import Catalogue
from planner.catalogue.model import Bundle
from planner.events.bookings import Parameters
from planner.expansion.expand import Expansion, expand

NORTH, SOUTH = "north", "south"
ZONES = {NORTH: ZoneInfo("America/New_York"), SOUTH: ZoneInfo("Europe/Berlin")}
MONDAY = date(2026, 11, 16)
MAGNESIUM, KETAMINE, KETOROLAC, CATHETER, VITAMIN = (
    "magnesium-vial",
    "ketamine-vial",
    "ketorolac-vial",
    "catheter",
    "vitamin-vial",
)
WEEK = ("mon", "tue", "wed", "thu", "fri")


def _item(item: str, supplier: str, content: str, pack: int, **more: Any) -> dict[str, Any]:
    return {
        "id": item,
        "name": item.replace("-", " ").capitalize(),
        "group": "supplies" if item == CATHETER else "drugs",
        "component": item.removesuffix("-vial"),
        "content": content,
        "pack": {"containers": pack},
        "shelf_life_days": 700,
        "supplier": supplier,
        **more,
    }


ITEMS: list[dict[str, Any]] = [
    _item(MAGNESIUM, "acme", "2 mL", 25, price="3"),
    _item(KETAMINE, "acme", "20 mL", 10, price="8", controlled_schedule="III"),
    _item(KETOROLAC, "acme", "1 mL", 25, price="2"),
    _item(CATHETER, "acme", "1 each", 50, price="1"),
    _item(VITAMIN, "biologics", "30 mL", 1, use="multi-dose", open_hours="48", price="20"),
]


def _lines(magnesium: str) -> list[dict[str, Any]]:
    return [
        {"id": "magnesium", "component": "magnesium", "route": "push", "dose": {"fixed": magnesium}},
        {"id": "vitamin", "component": "vitamin", "route": "push", "dose": {"fixed": "2 mL"}},
        {"id": "ketorolac", "component": "ketorolac", "route": "push", "dose": {"fixed": "1 mL"}, "probability": "0.3"},
    ]


def _protocol(protocol: str, lines: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    version = {
        "version": 1,
        "effective_from": "2020-01-01",
        "session_minutes": 60,
        "repeat": {"kind": "none"},
        "lines": lines,
        "session_kits": ["access"],
        **more,
    }
    return {"id": protocol, "name": protocol.capitalize(), "versions": [version]}


def bundle(*, service_level: str = "0.95", magnesium: str = "4 mL", sites: tuple[str, ...] = (NORTH, SOUTH)) -> Bundle:
    """The catalogue of both clinics."""
    policy = {
        "id": "standard",
        "name": "Standard",
        "service_level": service_level,
        "review_period_days": 1,
        "critical_risk": "0.3",
        "resolve_margin": "0.5",
        "count_tolerance_containers": 1,
        "count_tolerance_fraction": "0.05",
        "overdue_grace_days": 1,
        "keep_probability": [{"days": 0, "value": "0.95"}, {"days": 3, "value": "0.9"}, {"days": 14, "value": "0.8"}],
        "still_to_come": [{"days": 0, "value": "0.1"}, {"days": 7, "value": "0.5"}],
        "dispersion": "1.5",
    }
    acme = {"id": "acme", "name": "Acme", "lead_time_days": 2, "late_allowance_days": 1}
    biologics = {"id": "biologics", "name": "Biologics", "lead_time_days": 4, "cutoff": "12:00"}
    every = [{"protocol": "infusion", "per_day": dict.fromkeys(WEEK, "2")}]
    places = [
        {"id": NORTH, "timezone": "America/New_York", "expected_sessions": every},
        {"id": SOUTH, "timezone": "Europe/Berlin", "consumption": "dispensed"},
    ]
    content = {
        "version": "to-be-computed",
        "groups": [{"id": "drugs", "name": "Drugs"}, {"id": "supplies", "name": "Supplies"}],
        "components": [
            {
                "id": item["component"],
                "name": item["component"],
                "kind": "supply" if item["component"] == CATHETER else "drug",
                "filled_by": [{"item": item["id"]}],
            }
            for item in ITEMS
        ],
        "items": ITEMS,
        "kits": [
            {
                "id": "access",
                "name": "Access",
                "supplies": [{"component": CATHETER, "quantity": 1, "extra_probability": "0.2"}],
            }
        ],
        "line_kits": {},
        "protocols": [
            _protocol("infusion", _lines(magnesium)),
            _protocol(
                "ketamine",
                [{"id": "ketamine", "component": "ketamine", "route": "push", "dose": {"per_kg": "0.1 mL"}}],
                parameters=["weight_kg"],
            ),
        ],
        "suppliers": [acme, biologics],
        "sites": [
            {"name": place["id"], "policy": "standard", "first_stick_probability": "0.8", **place}
            for place in places
            if place["id"] in sites
        ],
        "policies": [policy],
    }
    made = Bundle.model_validate(content)
    return made.model_copy(update={"version": version_of(made)})


def at(day: date | int, clock: str = "09:00", site: str = NORTH) -> datetime:
    """An instant by a site's clock, in UTC; a number: so many days after ``MONDAY``."""
    day = MONDAY + timedelta(days=day) if isinstance(day, int) else day
    return datetime.combine(day, time.fromisoformat(clock), ZONES[site]).astimezone(UTC)


def tick(now: datetime) -> dict[str, Any]:
    return {"type": "clock.ticked", "event_id": f"tick/{now.isoformat()}", "occurred_at": now, "now": now}


class Desk:
    """Writes events with ids of their own, one site's."""

    def __init__(self, site: str = NORTH, catalogue: Catalogue | None = None) -> None:
        self.site = site
        self.catalogue = catalogue or Catalogue(bundle())
        self.number = 0
        self.revisions: dict[str, int] = {}

    def event(self, kind: str, when: datetime, **fields: Any) -> dict[str, Any]:
        self.number += 1
        return {
            "type": kind,
            "event_id": f"{self.site}-{kind}-{self.number}",
            "occurred_at": when,
            "site": self.site,
            **fields,
        }

    def expansion(self, protocol: str, day: date, weight_kg: str | None = None) -> Expansion:
        version = self.catalogue.protocol_version(protocol, day)
        assert version is not None
        parameters = Parameters.model_validate({} if weight_kg is None else {"weight_kg": weight_kg})
        return expand(self.catalogue, self.site, protocol, version, parameters, ())

    def _requirement(
        self, kind: str, booking: str, when: datetime, revision: int | None, **fields: Any
    ) -> dict[str, Any]:
        if revision is None:
            revision = self.revisions.get(booking, 0) + 1
        self.revisions[booking] = max(revision, self.revisions.get(booking, 0))
        return {
            "type": f"requirement.{kind}",
            "booking_id": booking,
            "revision": revision,
            "booking_version": revision,
            "site": self.site,
            "event_id": f"{booking}-{revision}",
            "occurred_at": when,
            **fields,
        }

    def stated(
        self,
        booking: str,
        start: datetime,
        when: datetime,
        *,
        protocol: str = "infusion",
        weight_kg: str | None = None,
        status: str = "booked",
        series: bool = False,
        revision: int | None = None,
        **more: Any,
    ) -> bytes:
        """A statement as ``expand`` writes it: the lines at its end, spliced in."""
        day = start.astimezone(ZONES[self.site]).date()
        expansion = self.expansion(protocol, day, weight_kg)
        body = self._requirement(
            "stated",
            booking,
            when,
            revision,
            status=status,
            protocol=protocol,
            protocol_version=1,
            catalogue_version=self.catalogue.version,
            start=start,
            day=day,
            series=series,
            **more,
            expansion_id=expansion.expansion_id,
        )
        return orjson.dumps(body)[:-1] + b',"lines":' + expansion.lines_json + b"}"

    def withdrawn(self, booking: str, when: datetime, reason: str = "cancelled", revision: int | None = None) -> Any:
        return self._requirement("withdrawn", booking, when, revision, reason=reason)

    def used(self, booking: str, when: datetime, actual: Any = None, revision: int | None = None) -> Any:
        more = {} if actual is None else {"actual_use": actual}
        return self._requirement("used", booking, when, revision, **more)

    def received(self, when: datetime, item: str, quantity: int, lot: str = "L1", expiry: str = "2028-01-01") -> Any:
        return self.event("stock.received", when, item=item, lot=lot, expiry=expiry, quantity=quantity)
