"""A site's outlook: the arrays that forecasts, alerts, proposals and explanations are read from."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


Kind = Literal["item", "group", "component"]
Key = tuple[Kind, str]
"""What a forecast is of: kind and id."""


@dataclass(frozen=True, slots=True)
class Totals:
    """Need of groups and components per day; arrays of shape (keys, days).

    A group counts containers of its items, a component the content of its items' containers in ``units``. The
    items of a session come and go together, so the variance is that of the sessions' sums, not the sum of the
    items' variances. ``scale`` is the amount in one container: what quantiles are whole multiples of.
    """

    keys: tuple[Key, ...]
    units: tuple[str, ...]
    scale: Floats
    firm_mean: Floats
    firm_variance: Floats
    to_come_mean: Floats
    to_come_variance: Floats


@dataclass(frozen=True, slots=True)
class Need:
    """Need in containers per item and day; arrays of shape (items, days), days from ``first_day``."""

    first_day: date
    items: tuple[str, ...]
    firm_mean: Floats
    firm_variance: Floats
    to_come_mean: Floats
    to_come_variance: Floats
    totals: Totals | None = None
    unsettled: Floats | None = None
    """Containers that sessions of the last days, whose end has not been told, are expected to have used; (items,)."""

    @property
    def mean(self) -> Floats:
        return self.firm_mean + self.to_come_mean

    @property
    def variance(self) -> Floats:
        return self.firm_variance + self.to_come_variance


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Outlook:
    """Need against supply; arrays of shape (items, days) aligned with ``need``.

    ``supply[i, d]``: containers that can have been used by the end of day d (on hand and due by then, less what
    will have expired unused, less par stock and deficit). ``cumulative_mean`` and ``cumulative_variance``: need
    from the first day through day d. ``risk[i, d]``: probability that need through d exceeds supply.
    """

    need: Need
    supply: Floats
    cumulative_mean: Floats
    cumulative_variance: Floats
    risk: Floats
    expiring: tuple[tuple[ExpiringLot, ...], ...]
    """Per item, lots of which some will probably be left at expiry."""

    @property
    def usable(self) -> Floats:
        return self.supply - self.cumulative_mean


@dataclass(frozen=True, slots=True)
class ExpiringLot:
    """A lot that will probably not be used up: expected containers left, and the probability that any is."""

    lot: str
    expiry: date
    quantity: int
    expected_unused: float
    probability: float
