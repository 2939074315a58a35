"""Plots of a back-test with matplotlib (the optional extra ``backtest``); imported only when they are asked for."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

from planner.backtest.run import PLANNER, Fan, Scored
from planner.forecast.chain import ALL_SITES
from planner.messages import QUANTILES

_SIZE_INCHES = (8.0, 5.0)
_BANDS = ((0.99, "#dce8f5"), (0.95, "#b8d0ea"), (0.9, "#8fb4dc"), (0.8, "#5f93c9"))
"""Upper quantile of each band above the median, widest first, and its colour."""


def is_installed() -> bool:
    """Whether matplotlib is there."""
    return importlib.util.find_spec("matplotlib") is not None


def write_plots(folder: Path, suffix: str, scored: Sequence[Scored], fan: Fan | None) -> list[Path]:
    """Calibration and loss by lead of each site and series, and the fan of one origin.

    Args:
        folder: made if it is not there.
        suffix: ``svg`` or ``png``.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    kept = [one for one in scored if one.origins]
    for site, series in dict.fromkeys((one.site, one.series) for one in kept):
        of_both = [one for one in kept if (one.site, one.series) == (site, series)]
        about = f"{series.name} at {'all sites' if site == ALL_SITES else site}"
        for kind, figure in (("calibration", _calibration(of_both, about)), ("loss-by-lead", _loss(of_both, about))):
            written.append(_save(figure, folder, f"{kind}-{site}-{series.name}", suffix))
    if fan is not None:
        written.append(_save(_fan(fan), folder, f"booking-curve-{fan.site}-{fan.series.name}-{fan.origin}", suffix))
    return written


def _save(figure: Any, folder: Path, name: str, suffix: str) -> Path:
    path = folder / f"{name.replace(ALL_SITES, 'all-sites').replace(':', '-')}.{suffix}"
    figure.savefig(path, bbox_inches="tight", dpi=150)
    return path


def _axes(title: str, x: str, y: str) -> tuple[Any, Any]:
    from matplotlib.figure import Figure  # noqa: PLC0415 - optional

    figure = Figure(figsize=_SIZE_INCHES)
    axes = figure.subplots()
    axes.set(title=title, xlabel=x, ylabel=y)
    axes.grid(alpha=0.3)
    return figure, axes


def _calibration(scored: Sequence[Scored], about: str) -> Any:
    figure, axes = _axes(f"Calibration: {about}", "quantile asked for", "share of outcomes at most the quantile")
    axes.plot([QUANTILES[0], 1], [QUANTILES[0], 1], color="black", linewidth=1, linestyle=":", label="calibrated")
    for one in scored:
        if one.method == PLANNER:
            axes.plot(QUANTILES, one.score().coverage, marker="o", label=f"{one.lead} d (n = {len(one.origins)})")
    axes.legend(title="lead")
    return figure


def _loss(scored: Sequence[Scored], about: str) -> Any:
    from matplotlib import colormaps  # noqa: PLC0415 - optional

    figure, axes = _axes(f"Loss by lead: {about}", "lead, days", "pinball loss ÷ mean demand × 10⁴")
    axes.set_prop_cycle(color=colormaps["tab20"](range(20)))
    for method in dict.fromkeys(one.method for one in scored):
        points = [(one.lead, one.score().pinball_over_mean * 1e4) for one in scored if one.method == method]
        style = {"color": "black", "linewidth": 2.5, "zorder": 3} if method == PLANNER else {"linewidth": 1}
        axes.plot(*zip(*points, strict=True), marker="o", markersize=4, label=method, **style)
    axes.set(xscale="log", yscale="log")
    leads = sorted({one.lead for one in scored})
    axes.set_xticks(leads, [str(lead) for lead in leads])
    axes.minorticks_off()
    axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def _fan(fan: Fan) -> Any:
    title = f"{fan.series.name} at {fan.site}, as known at the end of {fan.origin}"
    figure, axes = _axes(title, "day", f"{fan.series.unit} per day")
    days = [fan.origin + timedelta(days=ahead + 1) for ahead in range(fan.mean.size)]
    median = fan.quantiles[QUANTILES.index(0.5)]
    for level, colour in _BANDS:
        upper = fan.quantiles[QUANTILES.index(level)]
        axes.fill_between(days, median, upper, color=colour, step="mid", label=f"to the {level:g} quantile")
    axes.step(days, fan.mean, where="mid", color="navy", label="expected")
    axes.step(days, fan.on_books, where="mid", color="grey", linestyle="--", label="on the books")
    axes.plot(days[: fan.realised.size], fan.realised, "k.", label="took place")
    axes.set_ylim(0, max(float(np.max(fan.quantiles)), float(np.max(fan.realised, initial=0.0)), 1.0) * 1.1)
    figure.autofmt_xdate()
    axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure
