"""A worker of the demo's own: a real ``planner run`` in a process of its own, ended in any case."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

START_S_MAX = 60.0
STOP_S_MAX = 20.0
LAST_LINES = 6


class WorkerFailed(RuntimeError):  # noqa: N818 - named after what happened
    """The worker ended although nobody had asked it to; the message holds its last words."""


class WorkerProcess:
    """``async with WorkerProcess(…)``: started on entry, stopped (in the end killed) on exit."""

    def __init__(self, broker_url: str, prefix: str, log_file: Path, environment: dict[str, str]) -> None:
        self._arguments = ["--broker", broker_url, "--prefix", prefix, "run", "--clock", "event", "--until-stdin-ends"]
        self._log_file = log_file
        self._environment = environment
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        with self._log_file.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "streams.cli",
                *self._arguments,
                # Never written to. It ends with the demo, even with one that was killed, and the worker with it.
                stdin=asyncio.subprocess.PIPE,
                stdout=log,
                stderr=log,
                env={**os.environ, **self._environment},
                # In a group of its own: Ctrl-C is for the demo, which then ends the worker in good order.
                process_group=0,
            )
        return self

    def check(self) -> None:
        """Raise WorkerFailed if it has ended."""
        if self._process is not None and self._process.returncode is not None:
            last = self._log_file.read_text(encoding="utf-8", errors="replace").splitlines()[-LAST_LINES:]
            raise WorkerFailed(f"the worker ended with status {self._process.returncode}: " + " | ".join(last))

    async def stop(self) -> int:
        """End it in good order; returns its status."""
        process = self._process
        if process is None:
            return 0
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(STOP_S_MAX):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
        return process.returncode or 0

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()
