"""What learning costs: both steps over the City bookings with it and without it, by turns; the learned state's size.

One process, tables in memory, no log. *Without*: nothing is observed, no day is closed, nothing is scored; forecasts
are those of the stated priors. What the steps do beside it is the same: need, projection, reviews, forecasts.
"""

from __future__ import annotations

import gc
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest.mock import patch

from benchmarks import load
from benchmarks.table import met, show
from planner.booking_step import BookingStep
from planner.catalogue.model import Bundle
from planner.plan_step import PlanStep
from planner.step import Effects, Message, Record, Step
from planner.verify.refold import MemoryTable
from streams.worker import GARBAGE_THRESHOLDS

EVENTS = 80_000
CHUNK = 1_000
RATIO_LEAST = 0.8
STATE_BYTES_MOST = 200_000

_LEARNING = (
    "planner.site.daily.close_day",
    "planner.site.bookings.observe",
    "planner.learning.scoring.note",
    "planner.learning.using.session",
    "planner.learning.using.told",
    "planner.learning.using.opened",
)
"""All through which the plan step learns from bookings."""


def _nothing(*_: object, **__: object) -> None:
    """In the place of what learns."""


@contextmanager
def switched_off() -> Iterator[None]:
    """Nothing is learned meanwhile."""
    with ExitStack() as stack:
        for name in _LEARNING:
            stack.enter_context(patch(name, _nothing))
        yield


class Pair:
    """Both steps of one partition, and the processor seconds of each."""

    def __init__(self, bundle: Bundle, *, learning: bool) -> None:
        self.learning = learning
        self.tables = {"expand": MemoryTable(), "plan": MemoryTable()}
        self.expand = BookingStep(0, 1, bundle, clock="event")
        self.plan = PlanStep(0, bundle, clock="event")
        self.expand.restore(self.tables["expand"])
        self.plan.restore(self.tables["plan"])
        self.seconds: Counter[str] = Counter()
        self._offsets: Counter[str] = Counter()

    def apply(self, events: Sequence[Message], *, last: bool) -> None:
        """A chunk through both, and the forecasts that are due."""
        with ExitStack() as stack:
            if not self.learning:
                stack.enter_context(switched_off())
            stated: list[Message] = []
            for page in self._fold("expand", self.expand, "bookings", events, last):
                stated += [message for message in page.messages if message.topic == "requirements"]
            self._fold("plan", self.plan, "requirements", stated, last)
            began = time.process_time()
            self.plan.due()
            self.seconds["plan"] += time.process_time() - began

    def _fold(self, name: str, step: Step, topic: str, messages: Sequence[Message], last: bool) -> list[Effects]:
        first = self._offsets[topic]
        self._offsets[topic] += len(messages)
        records = [Record(topic, 0, first + n, 0, m.key, m.value, m.headers) for n, m in enumerate(messages)]
        began = time.process_time()
        pages = list(step.fold(records, caught_up=last))
        self.seconds[name] += time.process_time() - began
        for page in pages:
            self.tables[name].write(page.writes)
        return pages

    @property
    def learned_bytes(self) -> int:
        """Of all entries of what the site has learned, keys and values."""
        entries = self.tables["plan"].entries.items()
        return sum(len(key) + len(value) for key, value in entries if key.startswith(b"learned"))


def main(*, city: Path = load.CITY_FILE, limit: int = EVENTS) -> None:
    """Print the table."""
    thresholds = gc.get_threshold()
    gc.set_threshold(*GARBAGE_THRESHOLDS)  # as a worker does
    events = load.city_events(city)[:limit]
    bundle = load.default_bundle()
    pairs = [Pair(bundle, learning=True), Pair(bundle, learning=False)]
    for begin in range(0, len(events), CHUNK):
        chunk = events[begin : begin + CHUNK]
        turn = pairs if begin // CHUNK % 2 else pairs[::-1]
        for pair in turn:
            pair.apply(chunk, last=begin + CHUNK >= len(events))
        if begin and begin % (20 * CHUNK) == 0:
            print(f"{begin:,} of {len(events):,} events", file=sys.stderr, flush=True)
    gc.set_threshold(*thresholds)
    rows = []
    for pair in pairs:
        total = pair.seconds.total()
        per_event = [f"{pair.seconds[name] / len(events) * 1e6:,.0f}" for name in ("expand", "plan")]
        rows.append(("with learning" if pair.learning else "without", f"{len(events) / total:,.0f}", *per_event))
    show(
        f"City, {len(events):,} events through both steps in memory, one site",
        ("", "events per processor second", "expand µs", "plan µs"),
        rows,
    )
    ratio = pairs[1].seconds.total() / pairs[0].seconds.total()
    verdict = met(ratio, RATIO_LEAST, at_least=True)
    size = pairs[0].learned_bytes
    show(
        "Promises",
        ("", "measured", "wanted", ""),
        [
            ("throughput with learning ÷ without", f"{ratio:.2f}", f"≥ {RATIO_LEAST}", verdict),
            ("learned state of the site, bytes", f"{size:,}", f"< {STATE_BYTES_MOST:,}", met(size, STATE_BYTES_MOST)),
        ],
    )  # fmt: skip


if __name__ == "__main__":
    main()
