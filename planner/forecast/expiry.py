"""What will expire unused under first expired, first out, given that need is random.

What an item's shelf loses by the end of day d is what is used or expires, Y(d). With Y = X (the need) before the first
lot expires, and B_j containers in the lots that expire no later than lot j, on its last day e_j

    Y(e_j) becomes max(Y(e_j), B_j)                 (what of B_j has not been used is lost)
    Y(d) = Y(e_j) + X(d) − X(e_j) until the next

and the item has run out by d just when Y(d) exceeds all the supply through d: in days of high need little expires, so
the two must not be added as if each came alone. We carry mean and variance of Y, each maximum from those of the member
of the class of ``quantiles`` that has them. So need + w is the mean of Y, and its variance that of the need − r:

    w_j = w_{j−1} + E(B_j − Y)⁺        r_j = Var X(e_j) − Var max(Y, B_j)

What of Y is as good as certain (stock that expires whole) is taken off both sides first, so that the rest keeps the
dispersion of the need. S. Nahmias, *Perishable Inventory Systems*, 2011, ch. 2, has the exact dynamics; the tests
compare with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import NamedTuple

import numpy as np

from planner.forecast.loss import partial_moments
from planner.forecast.outlook import ExpiringLot, Floats

LIKELY_UNUSED = 0.5
"""A lot is called expiring from this probability on that some of it will be left."""


_NOTHING = 1e-12


class Expiring(NamedTuple):
    """A lot, or the rest of an open container (``lot`` None), whose last day is in the horizon."""

    row: int
    day: int
    lot: str | None
    expiry: date
    quantity: float


class Losses(NamedTuple):
    """What expiry takes; arrays of shape (items, days) that hold for the days from the column on."""

    unused: Floats
    """w: containers expected to have expired unused before each day."""
    relief: Floats
    """r: variance of the need that these absorb."""
    certain: Floats
    """Whole containers of Y that are as good as certain: w and the part of the need whose variance is absorbed."""
    lots: tuple[tuple[ExpiringLot, ...], ...]


def losses(expiring: Sequence[Expiring], mean: Floats, variance: Floats) -> Losses | None:
    """What the lots lose; None if none of them ends in the horizon.

    Args:
        expiring: of each row in the order in which they are used; ``day`` before the last column.
        mean, variance: of the need from the first day through each day, shape (items, days).
    """
    if not expiring:
        return None
    rows_n, days = mean.shape
    taken, relief, total = np.zeros((3, rows_n))
    by_day, relief_by_day = np.zeros((2, rows_n, days))
    found: list[list[ExpiringLot]] = [[] for _ in range(rows_n)]
    ranks: list[list[Expiring]] = []
    seen = [0] * rows_n
    for lot in expiring:
        if seen[lot.row] == len(ranks):
            ranks.append([])
        ranks[seen[lot.row]].append(lot)
        seen[lot.row] += 1
    for lots in ranks:  # the first of each item at once, then the second …
        rows = np.array([lot.row for lot in lots])
        columns = np.array([lot.day for lot in lots])
        total[rows] += [lot.quantity for lot in lots]
        before = mean[rows, columns] + taken[rows]
        spread = np.maximum(variance[rows, columns] - relief[rows], 0.0)
        reached, excess, square = partial_moments(before, spread, total[rows])
        unused = np.maximum(total[rows] + excess - before, 0.0)
        lost = np.minimum(unused, [lot.quantity for lot in lots])
        absorbed = variance[rows, columns] - np.maximum(square - excess**2, 0.0)
        np.add.at(by_day, (rows, columns + 1), lost)
        np.add.at(relief_by_day, (rows, columns + 1), absorbed - relief[rows])
        taken[rows] += lost
        relief[rows] = absorbed
        for lot, probability, left in zip(lots, (1.0 - reached).tolist(), lost.tolist(), strict=True):
            if lot.lot is not None and probability >= LIKELY_UNUSED:
                found[lot.row].append(ExpiringLot(lot.lot, lot.expiry, int(lot.quantity), left, probability))
    unused_by_day, relief_by_day = by_day.cumsum(axis=1), relief_by_day.cumsum(axis=1)
    absorbed_share = np.divide(relief_by_day, variance, out=np.zeros_like(variance), where=variance > _NOTHING)
    certain = np.floor(unused_by_day + np.clip(absorbed_share, 0.0, 1.0) * mean)
    return Losses(unused_by_day, relief_by_day, certain, tuple(tuple(row) for row in found))
