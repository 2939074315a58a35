"""A real worker on an embedded log, in a process of its own, and the commands beside it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from click.testing import CliRunner, Result

from streams.cli import main

START_S_MAX = 60.0


def environment() -> dict[str, str]:
    """Ours, without settings that a developer may have."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PLANNER_")}


def url(directory: Path) -> str:
    return f"sqlite:///{directory}/planner.db"


def planner(broker: str, *arguments: str, stdin: str | bytes | None = None) -> Result:
    """Run a command in this process, as a user would; what it raises is not hidden."""
    return CliRunner().invoke(main, ["--broker", broker, *arguments], input=stdin, catch_exceptions=False)


def as_process(*arguments: str, stdin: bytes | None = None, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "streams.cli", *arguments],
        input=None if stdin is None else stdin.decode(),
        capture_output=True,
        text=True,
        timeout=timeout_s,
        env=environment(),
        check=False,
    )


class Worker:
    """``with Worker(directory) as worker``: runs until the end of the block."""

    def __init__(self, directory: Path, *arguments: str) -> None:
        self.broker = url(directory)
        self._log = directory / "worker.log"
        self._arguments = arguments
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Worker:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "streams.cli", "--broker", self.broker, "run", *self._arguments],
                stdout=log,
                stderr=log,
                env=environment() | {"PLANNER_DURABILITY": "normal"},
            )
        self.until(lambda: "started" in self._log.read_text(), "the worker has started")
        return self

    def until(self, holds: Callable[[], bool], what: str) -> None:
        """Wait for something to become true; fails when it does not, or the worker ends."""
        give_up_s = time.monotonic() + START_S_MAX
        while not holds():
            if self._process is None or self._process.poll() is not None:
                raise AssertionError(f"the worker ended: {self._log.read_text()[-2000:]}")
            if time.monotonic() > give_up_s:
                raise AssertionError(f"waited in vain until {what}: {self._log.read_text()[-2000:]}")
            time.sleep(0.05)

    def __exit__(self, *_: object) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
                raise
