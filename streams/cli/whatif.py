"""``planner whatif``: a site's own log under another policy, supplier, lead time, protocol or number of bookings."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

import click
import orjson
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from planner.booking.adoption import changed_protocols
from planner.booking_step import BookingStep
from planner.catalogue.index import Catalogue
from planner.catalogue.model import Bundle
from planner.learning.lateness import Lateness
from planner.simulation.planner_policy import RefusedInSimulationError
from planner.simulation.present import Present, plan_present, restate, vary_present
from planner.simulation.whatif import CannotAsk, Changes, Measure, WalkedThrough, changed_bundle, walk_through
from planner.simulation.whatif_log import NothingToWalk, read_site_log
from planner.site.state import SiteState
from planner.step import Record
from planner.topics import CATALOGUE_KEY
from streams.backtest.files import LogUnreadable, read_lines
from streams.cli.base import Exit, Failure, Session, print_json_line, session_of, stderr, stdout, wait_for
from streams.cli.importing import plain_lines
from streams.cli.tables import plain, show
from streams.cli.whatif_view import as_json as json_of
from streams.cli.whatif_view import present_tables, walk_table
from streams.inspect import NothingKnown, TableView, configured_catalogue, plan_step_of
from streams.log import LogClient
from streams.names import EXPAND, changelog
from streams.simulating import mapper

_SHARE = re.compile(r"^([+-][0-9]+(?:\.[0-9]+)?) ?%$")
_LATEST = 2**62
"""Offset of a catalogue that is on no log: after all that are."""


def _pairs(_ctx: click.Context, _parameter: click.Parameter, values: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    found: dict[str, str] = {}
    for value in values:
        name, equals, what = value.partition("=")
        if not (name and equals and what):
            raise click.BadParameter(f"found {value!r}; expected NAME=VALUE")
        if found.setdefault(name, what) != what:
            raise click.BadParameter(f"{name}: found {what!r} and {found[name]!r}; expected one value")
    return tuple(found.items())


def _numbers(ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> tuple[tuple[str, int], ...]:
    pairs = _pairs(ctx, parameter, values)
    for name, value in pairs:
        if not (value.isascii() and value.isdecimal() and len(value) < 10):
            raise click.BadParameter(f"{name}: found {value!r}; expected a whole number")
    return tuple((name, int(value)) for name, value in pairs)


def _level(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> Decimal | None:
    try:
        return None if value is None else Decimal(value)
    except InvalidOperation:
        raise click.BadParameter(f"found {value!r}; expected a number between 0 and 1, such as 0.99") from None


def _share(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> float:
    if value is None:
        return 0.0
    match = _SHARE.match(value)
    if match is None:
        raise click.BadParameter(f"found {value!r}; expected more or fewer in percent, such as +20% or -10%")
    return float(match[1]) / 100


@click.command(
    epilog="""\b
Examples:
  planner whatif harbor --service-level 0.99
  planner whatif harbor --lead-time wholesaler=5 --days 180 --runs 10
  planner whatif harbor --supplier saline-flush-10ml=wholesaler
  planner whatif harbor --protocol magnesium=2 --bookings +20%
  planner whatif city --bookings -10% --events city.jsonl

\b
Two answers, each as it is and as it would be:
  now     the site's present state planned by both catalogues: risk, last day to order, proposals, lots that expire
          (bookings more or fewer: of those on the books and of those still to come)
  walked  the last days of the site's log lived through twice by the planner's real steps: who came is as it was; what
          each session used and how late suppliers delivered is drawn, the same for both
