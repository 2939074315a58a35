"""Running a scenario: its files read, its work spread over processes. What it computes is in ``planner.simulation``."""

from __future__ import annotations

import csv
import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

from config.load import load_catalogue
from config.scenarios import ScenarioError, load_scenario, scenario_path
from planner.catalogue.index import Catalogue
from planner.catalogue.model import Bundle
from planner.simulation.compare import POLICIES, TEST_SEED, TRAIN_SEED, Mapper, Setting, Tuning, compare, tune_policies
from planner.simulation.measure import Comparison, ItemMeasure
from planner.simulation.real_book import RealBookings, read_bookings
from planner.simulation.scenario import Scenario

DAYS_A_YEAR = 364
"""Whole weeks."""

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """How much to run. ``planner_train``: training seeds of the planner, whose real steps take seconds a year;
    ``planner_steps``: service levels of it that are tried at most."""

    policies: tuple[str, ...] = POLICIES
    train: int = 20
    planner_train: int = 10
    planner_steps: int = 6
    test: int = 20
    years: float | None = None
    train_seed: int = TRAIN_SEED
    test_seed: int = TEST_SEED


def setting_of(name: str, bundle: Bundle, years: float | None = None) -> Setting:
    """A scenario with all that its files say.

    Args:
        bundle: the catalogue of its sites, unless it names its own.
        years: measured, instead of the scenario's own days.

    Raises:
        ScenarioError: the scenario, its catalogue or its events are not there or faulty.
    """
    scenario = load_scenario(name)
    if years is not None:
        horizon = scenario.horizon.model_copy(update={"days": round(years * DAYS_A_YEAR)})
        scenario = Scenario.model_validate(scenario.model_dump() | {"horizon": horizon.model_dump()})
    folder = scenario_path(name).parent
    if scenario.sites is not None and scenario.sites.catalogue is not None:
        found = load_catalogue(folder / scenario.sites.catalogue)
        if found.bundle is None:
            raise ScenarioError(f"{name}: sites.catalogue: {scenario.sites.catalogue} has {len(found.faults)} faults")
        bundle = found.bundle
    real = None
    if scenario.bookings.events is not None:
        real = _real(folder / scenario.bookings.events, name, bundle)
    return Setting(scenario, bundle, real)


def _real(path: Path, name: str, bundle: Bundle) -> RealBookings:
    try:
        with path.open("rb") as file:
            return read_bookings(file, Catalogue(bundle))
    except (OSError, ValueError) as error:
        raise ScenarioError(f"{name}: bookings.events: {path.name}: {error}") from error


@contextmanager
def mapper(processes: int) -> Iterator[Mapper]:
    """``map`` over so many processes; they end with the block."""
    if processes == 1:
        yield map
        return
    # new interpreters: a fork of a process with threads (progress bars) may hang
    pool = ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn"))
    try:
        yield pool.map
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def run_scenario(
    name: str, bundle: Bundle, plan: Plan, *, spread: Mapper, tell: Tell, tuned: Tuning | None = None
) -> tuple[Setting, Tuning, Comparison]:
    """Tune the policies (on the scenario that this one names, if it does), then measure them.

    Args:
        tuned: parameters already found for the scenario it is tuned on.

    Raises:
        ScenarioError: as ``setting_of``.
        ValueError: an unknown policy, or a site that the catalogue lacks.
    """
    setting = setting_of(name, bundle, plan.years)
    if tuned is None:
        on = setting if setting.scenario.tuned_on is None else setting_of(setting.scenario.tuned_on, bundle, plan.years)
        seeds = range(plan.train_seed, plan.train_seed + plan.train)
        tuned = tune_policies(
            on, plan.policies, seeds, mapper=spread, tell=tell, planner_seeds=seeds[: plan.planner_train],
            planner_steps=plan.planner_steps,
        )  # fmt: skip
    tests = range(plan.test_seed, plan.test_seed + plan.test)
    return setting, tuned, compare(setting, tuned, plan.policies, tests, mapper=spread, tell=tell)


RUN_COLUMNS = (
    "scenario", "policy", "seed", "item", "fill", "money", *(field.name for field in fields(ItemMeasure)),
    "sessions_complete", "sessions_incomplete", "sessions_sent_home", "orders", "days",
)  # fmt: skip


def write_runs(path: Path, comparisons: Iterable[Comparison]) -> None:
    """Every run, a row for each item; what holds for the whole run stands in each of its rows."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(RUN_COLUMNS)
        for comparison in comparisons:
            writer.writerows(_rows(comparison))


def _rows(comparison: Comparison) -> Iterator[Sequence[Any]]:
    for runs in comparison.runs.values():
        for run in runs:
            for item, measure in run.items.items():
                yield (
                    comparison.scenario, run.policy, run.seed, item, round(measure.fill, 6), round(measure.money, 2),
                    *(round(value, 4) for value in astuple(measure)),
                    run.complete, run.incomplete, run.sent_home, run.orders, run.days,
                )  # fmt: skip
