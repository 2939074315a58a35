"""A day begins at many sites of one partition: how long the fold takes, and how long nothing else runs meanwhile.

Both steps in memory, without a log. The wall clock ticks at noon of each day, so that the day of every site ends, is
learned from, and the new one is planned and reviewed; then the forecasts of all are due.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import orjson

from benchmarks import load
from benchmarks.table import show
from benchmarks.year import chain_days
from planner.booking_step import BookingStep
from planner.plan_step import PlanStep
from planner.step import Message, Record
from planner.verify.refold import MemoryTable
from streams.worker import GARBAGE_THRESHOLDS

SITES = 250
SESSIONS = 20
DAYS = 3


def _records(topic: str, messages: Sequence[Message], at: datetime) -> list[Record]:
    written_ms = int(at.timestamp() * 1000)
    return [Record(topic, 0, n, written_ms, m.key, m.value, m.headers) for n, m in enumerate(messages)]


def _tick(at: datetime) -> list[Record]:
    body = {"schema_version": 1, "type": "clock.ticked", "event_id": f"clock/{at.isoformat()}", "source": "benchmark"}
    value = orjson.dumps({**body, "occurred_at": at, "now": at})
    return _records("clock", [Message("clock", b"clock", value)], at)


def _held(steps: Iterator[object]) -> tuple[float, float]:
    """Seconds that going through it takes, and the longest of one of its steps."""
    whole_s = longest_s = 0.0
    while True:
        began = time.perf_counter()
        ended = next(steps, None) is None
        took_s = time.perf_counter() - began
        whole_s, longest_s = whole_s + took_s, max(longest_s, took_s)
        if ended:
            return whole_s, longest_s


def main(*, sites: int = SITES) -> None:
    """Print the table."""
    thresholds = gc.get_threshold()
    gc.set_threshold(*GARBAGE_THRESHOLDS)
    opened = datetime.combine(load.TODAY, datetime.min.time(), UTC)
    bundle = load.bundle_of_sites(sites)
    expand, plan = BookingStep(0, 1, bundle, clock="wall"), PlanStep(0, bundle, clock="wall")
    expand.restore(MemoryTable())
    plan.restore(MemoryTable())
    list(plan.fold(_tick(opened)))
    bookings = _records("bookings", chain_days(sites, 2, sessions=SESSIONS), opened + timedelta(days=2))
    stated = [m for page in expand.fold(bookings, caught_up=False) for m in page.messages if m.topic == "requirements"]
    list(plan.fold(_records("requirements", stated, opened + timedelta(days=2))))
    rows = []
    for day in range(1, DAYS + 1):
        fold = _held(plan.fold(_tick(opened + timedelta(days=day, hours=12))))
        due = _held(iter(plan.due, []))
        rows.append((f"day {day}", *(f"{s:.2f}" for s in fold), *(f"{s:.2f}" for s in due)))
    gc.set_threshold(*thresholds)
    show(
        f"A day begins at {sites} sites of one partition, {SESSIONS} sessions a day each, in seconds",
        ("", "fold", "longest without a turn", "forecasts of all", "longest at once"),
        rows,
    )


if __name__ == "__main__":
    main()
