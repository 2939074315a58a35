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
    """What one page of a chunk makes durable: messages first, then entries in one atomic batch."""

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
    published: bool = False
    """Set once the messages are durable, so that a second attempt does not publish them again."""


class Outlet(Protocol):
    """Makes pages durable. Both calls return when everything is."""

    faults: tuple[type[Exception], ...]
    """Faults of infrastructure, which may pass: worth another attempt."""

    async def deliver(self, page: Page) -> None:
        """Messages, then entries and applied offset in one atomic batch, then the local store.

        Raises:
            Fenced: the partition is no longer ours.
        """

    async def publish(self, messages: Sequence[Message]) -> None:
        """Messages that belong to no chunk: forecasts, the clock."""
