"""What every log must do; each test runs on the embedded log and on a real Kafka broker."""

from __future__ import annotations

import asyncio
import subprocess
from collections import defaultdict
from collections.abc import AsyncIterator, Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from planner.step import Message, Record
from streams.log import (
    LogClient,
    LogError,
    RecordTooLarge,
    Start,
    TopicMismatch,
    TopicSpec,
    UnknownTopic,
    open_client,
    partition_of,
)

Other = Callable[..., "subprocess.Popen[str]"]


async def read_all(client: LogClient, topic: str, start: Start = "earliest") -> list[Record]:
    return [record async for record in client.read(topic, start)]


async def test_a_record_comes_back_as_it_went(client: LogClient) -> None:
    sent = [
        Message("single", b"key", b"value", headers=(("type", b"a"), ("type", b"b"), ("empty", b""))),
        Message("single", None, b"no key"),
        Message("single", b"no value", None),
        Message("single", b"", b""),
        Message("single", None, None),
        Message("single", "Схема \U0001f489\x1fß".encode(), bytes(range(256)), headers=(("größe-📦", b"\xff\x00"),)),
    ]
    positions = await client.publish(sent)
    received = await read_all(client, "single")

    assert positions == [(0, offset) for offset in range(len(sent))]
    assert [Message(r.topic, r.key, r.value, None, r.headers) for r in received] == sent
    assert [(r.partition, r.offset) for r in received] == positions


async def test_timestamps_are_the_wall_clock_of_publishing(client: LogClient) -> None:
    await client.publish([Message("single", b"a", b"1")])
    await client.publish([Message("single", b"b", b"2")])
    first, second = await read_all(client, "single")
    assert 1_700_000_000_000 < first.timestamp_ms <= second.timestamp_ms


async def test_the_partition_is_that_of_the_key_unless_one_is_given(client: LogClient) -> None:
    keys = [f"booking-{i}".encode() for i in range(50)]
    positions = await client.publish([Message("events", key, b"") for key in keys])
    assert [partition for partition, _ in positions] == [partition_of(key, 4) for key in keys]
    assert len({partition for partition, _ in positions}) == 4

    given_partitions = [3, 0, 3]
    positions = await client.publish([Message("events", b"same", b"", partition) for partition in given_partitions])
    assert [partition for partition, _ in positions] == given_partitions


async def test_order_is_kept_within_each_partition(client: LogClient) -> None:
    sent = [Message("events", f"k{i % 7}".encode(), str(i).encode()) for i in range(3_000)]
    for at in range(0, len(sent), 1_000):
        await client.publish(sent[at : at + 1_000])
    received = await read_all(client, "events")
    assert len(received) == len(sent)
    for partition in range(4):
        values = [int(r.value or b"") for r in received if r.partition == partition]
        assert values == sorted(values)
        assert [r.offset for r in received if r.partition == partition] == list(range(len(values)))


async def test_reading_begins_where_it_is_told_and_ends_at_the_end(client: LogClient) -> None:
    await client.publish([Message("events", None, str(i).encode(), i % 4) for i in range(40)])
    assert await client.end_offsets("events") == {0: 10, 1: 10, 2: 10, 3: 10}
    assert await read_all(client, "events", "latest") == []
    part = await read_all(client, "events", {0: 8, 1: 10, 2: 9, 3: 10})
    assert sorted((r.partition, r.offset) for r in part) == [(0, 8), (0, 9), (2, 9)]
    one = [r.offset async for r in client.read("events", {1: 4}, partitions=[1])]
    assert one == [4, 5, 6, 7, 8, 9]
    chunks = [chunk async for chunk in client.read_chunks("events", records_max=3)]
    assert sum(map(len, chunks)) == 40
    assert all(1 <= len(chunk) <= 3 and len({r.partition for r in chunk}) == 1 for chunk in chunks)


async def test_an_offset_beyond_the_end_is_an_error(client: LogClient) -> None:
    await client.publish([Message("single", b"a", b"")])
    with pytest.raises(LogError, match=r"offset 7 is beyond the end \(1\)"):
        await read_all(client, "single", {0: 7})


async def test_records_published_while_reading_are_beyond_its_end(client: LogClient) -> None:
    await client.publish([Message("single", b"a", str(i).encode()) for i in range(10)])
    seen = 0
    async for _ in client.read_chunks("single", records_max=4):
        if not seen:
            await client.publish([Message("single", b"later", b"")])
        seen += len(_)
    assert seen == 10


