"""What the planner is compared with. Each family of levels has a *dial* (safety) and, where it can choose, a *size*.

- ``minmax``: reorder point and order-up-to of each item, constant, as Odoo's reordering rules: when the position is
  below the minimum, order up to the maximum, in whole multiples. Both are tuned.
- ``erpnext``: the reorder level of ERPNext's recommendation, average daily use × lead time + safety stock, checked
  daily; ordered is what is missing to the level, at least the reorder quantity. The average is that of the last 13
  weeks; safety stock = dial × standard deviation of the daily use × √(lead + 1). A person sets the reorder quantity:
  here one who knows the economic one for the average.
- ``erpnext-daily``: the same without a reorder quantity: what is missing, every day.
- ``rs-forecast``: (R, S) on a forecast: every R-th chance, order up to the forecast of the use until the next review's
  order comes, plus dial × its standard deviation. The forecast is our own simple exponential smoothing of the working
  days' use (α = .1, errors too), not one of statsforecast. R is tuned.
- ``clairvoyant``: knows what will be wanted on every day, but not which deliveries come late: it orders when what is
  there does not last until *dial* working days after the next chance's order is promised, up to *size* working days
  more. Both are tuned. No policy can know more about demand: a lower bound.

Averages and forecasts of day d read what was wanted through d, whether it was met or not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from planner.simulation.levels import Floats, History, Level, Levels, working_days

_AVERAGED_DAYS = 91
_SMOOTHING = 0.1
_NOTHING = np.zeros((1, 1))
_CALENDAR_DAYS_BEYOND = 250
"""How far after the horizon a clairvoyant may look: it sees the mean there."""


class Family(Protocol):
    """Levels by dial and size, which are arrays of shape (candidates,)."""

    @property
    def name(self) -> str: ...

    def sizes(self, history: History) -> Floats:
        """Sizes worth trying, rising."""
        ...

    def dial_most(self, history: History) -> float:
        """A dial at which hardly anything can lack."""
        ...

    def levels(self, history: History, dial: Floats, size: Floats) -> Levels:
        """The levels of candidates in the worlds of a history."""
        ...


def _per_day(history: History) -> float:
    return float(history.wanted.mean())


def _sizes_about(quantity: float, multiple: int) -> Floats:
    packs = quantity / multiple * np.array([0.15, 0.25, 0.4, 0.6, 0.8, 1.0, 1.25, 1.6, 2.0, 2.6])
    return np.unique(np.maximum(np.round(packs), 1.0))


@dataclass(frozen=True, slots=True)
class _Constant:
    level: Level

    def at(self, day: int) -> Level:
        return self.level


class MinMax:
    """See the module. Dial: the minimum, in containers. Size: multiples ordered at the least."""

    name: str = "minmax"

    def sizes(self, history: History) -> Floats:
        return _sizes_about(float(history.economic_quantity(_per_day(history))), history.facts.multiple)

    def dial_most(self, history: History) -> float:
        lead = history.facts.lead_days + 21
        return 3 * _per_day(history) * lead + 6 * float(history.wanted.max()) + history.facts.multiple

    def levels(self, history: History, dial: Floats, size: Floats) -> Levels:
        minimum = np.ceil(dial)[None, :]
        maximum = minimum + ((size - 1) * history.facts.multiple)[None, :]
        return _Constant(Level(minimum, maximum, _NOTHING))


@dataclass(frozen=True, slots=True)
class _Averaging:
    reorder: Floats  # (days, seeds, 1)
    spread: Floats
    quantity: Floats
    dial: Floats

    def at(self, day: int) -> Level:
        below = self.reorder[day] + self.dial * self.spread[day]
        return Level(below, below, self.quantity[day])


@dataclass(frozen=True, slots=True)
class Erpnext:
    """See the module. Dial: standard deviations of safety stock. It has no size to choose."""

    name: str
    economic: bool
    """Whether the reorder quantity is the economic one."""

    def sizes(self, history: History) -> Floats:
        return np.ones(1)

    def dial_most(self, history: History) -> float:
        return 40.0

    def levels(self, history: History, dial: Floats, size: Floats) -> Levels:
        mean, spread = _moving(history.wanted)
        lead = history.facts.lead_days + 1
        quantity = history.economic_quantity(mean) if self.economic else np.ones_like(mean)
        return _Averaging(
            reorder=(mean * lead).T[:, :, None],
            spread=(spread * np.sqrt(lead)).T[:, :, None],
            quantity=quantity.T[:, :, None],
            dial=dial[None, :],
        )


def _moving(wanted: Floats) -> tuple[Floats, Floats]:
    """Mean and standard deviation of the last days through each day; shapes (seeds, days)."""
    days = np.arange(1, wanted.shape[1] + 1)
    count = np.minimum(days, _AVERAGED_DAYS)
    sums = []
    for values in (wanted, wanted * wanted):
        total = np.cumsum(values, axis=1)
        total[:, _AVERAGED_DAYS:] -= total[:, :-_AVERAGED_DAYS].copy()
        sums.append(total / count)
    mean, square = sums
    return mean, np.sqrt(np.maximum(square - mean * mean, 0.0))


@dataclass(frozen=True, slots=True)
class _Reviewing:
    mean: Floats  # of a working day; (days, seeds, 1)
    spread: Floats
    cover: Floats  # working days to cover, by chance and candidate; (days, 1, candidates)
    dial: Floats

    def at(self, day: int) -> Level:
        cover = self.cover[day]
        up_to = self.mean[day] * cover + self.dial * self.spread[day] * np.sqrt(cover)
        review = cover > 0
        return Level(np.where(review, up_to, -np.inf), up_to, _NOTHING)


class PeriodicForecast:
    """See the module. Dial: standard deviations of safety stock. Size: chances between two reviews."""

    name = "rs-forecast"

    def sizes(self, history: History) -> Floats:
        return np.array([1.0, 2.0, 3.0, 4.0, 5.0, 8.0, 10.0, 15.0, 20.0, 30.0])

    def dial_most(self, history: History) -> float:
        return 40.0

    def levels(self, history: History, dial: Floats, size: Floats) -> Levels:
        mean, spread = _smoothed(history)
        chances = np.flatnonzero(history.orderable)
        counted = working_days(history, history.days + 2 * _CALENDAR_DAYS_BEYOND)
        cover = np.zeros((history.days, 1, size.size))
        for candidate, every in enumerate(size.astype(int).tolist()):
            reviews = chances[::every]
            following = np.append(reviews[1:], reviews[-1] + every)
            lead = history.facts.lead_days
            arrives = history.promised[np.minimum(following, history.days - 1)] + np.maximum(
                following - history.days + 1, 0
            )
            cover[reviews, 0, candidate] = np.maximum(counted[arrives] - counted[reviews + 1], lead > 0)
        return _Reviewing(mean.T[:, :, None], spread.T[:, :, None], cover, dial[None, :])


def _smoothed(history: History) -> tuple[Floats, Floats]:
    """Level and standard deviation of a working day's use, known at the end of each day; shapes (seeds, days)."""
    level = history.wanted[:, history.working][:, :10].mean(axis=1)
    square = np.maximum(history.wanted[:, history.working][:, :10].var(axis=1), level)
    means, spreads = np.zeros((2, *history.wanted.shape))
    for day in range(history.days):
        if history.working[day]:
            error = history.wanted[:, day] - level
            level = level + _SMOOTHING * error
            square = square + _SMOOTHING / 2 * (error * error - square)
        means[:, day], spreads[:, day] = level, np.sqrt(square)
    return means, spreads


