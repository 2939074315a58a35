"""How good forecasts were: pinball loss, coverage, bias."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from planner.forecast.outlook import Floats
from planner.messages import QUANTILES


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