async def test_latest_is_the_last_value_of_each_key(client: LogClient) -> None:
    await client.publish([Message("table", f"a{i % 5}".encode(), str(i).encode()) for i in range(25)])
    await client.publish([Message("table", b"a3", None), Message("table", b"b0", b"x"), Message("table", b"a4", b"")])
    view = await client.latest("table")
    assert {key: record.value for key, record in view.items()} == {
        **{b"a0": b"20", b"a1": b"21", b"a2": b"22", b"a4": b""},
        b"b0": b"x",
    }
    assert view[b"a0"].key == b"a0"
    assert view[b"a0"].topic == "table"
    assert set(await client.latest("table", key_prefix=b"b")) == {b"b0"}
    partition = partition_of(b"a0", 4)
    assert set(await client.latest("table", partition)) == {k for k in view if partition_of(k, 4) == partition}


async def test_of_a_key_in_several_partitions_the_newest_record_counts(client: LogClient) -> None:
    await client.publish([Message("table", b"catalogue", b"old", partition) for partition in range(4)])
    await asyncio.sleep(0.005)  # timestamps are in milliseconds
    await client.publish([Message("table", b"catalogue", b"new", 2)])
    assert (await client.latest("table"))[b"catalogue"].value == b"new"
    assert (await client.latest("table", 0))[b"catalogue"].value == b"old"


async def test_prefixes_with_the_highest_bytes(client: LogClient) -> None:
    keys = [b"\xff", b"\xff\xff", b"\xff\xffa", b"\xfe\xff", b"a\xff\xff", b"b"]
    await client.publish([Message("table", key, b"1") for key in keys])
    for prefix in (b"", b"\xff", b"\xff\xff", b"a", b"a\xff", b"\xfe", b"c"):
        assert set(await client.latest("table", key_prefix=prefix)) == {k for k in keys if k.startswith(prefix)}


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
async def test_latest_equals_a_dictionary(client: LogClient, data: st.DataObject) -> None:
    """Whatever is published in whatever pieces: the view is what a dictionary holds after the same writes."""
    writes = st.lists(
        st.tuples(st.sampled_from([b"k1", b"k2", b"\x1f"]), st.none() | st.binary(max_size=3)), max_size=6
    )
    model = {key: record.value for key, record in (await client.latest("table")).items()}
    for piece in data.draw(st.lists(writes, max_size=4)):
        await client.publish([Message("table", key, value) for key, value in piece])
        model |= dict(piece)
    expected = {key: value for key, value in model.items() if value is not None}
    assert {key: record.value for key, record in (await client.latest("table")).items()} == expected


async def test_a_follower_sees_what_another_process_publishes(client: LogClient, other: Other) -> None:
    other("publish", "events", "from-another-process", 20)
    seen = set()
    async with asyncio.timeout(60):
        async for record in client.read("events", "earliest", follow=True):
            seen.add(record.value)
            if len(seen) == 20:
                break
    assert seen == {f"from-another-process-{i}".encode() for i in range(20)}


async def test_a_follower_that_starts_at_the_end_sees_only_what_comes_then(client: LogClient) -> None:
    await client.publish([Message("single", b"old", b"")])
    ends = await client.end_offsets("single")
    await client.publish([Message("single", b"new", b"")])
    async with asyncio.timeout(60):
        async for record in client.read("single", ends, follow=True):
            assert record.key == b"new"
            break


async def test_a_large_record_fits_and_a_larger_one_is_refused_with_size_and_limit(client: LogClient) -> None:
    limit = 1_048_576
    fits = Message("single", b"key", bytes(limit - 3 - 5), headers=(("h", b"four"),))
    await client.publish([fits])
    with pytest.raises(RecordTooLarge, match=r"topic single: .*'key'.* 1,048,577 bytes .* at most 1,048,576") as error:
        await client.publish([Message("single", b"before", b""), fits._replace(value=bytes(limit - 3 - 4))])
    assert (error.value.size_bytes, error.value.limit_bytes) == (limit + 1, limit)
    received = await read_all(client, "single")
    assert [len(record.value or b"") for record in received] == [limit - 8], "nothing of the refused call is written"


async def test_dead_letters_may_be_sixteen_mebibytes(client: LogClient) -> None:
    value = bytes(16_777_216)
    await client.publish([Message("large", None, value), Message("large", None, b"small")])
    assert [record.value for record in await read_all(client, "large")] == [value, b"small"]
    with pytest.raises(RecordTooLarge, match=r"16,777,217 bytes .* at most 16,777,216"):
        await client.publish([Message("large", None, value + b"1")])


async def test_many_records_of_middling_size_in_one_call(client: LogClient) -> None:
    """More than any one request takes."""
    sent = [Message("events", f"k{i}".encode(), bytes(200_000)) for i in range(60)]
    positions = await client.publish(sent)
    assert len(set(positions)) == 60
    assert len(await read_all(client, "events")) == 60


