"""What is still to come for a day, by what is on its book: the chain ladder, with the level of the days ahead.

A rate of the curve (``planner.learning.curve``) is a number of bookings: where demand rises and falls with the season,
its memory is of another level than the days ahead have. Here the book itself tells their level. Along the diagonals
both the bookings made at i days to go and the book they were added to belong to the same session days, so that the
ratio of their sums, the development factor of the chain ladder (Mack 1993, ASTIN Bulletin 23), is free of any level;
it need not be as young. From the farthest day on the factors, cancellations and misses give the book of a day of level
1: n_i bookings at i days to go of which S_i are there on the day and K_i take place, b_h = Σ_{i>h} n_i S_i ÷ S_h on the
books with h to go, and

    Σ n_i K_i = 1 session a day on average,    still to come of a day h ahead:  level_h Σ_{i≤h} n_i K_i

all by the weekday of the session and of the booking, as the curve's. Where the book at i to go is thin,
``THIN_BOOKINGS`` draw its factor towards the number itself. The level of the days ahead is a ratio of sums around each,
sessions that took place before today among them:

    level_h = Σ_d ½^{|h − d| / width} observed_d  ÷  Σ_d ½^{|h − d| / width} b_d

(the gamma-Poisson filter of Harvey & Fernandes 1989, J. Business & Economic Statistics 7, looking both ways). With the
book as exposure a day far ahead, of which little is booked, leans on its neighbours, as Bornhuetter & Ferguson 1972
would have it lean on the usual. Whoever books earlier than before looks like more sessions here: this is one expert
among others (``planner.learning.mix``).
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from planner.forecast.outlook import Floats
from planner.learning.curve import BAND_OF, BANDS, GROUP_OF, HALF_LIVES_DAYS, Curve, Paths
from planner.learning.prior import Prior
from planner.messages import HORIZON_DAYS

HALF_LIFE_DAYS: Final = 180.0
"""Of the development factors."""
WIDTH_DAYS: Final = 7.0
"""In which the level's weights halve."""
PAST_DAYS: Final = 56
"""Days before today whose sessions tell the level."""
THIN_BOOKINGS: Final = 20.0
"""Bookings on the books, over all that is remembered, that the number itself counts for against the factor."""
_MEMORY: Final = HALF_LIVES_DAYS.index(HALF_LIFE_DAYS)
_LEAST: Final = 1e-9
_WEEK: Final = 7
_AHEAD: Final = np.arange(HORIZON_DAYS)
_TO_GO: Final = np.arange(HORIZON_DAYS + 1)
_GROUP: Final = np.append(GROUP_OF, GROUP_OF[-1])
_BOOKED_ON: Final = (np.arange(_WEEK)[:, None] - _TO_GO) % _WEEK


class Ladder(NamedTuple):
    """Bookings made for a day of level 1, by days to go, the last those made before the horizon; shape (H + 1,)."""

    there: Floats
    """Those that are still booked on the day."""
    kept: Floats
    """Those that take place; adds up to 1."""
    stays: Floats
    """Probability that a booking with so many days to go is still there on its day; shape (H,)."""


def climb(curve: Curve, prior: Prior, days: int, paths: Paths) -> Ladder:
    """The ladder as learned in ``days`` days; ``paths``: the curve's, for who is lost and missed."""
    number = curve.weight_of(days)[_MEMORY]
    made = curve.told(prior, days)[_MEMORY] / number
    before = np.maximum(curve.at_risk[_MEMORY] / number - made, 0.0)
    daily = 1 - paths.hazard[_MEMORY]
    stays = np.cumprod(daily)
    there = np.zeros(HORIZON_DAYS + 1)
    on_book = before[-1]
    there[-1] = on_book * stays[-1]
    thin = THIN_BOOKINGS / number
    factor = (made / (before + thin)).tolist()
    alone = (made * thin / (before + thin)).tolist()
    for to_go in range(HORIZON_DAYS - 1, -1, -1):
        booked = factor[to_go] * on_book + alone[to_go]
        there[to_go] = booked * stays[to_go]
        on_book = (on_book + booked) * daily[to_go]
    kept = there * (1 - paths.by_lead[_MEMORY])
    level = max(kept.sum(), _LEAST)
    return Ladder(there / level, kept / level, stays)


def to_come(
    ladder: Ladder,
    curve: Curve,
    prior: Prior,
    *,
    weekday: int,
    on_book: Floats,
    open_days: npt.NDArray[np.bool_],
    past: Floats,
    past_ends: int,
    past_open: npt.NDArray[np.bool_],
) -> Floats:
    """Sessions still to be booked that take place, by band of days to go and day ahead; shape (bands, H).

    Args:
        weekday: of today.
        on_book: live bookings in the morning, by day ahead; shape (H,).
        open_days: of the same days.
        past: sessions that took place on days before today, the last on the one ``past_ends`` before it (today is 0).
        past_open: of the same days.
    """
    days = np.concatenate((np.arange(past.size) - past.size - past_ends + 1, _AHEAD))
    is_open = np.concatenate((past_open, open_days))
    by_weekday = _by_weekday(curve, prior)[(weekday + days) % _WEEK] * is_open[:, None]
    future = by_weekday[past.size :]
    still = _AHEAD[:, None] >= _TO_GO
    come = future * still * ladder.kept
    booked = (future * ~still * ladder.there).sum(axis=1) / ladder.stays
    observed = np.concatenate((past, on_book))
    exposed = np.concatenate((by_weekday[: past.size] @ ladder.kept, booked))
    weight = 0.5 ** (np.abs(_AHEAD[:, None] - days) / WIDTH_DAYS)
    level = (weight @ observed) / np.maximum(weight @ exposed, _LEAST)
    return np.stack([come[:, :-1][:, band == BAND_OF].sum(axis=1) * level for band in range(BANDS)])


def _by_weekday(curve: Curve, prior: Prior) -> Floats:
    """Factors on the bookings by weekday of the session and days to go, 1 in the mean of a week; shape (7, H + 1)."""
    by_session, by_booking = curve.weekdays(prior)
    factor = by_session[_GROUP].T * np.where(_TO_GO > 0, by_booking[_GROUP, _BOOKED_ON], 1.0)
    # those booked before the horizon: on any weekday
    factor[:, -1] = by_session[_GROUP[-1]]
    result: Floats = factor / np.maximum(factor.mean(axis=0), _LEAST)
    return result
