"""What the outlet does with what aiokafka says when brokers die: nothing of it ends the worker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import (
    KafkaError,
    KafkaTimeoutError,
    RequestTimedOutError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)

from planner.step import Message
from streams.delivery.outlet import Fenced
from streams.kafka.outlet import KafkaOutlet


class Writer:
    """A partition's writer. ``faults``: raised, one by one, before it does what it is asked."""

    def __init__(self, *faults: KafkaError) -> None:
        self.faults = list(faults)
        self.asked: list[str] = []
        self.sent: list[TopicPartition] = []

    async def partitions(self, topic: str) -> int:
        self.asked.append(topic)
        if self.faults:
            raise self.faults.pop(0)
        return 4

    async def transact(self, records: Mapping[TopicPartition, Sequence[Any]], still_ours: Any) -> dict[Any, int]:
        if self.faults:
            raise self.faults.pop(0)
        self.sent += records
        return dict.fromkeys(records, 0)


def outlet_of(writer: Writer, rejoined: list[bool]) -> KafkaOutlet:
    outlet = KafkaOutlet(
        lambda agent: None,  # type: ignore[arg-type, return-value]
        prefix="p.", group="g", parameters={}, retry_limit_s=5.0, rejoin=lambda: rejoined.append(True),
    )  # fmt: skip
    outlet._writers["plan", 0] = writer  # type: ignore[assignment]
    return outlet


async def test_the_number_of_partitions_is_asked_for_patiently() -> None:
    writer = Writer(UnknownTopicOrPartitionError())
    outlet = outlet_of(writer, [])
    await outlet.publish("plan", 0, [Message("forecasts", b"k", b"v")])
    assert writer.asked == ["p.forecasts"] * 2, "again after the fault"
    assert len(writer.sent) == 1


@pytest.mark.parametrize(
    "fault",
    [UnknownTopicOrPartitionError(), RequestTimedOutError(), KafkaTimeoutError(), KafkaError("of any kind")],
)
async def test_what_may_pass_voids_the_transaction(fault: KafkaError) -> None:
    rejoined: list[bool] = []
    outlet = outlet_of(Writer(fault), rejoined)
    with pytest.raises(Fenced):
        await outlet.publish("plan", 0, [Message("outcomes", b"k", b"v", 1)])
    assert rejoined == [True]


async def test_what_will_not_pass_is_told() -> None:
    outlet = outlet_of(Writer(TopicAuthorizationFailedError("outcomes")), [])
    with pytest.raises(TopicAuthorizationFailedError):
        await outlet.publish("plan", 0, [Message("outcomes", b"k", b"v", 1)])
