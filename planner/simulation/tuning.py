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
_LEVEL_DEVIATES = (-1.0, 3.9)
"""Range of the planner's service level, as normal deviates: 16 % to 99.995 %."""


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


def tune_level(fill_at: Callable[[float], float], target: float, start: float, steps: int = 6) -> tuple[float, float]:
    """The least service level whose fill in training reaches ``target``: (level, fill).

    ``fill_at`` is costly (the real steps), so few levels are tried: bisection on the normal deviate of the level,
    from ``start`` outwards.
    """
    low, high = _LEVEL_DEVIATES
    at = float(np.clip(special.ndtri(start), low + 0.2, high - 0.2))
    best: tuple[float, float] | None = None
    width = 0.8
    below, above = low, high
    for _ in range(steps):
        level = float(special.ndtr(at))
        fill = fill_at(level)
        if fill >= target:
            above = at
            if best is None or level < best[0]:
                best = (level, fill)
            at = (below + at) / 2 if below > low else max(at - width, low)
        else:
            below = at
            at = (above + at) / 2 if above < high else min(at + width, high)
    if best is None:
        level = float(special.ndtr(high))
        best = (level, fill_at(level))
    return best
