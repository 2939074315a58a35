"""A real worker, ``planner run`` in a process of its own on either log, and the commands beside it.

Nothing here reaches into the worker: it is started, asked over HTTP, spoken to through the log, and ended by a
signal to its own process. Whatever happens in a test, ``close`` leaves no process behind.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orjson

from streams.inspect import applied_offsets
from streams.log import LogClient, open_client
from streams.names import INPUTS

PATIENCE_S = 120.0
"""Longest wait for anything; no test passes or fails by how long it took."""
PAUSE_S = 0.02
PORTS = range(10_000, 20_000)
"""Below those that the system gives to outgoing connections, and apart from the brokers'."""
ROOT = Path(__file__).parents[1]


def environment(**settings: str) -> dict[str, str]:
    """Ours, without settings that a developer may have."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PLANNER_")} | settings


def wait_until(holds: Callable[[], Any], what: Callable[[], str]) -> Any:
    """What ``holds`` gives as soon as it is true; fails with ``what`` after PATIENCE_S."""
    give_up_s = time.monotonic() + PATIENCE_S
    while not (found := holds()):
        if time.monotonic() > give_up_s:
            raise AssertionError(what())
        time.sleep(PAUSE_S)
    return found


class Worker:
    """``planner run`` on a log; ``with Worker(…)`` starts it, waits until it is ready, and stops it at the end."""

    def __init__(self, broker: str, prefix: str, directory: Path, *arguments: str, **settings: str) -> None:
        self.broker = broker
        self.prefix = prefix
        self.directory = directory
        self.log = directory / "worker.log"
        self.process: subprocess.Popen[bytes] | None = None
        self._arguments = arguments
        self._settings = settings
        self._port = 0
        directory.mkdir(parents=True, exist_ok=True)

    # --- life ---------------------------------------------------------------------------------------------

    def start(self, *, ready: bool = True) -> Self:
        """Start it, and wait until /readyz says so."""
        self._port = _free_port()
        given = {
            "PLANNER_HTTP_PORT": str(self._port),
            "PLANNER_DATA_DIR": str(self.directory / "tables"),
            # a worker that was killed gives its partitions back after so long
            "PLANNER_SESSION_TIMEOUT_S": "6",
            # killed processes lose nothing by it; it is power cuts that it does not outlast
            "PLANNER_DURABILITY": "normal",
        } | self._settings
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "streams.cli", "--broker", self.broker, "--prefix", self.prefix, "run",
                 *self._arguments],
                cwd=ROOT, env=environment(**given), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            )  # fmt: skip
        if ready:
            self.until(self.ready, "it is ready")
        return self

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and wait for the end; returns the exit status."""
        if self.process is None:
            raise RuntimeError("the worker was not started")
        if self.process.poll() is None:
            self.process.send_signal(number)
        status = self.process.wait(PATIENCE_S)
        self.process = None
        return status

    def close(self) -> None:
        """Leave nothing behind."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(PATIENCE_S)
            self.process = None

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                status = self.end()
                assert status == 0, f"a clean stop ended with {status}: {self.said()[-3000:]}"
        finally:
            self.close()

    # --- asking it ----------------------------------------------------------------------------------------

    def said(self) -> str:
        """All that it has written."""
        return self.log.read_text(errors="replace")

    def ready(self) -> bool:
        """Whether /readyz says that every partition is restored."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/readyz", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False

    def until(self, holds: Callable[[], Any], what: str) -> Any:
        """Wait for something to become true; a worker that ends meanwhile is a failure."""

        def checked() -> Any:
            found = holds()
            if not found and not self.running:
                raise AssertionError(f"the worker ended before {what}: {self.said()[-3000:]}")
            return found

        return wait_until(checked, lambda: f"waited in vain until {what}: {self.said()[-3000:]}")

    # --- commands beside it -------------------------------------------------------------------------------

    def planner(self, *arguments: str, stdin: bytes | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command on the worker's log, in a process of its own, as a person would."""
        return planner(self.broker, self.prefix, *arguments, stdin=stdin)

    def asked(self, *arguments: str, stdin: bytes | None = None, status: int = 0) -> list[dict[str, Any]]:
        """What a command with --json says, line by line; its exit status must be ``status``."""
        done = self.planner(*arguments, "--json", stdin=stdin)
        assert done.returncode == status, (
            f"planner {arguments} ended with {done.returncode}: {done.stdout}{done.stderr}"
        )
        return [orjson.loads(line) for line in done.stdout.splitlines()]

    def client(self) -> Any:
        """A client of its log, to be used as ``async with worker.client() as client``."""
        return open_client(self.broker, self.prefix)

    async def settled(self, client: LogClient) -> None:
        """Wait until everything on the log, and all that came of it, is applied."""
        give_up_s = time.monotonic() + PATIENCE_S
        while waiting := await _waiting(client):
            if not self.running:
                raise AssertionError(f"the worker ended with {waiting} to apply: {self.said()[-3000:]}")
            if time.monotonic() > give_up_s:
                raise AssertionError(f"still to apply: {waiting}: {self.said()[-3000:]}")
            await asyncio.sleep(PAUSE_S)


def planner(broker: str, prefix: str, *arguments: str, stdin: bytes | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "streams.cli", "--broker", broker, "--prefix", prefix, *arguments],
        cwd=ROOT, input=None if stdin is None else stdin.decode("utf-8", "surrogateescape"), errors="surrogateescape",
        encoding="utf-8", capture_output=True, timeout=PATIENCE_S * 5, env=environment(), check=False,
    )  # fmt: skip


async def _waiting(client: LogClient) -> dict[str, int]:
    """agent/topic → records that are on the log and not yet applied."""
    # positions are read before the ends: what is applied meanwhile only shows as still waiting
    applied = await applied_offsets(client)
    waiting = {}
    for agent, topics in INPUTS.items():
        for topic in topics:
            done = applied.get(agent, {}).get(topic, {})
            left = sum(end - done.get(partition, 0) for partition, end in (await client.end_offsets(topic)).items())
            if left:
                waiting[f"{agent}/{topic}"] = left
    return waiting


def _free_port() -> int:
    chooser = random.Random(os.urandom(8))
    while True:
        port = chooser.choice(PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
