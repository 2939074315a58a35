"""From the start of the process to the first event handled: on a log without a table, and with 80,000 live bookings."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import load
from benchmarks.table import met, show
from benchmarks.worker import Worker, last_written_ms, wait_applied
from config.settings import Settings
from planner.step import Message
from streams.log import open_client

BOOKINGS = 80_000
TARGET_S = 2.0
PREFIX = "planner."
SITES = ("north", "harbor", "lakeside", "city")
STAGES = ("tables restored", "first outcome", "forecast of it")


async def _start(directory: Path, event: Message) -> list[float]:
    """Seconds from the start of the process to each of ``STAGES``, for an event that waits on the log."""
    url = f"sqlite:///{directory / 'planner.db'}"
    async with open_client(url, PREFIX) as client:
        await load.fill(client, Settings(broker_url=url, topic_prefix=PREFIX), [event])
        with Worker(url, directory) as worker:
            restored_s = await asyncio.to_thread(worker.wait_started)
            await wait_applied(client, worker)
            began_s = worker.started_at_s
        outcome_ms = await last_written_ms(client, "outcomes")
        forecast_ms = await last_written_ms(client, "forecasts")
    return [restored_s - began_s, outcome_ms / 1000 - began_s, forecast_ms / 1000 - began_s]


async def _fill(directory: Path, bookings: int) -> None:
    url = f"sqlite:///{directory / 'planner.db'}"
    async with open_client(url, PREFIX) as client:
        await load.fill(client, Settings(broker_url=url, topic_prefix=PREFIX), load.book(list(SITES), bookings))
        environment = {"PLANNER_DURABILITY": "normal", "PLANNER_CHUNK_MAX_RECORDS": "5000"}
        with Worker(url, directory, environment=environment) as worker:
            await asyncio.to_thread(worker.wait_started)
            await wait_applied(client, worker)


def _event(number: int) -> Message:
    at = datetime.combine(load.TODAY, datetime.min.time(), UTC)
    fields = {"site": "north", "protocol": "magnesium", "start": at.replace(day=20, hour=17)}
    return load.booking("booked", f"start-{number}", 1, at, fields)


def main(*, repeats: int = 5, bookings: int = BOOKINGS) -> None:
    """Print the table."""
    empty, full = [], []
    for number in range(repeats):
        with tempfile.TemporaryDirectory(prefix="planner-start-") as name:
            empty.append(asyncio.run(_start(Path(name), _event(number))))
    with tempfile.TemporaryDirectory(prefix="planner-start-") as name:
        asyncio.run(_fill(Path(name), bookings))
        for number in range(repeats):
            full.append(asyncio.run(_start(Path(name), _event(number))))
    rows = []
    for case, runs in (("no table yet", empty), (f"{bookings:,} live bookings", full)):
        for at, stage in enumerate(STAGES):
            values = [run[at] for run in runs]
            middle = statistics.median(values)
            verdict = met(middle, TARGET_S) if stage == "first outcome" else ""
            each = " ".join(f"{value:.2f}" for value in values)
            rows.append((f"{case}: {stage}", f"{middle:.2f}", each, verdict))
    show(
        "Seconds from the start of the process (one booking waits on the log)",
        ("", "median", "each run", f"< {TARGET_S:g} s"),
        rows,
        "With a table, the first forecasts are those of every item of every site: all are told anew after a start.",
    )


if __name__ == "__main__":
    main()
