"""What an event of a backlog costs by live bookings, by sites and by lines of a protocol: a table and a plot (SVG).

All books are in this process (``benchmarks.partition``) and take turns. Chunks of ``CHUNK`` events, half new bookings
and half changes of old ones, tables and messages written, reviews and forecasts rationed as in a backlog; the mean of
``ROUNDS`` chunks, by turns, for not every chunk has a review or a publication. Then, by the number of its items, what
is rationed: the review of a site and its forecasts.
"""

from __future__ import annotations

import gc
import itertools
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import load
from benchmarks.partition import Partition
from benchmarks.scaling import alternating, cost_us
from benchmarks.table import met, show
from planner.catalogue.model import Bundle, Dose, Line, Protocol
from planner.step import Message
from streams.worker import GARBAGE_THRESHOLDS

LIVE, SITES = 10_000, 50
LIVES, SITE_COUNTS, LINE_COUNTS = (10_000, 100_000), (1, 50, 1_000), (5, 20, 60)
LINES = "lines of a protocol"
LIVE_LARGE = 1_000_000
CHUNK, ROUNDS = 500, 20
TARGET_RATIO = 1.3
PLOT = load.ROOT / "docs" / "scaling.svg"


class Point(NamedTuple):
    """A book: the axis it is measured for, and where on it."""

    axis: str
    at: int
    live: int
    bundle: Bundle


def bundle_of_lines(count: int) -> Bundle:
    """``SITES`` sites; every protocol has so many lines, each of a container of one item."""
    bundle = load.bundle_of_sites(SITES)
    items = {item.id: item for item in bundle.items}
    components = [component for component in bundle.components if component.filled_by]
    lines = tuple(
        Line(
            id=f"line-{number}",
            component=component.id,
            dose=Dose(fixed=items[component.filled_by[0].item].content),
            route="supply",
        )
        for number, component in zip(range(count), itertools.cycle(components), strict=False)
    )
    protocols = tuple(_with_lines(protocol, lines) for protocol in bundle.protocols)
    return bundle.model_copy(update={"protocols": protocols, "version": f"{bundle.version}-{count}-lines"})


def _with_lines(protocol: Protocol, lines: tuple[Line, ...]) -> Protocol:
    versions = tuple(version.model_copy(update={"lines": lines, "kits": ()}) for version in protocol.versions)
    return protocol.model_copy(update={"versions": versions})


def points(lives: tuple[int, ...]) -> list[Point]:
    """The base book first."""
    fifty = load.bundle_of_sites(SITES)
    found = [Point("live bookings", live, live, fifty) for live in lives]
    found += [Point("sites", count, LIVE, load.bundle_of_sites(count)) for count in SITE_COUNTS]
    return found + [Point(LINES, count, LIVE, bundle_of_lines(count)) for count in LINE_COUNTS]


class _Book:
    def __init__(self, point: Point, file: Path) -> None:
        self.partition = Partition(file, point.bundle)
        sites = [site.id for site in point.bundle.sites]
        self.partition.fill(load.book(sites, point.live))
        self.partition.settle()
        changes = (ROUNDS + 1) * CHUNK // 2
        self._next: Iterator[Message] = alternating(
            load.later_events(changes, point.live), load.book(sites, changes, first=point.live)
        )
        self.chunk()  # warm-up, not counted

    def chunk(self) -> float:
        """Microseconds of processor an event."""
        events = list(itertools.islice(self._next, CHUNK))
        return cost_us(lambda: self.partition.apply(events, caught_up=False)) / CHUNK

    def site_ms(self) -> tuple[int, float]:
        """Items of a site, and what its review and all its forecasts cost; the mean of all sites."""
        self.partition.settle()
        sites = self.partition.plan.sites
        items = len(self.partition.plan.outlook(next(iter(sites))).need.items)
        self.partition.plan.review_all()
        return items, cost_us(self.partition.settle) / len(sites) / 1e3


def main(*, large: bool = False, plot: Path | None = None) -> None:
    """Print the table, and draw the plot.

    Args:
        large: a book of ``LIVE_LARGE`` live bookings as well (half an hour).
        plot: file to write; None: no plot.
    """
    lives = (*LIVES, LIVE_LARGE) if large else LIVES
    found = points(lives)
    with tempfile.TemporaryDirectory(prefix="planner-axes-") as name:
        books = [_Book(point, Path(name) / f"{number}.db") for number, point in enumerate(found)]
        gc.collect()
        gc.freeze()  # a collection would fall on one of them and be of all
        gc.set_threshold(*GARBAGE_THRESHOLDS)
        costs = [[book.chunk() for book in books] for _ in range(ROUNDS)]
        of_sites = [book.site_ms() for book, point in zip(books, found, strict=True) if point.axis == LINES]
        for book in books:
            book.partition.close()
    mean = [statistics.mean(of_book) for of_book in zip(*costs, strict=True)]
    to_base = [cost / mean[0] for cost in mean]
    rows = []
    for number, point in enumerate(found):
        of_axis = [to_base[n] for n, other in enumerate(found) if other.axis == point.axis]
        spread = max(of_axis) / min(of_axis)
        last = number + 1 == len(found) or found[number + 1].axis != point.axis
        verdict = f"{spread:.2f} {met(spread, TARGET_RATIO)}" if last else ""
        rows.append((point.axis, f"{point.at:,}", f"{mean[number]:,.0f}", f"{to_base[number]:.2f}", verdict))
    show(
        f"Processor µs of an event of a backlog, both agents, {LIVE:,} live bookings and {SITES} sites unless said "
        "otherwise",
        ("axis", "at", "µs", "÷ first row", f"largest ÷ smallest, ≤ {TARGET_RATIO}"),
        rows,
    )
    show(
        "Processor ms of a site's review and all its forecasts, and µs for each item",
        ("items", "ms", "µs"),
        [(items, f"{ms:.1f}", f"{ms / items * 1e3:.0f}") for items, ms in of_sites],
    )
    if plot is not None:
        _draw(plot, [(p.axis, p.at, cost) for p, cost in zip(found, to_base, strict=True)])
        print(f"wrote {plot}")


def _draw(file: Path, costs: list[tuple[str, int, float]]) -> None:
    """Raises ModuleNotFoundError: matplotlib (the extra ``backtest``) is not installed."""
    import matplotlib as mpl  # noqa: PLC0415 - optional
    from matplotlib.figure import Figure  # noqa: PLC0415 - optional

    mpl.rcParams["svg.hashsalt"] = "planner"  # equal figures, equal files
    axes = list(dict.fromkeys(axis for axis, _, _ in costs))
    figure = Figure(figsize=(10, 3.4), layout="constrained")
    panels: Any = figure.subplots(1, len(axes), sharey=True)
    for panel, axis in zip(panels, axes, strict=True):
        at, cost = zip(*((at, cost) for name, at, cost in costs if name == axis), strict=True)
        panel.plot(at, cost, marker="o")
        panel.axhspan(min(cost), min(cost) * TARGET_RATIO, alpha=0.15)
        panel.set(xscale="log", xlabel=axis, xticks=at, ylim=(0, None))
        panel.set_xticklabels([f"{value:,}" for value in at])
        panel.minorticks_off()
    panels[0].set_ylabel("cost of an event ÷ base book's")
    figure.suptitle(f"Cost of an event; the band is {TARGET_RATIO} × the least")
    figure.savefig(file, metadata={"Date": None})


if __name__ == "__main__":
    main(plot=PLOT)