Nothing is written to the log.
""",
)
@click.argument("site")
@click.option("--service-level", callback=_level, metavar="LEVEL",
              help="Of the site's policy, such as 0.99; an item with a level of its own keeps it.")  # fmt: skip
@click.option("--service-measure", type=click.Choice(["cycle", "fill", "session"]), help="What the level is of.")
@click.option("--lead-time", "lead_times", multiple=True, callback=_numbers, metavar="ITEM_OR_SUPPLIER=DAYS",
              help="Stated lead time in calendar days; may be repeated.")  # fmt: skip
@click.option("--supplier", "suppliers", multiple=True, callback=_pairs, metavar="ITEM=SUPPLIER",
              help="Who supplies an item, with that supplier's lead time; may be repeated.")  # fmt: skip
@click.option("--protocol", "protocols", multiple=True, callback=_numbers, metavar="PROTOCOL=VERSION",
              help="The version in force on all days; may be repeated.")  # fmt: skip
@click.option("--bookings", callback=_share, metavar="+20%|-10%",
              help="A random part of the bookings twice, or left out; series together.")  # fmt: skip
@click.option("--days", type=click.IntRange(7, 4000), default=90, show_default=True,
              help="The last days of the log, to walk through.")  # fmt: skip
@click.option(
    "--events", metavar="FILE.jsonl", help="Booking events, instead of the running log ('-': standard input)."
)
@click.option("--runs", type=click.IntRange(1, 1000), default=5, show_default=True,
              help="Walks with other luck, for an interval of the differences.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0, 2**31), default=1, show_default=True, help="The first run's.")
@click.option("--processes", type=click.IntRange(1, 64), default=1, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.pass_context
def whatif(
    ctx: click.Context,
    *,
    site: str,
    service_level: Decimal | None,
    service_measure: Measure | None,
    lead_times: tuple[tuple[str, int], ...],
    suppliers: tuple[tuple[str, str], ...],
    protocols: tuple[tuple[str, int], ...],
    bookings: float,
    days: int,
    events: str | None,
    runs: int,
    seed: int,
    processes: int,
    as_json: bool,
) -> None:
    """What would change at SITE in risk, stock, waste and money, if something were otherwise."""
    changes = Changes(service_level, service_measure, lead_times, suppliers, protocols, bookings)
    if changes == Changes():
        raise click.UsageError(
            "nothing is changed; expected --service-level, --service-measure, --lead-time, --supplier, --protocol or "
            "--bookings"
        )
    with _told_clearly():
        asked = _read(session_of(ctx), site, changes, seed, events)
        walked, why_not = _walk(asked, changes, days, range(seed, seed + runs), processes)
    if as_json:
        print_json_line(
            orjson.dumps(json_of(site, changes, (asked.bundle, asked.changed), now=asked.now, walked=walked))
        )
    else:
        _show(asked, walked, site)
    if why_not is not None:
        raise Failure(plain(why_not), "Publish bookings with their completions, or give another --events.")


class _told_clearly:  # noqa: N801 - reads as words
    """What cannot be asked ends the command with one clear line."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        match error:
            case NothingKnown():
                raise Failure(plain(error), "planner catalogue show lists sites.", Exit.NOT_FOUND) from error
            case CannotAsk():
                raise Failure(plain_lines(str(error)), "", Exit.USAGE) from error
            case LogUnreadable():
                raise Failure(plain(error), "Expected events in JSON Lines, plain or gzipped.") from error
            case RefusedInSimulationError():
                raise Failure(plain(error), "Events of the log contradict one another.") from error


@dataclass(frozen=True, slots=True)
class _Asked:
    """What was read of the log, and the present planned both ways."""

    site: str
    bundle: Bundle
    changed: Bundle
    lines: list[bytes]
    lateness: Lateness
    now: tuple[Present, Present] | None
    """None: a file of bookings tells no stock."""


def _read(session: Session, site: str, changes: Changes, seed: int, events: str | None) -> _Asked:
    if events is None:
        return wait_for(_read_log(session, site, changes, seed))
    bundle = configured_catalogue(session.settings)
    if site not in {known.id for known in bundle.sites}:
        raise NothingKnown(f"no site {site!r}; the catalogue has {', '.join(sorted(s.id for s in bundle.sites))}")
    return _Asked(site, bundle, changed_bundle(bundle, site, changes), list(read_lines(events)), Lateness(), None)


