"""How good forecasts were: pinball loss, coverage, bias."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import special

from planner.forecast.outlook import Floats
from planner.messages import QUANTILES

_STEPS = 200
"""Of an integral over an angle, whose integrand is smooth: to four digits."""


class Score(NamedTuple):
    """Of forecasts of one series at one lead, by one method; figures ÷ mean are nan where nothing took place."""

    n: int
    mean_demand: float
    pinball: float
    """Mean over origins and quantiles."""
    pinball_over_mean: float
    coverage: tuple[float, ...]
    """By quantile: share of origins whose outcome is at most the quantile."""
    bias_over_mean: float
    """Mean of (mean forecast − outcome) ÷ mean demand: above 0 is too much."""
    mae_over_mean: float
    """Mean absolute error of the median ÷ mean demand."""


def pinball_loss(outcome: Floats, quantiles: Floats) -> Floats:
    """Loss of each quantile forecast: max(q (y − f), (q − 1)(y − f)) (Koenker & Bassett 1978).

    Args:
        outcome: y, shape (n,).
        quantiles: f at the levels of ``QUANTILES``, shape (n, levels).

    Returns:
        Shape (n, levels).
    """
    levels = np.array(QUANTILES)
    over = outcome[:, None] - quantiles
    loss: Floats = np.maximum(levels * over, (levels - 1) * over)
    return loss


def score(outcome: Floats, quantiles: Floats, mean: Floats) -> Score:
    """The score of n ≥ 1 forecasts.

    Args:
        outcome: shape (n,).
        quantiles: shape (n, levels).
        mean: shape (n,).

    Raises:
        ValueError: there is no forecast.
    """
    if outcome.size == 0:
        raise ValueError("forecasts: found none; expected at least one to score")
    demand = float(outcome.mean())
    loss = float(pinball_loss(outcome, quantiles).mean())
    covered = (outcome[:, None] <= quantiles).mean(axis=0)
    bias = float((mean - outcome).mean())
    error = float(np.abs(outcome - quantiles[:, QUANTILES.index(0.5)]).mean())
    scale = demand if demand > 0 else float("nan")
    return Score(
        n=outcome.size,
        mean_demand=demand,
        pinball=loss,
        pinball_over_mean=loss / scale,
        coverage=tuple(float(share) for share in covered),
        bias_over_mean=bias / scale,
        mae_over_mean=error / scale,
    )


def coverage_error(origins: npt.NDArray[np.int64], lead: int, level: float) -> float:
    """Standard error of the coverage of quantiles that are right, where days are independent.

    Totals of origins less than ``lead`` days apart share days: two that share the part ρ of theirs have, nearly, the
    correlation ρ, and are both within their quantile z with Φ₂(z, z; ρ) (Plackett 1954, Biometrika 41: its derivative
    by ρ is the bivariate normal density). Of a year's daily origins, totals of 28 days are but thirteen.

    Args:
        origins: ordinals of days, each once, at least one.
        lead: days of the totals.
        level: of the quantile, within (0, 1).
    """
    there = np.zeros(int(origins.max() - origins.min()) + 1)
    there[origins - origins.min()] = 1.0
    pairs = [float(there[apart:] @ there[: there.size - apart]) for apart in range(min(lead, there.size))]
    angle = np.arcsin(1 - np.arange(len(pairs)) / lead)
    steps = np.linspace(0.0, 1.0, _STEPS)[:, None] * angle
    z = special.ndtri(level)
    shared = np.trapezoid(np.exp(-z * z / (1 + np.sin(steps))), steps, axis=0) / (2 * np.pi)
    twice = np.where(np.arange(len(pairs)) > 0, 2.0, 1.0)  # each pair, and itself once
    return float(np.sqrt((twice * pairs * shared).sum()) / origins.size)
