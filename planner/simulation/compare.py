"""Policies in the same worlds: tuned on training seeds to the same fill, measured on test seeds.

Work is given out through a ``Mapper``, so that a caller with processes can spread it; the results do not depend on how.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import numpy as np

from planner.catalogue.model import Bundle
from planner.simulation.clinic import SiteClinic, clinics_of
from planner.simulation.equal_fill import Curve, curve_of
from planner.simulation.levels import Levels, LevelsPolicy, histories
from planner.simulation.measure import Comparison, Run, fill_of, run_of
from planner.simulation.opponents import FAMILIES
from planner.simulation.planner_policy import PlannerPolicy
from planner.simulation.real_book import RealBookings, real_book, with_real_items
from planner.simulation.scenario import Scenario
from planner.simulation.tuning import LevelSearch, Tuned, tune
from planner.simulation.world import Fate, Ordering, SiteWorld

PLANNER = "planner"
POLICIES = ("minmax", "erpnext", "erpnext-daily", "rs-forecast", PLANNER, "clairvoyant")
"""Policies by name, in the order of the tables."""
TRAIN_SEED, TEST_SEED = 1_000, 2_000
"""The first training seed and the first test seed."""
_LEVEL_DIGITS = 5
_STEPS = 6
"""Levels of the planner tried in training …"""
_CLOSE = 0.003
"""… of each item until its fill is so near the target: opponents are compared at the fill that it reaches."""

Mapper = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]
"""``map``, or one that spreads the calls over processes; results in order."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A scenario and what it stands on; can be pickled."""

    scenario: Scenario
    bundle: Bundle
    real: RealBookings | None = None
    """Real bookings, instead of those drawn for each seed."""

    def clinics(self) -> tuple[SiteClinic, ...]:
        """The scenario's clinics."""
        clinics = clinics_of(self.scenario, self.bundle)
        return clinics if self.real is None else tuple(with_real_items(clinic, self.real) for clinic in clinics)

    def fate(self, clinic: SiteClinic, seed: int) -> Fate:
        """A seed's world at one of the clinics."""
        if self.real is None:
            return Fate.draw(clinic, seed)
        real = self.real
        return Fate.draw(clinic, seed, lambda of, streams: real_book(of, real, streams))


@dataclass(frozen=True, slots=True)
class Tuning:
    """Parameters of the policies of a scenario."""

    seeds: tuple[int, ...]
    opponents: Mapping[str, Mapping[str, Mapping[str, Tuned]]]
    """Policy → site → item."""
    service_levels: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Site → item → the planner's, if it is among the policies."""

    def told(self, policy: str) -> str:
        """The parameters, for a reader."""
        if policy == PLANNER:
            levels = [(i, level) for items in self.service_levels.values() for i, level in items.items()]
            if len({level for _, level in levels}) == 1:
                return f"service level {levels[0][1]:.{_LEVEL_DIGITS}f}"
            return "service levels " + "; ".join(f"{item} {level:.{_LEVEL_DIGITS}f}" for item, level in levels)
        sites = self.opponents[policy]
        return "; ".join(
            f"{item} {tuned.dial:.2f}/{tuned.size:.2f}" for items in sites.values() for item, tuned in items.items()
        )


@dataclass(frozen=True, slots=True)
class _Work:
    setting: Setting
    policy: str
    seed: int
    service_levels: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    tuned: Mapping[str, Mapping[str, Tuned]] = field(default_factory=dict)


def run_seed(work: _Work) -> Run:
    """One policy in the world of one seed, at all the scenario's sites."""
    setting = work.setting
    sites, facts = {}, {}
    for clinic in setting.clinics():
        fate = setting.fate(clinic, work.seed)
        sites[clinic.site] = SiteWorld(fate).run(_policy(work, clinic, fate))
        facts[clinic.site] = clinic.items
    return run_of(work.policy, work.seed, sites, facts, setting.scenario.costs)


def _policy(work: _Work, clinic: SiteClinic, fate: Fate) -> Ordering:
    if work.policy == PLANNER:
        levels = work.service_levels.get(clinic.site, {})
        exact = {item: Decimal(f"{level:.{_LEVEL_DIGITS}f}") for item, level in levels.items()}
        return PlannerPolicy(clinic.with_service_levels(exact))
    return levels_policy(work.policy, fate, work.tuned[clinic.site])


def levels_policy(name: str, fate: Fate, tuned: Mapping[str, Tuned]) -> LevelsPolicy:
    """An opponent with its parameters, for one world."""
    family = FAMILIES[name]
    levels: dict[str, Levels] = {}
    for item, history in histories([fate]).items():
        own = tuned[item]
        levels[item] = family.levels(history, np.array([own.dial]), np.array([own.size]))
    return LevelsPolicy(name, fate.clinic, levels)


# --- tuning -----------------------------------------------------------------------------------------------


Parameters = dict[str, dict[str, dict[str, Tuned]]]
"""Policy → site → item."""


@dataclass(frozen=True, slots=True)
class _TuneWork:
    setting: Setting
    policies: tuple[str, ...]
    seeds: tuple[int, ...]


