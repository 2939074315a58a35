"""What only Kafka has: brokers that are absent, refuse, hang or die; TLS and passwords; settings of topics."""

from __future__ import annotations

import asyncio
import re
import socket
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaError,
    LeaderNotAvailableError,
    NodeNotReadyError,
    NotLeaderForPartitionError,
    RequestTimedOutError,
    TopicAuthorizationFailedError,
)
from click.testing import CliRunner

from planner.step import Message
from streams.cli import main
from streams.cli.base import Exit
from streams.kafka import client as kafka_client
from streams.kafka import topics as kafka_topics
from streams.kafka.client import KafkaClient
from streams.log import LogError, LogUnavailable, Security, TopicSpec, bootstrap_servers, open_client
from tests.kafka_broker import SCRAM_PASSWORD, SCRAM_USER, KafkaCluster


async def test_a_broker_that_is_not_there_is_named() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    with pytest.raises(LogUnavailable, match=rf"no Kafka broker .*127\.0\.0\.1:{port}: nothing listens there"):
        await open_client(f"kafka://127.0.0.1:{port}")


async def test_a_broker_that_never_answers_is_given_up_on_in_time() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        with pytest.raises(LogUnavailable, match=r"no answer within 0\.2 s"):
            await open_client(f"kafka://127.0.0.1:{port}", timeout_seconds=0.2)


@pytest.mark.kafka
async def test_one_broker_of_the_list_is_enough(kafka: KafkaCluster, prefix: str) -> None:
    async with open_client(f"kafka://127.0.0.1:1,{kafka.bootstrap}", prefix) as client:
        await client.ensure_topics([TopicSpec("t", 1)])


@pytest.mark.kafka
async def test_topics_are_made_with_their_settings_and_brought_up_to_date(kafka: KafkaCluster, prefix: str) -> None:
    async def settings(name: str) -> dict[str, str]:
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
        await admin.start()
        try:
            return {
                key: value
                for key, (value, _) in (await kafka_topics._configs(admin, [prefix + name], None))[
                    prefix + name
                ].items()
            }
        finally:
            await admin.close()

    table = TopicSpec("table", 3, compacted=True, compaction_lag_ms=5_000, tombstone_ms=7_000)
    async with open_client(kafka.url, prefix) as client:
        await client.ensure_topics([table, TopicSpec("events", 2, retention_ms=86_400_000), TopicSpec("kept", 1)])
        assert {await client.partitions(name) for name in ("table", "events", "kept")} == {3, 2, 1}
        made = await settings("table")
        assert made["cleanup.policy"] == "compact"
        assert (made["min.compaction.lag.ms"], made["delete.retention.ms"]) == ("5000", "7000")
        made = await settings("events")
        assert (made["cleanup.policy"], made["retention.ms"]) == ("delete", "86400000")
        assert (await settings("kept"))["retention.ms"] == "-1"

        await client.ensure_topics([replace(table, tombstone_ms=9_000)])
        made = await settings("table")
        assert made["delete.retention.ms"] == "9000"


