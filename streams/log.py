"""The log: what every command and the worker need of it, whether it is Kafka or one SQLite file.

Names of topics are the short ones of ``planner.topics`` everywhere: a client puts its prefix before them, and takes
it off the records it returns. So the prefix is known in one place.
"""

from __future__ import annotations

import struct
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Protocol, Self
from urllib.parse import unquote

from planner.step import Message, Record

MESSAGE_BYTES_MAX = 1_048_576
DAY_MS = 86_400_000

Start = Literal["earliest", "latest"] | Mapping[int, int]
"""Where reading begins: at the first record kept, behind the last one, or at an offset per partition."""


# Named after what happened, not after their being errors.
# ruff: noqa: N818

# --- errors -----------------------------------------------------------------------------------------------


class LogError(Exception):
    """The log could not do what it was asked to. Nothing was written, unless a subclass says otherwise.

    LogError
    ├── LogUnavailable       nobody answers at the address, or the file cannot be opened, read or written
    │   └── LogBusy          another process has been writing for longer than we wait
    ├── LogFull              no room on the disk
    ├── LogDamaged           the file's content is not what was written
    ├── NotALog              the file is something else
    ├── LogTooNew            written by a newer version of the planner
    ├── WorkerPresent        another worker has the file
    ├── UnknownTopic         there is no such topic (or partition) on the log
    ├── TopicMismatch        the topic exists with another number of partitions
    └── RecordTooLarge       a record above the topic's limit
    """


class LogUnavailable(LogError):
    """Nobody answers at the address, or the file cannot be opened, read or written."""


class LogBusy(LogUnavailable):
    """Another process has been writing for longer than we wait."""


class LogFull(LogError):
    """No room on the disk. Nothing of the transaction was written; it may be tried again."""


class LogDamaged(LogError):
    """The file's content is not what was written."""


class NotALog(LogError):
    """The file is something else than a planner's log."""


class LogTooNew(LogError):
    """Written by a newer version of the planner."""


class WorkerPresent(LogError):
    """Another worker has the log."""


class UnknownTopic(LogError):
    """There is no such topic, or no such partition of it."""


class TopicMismatch(LogError):
    """The topic exists with another number of partitions, or kept in another way."""


class RecordTooLarge(LogError):
    """A record above its topic's limit."""

    def __init__(self, topic: str, key: bytes | None, size_bytes: int, limit_bytes: int) -> None:
        name = "no key" if key is None else f"key {key[:80].decode('utf-8', 'backslashreplace')!r}"
        super().__init__(
            f"topic {topic}: a record ({name}) of {size_bytes:,} bytes (key, value and headers); "
            f"expected at most {limit_bytes:,}"
        )
        self.topic = topic
        self.size_bytes = size_bytes
        self.limit_bytes = limit_bytes


