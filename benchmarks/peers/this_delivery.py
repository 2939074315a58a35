"""The small job on this planner's delivery: the chunks, tables and engines of ``planner run``, with other steps."""

from __future__ import annotations

import asyncio
import gc
import signal

import uvloop

from benchmarks.peers.job import PARTITIONS, task
from config.settings import Settings
from streams.delivery.assembly import assemble
from streams.logs import configure_logs
from streams.worker import GARBAGE_THRESHOLDS

CHUNK_MAX_RECORDS = 2_000
"""As the hand-written loop takes: these steps cost a tenth of the planner's own."""


async def main() -> None:
    """Until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    told = task()
    configure_logs("json", "info")
    settings = Settings(
        broker_url=f"kafka://{told.broker}", topic_prefix=told.prefix, data_dir=told.directory, partitions=PARTITIONS,
        chunk_max_records=CHUNK_MAX_RECORDS,
    )  # fmt: skip
    app = assemble(settings, told.steps())
    await app.start()
    crashed = asyncio.ensure_future(app.wait_until_stopped())
    stopping = asyncio.ensure_future(stop.wait())
    await asyncio.wait({stopping, crashed}, return_when=asyncio.FIRST_COMPLETED)
    async with asyncio.timeout(20):
        await app.stop()


if __name__ == "__main__":
    gc.set_threshold(*GARBAGE_THRESHOLDS)
    uvloop.run(main())
