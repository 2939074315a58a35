"""What each of the two logs contributes to the app."""

from __future__ import annotations

import abc
from typing import Any

from config.settings import Settings
from streams.delivery.outlet import Outlet
from streams.delivery.table import ChunkStore, ChunkTable


class LogParts(abc.ABC):
    """The log's side of the app: transport, outlet, table stores."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.tables: dict[str, ChunkTable] = {}
        """By agent; filled as they are declared."""

    @abc.abstractmethod
    def urls(self) -> list[Any]:
        """The brokers, as Faust takes them."""

    def credentials(self) -> Any:
        """How to log in, as Faust takes it; None: not at all."""
        return None

    @abc.abstractmethod
    def transport(self, app: Any) -> Any:
        """The Faust transport."""

    @abc.abstractmethod
    def outlet(self, app: Any) -> Outlet:
        """Where pages go."""

    @abc.abstractmethod
    def store(self, table: ChunkTable) -> ChunkStore:
        """The store of a table."""

    @abc.abstractmethod
    def close(self) -> None:
        """The app has stopped: let go of what it used."""
