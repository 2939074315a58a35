"""The file of the embedded log: its tables, how it is opened, and what its errors mean.

A record's row id carries its partition and its offset, so that the records of a partition lie together, in order::

    id = number of the partition << 40 | offset

``codec`` says how a value is kept (``streams.embedded.values``). ``latest`` points from each key of a
compacted topic to its last record; it is the data of the agents' tables, and there is no second copy. ``garbage`` lists
records that may go, by the time from which they may.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Final, Literal

from streams.log import LogBusy, LogDamaged, LogError, LogFull, LogTooNew, LogUnavailable, NotALog

APPLICATION_ID: Final = 0x504C4E52
"""``PLNR`` in the file's header."""
SCHEMA_VERSION: Final = 2
"""1: before values were compressed. ``bring_up_to_date`` makes it 2."""
OFFSET_BITS: Final = 40
OFFSET_MASK: Final = (1 << OFFSET_BITS) - 1

_TABLES: Final = (
    """CREATE TABLE topics (
        name TEXT PRIMARY KEY,
        partitions INTEGER NOT NULL,
        compacted INTEGER NOT NULL,
        retention_ms INTEGER,
        max_message_bytes INTEGER NOT NULL,
        compaction_lag_ms INTEGER NOT NULL,
        tombstone_ms INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE partitions (
        number INTEGER PRIMARY KEY,
        topic TEXT NOT NULL REFERENCES topics,
        partition INTEGER NOT NULL,
        first_offset INTEGER NOT NULL DEFAULT 0,
        next_offset INTEGER NOT NULL DEFAULT 0,
        UNIQUE (topic, partition)
    ) STRICT""",
    """CREATE TABLE records (
        id INTEGER PRIMARY KEY,
        timestamp_ms INTEGER NOT NULL,
        key BLOB,
        value BLOB,
        headers BLOB,
        codec INTEGER NOT NULL DEFAULT 0
    ) STRICT""",
    """CREATE TABLE latest (
        number INTEGER NOT NULL,
        key BLOB NOT NULL,
        id INTEGER NOT NULL,
        PRIMARY KEY (number, key)
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE garbage (
        due_ms INTEGER NOT NULL,
        id INTEGER NOT NULL,
        PRIMARY KEY (due_ms, id)
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE commits (
        consumer_group TEXT NOT NULL,
        topic TEXT NOT NULL,
        partition INTEGER NOT NULL,
        next_offset INTEGER NOT NULL,
        PRIMARY KEY (consumer_group, topic, partition)
    ) STRICT, WITHOUT ROWID""",
)

PAGE_BYTES: Final = 16_384
"""Of a new file. A requirement takes 3 KB and more: of SQLite's own pages of 4 KiB nearly every record takes pages of
its own, and a replay more processor time."""
CHECKPOINT_PAGES: Final = 500
"""Pages of WAL after which a commit moves them into the file: few enough that no commit takes long."""
WAL_BYTES_KEPT: Final = 64 << 20
"""Of a WAL that had to grow, because somebody read an old state for long, so much is kept once it begins anew."""


def connect(
    path: Path, *, create: bool, busy_seconds: float, durability: Literal["full", "normal"], cache_bytes: int
) -> sqlite3.Connection:
    """Open the file, making it first when there is none and ``create``.

    Raises:
        LogUnavailable: there is no file, or it (or its directory) cannot be opened or written.
        NotALog, LogTooNew, LogDamaged: it is not a log that we can use.
    """
    _look_at(path, create=create)
    with Guard(path, busy_seconds):
        connection = sqlite3.connect(path, timeout=busy_seconds, isolation_level=None, check_same_thread=False)
        try:
            _check_identity(connection, path)
            connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")  # says nothing to a file that is there
            connection.execute(f"PRAGMA cache_size = {-(cache_bytes >> 10)}")
            if connection.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
                raise LogUnavailable(f"{path}: its file system cannot share memory between processes (no WAL)")
            connection.execute(f"PRAGMA synchronous = {durability}")
            connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
            connection.execute(f"PRAGMA journal_size_limit = {WAL_BYTES_KEPT}")
            _make_tables(connection, path)
        except BaseException:
            connection.close()
            raise
    return connection


