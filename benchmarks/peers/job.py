"""What the peers' programs have in common: the two jobs as steps, their inputs, and the command line."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks import load
from benchmarks.peers.small import BookingSmall, PlanSmall
from planner.booking_step import BookingStep
from planner.catalogue.model import Bundle
from planner.plan_step import PlanStep
from planner.step import Step
from streams.names import EXPAND, PLAN

PARTITIONS = 4
INPUT = {EXPAND: "bookings", PLAN: "requirements"}
"""Agent → the topic that carries its records."""
OUTPUT = "totals"
"""Where the small job's second step publishes; the whole core's topics are the planner's."""

StepMaker = Callable[[int], Step]


@dataclass(frozen=True)
class Task:
    """What a peer's program is told."""

    job: str
    broker: str
    """``host:port`` of the bootstrap servers."""
    prefix: str
    directory: Path
    """For its state; empty."""
    sites: int
    """Of the synthetic chain; 0: the default catalogue."""

    @property
    def bundle(self) -> Bundle:
        """The catalogue of the whole core."""
        return load.bundle_of_sites(self.sites) if self.sites else load.default_bundle()

    def steps(self) -> dict[str, StepMaker]:
        """Agent → the maker of its step."""
        if self.job == "small":
            return {EXPAND: lambda _: BookingSmall(), PLAN: lambda _: PlanSmall()}
        bundle = self.bundle
        return {
            EXPAND: lambda partition: BookingStep(partition, PARTITIONS, bundle, clock="event"),
            PLAN: lambda partition: PlanStep(partition, bundle, clock="event"),
        }


def task() -> Task:
    """From the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--job", choices=("whole", "small"), required=True)
    parser.add_argument("--broker", required=True)
    parser.add_argument("--prefix", required=True)
    parser.add_argument("--directory", type=Path, required=True)
    parser.add_argument("--sites", type=int, default=0)
    given = parser.parse_args()
    given.directory.mkdir(parents=True, exist_ok=True)
    return Task(given.job, given.broker, given.prefix, given.directory, given.sites)
