"""Which expert to believe, and how wide to be: learned from the forecasts' own past errors.

The experts are the curve's rates; the chain ladder (``planner.learning.ladder``), by which a strong book brings more;
and two that expect as many sessions as lately on that weekday, so that of what is not booked yet the rest is to come
(whoever books earlier than before is not counted twice). No single one is best on every book. Each is scored on the
totals over ``LEADS_DAYS``, its squared error taken relative to the variance that as many independent bookings and
losses would have. Its weight is the inverse of the mean of that (decayed) to the power ``SHARPNESS``. Combinations of
forecasts by inverse past loss: Bates & Granger 1969 (Operational Research Quarterly 20); a power: Aiolfi & Timmermann
2006 (J. Econometrics 135). An expert that has nothing of its own to say yet (no season known, no level) has no weight:
slow opinion would count double. Those of one half-life err alike, so each of k of them weighs 1/√k: by how many
variants of a memory there are it shall win little. Where the ladder is wrong, it is wrong about the level of all days:
in a total of few days chance hides that, so its error against the others' is never taken to be less than at a week.

The spread of a total over a lead is φ × (expected new + expected lost), a quasi-Poisson variance, with φ of each lead
from the mix's own standardised errors, decayed, each error held to ``LARGEST_ERROR`` standard deviations so that one
burst (a group that does not come) does not widen the forecast for months. Errors that days share (a common level that
is off by a share) grow with the number of sessions: the prior is φ = dispersion + ``COMMON_ERROR``² × (new + lost).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from planner.forecast.outlook import Floats
from planner.learning import ladder
from planner.learning.curve import BAND_OF, BANDS, HALF_LIFE_OF, RATES, Paths, Rate, Season
from planner.learning.packed import pack, rounded, unpack
from planner.messages import HORIZON_DAYS

LEADS_DAYS: Final = (1, 3, 7, 14, 28, 56)
LOSS_HALF_LIFE_DAYS: Final = 90.0
SHARPNESS: Final = 8.0
COMMON_PRIOR_ORIGINS: Final = 1.0
"""Origins, for each day of lead, that the usual error counts for in every expert's."""
_LEAST_ERROR: Final = 1e-6
Bools = npt.NDArray[np.bool_]
SPREAD_HALF_LIFE_DAYS: Final = 75.0
SPREAD_PRIOR_ORIGINS: Final = 10.0
LARGEST_ERROR: Final = 3.0
COMMON_ERROR: Final = 0.08
"""Relative error (standard deviation) that all days of a lead share, before anything is learned."""


class Expert(NamedTuple):
    """A rate of the curve (its number), and what it is corrected by (the number of a correction; 0: nothing)."""

    rate: int
    correction: int = 0


LEVELS: Final = {56.0: 1, 180.0: 2}
"""Half-life in days of the level of a weekday → correction."""
LADDER: Final = 3
CORRECTIONS: Final = 4
EXPERTS: Final = (
    *(Expert(number) for number in range(len(RATES))),
    *(Expert(RATES.index(Rate(days)), number) for days, number in LEVELS.items()),
    Expert(RATES.index(Rate(ladder.HALF_LIFE_DAYS)), LADDER),
)
LEVEL_FROM_DAYS: Final = 7
"""Days ahead from which on a level may correct: nearer ones are better told by what is booked."""
LEAST_TO_COME: Final = 0.02
"""Of what a rate expects, where the level is booked already; and one in so many at most."""
_RATE: Final = np.array([expert.rate for expert in EXPERTS])
_HALF_LIFE: Final = HALF_LIFE_OF[_RATE]
_CORRECTION: Final = np.array([expert.correction for expert in EXPERTS])
_BY_LADDER: Final = _CORRECTION == LADDER
_FAMILY: Final = np.where(_BY_LADDER, -1, _HALF_LIFE)
_SAME_FAMILY: Final = (_FAMILY[:, None] == _FAMILY[None, :]).astype(np.float64)
_SEASONAL: Final = np.array([RATES[expert.rate].season != Season.NONE for expert in EXPERTS])
_AHEAD: Final = np.arange(HORIZON_DAYS)
_LEADS: Final = np.array(LEADS_DAYS)
_LOG_LEADS: Final = np.log(_LEADS)
_LOG_DAYS: Final = np.log(np.arange(HORIZON_DAYS) + 1)
_BETWEEN_LEADS: Final = np.stack([np.interp(_LOG_DAYS, _LOG_LEADS, one) for one in np.eye(_LEADS.size)], axis=1)
"""Interpolates, by the logarithm of days, what is known by lead; shape (H, leads)."""
_LOSS_DECAY: Final = 0.5 ** (1 / LOSS_HALF_LIFE_DAYS)
_SPREAD_DECAY: Final = 0.5 ** (1 / SPREAD_HALF_LIFE_DAYS)
_WIDTH: Final = len(EXPERTS) + 4


