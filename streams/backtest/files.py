"""Files of a back-test: the log of events in, forecasts and scores out as CSV."""

from __future__ import annotations

import csv
import gzip
import io
import sys
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO

from planner.backtest.run import Scored
from planner.messages import QUANTILES

STDIN = "-"
_GZIP = b"\x1f\x8b"
_DECIMALS = 6
_SCORE_DECIMALS = 8

FORECAST_COLUMNS = ("origin", "site", "series", "lead", "method", *(f"q{q}" for q in QUANTILES), "mean", "realised")
SCORE_COLUMNS = (
    "method",
    "site",
    "series",
    "lead",
    "n",
    "mean_demand",
    "pinball",
    "pinball_over_mean",
    *(f"coverage_{q}" for q in QUANTILES),
    "bias_over_mean",
    "mae_over_mean",
)


class LogUnreadable(ValueError):  # noqa: N818 - named after what it says
    """The file of events cannot be read."""


def read_lines(name: str) -> Iterator[bytes]:
    """The lines of a file, or of standard input for ``-``; gzipped or not.

    Raises:
        LogUnreadable: it cannot be opened, or is a gzip file with a fault.
    """
    try:
        if name == STDIN:
            yield from _plain(sys.stdin.buffer)
        else:
            with Path(name).open("rb") as file:
                yield from _plain(file)
    except (OSError, EOFError, zlib.error) as error:
        raise LogUnreadable(f"{name}: {error}") from error


def _plain(file: IO[bytes]) -> Iterable[bytes]:
    buffered = file if isinstance(file, io.BufferedReader) else io.BufferedReader(io.BytesIO(file.read()))
    return gzip.open(buffered) if buffered.peek(2)[:2] == _GZIP else buffered


def write_forecasts(path: Path, scored: Sequence[Scored]) -> int:
    """One row per origin, site, series, lead and method. Returns the number of rows."""
    rows = 0
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(FORECAST_COLUMNS)
        for one in scored:
            for at, origin in enumerate(one.origins):
                figures = [*one.quantiles[at].tolist(), float(one.mean[at]), float(one.realised[at])]
                head = [origin.isoformat(), one.site, one.series.name, one.lead, one.method]
                writer.writerow([*head, *(round(figure, _DECIMALS) for figure in figures)])
                rows += 1
    return rows


def write_scores(path: Path, scored: Sequence[Scored]) -> None:
    """One row per method, site, series and lead that has an origin."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(SCORE_COLUMNS)
        writer.writerows(score_row(one) for one in scored if one.origins)


def score_row(one: Scored) -> list[str | int | float]:
    """The figures of ``SCORE_COLUMNS``."""
    found = one.score()
    figures = [found.mean_demand, found.pinball, found.pinball_over_mean, *found.coverage]
    figures += [found.bias_over_mean, found.mae_over_mean]
    head: list[str | int | float] = [one.method, one.site, one.series.name, one.lead, found.n]
    return [*head, *(round(figure, _SCORE_DECIMALS) for figure in figures)]