# --- topics and clients -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """How a topic is kept. Times in milliseconds, sizes in bytes.

    ``retention_ms``: age at which records go; None: never. Not for compacted topics.
    ``compaction_lag_ms``: how long a compacted topic keeps a value after a newer one of its key (at least).
    ``tombstone_ms``: how long it keeps a null value, so that readers see the removal.
    ``max_message_bytes``: of key, value and headers of one record.
    """

    name: str
    partitions: int
    compacted: bool = False
    retention_ms: int | None = None
    max_message_bytes: int = MESSAGE_BYTES_MAX
    compaction_lag_ms: int = 60_000
    tombstone_ms: int = DAY_MS

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("topic name: expected at least one character")
        if self.partitions < 1:
            raise ValueError(f"topic {self.name}: partitions {self.partitions}, expected 1 or more")
        if self.compacted and self.retention_ms is not None:
            raise ValueError(f"topic {self.name}: retention {self.retention_ms} ms, expected none on a compacted topic")
        if self.retention_ms is not None and self.retention_ms < 1:
            raise ValueError(f"topic {self.name}: retention {self.retention_ms} ms, expected 1 or more, or none")
        for field_name in ("max_message_bytes", "compaction_lag_ms", "tombstone_ms"):
            if (value := getattr(self, field_name)) < (1 if field_name == "max_message_bytes" else 0):
                raise ValueError(f"topic {self.name}: {field_name} {value}, expected it not to be negative")


class LogClient(Protocol):
    """A connection to a log. Not tied to a worker; several may be open, in several processes.

    Every method raises LogUnavailable when the log does not answer, and UnknownTopic for a topic it has not.
    """

    prefix: str

    async def ensure_topics(self, specs: Iterable[TopicSpec]) -> None:
        """Create the topics that are missing and bring the settings of the others up to date.

        Raises:
            TopicMismatch: a topic exists with another number of partitions, or compacted where it should not be.
        """

    async def partitions(self, topic: str) -> int:
        """Number of partitions of a topic."""

    async def publish(self, messages: Sequence[Message]) -> list[tuple[int, int]]:
        """Append messages, in order within each partition; returns (partition, offset) of each, once durable.

        Raises:
            RecordTooLarge: before anything is written.
            LogFull: nothing was written (embedded log).
        """

    def read(
        self, topic: str, start: Start = "earliest", *, follow: bool = False, partitions: Collection[int] | None = None
    ) -> AsyncIterator[Record]:
        """Records by partition in order; up to the ends as they are now, or for ever with ``follow``.

        Partitions left out of a ``start`` by offsets are read from the earliest record. An offset that is not kept
        any more stands for the next one that is.
        """

    def read_chunks(
        self,
        topic: str,
        start: Start = "earliest",
        *,
        follow: bool = False,
        partitions: Collection[int] | None = None,
        records_max: int = 5_000,
    ) -> AsyncGenerator[list[Record], None]:
        """As ``read``, as many records at a time as are there; each chunk is of one partition and not empty."""

    async def latest(self, topic: str, partition: int | None = None, key_prefix: bytes = b"") -> dict[bytes, Record]:
        """The compacted view: the last record of each key, without those whose last value is null.

        A key that lives in several partitions is given by its newest record there.
        """

    async def first_offsets(self, topic: str) -> dict[int, int]:
        """The offset from which on everything is kept, by partition."""

    async def end_offsets(self, topic: str) -> dict[int, int]:
        """The offset the next record gets, by partition."""

    async def close(self) -> None:
        """Let go of the log. What was published is durable before."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


@dataclass(frozen=True, slots=True)
class Security:
    """How to speak to Kafka brokers; files are PEM. Without meaning on the embedded log."""

    protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    ca_file: Path | None = None
    """Authorities to trust; None: the system's."""
    certificate_file: Path | None = None
    key_file: Path | None = None
    key_password: str | None = field(default=None, repr=False)
    check_hostname: bool = True


class Opening:
    """A client about to be opened: ``client = await open_client(…)`` or ``async with open_client(…) as client``."""

    def __init__(self, client: _Openable) -> None:
        self._client = client

    def __await__(self) -> Generator[Any, None, LogClient]:
        return self._open().__await__()

    async def _open(self) -> LogClient:
        await self._client.open()
        return self._client

    async def __aenter__(self) -> LogClient:
        return await self._open()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.close()


class _Openable(LogClient, Protocol):
    async def open(self) -> None: ...


def open_client(
    broker_url: str,
    prefix: str = "",
    *,
    security: Security | None = None,
    replication_factor: int | None = None,
    timeout_seconds: float = 10.0,
) -> Opening:
    """A client of the log at ``broker_url``: ``sqlite:///planner.db`` or ``kafka://host:port,host:port``.

    ``replication_factor`` of topics it creates; None: the brokers' default. ``timeout_seconds`` bounds how long it
    tries to reach the log.

    Raises:
        ValueError: the URL is of neither form.
        LogUnavailable: (when awaited) no broker answers within the timeout, or the file cannot be opened.
    """
    # The clients are imported here: a command on the embedded log should not pay for importing aiokafka.
    if is_embedded(broker_url):
        from streams.embedded.client import EmbeddedClient  # noqa: PLC0415

        return Opening(EmbeddedClient(database_path(broker_url), prefix, busy_seconds=timeout_seconds))
    from streams.kafka.client import KafkaClient  # noqa: PLC0415

    return Opening(
        KafkaClient(
            bootstrap_servers(broker_url),
            prefix,
            security=security or Security(),
            replication_factor=replication_factor,
            timeout_seconds=timeout_seconds,
        )
    )


# --- addresses --------------------------------------------------------------------------------------------

_EXPECTED = "expected sqlite:///FILE (relative; sqlite:////FILE for an absolute path) or kafka://HOST:PORT[,HOST:PORT…]"


def is_embedded(broker_url: str) -> bool:
    """Whether the URL names an embedded log.

    Raises:
        ValueError: it names neither kind of log.
    """
    scheme = broker_url.partition("://")[0]
    if scheme not in {"sqlite", "kafka"}:
        raise ValueError(f"broker {broker_url!r}: {_EXPECTED}")
    return scheme == "sqlite"


