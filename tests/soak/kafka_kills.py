"""Kills on real Kafka: workers and brokers die while events stream through, and nothing is lost or doubled.

    python -m tests.soak.kafka_kills --seed 7 --kills 10 --broker-kills 2 --stops 1 --book few-bookings

Three brokers hold every topic three times (two must confirm a write), several ``planner run`` processes share the
partitions. What is published and every fault are drawn from the seed. At the end, when nothing waits any more, the log
is read by itself and compared with a fold of its inputs (``tests/soak/kafka_check.py``). Status 0 only if all holds;
else the directory is kept, and ``--check DIRECTORY`` repeats the comparison without a broker.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from config.settings import Settings
from planner.step import Message
from streams.log import LogClient, LogError, open_client
from streams.verify.run import Verification
from tests.kafka_broker import KafkaCluster
from tests.soak import kafka_load
from tests.soak.kafka_chaos import Chaos, Fault, NotInSync, in_sync, schedule
from tests.soak.kafka_check import check
from tests.soak.kafka_log import Snapshot, Tables, take_snapshot
from tests.soak.kafka_readers import Readers
from tests.soak.kafka_report import Report, recoveries, show
from tests.worker import Worker

PREFIX: Final = "soak."
SESSION_S: Final = 6.0
BURST_MOST: Final = 1_500
SETTLE_S_MAX: Final = 300.0
"""Without any record being applied. A log that stands still for so long hangs."""
BROKER_SETTINGS: Final = {"log.cleaner.enable": "false"}
"""The changelogs are wanted whole: they show that nothing was written twice."""
SNAPSHOT: Final = "snapshot.pickle"


@dataclass(frozen=True)
class Plan:
    """What to do."""

    seed: int
    kills: int = 10
    broker_kills: int = 2
    stops: int = 1
    wipes: int = 0
    workers: int = 3
    brokers: int = 3
    gap_s: float = 4.0
    readers: bool = True
    repeats_allowed: bool = False
    bookings: Sequence[bytes] = field(default=(), repr=False)

    def faults(self) -> list[Fault]:
        """The schedule."""
        return schedule(
            self.seed, kills=self.kills, broker_kills=self.broker_kills, stops=self.stops, wipes=self.wipes,
            gap_s=self.gap_s, session_s=SESSION_S,
        )  # fmt: skip


class Run:
    """One run: workers on a cluster that runs, the publisher, the faults."""

    def __init__(self, plan: Plan, directory: Path, cluster: KafkaCluster) -> None:
        self.plan = plan
        self.directory = directory
        self.cluster = cluster
        self.report = Report(plan.seed)
        self._began_s = time.monotonic()

    def say(self, text: str) -> None:
        """A line of the timeline."""
        line = f"{time.monotonic() - self._began_s:7.1f} s  {text}"
        self.report.timeline.append(line)
        print(line, flush=True)

    async def go(self) -> Snapshot:
        """Publish while faults happen, wait until nothing waits, stop the workers, read the log."""
        plan, cluster = self.plan, self.cluster
        workers = [self._worker(number) for number in range(plan.workers)]
        try:
            await asyncio.to_thread(workers[0].start)
            for worker in workers[1:]:
                worker.start(ready=False)
            self.say(f"{plan.workers} workers started")
            async with open_client(cluster.url, PREFIX) as client:
                tables = Tables()
                chaos = Chaos(cluster, workers, plan.brokers, self.say)
                async with chaos.watching():
                    await self._storm(chaos, client)
                    await self._settle(client, tables, workers)
                self.report.take_ends(chaos.unplanned)
                for number, worker in enumerate(workers):
                    if (status := await asyncio.to_thread(worker.end)) != 0:
                        self.report.wrong["unclean stop"].append(f"worker {number} ended with {status}")
                self.say("workers stopped")
                await self._verify(client)
                return await take_snapshot(client, plan.seed, tables)
        finally:
            for worker in workers:
                worker.close()

    def _worker(self, number: int) -> Worker:
        return Worker(
            self.cluster.url, PREFIX, self.directory / f"worker-{number}", "--clock", "event",
            PLANNER_SESSION_TIMEOUT_S=f"{SESSION_S:g}",
            PLANNER_REPLICATION_FACTOR=str(min(3, self.plan.brokers)),
            PLANNER_REBALANCE_TIMEOUT_S="20",
            PLANNER_REQUEST_TIMEOUT_S="10",
        )  # fmt: skip

    async def _storm(self, chaos: Chaos, client: LogClient) -> None:
        faults = self.plan.faults()
        readers = Readers(chaos.cluster.url, PREFIX, self.directory, self.plan.seed)
        reading = asyncio.create_task(readers.read()) if self.plan.readers else None
        publishing = asyncio.create_task(self._publish(client, sum(f.pause_s for f in faults)))
        try:
            await chaos.follow(faults)
            await in_sync(chaos.cluster, self.plan.brokers)
            self.say(f"{len(chaos.done)} faults done, everything runs")
            await publishing
        except NotInSync as late:
            self.report.wrong["brokers"].append(str(late))
        finally:
            publishing.cancel()
            if reading is not None:
                readers.enough.set()
                await reading
        self.report.faults = chaos.done
        self.report.skipped = chaos.skipped
        self.report.reads = readers.done
        self.report.wrong["readers"] += readers.failures()

    async def _publish(self, client: LogClient, lasts_s: float) -> None:
        """All messages in bursts, spread over the time of the faults; what the log refuses is sent again."""
        rng = random.Random(f"bursts {self.plan.seed}")
        messages = list(kafka_load.load(self.plan.bookings, self.plan.seed))
        self.report.published = Counter(message.topic for message in messages)
        began_s, at = time.monotonic(), 0
        while at < len(messages):
            burst = messages[at : at + rng.randrange(1, BURST_MOST)]
            await self._send(client, burst)
            at += len(burst)
            due_s = began_s + lasts_s * at / len(messages)
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
        self.say(f"{len(messages):,} records published, {self.report.sent_again} of them again")

    async def _send(self, client: LogClient, burst: list[Message]) -> None:
        while True:
            try:
                await client.publish(burst)
            except LogError as error:
                # some may have been written: then they are on the log twice, and end as duplicates
                self.report.sent_again += len(burst)
                self.say(f"the publisher tries again: {error}")
                await asyncio.sleep(0.5)
            else:
                return

    async def _verify(self, client: LogClient) -> None:
        """``planner verify``: everything to the byte, in the chunks and the order that the journal tells."""
        told = await Verification(client, Settings(topic_prefix=PREFIX, clock="event")).verify()
        if told.difference is not None:
            self.report.wrong["planner verify"].append(str(told.difference))
        for what in (told.since, told.in_motion, told.removed):
            self.report.wrong["planner verify was not complete"] += [f"{name}: {why}" for name, why in what.items()]
        self.report.verified = sum(table["entries"] for table in told.tables.values())
        self.say(f"planner verify has compared {self.report.verified:,} entries: {told.difference or 'no difference'}")

    async def _settle(self, client: LogClient, tables: Tables, workers: list[Worker]) -> None:
        """Wait until everything is applied.

        Raises:
            TimeoutError: nothing is applied any more, though something waits.
        """
        last, moved_s = {"": 0}, time.monotonic()
        while waiting := await tables.waiting(client):
            if waiting != last:
                last, moved_s = waiting, time.monotonic()
            if time.monotonic() - moved_s > SETTLE_S_MAX:
                said = "\n".join(worker.said()[-1500:] for worker in workers)
                raise TimeoutError(f"nothing applied for {SETTLE_S_MAX:g} s, still to apply: {waiting}\n{said}")
            await asyncio.sleep(0.1)
        self.say("everything is applied")


def run(plan: Plan, directory: Path, cluster: KafkaCluster) -> Report:
    """A whole run on a cluster of ``BROKER_SETTINGS`` that runs, and the comparison."""
    attempt = Run(plan, directory, cluster)
    began_s = time.monotonic()
    try:
        snapshot = asyncio.run(attempt.go())
    except TimeoutError as hung:
        attempt.report.wrong["hang"].append(str(hung))
        return attempt.report
    snapshot.save(directory / SNAPSHOT)
    attempt.report.run_s = time.monotonic() - began_s
    attempt.report.take(check(snapshot, repeats_allowed=plan.repeats_allowed))
    attempt.report.recoveries_s = recoveries(snapshot, attempt.report.faults)
    attempt.report.total_s = time.monotonic() - began_s
    return attempt.report


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.soak.kafka_kills", description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=None, help="of all that is drawn; default: a new one, printed")
    parser.add_argument("--kills", type=int, default=100, help="workers killed with SIGKILL")
    parser.add_argument("--broker-kills", type=int, default=10, help="brokers killed with SIGKILL, one at a time")
    parser.add_argument("--stops", type=int, default=10, help="workers stopped (SIGSTOP) past their session, continued")
    parser.add_argument("--wipes", type=int, default=1, help="brokers killed whose disk is lost")
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--brokers", type=int, default=3)
    parser.add_argument("--gap", type=float, default=4.0, help="mean seconds between two faults")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--city", action="store_true", help="the City replay (default)")
    source.add_argument("--events", type=Path, metavar="FILE", help="booking events in JSON Lines")
    source.add_argument("--book", metavar="NAME", help="a synthetic book (planner synthesize --list)")
    parser.add_argument("--events-max", type=int, default=60_000, help="only so many of the first bookings")
    parser.add_argument("--repeats", choices=["allowed", "none"], default="none",
                        help="whether a message may be published again after a crash")  # fmt: skip
    parser.add_argument("--check", type=Path, metavar="DIRECTORY", help="repeat the comparison of a run that was kept")
    return parser.parse_args()


def main() -> int:
    """The command; returns its exit status."""
    args = _arguments()
    repeats_allowed = args.repeats == "allowed"
    if args.check is not None:
        report = Report(0)
        report.take(check(Snapshot.load(args.check / SNAPSHOT), repeats_allowed=repeats_allowed))
        show(report)
        return 0 if report.holds else 1
    seed = args.seed if args.seed is not None else random.SystemRandom().randrange(1_000_000)
    if args.book:
        bookings = kafka_load.book(args.book, args.events_max, seed)
    elif args.events:
        bookings = kafka_load.lines(args.events, args.events_max)
    else:
        bookings = kafka_load.city(args.events_max)
    directory = Path(tempfile.mkdtemp(prefix="soak-kafka-"))
    print(f"seed {seed}, {len(bookings):,} booking events, directory {directory}", flush=True)
    plan = Plan(
        seed, args.kills, args.broker_kills, args.stops, args.wipes, args.workers, args.brokers, args.gap,
        repeats_allowed=repeats_allowed, bookings=bookings,
    )  # fmt: skip
    with KafkaCluster(nodes=plan.brokers, settings=BROKER_SETTINGS) as cluster:
        report = run(plan, directory, cluster)
    show(report)
    if report.holds:
        shutil.rmtree(directory)
        return 0
    (directory / "timeline.txt").write_text("\n".join(report.timeline) + "\n")
    print(f"\nkept: {directory} (timeline.txt, the workers' logs, {SNAPSHOT})")
    print(f"compare again:  python -m tests.soak.kafka_kills --check {directory}")
    print(f"run again:      python -m tests.soak.kafka_kills {' '.join(sys.argv[1:])} --seed {seed}")
    return 1


if __name__ == "__main__":
    # whoever ends us should not leave workers behind
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
