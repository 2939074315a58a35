"""One worker at a time on an embedded log."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import socket
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from streams.log import LogFull, LogUnavailable, WorkerPresent


class WorkerLock:
    """The right to be the worker of a log: a lock on a file beside it, which the system frees when the holder dies.

    The file says who holds it, for whoever is refused.
    """

    def __init__(self, database: Path) -> None:
        self._database = database
        self._path = database.with_name(database.name + ".lock")
        self._file: IO[str] | None = None

    def acquire(self) -> None:
        """Take the lock, or fail at once.

        Raises:
            WorkerPresent: another worker has it; the message says which.
            LogUnavailable, LogFull: the file cannot be made.
        """
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            file = self._path.open("a+", encoding="utf-8")
        except OSError as error:
            raise LogUnavailable(f"{self._path}: cannot be opened: {error.strerror}") from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.truncate(0)
            json.dump(
                {
                    "pid": os.getpid(),
                    "host": socket.gethostname(),
                    "since": datetime.now(UTC).isoformat(timespec="seconds"),
                },
                file,
            )
            file.flush()
        except BlockingIOError:
            file.seek(0)
            holder = _described(file.read())
            file.close()
            raise WorkerPresent(f"{self._database}: another worker has this log ({holder})") from None
        except OSError as error:
            with contextlib.suppress(OSError):  # what could not be written cannot be flushed either
                file.close()
            if error.errno == errno.ENOSPC:
                raise LogFull(f"{self._database}: no room on the disk; nothing was written") from error
            raise LogUnavailable(f"{self._path}: cannot be written: {error.strerror}") from error
        self._file = file

    def release(self) -> None:
        """Give the lock back; without effect when it is not held."""
        if self._file is not None:
            # Emptied, not removed: a worker that has it open already must not lock a file that is gone.
            self._file.truncate(0)
            self._file.close()
            self._file = None

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def _described(content: str) -> str:
    try:
        holder = json.loads(content)
        return f"process {holder['pid']} on {holder['host']}, since {holder['since']}"
    except (ValueError, KeyError, TypeError):
        return "which has only just started"
