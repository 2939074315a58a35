"""Puts a Faust app together from steps: an agent, a table and an engine for each, over the log of the settings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, cast

import faust
from faust.types import TP

from config.settings import Settings
from planner.step import Entries, Step
from planner.topics import TOPICS
from streams import names
from streams.agents import declare_agents
from streams.delivery.chunk import ChunkSchema
from streams.delivery.logs import LogParts
from streams.delivery.outlet import Outlet
from streams.delivery.recovery import ChunkTableManager
from streams.delivery.table import ChunkStore, ChunkTable
from streams.delivery.version import check_version
from streams.engine import Engine

StepMaker = Callable[[int], Step]
"""Partition → its step."""

NEVER_FULL = 65_536
"""Of agents' queues, in chunks: a partition has at most one in flight, so that no queue comes near it."""
COMMIT_INTERVAL_S = 1.0
"""The consumer group's offsets are for people to look at: where a worker continues is in its tables."""


class PlannerApp(faust.App):  # type: ignore[misc]
    """Faust's app with engines in place of per-event handlers."""

    outlet: Outlet
    """Where messages go that belong to no chunk."""

    def __init__(self, settings: Settings, parts: LogParts, **kwargs: Any) -> None:
        self.settings = settings
        self.parts = parts
        self.engines: dict[str, Engine] = {}
        super().__init__(names.group_id(settings.topic_prefix), **kwargs)
        self.on_partitions_revoked.connect(self._let_go)

    async def on_started(self) -> None:
        """Recovery is done: forecasts may go out."""
        await super().on_started()
        for engine in self.engines.values():
            self.add_future(engine.publish_due())

    async def on_stop(self) -> None:
        """Finish chunks in flight and publish what is due, then stop the rest."""
        for name, engine in self.engines.items():
            await engine.release(self.settings.shutdown_timeout_s / 2)
            await self.outlet.own(name, set())
        await super().on_stop()

    async def on_shutdown(self) -> None:
        """Nothing of the app runs any more."""
        await super().on_shutdown()
        self.parts.close()

    async def _let_go(self, app: Any, revoked: set[TP], **kwargs: Any) -> None:
        """A rebalance: the flow is suspended; what is being folded comes to its end before others take over."""
        for engine in self.engines.values():
            await engine.release(self.settings.rebalance_timeout_s / 4)

    def _new_consumer(self) -> Any:
        consumer = super()._new_consumer()
        consumer.applied_offsets = self._applied_offsets
        consumer.starts_at = self._starts_at
        consumer.retry_limit_s = self.settings.retry_limit_s
        return consumer

    def _create_directories(self) -> None:
        """The stores make what they need."""

    def _consuming(self, tp: TP) -> Iterable[Engine]:
        topic = tp.topic.removeprefix(self.settings.topic_prefix)
        return (engine for name, engine in self.engines.items() if topic in names.INPUTS[name])

    def _applied_offsets(self, inputs: Iterable[TP]) -> Mapping[TP, int | None]:
        """Where each input continues: at the least of what the tables of its agents say."""
        offsets: dict[TP, int | None] = {}
        for tp in inputs:
            known = [engine.applied_offset(tp) for engine in self._consuming(tp)]
            offsets[tp] = None if not known or None in known else min(offset for offset in known if offset is not None)
        return offsets

    def _starts_at(self, tp: TP, offset: int) -> None:
        for engine in self._consuming(tp):
            engine.begins_at(tp, offset)

    async def seek_back(self, tp: TP, offset: int) -> None:
        """Read an input again from ``offset``."""
        await self.consumer.seek_wait({tp: offset})

    async def earliest_offset(self, tp: TP) -> int:
        """The first offset that the log still has."""
        offsets = await self.consumer.earliest_offsets(tp)
        return int(offsets.get(tp) or 0)


