"""``planner demo`` as a user sees it: it ends by itself, leaves nothing running, and its questions have answers."""

from __future__ import annotations

import re
import shlex
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from streams.embedded.lock import WorkerLock
from streams.log import WorkerPresent
from tests.cli.worker import as_process, environment

PATIENCE_S = 300.0
"""Longest wait for anything."""


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Two weeks, as fast as they go."""
    directory = tmp_path_factory.mktemp("demo") / "season"
    done = as_process("demo", "--seed", "7", "--weeks", "2", "--seconds", "0", "--data", str(directory), timeout_s=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return directory, done.stdout


def test_it_says_its_seed_and_how_far_it_is(played: tuple[Path, str]) -> None:
    _, said = played
    assert said.startswith("seed 7, log in ")
    assert "\x1b" not in said
    assert re.search(r"2026-03-08  [\d,]+ events, [\d,]+ applied", said)


def test_nothing_was_lost_and_alerts_rose_and_resolved(played: tuple[Path, str]) -> None:
    _, said = played
    figures = re.search(r"events sent, and what became of them: ([\d,]+): ([\d,]+) applied(?:, (\d+) refused)?", said)
    assert figures is not None, said
    sent, applied, refused = (int((figure or "0").replace(",", "")) for figure in figures.groups())
    assert sent == applied + refused
    assert re.search(r"alerts raised: .*reorder", said)
    assert re.search(r"alerts resolved: .*reorder", said)


def test_nothing_is_left_running(played: tuple[Path, str]) -> None:
    directory, _ = played
    with WorkerLock(directory / "planner.db"):
        pass  # no worker has it
    database = sqlite3.connect(directory / "planner.db")
    assert database.execute("pragma integrity_check").fetchone() == ("ok",)
    database.close()


def test_each_figure_can_be_asked_why(played: tuple[Path, str]) -> None:
    _, said = played
    commands = dict.fromkeys(re.findall(r"^      (\S.*)$", said, re.MULTILINE))
    assert sum(" why " in command for command in commands) >= 3
    for command in commands:
        arguments = shlex.split(command)[1:]
        answered = as_process(*arguments)
        assert answered.returncode == 0, f"{command}: {answered.stderr}"
        assert answered.stdout, command


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_interrupted_it_takes_its_worker_along(tmp_path: Path, number: int) -> None:
    directory = tmp_path / "season"
    process = subprocess.Popen(
        [sys.executable, "-m", "streams.cli", "demo", "--data", str(directory), "--seconds", "600"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment(),
    )
    log = directory / "worker.log"
    try:
        _wait_until(lambda: log.exists() and "started" in log.read_text() and process.poll() is None)
        process.send_signal(number)
        said, _ = process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()
        process.wait()
    # nobody waits for the worker of a demo that was killed: it ends by itself
    _wait_until(lambda: "stopped" in log.read_text() and not _has_worker(directory))
    if number != signal.SIGKILL:
        assert process.returncode == 130, said
        assert b"Traceback" not in said


def _wait_until(holds: Callable[[], bool]) -> None:
    give_up_s = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < give_up_s
        time.sleep(0.05)


def _has_worker(directory: Path) -> bool:
    try:
        with WorkerLock(directory / "planner.db"):
            return False
    except WorkerPresent:
        return True


def test_a_directory_in_use_is_not_played_over(played: tuple[Path, str]) -> None:
    directory, _ = played
    done = as_process("demo", "--data", str(directory))
    assert done.returncode == 1
    assert "is not empty" in done.stderr
