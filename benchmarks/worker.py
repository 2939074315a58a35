"""A worker in a process of its own, measured from outside: processor time, memory, files, its metrics."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import orjson

from streams.inspect import applied_offsets
from streams.log import LogClient, LogError, UnknownTopic
from streams.names import EXPAND, INPUTS, PLAN

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
START_S_MAX = 120.0
STOP_S_MAX = 60.0
STALL_S_MAX = 120.0
POLL_S = 0.2


class WorkerEnded(RuntimeError):  # noqa: N818 - named after what happened
    """The worker ended or stood still; the message holds its last words."""


def worker_core() -> int:
    """The core that a pinned worker has for itself: the last of those we may use."""
    return max(os.sched_getaffinity(0))


@contextmanager
def off_the_workers_core() -> Iterator[None]:
    """Keep this process off the worker's core, where there is another."""
    before = os.sched_getaffinity(0)
    others = before - {worker_core()}
    if others:
        os.sched_setaffinity(0, others)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Worker:
    """``with Worker(…)``: a ``planner run``; ended in any case.

    Args:
        directory: for its log lines and data.
        core: the core it is pinned to; None: wherever the system puts it.
        profile: a file for what cProfile saw of its main thread.
        environment: ``PLANNER_…`` settings.
    """

    def __init__(
        self, broker_url: str, directory: Path, *, core: int | None = None, profile: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        self._log_file = directory / "worker.log"
        self._core = core
        self.http_port = _free_port()
        profiled = [] if profile is None else ["-m", "cProfile", "-o", str(profile)]
        self._command = [sys.executable, *profiled, "-m", "streams.cli", "run"]
        self._environment = {
            "PLANNER_BROKER_URL": broker_url,
            "PLANNER_CLOCK": "event",
            "PLANNER_LOG_FORMAT": "json",
            "PLANNER_HTTP_PORT": str(self.http_port),
            "PLANNER_DATA_DIR": str(directory / "tables"),
            "PLANNER_SHUTDOWN_TIMEOUT_S": "60",
            **(environment or {}),
        }
        self._process: subprocess.Popen[bytes] | None = None
        self.started_at_s = 0.0
        """When the process was started, in seconds since 1970."""

    def __enter__(self) -> Self:
        with self._log_file.open("wb") as log:
            self.started_at_s = time.time()
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **self._environment},
                process_group=0,
            )
        # threads that it starts later inherit this
        os.sched_setaffinity(self.pid, os.sched_getaffinity(0) if self._core is None else {self._core})
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """Process id. Raises WorkerEnded before the start."""
        if self._process is None:
            raise WorkerEnded("the worker was not started")
        return self._process.pid

    def check(self) -> None:
        """Raise WorkerEnded if it has ended."""
        if self._process is None or self._process.poll() is not None:
            last = self._log_file.read_text(encoding="utf-8", errors="replace")[-2000:]
            raise WorkerEnded(f"the worker ended: {last}")

    def stop(self) -> None:
        """End it in good order."""
        process = self._process
        if process is None or process.poll() is not None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    # --- what it says -----------------------------------------------------------------------------------------

    def said_at_s(self, event: str) -> float | None:
        """When it last wrote the log line ``event``, in seconds since 1970; None: not yet."""
        found = None
        for line in self._log_file.read_bytes().splitlines():
            if line.startswith(b"{") and line.endswith(b"}"):
                said = orjson.loads(line)
                if said.get("event") == event:
                    found = datetime.fromisoformat(said["timestamp"]).timestamp()
        return found

    def wait_started(self) -> float:
        """Wait until events are applied; returns when it had restored its tables, in seconds since 1970."""
        until = time.monotonic() + START_S_MAX
        while self.said_at_s("started") is None:
            self.check()
            if time.monotonic() > until:
                raise WorkerEnded(f"not started within {START_S_MAX:g} s")
            time.sleep(0.05)
        restored = self.said_at_s("restored")
        if restored is None:
            raise WorkerEnded("it did not say that its tables were restored")
        return restored

    def metric(self, name: str) -> dict[tuple[tuple[str, str], ...], float]:
        """A metric by its labels."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}/metrics", timeout=30) as answer:
            text = answer.read().decode()
        found = {}
        for line in text.splitlines():
            if line.startswith((f"{name}{{", f"{name} ")):
                labels, _, value = line.removeprefix(name).rpartition(" ")
                pairs = [pair.partition("=") for pair in labels.strip("{} ").split(",") if pair]
                found[tuple((key, text.strip('"')) for key, _, text in pairs)] = float(value)
        return found

    # --- what the system says of it ---------------------------------------------------------------------------

    def cpu_s(self) -> float:
        """Processor seconds used so far, all threads."""
        fields = Path(f"/proc/{self.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_S

    def cpu_s_by_thread(self) -> dict[str, float]:
        """Processor seconds used so far by name of thread; the writer's is the one that is not the main one."""
        found: dict[str, float] = {}
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            fields = (task / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            name = "main" if int(task.name) == self.pid else "others"
            found[name] = found.get(name, 0.0) + (int(fields[11]) + int(fields[12])) / TICKS_PER_S
        return found

    def rss_bytes(self) -> int:
        """Resident memory."""
        for line in Path(f"/proc/{self.pid}/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise WorkerEnded(f"process {self.pid} has no VmRSS")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def behind(client: LogClient) -> int:
    """Records of all inputs that are not applied yet."""
    try:
        applied = await applied_offsets(client)
    except UnknownTopic:
        applied = {}
    count = 0
    for agent in (EXPAND, PLAN):
        for topic in INPUTS[agent]:
            done = applied.get(agent, {}).get(topic, {})
            for partition, end in (await client.end_offsets(topic)).items():
                count += max(0, end - done.get(partition, 0))
    return count


async def wait_applied(client: LogClient, worker: Worker) -> None:
    """Until every input of both agents is applied and the last forecasts are out.

    Raises:
        WorkerEnded: it ended, or applied nothing for ``STALL_S_MAX``.
    """
    least, since, forecasts = -1, time.monotonic(), -1
    while True:
        worker.check()
        try:
            waiting = await behind(client)
        except LogError:
            waiting = -1
        now = time.monotonic()
        if waiting != least:
            least, since = waiting, now
        elif now - since > STALL_S_MAX:
            raise WorkerEnded(f"{waiting} records were not applied for {STALL_S_MAX:g} s")
        published = sum((await client.end_offsets("forecasts")).values())
        if waiting == 0 and published == forecasts:
            return
        forecasts = published
        # longer than the interval of forecasts, so that an unchanged count means that none is due
        await asyncio.sleep(POLL_S)


async def last_written_ms(client: LogClient, topic: str) -> int:
    """When the last record of a topic was written, in ms since 1970."""
    newest = 0
    for partition, end in (await client.end_offsets(topic)).items():
        if end:
            # on Kafka the last offsets are markers of transactions
            async for record in client.read(topic, {partition: max(0, end - 100)}, partitions=[partition]):
                newest = max(newest, record.timestamp_ms)
    return newest
