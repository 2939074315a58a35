"""From the settings to the log: the topics as they are kept, and how to speak to the brokers."""

from __future__ import annotations

from typing import Final

from config.settings import Settings
from planner.topics import TOPICS
from streams import names
from streams.log import DAY_MS, Security, TopicSpec

CHANGELOG_TOMBSTONE_MS: Final = 30 * DAY_MS
"""How long a worker may be away and still find in a changelog what was removed meanwhile."""
CHANGELOG_BYTES_MAX: Final = 16_777_216


def topic_specs(settings: Settings) -> list[TopicSpec]:
    """Every topic of the planner, changelogs included, as the settings want it."""
    retention_ms = settings.retention_days * DAY_MS
    specs = [
        TopicSpec(
            topic.name,
            settings.partitions,
            compacted=topic.compacted,
            retention_ms=None if topic.compacted else retention_ms,
            max_message_bytes=topic.max_message_bytes,
            # what an event was applied under is kept as long as the event: the fold can be done again
            **({"compaction_lag_ms": retention_ms} if topic.name == "catalogue" else {}),
        )
        for topic in TOPICS.values()
    ]
    changelogs = [
        TopicSpec(
            names.changelog(agent),
            settings.partitions,
            compacted=True,
            max_message_bytes=CHANGELOG_BYTES_MAX,
            tombstone_ms=CHANGELOG_TOMBSTONE_MS,
        )
        for agent in names.INPUTS
    ]
    return specs + changelogs


def security_of(settings: Settings) -> Security:
    """How to speak to the brokers."""
    return Security(
        protocol=settings.security_protocol,
        mechanism=settings.sasl_mechanism,
        username=settings.sasl_username,
        password=settings.sasl_password.get_secret_value() if settings.sasl_password else None,
        ca_file=settings.ssl_ca_file,
        certificate_file=settings.ssl_cert_file,
        key_file=settings.ssl_key_file,
    )
