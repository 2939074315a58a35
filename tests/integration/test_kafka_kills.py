"""The short form of ``python -m tests.soak.kafka_kills``: two workers on one broker, some of them killed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.kafka_broker import KafkaCluster
from tests.soak import kafka_load
from tests.soak.kafka_kills import BROKER_SETTINGS, Plan, run

pytestmark = [pytest.mark.slow, pytest.mark.kafka]

SEED = 5
BOOKINGS = 150


def test_killed_workers_lose_nothing_and_double_nothing(kafka_of: Callable[..., KafkaCluster], tmp_path: Path) -> None:
    bookings = kafka_load.book("short-leads", BOOKINGS, SEED)
    plan = Plan(
        SEED, kills=2, broker_kills=0, stops=1, workers=2, brokers=1, gap_s=1.0, readers=False, bookings=bookings
    )
    report = run(plan, tmp_path, kafka_of(nodes=1, settings=BROKER_SETTINGS))
    assert report.holds, {kind: faults[:3] for kind, faults in report.wrong.items() if faults}
    assert len(report.faults) == 3
    assert report.findings.events > BOOKINGS
    assert set(report.findings.statuses) == {"applied", "duplicate", "refused", "dead-lettered"}
    assert not report.findings.repeats.total()
