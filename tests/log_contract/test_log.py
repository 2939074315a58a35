"""Addresses, partitions, descriptions of topics."""

from __future__ import annotations

from pathlib import Path

import pytest
from aiokafka.partitioner import murmur2 as reference_murmur2
from hypothesis import given
from hypothesis import strategies as st

from planner.step import Message
from streams.log import TopicSpec, bootstrap_servers, database_path, is_embedded, murmur2, open_client, size_bytes


@pytest.mark.parametrize(
    ("text", "signed"),
    [
        ("21", -973932308),
        ("foobar", -790332482),
        ("a-little-bit-long-string", -985981536),
        ("a-little-bit-longer-string", -1486304829),
        ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        ("abc", 479470107),
    ],
)
def test_murmur2_is_that_of_kafkas_java_client(text: str, signed: int) -> None:
    """Source: org.apache.kafka.common.utils.UtilsTest.testMurmur2."""
    assert murmur2(text.encode()) == signed & 0xFFFFFFFF


@given(st.binary(max_size=100))
def test_murmur2_equals_aiokafkas(data: bytes) -> None:
    assert murmur2(data) == reference_murmur2(data) & 0xFFFFFFFF


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///planner.db", "planner.db"),
        ("sqlite:///a/b.db", "a/b.db"),
        ("sqlite:////var/lib/planner.db", "/var/lib/planner.db"),
        ("sqlite:///with%20space.db", "with space.db"),
    ],
)
def test_paths_of_embedded_logs(url: str, path: str) -> None:
    assert is_embedded(url)
    assert database_path(url) == Path(path)


@pytest.mark.parametrize(
    ("url", "servers"),
    [
        ("kafka://a:9093", ["a:9093"]),
        ("kafka://a", ["a:9092"]),
        ("kafka://a:1,b:2,c", ["a:1", "b:2", "c:9092"]),
        ("kafka://a:1;kafka://b:2", ["a:1", "b:2"]),
        ("kafka://[::1]:9092", ["[::1]:9092"]),
        ("kafka://[::1]", ["[::1]:9092"]),
        ("kafka://a:1/", ["a:1"]),
    ],
)
def test_servers_of_kafka(url: str, servers: list[str]) -> None:
    assert not is_embedded(url)
    assert bootstrap_servers(url) == servers


@pytest.mark.parametrize(
    "url",
    ["", "planner.db", "redis://a", "sqlite://planner.db", "sqlite:///", "sqlite:///dir/", "kafka://", "kafka://a:b",
     "kafka://a:0", "kafka://a:70000", "kafka://a:1,,b", "kafka://user@a:1", "kafka://a:1/topic"],
)  # fmt: skip
def test_addresses_that_mean_nothing(url: str) -> None:
    with pytest.raises(ValueError, match="expected sqlite:///FILE"):
        open_client(url)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": ""}, "topic name"),
        ({"partitions": 0}, "partitions 0, expected 1 or more"),
        ({"compacted": True, "retention_ms": 1}, "expected none on a compacted topic"),
        ({"retention_ms": 0}, "retention 0 ms"),
        ({"max_message_bytes": 0}, "max_message_bytes 0"),
        ({"tombstone_ms": -1}, "tombstone_ms -1"),
    ],
)
def test_topics_that_cannot_be(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TopicSpec(**{"name": "t", "partitions": 1} | values)  # type: ignore[arg-type]


def test_size_counts_key_value_and_headers() -> None:
    assert size_bytes(Message("t", b"key", b"value", None, (("ü", b"123"),))) == 3 + 5 + 2 + 3
    assert size_bytes(Message("t", None, None)) == 0
