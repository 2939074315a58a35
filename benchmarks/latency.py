"""From publish to readable at 100 events/s (or ``--rate``), beside a worker with a City book: outcome, forecast, alert.

Every event is published by itself, on schedule, whether or not the one before has arrived (so that a stall counts for
all who wait in it). Another client follows the topics. How an event is recognised:

- durable: the publisher itself is told that the log has it.
- outcome: it names the record.
- forecast: the events book magnesium sessions, so that the firm need of a day counts them: of ``n`` published for a
  day, event ``k`` is known to the first forecast that shows at least ``k / n`` of the day's rise.
- alert: every tenth event counts an item's shelf as empty, or fills it; the alert names the event as its cause.
"""

from __future__ import annotations

import asyncio
import itertools
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import orjson

from benchmarks import load
from benchmarks.table import met, show
from benchmarks.worker import Worker, off_the_workers_core, wait_applied, worker_core
from config.settings import Settings
from planner.step import Message, Record
from planner.topics import composed_key
from streams.log import LogClient, open_client

PER_S = 100
SECONDS = 30
WARM_EVENTS = 20_000
STOCK_EVERY = 10
PROBED_ITEMS = 20
TARGET_MS = {"forecast": 250, "alert": 100}
KAFKA_TARGET_MS = {"forecast": 250, "alert": 250}
PREFIX = "planner."
SITE = "city"
ITEM = "magnesium-sulfate-500mg-ml-2ml-vial"
FORECAST_KEY = composed_key(SITE, "item", ITEM)
PATIENCE_S = 30.0
QUIET_S = 2.0


@dataclass
class Heard:
    """When what was read, in seconds of the monotonic clock."""

    outcomes: dict[tuple[str, int, int], float] = field(default_factory=dict)
    need: list[tuple[float, int, list[float]]] = field(default_factory=list)
    """When, first day as an ordinal, firm mean by day."""
    alerts: dict[str, float] = field(default_factory=dict)

    def outcome(self, record: Record) -> None:
        body = orjson.loads(record.value or b"{}")
        self.outcomes[body["topic"], body["partition"], body["offset"]] = time.monotonic()

    def forecast(self, record: Record) -> None:
        if record.key == FORECAST_KEY and record.value is not None:
            body = orjson.loads(record.value)
            first = datetime.fromisoformat(body["first_day"]).toordinal()
            self.need.append((time.monotonic(), first, body["firm_mean"]))

    def alert(self, record: Record) -> None:
        if record.value is not None:
            body = orjson.loads(record.value)
            for event in (body.get("cause_event_id"), body.get("resolved_by_event_id")):
                if event is not None:
                    self.alerts.setdefault(event, time.monotonic())


@dataclass
class Sent:
    at_s: float
    message: Message
    event_id: str
    day: int | None
    """Ordinal of the day of the session; None: a stock event."""
    where: tuple[str, int, int] | None = None
    durable_s: float = 0.0
    """When the log had it on disk."""


def _load(bundle_items: list[str], at: datetime, count: int) -> list[Sent]:
    events = []
    shelves: dict[str, str | None] = dict.fromkeys(bundle_items[:PROBED_ITEMS])
    turns = itertools.cycle(shelves)
    for number in range(count):
        event_id = f"probe-{number:06}"
        if number % STOCK_EVERY == 0:
            item = next(turns)
            if shelves[item] is None:
                message = load.received(SITE, item, event_id, 10_000, at)
                shelves[item] = event_id
            else:
                message = load.counted(SITE, item, event_id, {}, at)
                shelves[item] = None
            events.append(Sent(0.0, message, event_id, None))
        else:
            start = (at + timedelta(days=5 + number % 80)).replace(hour=12, minute=0)
            fields = {"site": SITE, "protocol": "magnesium", "start": start}
            message = load.booking("booked", event_id, 1, at, fields)
            events.append(Sent(0.0, message, event_id, start.toordinal()))
    return events


async def publish_on_schedule(client: LogClient, events: list[Sent], per_s: float) -> None:
    async def one(event: Sent) -> None:
        ((partition, offset),) = await client.publish([event.message])
        event.where = (event.message.topic, partition, offset)
        event.durable_s = time.monotonic()

    tasks = []
    began_s = time.monotonic()
    for number, event in enumerate(events):
        await asyncio.sleep(max(0.0, began_s + number / per_s - time.monotonic()))
        event.at_s = time.monotonic()
        tasks.append(asyncio.create_task(one(event)))
    await asyncio.gather(*tasks)


async def follow(client: LogClient, topic: str, hear: Callable[[Record], None]) -> None:
    async for chunk in client.read_chunks(topic, "latest", follow=True):
        for record in chunk:
            hear(record)


async def _told(reader: LogClient) -> dict[bytes, Record]:
    """The forecast before anything is published: what was applied last may be told a moment later."""
    give_up_s, before = time.monotonic() + PATIENCE_S, None
    while (found := await reader.latest("forecasts", key_prefix=FORECAST_KEY)) != before:
        if time.monotonic() > give_up_s:
            raise RuntimeError(f"the forecast still changes {PATIENCE_S:g} s after everything was applied")
        before = found
        await asyncio.sleep(QUIET_S)
    return found


