"""What a site learns of who comes, told as events tell it: hooks, day ends, and the table in between."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta

import pytest

from planner.catalogue.index import Catalogue
from planner.catalogue.model import Bundle
from planner.site.bookings import state_requirement, use_requirement, withdraw_requirement
from planner.site.daily import pass_time
from planner.site.entries import restore_sites, take_writes
from planner.site.segment import series_key
from planner.site.state import Profile, SiteState
from planner.site.touched import Touched
from tests.learning.messages import stated, used, withdrawn
from tests.plan.clinic import MONDAY, bundle

WEEKLY = {"kind": "every", "days": 7}


def catalogue() -> Catalogue:
    content = bundle().model_dump(mode="json")
    for protocol in content["protocols"]:
        protocol["versions"][0]["repeat"] = WEEKLY
    return Catalogue(Bundle.model_validate(content))


class Clinic:
    """A site, its table, and the clock."""

    def __init__(self) -> None:
        self.catalogue = catalogue()
        self.state, self.touched = SiteState("north"), Touched()
        self.table: dict[bytes, bytes] = {}
        self.day = MONDAY
        self.revisions: dict[str, int] = {}
        self.tick(0)

    def tick(self, days: int = 1) -> None:
        for _ in range(max(days, 1)):
            self.day += timedelta(days=min(days, 1))
            pass_time(self.state, self.catalogue, self.day, datetime.combine(self.day, time(12), UTC), self.touched)

    def _revision(self, booking: str) -> int:
        self.revisions[booking] = self.revisions.get(booking, 0) + 1
        return self.revisions[booking]

    def book(self, booking: str, day: date, *, source: str = "web", series: str | None = None) -> None:
        message = stated(
            booking, day, revision=self._revision(booking), booked_on=self.day, source=source, series_id=series
        )
        start_s = int(message.start.timestamp())
        assert state_requirement(self.state, message, Profile("p", "infusion", 1, "c", {}), self.touched, start_s)

    def lose(self, booking: str, reason: str) -> None:
        assert withdraw_requirement(
            self.state, withdrawn(booking, reason, revision=self._revision(booking)), self.touched
        )

    def complete(self, booking: str) -> None:
        assert use_requirement(self.state, used(booking, revision=self._revision(booking)), self.touched)[0]

    def write(self) -> None:
        for key, value in take_writes(self.state, self.touched):
            if value is None:
                self.table.pop(key, None)
            else:
                self.table[key] = value

    def restart(self) -> None:
        self.write()
        before = self.state
        self.state, self.touched = restore_sites(self.table.items())["north"], Touched()
        assert self.state == before

    @property
    def booked_today(self) -> int:
        return sum(sum(of_day.values()) for of_day in self.state.learned.running.new.values())


def lost(clinic: Clinic) -> dict[str, int]:
    return {kind: sum(counts.values()) for kind, counts in clinic.state.learned.losses.counts.items()}


def test_each_end_of_a_booking_is_what_it_is() -> None:
    clinic = Clinic()
    days = [clinic.day + timedelta(days=n) for n in (1, 2, 3, 4, 0)]
    for n, day in enumerate(days):
        clinic.book(f"b{n}", day)
    clinic.tick()
    assert lost(clinic) == {"lost": 0, "missed": 0}
    clinic.lose("b3", "cancelled")
    assert lost(clinic) == {"lost": 1, "missed": 0}
    clinic.lose("b2", "moved")
    assert lost(clinic) == {"lost": 2, "missed": 0}
    clinic.lose("b0", "missed")
    clinic.lose("b4", "cancelled")  # its day is over: nobody came
    assert lost(clinic) == {"lost": 2, "missed": 2}
    clinic.book("b1", days[1])  # stated again, as it was
    assert lost(clinic) == {"lost": 2, "missed": 2}
    clinic.book("b1", days[3])
    assert lost(clinic) == {"lost": 3, "missed": 2}
    clinic.complete("b1")
    assert lost(clinic) == {"lost": 3, "missed": 2}
    clinic.restart()
    clinic.tick()
    assert lost(clinic) == {"lost": 0, "missed": 0}


def test_a_source_whose_bookings_are_lost_more_often_is_found_through_the_events() -> None:
    clinic, chance = Clinic(), random.Random(5)
    live: dict[str, tuple[date, str]] = {}
    for n in range(160):
        for k in range(12):
            source = chance.choice(("web", "desk"))
            live[f"{n}-{k}"] = (clinic.day + timedelta(days=12), source)
            clinic.book(f"{n}-{k}", clinic.day + timedelta(days=12), source=source)
        for booking, (day, source) in list(live.items()):
            if chance.random() < (0.03 if source == "web" else 0.01):
                clinic.lose(booking, "cancelled")
            elif day == clinic.day:
                clinic.complete(booking)
            else:
                continue
            del live[booking]
        clinic.tick()
    keep = clinic.state.learned.keep
    web, desk = "infusion+new+4-13+web", "infusion+new+4-13+desk"
    assert {segment for counts in clinic.state.demand.values() for segment, _ in counts} == {web, desk}
    assert keep.loss_factor(web, 2) / keep.loss_factor(desk, 2) == pytest.approx(3.0, rel=0.3)
    assert keep.miss_factor(web, 2) == 1.0


def test_what_a_series_books_is_counted_once() -> None:
    clinic = Clinic()
    clinic.tick()
    clinic.book("first", clinic.day + timedelta(days=2), series="s")
    assert clinic.booked_today == 1
    clinic.tick(2)
    implied = clinic.state.learned.series.implied("infusion", clinic.day, 14).mean
    assert 0.4 < implied.sum() < 1.0
    assert implied.argmax() == 7
    clinic.complete("first")
    day = clinic.day + timedelta(days=7)
    clinic.book("second", day, series="s")
    assert clinic.booked_today == 0
    assert clinic.state.learned.continued.on(day.toordinal()) == {"p": 1}
    clinic.restart()
    clinic.book("third", day + timedelta(days=7), series="s")
    clinic.book("other", day, series="another")
    clinic.book("single", day)
    assert clinic.booked_today == 3
    clinic.tick()
    assert clinic.state.learned.continued.first == {}
    ahead = clinic.state.learned.series.implied("infusion", clinic.day, 13).mean
    # of the series: nothing before it has taken its sessions; of the other: nothing before its first
    assert ahead[:7].sum() == 0


def test_a_session_told_late_is_of_its_own_day() -> None:
    clinic = Clinic()
    clinic.tick()
    clinic.book("first", clinic.day + timedelta(days=1), series="s")
    clinic.tick()
    held = clinic.day
    clinic.tick(2)
    clinic.complete("first")
    clinic.tick()
    known = clinic.state.learned.series.known[series_key("s")]
    assert (known.last, known.number, known.waits) == (held.toordinal(), 1, True)


def _happenings(chance: random.Random, clinic: Clinic, live: dict[str, date], number: int) -> Iterator[None]:
    """Random things of one day."""
    for k in range(4):
        booking = f"{number}-{k}"
        day = clinic.day + timedelta(days=chance.choice((0, 1, 2, 7, 7, 8, 20)))
        series = chance.choice((None, *(f"s{n}" for n in range(12))))
        clinic.book(booking, day, source=chance.choice(("web", "desk")), series=series)
        live[booking] = day
        yield
    for booking, day in list(live.items()):
        what = chance.random()
        if day <= clinic.day and what < 0.9:
            clinic.complete(booking)
            del live[booking]
        elif what < 0.03:
            live[booking] = day + timedelta(days=3)
            clinic.book(booking, live[booking])
        elif what < 0.08:
            clinic.lose(booking, chance.choice(("cancelled", "missed", "moved")))
            del live[booking]
        else:
            continue
        yield


@pytest.mark.parametrize("seed", range(3))
def test_the_table_is_what_was_learned_at_every_moment(seed: int) -> None:
    steady, restarted = Clinic(), Clinic()
    chance, when = [random.Random(seed), random.Random(seed)], random.Random(seed)
    lives: tuple[dict[str, date], dict[str, date]] = ({}, {})
    for number in range(40):
        for _ in zip(
            _happenings(chance[0], steady, lives[0], number),
            _happenings(chance[1], restarted, lives[1], number),
            strict=True,
        ):
            if when.random() < 0.2:
                restarted.restart()
        assert steady.state == restarted.state
        steady.tick()
        restarted.tick()
        restarted.restart()
    assert steady.state.learned == restarted.state.learned
    assert steady.state.learned.series.known
    steady.write()
    sizes = {key.decode().split("\x1f")[-1]: len(v) for key, v in steady.table.items() if key.startswith(b"learned")}
    assert sizes["keep"] < 6_000
    assert sizes["series"] < 6_000
