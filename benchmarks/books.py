"""The learned forecast on synthetic books of other habits, beside simple methods and beside the truth.

Each book of ``config/books`` is drawn, and back-tested as ``planner backtest`` does (the steps of production, no
peeking). Beside the planner: the pickup methods with the window that was best *in hindsight* for that book and lead,
the naive ones, what is booked, what the catalogue states before anything is learned, and the truth: quantiles drawn
with the very parameters that the book was drawn with, given what is booked. Nothing can be better than that on average.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from typing import NamedTuple

import numpy as np

from benchmarks.load import default_bundle
from benchmarks.table import show
from config.book_specs import load_named_book, named_books
from planner.backtest.baselines import Baseline, Forecasts, baselines
from planner.backtest.history import Book as Known
from planner.backtest.history import Days
from planner.backtest.log import read_log
from planner.backtest.run import PLANNER, Backtest, Request, Scored
from planner.backtest.walk import Walk
from planner.catalogue.index import Catalogue
from planner.forecast.outlook import Floats
from planner.forecast.quantiles import quantiles
from planner.learning.book import Book as Learned
from planner.messages import HORIZON_DAYS, QUANTILES
from planner.simulation.books import Book, Truth, generate

LEADS = (1, 3, 7, 14, 28)
SEEDS = (1, 2)
WARM_UP_DAYS = 365
"""Origins begin so long after the first session day; half of the book where it is no longer than that."""
COLD_DAYS = 56
COLD_SEEDS = (1, 2, 3, 4)
COLD_LEADS = (1, 7, 28)
_NOT_QUICK = ("busy", "city-like", "summer-peaks")
_P90, _P95 = QUANTILES.index(0.9), QUANTILES.index(0.95)


class _Stated:
    """What the catalogue states, never learning: kept and still to come by its policy and expected sessions."""

    name = "stated"

    def __init__(self, in_force: Catalogue, site: str, first_day: date) -> None:
        self._catalogue, self._site, self._first = in_force, site, first_day.toordinal()

    def forecast(self, book: Known, origins: Days, leads: Sequence[int]) -> dict[int, Forecasts]:
        """See ``Baseline``."""
        means, variances = np.zeros((2, origins.size, max(leads)))
        for row, origin in enumerate(origins):
            untaught = Learned()
            prior = untaught.prior(self._catalogue, self._site, self._first + int(origin) + 1)
            path = untaught.path(self._catalogue, self._site, self._first + int(origin) + 1)
            booked = np.zeros(HORIZON_DAYS)
            booked[: book.on_books.shape[1]] = book.on_books[origin]
            volume = booked * (1 - path.keep) + path.to_come
            dispersion = untaught.mix.dispersion(prior.dispersion, volume, total=True)
            means[row] = np.cumsum(booked * path.keep + path.to_come)[: max(leads)]
            variances[row] = (dispersion * np.cumsum(volume))[: max(leads)]
        return {lead: _of_moments(means[:, lead - 1], variances[:, lead - 1]) for lead in leads}


def _of_moments(mean: Floats, variance: Floats) -> Forecasts:
    return Forecasts(quantiles(mean, variance).T, mean)


class _True:
    """The truth given what is booked."""

    name = "truth"
    _DRAWS = 400

    def __init__(self, truth: Truth, first_day: date) -> None:
        self._truth = truth
        self._offset = truth.spec.first_day.toordinal() - first_day.toordinal()

    def forecast(self, book: Known, origins: Days, leads: Sequence[int]) -> dict[int, Forecasts]:
        """See ``Baseline``; ``book`` is not read, the truth knows it."""
        del book
        drawn = [
            self._truth.totals(int(origin) - self._offset, leads, draws=self._DRAWS, seed=int(origin))
            for origin in origins
        ]
        found: dict[int, Forecasts] = {}
        for column, lead in enumerate(leads):
            of_lead = np.stack([of_origin[:, column] for of_origin in drawn])
            levels = np.quantile(of_lead, QUANTILES, axis=1, method="inverted_cdf").T
            found[lead] = Forecasts(levels, of_lead.mean(axis=1))
        return found


class Figures(NamedTuple):
    """One book's figures at one lead, over its seeds. Losses are pinball loss ÷ mean demand × 10⁴."""

    lead: int
    origins: int
    loss: dict[str, float]
    """Method → mean over seeds."""
    bias: float
    """Mean forecast − outcome ÷ mean demand, in percent."""
    covered: tuple[float, float]
    """Share of outcomes at or below the .9 and the .95 quantile, in percent."""
    error: tuple[float, float]
    """Standard errors of these, which respect that totals overlap."""
    true_covered: tuple[float, float] | None
    """The same of the truth: with small counts a quantile covers more than its level."""

    @property
    def best_pickup(self) -> float:
        """Of the window and kind that were best in hindsight."""
        return min(loss for name, loss in self.loss.items() if name.startswith(("additive", "multiplicative")))


