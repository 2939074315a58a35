"""``planner backtest``: forecasts scored on a log of what happened, beside simple methods."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import click
import orjson
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from planner.backtest.baselines import Baseline, baselines
from planner.backtest.faults import CannotTest
from planner.backtest.log import LogFault, read_log
from planner.backtest.run import Backtest, Request, Result
from planner.backtest.walk import Walk
from planner.messages import HORIZON_DAYS
from streams.backtest import plots as plotting
from streams.backtest import statistical
from streams.backtest.files import SCORE_COLUMNS, LogUnreadable, read_lines, score_row, write_forecasts, write_scores
from streams.cli.backtest_view import score_tables
from streams.cli.base import Exit, Failure, Session, print_json_line, session_of, stderr, stdout
from streams.cli.tables import plain, show
from streams.inspect import NothingKnown, configured_catalogue

BASELINES = (*(one.name for one in baselines()), *statistical.NAMES)
_DAY = click.DateTime(["%Y-%m-%d"])


def _leads(_ctx: click.Context, _parameter: click.Parameter, value: str) -> tuple[int, ...]:
    try:
        found = tuple(sorted({int(text) for text in value.split(",")}))
    except ValueError:
        raise click.BadParameter(f"found {value!r}; expected days with commas, such as 1,7,28") from None
    if found[0] < 1 or found[-1] > HORIZON_DAYS:
        raise click.BadParameter(f"found {value!r}; expected days from 1 to {HORIZON_DAYS}")
    return found


def _names(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> tuple[str, ...]:
    return () if value is None else tuple(dict.fromkeys(text.strip() for text in value.split(",")))


@click.command(
    epilog="""\b
Examples:
  planner import bookings bookings.csv.gz --map config/mappings/city.yaml --out city.jsonl
  planner backtest city.jsonl --from 2017-01-11 --to 2017-08-03 --out scores.csv --forecasts forecasts.csv
  planner backtest city.jsonl --from 2017-01-11 --to 2017-08-03 --step 7 --draw-use 1 \\
      --series magnesium-sulfate,antiemetic,iv-supply --plots plots
  planner synthesize short-leads --out events.jsonl && planner backtest events.jsonl --from 2025-06-01 --to 2025-12-01

