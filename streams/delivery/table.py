"""A Faust table that is written in pages, and the stores behind it.

Faust keeps what it does well: the changelog topic, its partitions beside the inputs', recovery, standbys. What it does
per key (one changelog message for each ``table[key] = value``, in no relation to the input's offset) is closed.
"""

from __future__ import annotations

import abc
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from faust.stores.base import Store
from faust.tables.table import Table
from faust.types import TP

from planner.step import Entries


class ChangelogHole(RuntimeError):  # noqa: N818 - named after what happened
    """A chunk of a changelog does not continue where the store ends; going on would leave entries out."""


class ChunkStore(Store):  # type: ignore[misc]
    """Entries of the assigned partitions of one table. Values are bytes; a partition is read as ``Entries``."""

    def __init__(self, table: Any, **kwargs: Any) -> None:
        super().__init__("chunks://", table.app, table, table_name=table.name, **kwargs)

    @abc.abstractmethod
    def entries(self, partition: int) -> Entries:
        """The partition's entries, as a step may read them."""

    @abc.abstractmethod
    def persisted_offset(self, tp: TP) -> int | None:
        """Offset of the last changelog record that the store holds."""

    @abc.abstractmethod
    def apply_changelog_batch(
        self, batch: Iterable[Any], to_key: Callable[[Any], Any], to_value: Callable[[Any], Any]
    ) -> None:
        """Apply chunks of the changelog (recovery, standby)."""

    def reset_state(self) -> None:
        """Nothing is reset behind the changelog's back."""
        raise NotImplementedError("a table's state is its changelog; delete both or none")

    async def backup_partition(self, tp: Any, flush: bool = True, purge: bool = False, keep: int = 1) -> None:
        """There is none: the changelog is the copy."""
        raise NotImplementedError("a table is backed up by its changelog")

    def restore_backup(self, tp: Any, latest: bool = True, backup_id: int = 0) -> None:
        """There is none: the changelog is the copy."""
        raise NotImplementedError("a table is restored from its changelog")


class ChunkTable(Table):  # type: ignore[misc]
    """A table whose entries are written by the engine alone, in pages."""

    def __init__(self, app: Any, *, make_store: Callable[[ChunkTable], ChunkStore], **kwargs: Any) -> None:
        self._make_store = make_store
        self.on_restorable: list[Callable[[set[int]], Awaitable[None]]] = []
        """Awaited with the active partitions when their entries are complete."""
        self.take_over: Callable[[set[int]], Awaitable[None]]
        """Called with the active partitions before their entries are recovered; set by the app."""
        # one chunk at a time is applied; 1 itself would make Faust read active changelogs for ever
        super().__init__(app, recovery_buffer_size=2, standby_buffer_size=1, **kwargs)

    def _new_store(self) -> ChunkStore:
        return self._make_store(self)

    async def on_rebalance(
        self, assigned: set[TP], revoked: set[TP], newly_assigned: set[TP], generation_id: int = 0
    ) -> None:
        """Fence whoever had the active partitions, before it is asked how far their changelogs go."""
        topics = self.changelog_topic.topics
        await self.take_over({tp.partition for tp in self.app.assignor.assigned_actives() if tp.topic in topics})
        await super().on_rebalance(assigned, revoked, newly_assigned, generation_id)

    async def on_recovery_completed(self, active_tps: set[TP], standby_tps: set[TP]) -> None:
        """Entries of the active partitions are complete."""
        await super().on_recovery_completed(active_tps, standby_tps)
        for restorable in self.on_restorable:
            await restorable({tp.partition for tp in active_tps})

    def on_key_set(self, key: Any, value: Any) -> None:
        """Closed: see the module."""
        raise TypeError(f"{self.name} is written in pages by the engine, not by key")

    def on_key_del(self, key: Any) -> None:
        """Closed: see the module."""
        raise TypeError(f"{self.name} is written in pages by the engine, not by key")
