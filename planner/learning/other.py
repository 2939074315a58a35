"""Use that no booking explains, by item: what is told of it, and what counts do not find.

**Told** (a dispense without a booking where completions take stock, a drug given that no protocol asked for): mostly
nothing, now and then something. Two methods follow the chance p of a day's use and its size z, smoothed exponentially:

- TSB (Teunter, Syntetos & Babai 2011, *Eur. J. Oper. Res.* 214, 606–615): p moves with every day, β, and z with every
  use, α; so an item that is used no more is forgotten. Rate p z.
- SBA (Syntetos & Boylan 2005, *Int. J. Forecasting* 21, 303–314): Croston's z ÷ q, q the interval between uses, both
  smoothed with α at every use, less its bias: rate (1 − α/2) z/q; so p = (1 − α/2)/q.

Both begin as plain averages (gain 1/n until that is below the constant; a site's days before an item's first use count
for p). The one with the smaller decayed squared error of its one-day forecasts is used, TSB when they are alike. A day
is a compound Bernoulli: with probability p an amount of mean z and variance s² (smoothed as z; the first use is worth
one amount of an exponential distribution, s = z):

    mean = p z        variance = p (s² + z²) − (p z)² = p s² + p (1 − p) z²

**Counts**: a shortfall S_j beyond the policy's tolerance after N_j open days is λ = Σ S ÷ (Σ N + ``PRIOR_DAYS``) a
day; a surplus takes back. Sums are halved every ``HALF_LIFE_DAYS``. Per day the variance is the larger of λ (single
containers) and Σ (S_j − λ N_j)²/N_j ÷ (number of counts).

A day is one on which the site is open, or on which something was used all the same. Amounts are containers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, field
from typing import Final, NamedTuple

import numpy as np
import orjson

from planner.forecast.outlook import Floats

ALPHA: Final = 0.1
BETA: Final = 0.05
SCORE_DECAY: Final = 0.99
"""Of squared errors, per day."""
HALF_LIFE_DAYS: Final = 90.0
PRIOR_DAYS: Final = 30.0
"""Days without any loss that a site begins with."""
FORGOTTEN_PER_DAY: Final = 1e-4
"""An item of which less is expected is forgotten."""
_DECAY: Final = 0.5 ** (1 / HALF_LIFE_DAYS)
_DIGITS: Final = 6
"""Decimals of decayed sums: keeps their entry short."""
_FORMAT: Final = 1


class Expected(NamedTuple):
    """Containers on an open day: mean and variance."""

    mean: float
    variance: float


@dataclass(slots=True)
class Intermittent:
    """One item's use on days of which most have none."""

    size: float = 0.0
    spread: float = 0.0
    """Variance of the size, smoothed as it is."""
    chance: float = 0.0
    interval: float = 0.0
    since: int = 0
    """Days since the last use; before the first, since the site began."""
    uses: int = 0
    tsb_error: float = 0.0
    sba_error: float = 0.0
    first_day: int = 0
    """Ordinal of the day of the first use."""

    def step(self, amount: float, *, chance_gain: float, size_gain: float) -> None:
        """A day is over, with ``amount`` used on it."""
        self.tsb_error = SCORE_DECAY * self.tsb_error + (amount - self.tsb) ** 2
        self.sba_error = SCORE_DECAY * self.sba_error + (amount - self.sba) ** 2
        self.since += 1
        self.chance += chance_gain * ((amount > 0) - self.chance)
        if amount <= 0:
            return
        if not self.uses:
            self.size, self.interval = amount, float(self.since)
        else:
            before = self.size
            self.size += size_gain * (amount - before)
            self.spread += size_gain * ((amount - before) * (amount - self.size) - self.spread)
            self.interval += size_gain * (self.since - self.interval)
        self.since = 0
        self.uses += 1

    @property
    def tsb(self) -> float:
        """Containers a day, by TSB."""
        return self.chance * self.size

    @property
    def sba(self) -> float:
        """Containers a day, by SBA."""
        return (1 - ALPHA / 2) * self.size / self.interval if self.uses else 0.0

    @property
    def method(self) -> str:
        """The one with the smaller error so far."""
        return "SBA" if self.sba_error < self.tsb_error else "TSB"

    def expected(self) -> Expected:
        """Of a day to come."""
        if not self.uses:
            return Expected(0.0, 0.0)
        p = self.chance if self.method == "TSB" else min((1 - ALPHA / 2) / self.interval, 1.0)
        known = min(self.uses, 1 / ALPHA)
        spread = ((known - 1) * self.spread + self.size**2) / known
        return Expected(p * self.size, p * spread + p * (1 - p) * self.size**2)


