"""The log folded a second time, by one step from an empty table, in chunks of another size and with no accident.

With a wall clock, what may depend on how the log was cut is what was *decided* on the way: alerts (when they are
looked at decides which episode it is), proposals, what people did about alerts, and which forecasts were published.
Their check is that a plan made afresh from the table decides the same. Where the events tell the time, ``caught_up``
moves it too, so that only what bears no time is compared: revisions and ends of bookings, orders, and lots. Nor are
bookings and lots, where one was forgotten: an end that is told months late finds it or not, by the time it then is. So
does the repetition of an event that comes weeks after it.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any

import orjson

from planner.events.orders import ORDER_EVENTS
from planner.events.stock import STOCK_EVENTS
from planner.records import DeadLetter, decode
from planner.site.bookings import KEEP_DAYS
from planner.step import Message, Record
from planner.step import Step as PureStep
from planner.topics import SEPARATOR
from streams import names
from tests.plan.clinic import VITAMIN
from tests.soak.sim.world import Slot, Table, World


@dataclass
class Again:
    """What a second fold of a slot gave."""

    slot: Slot
    timeless: bool
    """Whether what bears time is left out."""
    mixed: bool
    """A catalogue was half adopted when bookings went on: the same bookings come to be stated, in another order."""
    late: bool
    """An event was repeated when its id may have been forgotten."""
    actions: frozenset[str]
    """Ids of what people did about alerts."""
    table: Table = field(default_factory=Table)
    messages: list[Message] = field(default_factory=list)

    def differences(self, live: Table) -> Iterator[tuple[str, str, Any, Any]]:
        """Kind, key, and what each has of the entries that must be alike."""
        for key in sorted(live.entries.keys() | self.table.entries.keys()):
            kind, _, rest = key.decode().partition(SEPARATOR)
            forgot = live.forgot or self.table.forgot or self.late
            if self.timeless and forgot and kind in {"booking", "stock", "order"}:
                continue
            ours, theirs = (self._comparable(kind, rest, table.entries.get(key)) for table in (live, self.table))
            if ours != theirs:
                yield kind, rest, ours, theirs

    def _comparable(self, kind: str, rest: str, value: bytes | None) -> Any:
        if kind[:1] == "@" or kind in {"alert", "proposal", "told", "waiting"}:
            return None
        if kind == "seen" and rest.partition(SEPARATOR)[2] in self.actions:
            return None
        if not self.timeless or self.slot[0] == names.EXPAND or value is None:
            return value
        return _timeless(kind, rest, value)


def _timeless(kind: str, rest: str, value: bytes) -> Any:
    if kind not in {"booking", "stock", "order", "announced"}:
        return None
    body = orjson.loads(value)
    if kind == "booking":
        return body[0], body[5]
    if kind == "stock" and not rest.endswith(VITAMIN):
        return body["lots"], body["deficit"], body["presumed"]
    if kind == "order":
        return body["lines"], body["status"]
    return body if kind == "announced" else None


def told_again(world: World, slot: Slot, chance: random.Random) -> Again:
    """Fold a slot's records again, in the order in which they were applied."""
    actions = frozenset(
        orjson.loads(record.value)["event_id"]
        for folded in world.folded[slot]
        if folded.topic == "alert-actions"
        for record in folded.records
        if record.value is not None and b'"event_id"' in record.value
    )
    records = [record for folded in world.folded[slot] for record in folded.records]
    again = Again(slot, world.script.clock == "event", slot in world.mixed, _repeated_late(records), actions)
    if again.mixed:
        return again
    step = world.make_step(*slot)
    step.restore(again.table)
    for _, run in groupby(records, key=lambda record: record.topic):
        waiting = list(run)
        while waiting:
            size = chance.choice((1, 2, 3, 7, 50))
            fold(step, again, waiting[:size], caught_up=False)
            waiting = waiting[size:]
    if slot[0] == names.PLAN:
        fold(step, again, [], caught_up=True)
    return again


def _repeated_late(records: list[Record]) -> bool:
    """Whether an event of stock or orders came again when more than ``KEEP_DAYS`` after it had been told, by whatever
    topic: one of a topic that was not read for weeks comes again when the clock is far ahead."""
    seen: set[str] = set()
    told_ms = 0
    for record in records:
        told_ms = max(told_ms, record.timestamp_ms)
        adapter = {"stock": STOCK_EVENTS, "orders": ORDER_EVENTS}.get(record.topic)
        event = None if adapter is None else decode(adapter, record)
        if event is None or isinstance(event, DeadLetter):
            continue
        age = datetime.fromtimestamp(told_ms / 1000, UTC) - event.occurred_at
        if event.event_id in seen and age > timedelta(days=KEEP_DAYS):
            return True
        seen.add(event.event_id)
    return False


def fold(step: PureStep, again: Again, records: list[Any], *, caught_up: bool) -> None:
    """One chunk, its pages durable one by one."""
    for page in step.fold(records, caught_up=caught_up):
        again.messages += page.messages
        again.table.apply(page.writes)
