"""Synthetic books at a small clinic, back-trial through the steps of production.

The clinic's catalogue expects 2 sessions on a working day and a book that is quite another: what is right about the
forecasts was learned.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any, NamedTuple

import numpy as np

from planner.backtest.baselines import Baseline
from planner.backtest.log import Event, read_log
from planner.backtest.run import PLANNER, Backtest, Request, Scored
from planner.backtest.walk import Walk
from planner.forecast.outlook import Floats
from planner.messages import QUANTILES
from planner.simulation.books import (
    Book,
    BookedSite,
    BookSpec,
    HazardFrom,
    LeadTime,
    ProtocolShare,
    Segment,
    Truth,
    generate,
)
from tests.plan.clinic import NORTH, bundle

FIRST = date(2025, 1, 6)
"""A Monday."""
P90, P95 = QUANTILES.index(0.9), QUANTILES.index(0.95)
ACUTE = Segment(
    name="acute",
    share=0.35,
    lead=LeadTime(mean_days=1, sd_days=1, at_most_days=3),
    miss_probability=0.06,
    protocols=(ProtocolShare(protocol="infusion"),),
)
WEEKS = Segment(
    name="weeks",
    share=0.65,
    lead=LeadTime(mean_days=12, sd_days=7, at_most_days=60),
    miss_probability=0.06,
    protocols=(ProtocolShare(protocol="infusion"),),
)


def spec_of(**more: Any) -> BookSpec:
    """10 sessions on each working day."""
    fields: dict[str, Any] = {
        "name": "learned",
        "sites": (BookedSite(site=NORTH, timezone="America/New_York"),),
        "first_day": FIRST,
        "days": 260,
        "sessions": dict.fromkeys(("mon", "tue", "wed", "thu", "fri"), 10.0),
        "segments": (ACUTE, WEEKS),
        "hazard": (HazardFrom(days=0, per_day=0.025), HazardFrom(days=5, per_day=0.012)),
        "dispersion": 1.3,
    }
    return BookSpec(**{**fields, **more})


def log_of(book: Book) -> list[Event]:
    return read_log([event.model_dump_json(exclude_none=True).encode() for event in book.events])


class Trial(NamedTuple):
    """A book and what a back-test of it found, by method and lead."""

    book: Book
    scored: dict[tuple[str, int], Scored]

    @property
    def truth(self) -> Truth:
        return self.book.truth[NORTH]


def trial(
    spec: BookSpec,
    seed: int,
    *,
    first: int,
    last: int,
    leads: Sequence[int],
    step: int = 1,
    baselines: Sequence[Baseline] = (),
) -> Trial:
    """Origins on the days ``first`` to ``last`` of the book, counted from its first session day."""
    book = generate(spec, seed)
    request = Request(
        leads=tuple(leads),
        first=spec.first_day + timedelta(days=first),
        last=spec.first_day + timedelta(days=last),
        step=step,
    )
    result = Backtest(Walk(log_of(book), bundle(sites=(NORTH,))), request).run(baselines)
    assert not result.refused
    return Trial(book, {(one.method, one.lead): one for one in result.scored})


def coverage(runs: Sequence[Trial], lead: int, level: int, method: str = PLANNER) -> float:
    """Share of the outcomes at or below the quantile, over all runs."""
    inside = [run.scored[method, lead] for run in runs]
    return float(np.mean(np.concatenate([one.realised <= one.quantiles[:, level] for one in inside])))


def losses(runs: Sequence[Trial], lead: int, method: str = PLANNER) -> float:
    """Mean pinball loss ÷ mean demand."""
    return float(np.mean([run.scored[method, lead].score().pinball_over_mean for run in runs]))


def bias(runs: Sequence[Trial], lead: int, method: str = PLANNER) -> float:
    """Mean forecast − outcome, ÷ mean outcome."""
    scored = [run.scored[method, lead] for run in runs]
    error = np.concatenate([one.mean - one.realised for one in scored])
    return float(error.mean() / np.concatenate([one.realised for one in scored]).mean())


def to_come_of(truth: Truth, origins: Sequence[int], lead: int) -> Floats:
    """Expected sessions of the ``lead`` days after each origin that are booked after it, by the truth."""
    return np.array([sum(truth.to_come(ahead)[origin + ahead] for ahead in range(1, lead + 1)) for origin in origins])
