"""A world on real booking events: who came is as the log says, told as it was told."""

from __future__ import annotations

from datetime import date
from typing import Any

import orjson
import pytest

from planner.catalogue.index import Catalogue
from planner.simulation.clinic import SiteClinic, clinics_of
from planner.simulation.planner_policy import PlannerPolicy
from planner.simulation.real_book import RealBookings, read_bookings, real_book, with_real_items
from planner.simulation.world import Fate, SiteWorld
from tests.simulation.small import bundle, scenario

SITE = "harbor"
MONDAY = date(2026, 2, 2)


def event(booking: str, version: int, kind: str, at: str, **body: Any) -> bytes:
    return orjson.dumps(
        {
            "type": f"booking.{kind}",
            "event_id": f"{booking}/{version}",
            "occurred_at": f"2026-{at}:00-05:00",
            "source": "test",
            "booking_id": booking,
            "version": version,
            **body,
        }
    )


def booked(booking: str, at: str, start: str, protocol: str = "magnesium") -> bytes:
    return event(booking, 1, "booked", at, site=SITE, protocol=protocol, start=f"2026-{start}:00-05:00")


LOG = [
    booked("came", "01-20T10:00", "02-03T10:00"),
    event("came", 2, "arrived", "02-03T09:50"),
    event("came", 3, "completed", "02-03T11:00"),
    booked("moved", "02-02T10:00", "02-04T10:00"),
    event("moved", 2, "rescheduled", "02-03T10:00", start="2026-02-05T17:30:00-05:00"),
    event("moved", 3, "completed", "02-05T18:30"),
    booked("missed", "02-02T10:00", "02-04T11:00"),
    event("missed", 2, "missed", "02-04T12:00"),
    booked("cancelled", "02-02T10:00", "02-06T10:00"),
    event("cancelled", 2, "cancelled", "02-03T21:00"),
    booked("open", "02-02T10:00", "02-06T15:00"),
    booked("late", "02-04T19:00", "02-04T09:00"),
    event("late", 2, "completed", "02-04T19:05"),
    b'{"type": "stock.counted"}',
]


def real_clinic(log: list[bytes]) -> tuple[SiteClinic, RealBookings]:
    settings = scenario(clinic=None, sites={"sites": [SITE]}, horizon={"warm_up_days": 7, "days": 14})
    made = clinics_of(settings, bundle())[0]
    real = read_bookings(log, Catalogue(made.catalogue.bundle))
    with_first = settings.model_copy(update={"bookings": settings.bookings.model_copy(update={"first_day": MONDAY})})
    return with_real_items(clinics_of(with_first, bundle())[0], real), real


def test_sessions_are_those_that_took_place_on_their_last_day() -> None:
    made, real = real_clinic(LOG)
    book = Fate.draw(made, 1, lambda clinic, streams: real_book(clinic, real, streams)).book
    found = {session.booking_id: day for day, sessions in book.sessions.items() for session in sessions}
    assert found == {"came": 1, "moved": 3, "late": 2}
    for day, sessions in book.sessions.items():
        for session in sessions:
            before = [t.at for n in range(day + 1) for t in book.told.get(n, ()) if t.booking_id == session.booking_id]
            assert before, session.booking_id
            assert max(before) < session.ends


def test_events_are_told_when_they_were_known() -> None:
    made, real = real_clinic(LOG)
    book = Fate.draw(made, 1, lambda clinic, streams: real_book(clinic, real, streams)).book
    told = {(t.booking_id, orjson.loads(t.raw)["type"]): day for day, of_day in book.told.items() for t in of_day}
    assert told["came", "booking.booked"] == 0
    assert told["moved", "booking.rescheduled"] == 1
    assert told["cancelled", "booking.cancelled"] == 2  # in the evening: known on the next day
    assert told["missed", "booking.missed"] == 2
    assert ("came", "booking.arrived") not in told
    assert ("came", "booking.completed") not in told


def test_the_planner_takes_it_all() -> None:
    made, real = real_clinic(LOG)
    fate = Fate.draw(made, 1, lambda clinic, streams: real_book(clinic, real, streams))
    policy = PlannerPolicy(made)
    world = SiteWorld(fate)
    world.run(policy)
    state = policy.plan.sites[SITE]
    assert {b: state.bookings[b].status for b in ("came", "moved", "late", "missed", "cancelled")} == {
        "came": "used", "moved": "used", "late": "used", "missed": "withdrawn", "cancelled": "withdrawn",
    }  # fmt: skip
    used = {item for item, shelf in world.shelves.items() if shelf.used}
    assert any(item.startswith("magnesium") for item in used)
    assert used <= made.items.keys()


def test_sessions_that_the_catalogue_cannot_expand_are_counted() -> None:
    strange = [
        booked("strange", "02-02T10:00", "02-03T10:00", "nothing"),
        event("strange", 2, "completed", "02-03T11:00"),
    ]
    _, real = real_clinic([*LOG, *strange])
    assert real.refused == 1
    assert "strange" not in real.lines


@pytest.mark.parametrize("line", [b"{broken", b'{"type": "booking.booked"}', b"[1]"])
def test_a_faulty_line_is_told_by_number(line: bytes) -> None:
    with pytest.raises(ValueError, match=r"line 2: .*expected a booking event"):
        read_bookings([LOG[0], line], Catalogue(bundle()))
