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
- Relative to the site: divided by its mean over the bookings at risk with as many days to go. The site's hazard at so
  many days is that of those who are there (far ahead there are only some segments), and stays so.
- Days keep their totals: the site's own figures are those that are scored, and segments share them out. So the keep
  probabilities of each day ahead are scaled to the mean that the site's have over its bookings (``balance``).
- Whether it helps is asked of each loss before learning from it: given that one of the bookings at risk was lost, the
  logarithm of how much more probable the risks made this one than if all were alike (the partial likelihood of Cox
  1972, JRSS B 34). The sum decays and is bounded; while it is below ``GAIN_WANTED``, every factor is 1.

Demographic features are not used: segments have none. Where cancellations are not told, those factors stay 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import orjson

from planner.forecast.outlook import Floats
from planner.learning.booked import GROUP_OF, GROUPS, WEEK, Booked, Weights, group_of, weekday_of
from planner.learning.packed import pack, rounded, unpack
from planner.messages import HORIZON_DAYS
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
_DECAY: Final = 0.5 ** (1 / HALF_LIFE_DAYS)
_FORGOTTEN: Final = 1e-3
_LEAST: Final = 1e-9
_AHEAD: Final[npt.NDArray[np.intp]] = np.arange(HORIZON_DAYS)
_FORMAT: Final = 1
_FACTORS: Final = ("protocol", "kind", "lead", "source", "weekday")

Cell = tuple[str, int, int]
"""Segment, weekday of the session (Monday 0), group of days to go (of a miss: 0)."""


@dataclass(slots=True)
class Losses:
    """Bookings lost since the morning: the part that is written within the day."""

    counts: dict[Kind, dict[Cell, int]] = field(default_factory=lambda: {kind: {} for kind in KINDS})

    def observe_loss(self, segment: str, day: int, kind: Kind, today: int) -> None:
        """A booking of ``segment`` for ``day`` (ordinal) is lost ``today``."""
        counts = self.counts[kind]
        cell = (segment, weekday_of(day), group_of(day - today) if kind == "lost" else 0)
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
        made = {kind: {(s, w, g): n for s, w, g, n in rows} for kind, rows in zip(KINDS, body, strict=True)}
        return cls(made)


@dataclass(slots=True)
class _Risks:
    """One kind of loss. ``sums``: by factor, level → [observed, expected] losses, decayed."""

    sums: list[dict[str, list[float]]] = field(default_factory=lambda: [{} for _ in _FACTORS])
    means: list[float] = field(default_factory=lambda: [1.0] * GROUPS)
    """Mean product over the bookings at risk, as it was in the morning, by group of days to go."""
    gain: float = 0.0
    risks: list[dict[str, float]] = field(default_factory=lambda: [{} for _ in _FACTORS], compare=False)
    """By factor, level → relative risk: follows from ``sums``."""

    def product(self, cell: Cell) -> float:
        """The relative risk of a segment and weekday against the bookings at risk with as many days to go."""
        result = 1.0 / self.means[cell[2]]
        for risks, level in zip(self.risks, _levels(cell[0], cell[1]), strict=True):
            result *= risks.get(level, 1.0)
        return result

    def close(self, lost: Mapping[Cell, int], learned: Weights, at_risk: Weights) -> None:
        """A day is over.

        Args:
            lost: bookings lost on it.
            learned: losses to be expected from now to the end of the next day, if all are alike.
            at_risk: the bookings that the next factors are relative to.
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
            for levels, level in zip(self.sums, _levels(cell[0], cell[1]), strict=True):
                levels.setdefault(level, [0.0, 0.0])[0] += n
        self._expect(learned)
        for levels in self.sums:
            _forget(levels)
        self.settle()
        totals = at_risk.weights.sum(axis=(0, 1))
        sums = (at_risk.weights * self.products(at_risk.segments)[:, :, None]).sum(axis=(0, 1))
        whole = sums.sum() / totals.sum() if totals.any() else 1.0
        self.means = np.divide(sums, totals, out=np.full(GROUPS, whole), where=totals > 0).tolist()

    def _expect(self, learned: Weights) -> None:
        """Add expected losses to each level, with the other factors' risks applied."""
        segments = learned.segments
        losses = (learned.weights / np.array(self.means)).sum(axis=2) * self.products(segments)
        by_segment = losses.sum(axis=1).tolist()
        for at, (levels, risks) in enumerate(zip(self.sums[:-1], self.risks[:-1], strict=True)):
            for segment, value in zip(segments, by_segment, strict=True):
                level = _levels(segment, 0)[at]
                levels.setdefault(level, [0.0, 0.0])[1] += value / risks.get(level, 1.0)
        for weekday, value in enumerate(losses.sum(axis=0).tolist()):
            if value:
                level = str(weekday)
                self.sums[-1].setdefault(level, [0.0, 0.0])[1] += value / self.risks[-1].get(level, 1.0)

    def products(self, segments: Sequence[str]) -> Floats:
        """Product of the relative risks by segment and weekday; shape (segments, 7)."""
        of_weekday = [self.risks[-1].get(str(weekday), 1.0) for weekday in range(WEEK)]
        of_segment = [
            math.prod(r.get(level, 1.0) for r, level in zip(self.risks[:-1], _levels(s, 0), strict=False))
            for s in segments
        ]
        return np.outer(of_segment, of_weekday)

    def settle(self) -> None:
        """Work out the relative risks from the sums."""
        self.risks = []
        for levels in self.sums:
            observed, expected = (math.fsum(pair[i] for pair in levels.values()) for i in (0, 1))
            scale = observed / expected if expected > 0 else 0.0
            self.risks.append(
                {level: (o + PRIOR_LOSSES) / (e * scale + PRIOR_LOSSES) for level, (o, e) in levels.items()}
            )


