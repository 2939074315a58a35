"""Each obstacle's test is seen failing without its handling: ``python -m tests.soak.obstacles [--only NAME]``.

Stock Faust stands in the way of delivery in chunks in seven places, and loses events at a restart in a backlog (issue
596 of faust-streaming). Each is handled in ``streams/`` or ``planner/``, and has a test. Here every such test runs in a
fresh pytest process twice: as it is, when it must pass, and with the handling taken out (``tests.soak.without``), when
it must fail. A test that would hang is ended after a limit and counts as failing; the table says so.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.soak.without import HANDLINGS, VARIABLE

ROOT: Final = Path(__file__).parents[2]
LIMIT_S: Final = 120.0
"""Seconds for one run; every one of the tests has an earlier deadline of its own."""
PASSED, FAILED = 0, 1
"""Statuses of pytest; any other is neither (nothing was collected, a plugin is broken)."""
WHY_MAX: Final = 100
DELIVERY: Final = "tests/engine/test_delivery.py::"


@dataclass(frozen=True)
class Obstacle:
    """One thing that stood in the way, and the test that guards its handling."""

    name: str
    """Of the handling, as in ``tests.soak.without``."""
    what: str
    where: str
    """It is handled."""
    test: str
    """Node of pytest; one that needs no Kafka."""


OBSTACLES: Final = (
    Obstacle(
        "commits",
        "1: `_add_gap` counts a message's own offset, commits advance a chunk at a time",
        "`ChunkConsumer.ack`, `_filter_committable_offsets`",
        DELIVERY + "test_obstacle_1_commits_follow_every_chunk",
    ),
    Obstacle(
        "waking",
        "2: a flat second of sleep when every partition is busy",
        "`ChunkConsumer._wake`, `_wait_for_change`",
        DELIVERY + "test_obstacle_2_nothing_sleeps_while_partitions_are_busy",
    ),
    Obstacle(
        "pages",
        "3: a changelog message for each table write",
        "`Engine._deliver`: pages",
        DELIVERY + "test_obstacle_3_a_chunk_is_one_write",
    ),
    Obstacle(
        "batches",
        "3, on Kafka: aiokafka takes records one by one",
        "`PartitionWriter._append`: whole batches",
        "tests/engine/test_kafka_outlet.py::test_obstacle_3_a_page_goes_to_aiokafka_in_whole_batches",
    ),
    Obstacle(
        "epochs",
        "4: what is released after a seek overwrites the position",
        "`ChunkConsumer.ack`, `seek_wait`: only what is in flight now counts",
        DELIVERY + "test_obstacle_4_an_acknowledgement_from_before_a_seek_counts_for_nothing",
    ),
    Obstacle(
        "channels",
        "5: a second channel on a consumed topic is never read, everything stalls",
        "`assembly.assemble`: one channel for each agent",
        DELIVERY + "test_obstacle_5_both_agents_get_the_catalogue_and_it_is_committed",
    ),
    Obstacle(
        "dead-letters",
        "6: a record that fails ends its chunk",
        "`planner.records.decode`, `DeadLetter`",
        DELIVERY + "test_obstacle_6_a_record_that_fails_harms_no_other_of_its_chunk",
    ),
    Obstacle(
        "crashing",
        "7: a handler that raises has its event acknowledged, or hangs the stop",
        "`streams.agents`: `noack`, `CrashingSupervisor`",
        DELIVERY + "test_obstacle_7_a_bug_stops_the_worker_at_once_and_commits_nothing_of_the_chunk",
    ),
    Obstacle(
        "order",
        "Issue 596: a restart in a backlog clears what was fetched",
        "`ChunkRecovery.on_recovery_completed`",
        DELIVERY + "test_issue_596_nothing_comes_between_the_seek_and_the_clearing_of_queues",
    ),
    Obstacle(
        "positions",
        "Issue 596, second line: a loss is not noticed",
        "`Engine._apply`: the applied offset in the table",
        DELIVERY + "test_a_chunk_that_faust_drops_is_noticed_and_read_again",
    ),
)


@dataclass(frozen=True)
class Run:
    """One run of a test."""

    status: int | None
    """Of pytest; None: ended after the limit."""
    seconds: float
    said: str

    @property
    def why(self) -> str:
        """What pytest found wrong, in its own short words: a reader sees whether it is what was to be expected."""
        found = re.search(r"^(?:FAILED|ERROR) .+? - (.+)$", self.said, re.MULTILINE)
        short = "" if found is None else found[1].replace("|", "/")[:WHY_MAX]
        return "its own deadline" if short == "TimeoutError" else short

    def __str__(self) -> str:
        result = {PASSED: "passes", FAILED: "fails", None: f"hangs (ended after {LIMIT_S:.0f} s)"}
        return f"{result.get(self.status, f'pytest ends with {self.status}')}, {self.seconds:.1f} s"


def run(obstacle: Obstacle, *, without: bool) -> Run:
    """Run the obstacle's test in a process of its own."""
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    environment["COLUMNS"] = "400"  # so that pytest's summary is not cut
    if without:
        environment[VARIABLE] = obstacle.name
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "tests.soak.without",
        "-p",
        "no:cacheprovider",
        obstacle.test,
    ]
    began_s = time.monotonic()
    try:
        ended = subprocess.run(
            command, cwd=ROOT, env=environment, timeout=LIMIT_S, check=False, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
    except subprocess.TimeoutExpired as expired:
        said = expired.stdout.decode(errors="replace") if isinstance(expired.stdout, bytes) else str(expired.stdout)
        return Run(None, time.monotonic() - began_s, said)
    return Run(ended.returncode, time.monotonic() - began_s, ended.stdout)


def held(present: Run, absent: Run) -> bool:
    """Whether the test passes, and fails without the handling."""
    return present.status == PASSED and absent.status in {FAILED, None}


def _row(*columns: object) -> None:
    print("| " + " | ".join(str(column) for column in columns) + " |", flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=sorted(HANDLINGS), help="this handling alone")
    parser.add_argument("--say", action="store_true", help="show the end of what pytest said without the handling")
    options = parser.parse_args(arguments)
    chosen = [obstacle for obstacle in OBSTACLES if options.only in {None, obstacle.name}]
    began_s, failures = time.monotonic(), []
    _row("name", "what stands in the way", "handled in", "test", "with", "without", "found wrong")
    _row(*["---"] * 7)
    for obstacle in chosen:
        present, absent = run(obstacle, without=False), run(obstacle, without=True)
        test = obstacle.test.rsplit("::", 1)[1]
        _row(obstacle.name, obstacle.what, obstacle.where, f"`{test}`", present, absent, absent.why)
        if not held(present, absent):
            failures.append(f"{obstacle.name}:\n{present.said[-3000:] if present.status else absent.said[-3000:]}")
        if options.say:
            print(absent.said[-3000:])
    for failure in failures:
        print(failure)
    print(f"\n{len(chosen)} handlings, {len(failures)} not guarded; {time.monotonic() - began_s:.0f} s")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
