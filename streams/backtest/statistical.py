"""Baselines from statsforecast (the optional extra ``backtest``); it is imported only when they are asked for."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from scipy import special

from planner.backtest.baselines import Baseline, Forecasts, seasonal_naive, with_errors
from planner.backtest.history import Book, Days
from planner.forecast.outlook import Floats
from planner.messages import QUANTILES

AUTO_ETS, TSB, SBA = "auto-ets", "tsb", "sba"
NAMES = (AUTO_ETS, TSB, SBA)

SMOOTHING = 0.1
"""Of TSB's demand and probability (Teunter, Syntetos & Babai 2011); SBA's is fixed at the same (Syntetos & Boylan
2005)."""
HISTORY_DAYS = 730
REFIT_DAYS = 28
"""AutoETS chooses and fits its model anew after so many days; between, the same one goes on with each day's demand."""
FIRST_FIT_DAYS = 28
"""Before so many days are settled there is no model, and the seasonal naive stands in."""
_WEEK = 7
_Z_LEVEL = 90


def is_installed() -> bool:
    """Whether statsforecast is there."""
    return importlib.util.find_spec("statsforecast") is not None


def statistical_baselines() -> list[Baseline]:
    """AutoETS, TSB and SBA.

    Raises:
        ModuleNotFoundError: statsforecast is not installed.
    """
    from statsforecast import models  # noqa: PLC0415 - optional, and slow to import

    return [
        AutoEts(models),
        Intermittent(TSB, models.TSB(alpha_d=SMOOTHING, alpha_p=SMOOTHING)),
        Intermittent(SBA, models.CrostonSBA()),
    ]


class _FlatModel(Protocol):
    def forecast(self, y: Floats, h: int, *, fitted: bool) -> dict[str, Any]: ...


class Intermittent:
    """A method with a flat forecast, and the errors its totals have made."""

    def __init__(self, name: str, model: _FlatModel) -> None:
        self.name = name
        self._model = model

    def forecast(self, book: Book, origins: Days, leads: Sequence[int]) -> dict[int, Forecasts]:
        """See ``Baseline``. One pass over the days: the rate after each comes from the days before it alone."""
        rates = self._rates(book.told[: int(book.settled.max())])
        rate = rates[np.minimum(book.settled, rates.size - 1)]
        return {lead: self._at_lead(book, origins, lead, rate) for lead in leads}

    def _rates(self, demand: Floats) -> Floats:
        """Forecast of a day after each number of days known, from none on; shape (days + 1,)."""
        if demand.size < 2:
            return np.zeros(demand.size + 1)
        made = self._model.forecast(demand, 1, fitted=True)
        rates: Floats = np.nan_to_num(np.append(made["fitted"], made["mean"]))
        return rates

    def _at_lead(self, book: Book, origins: Days, lead: int, rate: Floats) -> Forecasts:
        totals = book.totals(lead)
        errors = totals - rate[: totals.size] * lead
        return with_errors(book, origins, lead, base=rate[origins] * lead, errors=errors)


class AutoEts:
    """The exponential smoothing model of least AICc with a week's season, normal errors.

    The variance of a total keeps what its days share: with one-step variance σ² and the model's responses
    c_1, c_2 … to an error, h steps ahead the variance is σ² (1 + Σ_{i<h} c_i²), which gives |c_i|, and the total of L
    days has σ² Σ_{k=1..L} (1 + Σ_{i<k} c_i)² (Hyndman et al. 2008, §6.1 and §6.6; exact for linear models with
    responses of one sign).
    """

    name = AUTO_ETS

    def __init__(self, models: Any) -> None:
        self._models = models

    def forecast(self, book: Book, origins: Days, leads: Sequence[int]) -> dict[int, Forecasts]:
        """See ``Baseline``."""
        longest = max(leads)
        moments: list[tuple[Floats, Floats] | None] = []
        fitted: Any = None
        fitted_at = 0
        for origin in origins:
            until = int(book.settled[origin])
            demand = _begun(book.told[:until])[-HISTORY_DAYS:]
            if demand.size < FIRST_FIT_DAYS:
                moments.append(None)
                continue
            gap = int(origin) + 1 - until  # days that are over and not settled: forecast, and not part of the total
            if fitted is None or until - fitted_at >= REFIT_DAYS:
                fitted, fitted_at = self._models.AutoETS(season_length=_WEEK).fit(demand), until
            made = fitted.forward(demand, gap + longest, level=[_Z_LEVEL])
            moments.append(_total_moments(made, gap, longest))
        return {lead: self._at_lead(book, origins, lead, moments) for lead in leads}

    def _at_lead(
        self, book: Book, origins: Days, lead: int, moments: Sequence[tuple[Floats, Floats] | None]
    ) -> Forecasts:
        result = seasonal_naive(book, origins, lead, 1)
        deviates = special.ndtri(np.array(QUANTILES))
        for at, found in enumerate(moments):
            if found is not None:
                mean, variance = (float(values[lead - 1]) for values in found)
                result.quantiles[at] = np.maximum(mean + deviates * variance**0.5, 0.0)
                result.mean[at] = max(mean, 0.0)
        return result


def _total_moments(made: dict[str, Floats], gap: int, longest: int) -> tuple[Floats, Floats]:
    """Mean and variance of the totals of 1 … ``longest`` days that begin after ``gap`` days."""
    mean = np.asarray(made["mean"], np.float64)
    half = np.asarray(made[f"hi-{_Z_LEVEL}"], np.float64) - mean
    variance = (half / special.ndtri(0.5 + _Z_LEVEL / 200)) ** 2
    one_step = max(float(variance[0]), 1e-12)
    response = np.sqrt(np.maximum(np.diff(variance), 0.0) / one_step)
    reach = np.concatenate(([0.0], np.cumsum(np.concatenate(([1.0], response)))))  # of an error, through each day after
    totals = np.array(
        [
            # an error on day j (from 0) of the forecast reaches the days from max(j, gap) to the total's last
            sum((reach[gap + lead - j] - reach[max(gap - j, 0)]) ** 2 for j in range(gap + lead))
            for lead in range(1, longest + 1)
        ]
    )
    return np.cumsum(mean[gap:]), one_step * totals


def _begun(demand: Floats) -> Floats:
    """Without the days before the first that had any."""
    some = np.flatnonzero(demand)
    return demand[some[0] :] if some.size else demand[:0]
