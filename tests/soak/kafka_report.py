"""What a run did and found, in figures and in words."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Final

import orjson

from tests.soak.kafka_chaos import Done, UnplannedEnd
from tests.soak.kafka_check import Findings
from tests.soak.kafka_log import Snapshot
from tests.soak.kafka_readers import Read

SHOWN: Final = 3
"""Faults of a kind that are printed; all are counted."""


@dataclass
class Report:
    """Everything that is printed at the end."""

    seed: int
    timeline: list[str] = field(default_factory=list)
    published: Counter[str] = field(default_factory=Counter)
    sent_again: int = 0
    faults: list[Done] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    unplanned: list[UnplannedEnd] = field(default_factory=list)
    reads: list[Read] = field(default_factory=list)
    recoveries_s: dict[str, list[float]] = field(default_factory=dict)
    findings: Findings = field(default_factory=Findings)
    wrong: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    verified: int = 0
    """Table entries that ``planner verify`` compared."""
    run_s: float = 0.0
    total_s: float = 0.0

    def take_ends(self, ends: list[UnplannedEnd]) -> None:
        """Workers that ended by themselves: none should, whatever happens to its brokers."""
        self.unplanned = ends
        for end in ends:
            last = (end.said.splitlines() or [""])[-1][:300]
            self.wrong["a worker ended by itself"].append(
                f"worker {end.worker}, {end.at_s:.1f} s, {end.status}: {last}"
            )

    def take(self, findings: Findings) -> None:
        """What the comparison found."""
        self.findings = findings
        for kind, faults in findings.wrong.items():
            self.wrong[kind] += faults

    @property
    def holds(self) -> bool:
        """Whether nothing is wrong."""
        return not any(self.wrong.values())


def recoveries(snapshot: Snapshot, faults: Sequence[Done]) -> dict[str, list[float]]:
    """Kind of fault → seconds until all that had been published when it happened had its outcome.

    Counted where no other fault came before that was so: what a single fault costs.
    """
    answered: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for record in snapshot.all("outcomes"):
        told = orjson.loads(record.value or b"")
        if told["topic"] == "bookings":
            answered[told["partition"]].append((told["offset"], record.timestamp_ms))
    first: dict[int, dict[int, int]] = {}
    for partition, outcomes in answered.items():
        first[partition] = {}
        for offset, at_ms in outcomes:
            first[partition][offset] = min(at_ms, first[partition].get(offset, at_ms))
    bookings = snapshot.records["bookings"]
    written = {partition: [record.timestamp_ms for record in records] for partition, records in bookings.items()}
    found: dict[str, list[float]] = defaultdict(list)
    for number, fault in enumerate(faults):
        ended_ms = fault.at_ms
        for partition, times in written.items():
            before = bisect_right(times, fault.at_ms)
            if before:
                offset = bookings[partition][before - 1].offset
                ended_ms = max(ended_ms, first.get(partition, {}).get(offset, ended_ms))
        if number + 1 == len(faults) or faults[number + 1].at_ms > ended_ms:
            found[fault.kind].append((ended_ms - fault.at_ms) / 1000)
    return dict(found)


def show(report: Report) -> None:
    """Print it."""
    findings = report.findings
    print()
    if report.faults:
        print("faults done:      " + _counts(Counter(fault.kind for fault in report.faults)))
    if report.skipped:
        print("not done:         " + _counts(report.skipped) + " (nothing left to meet)")
    if report.published:
        print("published:        " + _counts(report.published) + f"; {report.sent_again} sent again")
    print(f"events:           {findings.events:,}")
    print("outcomes:         " + _counts(findings.statuses))
    print("repeats:          " + (_counts(findings.repeats) or "none"))
    print("compared:         " + _counts(findings.compared))
    print(f"planner verify:   {report.verified:,} entries")
    for kind, seconds in sorted(report.recoveries_s.items()):
        print(f"until all had its outcome after {kind} alone: median {median(seconds):.1f} s, "
              f"longest {max(seconds):.1f} s, of {len(seconds)}")  # fmt: skip
    if report.reads:
        slowest = max(report.reads, key=lambda read: read.took_s)
        print(
            f"commands asked meanwhile: {len(report.reads)}, slowest {slowest.took_s:.1f} s (planner {slowest.command})"
        )
    if report.total_s:
        print(f"time:             {report.run_s:.0f} s, and {report.total_s - report.run_s:.0f} s to compare")
    for kind, faults in report.wrong.items():
        if faults:
            print(f"\nWRONG: {kind}: {len(faults):,}")
            _first(faults)
    print("\nall holds" if report.holds else "\nNOT all holds")


def _first(faults: Iterable[str]) -> None:
    for number, fault in enumerate(faults):
        if number == SHOWN:
            break
        print(f"    {fault}")


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{count:,} {what}" for what, count in counter.items() if count)
