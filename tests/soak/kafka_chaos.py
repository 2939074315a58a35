"""Faults on a Kafka cluster and its workers: drawn beforehand from a seed, then done one after the other.

Which process a fault meets depends on what runs at that moment; everything else is in the schedule.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from tests.kafka_broker import KafkaCluster
from tests.worker import Worker

Kind = Literal["kill worker", "kill worker and its disk", "stop worker", "kill broker", "wipe broker"]
WORKER_KINDS: Final = ("kill worker", "kill worker and its disk", "stop worker")

SHARE_OF_BURSTS: Final = 0.15
"""Of faults that follow the one before at once, in the middle of its recovery."""
SHARE_OF_LOST_DISKS: Final = 0.1
"""Of killed workers that come back without their tables."""
POLL_S: Final = 0.2
IN_SYNC_S_MAX: Final = 240.0
UNPLANNED_ENDS_MAX: Final = 50


class Fault(NamedTuple):
    """One fault, and how long it lasts: until the process is started (or continued) again."""

    pause_s: float
    """After the fault before it."""
    kind: Kind
    lasts_s: float
    pick: float
    """In [0, 1): which of the processes that can be met."""


class Done(NamedTuple):
    """A fault that was done."""

    at_ms: int
    kind: Kind
    target: str


class UnplannedEnd(NamedTuple):
    """A worker that ended by itself, and its last words."""

    at_s: float
    worker: int
    status: int
    said: str


class NotInSync(RuntimeError):  # noqa: N818 - named after what happened
    """The replicas did not come into sync in time."""


def schedule(
    seed: int, *, kills: int, broker_kills: int, stops: int, wipes: int, gap_s: float, session_s: float
) -> list[Fault]:
    """The faults in their order. ``gap_s``: mean pause between two."""
    rng = random.Random(f"faults {seed}")
    lost = sum(rng.random() < SHARE_OF_LOST_DISKS for _ in range(kills))
    kinds = _each({"kill worker": kills - lost, "kill worker and its disk": lost, "stop worker": stops})
    rng.shuffle(kinds)
    # broker faults wait for the replicas of the one before: spread them evenly
    brokers = _each({"kill broker": broker_kills, "wipe broker": wipes})
    rng.shuffle(brokers)
    for number, kind in enumerate(brokers):
        kinds.insert(round((number + rng.random()) * (len(kinds) + 1) / max(1, len(brokers))), kind)
    faults = []
    for kind in kinds:
        burst = rng.random() < SHARE_OF_BURSTS
        pause_s = rng.uniform(0.05, 0.5) if burst else 0.3 + rng.expovariate(1 / gap_s)
        lasts_s = {
            "stop worker": session_s + rng.uniform(0.5, 4.0),
            "kill broker": rng.uniform(0.2, 6.0),
            "wipe broker": rng.uniform(3.0, 8.0),
        }.get(kind, rng.uniform(0.0, 2.0))
        faults.append(Fault(round(min(pause_s, 5 * gap_s), 2), kind, round(lasts_s, 2), rng.random()))
    return faults


def _each(counts: dict[Kind, int]) -> list[Kind]:
    return [kind for kind, count in counts.items() for _ in range(count)]


@dataclass
class Chaos:
    """Does the faults of a schedule to a cluster and its workers, and brings everything back."""

    cluster: KafkaCluster
    workers: list[Worker]
    brokers: int
    say: Callable[[str], None]
    done: list[Done] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    unplanned: list[UnplannedEnd] = field(default_factory=list)
    _away: set[int] = field(default_factory=set)
    """Workers that are killed or stopped now."""
    _healing: list[asyncio.Task[None]] = field(default_factory=list)
    _broker: asyncio.Task[None] | None = None
    _began_s: float = field(default_factory=time.monotonic)

    async def follow(self, faults: list[Fault]) -> None:
        """All faults in turn; ends when everything runs again.

        Raises:
            NotInSync: the replicas do not come into sync after a broker's fault.
        """
        for fault in faults:
            await asyncio.sleep(fault.pause_s)
            if fault.kind in WORKER_KINDS:
                await self._worker_fault(fault)
            else:
                await self._broker_fault(fault)
        await asyncio.gather(*self._healing)
        if self._broker is not None:
            await self._broker

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Meanwhile whatever ends by itself is started again."""
        watching = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            watching.cancel()

    # --- workers ------------------------------------------------------------------------------------------

    async def _worker_fault(self, fault: Fault) -> None:
        able = [n for n, worker in enumerate(self.workers) if n not in self._away and worker.running]
        if not able:
            self.skipped[fault.kind] += 1
            return
        number = able[int(fault.pick * len(able))]
        worker = self.workers[number]
        process = worker.process
        if process is None:
            raise RuntimeError("a worker that runs has a process")
        self._away.add(number)
        self._note(fault.kind, f"worker {number}", fault.lasts_s)
        if fault.kind == "stop worker":
            process.send_signal(signal.SIGSTOP)
        else:
            process.kill()
            await asyncio.to_thread(process.wait)
            if fault.kind == "kill worker and its disk":
                shutil.rmtree(worker.directory / "tables", ignore_errors=True)
        self._healing.append(asyncio.create_task(self._bring_back(number, fault)))

    async def _bring_back(self, number: int, fault: Fault) -> None:
        await asyncio.sleep(fault.lasts_s)
        worker = self.workers[number]
        if fault.kind == "stop worker":
            if worker.process is not None:
                worker.process.send_signal(signal.SIGCONT)
        else:
            worker.start(ready=False)
        self._away.discard(number)

    async def _watch(self) -> None:
        """Start anew what ended by itself, as whatever looks after processes would; and keep what it said."""
        while True:
            await asyncio.sleep(POLL_S)
            for number, worker in enumerate(self.workers):
                if number in self._away or worker.running or worker.process is None:
                    continue
                status = worker.process.returncode
                self.unplanned.append(UnplannedEnd(self._now_s(), number, status, worker.said()[-2000:]))
                self.say(f"worker {number} ended by itself with {status}: {_last_error(worker.said())}")
                if len(self.unplanned) < UNPLANNED_ENDS_MAX:
                    worker.start(ready=False)

    # --- brokers ------------------------------------------------------------------------------------------

    async def _broker_fault(self, fault: Fault) -> None:
        if self._broker is not None:
            await self._broker
        number = int(fault.pick * self.brokers)
        self._note(fault.kind, f"broker {number}", fault.lasts_s)
        await asyncio.to_thread(self.cluster.kill, number)
        self._broker = asyncio.create_task(self._bring_broker_back(number, fault))

    async def _bring_broker_back(self, number: int, fault: Fault) -> None:
        await asyncio.sleep(fault.lasts_s)
        if fault.kind == "wipe broker":
            await asyncio.to_thread(self.cluster.wipe, number)
        await asyncio.to_thread(self.cluster.restart, number, wait=False)
        began_s = time.monotonic()
        await in_sync(self.cluster, self.brokers)
        self.say(f"broker {number} is back, all replicas in sync after {time.monotonic() - began_s:.1f} s")

    def _note(self, kind: Kind, target: str, lasts_s: float) -> None:
        self.done.append(Done(int(time.time() * 1000), kind, target))
        self.say(f"{kind}: {target}, for {lasts_s:g} s")

    def _now_s(self) -> float:
        return time.monotonic() - self._began_s


