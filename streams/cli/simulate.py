"""``planner simulate``: policies in simulated clinics, on the same patients and the same delays."""

from __future__ import annotations

from pathlib import Path

import click
import orjson
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from config.scenarios import ScenarioError, load_scenario, scenario_names
from planner.simulation.compare import POLICIES
from planner.simulation.measure import Comparison
from streams.cli.base import Failure, print_json_line, session_of, stderr, stdout
from streams.cli.importing import plain_lines
from streams.cli.simulate_view import as_json as json_of
from streams.cli.simulate_view import item_table, policy_table
from streams.cli.tables import cell, plain, show, table
from streams.inspect import NothingKnown, configured_catalogue
from streams.simulating import Plan, mapper, run_scenario, write_runs


def _policies(_ctx: click.Context, _parameter: click.Parameter, value: str) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(text.strip() for text in value.split(",")))
    unknown = [name for name in found if name not in POLICIES]
    if unknown:
        raise click.BadParameter(f"found {', '.join(unknown)}; expected of {', '.join(POLICIES)}")
    return found


@click.command(
    epilog="""\b
Examples:
  planner simulate --list
  planner simulate steady --policies minmax,planner --seeds 8 --train 8
  planner simulate my-clinic.yaml --processes 2 --out runs.csv

\b
Every policy is tuned to the same fill on training seeds, then measured on test seeds it has not seen. The planner runs
its real steps: events in, proposals out. Scenarios are YAML files (config/scenarios); one may be based_on another.
""",
)
@click.argument("scenario", required=False, metavar="[NAME|SCENARIO.yaml]")
@click.option("--policies", default=",".join(POLICIES), show_default=True, callback=_policies, metavar="NAMES")
@click.option("--seeds", type=click.IntRange(1, 1000), default=20, show_default=True, help="Test seeds.")
@click.option("--train", type=click.IntRange(1, 1000), default=20, show_default=True, help="Training seeds.")
@click.option("--planner-train", type=click.IntRange(1, 1000), default=10, show_default=True,
              help="Training seeds of the planner (a few seconds for each clinic-year).")  # fmt: skip
@click.option("--years", type=click.FloatRange(0.02, 10), metavar="Y",
              help="Years measured, instead of the scenario's days; after its warm-up.")  # fmt: skip
@click.option("--out", type=click.Path(dir_okay=False, writable=True, path_type=Path), metavar="CSV",
              help="Where to write every run, by item.")  # fmt: skip
@click.option("--processes", type=click.IntRange(1, 64), default=1, show_default=True)
@click.option("--list", "as_list", is_flag=True, help="List the scenarios that come with the planner.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object: means, ratios and their intervals.")
@click.pass_context
def simulate(
    ctx: click.Context,
    *,
    scenario: str | None,
    policies: tuple[str, ...],
    seeds: int,
    train: int,
    planner_train: int,
    years: float | None,
    out: Path | None,
    processes: int,
    as_list: bool,
    as_json: bool,
) -> None:
    """Compare ways of ordering in simulated clinics: fill, sessions, stock, waste, orders and money.

    All policies see the same bookings, patients, PRN use and late deliveries.
    """
    if as_list:
        _list()
        return
    if scenario is None:
        raise click.UsageError(f"expected a scenario: a file NAME.yaml, or one of {', '.join(scenario_names())}")
    if out is not None and not out.absolute().parent.is_dir():
        raise click.UsageError(f"{out}: found no folder {out.parent}; expected one that is there")
    plan = Plan(policies, train=train, planner_train=min(planner_train, train), test=seeds, years=years)
    comparison = _run(ctx, scenario, plan, processes)
    if out is not None:
        write_runs(out, [comparison])
    if as_json:
        print_json_line(orjson.dumps(json_of(comparison)))
    else:
        _show(comparison)


def _list() -> None:
    rows = table("scenario", "about", "tuned on")
    for name in scenario_names():
        known = load_scenario(name)
        rows.add_row(cell(name), cell(known.title), cell(known.tuned_on or "itself"))
    show(stdout(), rows)


def _run(ctx: click.Context, name: str, plan: Plan, processes: int) -> Comparison:
    hint = "planner simulate --list names the scenarios that there are."
    with Progress(SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), console=stderr(),
                  transient=True, disable=not stderr().is_terminal) as progress:  # fmt: skip
        task = progress.add_task(f"reading {plain(name)}", total=None)
        try:
            bundle = configured_catalogue(session_of(ctx).settings)
            with mapper(processes) as spread:
                _, _, found = run_scenario(
                    name, bundle, plan, spread=spread, tell=lambda text: progress.update(task, description=text)
                )
        except (ScenarioError, NothingKnown, ValueError) as error:
            raise Failure(plain_lines(str(error)), hint) from error
    return found


def _show(comparison: Comparison) -> None:
    out = stdout()
    show(out, f"{plain(comparison.scenario)}: means of a year over {len(comparison.test_seeds)} seeds "
              f"({_span(comparison.test_seeds)}), tuned on {_span(comparison.train_seeds)}")  # fmt: skip
    show(out, policy_table(comparison))
    items = item_table(comparison)
    if items is not None:
        show(out, items)
    for policy, tuned in comparison.tuned.items():
        if len(tuned) < 200:
            show(out, f"{policy}: {plain(tuned)}")


def _span(seeds: tuple[int, ...]) -> str:
    return f"{seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else str(seeds[0])