def _look_at(path: Path, *, create: bool) -> None:
    """Errors that SQLite would name less well.

    Without opening the file: closing it again would drop every lock that SQLite has on it anywhere in this process
    (POSIX locks belong to the process), and the next process to close the log would delete the WAL that we still use.
    See sqlite.org/howtocorrupt.html, 2.2.
    """
    try:
        if create:
            path.parent.mkdir(parents=True, exist_ok=True)
        mode = path.stat().st_mode
    except FileNotFoundError:
        if create:
            return
        raise LogUnavailable(f"{path}: there is no log yet; a worker makes it (planner run)") from None
    except OSError as error:
        raise LogUnavailable(f"{path}: cannot be opened: {error.strerror}") from error
    if not stat.S_ISREG(mode):
        raise LogUnavailable(f"{path}: cannot be opened: not a file")
    if not os.access(path, os.R_OK | os.W_OK):
        raise LogUnavailable(f"{path}: cannot be opened: {os.strerror(errno.EACCES)}")


def bring_up_to_date(path: Path, busy_seconds: float = 10.0) -> None:
    """Give a file of an older planner this one's format; without effect where there is none.

    Only by the one worker (``lock.WorkerLock``): an older one must not be at work, it would not know compressed values.

    Raises:
        NotALog, LogTooNew, LogDamaged, LogBusy, LogFull: as ``connect``.
    """
    if not path.exists():
        return
    with Guard(path, busy_seconds), closing(sqlite3.connect(path, timeout=busy_seconds, isolation_level=None)) as file:
        if not _check_identity(file, path, least=1) or _version(file) == SCHEMA_VERSION:
            return
        file.execute("BEGIN IMMEDIATE")
        file.execute("ALTER TABLE records ADD COLUMN codec INTEGER NOT NULL DEFAULT 0")
        file.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        file.execute("COMMIT")


def _check_identity(connection: sqlite3.Connection, path: Path, least: int = SCHEMA_VERSION) -> bool:
    """Whether the file already is a log of ours, of format ``least`` or later; False: it is empty."""
    application_id = connection.execute("PRAGMA application_id").fetchone()[0]
    if application_id == 0 and connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
        return False
    if application_id != APPLICATION_ID:
        raise NotALog(f"{path}: not a planner's log but the database of another program")
    version = _version(connection)
    if version < 1:
        raise LogDamaged(f"{path}: of format {version}, expected 1 to {SCHEMA_VERSION}; no planner ever wrote it")
    if version < least:
        raise LogUnavailable(
            f"{path}: written by an older planner (format {version}, expected {SCHEMA_VERSION}); a worker of this one "
            "brings it up to date when it starts (planner run)"
        )
    if version > SCHEMA_VERSION:
        raise LogTooNew(
            f"{path}: written by a newer planner (format {version}, expected {SCHEMA_VERSION}); use that version"
        )
    return True


def _version(connection: sqlite3.Connection) -> int:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version


def _make_tables(connection: sqlite3.Connection, path: Path) -> None:
    if _check_identity(connection, path):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        if not _check_identity(connection, path):  # another process may have been quicker
            for statement in _TABLES:
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


class Guard:
    """``with guard:`` turns SQLite's errors into those of the log. Has no state: may be nested and shared."""

    __slots__ = ("_busy_seconds", "_path")

    def __init__(self, path: Path, busy_seconds: float) -> None:
        self._path = path
        self._busy_seconds = busy_seconds

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, sqlite3.Error) and (translated := self._translate(error)) is not None:
            raise translated from error

    def _translate(self, error: sqlite3.Error) -> LogError | None:
        path = self._path
        code = getattr(error, "sqlite_errorcode", 0)
        if code == sqlite3.SQLITE_IOERR_SHMSIZE:
            code = sqlite3.SQLITE_FULL  # even who only looks needs a few pages, for the index of the WAL
        match code & 0xFF:
            case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
                return LogBusy(f"{path}: another process has been writing for more than {self._busy_seconds:g} s")
            case sqlite3.SQLITE_FULL:
                return LogFull(f"{path}: no room on the disk; nothing was written")
            case sqlite3.SQLITE_CORRUPT:
                return LogDamaged(f"{path}: damaged ({error}); restore it from a copy")
            case sqlite3.SQLITE_NOTADB:
                return NotALog(f"{path}: not a planner's log, or its beginning is damaged")
            case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM | sqlite3.SQLITE_READONLY | sqlite3.SQLITE_IOERR:
                return LogUnavailable(f"{path}: cannot be read or written ({error})")
            case _:
                return None  # a fault of ours