async def in_sync(cluster: KafkaCluster, copies: int) -> None:
    """Wait until every partition of every topic has all its copies in sync.

    Raises:
        NotInSync: not within ``IN_SYNC_S_MAX``; names some of them.
    """
    give_up_s = time.monotonic() + IN_SYNC_S_MAX
    while behind := await _behind(cluster, copies):
        if time.monotonic() > give_up_s:
            raise NotInSync(f"not in sync after {IN_SYNC_S_MAX:g} s: {', '.join(behind[:5])}")
        await asyncio.sleep(POLL_S)


async def _behind(cluster: KafkaCluster, copies: int) -> list[str]:
    admin = AIOKafkaAdminClient(bootstrap_servers=cluster.bootstrap, request_timeout_ms=5_000)
    try:
        await admin.start()
        described = await admin.describe_topics(None)
    except (KafkaError, OSError) as error:
        return [repr(error)]
    finally:
        await admin.close()
    return [
        f"{topic['topic']}/{part['partition']} has {part['isr']}"
        for topic in described
        for part in topic["partitions"]
        if len(part["isr"]) < min(copies, 3)
    ]


def _last_error(said: str) -> str:
    lines = [line for line in said.splitlines() if "error" in line.lower() or "crash" in line.lower()]
    return (lines or said.splitlines() or [""])[-1][:300]
