"""What one event costs with 1,000,000 live bookings beside 10,000, and the memory of a live booking. In one run.

Both books are in this process, each with its own steps and its own tables in SQLite (``benchmarks.partition``: what a
worker does for one partition, without Faust and on one connection), and take turns with the same kinds of events.
"""

from __future__ import annotations

import gc
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

from benchmarks import load
from benchmarks.partition import Partition
from benchmarks.table import met, show
from planner.step import Message

SITES = 50
SMALL, LARGE = 10_000, 1_000_000
SINGLE_EVENTS = 200
CHUNKS, CHUNK = 16, 200
TARGET_RATIO = 1.5
TARGET_BYTES = 2_000


def rss_bytes() -> int:
    """Resident memory of this process."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("/proc/self/status has no VmRSS")


def cost_us(run: Callable[[], None]) -> float:
    """Processor microseconds of this process."""
    begun = time.process_time_ns()
    run()
    return (time.process_time_ns() - begun) / 1000


class _Book:
    """A partition with so many live bookings, and the events that come next."""

    def __init__(self, directory: Path, live: int) -> None:
        bundle = load.bundle_of_sites(SITES)
        sites = [site.id for site in bundle.sites]
        self.live = live
        self.partition = Partition(directory / f"{live}.db", bundle)
        begun = time.perf_counter()
        # what does not grow with the book (caches, what a chunk needs for a moment) is there after the first tenth
        first = live // 10
        self._fill(load.book(sites, first))
        before = rss_bytes()
        self._fill(load.book(sites, live - first, first=first))
        self.fill_s = time.perf_counter() - begun
        self.bytes_per_booking = (rss_bytes() - before) / (live - first)
        changes = (SINGLE_EVENTS + CHUNKS * CHUNK) // 2
        later = load.later_events(changes, live)
        more = load.book(sites, changes, first=live)
        self._next = alternating(later, more)
        self.single_us: list[float] = []
        self.chunk_us: list[float] = []

    def _fill(self, messages: Iterator[Message]) -> None:
        self.partition.fill(messages)
        self.partition.settle()
        gc.collect()

    def one(self) -> None:
        """One event alone: both agents, review, tables and messages written, forecasts published."""
        (event,) = islice(self._next, 1)
        self.single_us.append(cost_us(lambda: self.partition.apply([event])))

    def many(self) -> None:
        """A chunk of events."""
        events = list(islice(self._next, CHUNK))
        self.chunk_us.append(cost_us(lambda: self.partition.apply(events)) / CHUNK)


def alternating(*sources: Iterator[Message]) -> Iterator[Message]:
    """One of each in turn."""
    for events in zip(*sources, strict=True):
        yield from events


def main(*, large: int = LARGE, small: int = SMALL) -> None:
    """Print the tables."""
    with tempfile.TemporaryDirectory(prefix="planner-scaling-") as name:
        directory = Path(name)
        books = [_Book(directory, small), _Book(directory, large)]
        for book in books:  # warm-up, not counted
            book.one()
            book.many()
            book.single_us.clear()
            book.chunk_us.clear()
        for _ in range(SINGLE_EVENTS - 1):
            for book in books:
                book.one()
        for _ in range(CHUNKS - 1):
            for book in books:
                book.many()
        _show(*books)
        for book in books:
            book.partition.close()


def _show(few: _Book, many: _Book) -> None:
    rows = []
    for name, at in (("one event alone", "single_us"), (f"per event, {CHUNK} at once", "chunk_us")):
        for measure, take in (("median", statistics.median), ("mean", statistics.fmean)):
            small, large = take(getattr(few, at)), take(getattr(many, at))
            ratio = large / small
            verdict = met(ratio, TARGET_RATIO)
            rows.append((f"{name}, {measure}", f"{small:,.0f}", f"{large:,.0f}", f"{ratio:.2f}", verdict))
    show(
        f"Processor µs of an event, both agents, {SITES} sites in one partition, tables in SQLite",
        ("", f"{few.live:,} live", f"{many.live:,} live", "ratio", f"≤ {TARGET_RATIO}"),
        rows,
        "Half new bookings, half changes of old ones (moved, amended, cancelled); review, alerts, forecasts included.",
    )
    per_booking = many.bytes_per_booking
    row = ("both steps", f"{many.live:,}", f"{per_booking:,.0f}", met(per_booking, TARGET_BYTES))
    show(
        "Memory of the steps and their SQLite connection, by what it grows from the first tenth of the bookings on",
        ("", "live bookings", "bytes per booking", f"< {TARGET_BYTES:,}"),
        [row],
        f"Filling took {many.fill_s:,.0f} s ({many.live / many.fill_s:,.0f} events/s, without what they publish).",
    )


if __name__ == "__main__":
    main()
