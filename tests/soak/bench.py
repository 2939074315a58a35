"""A log with a history on it, workers from the nursery over it, and the judge at the end."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import load
from config.settings import Settings
from planner.catalogue.model import Bundle
from planner.step import Message
from streams.inspect import applied_offsets
from streams.log import LogClient, open_client
from streams.names import INPUTS
from streams.topics import topic_specs
from tests.soak.judge import Course, Verdict, judge
from tests.soak.nursery import PATIENCE_S, Child, Nursery

LOOK_S = 0.02
STARTED = "] started "
"""What a worker says when events are being applied, as the console shows it."""


class Bench:
    """A log, its workers' settings, and what is known of its course."""

    def __init__(self, nursery: Nursery, broker: str, prefix: str, directory: Path, **settings: Any) -> None:
        self.nursery = nursery
        self.settings = Settings(broker_url=broker, topic_prefix=prefix, data_dir=directory / "tables", **settings)
        self.directory = directory
        self.course = Course()
        self._workers = 0
        directory.mkdir(parents=True, exist_ok=True)

    @property
    def environment(self) -> dict[str, str]:
        """The settings as a worker reads them."""
        given = self.settings.model_dump(include=self.settings.model_fields_set)
        return {f"PLANNER_{name.upper()}": str(value) for name, value in given.items()}

    def client(self) -> Any:
        """A client of the log, to be used as ``async with``."""
        return open_client(self.settings.broker_url, self.settings.topic_prefix)

    async def fill(self, bundle: Bundle, messages: Sequence[Message]) -> None:
        """Topics, a catalogue in each partition, and a history."""
        async with self.client() as client:
            await client.ensure_topics(topic_specs(self.settings))
            await client.publish(load.catalogue_messages(bundle, self.settings.partitions))
            await client.publish(messages)

    def worker(self, **arguments: Any) -> Child:
        """Start a worker, with a file of its own for what it says."""
        self._workers += 1
        log = self.directory / f"worker-{self._workers}.log"
        return self.nursery.start("worker", self.environment, log, **arguments)

    async def settle(self, client: LogClient, worker: Child) -> bool:
        """Wait until everything is applied; False: the worker ended before."""
        give_up_s = time.monotonic() + PATIENCE_S
        while waiting := await self.waiting(client):
            if not worker.running:
                return False
            if time.monotonic() > give_up_s:
                raise AssertionError(f"still to apply: {waiting}: {worker.said()[-3000:]}")
            await asyncio.sleep(LOOK_S)
        return True

    async def _started(self, worker: Child) -> None:
        give_up_s = time.monotonic() + PATIENCE_S
        while worker.running and STARTED not in worker.said():
            if time.monotonic() > give_up_s:
                raise AssertionError(f"a worker does not start: {worker.said()[-3000:]}")
            await asyncio.sleep(LOOK_S)

    async def finish(self, client: LogClient) -> None:
        """A worker that nothing disturbs comes to the end of the log and stops in good order."""
        worker = self.worker()
        # with nothing left to apply it would be told to stop before it has started, with its forecasts untold
        await self._started(worker)
        if not await self.settle(client, worker):
            raise AssertionError(f"a worker ended with {worker.status}: {worker.said()[-3000:]}")
        status = await asyncio.to_thread(worker.end, signal.SIGTERM)
        if status != 0:
            raise AssertionError(f"a clean stop ended with {status}: {worker.said()[-3000:]}")

    async def judged(self, client: LogClient, bundle: Bundle, *, seed: int) -> Verdict:
        """See ``judge``."""
        return await judge(client, bundle, self.course, seed=seed, holes=not self.settings.embedded)

    async def waiting(self, client: LogClient) -> dict[str, int]:
        """agent/topic → records that are on the log and not yet applied."""
        applied: Mapping[str, Mapping[str, Mapping[int, int]]] = await applied_offsets(client)
        waiting = {}
        for agent, topics in INPUTS.items():
            for topic in topics:
                done = applied.get(agent, {}).get(topic, {})
                left = sum(end - done.get(partition, 0) for partition, end in (await client.end_offsets(topic)).items())
                if left:
                    waiting[f"{agent}/{topic}"] = left
        return waiting
