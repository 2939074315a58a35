"""One run of one peer: fill the topics, start its program on its core, watch the topics' ends, look at the outputs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson

from benchmarks import load
from benchmarks.peers.inputs import CHAIN_SITES, Expected, need
from benchmarks.peers.job import OUTPUT, PARTITIONS, Task
from benchmarks.peers.programs import Peer
from benchmarks.worker import TICKS_PER_S
from config.settings import Settings
from planner.step import Message
from streams.log import LogClient, TopicSpec, open_client
from streams.names import changelog
from streams.topics import topic_specs

POLL_S = 0.1
QUIET_S = 1.2
"""No output for so long, and the last commit (every second) is in: the end."""
FORECASTS_QUIET_S = 12.0
"""With the whole core: forecasts never take more than half of the time, so after a backlog they pause for long."""
START_S_MAX = 90.0
IDLE_S = 3.0
"""Programs that took next to no processor time for so long have started and wait for input."""
IDLE_SHARE = 0.08
REST_SHARE = 0.3
STALL_S_MAX = 45.0
OUTPUTS = {
    "small": ("requirements", OUTPUT, "dead-letters"),
    "whole": ("requirements", "outcomes", "alerts", "proposals", "forecasts", "dead-letters"),
}


class PeerFailed(RuntimeError):  # noqa: N818 - named after what happened
    """Its program ended, stood still, or gave other outputs."""


@dataclass
class Run:
    """What was seen. Rates are of the events after the first sample that shows an output."""

    peer: str = ""
    events: float = 0.0
    wall_s: float = 0.0
    cpu_s: float = 0.0
    start_cpu_s: float = 0.0
    rss_mb: float = 0.0
    messages: dict[str, int] = field(default_factory=dict)
    shares: list[float] = field(default_factory=list)
    """Of the processor time, by program."""
    outputs: Any = None

    def __str__(self) -> str:
        return (
            f"{self.peer}: {self.per_s:,.0f} per s, {self.per_cpu_s:,.0f} per CPU s, {self.events:,.0f} events, "
            f"{self.cpu_s:.2f} CPU s in {self.wall_s:.2f} s, start {self.start_cpu_s:.1f} CPU s"
            + (f", shares {', '.join(f'{share:.2f}' for share in self.shares)}" if len(self.shares) > 1 else "")
        )

    @property
    def per_s(self) -> float:
        return self.events / self.wall_s

    @property
    def per_cpu_s(self) -> float:
        return self.events / self.cpu_s


class Program:
    """``with Program(…)``: a peer's process, pinned to a core from its first instruction; ended in any case."""

    def __init__(self, command: list[str], directory: Path, core: int) -> None:
        self._said = directory / "said.log"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PLANNER_")}
        with self._said.open("wb") as said:
            self.process = subprocess.Popen(
                ["taskset", "-c", str(core), *command],
                stdin=subprocess.DEVNULL, stdout=said, stderr=said, cwd=load.ROOT,
                env={**environment, "PLANNER_DATA_DIR": str(directory / "tables")},
            )  # fmt: skip

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def check(self) -> None:
        """Raise PeerFailed if it has ended."""
        if self.process.poll() is not None:
            raise PeerFailed(f"it ended with {self.process.returncode}: {self.said()}")

    def said(self) -> str:
        """Its last words."""
        return self._said.read_text(encoding="utf-8", errors="replace")[-3000:]

    def cpu_s(self) -> float:
        """Processor seconds so far, all threads."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_S

    def rss_mb(self) -> float:
        """Resident memory."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        return 0.0


async def run_peer(
    peer: Peer, job: str, events: list[Message], *, broker: str, core: int, sites: int, wanted: Expected | None = None,
    look: bool = True, warm: bool = False,
) -> Run:  # fmt: skip
    """Run it over a full backlog.

    Args:
        core: of the first program; further ones go on the same.
        warm: the events are published when all programs have started and wait for them.
        wanted: what the small job must give.
        look: read all outputs afterwards.

    Raises:
        PeerFailed: see there.
    """
    with tempfile.TemporaryDirectory(prefix="peer-") as name:
        directory = Path(name)
        prefix = f"{directory.name}-{peer.name}."
        told = Task(job, broker, prefix, directory, sites)
        url = f"kafka://{broker}"
        async with open_client(url, prefix) as client:
            settings = Settings(broker_url=url, topic_prefix=prefix, partitions=PARTITIONS)
            await client.ensure_topics([*topic_specs(settings), TopicSpec(OUTPUT, PARTITIONS, compacted=True)])
            catalogue = load.catalogue_messages(told.bundle, PARTITIONS) if job == "whole" else []
            await load.publish(client, catalogue, [] if warm else events)
            with contextlib.ExitStack() as stack:
                programs = []
                for number in range(peer.workers):
                    own = replace(told, directory=directory / str(number))
                    own.directory.mkdir()
                    command = await asyncio.to_thread(peer.command, own)
                    programs.append(stack.enter_context(Program(command, own.directory, core)))
                start = None
                if warm:
                    await _idle(programs)
                    start = time.monotonic(), _cpu_s(programs), 0
                    await load.publish(client, [], events)
                run = await _watch(client, programs, OUTPUTS[job], wanted, start)
                run.peer, run.events = peer.name, run.events * len(events)
                if look:
                    run.outputs = await _outputs(client, job)
    if wanted is not None and look and run.outputs != (wanted.needs, wanted.poison):
        raise PeerFailed(f"{peer.name}: {_difference(run.outputs, wanted)}")
    return run


