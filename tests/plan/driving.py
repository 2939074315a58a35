"""A driver over the plan step of the two clinics, and what the tests of it begin with."""

from __future__ import annotations

from typing import Any

from planner.plan_step import PlanStep
from tests.driver import Driver
from tests.plan.clinic import (
    CATHETER,
    KETOROLAC,
    MAGNESIUM,
    VITAMIN,
    Desk,
    at,
    bundle,
    tick,
)


def start(clock: Any = "wall", *, ticked: bool = True) -> tuple[Driver[PlanStep], Desk]:
    driver = Driver(lambda: PlanStep(0, bundle(), clock))
    if ticked:
        driver.feed("clock", tick(at(0)))
    return driver, Desk()


def stocked(driver: Driver[PlanStep], desk: Desk, quantity: int = 1000) -> None:
    for item in (MAGNESIUM, KETOROLAC, CATHETER, VITAMIN):
        driver.feed("stock", desk.received(at(0), item, quantity))


def alerts(driver: Driver[PlanStep]) -> dict[str, str]:
    """Alert id → its last state and cause."""
    return {a["alert_id"]: f"{a['state']} by {a['cause_event_id']}" for a in driver.values("alerts")}
