"""Drives a real worker through a season: events in by the log, what it says heard from the log."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from datetime import time as time_of_day
from pathlib import Path

import orjson

from planner.catalogue.index import Catalogue
from planner.step import Message, Record
from streams.cli.routing import route
from streams.demo.board import Board
from streams.demo.process import START_S_MAX, WorkerProcess
from streams.demo.scenario import Event, Season, season
from streams.demo.world import World
from streams.inspect import applied_offsets
from streams.log import LogClient, LogError, open_client

PREFIX = "planner."
HEARD = ("outcomes", "requirements", "forecasts", "alerts", "proposals")
PHARMACY_AT = time_of_day(15, 30)
"""UTC: late morning in the east, morning in the west, before every supplier's cut-off."""
TRACKED_COMPONENTS = ("magnesium-sulfate", "sodium-chloride-0.9", "ketorolac", "eptinezumab")
ANSWER_S_MAX = 30.0
CHECK_S = 0.5
"""How often a silent worker is looked at."""
REFRESHES_PER_S = 6
WORKER_ENVIRONMENT = {"PLANNER_DURABILITY": "normal", "PLANNER_FORECAST_INTERVAL_MS": "500"}


class NoAnswer(RuntimeError):  # noqa: N818 - named after what happened
    """The worker runs, but events stay without outcome."""