\b
EVENTS: booking events as JSON Lines, also gzipped, - for standard input; stock and order events may be among them.
An origin is the end of a site's day; a lead of L days is the total of the L days after it. Scores: docs/backtest.md.
AutoETS, TSB and SBA, and plots, need an extra: pip install 'infusion-supply-planner[backtest]'.
""",
)
@click.argument("events", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option("--leads", default="1,3,7,14,28", show_default=True, callback=_leads, metavar="DAYS",
              help=f"Days with commas, up to {HORIZON_DAYS}.")  # fmt: skip
@click.option("--from", "first", type=_DAY, required=True, metavar="DATE", help="The first origin.")
@click.option("--to", "last", type=_DAY, required=True, metavar="DATE", help="The last origin.")
@click.option("--step", type=click.IntRange(1, 366), default=1, show_default=True, help="Days between origins.")
@click.option("--warmup", type=click.IntRange(0), default=0, show_default=True, metavar="DAYS",
              help="Leave out origins with fewer days of a site's history.")  # fmt: skip
@click.option("--series", default="sessions", show_default=True, callback=_names, metavar="NAMES",
              help="sessions, and ids of items, groups or components, with commas.")  # fmt: skip
@click.option("--site", "sites", multiple=True, help="Score this site only; may be repeated. Absent: each, and all.")
@click.option("--draw-use", "draw_seed", type=click.IntRange(0, 2**63 - 1), metavar="SEED",
              help="Draw what sessions used where it is not told (PRN, second sticks). Absent: the mean.")  # fmt: skip
@click.option("--out", type=click.Path(dir_okay=False, writable=True, path_type=Path), metavar="CSV",
              help="Where to write the scores.")  # fmt: skip
@click.option("--forecasts", type=click.Path(dir_okay=False, writable=True, path_type=Path), metavar="CSV",
              help="Where to write every forecast with its outcome.")  # fmt: skip
@click.option("--plots", type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
              help="Where to draw calibration, loss by lead and the booking curve of one origin.")  # fmt: skip
@click.option("--plot-format", type=click.Choice(["svg", "png"]), default="svg", show_default=True)
@click.option("--fan-origin", type=_DAY, metavar="DATE", help="Origin of the booking curve. Absent: the middle one.")
@click.option("--baselines", "wanted", callback=_names, metavar="NAMES",
              help=f"Only these, with commas: {', '.join(BASELINES)}.")  # fmt: skip
@click.option("--no-baselines", is_flag=True, help="The planner alone.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object: the scores, and events refused by reason.")
@click.pass_context
def backtest(
    ctx: click.Context,
    *,
    events: str,
    leads: tuple[int, ...],
    first: datetime,
    last: datetime,
    step: int,
    warmup: int,
    series: tuple[str, ...],
    sites: tuple[str, ...],
    draw_seed: int | None,
    out: Path | None,
    forecasts: Path | None,
    plots: Path | None,
    plot_format: str,
    fan_origin: datetime | None,
    wanted: tuple[str, ...],
    no_baselines: bool,
    as_json: bool,
) -> None:
    """Walk through a log of events as it happened and score what the planner would have forecast.

    At each origin the planner knows what was told by then, and nothing else; so do the simple methods that are
    computed beside it. Nothing is sent, and no worker is needed.
    """
    if no_baselines and wanted:
        raise click.UsageError("--baselines and --no-baselines exclude one another")
    for path in (out, forecasts):
        if path is not None and not path.absolute().parent.is_dir():
            raise click.UsageError(f"{path}: found no folder {path.parent}; expected one that is there")
    if plots is not None and not plotting.is_installed():
        raise Failure("--plots: matplotlib is not installed", "pip install 'infusion-supply-planner[backtest]'")
    chosen = [] if no_baselines else _baselines(wanted)
    request = _request(
        leads=leads,
        first=first.date(),
        last=last.date(),
        step=step,
        warmup_days=warmup,
        series=series,
        sites=sites,
        draw_seed=draw_seed,
        fan_origin=None if fan_origin is None else fan_origin.date(),
    )
    result = _run(session_of(ctx), events, request, chosen)
    _write(result, out, forecasts)
    drawn = [] if plots is None else plotting.write_plots(plots, plot_format, result.scored, result.fan)
    if as_json:
        print_json_line(_json(result))
    else:
        _show(result, request, [path for path in (out, forecasts, *drawn) if path is not None])
    if plots is not None and result.fan is None:
        _say(f"--fan-origin: {request.fan_origin} is none of the origins; no booking curve was drawn")


def _request(**fields: Any) -> Request:
    try:
        return Request(**fields)
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def _baselines(wanted: Sequence[str]) -> list[Baseline]:
    """Those wanted; none named: all that there are."""
    for name in wanted:
        if name not in BASELINES:
            raise click.UsageError(f"--baselines: found {name!r}; expected some of {', '.join(BASELINES)}")
    found = baselines()
    if not wanted or set(wanted) & set(statistical.NAMES):
        if statistical.is_installed():
            found += statistical.statistical_baselines()
        else:
            missing = [name for name in statistical.NAMES if not wanted or name in wanted]
            _say(f"without {', '.join(missing)}: statsforecast is not installed (extra: backtest)")
    return [one for one in found if not wanted or one.name in wanted]


def _run(session: Session, events: str, request: Request, chosen: Sequence[Baseline]) -> Result:
    console = stderr()
    with Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        console=console, transient=True, disable=not console.is_terminal,
    ) as progress:  # fmt: skip
        try:
            reading = progress.add_task("reading", total=None)
            log = read_log(progress.track(read_lines(events), task_id=reading))
            if not log:
                raise Failure(f"{events}: found no events; expected booking events in JSON Lines", "")
            test = Backtest(Walk(log, configured_catalogue(session.settings)), request)
            folding = progress.add_task("events", total=len(log))
            asking = progress.add_task("baselines", total=len(chosen))
            return test.run(
                chosen,
                on_events=lambda more: progress.advance(folding, more),
                on_baseline=lambda name: progress.update(asking, description=name, advance=1),
            )
        except LogFault as error:
            raise Failure(f"{events}: {error}", "", Exit.REFUSED) from None
        except LogUnreadable as error:
            raise Failure(str(error), "Expected events in JSON Lines, plain or gzipped.") from error
        except NothingKnown as error:
            raise Failure(str(error), "planner check lists them.") from error
        except CannotTest as error:
            raise Failure(str(error), "", Exit.USAGE) from error


def _write(result: Result, out: Path | None, forecasts: Path | None) -> None:
    try:
        if out is not None:
            write_scores(out, result.scored)
        if forecasts is not None:
            write_forecasts(forecasts, result.scored)
    except OSError as error:
        raise Failure(str(error), "Check --out and --forecasts.") from error


def _show(result: Result, request: Request, written: Sequence[Path]) -> None:
    console = stdout()
    for made in score_tables(result.scored):
        show(console, made)
    show(
        console,
        "pinball loss ÷ mean demand × 10⁴ (* the least), then coverage of the .9 and .95 quantiles in %, and by",
    )
    show(console, "how much (standard error) a right forecast's would be off: totals that share days tell little anew")
    if request.draw_seed is not None:
        show(console, f"use that no completion told was drawn with seed {request.draw_seed}")
    if result.refused:
        total = sum(result.refused.values())
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in sorted(result.refused.items()))
        show(console, f"{total:,} events were refused and changed nothing: {plain(reasons)}")
    for path in written:
        show(console, f"written: {plain(path)}")


def _json(result: Result) -> bytes:
    scores = [dict(zip(SCORE_COLUMNS, score_row(one), strict=True)) for one in result.scored if one.origins]
    return orjson.dumps({"scores": scores, "refused": result.refused})


def _say(text: str) -> None:
    show(stderr(), text)
