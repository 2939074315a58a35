"""What the embedded log contributes to the app."""

from __future__ import annotations

from typing import Any

from yarl import URL

from config.settings import Settings
from streams import names
from streams.delivery.logs import LogParts
from streams.delivery.outlet import Outlet
from streams.delivery.table import ChunkStore, ChunkTable
from streams.embedded.store import DatabaseStore
from streams.embedded.transport import EmbeddedLog, EmbeddedOutlet, EmbeddedTransport
from streams.log import database_path


class EmbeddedParts(LogParts):
    """One SQLite file, open until the app has stopped."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._log = EmbeddedLog(database_path(settings.broker_url), settings.durability)

    def urls(self) -> list[Any]:
        """Faust wants one; nothing connects to it."""
        return [URL("embedded://")]

    def transport(self, app: Any) -> Any:
        """The Faust transport."""
        settings = self.settings
        return EmbeddedTransport(
            app,
            self._log,
            prefix=settings.topic_prefix,
            chunk_max_records=settings.chunk_max_records,
            chunk_max_bytes=settings.chunk_max_bytes,
        )

    def store(self, table: ChunkTable) -> ChunkStore:
        """The log's own index."""
        return DatabaseStore(table, self._log.reader)

    def outlet(self, app: Any) -> Outlet:
        """Transactions."""
        return EmbeddedOutlet(
            self._log, prefix=self.settings.topic_prefix, group=names.group_id(self.settings.topic_prefix)
        )

    def close(self) -> None:
        """Let go of the file."""
        self._log.close()
