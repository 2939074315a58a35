"""Live events of one site while another partition replays 100,000: from publish to outcome and alert readable.

The backlog's bookings and their site lie in one partition, the live ones in another: within a partition the order of
the log holds, and what comes behind a backlog there waits for it. The same live events are measured before, alone.
"""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from benchmarks import load
from benchmarks.latency import Heard, Sent, follow, publish_on_schedule
from benchmarks.table import show
from benchmarks.worker import Worker, behind, off_the_workers_core, wait_applied, worker_core
from config.settings import Settings
from planner.step import Message
from streams.log import LogClient, open_client, partition_of

EVENTS = 100_000
LIVE_PER_S = 20
ALONE_S = 10.0
SITES = 50
PARTITIONS = 4
STOCK_EVERY = 4
_SETTLE_S = 0.5


def _site_in(partition: int, sites: list[str]) -> str:
    return next(site for site in sites if partition_of(site.encode(), PARTITIONS) == partition)


def _ids_in(partition: int, name: str) -> Iterator[str]:
    ids = (f"{name}{number:07}" for number in itertools.count())
    return (one for one in ids if partition_of(one.encode(), PARTITIONS) == partition)


def _bookings(site: str, ids: Iterator[str], at: datetime) -> Iterator[Message]:
    for number, booking_id in enumerate(ids):
        start = (at + timedelta(days=5 + number % 80)).replace(hour=17)
        yield load.booking("booked", booking_id, 1, at, {"site": site, "protocol": "magnesium", "start": start})


def _live(site: str, items: list[str], at: datetime) -> Iterator[Sent]:
    """Bookings, and every so often an item's shelf that is counted empty or filled: what an alert follows."""
    booked = _bookings(site, _ids_in(1, "live-"), at)
    full: set[str] = set()
    for number, item in enumerate(itertools.cycle(items)):
        event_id = f"shelf-{number:06}"
        if item in full:
            full.discard(item)
            yield Sent(0.0, load.counted(site, item, event_id, {}, at), event_id, None)
        else:
            full.add(item)
            yield Sent(0.0, load.received(site, item, event_id, 10_000, at), event_id, None)
        for message in itertools.islice(booked, STOCK_EVERY - 1):
            yield Sent(0.0, message, "", 0)


async def _until_done(client: LogClient, worker: Worker, live: Iterator[Sent], publisher: LogClient) -> list[Sent]:
    """Publish live events on schedule for as long as the backlog lasts."""
    sent: list[Sent] = []
    while True:
        second = list(itertools.islice(live, LIVE_PER_S))
        await publish_on_schedule(publisher, second, LIVE_PER_S)
        sent += second
        worker.check()
        if await behind(client) < LIVE_PER_S * 10:
            return sent


async def _measure(directory: Path, events: int, broker: str | None) -> list[tuple[str, list[float]]]:
    url = broker or f"sqlite:///{directory / 'planner.db'}"
    prefix = "planner." if broker is None else f"{directory.name}-"
    settings = Settings(broker_url=url, topic_prefix=prefix, partitions=PARTITIONS)
    bundle = load.bundle_of_sites(SITES)
    sites = [site.id for site in bundle.sites]
    at = datetime.combine(load.TODAY, datetime.min.time(), UTC)
    heard = Heard()
    found = []
    async with open_client(url, prefix) as publisher, open_client(url, prefix) as reader:
        await load.fill(publisher, settings, load.catalogue_messages(bundle, PARTITIONS), load.book(sites, 5_000))
        with Worker(url, directory, core=worker_core(), environment={"PLANNER_TOPIC_PREFIX": prefix}) as worker:
            await asyncio.to_thread(worker.wait_started)
            await wait_applied(reader, worker)
            followers = [asyncio.create_task(follow(reader, "outcomes", heard.outcome)),
                         asyncio.create_task(follow(reader, "alerts", heard.alert))]  # fmt: skip
            await asyncio.sleep(_SETTLE_S)
            live = _live(_site_in(1, sites), [item.id for item in bundle.items][:20], at)
            alone = list(itertools.islice(live, int(ALONE_S * LIVE_PER_S)))
            await publish_on_schedule(publisher, alone, LIVE_PER_S)
            await wait_applied(reader, worker)
            backlog = _bookings(_site_in(0, sites), itertools.islice(_ids_in(0, "old-"), events), at)
            await load.publish(publisher, backlog)
            beside = await _until_done(reader, worker, live, publisher)
            await wait_applied(reader, worker)
            await asyncio.sleep(_SETTLE_S)
            for follower in followers:
                follower.cancel()
            await asyncio.gather(*followers, return_exceptions=True)
    for case, sent in (("alone", alone), (f"beside {events:,} of another partition", beside)):
        ms = [(heard.outcomes[e.where] - e.at_s) * 1000 for e in sent if e.where is not None]
        found.append((f"outcome, {case}", ms))
        ms = [(heard.alerts[e.event_id] - e.at_s) * 1000 for e in sent if e.event_id in heard.alerts]
        found.append((f"alert, {case}", ms))
    return found


def main(*, events: int = EVENTS, broker: str | None = None) -> None:
    """Print the table."""
    with off_the_workers_core(), tempfile.TemporaryDirectory(prefix="planner-backlog-") as name:
        found = asyncio.run(_measure(Path(name), events, broker))
    rows = [
        (what, len(ms), *(f"{np.percentile(ms, at):,.0f}" if ms else "" for at in (50, 90, 99, 100)))
        for what, ms in found
    ]
    show(
        f"Live events ({LIVE_PER_S}/s) while another partition replays, ms{' (Kafka)' if broker else ''}",
        ("", "events", "p50", "p90", "p99", "worst"),
        rows,
        f"{SITES} sites, {PARTITIONS} partitions, one worker on core {worker_core()}.",
    )


if __name__ == "__main__":
    main()
