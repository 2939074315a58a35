"""What a worker measures, for Prometheus. One registry of its own, so that importing it twice or in tests is harmless.

Names carry their unit; label ``agent`` is ``expand`` or ``plan``, ``topic`` is without the prefix.
"""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

REGISTRY: Final = CollectorRegistry()

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

events = Counter("planner_events", "Events by what became of them", ["agent", "outcome"], registry=REGISTRY)
counts = Counter("planner_step_counts", "Whatever else the steps count", ["agent", "what"], registry=REGISTRY)
state = Gauge("planner_state", "The state of a partition in numbers", ["agent", "partition", "what"], registry=REGISTRY)
records = Counter("planner_records", "Records applied to the state", ["agent", "topic"], registry=REGISTRY)
chunk_records = Histogram(
    "planner_chunk_records",
    "Records in one chunk",
    ["agent"],
    buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000),
    registry=REGISTRY,
)
step_seconds = Histogram(
    "planner_step_seconds", "Time a step takes for a chunk", ["agent"], buckets=_SECONDS, registry=REGISTRY
)
publish_seconds = Histogram(
    "planner_publish_seconds",
    "Time until a chunk's messages and table entries are durable",
    ["agent"],
    buckets=_SECONDS,
    registry=REGISTRY,
)
lag_records = Gauge(
    "planner_lag_records", "Records that wait behind the last chunk", ["agent", "topic", "partition"], registry=REGISTRY
)
applied_offset = Gauge(
    "planner_applied_offset",
    "Offset of the next record to apply",
    ["agent", "topic", "partition"],
    registry=REGISTRY,
)
alerts_open = Gauge("planner_alerts_open", "Alerts that are not resolved", ["partition"], registry=REGISTRY)
messages_out = Counter("planner_messages_out", "Messages published", ["agent", "topic"], registry=REGISTRY)
bytes_out = Counter("planner_bytes_out", "Bytes of keys and values published", ["agent", "topic"], registry=REGISTRY)
table_bytes = Counter("planner_table_bytes", "Bytes of table entries written", ["agent"], registry=REGISTRY)
gaps = Counter(
    "planner_gaps",
    "Chunks that did not continue where the table ends, and were read again",
    ["agent"],
    registry=REGISTRY,
)
skipped = Counter(
    "planner_skipped_records", "Records read again that were applied before", ["agent"], registry=REGISTRY
)
bugs = Counter("planner_bugs", "Faults of our own that stopped the worker", ["agent", "topic"], registry=REGISTRY)
retries = Counter("planner_retries", "Attempts repeated because the log did not answer", ["agent"], registry=REGISTRY)
changelog_records = Counter(
    "planner_changelog_records",
    "Records read from a table's changelog: recovery, standby",
    ["table"],
    registry=REGISTRY,
)
void_transactions = Counter(
    "planner_void_transactions",
    "Transactions on Kafka that another worker's start, or a fault, made void; the partition was restored anew",
    ["agent"],
    registry=REGISTRY,
)
ready = Gauge("planner_ready", "1 when every assigned partition is restored", registry=REGISTRY)
