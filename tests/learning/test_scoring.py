"""Scores through the plan step: noted in the morning, settled by what sessions used, told once a day, in the table."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import numpy as np
import orjson
import pytest

from planner.learning import scoring
from planner.learning.scores import SESSIONS, Scores
from planner.messages import Accuracy, AlertKind
from planner.plan_step import PlanStep
from planner.site.touched import Touched
from planner.topics import composed_key
from tests.driver import Driver
from tests.plan.clinic import CATHETER, MAGNESIUM, MONDAY, NORTH, VITAMIN, Desk, at, bundle, tick

PER_DAY = 4


class Clinic:
    """Days of ``north``: sessions booked a few days ahead, all of which take place."""

    def __init__(self) -> None:
        self.driver = Driver(lambda: PlanStep(0, bundle(), "wall"))
        self.desk = Desk()
        self.day = 0
        self.driver.feed("clock", tick(at(0, "00:01")))
        for item in (MAGNESIUM, CATHETER, VITAMIN):
            self.driver.feed("stock", self.desk.received(at(0, "00:02"), item, 5000))

    @property
    def scores(self) -> Scores:
        return self.driver.step.sites[NORTH].learned.scores

    def pass_days(self, days: int, per_day: Callable[[int], int] = lambda _: PER_DAY, *, tell: bool = True) -> None:
        for _ in range(days):
            for number in range(per_day(self.day + 3)):
                start = at(self.day + 3, f"{9 + number % 8:02d}:00")
                stated = self.desk.stated(f"b{self.day}-{number}", start, at(self.day, "08:00"))
                self.driver.append("requirements", stated)
            if tell and self.day >= 3:
                for number in range(per_day(self.day)):
                    booking = f"b{self.day - 3}-{number}"
                    self.driver.append("requirements", self.desk.used(booking, at(self.day, "18:00")))
            self.driver.run()
            self.day += 1
            self.driver.feed("clock", tick(at(self.day, "00:01")))

    def accuracy(self) -> dict[str, Accuracy]:
        """The last message of each series."""
        latest = {m.key: m.value for m in self.driver.messages("accuracy")}
        read = [Accuracy.model_validate_json(value) for value in latest.values() if value is not None]
        return {said.series: said for said in read}

    def publish(self) -> None:
        while due := self.driver.step.due():
            self.driver.published += due


def ordinal(day: int) -> int:
    return MONDAY.toordinal() + day


def test_each_morning_is_noted_once_and_what_sessions_used_is_scored() -> None:
    clinic = Clinic()
    clinic.pass_days(1)
    assert clinic.scores.noted == ordinal(0), "the first morning that the site was seen on from the beginning"
    clinic.pass_days(11)
    assert clinic.scores.noted == ordinal(11)
    assert clinic.scores.settled == ordinal(11), "all sessions of a day are told the same evening"
    clinic.driver.feed("stock", clinic.desk.received(at(12, "07:00"), MAGNESIUM, 1, lot="L9"))
    assert clinic.scores.noted == ordinal(11), "later reviews of the day note nothing"
    found = {score.lead: score for score in clinic.scores.scores(SESSIONS)}
    assert set(found) == {1, 3, 7}
    (vial,) = [s for s in clinic.scores.scores(f"item/{MAGNESIUM}") if s.lead == 1]
    assert vial.realised == pytest.approx(2 * found[1].realised, rel=0.01), "two vials a session"
    (drugs,) = [s for s in clinic.scores.scores("group/drugs") if s.lead == 1]
    assert drugs.realised > vial.realised


def test_a_morning_that_is_looked_at_late_is_not_noted() -> None:
    clinic = Clinic()
    clinic.pass_days(6)
    state = clinic.driver.step.sites[NORTH]
    need = clinic.driver.step.outlook(NORTH).need
    catalogue = clinic.driver.step.catalogue
    assert clinic.scores.noted == need.first_day.toordinal() - 1
    clinic.scores.noted -= 1
    state.learned.running.completed[need.first_day.toordinal()] = 1
    scoring.note(state, catalogue, need, touched := Touched())
    assert clinic.scores.noted == need.first_day.toordinal() - 2, (
        "a session of it is over: what is left is no whole day"
    )
    assert not touched.learned
    state.learned.running.completed.clear()
    scoring.note(state, catalogue, need, touched)
    assert touched.learned == {"scores"}


def test_a_restart_notes_nothing_twice_and_goes_on_as_if_nothing_had_happened() -> None:
    through, broken = Clinic(), Clinic()
    for _ in range(9):
        through.pass_days(2)
        broken.pass_days(2)
        broken.driver.restart()
        broken.driver.run()
        broken.driver.feed("stock", broken.desk.received(at(broken.day, "00:05"), CATHETER, 1, lot="L5"))
        through.driver.feed("stock", through.desk.received(at(through.day, "00:05"), CATHETER, 1, lot="L5"))
    assert broken.scores == through.scores
    kept = broken.driver.table.entries[composed_key("learned", NORTH, "scores")]
    assert kept == through.scores.encode()


def test_how_good_forecasts_have_been_is_told_once_a_day() -> None:
    clinic = Clinic()
    clinic.publish()
    assert clinic.accuracy() == {}, "nothing scored yet"
    clinic.pass_days(11)
    clinic.publish()
    said = clinic.accuracy()
    assert set(said) == {SESSIONS, "group/drugs", "group/supplies"} | {
        f"item/{item}" for item in (MAGNESIUM, CATHETER, VITAMIN, "ketorolac-vial")
    }
    sessions = said[SESSIONS]
    assert (sessions.site, sessions.through, sessions.method) == (NORTH, MONDAY + timedelta(days=10), "planner")
    assert [lead.lead_days for lead in sessions.leads] == [1, 3, 7]
    assert set(sessions.leads[0].coverage) == {"0.8", "0.9", "0.95"}
    told = len(clinic.driver.messages("accuracy"))
    clinic.driver.feed("stock", clinic.desk.received(at(11, "07:00"), MAGNESIUM, 1, lot="L9"))
    clinic.publish()
    assert len(clinic.driver.messages("accuracy")) == told, "once a day"
    clinic.pass_days(1)
    clinic.publish()
    assert len(clinic.driver.messages("accuracy")) == told + len(said)


def test_past_errors_change_the_variance_of_totals_of_items_and_groups() -> None:
    clinic = Clinic()
    clinic.pass_days(4)
    step = clinic.driver.step
    state, need = step.sites[NORTH], step.outlook(NORTH).need
    plain = scoring.corrected(state, step.catalogue, need)
    assert need.cumulative_variance is not None
    assert plain.cumulative_variance is not None
    scores = clinic.scores
    row = need.items.index(MAGNESIUM)
    scores.factors()[:, scores.series.index(f"item/{MAGNESIUM}")] = 3.0
    scores.factors()[:, scores.series.index("group/drugs")] = 2.0
    scores._by_day = None
    wide = scoring.corrected(state, step.catalogue, need)
    assert wide.cumulative_variance is not None
    assert wide.cumulative_variance[row] == pytest.approx(3 * need.cumulative_variance[row])
    assert wide.totals is not None
    assert need.totals is not None
    for key, factor in ((("group", "drugs"), 2.0), (("component", "magnesium"), 3.0), (("sessions", SESSIONS), 1.0)):
        at_row = need.totals.keys.index(key)
        ratio = wide.totals.cumulative_variance[at_row] / need.totals.cumulative_variance[at_row]
        assert ratio[-1] == pytest.approx(factor, rel=1e-6), key
    assert wide.mean == pytest.approx(need.mean)


def test_an_item_that_uses_the_simple_method_is_needed_as_it_was_used() -> None:
    clinic = Clinic()
    clinic.pass_days(20)
    step = clinic.driver.step
    state = step.sites[NORTH]
    before = step.outlook(NORTH).need
    clinic.scores.simple.add(f"item/{MAGNESIUM}")
    need = scoring.corrected(state, step.catalogue, before)
    row = need.items.index(MAGNESIUM)
    assert need.mean[row, 7:35].sum() == pytest.approx(28 * 2 * PER_DAY, rel=0.25)
    assert np.all(need.firm_mean[row] <= before.firm_mean[row] + 1e-9)
    assert np.all(need.to_come_mean[row] >= 0)
    others = [at_row for at_row in range(len(need.items)) if at_row != row]
    assert need.mean[others] == pytest.approx(before.mean[others])
    assert need.totals is not None
    assert before.totals is not None
    group = need.totals.keys.index(("group", "drugs"))
    moved = need.mean[row] - before.mean[row]
    after = need.totals.firm_mean[group] + need.totals.to_come_mean[group]
    earlier = before.totals.firm_mean[group] + before.totals.to_come_mean[group]
    assert after == pytest.approx(np.maximum(earlier + moved, 0.0), abs=1e-9), "a group is the sum of its items"
    assert need.cumulative_variance is not None
    assert np.all(np.diff(need.cumulative_variance[row]) >= -1e-9)
    stock = clinic.desk.received(at(clinic.day, "07:00"), MAGNESIUM, 1, lot="L9")
    clinic.driver.feed("stock", stock)
    told = step.explain(NORTH, MAGNESIUM)
    assert sum(booking.expected for booking in told.bookings) == pytest.approx(told.need.firm_mean)
    coming = sum(part.expected for part in told.to_come) + told.unexplained
    assert coming == pytest.approx(told.need.to_come_mean, abs=1e-9)
    (line,) = [figure.words for figure in told.learned if figure.name == "spread of forecasts"]
    assert line.startswith("Of its forecasts ")
    assert line.endswith("The mean of the same weekday over eight weeks has been better, and is used in its place.")


def test_what_is_certain_is_needed_whatever_the_simple_method_says() -> None:
    clinic = Clinic()
    clinic.pass_days(20, lambda day: PER_DAY if day < 20 else 0)
    for number in range(12):
        start = at(20, "10:00")
        arrived = clinic.desk.stated(f"here-{number}", start, at(20, "00:30"), status="arrived")
        clinic.driver.append("requirements", arrived)
    clinic.driver.run()
    step = clinic.driver.step
    clinic.scores.simple.add(f"item/{MAGNESIUM}")
    need = scoring.corrected(step.sites[NORTH], step.catalogue, step.outlook(NORTH).need)
    assert need.mean[need.items.index(MAGNESIUM), 0] >= 24 - 1e-9


def test_drift_is_an_alert_of_its_group_and_resolves_by_itself() -> None:
    clinic = Clinic()
    clinic.pass_days(3)
    scores = clinic.scores

    def drifting(value: float) -> None:
        scores._drift[0, 2, scores.series.index("group/drugs")] = value
        scores._drift[2:, 2, scores.series.index("group/drugs")] = (4.0, 20.0)

    def said() -> list[tuple[Any, ...]]:
        found = [a for a in clinic.driver.values("alerts") if a["kind"] == AlertKind.FORECAST_DRIFT]
        return [(a["alert_id"], a["state"], a["severity"], a["revision"]) for a in found]

    drifting(6.5)
    clinic.pass_days(1)
    assert said() == [("north/drugs/forecast-drift/1", "open", "info", 1)]
    alert = clinic.driver.step.sites[NORTH].alerts["drugs/forecast-drift"]
    assert alert.summary.startswith("Drugs: recent totals over 7 days came to 20 % more than was forecast; ")
    clinic.pass_days(1)
    assert len(said()) == 1, "while it lasts nothing is said again"
    action = {"type": "alert.acknowledged", "event_id": "ack", "occurred_at": at(clinic.day), "site": NORTH}
    clinic.driver.feed("alert-actions", action | {"alert_id": "north/drugs/forecast-drift/1", "by": "ann"})
    assert said()[-1] == ("north/drugs/forecast-drift/1", "acknowledged", "info", 2)
    clinic.driver.restart()
    clinic.driver.run()
    scores = clinic.scores
    drifting(3.5)
    clinic.pass_days(1)
    assert len(said()) == 2, "less than what raised it is still too much"
    drifting(0.0)
    clinic.pass_days(1)
    assert said()[-1] == ("north/drugs/forecast-drift/1", "resolved", "info", 3)
    drifting(6.5)
    clinic.pass_days(1)
    assert said()[-1] == ("north/drugs/forecast-drift/2", "open", "info", 1), "another episode"


def test_the_same_history_in_other_chunks_gives_the_same_scores() -> None:
    live = Clinic()
    live.pass_days(12)
    records = live.driver.log["requirements"]
    hours = Driver(lambda: PlanStep(0, bundle(), "wall"), chunk=7)
    hours.feed("clock", tick(at(0, "00:01")))
    for item in (MAGNESIUM, CATHETER, VITAMIN):
        hours.feed("stock", Desk().received(at(0, "00:02"), item, 5000) | {"event_id": f"r-{item}"})
    day = 0
    for record in records:
        told = orjson.loads(record.value or b"")["occurred_at"]
        while date.fromisoformat(told[:10]) > MONDAY + timedelta(days=day):
            day += 1
            hours.feed("clock", tick(at(day, "00:01")))
        hours.append("requirements", record.value or b"")
        hours.run()
    hours.feed("clock", tick(at(day + 1, "00:01")))
    assert hours.step.sites[NORTH].learned.scores == live.scores
