"""When the next session of a series is booked and when it takes place, learned for a protocol's series.

A series *waits* from the day of its latest session until a later one is on the books. Decayed counts say

- how often a series waits at all when its session's day comes (else the next one was booked before);
- the probability that a waiting series is booked within each class of days since its latest session, if it was not
  before: events ÷ series at risk, the life table (Kaplan & Meier 1958, JASA 53), which takes series that are still
  waiting for what they are. So 1 − Π (1 − probability) is that of going on at all;
- how many days apart sessions of a series are, as a histogram around the protocol's repeat;
- how many of its bookings took place.

Each begins with a stated prior: the protocol's repeat, and the figures below.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from planner.catalogue.model import Repeat
from planner.forecast.outlook import Floats
from planner.learning.packed import pack, rounded, unpack

HALF_LIFE_DAYS: Final = 180.0
PRIOR_SERIES: Final = 10.0
"""Series that each prior counts for."""
PRIOR_GOES_ON: Final = 0.8
PRIOR_GOES_ON_AFTER_THE_LAST: Final = 0.1
"""Of a run of consecutive days, once it has as many as the protocol says."""
PRIOR_WAITS: Final = 0.7
PRIOR_TAKES_PLACE: Final = 0.9
PRIOR_BOOKED_AT_ONCE: Final = 0.35
"""Of those that go on: booked on the day of the latest session; the others evenly until half a repeat too late."""
PRIOR_ANY_DAY: Final = 0.15
"""Share of the prior's spacing that may be any; the others lie around the repeat."""
FORGET_REPEATS: Final = 3
FORGET_DAYS_MOST: Final = 200
FORGET_DAYS_LEAST: Final = 14
"""A series silent for longer than so many repeats, within these bounds, is over."""
REPEAT_DAYS_MOST: Final = 150
"""Series that repeat more seldom are left to the booking curve: their next session is beyond what is planned."""

CLASSES: Final = 26
"""Classes of days since the latest session: the day itself; a fourteenth of the repeat each (at least a day), until
half a repeat too late; up to the second repeat; the rest."""
_PER_REPEAT: Final = 14
_FINE_DAYS_LEAST: Final = 7
_EXACT: Final = 10
"""Days by which a spacing may differ from the repeat that are told apart one by one."""
_FAR: Final = 21
SPACINGS: Final = 2 * _EXACT + 6
DECAY: Final = 0.5 ** (1 / HALF_LIFE_DAYS)
_SHAPES: Final = {"waits": (2,), "kept": (2,), "booked": (2, CLASSES), "spacing": (SPACINGS,)}


class Pattern(NamedTuple):
    """How a protocol's series go, as its repeat says."""

    every: int
    """Days between sessions."""
    run: int
    """Sessions after which a series is of the second stage: those that have gone on once, or the whole run of days."""
    goes_on: tuple[float, float]
    """Prior probability that a series of each stage goes on."""

    @property
    def forget_after(self) -> int:
        """Days of silence after which a series is over."""
        return min(max(FORGET_REPEATS * self.every, FORGET_DAYS_LEAST), FORGET_DAYS_MOST)

    def stage(self, number: int) -> int:
        """Of a series with so many sessions: 0, or from ``run`` on 1."""
        return int(number >= self.run)


def pattern_of(repeat: Repeat) -> Pattern | None:
    """None: sessions of the protocol do not follow one another by any rule, or too seldom."""
    if repeat.days is None:
        return None
    if repeat.kind == "every":
        if repeat.days > REPEAT_DAYS_MOST:
            return None
        return Pattern(repeat.days, 2, (PRIOR_GOES_ON, PRIOR_GOES_ON))
    return Pattern(1, repeat.days, (PRIOR_GOES_ON, PRIOR_GOES_ON_AFTER_THE_LAST))


class _Prior(NamedTuple):
    """The counts that a pattern's stage begins with, and which class each day is of."""

    booked: Floats
    """Events and series at risk; shape (2, CLASSES)."""
    spacing: Floats
    """Shape (SPACINGS,)."""
    class_of: npt.NDArray[np.intp]
    """By days since from 0; shape (forget_after + 1,)."""
    per_day: Floats
    """Share of a class that one day is; shape (CLASSES,)."""
    left: Floats
    """Share of the class that is left as a day of it begins, by days since; shape (forget_after + 1,)."""
    spacing_of: npt.NDArray[np.intp]
    """By days apart from 0 (which is never); shape (forget_after + 1,)."""
    days_of_spacing: Floats
    """Days that share a class of spacing; shape (SPACINGS,)."""


