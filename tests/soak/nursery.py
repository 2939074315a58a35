"""Workers that start in no time, to be killed by the hundred: processes forked from one that has everything imported.

``with Nursery() as nursery: child = nursery.start("worker", environment, log_file)``. A child is a process of its own
that runs a whole role (``worker``: what ``planner run`` runs; ``publisher``: events from a file onto a log). Whatever
happens to the parent, no child outlives it: the nursery ends its children when its standard input does.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

ROOT = Path(__file__).parents[2]
PATIENCE_S = 300.0
"""Longest wait for anything; nothing passes or fails by how long it took."""


class Child:
    """A process that the nursery has started."""

    def __init__(self, pid: int, log: Path) -> None:
        self.pid = pid
        self.log = log
        self.status: int | None = None
        """Exit status, or minus the number of the signal that ended it; None: it runs."""
        self.ended = threading.Event()

    @property
    def running(self) -> bool:
        return self.status is None

    def send(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens if it has ended (its id stays taken until the nursery ends)."""
        if self.running:
            os.kill(self.pid, number)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and wait for the end; returns the status."""
        self.send(number)
        return self.wait()

    def wait(self) -> int:
        """Wait for the end; returns the status."""
        if not self.ended.wait(PATIENCE_S) or self.status is None:
            raise AssertionError(f"process {self.pid} does not end: {self.said()[-3000:]}")
        return self.status

    def said(self) -> str:
        """All that it has written."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""


class Nursery:
    """The process that forks, seen from the one that asks."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._children: dict[int, Child] = {}
        self._born: queue.Queue[int] = queue.Queue()

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.soak.nursery"],
            cwd=ROOT,
            # threads of a mathematics library would not outlive a fork
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._listener = threading.Thread(target=self._listen, args=(self._process.stdout,), daemon=True)
        self._listener.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if (process := self._process) is not None and process.stdin is not None and process.stdout is not None:
            process.stdin.close()
            process.wait(PATIENCE_S)
            self._listener.join(PATIENCE_S)
            process.stdout.close()

    def start(self, role: str, environment: Mapping[str, str], log: Path, **arguments: Any) -> Child:
        """Fork a child. ``environment``: its ``PLANNER_`` settings, in place of ours; ``log``: what it writes."""
        if self._process is None or self._process.stdin is None:
            raise RuntimeError("the nursery is not open")
        order = {"role": role, "environment": dict(environment), "log": str(log), "arguments": arguments}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return self._children[self._born.get(timeout=PATIENCE_S)]

    def _listen(self, output: IO[str]) -> None:
        for line in output:
            told = json.loads(line)
            if "log" in told:
                self._children[told["pid"]] = Child(told["pid"], Path(told["log"]))
                self._born.put(told["pid"])
            else:
                child = self._children[told["pid"]]
                child.status = told["status"]
                child.ended.set()


# --- the process that forks -----------------------------------------------------------------------------------


def _serve() -> None:
    from tests.soak import roles  # noqa: PLC0415 - imports everything, once, in the process that forks

    out = os.dup(1)
    os.dup2(2, 1)
    pids: list[int] = []
    lock = threading.Lock()

    def tell(**what: Any) -> None:
        with lock:
            os.write(out, json.dumps(what).encode() + b"\n")

    def watch(pid: int) -> None:
        # not reaped: so that nobody ever signals another process that was given the same id
        ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        if ended is None:
            raise ChildProcessError(f"process {pid} cannot be waited for")
        tell(pid=pid, status=ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status)

    try:
        for line in sys.stdin:
            order = json.loads(line)
            with lock:
                pid = os.fork()
            if pid == 0:
                os.close(out)
                _be(roles.ROLES[order["role"]], order)
            pids.append(pid)
            tell(pid=pid, log=order["log"])
            threading.Thread(target=watch, args=(pid,), daemon=True).start()
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)


def _be(role: Any, order: dict[str, Any]) -> None:
    """Run as the child, to its end."""
    code = 70
    try:
        file = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((nothing, 0), (file, 1), (file, 2)):
            os.dup2(source, target)
        for name in [name for name in os.environ if name.startswith("PLANNER_")]:
            del os.environ[name]
        os.environ.update(order["environment"])
        code = role(**order["arguments"])
    except BaseException:  # noqa: BLE001 - the child's last word
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve()