def database_path(broker_url: str) -> Path:
    """The file of an embedded log: ``sqlite:///a/b.db`` is relative, ``sqlite:////a/b.db`` absolute."""
    path = broker_url.removeprefix("sqlite:///")
    if path == broker_url or not path or path.endswith("/"):
        raise ValueError(f"broker {broker_url!r}: {_EXPECTED}")
    return Path(unquote(path)).expanduser()


def bootstrap_servers(broker_url: str) -> list[str]:
    """The ``host:port`` of each broker named; the port defaults to 9092."""
    servers = [part.removeprefix("kafka://").rstrip("/") for part in broker_url.replace(";", ",").split(",")]
    result = []
    for server in servers:
        host, separator, port = server.rpartition(":")
        if not separator or server.endswith("]"):
            host, port = server, "9092"
        if not host or not port.isdecimal() or not 0 < int(port) < 65_536 or "/" in host or "@" in host:
            raise ValueError(f"broker {broker_url!r}: {_EXPECTED}")
        result.append(f"{host}:{port}")
    return result


# --- what both clients share ------------------------------------------------------------------------------


def chosen(topic: str, ends: dict[int, int], partitions: Collection[int] | None) -> dict[int, int]:
    """The ends of the partitions asked for; None: of all.

    Raises:
        UnknownTopic: there is no such partition.
    """
    if partitions is None:
        return ends
    for partition in partitions:
        if partition not in ends:
            raise UnknownTopic(f"topic {topic}: there is no partition {partition}, expected 0 to {len(ends) - 1}")
    return {partition: ends[partition] for partition in partitions}


def begin_at(topic: str, start: Start, first: Mapping[int, int], ends: Mapping[int, int]) -> dict[int, int]:
    """The offset at which reading begins, by partition; ``first`` and ``ends`` of the partitions to read.

    Raises:
        LogError: an offset beyond the partition's end: the log is not the one the offset is from.
    """
    if start == "latest":
        return dict(ends)
    if start == "earliest":
        return dict(first)
    for partition, offset in start.items():
        if partition in ends and offset > ends[partition]:
            raise LogError(
                f"topic {topic}, partition {partition}: offset {offset} is beyond the end ({ends[partition]}); "
                "was the log put back to an older state?"
            )
    return {partition: max(start.get(partition, 0), oldest) for partition, oldest in first.items()}


def newest(views: Iterable[Iterable[Record]]) -> dict[bytes, Record]:
    """Views of several partitions, in their order, as one: of a key in several, its newest record (else the first)."""
    latest: dict[bytes, Record] = {}
    for view in views:
        for record in view:
            if record.key is None:
                continue
            known = latest.get(record.key)
            if known is None or known.partition == record.partition or known.timestamp_ms < record.timestamp_ms:
                latest[record.key] = record
    return latest


# --- partitions and sizes ---------------------------------------------------------------------------------


@lru_cache(maxsize=16_384)
def murmur2(data: bytes) -> int:
    """MurmurHash2 (32 bits, seed 0x9747b28c) as Kafka's Java client computes it.

    Source: org.apache.kafka.common.utils.Utils.murmur2.
    """
    length = len(data)
    words = length >> 2
    h = 0x9747B28C ^ length
    for k in struct.unpack_from(f"<{words}I", data):
        k = k * 0x5BD1E995 & 0xFFFFFFFF  # noqa: PLW2901
        h = (h * 0x5BD1E995 & 0xFFFFFFFF) ^ ((k ^ k >> 24) * 0x5BD1E995 & 0xFFFFFFFF)
    if tail := data[words << 2 :]:
        h = (h ^ int.from_bytes(tail, "little")) * 0x5BD1E995 & 0xFFFFFFFF
    h = (h ^ h >> 13) * 0x5BD1E995 & 0xFFFFFFFF
    return h ^ h >> 15


def partition_of(key: bytes, partitions: int) -> int:
    """The partition of a key: the same on both logs, and for every other Kafka client with the default partitioner."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions


def size_bytes(message: Message) -> int:
    """What a record counts against its topic's limit: the bytes of key, value and headers."""
    _, key, value, _, headers = message
    size = (len(key) if key else 0) + (len(value) if value else 0)
    return size + sum(len(name.encode()) + len(content) for name, content in headers) if headers else size