@dataclass(frozen=True, slots=True)
class _Knowing:
    through: Floats  # wanted through the k-th working day; (seeds, working days + 1)
    today: Floats  # working days through each day; (days,)
    lasts: Floats  # working days before the promise of the next chance's order; (days,)
    dial: Floats
    size: Floats

    def at(self, day: int) -> Level:
        known = _interpolated(self.through, np.array([self.today[day]]))
        reach = self.lasts[day] + self.dial
        below = _interpolated(self.through, reach) - known
        return Level(below, _interpolated(self.through, reach + self.size) - known, _NOTHING)


class Clairvoyant:
    """See the module. Dial: working days that what is there must last after the next chance's order is promised.
    Size: working days more."""

    name = "clairvoyant"

    def sizes(self, history: History) -> Floats:
        per_working_day = max(_per_day(history) / max(float(history.working.mean()), 1e-9), 1e-9)
        economic = float(history.economic_quantity(_per_day(history))) / per_working_day
        return economic * np.array([0.0, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9, 1.15, 1.5, 2.0])

    def dial_most(self, history: History) -> float:
        return 30.0

    def levels(self, history: History, dial: Floats, size: Floats) -> Levels:
        worked = np.cumsum(history.wanted, axis=1)[:, history.working]
        more = worked[:, -1:] + worked[:, -1:] / worked.shape[1] * np.arange(1, _CALENDAR_DAYS_BEYOND)
        through = np.concatenate([np.zeros((worked.shape[0], 1)), worked, more], axis=1)
        counted = working_days(history, history.days + _CALENDAR_DAYS_BEYOND)
        chances = np.flatnonzero(history.orderable)
        days = np.arange(history.days)
        following = chances[np.minimum(np.searchsorted(chances, days, side="right"), chances.size - 1)]
        return _Knowing(through, counted[days + 1], counted[history.promised[following]], dial, size)


def _interpolated(through: Floats, at: Floats) -> Floats:
    """Values between working days, shape (seeds, candidates)."""
    at = np.clip(at, 0, through.shape[1] - 1)
    low = np.floor(at).astype(np.intp)
    high = np.minimum(low + 1, through.shape[1] - 1)
    share = at - low
    found: Floats = through[:, low] * (1 - share) + through[:, high] * share
    return found


_ALL: tuple[Family, ...] = (
    MinMax(),
    Erpnext("erpnext", economic=True),
    Erpnext("erpnext-daily", economic=False),
    PeriodicForecast(),
    Clairvoyant(),
)
FAMILIES: dict[str, Family] = {family.name: family for family in _ALL}
"""Opponents by name."""
