"""Tuning: every policy is brought to the same fill on training worlds, at the least money.

Of a family of levels, for each size the least dial that reaches the fill is found by bisection (fill rises with it),
all sizes at once; then the cheapest size, refined once. The planner's only dial is its policy's service level.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import special

from planner.simulation.levels import Floats, History, simulate
from planner.simulation.opponents import Family

_STEPS = 14
_REFINED = np.array([0.75, 0.87, 1.0, 1.13, 1.3])
_LEVEL_DEVIATES = (-1.5, 3.9)
"""Range of the planner's service level, as normal deviates: 7 % to 99.995 %."""
_STEP = 1.3
"""Deviates of the level for one of the fill, as long as only one side of the target is known: rather too far."""


@dataclass(frozen=True, slots=True)
class Tuned:
    """Parameters of an item under a family, and what they gave in training."""

    dial: float
    size: float
    fill: float
    money: float


def tune(family: Family, history: History, target: float) -> Tuned:
    """The cheapest parameters of a family that reach a fill of ``target`` in the worlds of a history.

    Where no dial reaches it, the largest.
    """
    best = _cheapest(family, history, family.sizes(history), target)
    if family.sizes(history).size > 1:
        near = np.unique(best.size * _REFINED if best.size else np.linspace(0, 1, _REFINED.size))
        if family.name in ("minmax", "rs-forecast"):
            near = np.unique(np.maximum(np.round(np.append(near, [best.size - 1, best.size + 1])), 1.0))
        refined = _cheapest(family, history, near, target)
        best = min((best, refined), key=lambda tuned: (tuned.fill < target, tuned.money))
    return best


def _cheapest(family: Family, history: History, sizes: Floats, target: float) -> Tuned:
    low = np.zeros(sizes.size)
    high = np.full(sizes.size, family.dial_most(history))
    for _ in range(_STEPS):
        middle = (low + high) / 2
        reached = simulate(history, family.levels(history, middle, sizes), sizes.size).fill >= target
        high = np.where(reached, middle, high)
        low = np.where(reached, low, middle)
    tried = simulate(history, family.levels(history, high, sizes), sizes.size)
    order = np.lexsort((tried.money, tried.fill < target))
    at = int(order[0])
    return Tuned(float(high[at]), float(sizes[at]), float(tried.fill[at]), float(tried.money[at]))


def tune_level(
    fill_at: Callable[[float], float], target: float, start: float, *, steps: int = 6, close: float = 0.001
) -> tuple[float, float]:
    """The least service level whose fill in training reaches ``target``: (level, fill).

    ``fill_at`` is costly (the real steps), so few levels are tried, each where a line through what is known says, in
    normal deviates of level and fill, which are nearly on one. It ends when a fill is above the target by less than
    ``close``. Where none is reached, the highest level.
    """
    low, high = _LEVEL_DEVIATES
    wanted = _deviate(target + close / 2)
    below: tuple[float, float] | None = None  # deviates of level and fill: the best known short of the target,
    above: tuple[float, float] | None = None  # and the least that reaches it
    best: tuple[float, float] | None = None
    at = float(np.clip(special.ndtri(start), low, high))
    for _ in range(steps):
        level = float(special.ndtr(at))
        fill = fill_at(level)
        if fill >= target:
            above = (at, _deviate(fill))
            best = (level, fill)
            if fill < target + close:
                break
        else:
            below = (at, _deviate(fill))
        if below is not None and above is not None:
            share = (wanted - below[1]) / max(above[1] - below[1], 1e-9)
            at = below[0] + float(np.clip(share, 0.15, 0.85)) * (above[0] - below[0])
        else:
            known = above or below or (at, wanted)
            at = float(np.clip(known[0] + _STEP * (wanted - known[1]), low, high))
            if at == known[0]:
                break
    if best is None:
        level = float(special.ndtr(high))
        best = (level, fill_at(level))
    return best


def _deviate(fill: float) -> float:
    """The normal deviate of a fill; of a whole one that of a fill no run is long enough to tell from it."""
    return float(special.ndtri(min(max(fill, 1e-3), 0.9998)))
