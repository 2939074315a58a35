"""The short form of ``python -m tests.soak.stalls``: a broker stalls, and the worker waits, or gives up and says so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.kafka_broker import KafkaCluster
from tests.soak import kafka_load
from tests.soak.stalls import run

pytestmark = [pytest.mark.slow, pytest.mark.kafka]

SEED = 5
BOOKINGS = 12_000


@pytest.mark.parametrize("patient", [True, False])
async def test_a_stalled_broker_costs_no_memory_and_no_event(
    patient: bool, kafka_of: Callable[..., KafkaCluster], tmp_path: Path
) -> None:
    bookings = kafka_load.book("city-like", BOOKINGS, SEED)
    limit_s, stall_s = (300.0, 8.0) if patient else (10.0, 15.0)
    result = await run(kafka_of(), tmp_path, bookings, seed=SEED, stalls=1, stall_s=stall_s, retry_limit_s=limit_s)
    assert not result.wrong
    (stall,) = result.stalls
    assert stall.waiting
    assert stall.ended is not patient
    assert result.published > BOOKINGS
    assert result.verified > BOOKINGS
