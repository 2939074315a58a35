"""Where a page of effects goes. Each log has one implementation; the engine knows only this."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from planner.step import Message


class Fenced(Exception):  # noqa: N818 - named after what happened
    """The partition is no longer ours: nothing more may be written for it."""


@dataclass(slots=True)
class Page:
    """What one page of a chunk makes durable: messages, entries and applied offset, all of it or nothing."""

    agent: str
    changelog: str
    """Full name of the changelog topic."""
    partition: int
    messages: Sequence[Message]
    writes: Mapping[bytes, bytes | None]
    applied: Mapping[str, int] = field(default_factory=dict)
    """Input topic (full name) → offset of the next record; what the consumer group commits. Empty but for the last."""
    still_ours: Callable[[], bool] = lambda: True
    """Asked right before anything is written."""


class Outlet(Protocol):
    """Makes pages durable. The calls return when everything is."""

    faults: tuple[type[Exception], ...]
    """Faults of infrastructure, which may pass and left nothing behind: worth another attempt."""

    async def own(self, agent: str, partitions: set[int]) -> None:
        """Own exactly these partitions of an agent. Whoever had them can write nothing more once this returns.

        Called before their tables are restored.
        """

    async def deliver(self, page: Page) -> None:
        """Messages, entries and applied offset in one transaction, then the local store.

        Raises:
            Fenced: the partition is no longer ours. Nothing is written, or it cannot be known whether it was: what is
                in memory is void, and the table has to be restored.
        """

    async def publish(self, agent: str, partition: int, messages: Sequence[Message]) -> None:
        """Messages that belong to no chunk (forecasts, the clock), in the name of a partition.

        Raises:
            Fenced: the partition is no longer ours.
        """
