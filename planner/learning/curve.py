"""The booking curve: new bookings, losses and misses by days to go, learned along the diagonals of the book.

Whole-window pickup errors are as old as their lead. What is booked and lost *today* at every number of days to go is
known tonight, as in the actuaries' chain ladder (Mack 1993, ASTIN Bulletin 23) and the incremental pickup of revenue
management (Weatherford & Kimes 2003, Int. J. Forecasting 19). So with n_i new bookings a day at i days to go, c_i the
hazard of being lost on a day and m that of being missed, a session booked h days ahead takes place with probability
K_h = (1 − m) Π_{i≤h} (1 − c_i), and of a day h ahead there are still to come Σ_{i≤h} n_i K_i sessions.

n_i varies by the weekday of the session and by that on which it is booked (two factors by group of days to go, from
shrunk ratios of numbers to expected numbers). With s last year's index, the diagonals of a short memory already show
the season of the day i ahead; of a session h ahead that is to be booked at i to go the season differs by s_h ÷ s_i. A
memory as long as a season blurs it: there n_i is learned per unit of s_i (exposure is s_i instead of 1) and counts s_h
times. Every quantity is a ratio of sums that halve in some days; several half-lives, with and without season, are kept
side by side, and ``planner.learning.mix`` weighs them by how good they have been.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from planner.forecast.outlook import Floats
from planner.learning.packed import pack, rounded, unpack
from planner.learning.prior import Prior
from planner.messages import HORIZON_DAYS
from planner.site.segment import LEAD_CLASSES, lead_class

HALF_LIVES_DAYS: Final = (4.0, 14.0, 56.0, 180.0, 365.0)


class Season(Enum):
    """What a rate takes of last year's season."""

    NONE = 0
    CHANGE = 1
    """The diagonals show it; only what differs between the days ahead is taken from last year."""
    LEVEL = 2
    """Numbers are learned per unit of it, so that a memory longer than a season does not blur it."""


class Rate(NamedTuple):
    """A way to learn new bookings."""

    half_life_days: float
    season: Season = Season.NONE


RATES: Final = (
    *(Rate(days) for days in HALF_LIVES_DAYS),
    *(Rate(days, Season.CHANGE) for days in (56.0, 180.0, 365.0)),
    *(Rate(days, Season.LEVEL) for days in (180.0, 365.0)),
)
HALF_LIFE_OF: Final[npt.NDArray[np.intp]] = np.array([HALF_LIVES_DAYS.index(rate.half_life_days) for rate in RATES])
"""The half-life (its number) of each rate."""
_SEASONAL: Final = np.array([[float(rate.season != Season.NONE)] for rate in RATES])
_CHANGE: Final = np.array([[float(rate.season == Season.CHANGE)] for rate in RATES])
_LEVEL: Final = np.array([[float(rate.season == Season.LEVEL)] for rate in RATES])
WEEKDAY_HALF_LIFE_DAYS: Final = 180.0
PRIOR_DAYS: Final = 3.0
"""Days of experience that the stated new bookings count for."""
PRIOR_AT_RISK: Final = 10.0
"""Bookings that a hazard's prior counts for, in each expert."""
PRIOR_DUE: Final = 20.0
"""Sessions that the stated probability of a miss counts for."""
PRIOR_WEEKDAY: Final = 30.0
"""Bookings that a weekday factor's prior counts for."""
PRIOR_LOSSES: Final = 10.0
"""Losses that the stated level of all hazards counts for."""
PRIOR_MISSES: Final = 40.0
"""Misses that the classes of lead are alike by: one has missed as often as the others."""
LARGEST_HAZARD: Final = 0.95
_THIN: Final = 1e-3
_SMALLEST_MISS: Final = 1e-9
_COMMON: Final = HALF_LIVES_DAYS.index(56.0)
"""The expert whose rates the weekday factors are measured against."""

