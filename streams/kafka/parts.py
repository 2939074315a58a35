"""What Kafka contributes to the app."""

from __future__ import annotations

import ssl
from typing import Any, cast

from faust import SASLCredentials, SSLCredentials
from yarl import URL

from config.settings import Settings
from streams import names
from streams.delivery.logs import LogParts
from streams.delivery.outlet import Outlet
from streams.delivery.table import ChunkStore, ChunkTable
from streams.kafka.connection import parameters
from streams.kafka.outlet import KafkaOutlet
from streams.kafka.store import RocksStore
from streams.kafka.transport import KafkaTransport
from streams.log import bootstrap_servers
from streams.topics import security_of


class KafkaParts(LogParts):
    """Kafka: aiokafka in a thread of its own, tables in RocksDB."""

    def urls(self) -> list[Any]:
        """The brokers."""
        return [URL(f"kafka://{server}") for server in bootstrap_servers(self.settings.broker_url)]

    def credentials(self) -> Any:
        """SASL or TLS, as the settings say."""
        settings = self.settings
        context = _ssl_context(settings) if settings.security_protocol.endswith("SSL") else None
        if settings.security_protocol.startswith("SASL"):
            password = settings.sasl_password.get_secret_value() if settings.sasl_password else None
            return SASLCredentials(
                username=settings.sasl_username,
                password=password,
                ssl_context=context,
                mechanism=settings.sasl_mechanism,
            )
        return SSLCredentials(context=context) if context is not None else None

    def transport(self, app: Any) -> Any:
        """The Faust transport."""
        return KafkaTransport(self.urls(), app, prefix=self.settings.topic_prefix)

    def store(self, table: ChunkTable) -> ChunkStore:
        """A RocksDB store below ``data_dir/tables``."""
        return RocksStore(table, self.settings.data_dir / "tables")

    def outlet(self, app: Any) -> Outlet:
        """Transactions on Kafka."""

        def rejoin() -> None:
            app.consumer.rejoin()

        settings = self.settings
        request_timeout_ms = int(settings.request_timeout_s * 1000)
        return KafkaOutlet(
            lambda agent: cast(RocksStore, self.tables[agent].data),
            prefix=settings.topic_prefix,
            group=names.group_id(settings.topic_prefix),
            parameters=parameters(security_of(settings))
            | {"bootstrap_servers": bootstrap_servers(settings.broker_url), "request_timeout_ms": request_timeout_ms},
            retry_limit_s=settings.retry_limit_s,
            rejoin=rejoin,
        )

    def close(self) -> None:
        """Faust has closed its connections, and the tables their databases."""


def _ssl_context(settings: Settings) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(settings.ssl_ca_file) if settings.ssl_ca_file else None)
    if settings.ssl_cert_file is not None:
        context.load_cert_chain(settings.ssl_cert_file, settings.ssl_key_file)
    return context