def corrections(paths: Paths, on_book: Floats, levels: Mapping[float, Floats], by_ladder: Floats | None) -> Floats:
    """Factors on what the rates expect to be booked, by correction; shape (corrections, bands, H).

    Args:
        on_book: live bookings by day ahead; shape (H,).
        levels: half-life → sessions that take place on such a day; shape (H,). Empty: not known yet.
        by_ladder: what it expects still to be booked; shape (bands, H). None: not known yet.
    """
    factors = np.ones((CORRECTIONS, BANDS, HORIZON_DAYS))
    for half_life_days, level in levels.items():
        rate = RATES.index(Rate(half_life_days))
        expected = paths.later[rate].sum(axis=0) + paths.today[rate]
        rest = level - on_book * paths.keep[HALF_LIFE_OF[rate]]
        ratio = np.divide(rest, expected, out=np.ones_like(rest), where=expected > _LEAST_ERROR)
        far = _AHEAD >= LEVEL_FROM_DAYS
        factors[LEVELS[half_life_days]][:, far] = np.clip(ratio, LEAST_TO_COME, 1 / LEAST_TO_COME)[far]
    if by_ladder is not None:
        rate = RATES.index(Rate(ladder.HALF_LIFE_DAYS))
        expected = paths.later[rate].copy()
        expected[BAND_OF, _AHEAD] += paths.today[rate]
        ratio = np.divide(by_ladder, expected, out=np.ones_like(expected), where=expected > _LEAST_ERROR)
        factors[LADDER] = np.clip(ratio, LEAST_TO_COME, 1 / LEAST_TO_COME)
    return factors


class Path(NamedTuple):
    """What is believed in the morning of a day, h days from it; shape (H,) unless said otherwise."""

    keep: Floats
    later: Floats
    """Sessions booked on later days that take place; shape (bands, H)."""
    today: Floats
    hazard: Floats
    """Probability of being lost on a day, by days to go."""
    missed: Floats
    """Probability that a session still booked on its day is missed."""

    @property
    def survives(self) -> Floats:
        """Probability that a booked session is still booked on its day."""
        result: Floats = self.keep / np.maximum(1 - self.missed, 1e-9)
        return result

    @property
    def to_come(self) -> Floats:
        """Sessions still to be booked that take place, as the day begins."""
        total: Floats = self.later.sum(axis=0) + self.today
        return total


