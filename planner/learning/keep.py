"""Who is lost more often than others: relative risks of segments, beside the hazards of the site as a whole.

The book (``planner.learning.book``) knows how many bookings of a site are lost at each number of days to go. Here the
losses that each *level* of some factors had (a protocol, new or series, a class of lead, a source, a weekday) are held
against those it would have had if all bookings were alike: decayed sums, kept for cancellations and for misses apart.

- A level's relative risk is (observed + w) ÷ (expected + w), the posterior mean of a risk whose prior is Gamma(w, w):
  the credibility of Bühlmann (1967, ASTIN Bulletin 4), as gamma-Poisson in Gelman et al., Bayesian Data Analysis,
  section 2.6. Expected losses are scaled to the number observed, so that only differences between levels count.
- A segment's is the product over its levels. So that what two factors share is not counted twice, the losses expected
  of a level are those with the relative risks of the *other* factors applied: iterative proportional scaling (Deming &
  Stephan 1940, Ann. Math. Stat. 11), one step a day.
- Relative to the site: divided by its mean over the bookings at risk.
- Whether it helps is asked of each loss before learning from it: given that one of the bookings at risk was lost, the
  logarithm of how much more probable the risks made this one than if all were alike (the partial likelihood of Cox
  1972, JRSS B 34). The sum decays and is bounded; while it is below ``GAIN_WANTED``, every factor is 1.

Demographic features are not used: segments have none. Where cancellations are not told, those factors stay 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import orjson

from planner.forecast.outlook import Floats
from planner.site.segment import parse

Kind = Literal["lost", "missed"]
"""Cancelled or moved before its day was over; or nobody came."""
KINDS: Final[tuple[Kind, ...]] = ("lost", "missed")

HALF_LIFE_DAYS: Final = 90.0
PRIOR_LOSSES: Final = 20.0
"""w: the relative risks of levels are believed to differ by about 1/√w, a fifth."""
GAIN_WANTED: Final = 3.0
"""Logarithm of the likelihood ratio from which the factors are believed: where nothing differs, that is ever reached
with a probability of e⁻³ = 5 % at most (Ville 1939: a likelihood ratio is a martingale)."""
GAIN_MOST: Final = 12.0
"""More is not kept, so that factors which have become wrong are dropped soon."""
LARGEST: Final = 4.0
"""A segment's factor lies in [1/LARGEST, LARGEST]."""
LEVELS_MOST: Final = 48
"""Levels kept of a factor, those with the most losses; another one's risk is 1."""
WEEK: Final = 7
_DECAY: Final = 0.5 ** (1 / HALF_LIFE_DAYS)
_FORGOTTEN: Final = 1e-3
_ONES: Final[Floats] = np.ones(WEEK)
_FORMAT: Final = 1
_FACTORS: Final = ("protocol", "kind", "lead", "source", "weekday")

Cell = tuple[str, int]
"""Segment, weekday of the session (Monday 0)."""
Demand = Mapping[int, Mapping[tuple[str, str], int]]
"""Day (ordinal) → (segment, profile) → bookings: ``SiteState.demand``."""


@dataclass(slots=True)
class Losses:
    """Bookings lost since the morning: the part that is written within the day."""

    counts: dict[Kind, dict[Cell, int]] = field(default_factory=lambda: {kind: {} for kind in KINDS})

    def observe_loss(self, segment: str, day: int, kind: Kind) -> None:
        """A booking of ``segment`` for ``day`` (ordinal) is lost."""
        counts = self.counts[kind]
        cell = (segment, _weekday(day))
        counts[cell] = counts.get(cell, 0) + 1

    def encode(self) -> bytes:
        """See ``planner.learning.part.Part``."""
        return orjson.dumps([_FORMAT, *([[*cell, n] for cell, n in self.counts[kind].items()] for kind in KINDS)])

    @classmethod
    def decode(cls, data: bytes) -> Losses:
        """See ``planner.learning.part.Part``."""
        found, *body = orjson.loads(data)
        if found != _FORMAT:
            raise ValueError(f"losses entry: found format {found!r}; expected {_FORMAT}")
        made = {kind: {(s, w): n for s, w, n in rows} for kind, rows in zip(KINDS, body, strict=True)}
        return cls(made)