_EDGES: Final = (1, 3, 7, 14, 28)
GROUP_OF: Final[npt.NDArray[np.intp]] = np.searchsorted(_EDGES, np.arange(HORIZON_DAYS), side="right")
"""Group of days to go (0, 1–2, 3–6, 7–13, 14–27, 28 and more) whose weekday factors are shared."""
GROUPS: Final = len(_EDGES) + 1
BAND_EDGES: Final = (4, 28)
BANDS: Final = len(BAND_EDGES) + 1
"""Bands of days to go (0–3, 4–27, 28 and more) whose mix of protocols is shared."""
BAND_OF: Final[npt.NDArray[np.intp]] = np.searchsorted(BAND_EDGES, np.arange(HORIZON_DAYS), side="right")
_HALVES: Final = len(HALF_LIVES_DAYS)
_DECAY: Final = 0.5 ** (1 / np.array(HALF_LIVES_DAYS))
_WEEKDAY_DECAY: Final = 0.5 ** (1 / WEEKDAY_HALF_LIFE_DAYS)
_TO_GO: Final = np.arange(HORIZON_DAYS)
_CLASS_OF: Final[npt.NDArray[np.intp]] = np.array(
    [LEAD_CLASSES.index(lead_class(days)) for days in range(HORIZON_DAYS + 1)]
)
"""Class of lead by days to go at which a session is booked, the last those booked before the horizon."""
_LEADS: Final = np.arange(HORIZON_DAYS + 1)
_LONG: Final = HALF_LIVES_DAYS.index(180.0)
"""The half-life of what tells the classes of lead apart."""
_SHAPES: Final = {
    "new": (_HALVES, HORIZON_DAYS),
    "exposed": (len(RATES), HORIZON_DAYS),
    "lost": (_HALVES, HORIZON_DAYS),
    "at_risk": (_HALVES, HORIZON_DAYS),
    "missed": (_HALVES,),
    "due": (_HALVES,),
    "missed_by_lead": (len(LEAD_CLASSES),),
    "due_by_lead": (len(LEAD_CLASSES),),
    "session_day": (2, GROUPS, 7),
    "booking_day": (2, GROUPS, 7),
    "level": (2,),
}


class DayOfBook(NamedTuple):
    """What happened on one day, by days to go from 0; shape (HORIZON_DAYS,)."""

    new: Floats
    lost: Floats
    """Cancelled, or moved to another day or site."""
    at_risk: Floats
    """On the books at the day's end, or lost on it."""
    open: npt.NDArray[np.bool_]
    """Whether the site is open on the day so many days ahead."""
    booked_on_weekday: int
    """Monday 0."""


class Paths(NamedTuple):
    """What each rate and its half-life expect from the morning of a day on; h days from it."""

    keep: Floats
    """Probability that a session on the books takes place; shape (half-lives, H)."""
    later: Floats
    """Sessions that will be booked on later days and take place; shape (rates, bands, H)."""
    today: Floats
    """Sessions that will be booked on this day and take place; shape (rates, H)."""
    hazard: Floats
    """Probability of being lost on a day, by days to go; shape (half-lives, H)."""
    missed: Floats
    """Probability that a session on the books is missed, if it is still booked on its day; shape (half-lives, H)."""
    by_lead: Floats
    """The same of one that is booked with so many days to go, the last those before the horizon; shape (half-lives,
    H + 1)."""


