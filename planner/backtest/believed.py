"""What an outlook says of the series of a back-test."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from planner.backtest.series import Series
from planner.forecast.outlook import Floats, Key, Outlook


class Believed(NamedTuple):
    """Moments by series and day ahead (from the outlook's first day); arrays of shape (series, days)."""

    mean: Floats
    """Of the total through each day."""
    variance: Floats
    daily_mean: Floats
    daily_variance: Floats
    scale: Floats
    """What quantiles are whole multiples of; shape (series,)."""


def believed(outlook: Outlook, series: Sequence[Series], days: int) -> Believed:
    """The outlook's first ``days`` of each series; what it does not mention is not needed."""
    shape = (len(series), days)
    result = Believed(np.zeros(shape), np.zeros(shape), np.zeros(shape), np.zeros(shape), np.ones(len(series)))
    need, totals = outlook.need, outlook.need.totals
    items = {item: row for row, item in enumerate(need.items)}
    keys = {} if totals is None else {key: row for row, key in enumerate(totals.keys)}
    for at, one in enumerate(series):
        key: Key = (one.kind, one.id)
        if one.kind == "item" and one.id in items:
            row = items[one.id]
            moments = outlook.cumulative_mean[row], outlook.cumulative_variance[row]
            daily = need.mean[row], need.variance[row]
        elif totals is not None and key in keys:
            row = keys[key]
            moments = totals.cumulative(key)
            daily = (
                totals.firm_mean[row] + totals.to_come_mean[row],
                totals.firm_variance[row] + totals.to_come_variance[row],
            )
            result.scale[at] = totals.scale[row]
        else:
            continue
        for target, values in zip(result[:4], (*moments, *daily), strict=True):
            target[at] = values[:days]
    return result
