"""Clinics whose sessions really use what a test says, told through the real plan step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, timedelta
from typing import Any

import numpy as np

from planner.catalogue.index import Catalogue
from planner.forecast.learned import LearnedModel
from planner.forecast.need import SiteNeed
from planner.forecast.outlook import Need
from planner.learning.state import Learned
from planner.plan_step import PlanStep
from tests.driver import Driver
from tests.plan.clinic import (
    CATHETER,
    KETAMINE,
    KETOROLAC,
    MAGNESIUM,
    MONDAY,
    NORTH,
    SOUTH,
    VITAMIN,
    Desk,
    at,
    bundle,
    tick,
)

CATALOGUE = Catalogue(bundle())
ITEMS = (MAGNESIUM, KETOROLAC, CATHETER, VITAMIN, KETAMINE)

Told = Mapping[str, tuple[str, float]]
"""Item → ("containers" or "volume_ml", amount): what a completion tells."""


def nothing_told(number: int) -> Told:
    return {}


class Clinic:
    """``per_day`` sessions of ``infusion`` a day, from the first day on; well stocked."""

    def __init__(
        self,
        site: str = NORTH,
        *,
        per_day: int = 4,
        told: Callable[[int], Told] = nothing_told,
        stock: int = 10_000,
    ) -> None:
        self.site, self.per_day, self.told = site, per_day, told
        self.driver = Driver(lambda: PlanStep(0, bundle()))
        self.desk = Desk(site)
        self.day = 0
        self.sessions = 0
        self.tick(0, "07:00")
        for item in ITEMS:
            self.stock("stock.received", item, lot="L1", expiry="2028-01-01", quantity=stock)

    def tick(self, day: int, clock: str) -> None:
        self.driver.feed("clock", tick(at(day, clock, self.site)))

    def stock(self, kind: str, item: str, clock: str = "12:00", **fields: Any) -> str:
        """A stock event of the running day; its outcome."""
        self.driver.feed("stock", self.desk.event(kind, at(self.day, clock, self.site), item=item, **fields))
        return self.driver.outcomes()[-1]

    def count(self, item: str, missing: int, clock: str = "18:00") -> None:
        """The shelf is counted: ``missing`` fewer than the books have."""
        quantity = sum(lot.quantity for lot in self.driver.step.sites[self.site].stock[item].lots.values())
        self.stock("stock.counted", item, clock, lots=[{"lot": "L1", "quantity": quantity - missing}])

    def treat(self) -> None:
        """The sessions of the running day are booked, take place, and are told."""
        begin, over = at(self.day, "09:00", self.site), at(self.day, "17:00", self.site)
        names = [f"{self.site}-{self.sessions + number}" for number in range(self.per_day)]
        self.driver.append("requirements", *(self.desk.stated(name, begin, begin) for name in names))
        for number, name in enumerate(names):
            told = [
                {"item": item, kind: str(round(amount, 3))}
                for item, (kind, amount) in self.told(self.sessions + number).items()
            ]
            self.driver.append("requirements", self.desk.used(name, over, told or None))
        self.driver.run()
        self.sessions += self.per_day

    def close(self) -> None:
        """The day ends."""
        self.day += 1
        self.tick(self.day, "07:00")

    def run(self, days: int, each_day: Callable[[int], None] | None = None) -> Clinic:
        for _ in range(days):
            self.treat()
            if each_day is not None:
                each_day(self.day)
            self.close()
        return self

    @property
    def learned(self) -> Learned:
        return self.driver.step.sites[self.site].learned

    def factor(self, item: str) -> float:
        return self.learned.use.mean_factor(item)

    def need(self) -> Need:
        """As the demand model has it: not corrected by what its forecasts have been worth."""
        state = self.driver.step.sites[self.site]
        return SiteNeed(state, CATALOGUE, LearnedModel(state, CATALOGUE)).refresh(self.today)

    @property
    def today(self) -> date:
        return MONDAY + timedelta(days=self.day)


def drawn(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


__all__ = [
    "CATALOGUE",
    "CATHETER",
    "KETAMINE",
    "KETOROLAC",
    "MAGNESIUM",
    "NORTH",
    "SOUTH",
    "VITAMIN",
    "Clinic",
    "drawn",
]
