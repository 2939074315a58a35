"""``planner synthesize``: the events of a synthetic booking book."""

from __future__ import annotations

from pathlib import Path

import click
import orjson

from config.book_specs import BookSpecError, load_book_spec, load_named_book, named_books
from planner.catalogue.index import Catalogue
from planner.refusal import Refused
from planner.simulation.book_spec import BookSpec
from planner.simulation.books import Book, generate
from streams.cli.base import Failure, print_json_line, session_of, stdout
from streams.cli.importing import plain_lines
from streams.cli.tables import cell, plain, show, table
from streams.inspect import NothingKnown, configured_catalogue


@click.command(
    epilog="""\b
Examples:
  planner synthesize --list
  planner synthesize short-leads --seed 1 --out events.jsonl
  planner synthesize my-clinic.yaml --seed 7 --out events.jsonl

\b
A specification (YAML) says how many sessions take place, and the habits by which they are booked, cancelled, missed
and told; those that come with the planner are in config/books. The same specification and seed give the same file.
""",
)
@click.argument("spec", required=False, metavar="[NAME|SPEC.yaml]")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True, help="Of all that is drawn.")
@click.option("--out", type=click.Path(dir_okay=False, writable=True, path_type=Path), metavar="FILE",
              help="Where to write the events (JSON Lines).")  # fmt: skip
@click.option("--list", "as_list", is_flag=True, help="List the books that come with the planner.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object: sites, events, expected and drawn sessions.")
@click.pass_context
def synthesize(
    ctx: click.Context, *, spec: str | None, seed: int, out: Path | None, as_list: bool, as_json: bool
) -> None:
    """Draw a booking book of known habits: booking events in the order in which they happened.

    For back-tests and trials: no clinic publishes its book. Nothing is sent; planner publish sends the file.
    """
    if as_list:
        _list()
        return
    if spec is None or out is None:
        raise click.UsageError("expected a book (NAME or SPEC.yaml) and --out FILE, or --list")
    try:
        read = load_book_spec(Path(spec)) if spec.endswith((".yaml", ".yml")) else load_named_book(spec)
    except BookSpecError as error:
        raise Failure(plain_lines(str(error)), "planner synthesize --list names the books that there are.") from error
    book = _generate(ctx, read, seed)
    with out.open("wb") as target:
        target.writelines(event.model_dump_json(exclude_none=True).encode() + b"\n" for event in book.events)
    if as_json:
        print_json_line(_json(book))
        return
    for site, truth in book.truth.items():
        show(
            stdout(),
            f"{plain(site)}: {truth.demand.sum():,} sessions from {read.first_day} to {read.last_day} "
            f"(expected {truth.expected_demand.sum():,.0f})",
        )
    show(stdout(), f"{len(book.events):,} events, seed {seed}, written to {plain(out)}")


def _list() -> None:
    rows = table("book", "about", "sessions a day")
    for name in named_books():
        spec = load_named_book(name)
        rates = [rate for rate in spec.per_weekday if rate]
        rows.add_row(cell(name), cell(spec.about), cell(f"{min(rates):g} to {max(rates):g}"))
    show(stdout(), rows)


def _generate(ctx: click.Context, spec: BookSpec, seed: int) -> Book:
    """The book; the catalogue in the settings says what sessions use, where the book tells it."""
    try:
        if not spec.actual_use:
            return generate(spec, seed)
        return generate(spec, seed, Catalogue(configured_catalogue(session_of(ctx).settings)))
    except ValueError as error:
        raise Failure(plain(error), "Correct the book.") from error
    except NothingKnown as error:
        raise Failure(plain(error), "planner check lists them.") from error
    except KeyError as error:
        raise Failure(f"the catalogue lacks {error} of the book", "Correct the book, or PLANNER_CATALOGUE.") from error
    except Refused as error:
        raise Failure(plain(error), "The book's protocols and parameters must fit the catalogue.") from error


def _json(book: Book) -> bytes:
    return orjson.dumps(
        {
            "book": book.spec.name,
            "seed": book.seed,
            "events": len(book.events),
            "sites": {
                site: {
                    "sessions": int(truth.demand.sum()),
                    "sessions_expected": round(float(truth.expected_demand.sum()), 3),
                }
                for site, truth in book.truth.items()
            },
        }
    )