@lru_cache(maxsize=512)
def _prior(pattern: Pattern, stage: int) -> _Prior:
    days = np.arange(pattern.forget_after + 1)
    width = -(-pattern.every // _PER_REPEAT)
    fine = min(max(pattern.every * 3 // 2, _FINE_DAYS_LEAST), pattern.forget_after)
    class_of = np.where(days > 0, 1 + (days - 1) // width, 0)
    class_of[days > fine] = CLASSES - 2
    class_of[days > max(2 * pattern.every, fine)] = CLASSES - 1
    in_class = np.bincount(class_of, minlength=CLASSES)
    begins = np.searchsorted(class_of, class_of)  # the first day of each day's class
    mass = np.where((days > 0) & (days <= fine), (1 - PRIOR_BOOKED_AT_ONCE) / fine, 0.0)
    mass[0] = PRIOR_BOOKED_AT_ONCE
    events = np.bincount(class_of, mass, minlength=CLASSES) * pattern.goes_on[stage]
    at_risk = 1 - (np.cumsum(events) - events)  # not yet booked as a class begins
    away = days - pattern.every
    spacing_of = np.clip(away, -_EXACT, _EXACT) + _EXACT + 2
    spacing_of[away < -_EXACT] = 1
    spacing_of[away < -_FAR] = 0
    spacing_of[away > _EXACT] = SPACINGS - 3
    spacing_of[away > _FAR] = SPACINGS - 2
    spacing_of[away > max(pattern.every, _FAR)] = SPACINGS - 1
    near = np.exp(-np.abs(away) / max(1.0, pattern.every / 14))
    near[0] = 0.0
    density = (1 - PRIOR_ANY_DAY) * near / near.sum() + PRIOR_ANY_DAY / pattern.forget_after
    density[0] = 0.0
    return _Prior(
        booked=PRIOR_SERIES * np.stack([events, at_risk]),
        spacing=PRIOR_SERIES * np.bincount(spacing_of, density, minlength=SPACINGS).astype(np.float64),
        class_of=class_of,
        per_day=1 / np.maximum(in_class, 1),
        left=1 - (days - begins) / in_class[class_of],
        spacing_of=spacing_of,
        days_of_spacing=np.maximum(np.bincount(spacing_of[1:], minlength=SPACINGS), 1).astype(np.float64),
    )


@dataclass(slots=True, eq=False)
class Rhythm:
    """What was learned of one stage of a pattern's series. Mutable; every change leaves it rounded to 32 bits."""

    pattern: Pattern
    stage: int
    waits: Floats = field(default_factory=lambda: np.zeros(2))
    """Series waiting as their session's day came, of all."""
    kept: Floats = field(default_factory=lambda: np.zeros(2))
    """Sessions that took place, of those and the lost."""
    booked: Floats = field(default_factory=lambda: np.zeros((2, CLASSES)))
    """Waiting series booked, of those waiting, by class of days since; one that waits for a part of a class counts for
    as much of it."""
    spacing: Floats = field(default_factory=lambda: np.zeros(SPACINGS))

    # --- learning -----------------------------------------------------------------------------------------

    def see_wait(self, days_since: int, n: int, *, booked: bool) -> None:
        """``n`` series were waiting so many days after their latest session, and were booked on that day, or not."""
        prior, age = self._prior, min(days_since, self.pattern.forget_after)
        at = prior.class_of[age]
        if booked:
            self.booked[:, at] += (n, n * prior.left[age])
        else:
            self.booked[1, at] += n * prior.per_day[at]

    def see_spacing(self, days: int) -> None:
        """Two sessions of a series were so many days apart."""
        if 1 <= days <= self.pattern.forget_after:
            self.spacing[self._prior.spacing_of[days]] += 1

    def close(self) -> None:
        """A day is over: what was seen fades a little."""
        for name in _SHAPES:
            setattr(self, name, rounded(getattr(self, name) * DECAY))

    # --- what it says -------------------------------------------------------------------------------------

    @property
    def waiting(self) -> float:
        """Probability that a series waits as its session's day comes."""
        return float((self.waits[0] + PRIOR_SERIES * PRIOR_WAITS) / (self.waits[1] + PRIOR_SERIES))

    @property
    def takes_place(self) -> float:
        """Probability that a session booked takes place."""
        return float((self.kept[0] + PRIOR_SERIES * PRIOR_TAKES_PLACE) / (self.kept[1] + PRIOR_SERIES))

    def goes_on(self) -> Floats:
        """Probability that a series not booked before so many days since its latest session still will be; shape
        (forget_after + 1,)."""
        prior = self._prior
        events, at_risk = prior.booked + self.booked
        chance = np.minimum(np.divide(events, at_risk, out=np.zeros(CLASSES), where=at_risk > 0), 1.0)
        beyond = np.cumprod((1 - chance)[::-1])[::-1]  # not booked from the beginning of a class on
        after = np.append(beyond[1:], 1.0)[prior.class_of]
        here = chance[prior.class_of]
        stays: Floats = np.divide(
            (1 - here) * after, 1 - here * (1 - prior.left), out=np.zeros(after.size), where=here * (1 - prior.left) < 1
        )
        return 1 - stays

    def apart(self) -> Floats:
        """Probability that the next session is so many days after the latest; shape (forget_after + 1,)."""
        prior = self._prior
        by_class = prior.spacing + self.spacing
        by_class /= by_class.sum()
        result: Floats = (by_class / prior.days_of_spacing)[prior.spacing_of]
        result[0] = 0.0
        return result

    @property
    def _prior(self) -> _Prior:
        return _prior(self.pattern, self.stage)

    # --- entries ------------------------------------------------------------------------------------------

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Rhythm) and (self.pattern, self.stage, self.as_json()) == (
            other.pattern,
            other.stage,
            other.as_json(),
        )

    __hash__ = None  # type: ignore[assignment]

    def as_json(self) -> list[str]:
        """Its counts; the pattern is the reader's to know."""
        return [pack(getattr(self, name)) for name in _SHAPES]

    @classmethod
    def from_json(cls, pattern: Pattern, stage: int, body: list[str]) -> Rhythm:
        """What ``as_json`` wrote."""
        return cls(pattern, stage, *(unpack(text, shape) for text, shape in zip(body, _SHAPES.values(), strict=True)))
