"""An input is read on, chunk by chunk: holes that nobody made are passed over, removed records are told."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Any

import pytest

from planner.step import Record
from streams.verify.readers import Gone, InputReader


class Log:
    """A partition with holes. ``open``: streams that were not closed."""

    def __init__(self, offsets: list[int], first: int = 0) -> None:
        self.offsets = offsets
        self.first = first
        self.open = 0

    async def first_offsets(self, topic: str) -> dict[int, int]:
        return {0: self.first}

    async def read_chunks(self, topic: str, start: Mapping[int, int], **how: Any) -> AsyncGenerator[list[Record], None]:
        self.open += 1
        try:
            waiting = [offset for offset in self.offsets if offset >= start[0]]
            while waiting:
                chunk, waiting = waiting[:2], waiting[2:]
                yield [Record(topic, 0, offset, 0, None, b"") for offset in chunk]
        finally:
            self.open -= 1


def reader(log: Log) -> InputReader:
    return InputReader(log, "stock", 0, compacted=False)  # type: ignore[arg-type]


async def test_markers_of_transactions_are_no_loss() -> None:
    log = Log([0, 1, 3, 4, 6])
    inputs = reader(log)
    taken = [[record.offset for record in await inputs.take(*stretch)] for stretch in [(0, 2), (2, 3), (3, 6), (6, 8)]]
    assert taken == [[0, 1], [], [3, 4], [6]]
    assert log.open == 0, "each stream is a consumer on Kafka"


async def test_what_comes_later_is_read_later() -> None:
    log = Log([0, 1, 2])
    inputs = reader(log)
    assert len(await inputs.take(0, 3)) == 3
    log.offsets += [3, 5]
    assert [record.offset for record in await inputs.take(3, 6)] == [3, 5]


async def test_what_was_removed_is_told() -> None:
    log = Log([5, 6], first=5)
    with pytest.raises(Gone, match="stock/0: offsets 3 to 4"):
        await reader(log).take(3, 7)