class Demo:
    """One season on one embedded log."""

    def __init__(self, catalogue: Catalogue, directory: Path, seed: int, *, weeks: int, seconds: float) -> None:
        self.season: Season = season(catalogue, seed, weeks=weeks)
        self.world = World(catalogue, self.season)
        self.board = Board(seed, self.season.days, self.season.first_day, tracked(catalogue, self.world))
        self.database = directory / "planner.db"
        self.broker_url = f"sqlite:///{self.database}"
        self._log_file = directory / "worker.log"
        self._seconds = seconds
        self._waiting: set[tuple[str, int, int]] = set()
        self._answered: set[tuple[str, int, int]] = set()
        self._progress = asyncio.Event()
        self._listeners: list[asyncio.Task[None]] = []

    async def run(self, each_day: Callable[[date], None], refresh: Callable[[], None] | None = None) -> None:
        """Play the season; ``each_day`` is told when a day has been played, ``refresh`` called a few times a second.

        Raises:
            WorkerFailed, NoAnswer: the worker ended, or says nothing.
        """
        _end_in_good_order()
        async with WorkerProcess(self.broker_url, PREFIX, self._log_file, WORKER_ENVIRONMENT) as worker:
            async with self._connected(worker) as client, self._listening(client, refresh):
                await self._send(client, worker, self.world.opening())
                began_s = time.monotonic()
                for number in range(-1, self.season.days):
                    day = self.season.first_day + timedelta(days=number)
                    await self._play(client, worker, day)
                    each_day(day)
                    due_s = began_s + self._seconds * (number + 1) / self.season.days
                    await asyncio.sleep(max(0.0, due_s - time.monotonic()))
                await self._drained(client, worker)
            status = await worker.stop()
        if status != 0:
            worker.check()

    async def _play(self, client: LogClient, worker: WorkerProcess, day: date) -> None:
        self.board.today = max(day, self.season.first_day)
        events = self.season.events.get(day, []) + (self.world.day(day) if day >= self.season.first_day else [])
        captions = [text for on, text in self.world.story.captions if on == day]
        if captions:
            self.board.caption = f"{day:%d %b}: {'; '.join(captions)}"
        noon = datetime.combine(day, PHARMACY_AT, UTC)
        events.sort(key=_instant)
        await self._send(client, worker, [event for event in events if _instant(event) < noon])
        if day >= self.season.first_day:
            orders = self.world.pharmacy(noon, list(self.board.proposals.values()), self.board.standing())
            await self._send(client, worker, orders)
        counts = [event for event in events if event["type"] == "stock.counted"]
        await self._send(client, worker, [e for e in events if _instant(e) >= noon and e not in counts])
        if counts:
            # A day takes half a second here. Sessions reach the shelves through two agents, counts through one: without
            # waiting, the evening's count would be read before the day's sessions.
            await self._drained(client, worker)
            await self._send(client, worker, counts)

    async def _send(self, client: LogClient, worker: WorkerProcess, events: Sequence[Event]) -> None:
        """Publish events and wait until each has its outcome."""
        worker.check()
        self._check_listeners()
        messages: list[Message] = []
        for event in events:
            messages += route(orjson.dumps(event), 1)
        if not messages:
            return
        placed = await client.publish(messages)
        self.board.sent += len(messages)
        self._waiting = {
            (message.topic, partition, offset)
            for message, (partition, offset) in zip(messages, placed, strict=True)
            if (message.topic, partition, offset) not in self._answered
        }
        self._answered.clear()
        give_up_s = time.monotonic() + ANSWER_S_MAX
        while self._waiting:
            self._progress.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CHECK_S):
                    await self._progress.wait()
                give_up_s = time.monotonic() + ANSWER_S_MAX
            worker.check()
            self._check_listeners()
            if time.monotonic() > give_up_s:
                where = "/".join(map(str, min(self._waiting)))
                raise NoAnswer(f"{len(self._waiting)} events have no outcome, {where} among them")

    async def _drained(self, client: LogClient, worker: WorkerProcess) -> None:
        """Until everything that waits between the agents has been applied too: then the log holds its last word."""
        give_up_s = time.monotonic() + ANSWER_S_MAX
        while time.monotonic() < give_up_s:
            worker.check()
            applied = await applied_offsets(client)
            behind = 0
            for topics in applied.values():
                for topic, offsets in topics.items():
                    ends = await client.end_offsets(topic)
                    behind += sum(ends[partition] - offset for partition, offset in offsets.items())
            if behind == 0:
                return
            await asyncio.sleep(0.1)
        raise NoAnswer(f"{behind} records were not applied within {ANSWER_S_MAX:g} s")

    @contextlib.asynccontextmanager
    async def _connected(self, worker: WorkerProcess) -> AsyncIterator[LogClient]:
        """A client, once the worker has made its topics."""
        give_up_s = time.monotonic() + START_S_MAX
        while True:
            worker.check()
            try:
                if self.database.exists():
                    async with open_client(self.broker_url, PREFIX) as client:
                        await client.end_offsets("dead-letters")
                        if await client.latest("catalogue"):
                            break
            except LogError:
                if time.monotonic() > give_up_s:
                    raise
            if time.monotonic() > give_up_s:
                raise NoAnswer(f"the worker has made no topics within {START_S_MAX:g} s")
            await asyncio.sleep(0.05)
        async with open_client(self.broker_url, PREFIX) as client:
            yield client

    @contextlib.asynccontextmanager
    async def _listening(self, client: LogClient, refresh: Callable[[], None] | None) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(self._listen(client, topic)) for topic in HEARD]
        if refresh is not None:
            tasks.append(asyncio.create_task(_repeat(refresh)))
        self._listeners = tasks
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _check_listeners(self) -> None:
        """Raise what ended a listener, if one has ended."""
        for task in self._listeners:
            if task.done() and not task.cancelled():
                task.result()

    async def _listen(self, client: LogClient, topic: str) -> None:
        async for chunk in client.read_chunks(topic, "earliest", follow=True):
            for record in chunk:
                self.board.hear(record)
                if topic == "outcomes":
                    self._note(record)
            self._progress.set()

    def _note(self, record: Record) -> None:
        outcome = orjson.loads(record.value or b"{}")
        where = (outcome["topic"], outcome["partition"], outcome["offset"])
        if where in self._waiting:
            self._waiting.discard(where)
        else:
            self._answered.add(where)


def _end_in_good_order() -> None:
    """Told to end from outside, the demo is cancelled like by Ctrl-C, and so ends its worker."""
    task = asyncio.current_task()
    if task is not None:
        for number in (signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)


async def _repeat(refresh: Callable[[], None]) -> None:
    while True:
        refresh()
        await asyncio.sleep(1 / REFRESHES_PER_S)


def tracked(catalogue: Catalogue, world: World) -> tuple[tuple[str, str], ...]:
    """(site, item) to show: of a few components that matter, the item that each site uses most."""
    found = []
    for site in world.season.sites:
        use = world.expected_use(site)
        for component in TRACKED_COMPONENTS:
            items = [item for item in use if catalogue.items[item].component == component]
            if items:
                found.append((site, max(items, key=lambda item: use[item])))
    return tuple(found)


def _instant(event: Event) -> datetime:
    return datetime.fromisoformat(event["occurred_at"])
