"""The wall clock as events: the worker that owns partition 0 of ``clock`` tells all of them that time has passed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime

from planner.events.control import ClockTicked
from planner.step import Message
from streams.delivery.outlet import Fenced


def ticks(now: datetime, partitions: int) -> list[Message]:
    """``clock.ticked`` for every partition; equal instants give equal event ids."""
    instant = now.astimezone(UTC).replace(microsecond=0)
    messages = []
    for partition in range(partitions):
        event = ClockTicked(
            event_id=f"clock/{instant:%Y-%m-%dT%H:%M:%SZ}/{partition}",
            occurred_at=instant,
            source="wall-clock",
            now=instant,
        )
        messages.append(Message("clock", b"%d" % partition, event.model_dump_json().encode(), partition))
    return messages


async def tick_by_the_wall(
    publish: Callable[[Sequence[Message]], Awaitable[None]],
    elected: Callable[[], bool],
    *,
    partitions: int,
    interval_s: float,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> None:
    """For ever: tell the time every ``interval_s`` seconds, while elected; at once when newly elected."""
    was_elected = False
    slept_s = 0.0
    while True:
        is_elected = elected()
        if is_elected and (not was_elected or slept_s >= interval_s):
            try:
                await publish(ticks(now(), partitions))
            except Fenced:
                is_elected = False  # another worker was, meanwhile
            slept_s = 0.0
        was_elected = is_elected
        pause_s = min(1.0, interval_s)
        await asyncio.sleep(pause_s)
        slept_s += pause_s
