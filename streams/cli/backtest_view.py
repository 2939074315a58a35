"""The scores of a back-test as tables: methods by leads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date

import numpy as np
from rich.table import Table
from rich.text import Text

from planner.backtest.run import PLANNER, Scored
from planner.backtest.scores import Score, coverage_error
from planner.forecast.chain import ALL_SITES
from planner.messages import QUANTILES
from streams.cli.tables import cell, number, table

_PICKUP = ("additive-", "multiplicative-")
_HINDSIGHT = "best pickup in hindsight"
_RIGHT = "± of a forecast that is right"
_LEVELS = (0.9, 0.95)
_AT = tuple(QUANTILES.index(level) for level in _LEVELS)


def score_tables(scored: Sequence[Scored]) -> Iterator[Table]:
    """One table for each site and series, the planner first."""
    kept = [one for one in scored if one.origins]
    for site, series in dict.fromkeys((one.site, one.series) for one in kept):
        here = {(one.method, one.lead): one.score() for one in kept if (one.site, one.series) == (site, series)}
        origins = {one.lead: one.origins for one in kept if (one.site, one.series) == (site, series)}
        place = "all sites" if site == ALL_SITES else site
        yield _table(f"{series.name} ({series.unit}) at {place}", here, origins)


def _table(title: str, scores: dict[tuple[str, int], Score], origins: Mapping[int, Sequence[date]]) -> Table:
    leads = sorted({lead for _, lead in scores})
    methods = list(dict.fromkeys(method for method, _ in scores))
    heads = [f"{lead} d" for lead in leads]
    made = table("method", *heads, title=title, right=heads)
    least = {lead: min(scores[method, lead].pinball for method in methods) for lead in leads}
    for method in methods:
        cells = [_score(scores[method, lead], best=scores[method, lead].pinball == least[lead]) for lead in leads]
        made.add_row(cell(method, "bold" if method == PLANNER else ""), *cells)
    pickup = [method for method in methods if method.startswith(_PICKUP)]
    if len(pickup) > 1:
        best = [min((scores[method, lead] for method in pickup), key=lambda s: s.pinball) for lead in leads]
        made.add_row(cell(_HINDSIGHT, "dim"), *(_score(one, best=False, style="dim") for one in best))
    made.add_section()
    made.add_row(cell(_RIGHT, "dim"), *(_error(origins[lead], lead) for lead in leads))
    made.add_row(
        cell("took place, mean (origins)"),
        *(cell(f"{number(s.mean_demand)} ({s.n})") for s in (scores[methods[0], lead] for lead in leads)),
    )
    return made


def _score(score: Score, *, best: bool, style: str = "") -> Text:
    """Pinball ÷ mean × 10⁴, and coverage in percent."""
    loss = "–" if score.mean_demand == 0 else f"{score.pinball_over_mean * 1e4:,.0f}"
    covered = " ".join(f"{score.coverage[at] * 100:3.0f}" for at in _AT)
    return cell(f"{loss}{'*' if best else ' '} {covered}", "bold green" if best else style)


def _error(origins: Sequence[date], lead: int) -> Text:
    """Standard errors of coverage in percent, under the coverages."""
    days = np.array([day.toordinal() for day in origins])
    return cell(" ".join(f"{coverage_error(days, lead, level) * 100:3.0f}" for level in _LEVELS), "dim")
