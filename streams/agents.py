"""The two agents. Each hands its chunks to its engine; what happens to them is the step's business."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from mode.supervisors import CrashingSupervisor

from streams import names
from streams.engine import Engine
from streams.failure import raise_first

PAGES_AT_ONCE: Final = 4
"""Of one agent, each of another partition: what is folded and not yet durable is in memory."""


def declare_agents(app: Any, topics: dict[str, Any], engines: dict[str, Engine]) -> None:
    """Declare ``expand`` and ``plan`` on an app.

    Acknowledgement is explicit and comes after the chunk's effects are durable. An agent that raises stops the worker:
    Faust's own way, to acknowledge the event and go on, would lose it.

    Partitions go side by side: while one's page is being committed, another's chunk is folded.
    """
    for name in names.INPUTS:
        if name in engines:
            app.agent(topics[name], name=name, supervisor_strategy=CrashingSupervisor)(_consuming(engines[name]))


def _consuming(engine: Engine) -> Any:
    async def consume(stream: Any) -> None:
        turns = asyncio.Semaphore(PAGES_AT_ONCE)

        async def handle(event: Any) -> None:
            async with turns:
                applied = await engine.apply(event.value)
            if applied:
                await stream.ack(event)

        # a partition's chunks wait for each other at the engine, not for another's commit; the consumer has at most
        # one of each input in flight
        try:
            async with asyncio.TaskGroup() as chunks:
                async for event in stream.noack().events():
                    chunks.create_task(handle(event))
        except BaseExceptionGroup as group:
            raise_first(group)

    return consume
