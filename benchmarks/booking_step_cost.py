"""What each step costs per event, beside what pydantic takes to decode the same event. Both steps, by event type.

    python -m benchmarks.booking_step_cost [--profile KIND]

One process, no log, tables in memory: encoded records in, effects out, on magnesium bookings of the default catalogue
(35 lines of 19 items, a requirement of 6 KB) at ``SITES`` sites. The best of several rounds, in which what is compared
takes turns, because other work on the machine only ever adds. The garbage collector is set as a worker sets it. Every
event must be applied: one that is refused costs less, and would be no measure.
"""

from __future__ import annotations

import cProfile
import gc
import pstats
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

import orjson

from benchmarks import load
from benchmarks.in_memory import best_us
from benchmarks.plan_step_cost import MEASURED_MESSAGES, PlanStepCost
from benchmarks.table import show
from planner.booking_step import BookingStep
from planner.catalogue.model import Bundle
from planner.events.bookings import BOOKING_EVENTS
from planner.step import Message, Record
from planner.verify.refold import MemoryTable
from streams.worker import GARBAGE_THRESHOLDS

EVENTS = 20_000
CHUNK = 500
PROFILED = 30
"""Functions that a profile shows."""
SITES = 50
WANTED = 5.0
LOGGED_AT = datetime(2026, 5, 1, 8, tzinfo=UTC)
"""When the events happened, and were appended: one from the future would be refused."""

KINDS: dict[str, Callable[[int], dict[str, object]]] = {
    "booked": lambda number: {
        "site": f"s{number % SITES:03}",
        "protocol": "magnesium",
        "start": f"2026-06-{number // SITES % 28 + 1:02}T10:00:00Z",
    },
    "rescheduled": lambda number: {"start": f"2026-07-{number // SITES % 28 + 1:02}T10:00:00Z"},
    "amended": lambda _: {"parameters": {"weight_kg": "80"}},
    "arrived": lambda _: {},
    "completed": lambda _: {},
    "cancelled": lambda _: {},
    "missed": lambda _: {},
}
"""Event type → its own fields, by number of the booking. All but the first follow it."""


def records(kind: str) -> list[Record]:
    """One event of ``kind`` for each booking."""
    made = []
    for number in range(EVENTS):
        event: dict[str, object] = {
            "schema_version": 1,
            "type": f"booking.{kind}",
            "event_id": f"e-{kind}-{number:07}",
            "occurred_at": "2026-05-01T08:00:00Z",
            "source": "benchmark",
            "booking_id": f"b{number:07}",
            "version": 1 if kind == "booked" else 2,
            **KINDS[kind](number),
        }
        at = int(LOGGED_AT.timestamp() * 1000)
        made.append(Record("bookings", 0, number, at, f"b{number:07}".encode(), orjson.dumps(event)))
    return made


def fold(
    bundle: Bundle,
    table: MemoryTable,
    log: list[Record],
    messages: list[Message] | None = None,
    *,
    write: bool = True,
) -> None:
    """A fresh step over a table, which changes; ``messages`` are kept, or let go as an engine would.

    Args:
        write: the pages' entries into the table. What is left unwritten is missed by no later event: all are about
            bookings of their own.

    Raises:
        AssertionError: an event was not applied.
    """
    step = BookingStep(0, 1, bundle)
    step.restore(table)
    applied = 0
    for begin in range(0, len(log), CHUNK):
        for page in step.fold(log[begin : begin + CHUNK]):
            if write:
                table.write(page.writes)
            applied += page.counts["applied"]
            if messages is not None:
                messages += page.messages
    if applied != len(log):
        raise AssertionError(f"{applied:,} of {len(log):,} events were applied; expected all")


def decoded(log: list[Record]) -> Callable[[], None]:
    """A round of pydantic's decoding."""

    def run() -> None:
        for record in log:
            BOOKING_EVENTS.validate_json(record.value or b"")

    return run


def folded(bundle: Bundle, table: MemoryTable, log: list[Record], *, write: bool) -> Callable[[], None]:
    """A round of the step, over a copy of the table."""
    return partial(fold, bundle, MemoryTable(table.entries), log, write=write)


def main() -> None:
    """Print the tables.

    Raises:
        AssertionError: an event was not applied.
    """
    thresholds = gc.get_threshold()
    gc.set_threshold(*GARBAGE_THRESHOLDS)
    bundle = load.bundle_of_sites(SITES)
    table = MemoryTable()
    fold(bundle, table, records("booked"))
    rows: list[tuple[str, ...]] = []
    decoding: dict[str, float] = {}
    for kind in KINDS:
        before, log = MemoryTable() if kind == "booked" else table, records(kind)
        decoding[kind], step, writing = best_us(
            EVENTS,
            partial(decoded, log),
            partial(folded, bundle, before, log, write=False),
            partial(folded, bundle, before, log, write=True),
        )
        out: list[Message] = []
        fold(bundle, MemoryTable(before.entries), log, out)
        size_in, size_out = (sum(len(r.value or b"") for r in some) / EVENTS for some in (log, out))
        figures = (f"{decoding[kind]:.1f}", f"{step:.1f}", f"{step / decoding[kind]:.2f}", f"{writing:.1f}")
        rows.append((kind, *figures, f"{size_in:.0f}", f"{size_out:.0f}"))
    show(
        f"Step of expand: processor µs an event, and ÷ its decoding by pydantic (wanted: at most {WANTED:.0f})",
        ("event", "decoding", "step", "ratio", "with a dict's writes", "bytes in", "bytes out"),
        rows,
    )
    plan = PlanStepCost(bundle, LOGGED_AT)
    for kind in KINDS:
        stated: list[Message] = []
        fold(bundle, MemoryTable(None if kind == "booked" else table.entries), records(kind), stated)
        if kind == "booked":
            plan.take_book(stated[MEASURED_MESSAGES:])
        plan.measure(kind, decoding[kind], stated)
        if kind == "booked":
            plan.take_book(stated[:MEASURED_MESSAGES])
    plan.show()
    gc.set_threshold(*thresholds)


def profile(kind: str) -> None:
    """Print where the step's time goes with events of a kind: functions by their own time (for finding, not measuring:
    cProfile makes calls dearer than they are).
    """
    bundle = load.bundle_of_sites(SITES)
    table = MemoryTable()
    if kind != "booked":
        fold(bundle, table, records("booked"))
    log = records(kind)
    gc.set_threshold(*GARBAGE_THRESHOLDS)
    profiler = cProfile.Profile()
    profiler.runcall(fold, bundle, table, log, write=False)
    pstats.Stats(profiler).sort_stats("tottime").print_stats(PROFILED)


if __name__ == "__main__":
    try:
        if sys.argv[1:2] == ["--profile"]:
            profile(sys.argv[2])
        else:
            main()
    except (AssertionError, load.NoLoad) as fault:
        print(fault, file=sys.stderr)
        sys.exit(1)
