"""A worker goes wrong before and after each point of a chunk's path: ``python -m tests.soak.crash_matrix``.

A worker in a process of its own folds a small history and goes wrong at the n-th passage of a point (n from the seed):
it kills itself with SIGKILL, meets a bug, or meets a fault of the log. Then another one runs to the end, and the log is
judged (``tests.soak.judge``): every input ended once, the tables equal a fold in other chunks, no output is missing.
The table says of each cell how the worker ended. Outputs are repeated on neither log: they are one transaction with the
tables, which on Kafka is what a reader of committed records sees.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import random
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks import load
from planner.catalogue.model import Bundle
from planner.step import Message
from streams.log import LogClient
from tests.kafka_broker import KafkaCluster
from tests.soak import history
from tests.soak.bench import LOOK_S, Bench
from tests.soak.crashing import POINTS, REACHED, Crash, How, When
from tests.soak.judge import Verdict
from tests.soak.nursery import PATIENCE_S, Child, Nursery

HOWS: Final[tuple[How, ...]] = ("kill", "bug", "fault")
WHENS: Final[tuple[When, ...]] = ("before", "after")
EVENTS: Final = 400
DAYS: Final = 6
PARTITIONS: Final = 2
SETTINGS: Final = {
    "clock": "wall", "partitions": PARTITIONS, "chunk_max_records": 10, "retry_limit_s": 20, "session_timeout_s": 3,
    "request_timeout_s": 20, "durability": "normal",
}  # fmt: skip
KILLED, CRASHED, LOG_FAILED, WENT_ON = -9, 1, 7, None


@dataclass(frozen=True)
class Cell:
    """A log and a crash on it; the number of the passage comes later."""

    log: str
    how: How
    when: When
    point: str

    @property
    def meaningless(self) -> str | None:
        """Why there is no such crash, if there is none."""
        if self.how == "fault" and self.point in {"decode", "step"}:
            return "pure: no infrastructure in it"
        if self.how == "fault" and self.point == "ack":
            return "in memory: no infrastructure in it"
        return None

    @property
    def ends(self) -> int | None:
        """How the worker ends (None: it tries again and goes on)."""
        if self.how == "kill":
            return KILLED
        if self.how == "bug":
            return CRASHED
        if self.log == "embedded" and (self.point, self.when) == ("commit", "after"):
            return LOG_FAILED
        return WENT_ON


@dataclass
class Result:
    """What became of a cell."""

    cell: Cell
    number: int
    status: int | None
    verdict: Verdict


def cells(logs: Iterable[str]) -> list[Cell]:
    """All cells, row by row."""
    return [Cell(*cell) for cell in itertools.product(logs, HOWS, WHENS, POINTS)]


class Matrix:
    """Runs cells on one kind of log."""

    def __init__(
        self, nursery: Nursery, directory: Path, seed: int, kafka: KafkaCluster | None = None, *,
        bundle: Bundle | None = None, prefix: str = "matrix.", events: int = EVENTS, days: int = DAYS,
    ) -> None:  # fmt: skip
        self._nursery = nursery
        self._directory = directory
        self._seed = seed
        self._kafka = kafka
        self._prefix = prefix
        self._runs = 0
        self._passages: dict[str, int] = {}
        self.bundle = load.default_bundle() if bundle is None else bundle
        self._messages: list[Message] = history.invented(seed, events, self.bundle, PARTITIONS, days=days)

    async def undisturbed(self) -> Verdict:
        """A run without a crash, which counts how often each point is passed."""
        counts = self._directory / "passages.json"
        async with self._log("undisturbed") as bench, bench.client() as client:
            worker = bench.worker(counts=str(counts))
            if not await bench.settle(client, worker) or await asyncio.to_thread(worker.end) != 0:
                raise AssertionError(worker.said()[-3000:])
            self._passages = json.loads(counts.read_text())
            return await bench.judged(client, self.bundle, seed=self._seed)

    async def run(self, cell: Cell) -> Result:
        """One crash on a log of its own, at any passage; go on to the end; judge.

        Raises:
            AssertionError: something was lost, doubled or different, or the worker did not end as it should.
        """
        passages = self._passages[f"{cell.when} {cell.point}"]
        # not among the last: a run cuts the log into other chunks, and may pass a little less often
        number = random.Random(f"{self._seed}/{cell}").randrange(1, max(2, passages * 3 // 4))
        name = f"{cell.how}-{cell.when}-{cell.point.replace(' ', '-')}"
        async with self._log(name) as bench, bench.client() as client:
            status = await _crashed(bench, client, cell, number)
            await bench.course.follow(client)
            await bench.finish(client)
            verdict = await self._judged(bench, client)
        return Result(cell, number, status, verdict)

    async def run_all(self, cells: Sequence[Cell], passages_max: int = 3) -> Verdict:
        """The short form: one crash after another on the same log, each soon; then to the end, and one judgement.

        Raises:
            AssertionError: as ``run``.
        """
        async with self._log("all") as bench, bench.client() as client:
            for number, cell in enumerate(cells):
                chance = random.Random(f"{self._seed}/{number}/{cell}")
                await _crashed(bench, client, cell, chance.randrange(1, passages_max + 1))
                await bench.course.follow(client)
            await bench.finish(client)
            return await self._judged(bench, client)

    async def _judged(self, bench: Bench, client: LogClient) -> Verdict:
        return await bench.judged(client, self.bundle, seed=self._seed)

    @contextlib.asynccontextmanager
    async def _log(self, name: str) -> AsyncIterator[Bench]:
        """A fresh log with the history on it."""
        self._runs += 1
        directory = self._directory / f"{self._runs}-{name}"
        if self._kafka is not None:
            prefix = f"{self._prefix}{self._runs}."
            bench = Bench(self._nursery, self._kafka.url, prefix, directory, **SETTINGS)
            await bench.fill(self.bundle, self._messages)
        else:
            filled = self._directory / "filled.db"
            if not filled.exists():
                await Bench(self._nursery, f"sqlite:///{filled}", "m.", directory, **SETTINGS).fill(
                    self.bundle, self._messages
                )
            bench = Bench(self._nursery, f"sqlite:///{directory}/planner.db", "m.", directory, **SETTINGS)
            shutil.copy(filled, directory / "planner.db")
        yield bench
        shutil.rmtree(directory)


async def _crashed(bench: Bench, client: LogClient, cell: Cell, number: int) -> int | None:
    """A worker that goes wrong at the passage, until it has ended; returns its status (None: it went on)."""
    crash = Crash(cell.point, cell.when, cell.how, number)
    worker = bench.worker(crash=crash.as_json())
    give_up_s = time.monotonic() + PATIENCE_S
    while worker.running and REACHED not in worker.said():
        # a worker that has applied everything will not come by any more
        if time.monotonic() > give_up_s or (not await bench.waiting(client) and REACHED not in worker.said()):
            raise AssertionError(f"{cell}: passage {number} never came: {worker.said()[-3000:]}")
        await asyncio.sleep(LOOK_S)
    if cell.ends != WENT_ON:
        ended = await asyncio.to_thread(worker.wait)
    else:
        await _goes_on(bench, client, worker, cell)
        ended = None
    said = worker.said()
    if REACHED not in said:
        raise AssertionError(f"{cell}: ended with {ended} before passage {number}: {said[-3000:]}")
    if ended != cell.ends:
        raise AssertionError(f"{cell}: ended with {ended}, expected {cell.ends}: {said[-3000:]}")
    return ended


async def _goes_on(bench: Bench, client: LogClient, worker: Child, cell: Cell) -> None:
    """After the fault the same worker applies more, and stops in good order."""
    before = await bench.waiting(client)
    give_up_s = time.monotonic() + PATIENCE_S
    while worker.running and (now := await bench.waiting(client)) == before and now:
        if time.monotonic() > give_up_s:
            raise AssertionError(f"{cell}: nothing was applied after the fault: {worker.said()[-3000:]}")
        await asyncio.sleep(LOOK_S)
    status = await asyncio.to_thread(worker.end)
    if status != 0:
        raise AssertionError(f"{cell}: after the fault it ended with {status}: {worker.said()[-3000:]}")


# --- the command ----------------------------------------------------------------------------------------------


def _status(result: Result) -> str:
    return {KILLED: "killed", CRASHED: "stopped: bug", LOG_FAILED: "stopped: log", WENT_ON: "tried again"}[
        result.status
    ]


def _row(*columns: object) -> None:
    print("| " + " | ".join(str(column) for column in columns) + " |", flush=True)


async def _matrix(seed: int, logs: list[str], directory: Path) -> int:
    failed = 0
    _row("log", "how", "point", "n", "the worker", "the end")
    _row(*["---"] * 6)
    with contextlib.ExitStack() as stack:
        nursery = stack.enter_context(Nursery())
        for log in logs:
            kafka = None
            if log == "kafka":
                kafka = stack.enter_context(KafkaCluster())
            matrix = Matrix(nursery, directory / log, seed, kafka)
            (directory / log).mkdir()
            verdict = await matrix.undisturbed()
            _row(log, "undisturbed", "", "", "stopped", verdict)
            for cell in cells([log]):
                where = f"{cell.when} {cell.point}"
                if cell.meaningless is not None:
                    _row(log, cell.how, where, "", f"no meaning ({cell.meaningless})", "")
                    continue
                try:
                    result = await matrix.run(cell)
                except AssertionError as error:
                    failed += 1
                    _row(log, cell.how, where, "", "", f"FAILED: {str(error)[:300]}")
                    continue
                _row(log, cell.how, where, result.number, _status(result), "equal to the fold, no output repeated")
    return failed


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    parser.add_argument("--log", choices=["embedded", "kafka", "both"], default="both")
    options = parser.parse_args()
    logs = ["embedded", "kafka"] if options.log == "both" else [options.log]
    print(f"seed {options.seed}, {EVENTS} bookings and what comes with them, {PARTITIONS} partitions", flush=True)
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="crash-matrix-") as directory:
        failed = asyncio.run(_matrix(options.seed, logs, Path(directory)))
    print(f"{failed} cells failed; {time.monotonic() - began_s:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
