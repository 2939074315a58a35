"""Removing what a log need not keep: records past their retention, superseded values, old tombstones.

In small steps, each a short transaction of its own, so that no writer is held up.
"""

from __future__ import annotations

from typing import Final

from streams.embedded.database import Database
from streams.embedded.schema import OFFSET_BITS, OFFSET_MASK

STEP_ROWS: Final = 2_000


def upkeep(database: Database, *, rows_max: int = STEP_ROWS) -> int:
    """Remove up to ``rows_max`` records that may go; returns how many went. 0: there is nothing to do for now.

    Raises:
        LogBusy, LogFull: as for any transaction; nothing was removed.
    """
    return _collect_garbage(database, rows_max) or _expire(database, rows_max)


def _collect_garbage(database: Database, rows_max: int) -> int:
    now_ms = database.clock_ms()
    select = "SELECT due_ms, id FROM garbage WHERE due_ms <= ? ORDER BY due_ms, id LIMIT ?"
    execute = database.connection.execute
    with database.guard:
        if not execute(select, (now_ms, 1)).fetchall():
            return 0  # without waiting for a writer
    with database.transaction():
        due = execute(select, (now_ms, rows_max)).fetchall()
        if not due:
            return 0
        ids = [(id_,) for _, id_ in due]
        # A tombstone is the last of its key, unless a value came after it; then the index points elsewhere.
        database.connection.executemany(
            "DELETE FROM latest WHERE (number, key, id) IN"
            f" (SELECT id >> {OFFSET_BITS}, key, id FROM records WHERE id = ? AND value IS NULL)",
            ids,
        )
        database.connection.executemany("DELETE FROM records WHERE id = ?", ids)
        execute("DELETE FROM garbage WHERE (due_ms, id) <= (?, ?)", due[-1])
    return len(due)


def _expire(database: Database, rows_max: int) -> int:
    now_ms = database.clock_ms()
    with database.guard:
        partitions = database.connection.execute(
            "SELECT number, first_offset, retention_ms FROM partitions JOIN topics ON name = topic"
            " WHERE retention_ms IS NOT NULL AND first_offset < next_offset"
        ).fetchall()
        for number, first_offset, retention_ms in partitions:
            low, high = number << OFFSET_BITS | first_offset, number << OFFSET_BITS | OFFSET_MASK
            oldest = database.connection.execute(
                "SELECT id, timestamp_ms FROM records WHERE id BETWEEN ? AND ? ORDER BY id LIMIT ?",
                (low, high, rows_max),
            )
            expired = []
            for id_, timestamp_ms in oldest:
                if timestamp_ms > now_ms - retention_ms:
                    break
                expired.append(id_)
            oldest.close()
            if expired:
                with database.transaction():
                    database.connection.execute("DELETE FROM records WHERE id BETWEEN ? AND ?", (low, expired[-1]))
                    database.connection.execute(
                        "UPDATE partitions SET first_offset = max(first_offset, ?) WHERE number = ?",
                        ((expired[-1] & OFFSET_MASK) + 1, number),
                    )
                return len(expired)
    return 0