async def _idle(programs: list[Program]) -> None:
    """Wait until all have started."""
    deadline_s = time.monotonic() + START_S_MAX
    before_s = _cpu_s(programs)
    while time.monotonic() < deadline_s:
        await asyncio.sleep(IDLE_S)
        now_s = _cpu_s(programs)
        if before_s > 1.0 and now_s - before_s < IDLE_SHARE * IDLE_S * len(programs):
            return
        before_s = now_s
    raise PeerFailed(f"it did not come to rest within {START_S_MAX:g} s: {programs[0].said()}")


async def _watch(
    client: LogClient, programs: list[Program], outputs: Sequence[str], wanted: Expected | None,
    start: tuple[float, float, int] | None,
) -> Run:  # fmt: skip
    """The run, its events as a share.

    Args:
        start: time, processor time and requirements when it began; None: when the first output is seen.
    """
    watched = [*outputs, *(changelog(agent) for agent in ("expand", "plan"))]
    run = Run()
    began = time.monotonic()
    first = start
    began_cpu_s = [program.cpu_s() for program in programs]
    changed_s, changed_cpu_s, ends = began, 0.0, dict.fromkeys(watched, 0)
    while True:
        await asyncio.sleep(POLL_S)
        found = {topic: sum((await client.end_offsets(topic)).values()) for topic in watched}
        cpu_s, now_s = _cpu_s(programs), time.monotonic()
        if found != ends:
            changed_s, changed_cpu_s, ends = now_s, cpu_s, found
            if first is None and found["requirements"]:
                first = now_s, cpu_s, found["requirements"]
                began_cpu_s = [program.cpu_s() for program in programs]
        elif first is None and now_s - began > START_S_MAX:
            raise PeerFailed(f"no output within {START_S_MAX:g} s: {programs[0].said()}")
        elif first is not None and _done(found, wanted, now_s - changed_s, cpu_s - changed_cpu_s):
            break
    run.start_cpu_s = first[1]
    run.events = 1 - first[2] / ends["requirements"]
    run.wall_s = changed_s - first[0]
    run.cpu_s = cpu_s - first[1]
    own_s = [program.cpu_s() - began_s for program, began_s in zip(programs, began_cpu_s, strict=True)]
    run.shares = [one_s / sum(own_s) for one_s in own_s]
    run.rss_mb = max(program.rss_mb() for program in programs)
    run.messages = ends
    return run


def _cpu_s(programs: list[Program]) -> float:
    for program in programs:
        program.check()
    return sum(program.cpu_s() for program in programs)


def _done(ends: dict[str, int], wanted: Expected | None, quiet_s: float, quiet_cpu_s: float) -> bool:
    """Whether all is out. The second step may lag, so that its end is known by quiet alone, of outputs and processor:
    where a day begins at a thousand sites, it works for long before anything comes."""
    if quiet_s <= QUIET_S:
        return False
    if wanted is None:
        return quiet_s > FORECASTS_QUIET_S and quiet_cpu_s < REST_SHARE * quiet_s
    return ends["requirements"] >= wanted.requirements or quiet_s > STALL_S_MAX


async def _outputs(client: LogClient, job: str) -> Any:
    if job == "small":
        needs = dict[bytes, int]()
        async for chunk in client.read_chunks(OUTPUT):
            needs.update((record.key or b"", need(record.value)) for record in chunk)
        return needs, await _count(client, "dead-letters")
    statuses = Counter[str]()
    async for chunk in client.read_chunks("outcomes"):
        for outcome in (orjson.loads(record.value or b"{}") for record in chunk):
            if outcome["topic"] != "catalogue":  # only the planner listens to it
                statuses[outcome["status"]] += 1
    means = dict[bytes | None, float]()
    async for chunk in client.read_chunks("forecasts"):
        means.update((record.key, sum(orjson.loads(record.value or b"{}")["mean"])) for record in chunk)
    return statuses, means


async def _count(client: LogClient, topic: str) -> int:
    count = 0
    async for chunk in client.read_chunks(topic):
        count += len(chunk)
    return count


def _difference(outputs: Any, wanted: Expected) -> str:
    needs, poison = outputs
    wrong = [key for key in wanted.needs.keys() | needs.keys() if needs.get(key) != wanted.needs.get(key)]
    example = f", for example {wrong[0]!r}: {needs.get(wrong[0])} for {wanted.needs.get(wrong[0])}" if wrong else ""
    return f"{len(wrong):,} of {len(wanted.needs):,} totals differ{example}; {poison} unreadable for {wanted.poison}"


def chain_sites(which: str) -> int:
    """Sites of an input's catalogue; 0: the default one."""
    return CHAIN_SITES if which == "chain" else 0
