"""Tuning: every policy is brought to the same fill on training worlds, at the least money.

Of a family of levels, for each size the least dial that reaches the fill is found by bisection (fill rises with it),
all sizes at once; then the cheapest size, refined once. The planner's only dial is its policy's service level.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from planner.simulation.levels import Floats, History, simulate
from planner.simulation.opponents import Family

_STEPS = 11
"""Of bisection: to a two-thousandth of the dial's range."""
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


_known: dict[tuple[str, float, bytes], Tuned] = {}
"""A cache of ``tune``, a function of these: scenarios that differ in their bookings only have the same demand."""
_KNOWN_MOST = 1024


def tune(family: Family, history: History, target: float) -> Tuned:
    """The cheapest parameters of a family that reach a fill of ``target`` in the worlds of a history.

    Where no dial reaches it, the largest.
    """
    key = family.name, target, history.digest()
    found = _known.get(key)
    if found is None:
        if len(_known) >= _KNOWN_MOST:
            _known.clear()
        found = _known[key] = _tune(family, history, target)
    return found


def _tune(family: Family, history: History, target: float) -> Tuned:
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


def dials_reaching(family: Family, history: History, size: float, targets: Floats) -> Floats:
    """The least dials of a size that reach each of some fills in the worlds of a history."""
    sizes = np.full(targets.size, size)
    low = np.zeros(targets.size)
    high = np.full(targets.size, family.dial_most(history))
    for _ in range(_STEPS):
        middle = (low + high) / 2
        reached = simulate(history, family.levels(history, middle, sizes), sizes.size).fill >= targets
        high = np.where(reached, middle, high)
        low = np.where(reached, low, middle)
    return high


class LevelSearch:
    """The search for the service level whose fill in training is nearest to a target.

    A fill is costly (the real steps), so few levels are tried, each where a line through what is known says, in normal
    deviates of level and fill, which are nearly on one. Policies are compared at equal fill
    (``planner.simulation.equal_fill``), so that none above the target is needed.

    Args:
        close: of the target, within which it is done.
    """

    def __init__(self, target: float, start: float, *, close: float) -> None:
        self.target, self.close = target, close
        self.done = False
        """Whether a fill close to the target, or the end of the range, was found."""
        self.best = (start, float("nan"))
        """The level of which the nearest fill is known, and that fill."""
        self._at = float(np.clip(special.ndtri(start), *_LEVEL_DEVIATES))
        # deviates of level and fill: the best known short of the target, and the least that reaches it
        self._below: tuple[float, float] | None = None
        self._above: tuple[float, float] | None = None

    @property
    def level(self) -> float:
        """The level to try next; once ``done`` the one that was chosen."""
        return self.best[0] if self.done else float(special.ndtr(self._at))

    def tell(self, fill: float) -> None:
        """The fill at ``level``."""
        if self.done:
            return
        at, goal = self._at, _deviate(self.target)
        if not abs(_deviate(fill) - goal) >= abs(_deviate(self.best[1]) - goal):  # nothing is nearer than nan
            self.best = (float(special.ndtr(at)), fill)
        self.done = abs(fill - self.target) < self.close
        if fill >= self.target:
            self._above = (at, _deviate(fill))
        else:
            self._below = (at, _deviate(fill))
        wanted = _deviate(self.target + self.close / 2)
        if self._below is not None and self._above is not None:
            share = (wanted - self._below[1]) / max(self._above[1] - self._below[1], 1e-9)
            self._at = self._below[0] + float(np.clip(share, 0.15, 0.85)) * (self._above[0] - self._below[0])
        else:
            known = self._above or self._below or (at, wanted)
            self._at = float(np.clip(known[0] + _STEP * (wanted - known[1]), *_LEVEL_DEVIATES))
            self.done = self.done or self._at == known[0]


def _deviate(fill: float) -> float:
    """The normal deviate of a fill; of a whole one that of a fill no run is long enough to tell from it."""
    return float(special.ndtri(min(max(fill, 1e-3), 0.9998)))
