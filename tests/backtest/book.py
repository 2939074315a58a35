"""A small log of both clinics of ``tests.plan.clinic``: bookings weeks and hours ahead, some cancelled, missed, walked
in, told days late or never told."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
import orjson

from planner.backtest.log import Event, read_log
from tests.plan.clinic import MONDAY, NORTH, SOUTH, at

FIRST = MONDAY
DAYS = 70


def event(kind: str, booking: str, version: int, when: datetime, **fields: Any) -> dict[str, Any]:
    """A booking event with an id of its own."""
    return {
        "type": f"booking.{kind}",
        "event_id": f"{booking}/{version}",
        "occurred_at": when,
        "booking_id": booking,
        "version": version,
        **fields,
    }


def booked(booking: str, when: datetime, start: datetime, site: str = NORTH, **more: Any) -> dict[str, Any]:
    """A session of ``infusion``."""
    return event("booked", booking, 1, when, site=site, protocol="infusion", start=start, **more)


def lines_of(events: Sequence[dict[str, Any]]) -> list[bytes]:
    return [orjson.dumps(one) for one in events]


def log_of(*events: dict[str, Any]) -> list[Event]:
    return read_log(lines_of(events))


def book(seed: int = 5, days: int = DAYS, sites: Sequence[str] = (NORTH, SOUTH)) -> list[dict[str, Any]]:
    """Events of ``days`` days of sessions, every day of the week."""
    rng = np.random.default_rng(seed)
    events: list[dict[str, Any]] = []
    for site in sites:
        for day in range(days):
            for number in range(int(rng.poisson(4))):
                events += _session(rng, f"{site}-{day}-{number}", site, day)
    last = at(FIRST + timedelta(days=days), "00:00")
    return sorted((e for e in events if e["occurred_at"] < last), key=lambda e: e["occurred_at"])


def _session(rng: np.random.Generator, name: str, site: str, day: int) -> list[dict[str, Any]]:
    start = at(day, f"{int(rng.integers(8, 16)):02}:00", site)
    ahead = float(rng.choice([0.05, 1, 3, 7, 14])) * rng.uniform(0.5, 1.5)
    made = max(start - timedelta(days=ahead), at(0, "06:00", site))
    events = [booked(name, made, start, site)]
    kind = rng.choice(["completed", "cancelled", "missed", "late", "untold"], p=[0.7, 0.12, 0.08, 0.07, 0.03])
    match str(kind):
        case "cancelled":
            events.append(event("cancelled", name, 2, made + (start - made) * rng.uniform()))
        case "missed":
            events.append(event("missed", name, 2, start + timedelta(hours=1)))
        case "completed":
            events.append(event("completed", name, 2, start + timedelta(hours=2)))
        case "late":
            events.append(event("completed", name, 2, start + timedelta(days=int(rng.integers(1, 6)))))
    return events


def day(number: int) -> date:
    """The day ``number`` days after the log's first."""
    return FIRST + timedelta(days=number)
