"""What a policy cost and gave in a world: per item and in total, and how sure a ratio between two policies is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from planner.simulation.clinic import ItemFacts
from planner.simulation.scenario import Costs
from planner.simulation.world import ItemTotals, Totals

if TYPE_CHECKING:
    from planner.simulation.equal_fill import Curve

DAYS_A_YEAR = 365
BOOTSTRAPS = 2000
_BOOTSTRAP_SEED = 2026
_CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class ItemMeasure:
    """An item at a site over the measured days. Containers, and money."""

    wanted: float
    short: float
    mean_stock: float
    mean_value: float
    expired: float
    open_waste: float
    lines: int
    ordered: int
    holding_cost: float
    line_cost: float
    waste_cost: float

    @property
    def fill(self) -> float:
        """Share of the containers wanted that were there; 1 where none were."""
        return 1 - self.short / self.wanted if self.wanted else 1.0

    @property
    def money(self) -> float:
        """Holding, order lines and waste."""
        return self.holding_cost + self.line_cost + self.waste_cost


def item_measure(totals: ItemTotals, facts: ItemFacts, costs: Costs, days: int) -> ItemMeasure:
    """Price what was counted over so many days."""
    value_days = totals.stock_days * facts.price
    return ItemMeasure(
        wanted=totals.wanted,
        short=totals.short,
        mean_stock=totals.stock_days / days,
        mean_value=value_days / days,
        expired=totals.expired,
        open_waste=totals.open_waste,
        lines=totals.lines,
        ordered=totals.ordered,
        holding_cost=value_days * costs.holding_per_year / DAYS_A_YEAR,
        line_cost=totals.lines * costs.order_line,
        waste_cost=(totals.expired + totals.open_waste) * facts.price,
    )


@dataclass(frozen=True, slots=True)
class Run:
    """One policy in one world: a seed of a scenario, all its sites (items as ``site/item`` where there are several)."""

    policy: str
    seed: int
    items: Mapping[str, ItemMeasure]
    complete: int
    incomplete: int
    sent_home: int
    orders: int
    days: int

    @property
    def money(self) -> float:
        return sum(item.money for item in self.items.values())

    @property
    def mean_value(self) -> float:
        """Mean value of what was in stock."""
        return sum(item.mean_value for item in self.items.values())

    @property
    def waste_cost(self) -> float:
        return sum(item.waste_cost for item in self.items.values())

    @property
    def lines(self) -> int:
        return sum(item.lines for item in self.items.values())

    @property
    def sessions(self) -> int:
        """Sessions whose patient came."""
        return self.complete + self.incomplete + self.sent_home

    @property
    def session_service(self) -> float:
        """Share of the sessions whose patient came that had everything."""
        return self.complete / self.sessions if self.sessions else 1.0


def run_of(policy: str, seed: int, sites: Mapping[str, Totals], facts: Mapping[str, Mapping[str, ItemFacts]],
           costs: Costs) -> Run:  # fmt: skip
    """Add up what was counted at the sites of a world."""
    items = {
        (item if len(sites) == 1 else f"{site}/{item}"): item_measure(counted, facts[site][item], costs, totals.days)
        for site, totals in sites.items()
        for item, counted in totals.items.items()
    }
    return Run(
        policy=policy,
        seed=seed,
        items=items,
        complete=sum(t.complete for t in sites.values()),
        incomplete=sum(t.incomplete for t in sites.values()),
        sent_home=sum(t.sent_home for t in sites.values()),
        orders=sum(t.orders for t in sites.values()),
        days=max(t.days for t in sites.values()),
    )


class Interval(NamedTuple):
    """A figure and its 95 % confidence interval; a single seed has none (NaN)."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        if np.isnan(self.low):
            return f"{self.value:.2f}"
        return f"{self.value:.2f} ({self.low:.2f}–{self.high:.2f})"


def ratio(above: Sequence[float], below: Sequence[float]) -> Interval:
    """Σ above ÷ Σ below, pairs by seed, with a bootstrap over the seeds (percentiles; Efron & Tibshirani 1993, §13.3).

    NaN where ``below`` adds up to nothing.
    """
    return _bootstrapped(np.array(above, np.float64), np.array(below, np.float64))


def fill_of(runs: Sequence[Run], item: str | None = None) -> Interval:
    """Fill of an item (or of all containers) over the runs, with a bootstrap over the seeds."""
    supplied, wanted = [], []
    for run in runs:
        chosen = run.items.values() if item is None else [run.items[item]]
        wanted.append(sum(i.wanted for i in chosen))
        supplied.append(sum(i.wanted - i.short for i in chosen))
    return ratio(supplied, wanted)


def service_of(runs: Sequence[Run]) -> Interval:
    """Share of the sessions that had everything."""
    return ratio([run.complete for run in runs], [run.sessions for run in runs])


def _bootstrapped(above: npt.NDArray[np.float64], below: npt.NDArray[np.float64]) -> Interval:
    total = below.sum()
    if total == 0:
        return Interval(float("nan"), float("nan"), float("nan"))
    value = float(above.sum() / total)
    if above.size < 2:
        return Interval(value, float("nan"), float("nan"))
    random = np.random.default_rng(_BOOTSTRAP_SEED)
    chosen = random.integers(0, above.size, (BOOTSTRAPS, above.size))
    sums = below[chosen].sum(axis=1)
    ratios = above[chosen].sum(axis=1)[sums > 0] / sums[sums > 0]
    low, high = np.quantile(ratios, [(1 - _CONFIDENCE) / 2, (1 + _CONFIDENCE) / 2])
    return Interval(value, float(low), float(high))


@dataclass(slots=True)
class Comparison:
    """The runs of a scenario by policy, in the order of the seeds, and how each policy was tuned."""

    scenario: str
    train_seeds: tuple[int, ...]
    test_seeds: tuple[int, ...]
    runs: dict[str, list[Run]] = field(default_factory=dict)
    tuned: dict[str, str] = field(default_factory=dict)
    """Policy → its parameters, for a reader."""
    curves: Mapping[str, Mapping[str, Curve]] = field(default_factory=dict)
    """Opponent → item → what it would cost at another fill; see ``planner.simulation.equal_fill``."""