@dataclass(slots=True, eq=False)
class Curve:
    """Decayed sums; see ``_SHAPES``. Mutable; every change leaves them rounded to 32 bits."""

    new: Floats
    exposed: Floats
    lost: Floats
    at_risk: Floats
    missed: Floats
    due: Floats
    missed_by_lead: Floats
    due_by_lead: Floats
    session_day: Floats
    booking_day: Floats
    level: Floats

    @classmethod
    def begin(cls, prior: Prior) -> Curve:
        """What is believed before the first day."""
        zeros = {name: np.zeros(shape) for name, shape in _SHAPES.items()}
        zeros["new"] += PRIOR_DAYS * prior.new
        zeros["exposed"] += PRIOR_DAYS
        return cls(**{name: rounded(values) for name, values in zeros.items()})

    def learn(self, day: DayOfBook, prior: Prior, season: Floats) -> None:
        """A day of the book is over; ``season``: its index by days to go."""
        weekday = (day.booked_on_weekday + _TO_GO) % 7
        by_session, by_booking = self.weekdays(prior)
        session_factor = by_session[GROUP_OF, weekday]
        booking_factor = np.where(_TO_GO > 0, by_booking[GROUP_OF, day.booked_on_weekday], 1.0)
        rate = self.new[_COMMON] / self.exposed[_COMMON]
        exposure = np.where(day.open, session_factor * booking_factor, 0.0)
        new = np.where(day.open, day.new, 0.0)
        self.new = self.new * _DECAY[:, None] + new
        self.exposed = self.exposed * _DECAY[HALF_LIFE_OF][:, None] + exposure * season**_LEVEL
        # a rate is never without evidence: what fades away altogether is held at its last value
        thin = self.exposed[:_HALVES] < _THIN
        self.new[thin] *= 2.0
        self.exposed[thin[HALF_LIFE_OF]] *= 2.0
        self.session_day *= _WEEKDAY_DECAY
        self.booking_day *= _WEEKDAY_DECAY
        shown = day.open.astype(np.float64)
        expected = rate * shown
        np.add.at(self.session_day[0], (GROUP_OF, weekday), new)
        np.add.at(self.session_day[1], (GROUP_OF, weekday), expected * booking_factor)
        on_weekday = np.full(HORIZON_DAYS - 1, day.booked_on_weekday)
        np.add.at(self.booking_day[0], (GROUP_OF[1:], on_weekday), new[1:])
        np.add.at(self.booking_day[1], (GROUP_OF[1:], on_weekday), (expected * session_factor)[1:])
        self.level = self.level * _WEEKDAY_DECAY + [day.lost.sum(), (day.at_risk * prior.hazard).sum()]
        self.lost = self.lost * _DECAY[:, None] + day.lost
        self.at_risk = self.at_risk * _DECAY[:, None] + day.at_risk
        self._round()

    def settle(self, completed: Mapping[str, int], missed: Mapping[str, int]) -> None:
        """What became of a day's sessions is known, by class of lead."""
        self.missed = self.missed * _DECAY + sum(missed.values())
        self.due = self.due * _DECAY + sum(completed.values()) + sum(missed.values())
        by_lead = np.array([[counts.get(lead, 0) for lead in LEAD_CLASSES] for counts in (completed, missed)])
        self.missed_by_lead = self.missed_by_lead * _DECAY[_LONG] + by_lead[1]
        self.due_by_lead = self.due_by_lead * _DECAY[_LONG] + by_lead.sum(axis=0)
        self._round()

    def hazards(self, prior: Prior) -> Floats:
        """Probability of being lost on a day, by days to go; shape (half-lives, H). Shrunk to the prior's, whose
        level is the site's own."""
        level = (self.level[0] + PRIOR_LOSSES) / (self.level[1] + PRIOR_LOSSES)
        stated = np.minimum(prior.hazard * level, LARGEST_HAZARD)
        shrunk = (self.lost + PRIOR_AT_RISK * stated) / (self.at_risk + PRIOR_AT_RISK)
        result: Floats = np.minimum(shrunk, LARGEST_HAZARD)
        return result

    def misses(self, prior: Prior) -> Floats:
        """Probability that a session still booked on its day is missed; shape (half-lives,)."""
        result: Floats = (self.missed + PRIOR_DUE * prior.missed) / (self.due + PRIOR_DUE)
        return result

    def misses_by_lead(self, prior: Prior, hazard: Floats) -> Floats:
        """The same by days to go at which it was booked, the last those before the horizon; shape (half-lives, H + 1).
        ``hazard``: as of ``hazards``.

        The logarithm of the probability to come is a line through the classes of lead, each at its mean: who can be
        lost on each day is lost so. A class's relative risk is (misses + w r) ÷ (those there would be if all were alike
        + w), the posterior mean as in ``planner.learning.keep``; r is 1 for the first two, and on from them what the
        line would go on to: of those booked long ahead there are few.
        """
        misses = self.misses(prior)
        made = np.append(self.new[_LONG] / self.exposed[_LONG] * np.cumprod(1 - hazard[_LONG]), 0.0) + _THIN
        lead = np.bincount(_CLASS_OF, made * _LEADS) / np.bincount(_CLASS_OF, made)
        relative = np.ones(lead.size)
        for at, (missed, due) in enumerate(zip(self.missed_by_lead, self.due_by_lead, strict=True)):
            usual = 1.0
            if at > 1:
                come = np.log1p(-np.minimum(misses[_LONG] * relative[at - 2 : at], LARGEST_HAZARD))
                gone = np.exp(come[1] + (come[1] - come[0]) * (lead[at] - lead[at - 1]) / (lead[at - 1] - lead[at - 2]))
                usual = min(max(1 - float(gone), 0.0), LARGEST_HAZARD) / max(float(misses[_LONG]), _SMALLEST_MISS)
            relative[at] = (missed + PRIOR_MISSES * usual) / (due * misses[_LONG] + PRIOR_MISSES)
        # what is drawn together is not to change how many are missed in all
        relative *= (self.due_by_lead.sum() + PRIOR_DUE) / (self.due_by_lead @ relative + PRIOR_DUE)
        of_class = np.log1p(-np.minimum(misses[:, None] * relative, LARGEST_HAZARD))
        slope = np.diff(of_class, axis=1) / np.diff(lead)
        begins = np.clip(np.searchsorted(lead, _LEADS, side="right") - 1, 0, lead.size - 2)
        line = of_class[:, begins] + slope[:, begins] * (np.minimum(_LEADS, lead[-1]) - lead[begins])
        result: Floats = np.clip(1 - np.exp(line), 0.0, LARGEST_HAZARD)
        return result

    @staticmethod
    def weight_of(days: int) -> Floats:
        """What ``days`` days weigh together in a sum; shape (half-lives,)."""
        weight: Floats = (1 - _DECAY ** max(days, 1)) / (1 - _DECAY)
        return weight

    def told(self, prior: Prior, days: int) -> Floats:
        """New bookings of ``days`` days, without what the prior counts for; shape (half-lives, H)."""
        result: Floats = np.maximum(self.new - PRIOR_DAYS * _DECAY[:, None] ** days * prior.new, 0.0)
        return result

    def paths(self, prior: Prior, weekday: int, open_days: npt.NDArray[np.bool_], season: Floats) -> Paths:
        """What is expected from the morning of a day (its ``weekday``) on; ``season``: its index by day ahead."""
        hazard = self.hazards(prior)
        by_lead = self.misses_by_lead(prior, hazard)
        stays = np.cumprod(1 - hazard, axis=1)
        missed = _of_those_booked((self.new / self.exposed[:_HALVES]) * stays, by_lead)
        of_season = season**_SEASONAL
        kept_new = self.new[HALF_LIFE_OF] / self.exposed * (stays * (1 - by_lead[:, :-1]))[HALF_LIFE_OF]
        kept_new /= season**_CHANGE
        by_session, by_booking = self.weekdays(prior)
        # rows: the day h ahead; columns: days to go i ≤ h at which it is booked, on a day h − i ahead
        ahead, to_go = _TO_GO[:, None], _TO_GO[None, :]
        factor = by_session[GROUP_OF[None, :], (weekday + ahead) % 7]
        factor *= np.where(to_go > 0, by_booking[GROUP_OF[None, :], (weekday + ahead - to_go) % 7], 1.0)
        factor *= (to_go <= ahead) & open_days[:, None]
        now = np.diagonal(factor).copy()
        factor[_TO_GO, _TO_GO] = 0.0
        later = np.stack([np.where(band == BAND_OF, kept_new, 0.0) @ factor.T for band in range(BANDS)], axis=1)
        keep = stays * (1 - missed)
        return Paths(keep, later * of_season[:, None], kept_new * now * of_season, hazard, missed, by_lead)

    def weekdays(self, prior: Prior) -> tuple[Floats, Floats]:
        """Weekday factors of the session's day and of the booking's; shape (groups, 7) each."""
        by_session = (self.session_day[0] + PRIOR_WEEKDAY * prior.week) / (self.session_day[1] + PRIOR_WEEKDAY)
        by_booking = (self.booking_day[0] + PRIOR_WEEKDAY) / (self.booking_day[1] + PRIOR_WEEKDAY)
        return by_session, by_booking

    def _round(self) -> None:
        for name in _SHAPES:
            setattr(self, name, rounded(getattr(self, name)))

    def as_json(self) -> dict[str, str]:
        return {name: pack(getattr(self, name)) for name in _SHAPES}

    @classmethod
    def from_json(cls, body: dict[str, str]) -> Curve:
        return cls(**{name: unpack(body[name], shape) for name, shape in _SHAPES.items()})


def _of_those_booked(made: Floats, by_lead: Floats) -> Floats:
    """Probability of a miss of those on the books with h to go: booked with more, as many as usual with each.

    Args:
        made: bookings made with so many days to go that are still there on the day; shape (half-lives, H).
        by_lead: as of ``Curve.misses_by_lead``.
    """
    number = np.concatenate((made, np.full((made.shape[0], 1), _THIN)), axis=1)
    missed = number * by_lead
    result: Floats = np.cumsum(missed[:, :0:-1], axis=1)[:, ::-1] / np.cumsum(number[:, :0:-1], axis=1)[:, ::-1]
    return result
