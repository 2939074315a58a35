"""What an outcome adds to the scores of a forecast: losses, coverage, standardised errors, and the simple method's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from planner.forecast.outlook import Floats
from planner.forecast.quantiles import quantiles, survival
from planner.learning import calibration, drift, simple
from planner.learning.calibration import DECAY, STRIDES
from planner.learning.compact import TOLERANCE
from planner.messages import QUANTILES

COUNT, ERROR, LOSS, BELOW_80, BELOW_90, BELOW_95, USE, SQUARED, ADAPTED = range(9)
SIMPLE_COUNT, SIMPLE_WORSE, SIMPLE_SQUARED = range(9, 12)
"""Rows of the sums. ``SIMPLE_WORSE`` is of the simple method's loss less the planner's; ``ADAPTED`` is no sum but θ."""
ROWS: Final = 12
MEAN, DEVIATION, FACTOR, SIMPLE_MEAN = range(4)
"""Rows of what a forecast said."""
SAID: Final = 4

_COVERED = [QUANTILES.index(level) for level in (0.8, 0.9, 0.95)]
_ADAPTING = [QUANTILES.index(level) for level in (0.9, 0.95)]
_TAU = np.array(QUANTILES)[:, None, None, None]


def judge(before: Floats, said: Floats, outcome: Floats, leads: Sequence[int]) -> Floats:
    """The sums after outcomes.

    Args:
        before: shape (ROWS, leads, series); said: (SAID, leads, series), nan where nothing was said (of the simple
            method: of series that it does not forecast); outcome: (leads, series).
        leads: the index of each lead; different ones.
    """
    told, simply = ~np.isnan(said[MEAN]), ~np.isnan(said[SIMPLE_MEAN])
    mean, deviation, factor, other = np.nan_to_num(said)
    variance = _variance(mean, deviation)
    own = simple.variances(before[SIMPLE_SQUARED], before[SIMPLE_COUNT], variance)
    both = quantiles(np.stack((mean, other)), np.stack((variance, np.where(simply, own, 0.0))), exact=False)
    levels = both[:, 0]
    missed = outcome * (1 - TOLERANCE) > levels
    loss, simple_loss = _loss(outcome, both)
    added = np.zeros_like(before)
    added[COUNT] = 1.0
    added[ERROR] = outcome - mean
    added[LOSS] = loss
    added[BELOW_80 : BELOW_95 + 1] = ~missed[_COVERED]
    added[USE] = outcome
    added[SQUARED] = factor * calibration.squared(outcome, mean, variance)
    added[SIMPLE_COUNT] = simply
    added[SIMPLE_WORSE] = np.where(simply, simple_loss - loss, 0.0)
    added[SIMPLE_SQUARED] = np.where(simply, (outcome - other) ** 2, 0.0)
    decay = np.repeat(DECAY[leads][None], ROWS, axis=0)
    decay[SIMPLE_COUNT:] = simple.DECAY[leads]
    after = decay[:, :, None] * before + added
    allowed = survival(mean, variance, levels[_ADAPTING])
    for number, lead in enumerate(leads):
        after[ADAPTED, number] = calibration.adapt(
            before[ADAPTED, number], missed[_ADAPTING, number], allowed[:, number], lead
        )
    return np.where(told, after, before)


def watch(before: Floats, sums: Floats, said: Floats, outcome: Floats, leads: Sequence[int]) -> Floats:
    """The sums that drift is looked for in, after outcomes; all of the series that are watched.

    Args:
        before: shape (drift.ROWS, leads, series); sums: as they were before the outcomes; the others as of ``judge``.
    """
    told = ~np.isnan(said[MEAN])
    mean, deviation, _, _ = np.nan_to_num(said)
    spread = np.sqrt(_variance(mean, deviation))
    after = np.empty_like(before)
    for number, lead in enumerate(leads):
        after[:, number] = drift.watch(
            before[:, number],
            error=outcome[number] - mean[number],
            deviation=spread[number],
            realised=outcome[number],
            usual=_usual(sums[:, number], lead),
            lead=lead,
        )
    return np.where(told, after, before)


def _variance(mean: Floats, deviation: Floats) -> Floats:
    """As claimed, and at least that of a whole number with the mean."""
    fraction = mean - np.floor(mean)
    result: Floats = np.maximum(deviation * deviation, fraction * (1 - fraction))
    return result


def _loss(outcome: Floats, levels: Floats) -> Floats:
    """Mean pinball loss over ``QUANTILES``; levels: (quantiles, methods, *outcome.shape)."""
    above = outcome - levels
    result: Floats = np.maximum(_TAU * above, (_TAU - 1) * above).mean(axis=0)
    return result


def _usual(sums: Floats, lead: int) -> Floats:
    """Usual error of a lead's totals; nan where too few have been scored."""
    origins = drift.SCORED_LEAST // STRIDES[lead]
    decay = DECAY[lead]
    enough = sums[COUNT] >= (1 - decay**origins) / (1 - decay)
    result: Floats = np.where(enough, sums[ERROR] / np.maximum(sums[COUNT], 1.0), np.nan)
    return result