async def test_publishers_at_once_lose_nothing_and_keep_their_order(client: LogClient, other: Other) -> None:
    processes = [other("publish", "single", f"process{i}", 100) for i in range(2)]
    processes.append(other("burst", "single", "burst", 500))

    async def publish(name: str) -> None:
        for i in range(100):
            await client.publish([Message("single", f"{name}-{i}".encode(), b"")])

    await asyncio.gather(*(publish(f"task{i}") for i in range(3)))
    for process in processes:
        assert await asyncio.to_thread(process.wait, 60) == 0
    by_publisher = defaultdict(list)
    for record in await read_all(client, "single"):
        name, _, number = (record.key or b"").decode().rpartition("-")
        by_publisher[name].append(int(number))
    counts = {**{f"process{i}": 100 for i in range(2)}, **{f"task{i}": 100 for i in range(3)}, "burst": 500}
    assert by_publisher == {name: list(range(count)) for name, count in counts.items()}


@pytest.mark.parametrize("after", [1, 37, 150])
async def test_a_killed_publisher_loses_nothing_it_was_told_is_written(
    client: LogClient, other: Other, after: int
) -> None:
    process = other("publish", "events", "victim", 100_000)
    assert process.stdout is not None
    acknowledged = [process.stdout.readline().split() for _ in range(after)]
    process.kill()
    acknowledged += [line.split() for line in process.stdout if line.endswith("\n")]
    process.wait()

    received = {(r.partition, r.offset): r.key for r in await read_all(client, "events")}
    for key, partition, offset in acknowledged:
        assert received[int(partition), int(offset)] == key.encode()
    assert len(set(received.values())) == len(received), "nothing twice"
    # and the log goes on
    await client.publish([Message("events", b"afterwards", b"")])


async def test_topics_that_are_not_there(client: LogClient) -> None:
    async def drain(records: AsyncIterator[Record]) -> None:
        async for _ in records:
            pass

    for ask in (
        client.partitions("bookigns"),
        client.end_offsets("bookigns"),
        client.latest("bookigns"),
        client.publish([Message("bookigns", b"", b"")]),
        drain(client.read("bookigns")),
    ):
        with pytest.raises(UnknownTopic, match="bookigns"):
            await ask
    for ask in (
        client.publish([Message("events", b"fine", b""), Message("events", b"", b"", 4)]),
        drain(client.read("events", partitions=[4])),
    ):
        with pytest.raises(UnknownTopic, match="no partition 4, expected 0 to 3"):
            await ask
    assert await read_all(client, "events") == []


async def test_ensuring_topics_again_changes_nothing_and_a_mismatch_is_told(client: LogClient) -> None:
    await client.publish([Message("single", b"kept", b"")])
    await client.ensure_topics([TopicSpec("single", 1), TopicSpec("events", 4)])
    assert await client.partitions("events") == 4
    with pytest.raises(TopicMismatch, match=r"events: partitions is 4, expected 8"):
        await client.ensure_topics([TopicSpec("new", 2), TopicSpec("events", 8)])
    with pytest.raises(TopicMismatch, match=r"events: compacted is False, expected True"):
        await client.ensure_topics([TopicSpec("events", 4, compacted=True)])
    assert [record.key for record in await read_all(client, "single")] == [b"kept"]


async def test_a_topics_limit_can_be_raised(client: LogClient, broker_url: str, prefix: str) -> None:
    message = Message("single", b"k", bytes(1_500_000))
    with pytest.raises(RecordTooLarge):
        await client.publish([message])
    await client.ensure_topics([TopicSpec("single", 1, max_message_bytes=2_000_000)])
    await client.publish([message])
    async with open_client(broker_url, prefix) as another:
        await another.publish([message])
    assert await client.end_offsets("single") == {0: 2}


async def test_prefixes_keep_logs_apart(client: LogClient, broker_url: str, prefix: str) -> None:
    async with open_client(broker_url, f"{prefix}second.") as second:
        await second.ensure_topics([TopicSpec("single", 1)])
        await second.publish([Message("single", b"second", b"")])
        await client.publish([Message("single", b"first", b"")])
        assert [(r.topic, r.key) for r in await read_all(second, "single")] == [("single", b"second")]
    assert [(r.topic, r.key) for r in await read_all(client, "single")] == [("single", b"first")]


async def test_publishing_nothing_is_fine_and_a_closed_client_says_so(client: LogClient) -> None:
    assert await client.publish([]) == []
    await client.close()
    await client.close()
    with pytest.raises(LogError, match="client is"):
        await client.publish([Message("single", b"", b"")])