async def _set(kafka: KafkaCluster, topic: str, values: dict[str, str]) -> None:
    """Set settings of a topic, keeping its others."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await admin.start()
    try:
        known = (await kafka_topics._configs(admin, [topic], None))[topic]
        own = {key: value for key, (value, source) in known.items() if source == 1}
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, own | values)])
    finally:
        await admin.close()


@pytest.mark.kafka
async def test_settings_that_somebody_else_made_are_kept(kafka: KafkaCluster, prefix: str) -> None:
    async with open_client(kafka.url, prefix) as client:
        await client.ensure_topics([TopicSpec("t", 1)])
        await _set(kafka, prefix + "t", {"segment.ms": "123456"})
        await client.ensure_topics([TopicSpec("t", 1, retention_ms=1_000_000)])
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await admin.start()
    known = (await kafka_topics._configs(admin, [prefix + "t"], None))[prefix + "t"]
    await admin.close()
    assert (known["segment.ms"][0], known["retention.ms"][0]) == ("123456", "1000000")


@pytest.mark.kafka
@pytest.mark.slow
async def test_the_view_is_the_same_after_kafka_has_compacted(kafka: KafkaCluster, prefix: str) -> None:
    """And reading ends although the last records of a partition may be gone."""
    async with open_client(kafka.url, prefix) as client:
        await client.ensure_topics([TopicSpec("table", 1, compacted=True, compaction_lag_ms=0, tombstone_ms=0)])
        await _set(kafka, prefix + "table", {"segment.ms": "100", "min.cleanable.dirty.ratio": "0.001"})
        for round_ in range(5):
            await client.publish([Message("table", f"k{i}".encode(), f"{round_}".encode()) for i in range(100)])
            await asyncio.sleep(0.15)  # so that the next record begins a new segment
        await client.publish([Message("table", f"k{i}".encode(), None) for i in range(50)])
        expected = {f"k{i}".encode(): b"4" for i in range(50, 100)}
        deadline = time.monotonic() + 60
        while True:
            left = [record async for record in client.read("table")]
            assert {key: record.value for key, record in (await client.latest("table")).items()} == expected
            if len(left) < 250:
                break
            assert time.monotonic() < deadline, f"Kafka keeps {len(left)} records"
            await client.publish([Message("table", b"k0", None)])  # a new segment, so that the last may be compacted
            await asyncio.sleep(0.3)
        assert (await client.end_offsets("table"))[0] >= 550


@pytest.mark.kafka
async def test_tls_and_password(kafka_of: Callable[..., KafkaCluster], tmp_path: Path) -> None:
    cluster = kafka_of(secured=True)
    url = f"kafka://{cluster.secure_bootstrap}"
    good = Security("SASL_SSL", "SCRAM-SHA-512", SCRAM_USER, SCRAM_PASSWORD, ca_file=cluster.ca_file)
    async with open_client(url, security=good) as client:
        await client.ensure_topics([TopicSpec("t", 1)])
        await client.publish([Message("t", b"k", b"secret")])
        assert [record.value async for record in client.read("t")] == [b"secret"]

    for bad, expected in (
        (replace(good, password="wrong"), "refuses the user name or password"),
        (replace(good, ca_file=None), "no TLS connection: self-signed certificate"),
        (replace(good, protocol="PLAINTEXT"), "the connection failed|no answer"),
    ):
        with pytest.raises(LogUnavailable, match=expected) as error:
            await open_client(url, security=bad, timeout_seconds=3)
        assert "wrong" not in str(error.value)
        assert SCRAM_PASSWORD not in str(error.value) + repr(bad)
    with pytest.raises(LogUnavailable, match=r"TLS: cannot use .*absent\.pem"):
        await open_client(url, security=replace(good, ca_file=tmp_path / "absent.pem"))


@pytest.mark.kafka
async def test_a_hanging_broker_is_reported_in_time_and_publishing_goes_on_when_it_is_back(
    kafka_of: Callable[..., KafkaCluster],
) -> None:
    cluster = kafka_of()
    client = KafkaClient(bootstrap_servers(cluster.url), timeout_seconds=3, delivery_seconds=1, retry_seconds=1)
    async with client:
        await client.ensure_topics([TopicSpec("t", 1)])
        await client.publish([Message("t", b"before", b"")])
        cluster.stop(0)
        with pytest.raises(LogUnavailable, match=r"not acknowledged 1 record\(s\) within 1 s; some of them may"):
            await client.publish([Message("t", b"during", b"")])
        with pytest.raises(LogUnavailable):
            await client.end_offsets("t")
        cluster.resume(0)
        cluster.wait()
        async with asyncio.timeout(60):
            while True:
                try:
                    await client.publish([Message("t", b"after", b"")])
                    break
                except LogUnavailable:
                    await asyncio.sleep(0.1)
        keys = [record.key async for record in client.read("t")]
        assert keys[0] == b"before"
        assert keys[-1] == b"after"


@pytest.mark.kafka
@pytest.mark.slow
async def test_killing_a_broker_of_three_loses_and_doubles_nothing(kafka_of: Callable[..., KafkaCluster]) -> None:
    cluster = kafka_of(nodes=3)
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(open_client(cluster.url, timeout_seconds=10))
        await client.ensure_topics([TopicSpec("t", 3)])
        readers = [await stack.enter_async_context(open_client(cluster.url)) for _ in range(8)]
        acknowledged: dict[tuple[int, int], bytes] = {}
        killed = False
        for i in range(300):
            if i == 100:
                await asyncio.to_thread(cluster.kill, 0)
                killed = True
            keys = [f"{i}-{j}".encode() for j in range(5)]
            positions = await client.publish([Message("t", key, b"") for key in keys])
            acknowledged |= dict(zip(positions, keys, strict=True))
        assert killed
        for reader in readers:  # each asks any broker of those it knows, the dead one among them
            assert sum((await reader.end_offsets("t")).values()) == 1_500
        found = {(r.partition, r.offset): r.key async for r in client.read("t")}
    assert found == acknowledged
    assert len(found) == 1_500


async def test_a_client_that_was_not_opened_says_so() -> None:
    client = KafkaClient(["127.0.0.1:9"])
    with pytest.raises(LogError, match="not open"):
        await client.partitions("t")
    await client.close()


# --- a broker that is down while somebody reads ---------------------------------------------------------------


class Brokers:
    """Stands in for aiokafka's admin client and consumer; each question meets ``faults`` one by one, then is answered.

    One topic of one partition, of three records.
    """

    def __init__(self, *faults: KafkaError) -> None:
        self.faults = faults
        self.met: Counter[str] = Counter()

    def _meet(self, question: str) -> None:
        self.met[question] += 1
        if self.met[question] <= len(self.faults):
            raise self.faults[self.met[question] - 1]

    async def start(self) -> None:
        self._meet("start")

    async def stop(self) -> None:
        """Nothing is open."""

    close = stop

    async def describe_topics(self, topics: None) -> list[dict[str, Any]]:
        self._meet("describe_topics")
        return [{"topic": "t", "partitions": [{}]}]

    async def beginning_offsets(self, asked: list[TopicPartition]) -> dict[TopicPartition, int]:
        self._meet("beginning_offsets")
        return dict.fromkeys(asked, 0)

    async def end_offsets(self, asked: list[TopicPartition]) -> dict[TopicPartition, int]:
        self._meet("end_offsets")
        return dict.fromkeys(asked, 3)

    def assign(self, targets: list[TopicPartition]) -> None:
        """There is one."""

    def seek(self, target: TopicPartition, offset: int) -> None:
        """It is read once, as a whole."""

    pause = assign

    async def position(self, target: TopicPartition) -> int:
        self._meet("position")
        return 3

    async def getmany(self, timeout_ms: int, max_records: int) -> dict[TopicPartition, list[Any]]:
        self._meet("getmany")
        target = TopicPartition("t", 0)
        return {target: [ConsumerRecord("t", 0, n, 0, 0, b"k", b"v", None, 1, 1, ()) for n in range(3)]}


def client_over(brokers: Brokers, monkeypatch: pytest.MonkeyPatch, *, retry_seconds: float) -> KafkaClient:
    async def reached(*arguments: Any) -> None:
        """Some broker is there."""

    monkeypatch.setattr(kafka_client, "reach", reached)
    for name in ("AIOKafkaAdminClient", "AIOKafkaConsumer"):
        monkeypatch.setattr(kafka_client, name, lambda **parameters: brokers)
    return KafkaClient(["a:1", "b:1"], retry_seconds=retry_seconds)


PASSING = (
    NodeNotReadyError("node 2"),
    KafkaConnectionError("node 2"),
    RequestTimedOutError(),
    LeaderNotAvailableError(),
    NotLeaderForPartitionError(),
)


@pytest.mark.parametrize("fault", PASSING, ids=lambda fault: type(fault).__name__)
async def test_a_reader_tries_again_what_a_broker_that_is_down_does_not_answer(
    fault: KafkaError, monkeypatch: pytest.MonkeyPatch
) -> None:
    brokers = Brokers(fault, fault)
    async with client_over(brokers, monkeypatch, retry_seconds=10) as client:
        assert [record.offset async for record in client.read("t")] == [0, 1, 2]
    questions = ("describe_topics", "end_offsets", "beginning_offsets", "getmany", "position")
    assert {question: brokers.met[question] for question in questions} == dict.fromkeys(questions, 3)


async def test_a_reader_gives_up_after_a_while_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    brokers = Brokers()
    async with client_over(brokers, monkeypatch, retry_seconds=0.4) as client:
        brokers.faults = (NodeNotReadyError("node 2"),) * 1_000
        began = time.monotonic()
        with pytest.raises(LogUnavailable, match=r"a:1,b:1 does not answer \(NodeNotReadyError.*; tried for 0\.\d s"):
            await client.end_offsets("t")
        assert 0.1 < time.monotonic() - began < 2
        assert 3 <= brokers.met["describe_topics"] <= 6, "the pauses grow"


async def test_what_will_not_pass_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    brokers = Brokers()
    async with client_over(brokers, monkeypatch, retry_seconds=10) as client:
        brokers.faults = (TopicAuthorizationFailedError("t"),) * 3
        with pytest.raises(LogError, match="TopicAuthorizationFailedError") as error:
            await client.partitions("t")
        assert not isinstance(error.value, LogUnavailable)
        assert brokers.met["describe_topics"] == 1


def test_a_command_that_gave_up_ends_with_the_status_of_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    brokers = Brokers(*(NodeNotReadyError("node 2"),) * 1_000)
    client_over(brokers, monkeypatch, retry_seconds=0)
    monkeypatch.setitem(KafkaClient.__init__.__kwdefaults__, "retry_seconds", 0.2)
    ended = CliRunner().invoke(main, ["--broker", "kafka://a:1", "forecasts", "--site", "north"])
    assert ended.exit_code == Exit.LOG, ended.output
    assert re.search(r"does not answer \(NodeNotReadyError.*tried for 0\.\d s", ended.stderr)
    assert ended.stdout == ""


@pytest.mark.kafka
@pytest.mark.parametrize("compression", [None, "gzip", "snappy", "lz4", "zstd"])
async def test_what_others_have_compressed_is_read(kafka: KafkaCluster, prefix: str, compression: str | None) -> None:
    """Booking systems compress as they like."""
    values = [b'{"booking_id": "b-%d"}' % n for n in range(200)]
    async with open_client(kafka.url, prefix) as client:
        await client.ensure_topics([TopicSpec("bookings", 1)])
        async with AIOKafkaProducer(
            bootstrap_servers=kafka.bootstrap, compression_type=compression, linger_ms=20
        ) as booking_system:
            for value in values:
                await booking_system.send(prefix + "bookings", value, key=b"b")
        assert [record.value async for record in client.read("bookings")] == values


@pytest.mark.kafka
async def test_what_is_alike_takes_little_room_on_the_brokers(kafka: KafkaCluster, prefix: str) -> None:
    lines = b",".join(b'{"line": "magnesium.syringe", "item": "syringe-%dml", "mean": "1"}' % n for n in range(40))
    messages = [Message("requirements", b"north", b'{"booking_id": "b-%d", "lines": [%b]}' % (n, lines), 0)
                for n in range(500)]  # fmt: skip
    async with open_client(kafka.url, prefix) as client:
        await client.ensure_topics([TopicSpec("requirements", 1)])
        await client.publish(messages)
        assert [record.value async for record in client.read("requirements")] == [m.value for m in messages]
    kept = kafka.directory.glob(f"node-*/data/{prefix}requirements-0/*.log")
    size = sum(segment.stat().st_size for segment in kept)
    assert 0 < size < sum(len(m.value or b"") for m in messages) / 20
