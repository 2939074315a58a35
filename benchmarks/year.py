"""A chain's days, replayed: what a steady day of so many sites costs a worker, and so a year of 1,000 of them.

Every site has ``SESSIONS`` sessions a day: booked three weeks ahead on average, one in eight cancelled, one in
twenty-five moved, the rest completed. The same chain is replayed for ``DAYS[0]`` and for ``DAYS[1]`` days; what both
have, the start and the book that is there on the first day, is in neither's difference.
"""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from benchmarks import load
from benchmarks.table import show
from benchmarks.worker import Worker, last_written_ms, off_the_workers_core, wait_applied, worker_core
from config.settings import Settings
from planner.step import Message
from planner.topics import TOPICS
from streams.log import open_client

SITES = 100
SESSIONS = 40
DAYS = (4, 12)
YEAR_SITES = 1_000
YEAR_DAYS = 365
MEAN_LEAD_DAYS = 21.0
LEAD_DAYS_MOST = 60
SEED = 5
PREFIX = "planner."
_CANCELLED, _MOVED = 0.125, 0.04


def chain_days(sites: int, days: int, *, sessions: int = SESSIONS, seed: int = SEED) -> list[Message]:
    """Booking events of ``days`` days from ``load.TODAY`` on, in the order in which they happen. Bookings made before
    are told at its first minute."""
    told: list[tuple[datetime, int, Message]] = []
    opened = datetime.combine(load.TODAY, datetime.min.time(), UTC)
    ends = opened + timedelta(days=days)
    for site in range(sites):
        # each site's own numbers: the same whatever the number of days and sites
        rng = random.Random(seed * 1_000_003 + site)
        for session_day in range(days + LEAD_DAYS_MOST):
            for number in range(sessions):
                told += _story(rng, f"s{site:03}", f"b{site:03}-{session_day:03}-{number:03}", opened, session_day)
    told = [one for one in told if one[0] < ends]
    told.sort(key=lambda one: one[:2])
    return [message for *_, message in told]


def _story(
    rng: random.Random, site: str, booking_id: str, opened: datetime, session_day: int
) -> Iterator[tuple[datetime, int, Message]]:
    """One booking from the first to the last that is told of it."""
    (protocol,) = rng.choices(list(load.MIX), list(load.MIX.values()))
    lead = min(rng.expovariate(1 / MEAN_LEAD_DAYS), LEAD_DAYS_MOST)
    start = opened + timedelta(days=session_day, hours=15 + rng.randrange(9), minutes=rng.choice((0, 30)))
    booked_at = max(start - timedelta(days=lead), opened + timedelta(minutes=1))
    fields: dict[str, object] = {"site": site, "protocol": protocol, "start": start}
    if protocol in load.BY_WEIGHT:
        fields["parameters"] = {"weight_kg": rng.randrange(45, 111)}
    fate, when = rng.random(), booked_at + (start - booked_at) * rng.random()
    if booked_at >= start:
        return
    yield booked_at, 1, load.booking("booked", booking_id, 1, booked_at, fields)
    if fate < _CANCELLED:
        yield when, 2, load.booking("cancelled", booking_id, 2, when, {})
        return
    version = 2
    if fate < _CANCELLED + _MOVED:
        later = start + timedelta(days=1)
        yield when, 2, load.booking("rescheduled", booking_id, 2, when, {"start": later})
        start, version = later, 3
    done = start + timedelta(hours=1)
    yield done, version, load.booking("completed", booking_id, version, done, {})


class Replay(NamedTuple):
    """One replay of the chain from its first day."""

    days: int
    events: int
    wall_s: float
    cpu_s: float
    log_bytes: int
    rss_bytes: int


async def replay(events: list[Message], sites: int, days: int, directory: Path) -> Replay:
    """Fill an embedded log, and run a worker over it until all is applied and published."""
    database = directory / "planner.db"
    url = f"sqlite:///{database}"
    settings = Settings(broker_url=url, topic_prefix=PREFIX)
    catalogue = load.catalogue_messages(load.bundle_of_sites(sites), settings.partitions)
    async with open_client(url, PREFIX) as client:
        count, _ = await load.fill(client, settings, catalogue, events)
        before = database.stat().st_size
        with Worker(url, directory, core=worker_core(), environment={"PLANNER_TOPIC_PREFIX": PREFIX}) as worker:
            began_s = await asyncio.to_thread(worker.wait_started)
            start_cpu_s = worker.cpu_s()
            await wait_applied(client, worker)
            cpu_s, rss = worker.cpu_s() - start_cpu_s, worker.rss_bytes()
            ended_ms = max([await last_written_ms(client, topic) for topic in TOPICS])
            worker.stop()
        found = await client.end_offsets("outcomes")
    if sum(found.values()) < count:
        raise RuntimeError(f"{sum(found.values()):,} outcomes of {count:,} events")
    return Replay(days, count, ended_ms / 1000 - began_s, cpu_s, database.stat().st_size - before, rss)


def main(*, sites: int = SITES, days: tuple[int, int] = DAYS) -> None:
    """Print the table."""
    runs = []
    with off_the_workers_core():
        for number in days:
            events = chain_days(sites, number)
            with tempfile.TemporaryDirectory(prefix="planner-year-") as directory:
                runs.append(asyncio.run(replay(events, sites, number, Path(directory))))
            print(f"{number} days: {runs[-1].events:,} events, {runs[-1].wall_s:,.1f} s", file=sys.stderr, flush=True)
    first, last = runs
    more = last.days - first.days
    site_days = sites * more
    events = last.events - first.events
    year = YEAR_SITES * YEAR_DAYS / site_days
    rows = [
        (f"{run.days} days from an empty plan", f"{run.events:,}", f"{run.wall_s:,.1f}", f"{run.cpu_s:,.1f}",
         f"{run.log_bytes / 1e6:,.0f}", f"{run.rss_bytes / 1e6:,.0f}")
        for run in runs
    ]  # fmt: skip
    differences = last.wall_s - first.wall_s, last.cpu_s - first.cpu_s, (last.log_bytes - first.log_bytes) / 1e6
    rows.append((f"the {more} days between", f"{events:,}", *(f"{value:,.1f}" for value in differences), ""))
    wall_s, cpu_s, log_mb = (value * year for value in differences)
    rows.append(
        (f"a year of {YEAR_SITES:,} sites, extrapolated", f"{events * year:,.0f}", f"{wall_s:,.0f}", f"{cpu_s:,.0f}",
         f"{log_mb:,.0f}", "")
    )  # fmt: skip
    show(
        f"A chain of {sites} sites with {SESSIONS} sessions a day each, one worker pinned to core {worker_core()}",
        ("what", "events", "s", "CPU s", "log +MB", "RSS MB"),
        rows,
        f"A steady day: {events / differences[0]:,.0f} events/s; a site-day of {events / site_days:.0f} events takes "
        f"{differences[1] / site_days * 1e3:.1f} ms of processor. Bookings: {year * site_days * SESSIONS:,.0f}.",
    )


if __name__ == "__main__":
    main()
