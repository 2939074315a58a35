"""``planner catalogue``: the catalogue in force, and changing it while the planner runs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import click
import orjson
from rich.text import Text

from config.load import load_catalogue
from planner.catalogue.index import Catalogue
from planner.catalogue.model import Bundle
from planner.step import Message
from planner.topics import CATALOGUE_KEY
from streams.cli.base import Exit, Failure, Session, print_json_line, session_of, stdout, wait_for
from streams.cli.check import show_faults
from streams.cli.outcomes import show_tally, tally_json
from streams.cli.sending import Answer, Outgoing, Sender, Tally
from streams.cli.tables import cell, plain, show, table
from streams.inspect import published_catalogue


@click.group()
def catalogue() -> None:
    """The catalogue in force: show it, or apply another."""


@catalogue.command(
    epilog="""\b
Examples:
  cp -r config/catalogue my-catalogue && $EDITOR my-catalogue/protocols.yaml
  planner catalogue apply my-catalogue
""",
)
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--timeout", "timeout_s", type=click.FloatRange(min=0.1), default=60.0, show_default=True,
              help="Seconds to wait for the workers.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="One JSON object: version, what changed, outcomes.")
@click.pass_context
def apply(ctx: click.Context, *, directory: Path, timeout_s: float, as_json: bool) -> None:
    """Check the catalogue in DIRECTORY and put it into force, without a restart.

    One with faults is not published (exit code 1). Future bookings of the protocols that have changed are expanded
    anew; each output says which version it used.
    """
    result = load_catalogue(directory)
    if result.bundle is None:
        if as_json:
            print_json_line(orjson.dumps({"faults": result.faults}))
        else:
            show_faults(directory, result)
        ctx.exit(Exit.FAILED)
    applied = wait_for(_apply(session_of(ctx), result.bundle, timeout_s))
    if as_json:
        print_json_line(applied.json())
    else:
        applied.show(timeout_s)
    ctx.exit(applied.tally.exit_code())


class Applied:
    """What a new catalogue has changed."""

    def __init__(self, bundle: Bundle, before: Bundle | None, details: list[str], tally: Tally) -> None:
        self.bundle = bundle
        self.before = before
        self.details = details
        self.tally = tally

    def protocols_changed(self) -> list[str]:
        """Protocols whose sessions may need something else than before."""
        if self.before is None:
            return []
        old, new = Catalogue(self.before), Catalogue(self.bundle)
        return sorted(
            name
            for name in new.protocols.keys() & old.protocols.keys()
            if new.definition_digest(name) != old.definition_digest(name)
        )

    def json(self) -> bytes:
        """As a JSON text."""
        return orjson.dumps(
            {
                "version": self.bundle.version,
                "before": None if self.before is None else self.before.version,
                "protocols_changed": self.protocols_changed(),
                "details": self.details,
                "outcomes": orjson.Fragment(tally_json(self.tally)),
            }
        )

    def show(self, timeout_s: float) -> None:
        """In words."""
        console = stdout()
        if self.tally.statuses["applied"] or self.tally.statuses["duplicate"]:
            before = "" if self.before is None else f" (before: {self.before.version})"
            show(console, f"catalogue {self.bundle.version} is in force{before}")
            changed = self.protocols_changed()
            show(console, f"protocols changed: {', '.join(changed) or 'none'}")
            for detail in self.details:
                show(console, plain(detail))
        show_tally(self.tally, timeout_s)


async def _apply(session: Session, bundle: Bundle, timeout_s: float) -> Applied:
    value = bundle.model_dump_json(exclude_none=True).encode()
    details: list[str] = []

    def note(answer: Answer) -> None:
        if answer.status == "applied" and answer.detail:
            details.append(f"{answer.label}: {answer.detail}")

    async with session.client() as client:
        before = await published_catalogue(client)
        sender = Sender(client, wait=True, timeout_s=timeout_s, on_answer=note)
        tally = await sender.send(
            Outgoing(f"partition {number}", Message("catalogue", CATALOGUE_KEY, value, number))
            for number in range(await client.partitions("catalogue"))
        )
    return Applied(bundle, before, sorted(details), tally)


@catalogue.command(
    "show", epilog="\b\nExamples:\n  planner catalogue show\n  planner catalogue show --json | jq .items"
)
@click.option("--json", "as_json", is_flag=True, help="The whole catalogue as one JSON object.")
@click.pass_context
def show_(ctx: click.Context, *, as_json: bool) -> None:
    """Show the catalogue in force: sites, protocols, items."""
    bundle = wait_for(_in_force(session_of(ctx)))
    if as_json:
        print_json_line(bundle.model_dump_json(exclude_none=True).encode())
        return
    console = stdout()
    show(console, Text(f"catalogue {bundle.version}", style="bold"))
    sites = table("site", "name", "policy", "time zone", "protocols")
    for site in bundle.sites:
        given = "all" if site.protocols is None else ", ".join(site.protocols)
        sites.add_row(cell(site.id), cell(site.name), cell(site.policy), cell(site.timezone), cell(given))
    protocols = table("protocol", "name", "versions", "lines", "parameters")
    for protocol in bundle.protocols:
        versions = ", ".join(f"{version.version} from {version.effective_from}" for version in protocol.versions)
        last = protocol.versions[-1]
        lines = ", ".join(line.id for line in last.lines)
        protocols.add_row(
            cell(protocol.id), cell(protocol.name), cell(versions), cell(lines), cell(", ".join(last.parameters))
        )
    items = table("item", "group", "component", "content", "pack", "supplier", right=["pack"])
    for item in bundle.items:
        items.add_row(
            cell(item.id, "yellow" if item.controlled_schedule else ""), cell(item.group), cell(item.component),
            cell(item.content), cell(item.pack.containers), cell(item.supplier),
        )  # fmt: skip
    show(console, sites, protocols, items)
    evidence = Counter(fact.evidence for entity in (*bundle.items, *bundle.protocols) for fact in entity.facts)
    facts = ", ".join(f"{count} {kind}" for kind, count in evidence.most_common())
    if facts:
        show(console, f"facts of items and protocols: {facts}")


async def _in_force(session: Session) -> Bundle:
    async with session.client() as client:
        found = await published_catalogue(client)
    if found is None:
        raise Failure("no catalogue is published on this log", "A worker does that (planner run).", Exit.NOT_FOUND)
    return found