async def _measure(
    city: Path, directory: Path, seconds: float, *, warm: int, broker: str | None, per_s: float
) -> dict[str, list[float]]:
    url = broker or f"sqlite:///{directory / 'planner.db'}"
    prefix = PREFIX if broker is None else f"{directory.name}-"
    settings = Settings(broker_url=url, topic_prefix=prefix)
    book = load.city_events(city)[:warm]
    bundle = load.default_bundle()
    items = [item.id for item in bundle.items if item.id != ITEM]
    heard = Heard()
    async with open_client(url, prefix) as publisher, open_client(url, prefix) as reader:
        await load.fill(publisher, settings, load.opening_stock(bundle, SITE, {ITEM}), book)
        environment = {"PLANNER_TOPIC_PREFIX": prefix}
        with Worker(url, directory, core=worker_core(), environment=environment) as worker:
            await asyncio.to_thread(worker.wait_started)
            await wait_applied(reader, worker)
            for record in (await _told(reader)).values():
                heard.forecast(record)
            now = datetime.fromisoformat(orjson.loads(book[-1].value or b"{}")["occurred_at"])
            events = _load(items, now, int(seconds * per_s))
            followers = [
                asyncio.create_task(follow(reader, topic, hear))
                for topic, hear in (
                    ("outcomes", heard.outcome), ("forecasts", heard.forecast), ("alerts", heard.alert)
                )
            ]  # fmt: skip
            await asyncio.sleep(0.5)
            await publish_on_schedule(publisher, events, per_s)
            await wait_applied(reader, worker)
            await asyncio.sleep(0.5)
            for follower in followers:
                follower.cancel()
            await asyncio.gather(*followers, return_exceptions=True)
    return _latencies(events, heard)


def _latencies(events: list[Sent], heard: Heard) -> dict[str, list[float]]:
    """Milliseconds by what was waited for."""
    found: dict[str, list[float]] = {"forecast": []}
    found["durable"] = [(event.durable_s - event.at_s) * 1000 for event in events]
    found["outcome"] = [
        (heard.outcomes[event.where] - event.at_s) * 1000 for event in events if event.where in heard.outcomes
    ]
    found["alert"] = [
        (heard.alerts[event.event_id] - event.at_s) * 1000
        for event in events
        if event.day is None and event.event_id in heard.alerts
    ]
    by_day: dict[int, list[Sent]] = defaultdict(list)
    for event in events:
        if event.day is not None:
            by_day[event.day].append(event)
    for day, booked in by_day.items():
        seen = [(at_s, mean[day - first]) for at_s, first, mean in heard.need if 0 <= day - first < len(mean)]
        before, after = seen[0][1], seen[-1][1]
        one = (after - before) / len(booked)
        for number, event in enumerate(sorted(booked, key=lambda event: event.at_s), 1):
            enough = before + one * (number - 0.5)
            at_s = next(at_s for at_s, mean in seen if mean >= enough)
            found["forecast"].append((at_s - event.at_s) * 1000)
    expected = len(events)
    if len(found["outcome"]) != expected:
        raise RuntimeError(f"{len(found['outcome'])} of {expected} outcomes were heard")
    return found


def main(
    *, city: Path = load.CITY_FILE, seconds: float = SECONDS, repeats: int = 3, warm: int = WARM_EVENTS,
    broker: str | None = None, per_s: float = PER_S,
) -> None:  # fmt: skip
    """Print the table."""
    runs = []
    with off_the_workers_core():
        for _ in range(repeats):
            with tempfile.TemporaryDirectory(prefix="planner-latency-") as directory:
                runs.append(
                    asyncio.run(_measure(city, Path(directory), seconds, warm=warm, broker=broker, per_s=per_s))
                )
    targets = KAFKA_TARGET_MS if broker else TARGET_MS
    rows = []
    for what in ("durable", "outcome", "forecast", "alert"):
        p50, p90, p99, most = (
            [float(np.percentile(run[what], at)) for run in runs if run[what]] for at in (50, 90, 99, 100)
        )
        median = float(np.median(p99))
        rows.append(
            (what, sum(len(run[what]) for run in runs), *(f"{np.median(at):,.0f}" for at in (p50, p90, p99)),
             " ".join(f"{value:,.0f}" for value in p99), f"{max(most):,.0f}",
             met(median, targets[what]) if what in targets else "")
        )  # fmt: skip
    show(
        f"From publish to readable elsewhere, ms: {per_s:g} events/s for {seconds:g} s after {warm:,} City events"
        f"{' (Kafka)' if broker else ''}",
        ("", "events", "p50", "p90", "p99", "p99 of each run", "worst", "wanted: p99 <"),
        rows,
        f"Medians of {repeats} runs. The worker has core {worker_core()}; publisher and reader are one process on the",
        "other. Forecasts are published at most every 100 ms, which is part of their figures.",
    )


if __name__ == "__main__":
    main()
