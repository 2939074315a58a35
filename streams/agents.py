"""The two agents. Each hands its chunks to its engine; what happens to them is the step's business."""

from __future__ import annotations

from typing import Any

from mode.supervisors import CrashingSupervisor

from streams import names
from streams.engine import Engine


def declare_agents(app: Any, topics: dict[str, Any], engines: dict[str, Engine]) -> None:
    """Declare ``expand`` and ``plan`` on an app.

    Acknowledgement is explicit and comes after the chunk's effects are durable. An agent that raises stops the worker:
    Faust's own way, to acknowledge the event and go on, would lose it.
    """
    for name in names.INPUTS:
        if name in engines:
            app.agent(topics[name], name=name, supervisor_strategy=CrashingSupervisor)(_consuming(engines[name]))


def _consuming(engine: Engine) -> Any:
    async def consume(stream: Any) -> None:
        async for event in stream.noack().events():
            if await engine.apply(event.value):
                await stream.ack(event)

    return consume