@dataclass(slots=True)
class Missing:
    """What an item's counts did not find; sums over counts, decayed."""

    containers: float = 0.0
    days: float = 0.0
    squares_per_day: float = 0.0
    """Σ S²/N."""
    counts: float = 0.0

    def age(self) -> None:
        """A day has passed."""
        self.containers = round(self.containers * _DECAY, _DIGITS)
        self.days = round(self.days * _DECAY, _DIGITS)
        self.squares_per_day = round(self.squares_per_day * _DECAY, _DIGITS)
        self.counts = round(self.counts * _DECAY, _DIGITS)

    def expected(self) -> Expected:
        """Of a day to come."""
        rate = max(self.containers, 0.0) / (self.days + PRIOR_DAYS)
        if not rate:
            return Expected(0.0, 0.0)
        residual = self.squares_per_day - 2 * rate * self.containers + rate * rate * self.days
        return Expected(rate, max(rate, residual / max(self.counts, 1.0)))


@dataclass(slots=True)
class Other:
    """The part ``other`` of what a site has learned."""

    days: int = 0
    """Days seen."""
    told: dict[str, Intermittent] = field(default_factory=dict)
    missing: dict[str, Missing] = field(default_factory=dict)
    counted_on: dict[str, int] = field(default_factory=dict)
    """Item → ``days`` at its last count."""

    def expected(self, item: str) -> Expected:
        """Containers of an item on an open day that no booking explains."""
        told, missing = self.told.get(item), self.missing.get(item)
        parts = [part.expected() for part in (told, missing) if part is not None]
        return Expected(sum(part.mean for part in parts), sum(part.variance for part in parts))

    def use(self, items: Sequence[str]) -> tuple[Floats, Floats]:
        """Mean and variance on an open day, in containers; arrays aligned with ``items``."""
        known = [self.expected(item) for item in items]
        return np.array([each.mean for each in known]), np.array([each.variance for each in known])

    @property
    def items(self) -> set[str]:
        """Those of which something is expected."""
        return {item for item in (*self.told, *self.missing) if self.expected(item).mean > 0}

    def close_day(self, day: int, amounts: Mapping[str, float], *, is_open: bool) -> None:
        """A day (ordinal) is settled; ``amounts``: item → containers used on it without a booking."""
        for missing in self.missing.values():
            missing.age()
        if not (is_open or amounts):
            return
        for item, amount in amounts.items():
            if amount > 0 and item not in self.told:
                self.told[item] = Intermittent(since=self.days, first_day=day)
        self.days += 1
        chance_gain = max(BETA, 1 / (self.days + 1))
        for item, known in list(self.told.items()):
            size_gain = max(ALPHA, 1 / (known.uses + 1))
            known.step(amounts.get(item, 0.0), chance_gain=chance_gain, size_gain=size_gain)
            if max(known.tsb, known.expected().mean) < FORGOTTEN_PER_DAY:
                del self.told[item]

    def begin_counts(self, item: str) -> int | None:
        """An item was counted on the day that was closed last: days since its last count; None: it had none."""
        last = self.counted_on.get(item)
        self.counted_on[item] = self.days
        return None if last is None else max(self.days - last, 1)

    def miss(self, item: str, containers: float, days: int) -> None:
        """A count after ``days`` did not find so many containers (negative: found more; 0: it agreed)."""
        sums = self.missing.setdefault(item, Missing())
        sums.containers += containers
        sums.days += days
        sums.squares_per_day += containers * containers / days
        sums.counts += 1

    def encode(self) -> bytes:
        """See ``planner.learning.part.Part``."""
        told = {item: astuple(known) for item, known in self.told.items()}
        missing = {item: astuple(sums) for item, sums in self.missing.items()}
        return orjson.dumps([_FORMAT, self.days, told, missing, self.counted_on])

    @classmethod
    def decode(cls, data: bytes) -> Other:
        """See ``planner.learning.part.Part``."""
        found, *body = orjson.loads(data)
        if found != _FORMAT:
            raise ValueError(f"other entry: found format {found!r}; expected {_FORMAT}")
        days, told, missing, counted_on = body
        return cls(
            days,
            {item: Intermittent(*known) for item, known in told.items()},
            {item: Missing(*sums) for item, sums in missing.items()},
            counted_on,
        )
