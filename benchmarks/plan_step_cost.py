"""The step of plan over requirements: what folding one costs, and its share of a backlog's reviews and forecasts.

Part of ``python -m benchmarks.booking_step_cost``. No stock is told, so that alerts with their sessions at risk are
part of it; time is that of the bookings, and no day ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from unittest.mock import patch

import orjson

from benchmarks.in_memory import best_us
from benchmarks.table import show
from planner.catalogue.model import Bundle
from planner.messages import REQUIREMENTS
from planner.plan.queue import RECORDS_PER_ITEM_REVIEWED, RECORDS_PER_ITEM_TOLD
from planner.plan_step import PlanStep
from planner.step import Message, Record
from planner.verify.refold import MemoryTable

EVENTS = 2_000
"""Of each kind; the first ones of those that the other step has folded."""
MEASURED_MESSAGES = 2 * EVENTS
"""The messages of ``expand`` in which they are: a requirement and an outcome each."""
CHUNK = 500
ROUNDS = 3


class PlanStepCost:
    """The step's figures, one row for each kind of event."""

    def __init__(self, bundle: Bundle, at: datetime) -> None:
        self.bundle = bundle
        self._table = MemoryTable()
        step = self._restored(self._table)
        tick = {
            "schema_version": 1, "type": "clock.ticked", "event_id": "tick", "occurred_at": at, "source": "benchmark",
            "now": at,
        }  # fmt: skip
        record = Record("clock", 0, 0, int(at.timestamp() * 1000), b"0", orjson.dumps(tick))
        for page in step.fold([record]):
            self._table.write(page.writes)
        self._rows: list[tuple[str, ...]] = []

    def take_book(self, messages: list[Message]) -> None:
        """What was booked: part of the book that the events measured find."""
        with _no_reviews():
            _fold(self._restored(self._table), _records(messages), self._table)

    def measure(self, kind: str, event_decoding: float, messages: list[Message]) -> None:
        """Fold the requirements of ``EVENTS`` events of a kind.

        Args:
            event_decoding: µs that pydantic takes to decode the event behind a requirement.
            messages: what the step of expand published for them.

        Raises:
            AssertionError: a requirement was not applied.
        """
        log = _records(messages)[:EVENTS]
        decoding, folding, backlog = best_us(
            len(log),
            lambda: partial(_decode_all, log),
            lambda: self._without_reviews(log),
            lambda: self._in_backlog(log),
            rounds=ROUNDS,
        )
        self._rows.append(
            (
                kind,
                *(f"{cost:.1f}" for cost in (decoding, folding, backlog)),
                *(f"{ratio:.2f}" for ratio in (folding / decoding, backlog / decoding)),
                *(f"{ratio:.1f}" for ratio in (folding / event_decoding, backlog / event_decoding)),
            )
        )

    def show(self) -> None:
        """Print the table."""
        show(
            "Step of plan: processor µs a requirement, and ÷ decoding it, or its event, by pydantic",
            ("event", "decoding", "fold", "backlog", "fold ÷", "backlog ÷", "fold ÷ event's", "backlog ÷ event's"),
            self._rows,
            f"{EVENTS:,} requirements of each in chunks of {CHUNK}. Backlog: the fold, for each item of a site its",
            f"review for {RECORDS_PER_ITEM_REVIEWED} records, its forecasts for {RECORDS_PER_ITEM_TOLD}. Entries are",
            "encoded and written; no stock is known, no day ends.",
        )

    def _restored(self, table: MemoryTable) -> PlanStep:
        step = PlanStep(0, self.bundle)
        step.restore(table)
        return step

    def _without_reviews(self, log: list[Record]) -> Callable[[], None]:
        step = self._restored(self._table)

        def run() -> None:
            with _no_reviews():
                _fold(step, log, MemoryTable())

        return run

    def _in_backlog(self, log: list[Record]) -> Callable[[], None]:
        step = self._restored(self._table)
        list(step.fold([]))  # what a restart reviews and tells is not part of it
        while step.due():
            pass
        return lambda: _fold(step, log, MemoryTable(), forecasts=True)


@contextmanager
def _no_reviews() -> Iterator[None]:
    with patch("planner.plan.queue.RECORDS_PER_ITEM_REVIEWED", float("inf")):
        yield


def _records(messages: list[Message]) -> list[Record]:
    stated = [message for message in messages if message.topic == "requirements"]
    return [Record("requirements", 0, offset, 0, m.key, m.value) for offset, m in enumerate(stated)]


def _decode_all(log: list[Record]) -> None:
    for record in log:
        REQUIREMENTS.validate_json(record.value or b"")


def _fold(step: PlanStep, log: list[Record], table: MemoryTable, *, forecasts: bool = False) -> None:
    applied = 0
    for begin in range(0, len(log), CHUNK):
        for page in step.fold(log[begin : begin + CHUNK], caught_up=False):
            table.write(page.writes)
            applied += page.counts["requirements"]
        if forecasts:
            step.due()
    if applied != len(log):
        raise AssertionError(f"{applied:,} of {len(log):,} requirements were applied; expected all")
