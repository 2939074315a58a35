"""Topics on Kafka: made with the right partitions and settings, and what is known of those that exist."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from streams.log import LogError, TopicMismatch, TopicSpec

BATCH_OVERHEAD_BYTES: Final = 65_536
"""Kafka's ``max.message.bytes`` counts a batch with its framing; ours counts key, value and headers of one record."""

_SEGMENT_BYTES: Final = 50 << 20  # of compacted topics: Kafka compacts closed segments only
_TOPIC_EXISTS: Final = 36
_DYNAMIC_TOPIC_CONFIG: Final = 1
_SPREAD_SECONDS_MAX: Final = 10.0


def settings_of(spec: TopicSpec) -> dict[str, str]:
    """Kafka's settings of a topic."""
    settings = {"max.message.bytes": str(spec.max_message_bytes + BATCH_OVERHEAD_BYTES)}
    if spec.compacted:
        return settings | {
            "cleanup.policy": "compact",
            "min.compaction.lag.ms": str(spec.compaction_lag_ms),
            "delete.retention.ms": str(spec.tombstone_ms),
            "segment.bytes": str(_SEGMENT_BYTES),
        }
    return settings | {
        "cleanup.policy": "delete",
        "retention.ms": str(-1 if spec.retention_ms is None else spec.retention_ms),
    }


async def known_topics(admin: AIOKafkaAdminClient) -> dict[str, int]:
    """Number of partitions of every topic there is."""
    # All are asked for: a question about one that is missing would create it where brokers do so.
    return {topic["topic"]: len(topic["partitions"]) for topic in await admin.describe_topics(None)}


async def message_limits(admin: AIOKafkaAdminClient, names: Sequence[str]) -> dict[str, int]:
    """``max.message.bytes`` of topics that exist."""
    described = await _configs(admin, names, ["max.message.bytes"])
    return {name: int(settings["max.message.bytes"][0]) for name, settings in described.items()}


async def ensure(admin: AIOKafkaAdminClient, specs: Iterable[TopicSpec], replication_factor: int | None) -> None:
    """Create the topics that are missing and bring the settings of the others up to date.

    Raises:
        TopicMismatch: one exists with another number of partitions, or compacted where it should not be.
        LogError: the brokers refuse.
    """
    wanted = {spec.name: spec for spec in specs}
    known = await known_topics(admin)
    if missing := [spec for name, spec in wanted.items() if name not in known]:
        answer = await admin.create_topics([_new_topic(spec, replication_factor) for spec in missing])
        for name, code, message in answer.topic_errors:
            if code not in {0, _TOPIC_EXISTS}:  # another worker may have been quicker
                raise LogError(f"topic {name}: the brokers do not create it (error {code}: {message})")
    for name, partitions in known.items():
        if name in wanted and partitions != wanted[name].partitions:
            raise TopicMismatch(
                f"topic {name}: partitions is {partitions}, expected {wanted[name].partitions}; it cannot be changed"
            )
    await _update(admin, {name: wanted[name] for name in known if name in wanted})


def _new_topic(spec: TopicSpec, replication_factor: int | None) -> NewTopic:
    topic = NewTopic(spec.name, spec.partitions, replication_factor or 1, topic_configs=settings_of(spec))
    if replication_factor is None:
        topic.replication_factor = -1  # the brokers' default; the constructor takes it for a mistake
    return topic


async def _update(admin: AIOKafkaAdminClient, specs: dict[str, TopicSpec]) -> None:
    described = await _configs(admin, list(specs), None)
    changes = []
    changed = {}
    for name, spec in specs.items():
        settings = described[name]
        compacted = "compact" in settings["cleanup.policy"][0]
        if compacted != spec.compacted:
            raise TopicMismatch(f"topic {name}: compacted is {compacted}, expected {spec.compacted}")
        expected = settings_of(spec)
        if any(settings[key][0] != value for key, value in expected.items()):
            # What is not sent goes back to its default, so send also what somebody else has set.
            own = {key: value for key, (value, source) in settings.items() if source == _DYNAMIC_TOPIC_CONFIG}
            changes.append(ConfigResource(ConfigResourceType.TOPIC, name, own | expected))
            changed[name] = expected
    if not changes:
        return
    for answer in await admin.alter_configs(changes):
        for code, message, _, name in answer.resources:
            if code != 0:
                raise LogError(f"topic {name}: the brokers do not change its settings (error {code}: {message})")
    # The broker that is asked next may not have heard of it yet.
    async with asyncio.timeout(_SPREAD_SECONDS_MAX):
        while not _in_force(changed, await _configs(admin, list(changed), None)):  # noqa: ASYNC110  # nobody tells us
            await asyncio.sleep(0.02)


def _in_force(expected: dict[str, dict[str, str]], found: dict[str, dict[str, tuple[str, int]]]) -> bool:
    return all(found[name][key][0] == value for name, settings in expected.items() for key, value in settings.items())


async def _configs(
    admin: AIOKafkaAdminClient, names: Sequence[str], keys: Sequence[str] | None
) -> dict[str, dict[str, tuple[str, int]]]:
    """Settings of topics, each with its source."""
    if not names:
        return {}
    wanted = dict.fromkeys(keys, "") if keys else None
    answers = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name, wanted) for name in names])
    found: dict[str, dict[str, tuple[str, int]]] = {}
    for answer in answers:
        for resource in answer.to_object()["resources"]:
            if resource["error_code"] != 0:
                raise LogError(
                    f"topic {resource['resource_name']}: its settings cannot be read"
                    f" (error {resource['error_code']}: {resource['error_message']})"
                )
            found[resource["resource_name"]] = {
                entry["config_names"]: (entry["config_value"], entry["config_source"])
                for entry in resource["config_entries"]
            }
    return found
