"""People's commands while it storms: asked again and again, and one that follows the alerts all the time."""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final, NamedTuple

from streams.cli.base import Exit
from tests.soak.kafka_load import SITES
from tests.worker import ROOT, environment, planner

PAUSE_S: Final = 8.0
FOLLOWER_ENDS_S_MAX: Final = 30.0
ANSWERED: Final = frozenset({Exit.DONE, Exit.NOT_FOUND})
"""A site of which nothing was published yet is not found."""


class Read(NamedTuple):
    """A command that was asked."""

    command: str
    status: int
    took_s: float
    said: str
    """Its last words on standard error."""


@dataclass
class Readers:
    """Asks until ``enough`` is set."""

    broker: str
    prefix: str
    directory: Path
    seed: int
    done: list[Read] = field(default_factory=list)
    enough: asyncio.Event = field(default_factory=asyncio.Event)

    async def read(self) -> None:
        """Ask one command after the other, while another follows the alerts."""
        rng = random.Random(f"readers {self.seed}")
        with (self.directory / "followed.jsonl").open("wb") as output:
            follower = self._follower(output)
            try:
                while not self.enough.is_set():
                    await self._ask(rng)
                    try:
                        async with asyncio.timeout(PAUSE_S):
                            await self.enough.wait()
                    except TimeoutError:
                        continue
            finally:
                self.done.append(await asyncio.to_thread(_end, follower))

    def _follower(self, output: IO[bytes]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "streams.cli", "--broker", self.broker, "--prefix", self.prefix,
             "alerts", "--all", "--follow", "--json"],
            cwd=ROOT, env=environment(), stdout=output, stderr=subprocess.PIPE,
        )  # fmt: skip

    async def _ask(self, rng: random.Random) -> None:
        command = rng.choice([
            ("alerts", "--json"), ("proposals", "--json"), ("topics", "--json"), ("dead-letters", "--json"),
            ("forecasts", "--json", "--site", rng.choice(SITES)), ("stock", rng.choice(SITES), "--json"),
        ])  # fmt: skip
        began_s = time.monotonic()
        answer = await asyncio.to_thread(planner, self.broker, self.prefix, *command)
        took_s = time.monotonic() - began_s
        self.done.append(Read(" ".join(command), answer.returncode, took_s, answer.stderr[-500:]))

    def failures(self) -> list[str]:
        """Commands that gave no answer."""
        return [f"planner {read.command}: status {read.status}: {read.said}" for read in self.done
                if read.status not in ANSWERED]  # fmt: skip


def _end(follower: subprocess.Popen[bytes]) -> Read:
    """Interrupt the follower as a person would; if it ended before, that is its status."""
    if (early := follower.poll()) is None:
        follower.send_signal(signal.SIGINT)
    try:
        _, said = follower.communicate(timeout=FOLLOWER_ENDS_S_MAX)
    except subprocess.TimeoutExpired:
        follower.kill()
        _, said = follower.communicate()
    status = follower.returncode if early is None else early or -1
    return Read("alerts --follow", status, 0.0, said.decode(errors="replace")[-500:])
