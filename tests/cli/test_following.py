"""Commands that go on until they are interrupted: what they print as things change, and how they end."""

from __future__ import annotations

import json
import os
import pty
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.worker import Worker, environment, planner

ITEM = "saline-flush-10ml"
WAIT_S_MAX = 60.0


def received(number: int, quantity: int) -> str:
    return json.dumps(
        {
            "type": "stock.received", "event_id": f"flush-{number}", "occurred_at": f"2026-03-02T08:0{number}:00-07:00",
            "site": "north", "item": ITEM, "lot": f"F{number}", "expiry": "2027-03-01", "quantity": quantity,
        }
    )  # fmt: skip


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    with Worker(tmp_path, "--clock", "event") as running:
        assert planner(running.broker, "publish", "-", stdin=received(1, 1)).exit_code == 0
        running.until(
            lambda: ITEM in planner(running.broker, "alerts", "--json").stdout, "there is an alert about saline flushes"
        )
        yield running


class Following:
    """A command in a process of its own, whose lines can be waited for."""

    def __init__(self, broker: str, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "streams.cli", "--broker", broker, *arguments],
            stdout=subprocess.PIPE,
            text=True,
            env=environment(),
        )
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)

    def line_with(self, *words: str) -> str:
        """The next line that holds all of these words."""
        while True:
            line = self._lines.get(timeout=WAIT_S_MAX)
            if all(word in line for word in words):
                return line

    def __enter__(self) -> Following:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()

    def interrupt(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(WAIT_S_MAX)


def test_alerts_are_followed_and_resolve_by_an_event(worker: Worker) -> None:
    with Following(worker.broker, "alerts", "--item", ITEM, "--follow", "--json") as following:
        first = json.loads(following.line_with('"kind":"reorder"'))
        assert first["state"] == "open"
        assert planner(worker.broker, "publish", "-", stdin=received(2, 5_000)).exit_code == 0
        resolved = json.loads(following.line_with('"kind":"reorder"', '"state":"resolved"'))
        assert resolved["alert_id"] == first["alert_id"]
        assert resolved["resolved_by_event_id"] == "flush-2"
        assert following.interrupt() == 0


def test_alerts_followed_in_words(worker: Worker) -> None:
    with Following(worker.broker, "alerts", "--item", ITEM, "--follow") as following:
        following.line_with("north/saline-flush-10ml/reorder/1")
        assert planner(worker.broker, "publish", "-", stdin=received(2, 5_000)).exit_code == 0
        assert "(by flush-2)" in following.line_with("resolved", "reorder/1")
        assert following.interrupt() == 0


def test_forecasts_are_watched_on_a_pipe(worker: Worker) -> None:
    with Following(worker.broker, "forecasts", "--site", "north", "--item", ITEM, "--watch") as following:
        following.line_with("north  item  saline-flush-10ml", "on hand 1 ")
        assert planner(worker.broker, "publish", "-", stdin=received(2, 5_000)).exit_code == 0
        following.line_with("on hand 5,001")
        assert following.interrupt() == 0


def test_forecasts_are_watched_on_a_terminal(worker: Worker) -> None:
    terminal, side = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "streams.cli", "--broker", worker.broker, "forecasts", "--site", "north", "--item", ITEM,
         "--watch"],
        stdout=side, stderr=side, env=environment() | {"COLUMNS": "160", "LINES": "50", "TERM": "xterm"},
    )  # fmt: skip
    os.close(side)
    seen = ""
    published = False
    try:
        while "5,001" not in seen:
            seen += os.read(terminal, 65_536).decode("utf-8", "replace")
            if not published and "on hand 1" in seen:
                published = True
                assert planner(worker.broker, "publish", "-", stdin=received(2, 5_000)).exit_code == 0
        process.send_signal(signal.SIGINT)
        assert process.wait(WAIT_S_MAX) == 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        os.close(terminal)
    assert "\x1b[" in seen, "redrawn in place"
