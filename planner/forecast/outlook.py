"""A site's outlook: the arrays that forecasts, alerts, proposals and explanations are read from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from planner.forecast.expiry import Losses
    from planner.forecast.waiting import Waiting
    from planner.learning.lateness import Punctuality

Floats = npt.NDArray[np.float64]


Kind = Literal["item", "group", "component", "sessions"]
Key = tuple[Kind, str]
"""What a forecast is of: kind and id."""
SESSIONS: Key = ("sessions", "sessions")
"""The number of sessions that take place."""


class Sessions(NamedTuple):
    """Sessions that take place; arrays by day, shape (days,), cumulative ones from the first day through a day."""

    firm_mean: Floats
    to_come_mean: Floats
    cumulative_mean: Floats
    cumulative_variance: Floats


@dataclass(frozen=True, slots=True)
class Totals:
    """Need of groups and components per day, and the number of sessions; arrays of shape (keys, days).

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
    cumulative_variance: Floats
    """Of the total from the first day through each day."""

    def cumulative(self, key: Key) -> tuple[Floats, Floats]:
        """Mean and variance of a key's total from the first day through each day; shape (days,) each.

        Raises:
            ValueError: there is no such key.
        """
        row = self.keys.index(key)
        return np.cumsum(self.firm_mean[row] + self.to_come_mean[row]), self.cumulative_variance[row]


@dataclass(frozen=True, slots=True)
class Need:
    """Need in containers per item and day; arrays of shape (items, days), days from ``first_day``.

    Variances of a day contain the error that its sessions share with other days. The total over several days has
    a variance of its own, ``cumulative_variance``: that error counts for all days at once.
    """

    first_day: date
    items: tuple[str, ...]
    firm_mean: Floats
    firm_variance: Floats
    to_come_mean: Floats
    to_come_variance: Floats
    cumulative_variance: Floats | None = None
    """Of the total from the first day through each day; None: days are independent."""
    totals: Totals | None = None
    unsettled: Floats | None = None
    """Containers that sessions of the last days, whose end has not been told, are expected to have used; (items,)."""
    other_mean: Floats | None = None
    """Of ``to_come_mean``, what no booking explains; shape (items, days); None: nothing."""
    portions: Mapping[str, int] = field(default_factory=dict)
    """Containers of an item of which every session takes a multiple, where it is more than one
    (``planner.forecast.portions``)."""

    @property
    def keys(self) -> set[Key]:
        """What it gives forecasts of."""
        return {("item", item) for item in self.items} | set(self.totals.keys if self.totals is not None else ())

    @property
    def sessions(self) -> Sessions | None:
        """The number of sessions; None where totals were not asked for."""
        if self.totals is None:
            return None
        row = self.totals.keys.index(SESSIONS)
        firm, to_come = self.totals.firm_mean[row], self.totals.to_come_mean[row]
        return Sessions(firm, to_come, *self.totals.cumulative(SESSIONS))

    @property
    def mean(self) -> Floats:
        return self.firm_mean + self.to_come_mean

    @property
    def variance(self) -> Floats:
        return self.firm_variance + self.to_come_variance


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Outlook:
    """Need against supply; arrays of shape (items, days) aligned with ``need``.

    ``supply[i, d]``: containers that can have been used by the end of day d in the expected course (on hand, and what
    has probably come by then, less what will have expired unused, less par stock and deficit). ``cumulative_mean`` and
    ``cumulative_variance``: need from the first day through day d. ``risk[i, d]``: probability that need through d
    exceeds supply.
    """

    need: Need
    supply: Floats
    cumulative_mean: Floats
    cumulative_variance: Floats
    risk: Floats
    expiring: tuple[tuple[ExpiringLot, ...], ...]
    """Per item, lots of which some will probably be left at expiry."""
    base: Floats | None = None
    """``supply`` without what is on order; None: ``supply``, and nothing is on order but what surely comes."""
    losses: Losses | None = None
    """What of ``supply`` is left out since it will expire; None: nothing."""
    waiting: Waiting | None = None
    """What is on order, as random arrivals; None: nothing."""
    punctuality: Mapping[str, Punctuality] | None = None
    """Supplier → what to expect of it; None: what the catalogue states."""

    def taken(self) -> tuple[Floats, Floats, Floats]:
        """(mean, variance, what was added to the mean) of what is used or expires from the first day through each day,
        less what of it is certain; item i has run out by the end of day d when it is more than ``base`` + what was
        added + what has come."""
        if self.losses is None:
            return self.cumulative_mean, self.cumulative_variance, np.zeros_like(self.cumulative_mean)
        variance = np.maximum(self.cumulative_variance - self.losses.relief, 0.0)
        added = self.losses.unused - self.losses.certain
        return self.cumulative_mean + added, variance, added

    @property
    def position(self) -> Floats:
        """Whole containers on hand and on order, shape (items,)."""
        if self.base is None:
            return np.rint(self.supply[:, -1])
        there = self.base[:, 0].copy()
        if self.waiting is not None and self.waiting.quantity.size:
            row = np.repeat(np.arange(there.size), np.diff(self.waiting.begins))
            there += np.bincount(row, self.waiting.quantity, there.size)
        return np.rint(there)

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
