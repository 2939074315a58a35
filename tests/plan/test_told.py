"""What a restart must not forget or find otherwise: forecasts that were published, and what sessions to come need."""

from __future__ import annotations

from typing import Any

import orjson

from planner.forecast.need import SiteNeed
from planner.plan_step import PlanStep
from planner.step import Message
from tests.booking.events import wire
from tests.driver import Driver
from tests.plan.clinic import NORTH, SOUTH, Desk, at, bundle, tick

ONLY_NORTH = bundle(sites=(NORTH,))


def started(site: str = SOUTH) -> tuple[Driver[PlanStep], Desk]:
    driver = Driver(lambda: PlanStep(0, bundle()))
    driver.feed("clock", tick(at(0)))
    return driver, Desk(site)


def due(driver: Driver[PlanStep]) -> list[Message]:
    messages: list[Message] = []
    while more := driver.step.due():
        messages += more
    return messages


def standing(messages: list[Message]) -> set[bytes]:
    """Keys whose last forecast is not withdrawn."""
    last: dict[bytes, bytes | None] = {m.key or b"": m.value for m in messages if m.topic == "forecasts"}
    return {key for key, value in last.items() if value is not None}


def test_a_forecast_is_withdrawn_though_the_step_restarted_in_between() -> None:
    driver, desk = started()
    driver.feed("requirements", desk.stated("b1", at(2), at(0)))
    told = due(driver)
    assert any(b"magnesium-vial" in key for key in standing(told))
    driver.feed("requirements", desk.withdrawn("b1", at(0)))
    driver.restart()  # before what the withdrawal made due was published
    told += due(driver)
    driver.feed("clock", tick(at(1)))
    told += due(driver)
    driver.restart()
    assert standing(told) == standing(due(driver))


def test_a_site_that_the_catalogue_no_longer_has_is_told_no_more() -> None:
    driver, desk = started()
    driver.feed("requirements", desk.stated("b1", at(2), at(0)))
    told = due(driver)
    driver.feed("catalogue", wire(ONLY_NORTH))
    driver.restart()
    told += due(driver)
    assert not {key for key in standing(told) if key.startswith(SOUTH.encode())}
    driver.feed("catalogue", wire(bundle()))
    assert {key for key in standing(told + due(driver)) if key.startswith(SOUTH.encode())}


def test_what_is_to_come_is_what_most_bookings_need_now_and_not_in_the_morning() -> None:
    """``south`` states no typical session: what its bookings need most stands in for it."""
    driver, desk = started()
    for n in range(3):
        driver.feed("requirements", desk.stated(f"b{n}", at(2), at(0)))
    due(driver)
    other = Desk(SOUTH, driver.step.catalogue.__class__(bundle(magnesium="12 mL")))
    for n in range(5):
        driver.feed("requirements", other.stated(f"c{n}", at(3), at(0)))
    live = figures(driver)
    driver.restart()
    assert figures(driver) == live


def figures(driver: Driver[PlanStep]) -> Any:
    need = driver.step.outlook(SOUTH).need
    return need.items, need.to_come_mean.tolist(), need.to_come_variance.tolist()


def test_days_that_passed_while_a_site_was_unknown_are_over_before_it_is_looked_at(monkeypatch: Any) -> None:
    driver, desk = started()
    driver.feed("requirements", desk.stated("b1", at(3), at(0)))
    driver.feed("catalogue", wire(ONLY_NORTH))
    driver.feed("clock", tick(at(2)))
    looked: list[tuple[int, int]] = []
    refresh = SiteNeed.refresh

    def watched(need: SiteNeed, today: Any) -> Any:
        looked.append((need._state.today, today.toordinal()))
        return refresh(need, today)

    monkeypatch.setattr(SiteNeed, "refresh", watched)
    driver.feed("catalogue", wire(bundle()))
    assert looked
    assert all(state == asked for state, asked in looked), "a plan of a day that has not begun for the site"
    assert orjson.loads(driver.table.entries[b"site\x1fsouth"])["today"] == at(2).toordinal()
