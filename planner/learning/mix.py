"""Which expert to believe, and how wide to be: learned from the forecasts' own past errors.

The experts are the half-lives of the curve, some of them with the shape of last year; no single one is best on every
book. Each is scored on the totals over ``LEADS_DAYS``; its weight is the inverse of its mean squared error (decayed)
to the power ``SHARPNESS``. Combinations of forecasts by inverse past loss: Bates & Granger 1969 (Operational Research
Quarterly 20); a power: Aiolfi & Timmermann 2006 (J. Econometrics 135).

The spread of a total over a lead is φ × (expected new + expected lost), a quasi-Poisson variance, with φ of each lead
from the mix's own standardised errors, decayed, each error held to ``LARGEST_ERROR`` standard deviations so that one
burst (a group that does not come) does not widen the forecast for months. Errors that days share (a common level that
is off by a share) grow with the number of sessions: the prior is φ = dispersion + ``COMMON_ERROR``² × (new + lost).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np

from planner.forecast.outlook import Floats
from planner.learning.curve import HALF_LIVES_DAYS, Paths
from planner.learning.packed import pack, rounded, unpack
from planner.messages import HORIZON_DAYS

LEADS_DAYS: Final = (1, 3, 7, 14, 28, 56)
LOSS_HALF_LIFE_DAYS: Final = 180.0
SHARPNESS: Final = 1.5
COMMON_PRIOR_ORIGINS: Final = 1.0
"""Origins, for each day of lead, that the errors of the median expert count for in every expert's."""
SPREAD_HALF_LIFE_DAYS: Final = 45.0
SPREAD_PRIOR_ORIGINS: Final = 10.0
LARGEST_ERROR: Final = 3.0
COMMON_ERROR: Final = 0.08
"""Relative error (standard deviation) that all days of a lead share, before anything is learned."""


class Expert(NamedTuple):
    """A half-life (index), and the power to which last year's shape is taken (0: not at all)."""

    half_life: int
    last_year: float


EXPERTS: Final = tuple(
    [Expert(index, 0.0) for index in range(len(HALF_LIVES_DAYS))]
    + [
        Expert(HALF_LIVES_DAYS.index(56.0), 0.5),
        Expert(HALF_LIVES_DAYS.index(180.0), 0.5),
        Expert(HALF_LIVES_DAYS.index(180.0), 1.0),
    ]
)
_HALF_LIFE: Final = np.array([expert.half_life for expert in EXPERTS])
_POWER: Final = np.array([expert.last_year for expert in EXPERTS])
_LEADS: Final = np.array(LEADS_DAYS)
_LOG_LEADS: Final = np.log(_LEADS)
_LOG_DAYS: Final = np.log(np.arange(HORIZON_DAYS) + 1)
_LOSS_DECAY: Final = 0.5 ** (1 / LOSS_HALF_LIFE_DAYS)
_SPREAD_DECAY: Final = 0.5 ** (1 / SPREAD_HALF_LIFE_DAYS)
_WIDTH: Final = len(EXPERTS) + 4


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
    scored: Floats = field(default_factory=lambda: np.zeros((len(LEADS_DAYS), len(EXPERTS))))
    """Decayed squared errors and number of origins, by lead and expert."""
    errors: Floats = field(default_factory=lambda: np.zeros((2, len(LEADS_DAYS))))
    """Decayed squared standardised errors: of the total over the lead, of the lead's last day alone."""
    origins: Floats = field(default_factory=lambda: np.zeros((2, len(LEADS_DAYS))))
    pending: deque[tuple[int, Floats]] = field(default_factory=deque)
    """First day (ordinal) of each forecast that waits, oldest first, with shape (leads, experts + 4): total by expert,
    then total and new + lost of the mix, then the same of the last day alone. Expert without a forecast: NaN."""

    # --- what is believed ---------------------------------------------------------------------------------

    def weights(self, last_year: bool) -> Floats:
        """By day ahead and expert; shape (H, experts). ``last_year``: there is a last year to take the shape of."""
        weights = np.zeros_like(self.loss)
        able = np.flatnonzero((_POWER == 0) | last_year)
        for row, lead in enumerate(LEADS_DAYS):
            number = self.scored[row, able]
            if not number.any():
                weights[row, able] = 1 / able.size
                continue
            mean = self.loss[row, able] / np.maximum(number, 1e-9)
            prior = COMMON_PRIOR_ORIGINS * lead
            common = float(np.median(mean[number > 0]))
            shrunk = (self.loss[row, able] + prior * common) / (number + prior)
            weight = (shrunk / max(float(shrunk.min()), 1e-9) + 1e-9) ** -SHARPNESS
            weights[row, able] = weight / weight.sum()
        return np.stack([np.interp(_LOG_DAYS, _LOG_LEADS, column) for column in weights.T], axis=1)

    def path(self, paths: Paths, shape: Floats | None) -> Path:
        """The experts' paths mixed; ``shape``: last year's level by day ahead against now, None if unknown."""
        weights = self.weights(shape is not None).T
        factor = weights if shape is None else weights * shape ** _POWER[:, None]
        later = np.einsum("eh,ebh->bh", factor, paths.later[_HALF_LIFE])
        return Path(
            keep=(weights * paths.keep[_HALF_LIFE]).sum(axis=0),
            later=later,
            today=(factor * paths.today[_HALF_LIFE]).sum(axis=0),
            hazard=(weights * paths.hazard[_HALF_LIFE]).sum(axis=0),
            missed=(weights * paths.missed[_HALF_LIFE][:, None]).sum(axis=0),
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

    def note(
        self, first_day: int, paths: Paths, path: Path, *, shape: Floats | None, on_book: Floats, more: Floats
    ) -> None:
        """Remember what is forecast in the morning of ``first_day``.

        Args:
            on_book: sessions booked, by day ahead; shape (H,).
            more: sessions expected beside the curve (series); shape (H,).
        """
        come = paths.later.sum(axis=1) + paths.today
        totals = np.full((len(LEADS_DAYS), _WIDTH), np.nan)
        for number, expert in enumerate(EXPERTS):
            if expert.last_year and shape is None:
                continue
            factor = 1.0 if shape is None else shape**expert.last_year
            daily = on_book * paths.keep[expert.half_life] + come[expert.half_life] * factor + more
            totals[:, number] = np.cumsum(daily)[_LEADS - 1]
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
        error = forecast[: len(EXPERTS)] - total
        there = ~np.isnan(error)
        self.loss[lead] *= _LOSS_DECAY
        self.scored[lead] *= _LOSS_DECAY
        self.loss[lead, there] += error[there] ** 2
        self.scored[lead, there] += 1
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
            scored=unpack(body["scored"], shape),
            errors=unpack(body["errors"], (2, len(LEADS_DAYS))),
            origins=unpack(body["origins"], (2, len(LEADS_DAYS))),
            pending=deque((day, unpack(text, (len(LEADS_DAYS), _WIDTH))) for day, text in body["pending"]),
        )