@dataclass(slots=True)
class _Risks:
    """One kind of loss. ``sums``: by factor, level → [observed, expected] losses, decayed."""

    sums: list[dict[str, list[float]]] = field(default_factory=lambda: [{} for _ in _FACTORS])
    mean: float = 1.0
    """Mean product over the bookings at risk, as it was in the morning."""
    gain: float = 0.0
    risks: list[dict[str, float]] = field(default_factory=lambda: [{} for _ in _FACTORS], compare=False)
    """By factor, level → relative risk: follows from ``sums``."""

    def product(self, cell: Cell) -> float:
        """The relative risk of a segment and weekday against the bookings at risk."""
        result = 1.0 / self.mean
        for risks, level in zip(self.risks, _levels(cell), strict=True):
            result *= risks.get(level, 1.0)
        return result

    def close(self, lost: Mapping[Cell, int], learned: Mapping[Cell, float], at_risk: Mapping[Cell, float]) -> None:
        """A day is over.

        Args:
            lost: bookings lost on it.
            learned: losses to be expected from now to the end of the next day, if all are alike.
            at_risk: weights of the bookings that the next factors are relative to.
        """
        self.gain *= _DECAY
        for cell, n in sorted(lost.items()):
            self.gain += n * math.log(self.product(cell))
        self.gain = min(self.gain, GAIN_MOST)
        for levels in self.sums:
            for pair in levels.values():
                pair[0] *= _DECAY
                pair[1] *= _DECAY
        for cell, n in sorted(lost.items()):
            for levels, level in zip(self.sums, _levels(cell), strict=True):
                levels.setdefault(level, [0.0, 0.0])[0] += n
        self._expect(learned)
        for levels in self.sums:
            _forget(levels)
        self.settle()
        if at_risk:
            cells = sorted(at_risk)
            weights = np.array([at_risk[cell] for cell in cells])
            products = np.prod(self._by_factor(cells), axis=0)
            self.mean = float(weights @ products / weights.sum())

    def _expect(self, learned: Mapping[Cell, float]) -> None:
        """Add expected losses to each level, with the other factors' risks applied."""
        if not learned:
            return
        cells = sorted(learned)
        losses = np.array([learned[cell] for cell in cells])
        by_factor = self._by_factor(cells)
        whole = np.prod(by_factor, axis=0)
        names = [_levels(cell) for cell in cells]
        for at, levels in enumerate(self.sums):
            expected = losses * whole / by_factor[at]
            for row, value in zip(names, expected.tolist(), strict=True):
                levels.setdefault(row[at], [0.0, 0.0])[1] += value

    def _by_factor(self, cells: Iterable[Cell]) -> Floats:
        """Relative risks by factor and cell; shape (factors, cells)."""
        columns = zip(*map(_levels, cells), strict=True)
        rows = [[risks.get(level, 1.0) for level in column] for risks, column in zip(self.risks, columns, strict=True)]
        return np.array(rows)

    def settle(self) -> None:
        """Work out the relative risks from the sums."""
        self.risks = []
        for levels in self.sums:
            observed, expected = (math.fsum(pair[i] for pair in levels.values()) for i in (0, 1))
            scale = observed / expected if expected > 0 else 0.0
            self.risks.append(
                {level: (o + PRIOR_LOSSES) / (e * scale + PRIOR_LOSSES) for level, (o, e) in levels.items()}
            )