def assemble(settings: Settings, steps: Mapping[str, StepMaker]) -> PlannerApp:
    """An app with an agent, a table and an engine for each of the steps."""
    check_version(allow_untested=settings.allow_untested_faust)
    parts = _parts(settings)
    app = PlannerApp(settings, parts, **_configuration(settings, parts))
    app.transport = app.producer_transport = parts.transport(app)
    app.outlet = outlet = parts.outlet(app)
    topics: dict[str, Any] = {}
    for name, make_step in steps.items():
        table = _declare_table(app, settings, parts, name)
        engine = Engine(
            name,
            prefix=settings.topic_prefix,
            make_step=make_step,
            entries=_reader(table),
            outlet=outlet,
            seek_back=app.seek_back,
            earliest_offset=app.earliest_offset,
            compacted=[topic.name for topic in TOPICS.values() if topic.compacted],
            forecast_interval_s=settings.forecast_interval_ms / 1000,
            retry_limit_s=settings.retry_limit_s,
        )
        table.take_over = partial(outlet.own, name)
        table.on_restorable.append(engine.restore)
        app.engines[name] = engine
        inputs = [settings.topic_prefix + topic for topic in names.INPUTS[name]]
        topics[name] = app.topic(*inputs, schema=ChunkSchema(), partitions=settings.partitions)
    declare_agents(app, topics, app.engines)
    return app


def _parts(settings: Settings) -> LogParts:
    """The log's side of the app; imported here, so that the embedded log never loads Kafka's store nor the reverse."""
    if settings.embedded:
        from streams.embedded.parts import EmbeddedParts  # noqa: PLC0415

        return EmbeddedParts(settings)
    from streams.kafka.parts import KafkaParts  # noqa: PLC0415

    return KafkaParts(settings)


def _reader(table: ChunkTable) -> Callable[[int], Entries]:
    return lambda partition: cast(ChunkStore, table.data).entries(partition)


def _declare_table(app: PlannerApp, settings: Settings, parts: LogParts, agent: str) -> ChunkTable:
    changelog = app.topic(
        settings.topic_prefix + names.changelog(agent),
        schema=ChunkSchema(),
        partitions=settings.partitions,
        compacting=True,
        acks=False,
        internal=True,
        allow_empty=True,
    )
    table = ChunkTable(
        app,
        make_store=parts.store,
        name=names.table_name(agent),
        partitions=settings.partitions,
        changelog_topic=changelog,
        key_type=bytes,
        value_type=bytes,
    )
    parts.tables[agent] = table
    app.tables.add(table)
    return table


def _configuration(settings: Settings, parts: LogParts) -> dict[str, Any]:
    """Faust's settings: those that differ from its defaults."""
    return {
        "broker": parts.urls(),
        "broker_credentials": parts.credentials(),
        "datadir": settings.data_dir,
        "TableManager": ChunkTableManager,
        "table_standby_replicas": settings.standby_replicas,
        "stream_buffer_maxsize": NEVER_FULL,
        # a chunk that failed never comes to be acknowledged: waiting for it would hang the stop
        "stream_wait_empty": False,
        "broker_commit_interval": COMMIT_INTERVAL_S,
        "broker_max_poll_records": settings.chunk_max_records,
        "consumer_max_fetch_size": settings.chunk_max_bytes,
        "consumer_auto_offset_reset": "earliest",
        "broker_session_timeout": settings.session_timeout_s,
        "broker_heartbeat_interval": settings.session_timeout_s / 5,
        "broker_rebalance_timeout": settings.rebalance_timeout_s,
        "broker_request_timeout": settings.request_timeout_s,
        # topics are created by the worker before the app starts, with their settings
        "topic_allow_declare": False,
        "topic_disable_leader": True,
        "topic_partitions": settings.partitions,
        "topic_replication_factor": settings.replication_factor,
        "reply_create_topic": False,
        "web_enabled": False,
        "web_tables_enabled": False,
        "web_router_enabled": False,
    }
