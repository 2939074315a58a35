"""Whether forecasts have begun to go wrong: cumulative sums of errors against what has been usual.

Page 1954, "Continuous inspection schemes" (Biometrika 41, eq. 2), two-sided. With z the error of a total in standard
deviations as claimed, b the usual bias in the same unit (mean error of the slow scores, half-life 90 days), and w =
min(1, s/L) the part of an error that overlapping totals leave (see ``calibration``):

    S⁺ ← max(0, S⁺ + w·(z − b⁺ − SLACK)),        S⁻ ← max(0, S⁻ + w·(−z − b⁻ − SLACK)),

b⁺ and b⁻ the parts of b above and below 0: a bias as usual is no news, and a bias that goes is no drift. z is held
within ± ``CLIP``, so that no single error is drift.

With SLACK ½ and independent errors as claimed, a sum passes ``RAISE`` = 6 once in some 1 300 errors (Siegmund 1985),
and after a shift by two standard deviations within four. It is drift until both are below ``LET_GO``; the sums are held
below ``HIGHEST``, so that what is over is soon over. Too many outcomes beyond what was called hardly exceeded are drift
as well: when the fast part θ of a series' calibration, whose half-life is 28 days, passes ``SPREAD_RAISE`` (five times
its own standard deviation) until it is below ``SPREAD_LET_GO``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from planner.forecast.outlook import Floats
from planner.learning.calibration import LEADS, SHARES, STRIDES

SLACK: Final = 0.5
RAISE: Final = 6.0
LET_GO: Final = 3.0
HIGHEST: Final = 7.0
CLIP: Final = 3.0
SPREAD_RAISE: Final = 0.9
SPREAD_LET_GO: Final = 0.4
SCORED_LEAST: Final = 28
"""Days of origins scored before drift is looked for: before, there is nothing usual to depart from."""
RECENT_HALF_LIFE_DAYS: Final = 14

UP, DOWN, ERROR, REALISED = range(4)
"""Rows of the sums: S⁺, S⁻; recent error and recent outcome, decayed alike, whose ratio is the recent bias."""
ROWS: Final = 4

_SMALLEST: Final = 1e-9
_RECENT: Final = 0.5 ** (np.array(STRIDES) / RECENT_HALF_LIFE_DAYS)


@dataclass(frozen=True, slots=True)
class Drift:
    """How a series has drifted."""

    lead: int
    """Days of the totals that show it most clearly."""
    size: float
    """The larger cumulative sum, in standard deviations."""
    recent_bias: float
    """Recent mean error ÷ recent mean outcome: above 0, more is used than was forecast."""
    spread: bool
    """Whether it is (also) that too many outcomes are beyond what was called hardly exceeded."""


def watch(sums: Floats, *, error: Floats, deviation: Floats, realised: Floats, usual: Floats, lead: int) -> Floats:
    """The sums of one lead (its index) after an outcome.

    Args:
        sums: shape (ROWS, series); the others (series,): ``error`` outcome − mean, ``deviation`` as claimed, ``usual``
            mean error of the slow scores, nan while too little has been scored to know one.
    """
    scale = np.maximum(deviation, _SMALLEST)
    away, bias = np.clip(error / scale, -CLIP, CLIP), usual / scale
    up, down = away - np.maximum(bias, 0.0), -away - np.maximum(-bias, 0.0)
    result = np.empty_like(sums)
    for row, by in ((UP, up), (DOWN, down)):
        # nan: nothing usual is known yet
        result[row] = np.nan_to_num(np.clip(sums[row] + SHARES[lead] * (by - SLACK), 0.0, HIGHEST))
    result[ERROR] = _RECENT[lead] * sums[ERROR] + error
    result[REALISED] = _RECENT[lead] * sums[REALISED] + realised
    return result


def drift_of(sums: Floats, adapted: Floats, *, standing: bool) -> Drift | None:
    """Whether a series drifts, given whether that is already known.

    Args:
        sums: its sums, shape (ROWS, leads); ``adapted``: θ, shape (leads,).
    """
    sizes = np.maximum(sums[UP], sums[DOWN])
    off = bool(sizes.max() >= (LET_GO if standing else RAISE))
    spread = bool(adapted.max() >= (SPREAD_LET_GO if standing else SPREAD_RAISE))
    if not off and not spread:
        return None
    lead = int(sizes.argmax() if off else adapted.argmax())
    recent = float(sums[REALISED, lead])
    bias = float(sums[ERROR, lead]) / recent if recent > 0 else 0.0
    return Drift(LEADS[lead], float(sizes[lead]), bias, spread)
