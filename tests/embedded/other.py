"""A worker to be killed: ``python -m tests.embedded.other FILE``.

Each transaction takes the next records of ``in``, adds one to the count of each in its changelog, publishes one
record for each, and commits the offset; it prints the offset once that is durable. When it starts again it goes on
from the committed offset.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from pathlib import Path

from planner.step import Message
from streams.embedded.database import Database
from streams.embedded.lock import WorkerLock
from streams.embedded.upkeep import upkeep


def work(database: Database, say: Callable[[int], None]) -> None:
    """Consume all of ``in``, partition 0."""
    while True:
        offset = database.committed("worker").get(("in", 0), 0)
        chunk = database.fetch("in", 0, offset, records_max=random.Random(offset).randrange(1, 20))
        if not chunk:
            return
        entries: dict[bytes, bytes | None] = {}
        for record in chunk:
            key = record.key or b""
            count = entries.get(key) or database.get("changelog", 0, key) or b"0"
            entries[key] = str(int(count) + 1).encode()
        with database.transaction() as transaction:
            transaction.put("changelog", 0, entries)
            transaction.append([Message("out", record.key, record.value, 0) for record in chunk])
            transaction.commit("worker", {("in", 0): chunk[-1].offset + 1})
        upkeep(database, rows_max=10)
        say(chunk[-1].offset + 1)


if __name__ == "__main__":
    path = Path(sys.argv[1])
    with WorkerLock(path):
        opened = Database(path, create=False)
        work(opened, lambda offset: print(offset, flush=True))
        opened.close()
