"""``planner accuracy``: how good the planner's own forecasts have been."""

from __future__ import annotations

from collections.abc import Iterable

import click
from rich.table import Table
from rich.text import Text

from planner.messages import Accuracy, LeadAccuracy
from streams.cli.base import Exit, Failure, Session, print_json_line, session_of, stdout, wait_for
from streams.cli.tables import cell, number, percent, plain, show, table

OVERVIEW_LEAD_DAYS = 7
NOMINAL = {"0.8": 0.8, "0.9": 0.9, "0.95": 0.95}
FEW = 20.0
"""Origins below which a coverage says little, and is not marked."""
LEVELS_APART = 0.05
"""How far below its level a coverage is marked."""
_ORDER = {"sessions": 0, "group": 1, "item": 2}


@click.command(
    epilog="""\b
Examples:
  planner accuracy                                  all sites: sessions and groups, totals over 7 days
  planner accuracy harbor                           items of a site as well
  planner accuracy harbor --series sessions         one series, by lead
  planner accuracy harbor --series item/saline-flush-10ml
  planner accuracy --json | jq 'select(.method == "simple") | .series'

\b
lead     days of the total that was forecast
scored   forecasts scored; older ones count for less, half after 90 days
bias     mean of what it came to − mean forecast, and as a share of what it came to
loss     mean pinball loss over the quantiles .5 .8 .9 .95 .99 ÷ what it came to
simple   how much greater the loss of a simple method was, the mean of the same weekday over eight weeks
≤ 80 %   share of totals at or below what is not exceeded in 80 % of the cases; of a count more, by nature
spread   what past errors multiply the forecast's variance by
""",
)
@click.argument("site", required=False)
@click.option("--series", metavar="SERIES", help="sessions, group/GROUP or item/ITEM.")
@click.option("--json", "as_json", is_flag=True, help="JSON Lines: the messages as on the topic accuracy.")
@click.pass_context
def accuracy(ctx: click.Context, *, site: str | None, series: str | None, as_json: bool) -> None:
    """How good the forecasts of SITE (absent: of all sites) have been, scored by the planner as days pass.

    Each morning's forecasts of the totals over 1, 3, 7, 14 and 28 days are held against what they came to. The first
    score comes after the second day of a site, the last lead's after a month.
    """
    found = wait_for(_read(session_of(ctx)))
    shown = [(said, value) for said, value in found if site in {None, said.site} and series in {None, said.series}]
    shown.sort(key=lambda pair: _place(pair[0]))
    if as_json:
        for _, value in shown:
            print_json_line(value)
    elif not found:
        show(stdout(), "nothing scored yet: the first forecasts of a site are scored when its second day is over")
    elif not shown:
        raise Failure(
            f"no scores of {plain(series or 'site ' + (site or ''))}",
            "planner accuracy lists what there is; items are listed with their site.",
            Exit.NOT_FOUND,
        )
    elif len(shown) == 1 or series is not None:
        for said, _ in shown:
            show(stdout(), *by_lead(said))
    else:
        show(stdout(), overview(said for said, _ in shown if site is not None or not said.series.startswith("item/")))


async def _read(session: Session) -> list[tuple[Accuracy, bytes]]:
    async with session.client() as client:
        values = [record.value or b"" for record in (await client.latest("accuracy")).values()]
    return [(Accuracy.model_validate_json(value), value) for value in values]


def _place(said: Accuracy) -> tuple[str, int, str]:
    return said.site, _ORDER.get(said.series.partition("/")[0], len(_ORDER)), said.series


def overview(scores: Iterable[Accuracy]) -> Table:
    """A line for each series, of one lead: that of a week, or the longest that has been scored."""
    made = table("site", "series", *_COLUMNS, "method", right=_COLUMNS)
    for said in scores:
        up_to = [lead for lead in said.leads if lead.lead_days <= OVERVIEW_LEAD_DAYS]
        made.add_row(cell(said.site), cell(said.series), *_cells((up_to or said.leads)[-1]), _method(said))
    return made


def by_lead(said: Accuracy) -> tuple[Text, Text, Table]:
    """One series: a heading, and a line for each lead."""
    heading = Text(f"{plain(said.site)}  {plain(said.series)}", style="bold")
    details = Text(f"through {said.through}, forecast by ")
    details.append_text(_method(said))
    made = table(*_COLUMNS, right=_COLUMNS)
    for lead in said.leads:
        made.add_row(*_cells(lead))
    return heading, details, made


_COLUMNS = ("lead", "scored", "came to", "bias", "", "loss", "simple", "≤ 80 %", "≤ 90 %", "≤ 95 %", "spread")


def _cells(lead: LeadAccuracy) -> list[Text]:
    simple = lead.simple_worse
    return [
        cell(f"{lead.lead_days} d"),
        cell(number(lead.n)),
        cell(number(lead.realised)),
        cell(f"{lead.bias:+.2f}"),
        cell("" if not lead.realised else f"{100 * lead.bias / lead.realised:+.1f} %"),
        cell("" if lead.relative_loss is None else f"{100 * lead.relative_loss:.1f} %"),
        cell("" if simple is None else f"{100 * simple:+.0f} %", "yellow" if simple is not None and simple < 0 else ""),
        *(_coverage(lead, level) for level in NOMINAL),
        cell(f"× {lead.spread_factor:.2f}"),
    ]


def _coverage(lead: LeadAccuracy, level: str) -> Text:
    share = lead.coverage.get(level)
    low = share is not None and lead.n >= FEW and share < NOMINAL[level] - LEVELS_APART
    return cell(percent(share), "red" if low else "")


def _method(said: Accuracy) -> Text:
    return cell("the simple method", "yellow") if said.method == "simple" else cell("the planner")