@dataclass(slots=True, eq=False)
class Mix:
    """Losses, spreads and the forecasts that wait for their outcome. Mutable."""

    loss: Floats = field(default_factory=lambda: np.zeros((len(LEADS_DAYS), len(EXPERTS))))
    """Decayed squared errors ÷ (new + lost expected); shape (leads, experts)."""
    scored: Floats = field(default_factory=lambda: np.zeros(len(LEADS_DAYS)))
    """Decayed number of origins, by lead."""
    errors: Floats = field(default_factory=lambda: np.zeros((2, len(LEADS_DAYS))))
    """Decayed squared standardised errors: of the total over the lead, of the lead's last day alone."""
    origins: Floats = field(default_factory=lambda: np.zeros((2, len(LEADS_DAYS))))
    pending: deque[tuple[int, Floats]] = field(default_factory=deque)
    """First day (ordinal) of each forecast that waits, oldest first, with shape (leads, experts + 4): total by expert,
    then total and new + lost of the mix, then the same of the last day alone."""

    # --- what is believed ---------------------------------------------------------------------------------

    def weights(self, able: Bools) -> Floats:
        """By day ahead and expert; shape (H, experts). ``able``: experts with something of their own to say."""
        prior = COMMON_PRIOR_ORIGINS * _LEADS[:, None]
        number = self.scored[:, None]
        usual = np.median(self.loss, axis=1, keepdims=True) / np.maximum(number, _LEAST_ERROR)
        mean = (self.loss + prior * usual) / (number + prior)
        relative = np.maximum(mean, _LEAST_ERROR) / np.maximum(usual, _LEAST_ERROR)
        week = LEADS_DAYS.index(7)
        relative[:week, _BY_LADDER] = np.maximum(relative[:week, _BY_LADDER], relative[week, _BY_LADDER])
        weights = np.where(able, relative**-SHARPNESS, 0.0)
        weights /= np.sqrt(np.maximum(_SAME_FAMILY @ able.astype(np.float64), 1.0))
        weights /= weights.sum(axis=1, keepdims=True)
        by_day: Floats = _BETWEEN_LEADS @ weights
        return by_day

    def path(self, paths: Paths, factors: Floats, season: Floats) -> Path:
        """The experts' paths mixed; ``factors``: as of ``corrections``; ``season``: its index by day ahead."""
        corrected = np.any(factors != 1.0, axis=(1, 2))
        able = corrected[_CORRECTION] | ((_CORRECTION == 0) & (~_SEASONAL | bool(np.any(season != 1.0))))
        weights = self.weights(able).T
        by_expert = factors[_CORRECTION]
        return Path(
            keep=(weights * paths.keep[_HALF_LIFE]).sum(axis=0),
            later=np.einsum("eh,ebh->bh", weights, paths.later[_RATE] * by_expert),
            today=(weights * paths.today[_RATE] * by_expert[:, BAND_OF, _AHEAD]).sum(axis=0),
            hazard=(weights * paths.hazard[_HALF_LIFE]).sum(axis=0),
            missed=(weights * paths.missed[_HALF_LIFE]).sum(axis=0),
        )

    def dispersion(self, dispersion: float, volume: Floats, *, total: bool) -> Floats:
        """φ by day ahead, shape (H,): of the total from the first day through it, or of that day alone.

        Args:
            dispersion: the prior's, variance ÷ mean.
            volume: new + lost expected on each day ahead.
        """
        row = 0 if total else 1
        known = np.cumsum(volume) if total else volume
        at = _LEADS - 1
        prior = dispersion + COMMON_ERROR**2 * known[at]
        learned = self._learned(row, prior)
        # between leads, what is learned beyond the prior is interpolated; the prior itself goes on with the volume
        ratio = np.interp(_LOG_DAYS, _LOG_LEADS, learned / prior)
        result: Floats = ratio * (dispersion + COMMON_ERROR**2 * known)
        return result

    def _learned(self, row: int, prior: Floats) -> Floats:
        weight = SPREAD_PRIOR_ORIGINS
        result: Floats = (self.errors[row] + weight * prior) / (self.origins[row] + weight)
        return result

    # --- learning -----------------------------------------------------------------------------------------

    def note(self, first_day: int, paths: Paths, path: Path, *, factors: Floats, on_book: Floats, more: Floats) -> None:
        """Remember what is forecast in the morning of ``first_day``.

        Args:
            factors: as of ``corrections``.
            on_book: sessions booked, by day ahead; shape (H,).
            more: sessions expected beside the curve (series); shape (H,).
        """
        by_expert = factors[_CORRECTION]
        come = (paths.later[_RATE] * by_expert).sum(axis=1) + paths.today[_RATE] * by_expert[:, BAND_OF, _AHEAD]
        totals = np.zeros((len(LEADS_DAYS), _WIDTH))
        totals[:, :-4] = np.cumsum(on_book * paths.keep[_HALF_LIFE] + come + more, axis=1)[:, _LEADS - 1].T
        daily = on_book * path.keep + path.to_come + more
        volume = on_book * (1 - path.keep) + path.to_come + more
        totals[:, -4] = np.cumsum(daily)[_LEADS - 1]
        totals[:, -3] = np.cumsum(volume)[_LEADS - 1]
        totals[:, -2] = daily[_LEADS - 1]
        totals[:, -1] = volume[_LEADS - 1]
        self.pending.append((first_day, rounded(totals)))

    def score(self, held: dict[int, float], through: int, prior_dispersion: float) -> None:
        """Score the forecasts whose last day is ``through``; ``held``: sessions that took place, by day."""
        for first_day, totals in self.pending:
            row = through - first_day
            if row + 1 not in LEADS_DAYS:
                continue
            days = range(first_day, through + 1)
            if all(day in held for day in days):
                lead = LEADS_DAYS.index(row + 1)
                self._score(lead, totals[lead], sum(held[day] for day in days), held[through], prior_dispersion)
        while self.pending and self.pending[0][0] + LEADS_DAYS[-1] - 1 <= through:
            self.pending.popleft()

    def _score(self, lead: int, forecast: Floats, total: float, last: float, dispersion: float) -> None:
        error = (forecast[: len(EXPERTS)] - total) ** 2
        self.loss[lead] = _LOSS_DECAY * self.loss[lead] + error / max(float(forecast[-3]), 1.0)
        self.scored[lead] = _LOSS_DECAY * self.scored[lead] + 1
        for row, (mean, volume, value) in enumerate(
            ((forecast[-4], forecast[-3], total), (forecast[-2], forecast[-1], last))
        ):
            if volume <= 0:
                continue
            prior = np.full(len(LEADS_DAYS), dispersion + COMMON_ERROR**2 * volume)
            most = LARGEST_ERROR**2 * self._learned(row, prior)[lead]
            self.errors[row, lead] = _SPREAD_DECAY * self.errors[row, lead] + min((value - mean) ** 2 / volume, most)
            self.origins[row, lead] = _SPREAD_DECAY * self.origins[row, lead] + 1
        for name in ("loss", "scored", "errors", "origins"):
            setattr(self, name, rounded(getattr(self, name)))

    # --- entries ------------------------------------------------------------------------------------------

    def as_json(self) -> dict[str, Any]:
        return {
            "loss": pack(self.loss),
            "scored": pack(self.scored),
            "errors": pack(self.errors),
            "origins": pack(self.origins),
            "pending": [[day, pack(totals)] for day, totals in self.pending],
        }

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> Mix:
        shape = (len(LEADS_DAYS), len(EXPERTS))
        return cls(
            loss=unpack(body["loss"], shape),
            scored=unpack(body["scored"], (len(LEADS_DAYS),)),
            errors=unpack(body["errors"], (2, len(LEADS_DAYS))),
            origins=unpack(body["origins"], (2, len(LEADS_DAYS))),
            pending=deque((day, unpack(text, (len(LEADS_DAYS), _WIDTH))) for day, text in body["pending"]),
        )