def _tested(book: Book, in_force: Catalogue, request: Request, *, with_truth: bool) -> list[Scored]:
    lines = [event.model_dump_json(exclude_none=True).encode() for event in book.events]
    walk = Walk(read_log(lines), in_force.bundle)
    (site,) = book.truth
    methods: list[Baseline] = [*baselines(), _Stated(in_force, site, walk.first_day)]
    if with_truth:
        methods.append(_True(book.truth[site], walk.first_day))
    return Backtest(walk, request).run(methods).scored


def standard_error(covered: Floats, lead: int) -> float:
    """Of the mean of a series of 0 and 1 by origin (daily) whose totals overlap for ``lead`` days: Newey & West
    (1987, Econometrica 55) with 2 × lead lags."""
    away = covered - covered.mean()
    number = away.size
    variance = float(away @ away) / number
    for lag in range(1, min(2 * lead, number)):
        variance += 2 * (1 - lag / (2 * lead)) * float(away[lag:] @ away[:-lag]) / number
    return (max(variance, 0.0) / number) ** 0.5


def figures(name: str, in_force: Catalogue, seeds: Sequence[int], *, with_truth: bool = True) -> list[Figures]:
    """A book after its first year, by lead."""
    spec = load_named_book(name)
    warm_up = min(WARM_UP_DAYS, spec.days // 2)
    request = Request(
        leads=LEADS,
        first=spec.first_day + timedelta(days=warm_up),
        last=spec.last_day - timedelta(days=LEADS[-1]),
    )
    drawn = (generate(spec, seed, in_force if spec.actual_use else None) for seed in seeds)
    scored = [_tested(book, in_force, request, with_truth=with_truth) for book in drawn]
    return [_figures([[s for s in of_seed if s.lead == lead] for of_seed in scored], lead) for lead in LEADS]


def _figures(by_seed: list[list[Scored]], lead: int) -> Figures:
    losses: dict[str, list[float]] = {}
    covered: dict[str, list[tuple[Floats, Floats]]] = {}
    biases: list[float] = []
    for of_seed in by_seed:
        for one in of_seed:
            score = one.score()
            losses.setdefault(one.method, []).append(score.pinball_over_mean * 1e4)
            if one.method in (PLANNER, "truth"):
                inside = (one.realised[:, None] <= one.quantiles).astype(np.float64) * 100
                covered.setdefault(one.method, []).append((inside[:, _P90], inside[:, _P95]))
            if one.method == PLANNER:
                biases.append(score.bias_over_mean * 100)
    planner = covered[PLANNER]
    errors = [
        float(np.sqrt(sum(standard_error(seed[level], lead) ** 2 for seed in planner)) / len(planner))
        for level in range(2)
    ]
    shares = {
        method: tuple(float(np.mean([seed[i].mean() for seed in of])) for i in range(2))
        for method, of in covered.items()
    }
    return Figures(
        lead=lead,
        origins=sum(seed[0].size for seed in planner),
        loss={method: float(np.mean(values)) for method, values in losses.items()},
        bias=float(np.mean(biases)),
        covered=(shares[PLANNER][0], shares[PLANNER][1]),
        error=(errors[0], errors[1]),
        true_covered=(shares["truth"][0], shares["truth"][1]) if "truth" in shares else None,
    )


def _rows(name: str, of_leads: list[Figures]) -> Iterator[list[str]]:
    for at, one in enumerate(of_leads):
        loss = one.loss
        truth = f"{loss['truth']:,.0f}" if "truth" in loss else ""
        naive = min(loss["seasonal-naive"], loss["seasonal-naive-4w"])
        true_90 = f" ({one.true_covered[0]:.0f})" if one.true_covered else ""
        true_95 = f" ({one.true_covered[1]:.0f})" if one.true_covered else ""
        yield [
            name if at == 0 else "",
            f"{one.lead}",
            f"{one.origins:,}",
            f"{loss[PLANNER]:,.0f}",
            truth,
            f"{one.best_pickup:,.0f}",
            f"{naive:,.0f}",
            f"{loss['booked']:,.0f}",
            f"{loss['stated']:,.0f}",
            f"{loss[PLANNER] / one.best_pickup:.2f}",
            f"{one.covered[0]:.1f} ± {one.error[0]:.1f}{true_90}",
            f"{one.covered[1]:.1f} ± {one.error[1]:.1f}{true_95}",
            f"{one.bias:+.1f} %",
        ]


def _cold(name: str, in_force: Catalogue, seeds: Sequence[int]) -> Iterator[list[str]]:
    """The first ``COLD_DAYS`` of a book, from the end of its first week on."""
    spec = load_named_book(name)
    last = spec.first_day + timedelta(days=COLD_DAYS - 1)
    short = spec.model_copy(update={"days": COLD_DAYS + COLD_LEADS[-1] + 7})
    request = Request(leads=COLD_LEADS, first=spec.first_day + timedelta(days=6), last=last)
    scored = [
        _tested(generate(short, seed, in_force if spec.actual_use else None), in_force, request, with_truth=True)
        for seed in seeds
    ]
    for at, lead in enumerate(COLD_LEADS):
        one = _figures([[s for s in of_seed if s.lead == lead] for of_seed in scored], lead)
        loss = one.loss
        yield [
            name if at == 0 else "",
            f"{lead}",
            f"{one.origins:,}",
            f"{loss[PLANNER]:,.0f}",
            f"{loss['truth']:,.0f}",
            f"{loss['stated']:,.0f}",
            f"{one.best_pickup:,.0f}",
            f"{min(loss['seasonal-naive'], loss['seasonal-naive-4w']):,.0f}",
            f"{one.covered[0]:.1f} ± {one.error[0]:.1f}",
            f"{one.covered[1]:.1f} ± {one.error[1]:.1f}",
            f"{one.bias:+.1f} %",
        ]


def main(*, quick: bool = False, only: Sequence[str] = ()) -> None:
    """Print both tables. ``quick``: small books, one seed."""
    in_force = Catalogue(default_bundle())
    names = [name for name in named_books() if (not only or name in only) and not (quick and name in _NOT_QUICK)]
    seeds, cold_seeds = (SEEDS[:1], COLD_SEEDS[:1]) if quick else (SEEDS, COLD_SEEDS)
    began = time.perf_counter()
    rows = [row for name in names for row in _rows(name, figures(name, in_force, seeds))]
    show(
        f"books: sessions, totals over L days, daily origins after the first year, seeds {', '.join(map(str, seeds))}",
        ["book", "L", "n", "planner", "truth", "pickup", "naive", "booked", "stated", "÷ pickup",
         ".9 covers %", ".95 covers %", "bias"],
        rows,
        "pinball loss ÷ mean demand × 10⁴. pickup: the kind and window that were best in hindsight for the row",
        "naive: the better of last week and the mean of four; stated: what the catalogue states, nothing learned",
        "± a standard error (Newey & West, 2 L lags); in brackets the truth's own coverage (counts are whole numbers)",
    )  # fmt: skip
    cold = [row for name in names for row in _cold(name, in_force, cold_seeds)]
    show(
        f"cold start: origins from day 7 to {COLD_DAYS} of each book, seeds {', '.join(map(str, cold_seeds))}",
        ["book", "L", "n", "planner", "truth", "stated", "pickup", "naive", ".9 covers %", ".95 covers %", "bias"],
        cold,
        f"in {time.perf_counter() - began:,.0f} s in all",
    )