class _Morning(NamedTuple):
    """Keep probabilities of segments before they are balanced, of one morning."""

    weekday: int
    survives: Floats
    missed: Floats
    unbalanced: dict[str, Floats]

    def is_of(self, weekday: int, survives: Floats, missed: Floats) -> bool:
        return (
            weekday == self.weekday and np.array_equal(survives, self.survives) and np.array_equal(missed, self.missed)
        )


@dataclass(slots=True, eq=False)
class Keep:
    """What was learned of segments by the morning. Mutable; its entry is written once a day."""

    kinds: dict[Kind, _Risks] = field(default_factory=lambda: {kind: _Risks() for kind in KINDS})
    begun: bool = False
    """Whether a day was closed: losses of the first one cannot be held against anything."""
    balance: Floats = field(default_factory=lambda: np.ones(HORIZON_DAYS))
    """Factor on the keep probabilities of each day ahead of this morning; shape (HORIZON_DAYS,)."""
    _morning: _Morning | None = field(default=None, compare=False, repr=False)
    """What ``balance_day`` has worked out: a cache."""

    def loss_factor(self, segment: str, weekday: int, to_go: int = 0) -> float:
        """By how much a booking of the segment, for a weekday (Monday 0), is more often cancelled or moved on a day
        than the site's bookings with as many days to go: on the hazard."""
        return float(self.loss_factors(segment)[weekday, min(to_go, HORIZON_DAYS - 1)])

    def miss_factor(self, segment: str, weekday: int) -> float:
        """The same for not coming: on the probability of a miss."""
        return float(self.miss_factors(segment)[weekday])

    def loss_factors(self, segment: str) -> Floats:
        """``loss_factor`` by weekday and days to go; shape (7, HORIZON_DAYS)."""
        factors: Floats = self._factors("lost", [segment])[0]
        return factors

    def miss_factors(self, segment: str) -> Floats:
        """``miss_factor`` by weekday; shape (7,)."""
        factors: Floats = self._factors("missed", [segment])[0, :, 0]
        return factors

    def probability(self, segment: str, weekday: int, survives: Floats, missed: Floats) -> Floats:
        """Probability that a booking of the segment takes place, by day ahead of a morning; shape (HORIZON_DAYS,).

        With a relative hazard r on a day it survives that day with the r-th power of the site's probability.

        Args:
            segment: see ``planner.site.segment``.
            weekday: of the morning's day.
            survives: of the site's bookings, probability that one is not lost before its day is over, by day ahead;
                shape (HORIZON_DAYS,).
            missed: probability that one still booked then is missed; same shape.
        """
        if not any(map(self.helps, KINDS)):
            return np.minimum(survives * (1 - missed), 1.0)
        known = self._morning
        if known is not None and segment in known.unbalanced and known.is_of(weekday, survives, missed):
            unbalanced = known.unbalanced[segment]
        else:
            unbalanced = self._unbalanced([segment], weekday, survives, missed)[0]
        return np.minimum(unbalanced * self.balance, 1.0)

    def _unbalanced(self, segments: Sequence[str], weekday: int, survives: Floats, missed: Floats) -> Floats:
        """Shape (segments, HORIZON_DAYS): each segment's as if it were alone, to the bit."""
        of_day = (weekday + _AHEAD) % WEEK
        by_day = np.diff(np.log(np.maximum(survives, _LEAST)), prepend=0.0)  # by days to go
        kept = np.exp(np.cumsum(by_day * self._factors("lost", segments), axis=2)[:, of_day, _AHEAD])
        not_coming = self._factors("missed", segments)[:, of_day, 0]
        result: Floats = kept * (1 - np.minimum(missed * not_coming, 1.0))
        return result

    def balance_day(self, booked: Booked, survives: Floats, missed: Floats) -> None:
        """Scale the probabilities to what the site's bookings have on the whole.

        Args:
            booked: live bookings from the morning on.
            survives, missed: see ``probability``.
        """
        self.balance = np.ones(HORIZON_DAYS)
        self._morning = None
        if not any(map(self.helps, KINDS)):
            return
        numbers, weekday = booked.numbers[:, :HORIZON_DAYS], weekday_of(booked.first)
        apart = np.zeros(HORIZON_DAYS)
        if booked.segments:
            unbalanced = self._unbalanced(booked.segments, weekday, survives, missed)
            apart = (numbers * unbalanced).sum(axis=0)
            self._morning = _Morning(weekday, survives, missed, dict(zip(booked.segments, unbalanced, strict=True)))
        whole = numbers.sum(axis=0) * survives * (1 - missed)
        self.balance = rounded(np.divide(whole, apart, out=self.balance, where=apart > 0))

    def helps(self, kind: Kind) -> bool:
        """Whether the factors have foretold which bookings were lost."""
        return self.kinds[kind].gain >= GAIN_WANTED

    def _factors(self, kind: Kind, segments: Sequence[str]) -> Floats:
        """Factors by segment, weekday and days to go; shape (segments, 7, HORIZON_DAYS)."""
        if not self.helps(kind):
            return np.ones((len(segments), WEEK, HORIZON_DAYS))
        risks = self.kinds[kind]
        relative = risks.products(segments)[:, :, None] / np.array(risks.means)[GROUP_OF]
        factors: Floats = np.clip(relative, 1 / LARGEST, LARGEST)
        return factors

    def close_day(self, losses: Losses, booked: Booked, hazard: Floats) -> None:
        """A day is over; its ``losses`` are forgotten.

        Args:
            losses: those of the day.
            booked: live bookings at its end, from the next day on.
            hazard: of the site's bookings, of being lost on a day, by days to go from 0; shape (at most
                HORIZON_DAYS,), the last one holding for what is farther. Only its shape matters.
        """
        at_risk = booked.at_risk(hazard)
        lost = losses.counts if self.begun else {kind: {} for kind in KINDS}
        self.kinds["lost"].close(lost["lost"], at_risk, at_risk)
        # all sessions of a day have one weekday: what is relative to the others is so over a week
        self.kinds["missed"].close(lost["missed"], booked.within(1), booked.within(WEEK))
        for counts in losses.counts.values():
            counts.clear()
        self.begun = True
        self._morning = None

    def encode(self) -> bytes:
        """See ``planner.learning.part.Part``."""
        kinds = {kind: [risks.sums, risks.means, risks.gain] for kind, risks in self.kinds.items()}
        body = {"format": _FORMAT, "begun": self.begun, "kinds": kinds, "balance": pack(self.balance)}
        return orjson.dumps(body)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Keep) and self.encode() == other.encode()

    __hash__ = None  # type: ignore[assignment]

    @classmethod
    def decode(cls, data: bytes) -> Keep:
        """See ``planner.learning.part.Part``."""
        body = orjson.loads(data)
        if body["format"] != _FORMAT:
            raise ValueError(f"keep entry: found format {body['format']!r}; expected {_FORMAT}")
        made = cls({kind: _Risks(*body["kinds"][kind]) for kind in KINDS}, body["begun"])
        made.balance = unpack(body["balance"], (HORIZON_DAYS,))
        for risks in made.kinds.values():
            risks.settle()
        return made


@lru_cache(maxsize=16_384)
def _levels(segment: str, weekday: int) -> tuple[str, ...]:
    """The level of each factor, in the order of ``_FACTORS``."""
    traits = parse(segment)
    return traits.protocol, "series" if traits.series else "new", traits.lead, traits.source, str(weekday)


def _forget(levels: dict[str, list[float]]) -> None:
    """Drop levels that have faded away, and beyond ``LEVELS_MOST`` those with the fewest losses."""
    kept = sorted(levels.items(), key=lambda entry: (-entry[1][0] - entry[1][1], entry[0]))[:LEVELS_MOST]
    levels.clear()
    levels.update(sorted((level, pair) for level, pair in kept if sum(pair) >= _FORGOTTEN))
