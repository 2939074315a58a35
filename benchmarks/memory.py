"""Resident memory of a worker by the number of live bookings (50 sites, 4 partitions), grown and after a restart."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from benchmarks import load
from benchmarks.table import met, show
from benchmarks.worker import Worker, wait_applied
from config.settings import Settings
from streams.log import LogClient, open_client

SITES = 50
WARM, LIVE = 20_000, 100_000
TARGET_BYTES = 2_000
PREFIX = "planner."
ENVIRONMENT = {"PLANNER_DURABILITY": "normal"}


async def _measure(directory: Path, warm: int, live: int) -> list[tuple[str, int, int]]:
    """(what, live bookings, resident bytes)."""
    url = f"sqlite:///{directory / 'planner.db'}"
    settings = Settings(broker_url=url, topic_prefix=PREFIX)
    bundle = load.bundle_of_sites(SITES)
    sites = [site.id for site in bundle.sites]
    found = []
    async with open_client(url, PREFIX) as client:
        await load.fill(client, settings, load.catalogue_messages(bundle, settings.partitions))
        with Worker(url, directory, environment=ENVIRONMENT) as worker:
            await asyncio.to_thread(worker.wait_started)
            await wait_applied(client, worker)
            found.append(("empty", 0, worker.rss_bytes()))
            for count, first in ((warm, 0), (live - warm, warm)):
                await load.publish(client, load.book(sites, count, first=first))
                await wait_applied(client, worker)
                found.append(("grown", first + count, worker.rss_bytes()))
        found.append(("after a restart", live, await _restarted(client, url, directory)))
    return found


async def _restarted(client: LogClient, url: str, directory: Path) -> int:
    with Worker(url, directory, environment=ENVIRONMENT) as worker:
        await asyncio.to_thread(worker.wait_started)
        await wait_applied(client, worker)
        return worker.rss_bytes()


def main(*, live: int = LIVE, warm: int = WARM) -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory(prefix="planner-memory-") as name:
        found = asyncio.run(_measure(Path(name), warm, live))
    (_, _, empty), (_, few, warmed), *_ = found
    rows = []
    for what, count, rss in found:
        whole = (rss - empty) / count if count else None
        slope = (rss - warmed) / (count - few) if count > few and what == "grown" else None
        judged = slope if slope is not None else whole if what == "after a restart" else None
        rows.append(
            (
                f"{what}, {count:,}",
                f"{rss / 1e6:,.0f}",
                "" if whole is None else f"{whole:,.0f}",
                "" if slope is None else f"{slope:,.0f}",
                "" if judged is None else met(judged, TARGET_BYTES),
            )
        )
    show(
        f"Memory of a worker with {SITES} sites",
        ("live bookings", "RSS MB", "bytes per booking", f"per booking beyond {few:,}", f"< {TARGET_BYTES:,}"),
        rows,
        "Per booking: all growth since the empty worker, caches of SQLite (32 MB each) and plans of sites included.",
    )


if __name__ == "__main__":
    main()