def tune_opponents(work: _TuneWork) -> Parameters:
    """The parameters of some opponents."""
    setting, target = work.setting, work.setting.scenario.fill_target
    found: Parameters = {policy: {} for policy in work.policies}
    for clinic in setting.clinics():
        known = histories([setting.fate(clinic, seed) for seed in work.seeds])
        for policy, sites in found.items():
            sites[clinic.site] = {item: tune(FAMILIES[policy], history, target) for item, history in known.items()}
    return found


def tune_policies(
    setting: Setting,
    policies: Sequence[str],
    seeds: Sequence[int],
    *,
    mapper: Mapper = map,
    tell: Callable[[str], None] = lambda _: None,
    planner_seeds: Sequence[int] | None = None,
    planner_steps: int = _STEPS,
) -> Tuning:
    """Bring policies to the scenario's fill on training seeds.

    Args:
        planner_seeds: fewer for the planner, whose real steps take some seconds for a year; absent: all.
        planner_steps: levels of the planner tried at most.
        tell: is told what is being done.

    Raises:
        ValueError: an unknown policy, or a scenario that cannot be simulated.
    """
    unknown = [policy for policy in policies if policy not in POLICIES]
    if unknown:
        raise ValueError(f"policies: found {', '.join(unknown)}; expected of {', '.join(POLICIES)}")
    names = [policy for policy in policies if policy != PLANNER]
    tell(f"tuning {', '.join(names)}")
    # in two parts: worlds are drawn once for each
    work = [_TuneWork(setting, part, tuple(seeds)) for part in (tuple(names[::2]), tuple(names[1::2])) if part]
    tuned = {policy: sites for found in mapper(tune_opponents, work) for policy, sites in found.items()}
    opponents = {name: tuned[name] for name in names}
    levels = {}
    if PLANNER in policies:
        levels = _tune_planner(setting, planner_seeds or seeds, mapper, tell, planner_steps)
    return Tuning(tuple(seeds), opponents, levels)


def _tune_planner(
    setting: Setting, seeds: Sequence[int], mapper: Mapper, tell: Callable[[str], None], steps: int
) -> dict[str, dict[str, float]]:
    """Site → item → service level. Items hardly touch one another: the levels of all are searched in the same runs."""
    scenario = setting.scenario
    places = [(clinic.site, item) for clinic in setting.clinics() for item in clinic.items]
    several = len({site for site, _ in places}) > 1
    searches = {place: LevelSearch(scenario.fill_target, scenario.service_level, close=_CLOSE) for place in places}
    for step in range(1, steps + 1):
        tell(f"tuning the planner: step {step} of at most {steps}")
        levels: dict[str, dict[str, float]] = {}
        for (site, item), search in searches.items():
            levels.setdefault(site, {})[item] = round(search.level, _LEVEL_DIGITS)
        runs = list(mapper(run_seed, [_Work(setting, PLANNER, seed, levels) for seed in seeds]))
        for (site, item), search in searches.items():
            fill = fill_of(runs, f"{site}/{item}" if several else item).value
            search.tell(fill if fill == fill else 1.0)  # noqa: PLR0124 - of an item that nobody wanted there is none
        if all(search.done for search in searches.values()):
            break
    return {
        site: {item: round(searches[site, item].best[0], _LEVEL_DIGITS) for of, item in places if of == site}
        for site in dict.fromkeys(site for site, _ in places)
    }


@dataclass(frozen=True, slots=True)
class _CurveWork:
    setting: Setting
    seeds: tuple[int, ...]
    tuned: Mapping[str, Mapping[str, Mapping[str, Tuned]]]


def curves_of(work: _CurveWork) -> dict[str, dict[str, Curve]]:
    """Opponent → item → what it would cost at other fills in the worlds of some seeds."""
    setting = work.setting
    curves: dict[str, dict[str, Curve]] = {policy: {} for policy in work.tuned}
    clinics = setting.clinics()
    for clinic in clinics:
        for item, history in histories([setting.fate(clinic, seed) for seed in work.seeds]).items():
            name = item if len(clinics) == 1 else f"{clinic.site}/{item}"
            for policy, of in curves.items():
                tuned = work.tuned[policy][clinic.site][item]
                of[name] = curve_of(FAMILIES[policy], history, tuned, setting.scenario.fill_target)
    return curves


# --- test -------------------------------------------------------------------------------------------------


def compare(
    setting: Setting,
    tuning: Tuning,
    policies: Sequence[str],
    seeds: Sequence[int],
    *,
    mapper: Mapper = map,
    tell: Callable[[str], None] = lambda _: None,
) -> Comparison:
    """Measure tuned policies in the worlds of the test seeds."""
    work = [
        _Work(setting, policy, seed, tuning.service_levels, tuning.opponents.get(policy, {}))
        for policy in policies
        for seed in seeds
    ]
    found = Comparison(setting.scenario.id, tuning.seeds, tuple(seeds))
    for done, run in enumerate(mapper(run_seed, work), 1):
        found.runs.setdefault(run.policy, []).append(run)
        tell(f"measuring {run.policy}: {done} of {len(work)} clinic-years")
    found.tuned = {policy: tuning.told(policy) for policy in policies}
    if setting.scenario.tuned_on is None:
        tuned = {policy: tuning.opponents[policy] for policy in policies if policy in tuning.opponents}
        [found.curves] = mapper(curves_of, [_CurveWork(setting, tuple(seeds), tuned)])
    return found
