"""What an opponent would have cost at exactly the fill that another policy reached in the same worlds.

A year is short: policies that were tuned to the same fill on training worlds reach different ones on test worlds, and a
tenth of a per cent of fill is some per cent of money. So the opponent is moved: of each item, its dial is varied (its
size kept) in the *test* worlds, which gives money as a function of fill, world by world; what it was measured at is
moved along that curve to the other's fill. The opponent so knows in hindsight which dial gives that fill: never to its
disadvantage. Between two dials money is linear in −log(1 − fill), in which it nearly is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from planner.simulation.levels import Floats, History, Tried, simulate
from planner.simulation.measure import Comparison, Interval, ItemMeasure, Run, ratio
from planner.simulation.opponents import Family
from planner.simulation.tuning import Tuned, dials_reaching

_ABOUT = np.array([-0.03, -0.02, -0.01, -0.005, 0.0, 0.003, 0.006, 0.0085])
"""Fills about the target at which the curve is drawn."""
_FILL_MOST = 0.9995
"""A fill above this cannot be told from a whole one in some years."""

_TIE = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """An item of an opponent in the test worlds, by rising dial; arrays of shape (seeds, dials), as of a year."""

    fill: Floats
    """Over all seeds; shape (dials,)."""
    money: Floats
    value: Floats
    waste: Floats
    at: float
    """The fill at its tuned dial."""

    def moved(self, measured: float, wanted: float) -> tuple[Floats, Floats, Floats]:
        """By seed: how much more money, stock value and waste at the fill ``wanted`` than at ``measured``.

        Both are fills measured in the full simulation; the curve is of the fast one, whose fill is a little different
        at the same dial, so the same step on the scale is taken from ``at``.
        """
        begin = _scale(np.array([self.at]))
        end = begin + _scale(np.array([wanted])) - _scale(np.array([measured]))
        scale = _scale(self.fill)
        # of dials that give no more fill than a lower one, the lower
        better = np.concatenate(([True], scale[1:] > np.maximum.accumulate(scale)[:-1] + _TIE))
        scale = scale[better]
        return (
            _between(scale, self.money[:, better], begin, end),
            _between(scale, self.value[:, better], begin, end),
            _between(scale, self.waste[:, better], begin, end),
        )


def _scale(fill: Floats) -> Floats:
    scaled: Floats = -np.log(1 - np.minimum(fill, _FILL_MOST))
    return scaled


def _between(scale: Floats, values: Floats, begin: Floats, end: Floats) -> Floats:
    return np.array([np.interp(end, scale, row)[0] - np.interp(begin, scale, row)[0] for row in values])


def curve_of(family: Family, history: History, tuned: Tuned, target: float) -> Curve:
    """The curve of a tuned opponent in the worlds of a history."""
    dials = dials_reaching(family, history, tuned.size, target + _ABOUT)
    dials = np.unique(np.append(dials, tuned.dial))
    tried: Tried = simulate(history, family.levels(history, dials, np.full(dials.size, tuned.size)), dials.size)
    at = float(tried.fill[np.searchsorted(dials, tuned.dial)])
    return Curve(tried.fill, tried.money_by_seed, tried.value_by_seed, tried.waste_by_seed, at)


@dataclass(frozen=True, slots=True)
class Moved:
    """What an opponent would have cost in a world at other fills of its items."""

    money: float
    mean_value: float
    waste_cost: float


def moved_runs(runs: list[Run], curves: Mapping[str, Curve], fills: Mapping[str, float]) -> list[Moved]:
    """The runs of an opponent at the fills of another policy, by item; in the order of the curves' seeds.

    Items without a curve stay as they were measured.
    """
    more = np.zeros((3, len(runs)))
    for item, curve in curves.items():
        if item in fills:
            more += np.array(curve.moved(_fill(runs, item), fills[item]))
    return [
        Moved(max(run.money + a, 0.0), max(run.mean_value + b, 0.0), max(run.waste_cost + c, 0.0))
        for run, (a, b, c) in zip(runs, more.T.tolist(), strict=True)
    ]


def fills_of(runs: list[Run]) -> dict[str, float]:
    """The fill of each item over the runs; items that nobody wanted are left out."""
    return {item: _fill(runs, item) for item in runs[0].items if _wanted(runs, item) > 0}


def _wanted(runs: list[Run], item: str) -> float:
    return sum(_of(run, item).wanted for run in runs)


def _fill(runs: list[Run], item: str) -> float:
    wanted = _wanted(runs, item)
    return 1 - sum(_of(run, item).short for run in runs) / wanted if wanted else 1.0


def _of(run: Run, item: str) -> ItemMeasure:
    return run.items[item]


def at_equal_fill(found: Comparison, policy: str, other: str) -> list[Moved]:
    """The runs of ``other`` at the fill that ``policy`` reached of each item; as measured where nothing is known."""
    runs, curves = found.runs[other], found.curves.get(other)
    if curves is None or policy == other:
        return [Moved(run.money, run.mean_value, run.waste_cost) for run in runs]
    return moved_runs(runs, curves, fills_of(found.runs[policy]))


def money_ratio(found: Comparison, policy: str, other: str) -> Interval:
    """Money of a policy ÷ that of another at the same fill of each item."""
    return ratio([run.money for run in found.runs[policy]], [m.money for m in at_equal_fill(found, policy, other)])


def value_ratio(found: Comparison, policy: str, other: str) -> Interval:
    """Mean stock value of a policy ÷ that of another at the same fill of each item."""
    moved = at_equal_fill(found, policy, other)
    return ratio([run.mean_value for run in found.runs[policy]], [m.mean_value for m in moved])


def waste_ratio(found: Comparison, policy: str, other: str) -> Interval:
    """Money wasted by a policy ÷ by another at the same fill of each item."""
    moved = at_equal_fill(found, policy, other)
    return ratio([run.waste_cost for run in found.runs[policy]], [m.waste_cost for m in moved])
