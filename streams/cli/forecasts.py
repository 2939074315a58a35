"""``planner forecasts``: need, usable stock and risk by day, as the topic has them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable

import click
from rich.live import Live

from planner.catalogue.index import Catalogue
from planner.forecast.chain import of_chain
from planner.messages import Forecast
from planner.step import Record
from planner.topics import SEPARATOR, composed_key
from streams.cli.base import Exit, Failure, Session, print_json_line, session_of, stdout, wait_for
from streams.cli.forecast_view import line_of, view
from streams.cli.tables import show
from streams.inspect import published_catalogue
from streams.log import LogClient

REDRAWS_PER_S = 4


class Wanted:
    """Which forecasts are asked for."""

    def __init__(self, site: str | None, item: str | None, group: str | None, component: str | None) -> None:
        self.site = site
        asked = [(kind, name) for kind, name in (("item", item), ("group", group), ("component", component)) if name]
        self.kinds = {kind for kind, _ in asked} or {"item"}
        self.names = set(asked)

    def has(self, key: bytes) -> bool:
        parts = key.decode("utf-8", "replace").split(SEPARATOR)
        if len(parts) != 3:
            return False
        site, kind, name = parts
        if self.site is not None and site != self.site:
            return False
        return (kind, name) in self.names if self.names else kind in self.kinds

    @property
    def key_prefix(self) -> bytes:
        return b"" if self.site is None else composed_key(self.site, "")


@click.command(
    epilog="""\b
Examples:
  planner forecasts                                     items of all sites, the most urgent first
  planner forecasts --site harbor --group magnesium-sulfate
  planner forecasts --site harbor --item magnesium-sulfate-500mg-ml-2ml-vial --days 28
  planner forecasts --chain --group magnesium-sulfate   all sites together
  planner forecasts --site harbor --watch               redraws as events come in
  planner forecasts --json | jq 'select(.risk[6] > 0.05) | .id'

\b
need     mean of the next 7 days; in brackets what is hardly exceeded (90 % of the cases)
fan      █ up to the median, ▓ 80 %, ▒ 95 %, ░ 99 % of the cases
usable   expected usable stock by day, next 28 days
risk     probability of having run out within 7 days
covered  days whose risk stays within the policy
""",
)
@click.option("--site", metavar="SITE", help="Only this site.")
@click.option("--chain", is_flag=True, help="The sites together: their needs added up, their errors independent.")
@click.option("--item", metavar="ITEM", help="Only this item.")
@click.option("--group", metavar="GROUP", help="A group of items (in containers).")
@click.option("--component", metavar="COMPONENT", help="A component (in its own unit).")
@click.option("--days", type=click.IntRange(1, 90), default=14, show_default=True, help="Days of a single forecast.")
@click.option("--watch", is_flag=True, help="Redraw as forecasts change, until interrupted.")
@click.option("--json", "as_json", is_flag=True, help="JSON Lines: the messages as on the topic forecasts.")
@click.pass_context
def forecasts(
    ctx: click.Context,
    *,
    site: str | None,
    chain: bool,
    item: str | None,
    group: str | None,
    component: str | None,
    days: int,
    watch: bool,
    as_json: bool,
) -> None:
    """What each site will need, and whether its stock will do; with --chain, what all need together.

    One forecast is shown day by day with its quantiles, several as a table, the most urgent first.
    """
    if chain and (site is not None or watch):
        raise click.UsageError("--chain adds up all sites, once: it goes with neither --site nor --watch")
    wanted = Wanted(site, item, group, component)
    session = session_of(ctx)
    with contextlib.suppress(KeyboardInterrupt):
        asked = _chain(session, wanted, days, as_json=as_json) if chain else None
        found = wait_for(asked or _forecasts(session, wanted, days, watch=watch, as_json=as_json))
        if not found:
            raise Failure(
                "no such forecast on the log",
                "Has a worker run (planner run), and is the id right (planner catalogue show)?",
                Exit.NOT_FOUND,
            )


async def _forecasts(session: Session, wanted: Wanted, days: int, *, watch: bool, as_json: bool) -> int:
    async with session.client() as client:
        ends = await client.end_offsets("forecasts")
        records = await client.latest("forecasts", key_prefix=wanted.key_prefix)
        shown = {key: record for key, record in records.items() if wanted.has(key)}
        if as_json:
            for key in sorted(shown):
                print_json_line(shown[key].value or b"")
        elif shown and not watch:
            show(stdout(), view(_read(shown.values()), days))
        if watch:
            await _follow(client, ends, wanted, shown, days, as_json=as_json)
        return len(shown)


async def _chain(session: Session, wanted: Wanted, days: int, *, as_json: bool) -> int:
    async with session.client() as client:
        records = await client.latest("forecasts")
        bundle = await published_catalogue(client)
    if bundle is None:
        return 0
    found = of_chain(_read(record for key, record in records.items() if wanted.has(key)), Catalogue(bundle))
    if as_json:
        for one in found:
            print_json_line(one.model_dump_json(exclude_none=True).encode())
    elif found:
        show(stdout(), view(found, days))
    return len(found)


async def _follow(
    client: LogClient, ends: dict[int, int], wanted: Wanted, shown: dict[bytes, Record], days: int, *, as_json: bool
) -> None:
    """Until interrupted."""
    changes = client.read_chunks("forecasts", ends, follow=True)
    if not as_json:
        await _redraw(changes, wanted, shown, days)
        return
    async for chunk in changes:
        for record in chunk:
            if record.value is not None and record.key is not None and wanted.has(record.key):
                print_json_line(record.value)


def _read(records: Iterable[Record]) -> list[Forecast]:
    return [Forecast.model_validate_json(record.value) for record in records if record.value is not None]


async def _redraw(changes: AsyncIterator[list[Record]], wanted: Wanted, shown: dict[bytes, Record], days: int) -> None:
    """On a terminal the whole view again and again; else a line for each forecast that has changed."""
    console = stdout()
    current = {key: forecast for key, record in shown.items() for forecast in _read([record])}
    if not console.is_terminal:
        for forecast in current.values():
            show(console, line_of(forecast))
        async for forecast in _changed(changes, wanted, current):
            show(console, line_of(forecast))
        return
    with Live(view(current.values(), days), console=console, auto_refresh=False) as live:
        turn = asyncio.Event()
        drawing = asyncio.create_task(_draw(live, turn, current, days))
        try:
            async for _ in _changed(changes, wanted, current):
                turn.set()
        finally:
            drawing.cancel()


async def _changed(
    changes: AsyncIterator[list[Record]], wanted: Wanted, current: dict[bytes, Forecast]
) -> AsyncIterator[Forecast]:
    """Each forecast that has changed, once it is in ``current``."""
    async for chunk in changes:
        for record in chunk:
            if record.key is not None and wanted.has(record.key):
                for forecast in _read([record]):
                    current[record.key] = forecast
                    yield forecast


async def _draw(live: Live, turn: asyncio.Event, current: dict[bytes, Forecast], days: int) -> None:
    """Draw after changes, a few times a second at most; the last change is always drawn."""
    while True:
        await turn.wait()
        turn.clear()
        live.update(view(current.values(), days), refresh=True)
        await asyncio.sleep(1 / REDRAWS_PER_S)