async def _read_log(session: Session, site: str, changes: Changes, seed: int) -> _Asked:
    async with session.client() as client:
        steps = [await plan_step_of(client, session.settings, site) for _ in range(2)]  # each planning uses one up
        bundle = steps[0].catalogue.bundle
        changed = changed_bundle(bundle, site, changes)
        requirements: list[Record] = []
        if changed_protocols(Catalogue(bundle), Catalogue(changed)):
            requirements = await _restated(client, session, bundle, changed)
        lines = [record.value async for record in client.read("bookings") if record.value is not None]
    first, second = steps
    if first.now is None or second.now is None or site not in first.sites:
        raise NothingKnown(f"nothing is known of site {site!r} yet")
    state, other, catalogue = first.sites[site], second.sites[site], Catalogue(changed)
    lateness = Lateness(dict(state.learned.lateness.suppliers))
    before = plan_present(state, first.catalogue, first.now)
    _varied(other, catalogue, changes, seed, requirements)
    after = plan_present(other, catalogue, second.now, 1 + changes.bookings)
    return _Asked(site, bundle, changed, lines, lateness, (before, after))


async def _restated(client: LogClient, session: Session, bundle: Bundle, changed: Bundle) -> list[Record]:
    """What the present bookings would need under the changed catalogue, as its adoption would state it."""
    topic = changelog(EXPAND)
    partitions = await client.partitions(topic)
    found: list[Record] = []
    for partition in range(partitions):
        step = BookingStep(partition, partitions, bundle, clock=session.settings.clock)
        step.restore(TableView(await client.latest(topic, partition)))
        catalogue = Record("catalogue", partition, _LATEST, 0, CATALOGUE_KEY, changed.model_dump_json().encode())
        for page in step.fold([catalogue]):
            found += [
                Record("requirements", 0, number, 0, message.key, message.value)
                for number, message in enumerate(page.messages)
                if message.topic == "requirements"
            ]
    return found


def _varied(state: SiteState, catalogue: Catalogue, changes: Changes, seed: int, requirements: list[Record]) -> None:
    """Bring a site's state to what it would be."""
    restate(state, catalogue, requirements)
    if changes.bookings:
        vary_present(state, changes.bookings, seed)


def _walk(
    asked: _Asked, changes: Changes, days: int, seeds: range, processes: int
) -> tuple[WalkedThrough | None, str | None]:
    """The walk, or why there is none."""
    with Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        console=stderr(), transient=True, disable=not stderr().is_terminal,
    ) as progress:  # fmt: skip
        task = progress.add_task("walks", total=2 * len(seeds))
        tell: Callable[[int, int], None] = lambda done, _all: progress.update(task, completed=done)  # noqa: E731
        try:
            log = read_site_log(asked.lines, Catalogue(asked.bundle), asked.site, days)
            with mapper(processes) as spread:
                found = walk_through(
                    asked.bundle, asked.changed, changes, log,
                    lateness=asked.lateness, seeds=seeds, mapper=spread, tell=tell,
                )  # fmt: skip
        except NothingToWalk as error:
            return None, str(error)
        except ValueError as error:
            raise CannotAsk(str(error)) from error
    return found, None


def _show(asked: _Asked, walked: WalkedThrough | None, site: str) -> None:
    out = stdout()
    if asked.now is None:
        show(out, "now: not known from a file of bookings, which tells no stock; run it beside the site's log for that")
    else:
        show(out, *present_tables(site, *asked.now))
    if walked is None:
        return
    window, seeds = walked.window, walked.seeds
    named = f"seeds {seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else f"seed {seeds[0]}"
    show(
        out,
        f"walked: {plain(site)}, the {window.days} days from {window.measured_from} to {window.last_day}, after "
        f"{window.warm_up_days} days of learning; {named}",
        walk_table(walked),
    )
    if any(walked.left_out):
        before, after = walked.left_out
        show(out, f"sessions left out that the catalogue cannot expand: {before:,} as it is, {after:,} as it would be")
