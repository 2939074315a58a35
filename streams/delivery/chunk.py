"""A chunk: what one fetch brought of one partition. It travels through Faust as the value of a single message."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from faust import Schema

from planner.step import Record


@dataclass(frozen=True, slots=True)
class Chunk:
    """Records of one partition, in order, and the stretch of the log they stand for.

    The stretch is what makes a loss visible: offsets may have natural holes (compaction, transaction markers), but
    two chunks that follow each other meet: the ``end`` of one is the ``start`` of the next.
    """

    topic: str
    """Full name, with the prefix."""
    partition: int
    start: int
    """Where the fetch continued: offset of the first record that could have come."""
    end: int
    """Where the next fetch continues: one past the last record, or past what cannot be seen behind it."""
    behind: int
    """Records that wait in the log behind this chunk, as known when it was fetched."""
    records: list[Record]

    @property
    def last_offset(self) -> int:
        """The offset that Faust's message bears."""
        return self.end - 1


class ChunkSchema(Schema):  # type: ignore[misc]
    """Hands the chunk over as it is: a record that cannot be decoded is the step's to judge, not the conductor's."""

    def loads_key(self, app: Any, message: Any, *, loads: Any = None, serializer: Any = None) -> Any:
        """A chunk has no key."""
        return message.key

    def loads_value(self, app: Any, message: Any, *, loads: Any = None, serializer: Any = None) -> Any:
        """The chunk."""
        return message.value