@dataclass(slots=True)
class Keep:
    """What was learned of segments by the morning. Mutable; its entry is written once a day."""

    kinds: dict[Kind, _Risks] = field(default_factory=lambda: {kind: _Risks() for kind in KINDS})
    begun: bool = False
    """Whether a day was closed: losses of the first one cannot be held against anything."""
    _factors: dict[tuple[Kind, str], Floats] = field(default_factory=dict, compare=False, repr=False)
    """Factors worked out since the morning: a cache."""

    def loss_factor(self, segment: str, weekday: int) -> float:
        """By how much a booking of the segment, for a weekday (Monday 0), is more often cancelled or moved on a day
        than the site's bookings are on the whole: on the hazard."""
        return float(self.loss_factors(segment)[weekday])

    def miss_factor(self, segment: str, weekday: int) -> float:
        """The same for not coming: on the probability of a miss."""
        return float(self.miss_factors(segment)[weekday])

    def loss_factors(self, segment: str) -> Floats:
        """``loss_factor`` by weekday; shape (7,). Not to be changed."""
        return self._by_weekday("lost", segment)

    def miss_factors(self, segment: str) -> Floats:
        """``miss_factor`` by weekday; shape (7,). Not to be changed."""
        return self._by_weekday("missed", segment)

    def helps(self, kind: Kind) -> bool:
        """Whether the factors have foretold which bookings were lost."""
        return self.kinds[kind].gain >= GAIN_WANTED

    def _by_weekday(self, kind: Kind, segment: str) -> Floats:
        if not self.helps(kind):
            return _ONES
        found = self._factors.get((kind, segment))
        if found is None:
            product = self.kinds[kind].product
            found = np.clip([product((segment, weekday)) for weekday in range(WEEK)], 1 / LARGEST, LARGEST)
            self._factors[kind, segment] = found
        return found

    def close_day(self, losses: Losses, demand: Demand, today: int, hazard: Floats) -> None:
        """The day ``today`` (ordinal) is over; its ``losses`` are forgotten.

        Args:
            losses: those of the day.
            demand: live bookings at its end.
            today: see above.
            hazard: of the site's bookings, of being lost on a day, by days to go from 0; shape (any,), the last one
                holding for what is farther. Only its shape matters.
        """
        at_risk = _at_risk(demand, today + 1, hazard)
        due, week = _sessions(demand, today + 1, 1), _sessions(demand, today + 1, WEEK)
        lost = losses.counts if self.begun else {kind: {} for kind in KINDS}
        self.kinds["lost"].close(lost["lost"], at_risk, at_risk)
        # all sessions of a day have one weekday: what is relative to the others is so over a week
        self.kinds["missed"].close(lost["missed"], due, week)
        for counts in losses.counts.values():
            counts.clear()
        self.begun = True
        self._factors.clear()

    def encode(self) -> bytes:
        """See ``planner.learning.part.Part``."""
        kinds = {kind: [risks.sums, risks.mean, risks.gain] for kind, risks in self.kinds.items()}
        return orjson.dumps({"format": _FORMAT, "begun": self.begun, "kinds": kinds})

    @classmethod
    def decode(cls, data: bytes) -> Keep:
        """See ``planner.learning.part.Part``."""
        body = orjson.loads(data)
        if body["format"] != _FORMAT:
            raise ValueError(f"keep entry: found format {body['format']!r}; expected {_FORMAT}")
        made = cls({kind: _Risks(*body["kinds"][kind]) for kind in KINDS}, body["begun"])
        for risks in made.kinds.values():
            risks.settle()
        return made


@lru_cache(maxsize=16_384)
def _levels(cell: Cell) -> tuple[str, ...]:
    """The cell's level of each factor, in the order of ``_FACTORS``."""
    segment, weekday = cell
    traits = parse(segment)
    return traits.protocol, "series" if traits.series else "new", traits.lead, traits.source, str(weekday)


def _forget(levels: dict[str, list[float]]) -> None:
    """Drop levels that have faded away, and beyond ``LEVELS_MOST`` those with the fewest losses."""
    kept = sorted(levels.items(), key=lambda entry: (-entry[1][0] - entry[1][1], entry[0]))[:LEVELS_MOST]
    levels.clear()
    levels.update(sorted((level, pair) for level, pair in kept if sum(pair) >= _FORGOTTEN))


def _weekday(day: int) -> int:
    return (day - 1) % WEEK  # ordinal 1 was a Monday


_EXACT: Final = 1 << 40


def _at_risk(demand: Demand, first: int, hazard: Floats) -> dict[Cell, float]:
    """Losses to be expected on day ``first`` of the bookings from then on, by cell.

    Added up in whole 2⁻⁴⁰ths: the same to the bit in whatever order the days and segments come.
    """
    parts: npt.NDArray[np.int64] = np.rint(hazard * _EXACT).astype(np.int64)
    losses: list[int] = parts.tolist()
    beyond = len(losses) - 1
    sums: list[dict[str, int]] = [{} for _ in range(WEEK)]
    for day, counts in demand.items():
        if day < first:
            continue
        loss, of_weekday = losses[min(day - first, beyond)], sums[_weekday(day)]
        for (segment, _), n in counts.items():
            of_weekday[segment] = of_weekday.get(segment, 0) + n * loss
    return {(s, w): total / _EXACT for w in range(WEEK) for s, total in sums[w].items() if total}


def _sessions(demand: Demand, first: int, days: int) -> dict[Cell, float]:
    """Bookings of some days from ``first`` on, by cell."""
    sums: dict[Cell, float] = {}
    for day in range(first, first + days):
        for (segment, _), n in demand.get(day, {}).items():
            cell = (segment, _weekday(day))
            sums[cell] = sums.get(cell, 0.0) + n
    return sums
