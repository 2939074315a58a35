"""A booking system whose Kafka producer compresses: the worker reads and answers its events like any others."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
from aiokafka import AIOKafkaProducer

from tests.integration.bad_events import booking
from tests.kafka_broker import KafkaCluster
from tests.worker import Worker

pytestmark = [pytest.mark.slow, pytest.mark.kafka]

CODECS = ("gzip", "snappy", "lz4", "zstd")
EACH = 20


async def test_bookings_are_applied_however_their_producer_compresses(
    kafka: KafkaCluster, prefix: str, tmp_path: Path
) -> None:
    with Worker(kafka.url, prefix, tmp_path, "--clock", "event") as worker:
        for codec in CODECS:
            # they wait for one another, so that a batch is worth compressing
            async with AIOKafkaProducer(
                bootstrap_servers=kafka.bootstrap, compression_type=codec, linger_ms=50
            ) as booking_system:
                for number in range(EACH):
                    name = f"{codec}-{number}"
                    await booking_system.send(prefix + "bookings", orjson.dumps(booking(name)), key=name.encode())
        async with worker.client() as client:
            await worker.settled(client)
            outcomes = [orjson.loads(record.value or b"") async for record in client.read("outcomes")]
    applied = {outcome["booking_id"] for outcome in outcomes if outcome["status"] == "applied"} - {None}
    assert applied == {f"{codec}-{number}" for codec in CODECS for number in range(EACH)}
