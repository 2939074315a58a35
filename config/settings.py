"""Settings of a worker and of the commands, from ``PLANNER_…`` variables; a misspelt one is an error that names it.

Time and size carry their unit last in the name. Secrets never appear in a representation or an error.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "PLANNER_"
NOT_SETTINGS = frozenset({"PLANNER_REQUIRE_KAFKA"})
"""Variables with our prefix that speak to the tests, not to the planner."""

DEFAULT_CATALOGUE_DIR = Path(__file__).parent / "catalogue"


class SettingsError(ValueError):
    """The environment holds a ``PLANNER_…`` variable that is no setting; the message names it and the nearest one."""


class Settings(BaseSettings):
    """All settings; keyword arguments win over the environment."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True, use_attribute_docstrings=True)

    broker_url: str = "sqlite:///planner-data/planner.db"
    """The log: ``sqlite:///DIR/planner.db`` (embedded, one worker) or ``kafka://host:port[,host:port]``."""
    topic_prefix: Annotated[str, Field(pattern=r"^[a-zA-Z0-9._-]{0,60}$")] = "planner."
    """Stands before the name of every topic and of the consumer group."""
    partitions: Annotated[int, Field(ge=1, le=256)] = 4
    """Of every topic. It cannot change once the topics exist."""
    replication_factor: Annotated[int, Field(ge=1, le=9)] = 1
    """Copies of each topic on Kafka."""
    retention_days: Annotated[int, Field(ge=1, le=36500)] = 400
    """How long topics that are not compacted keep their records."""
    data_dir: Path = Path("planner-data")
    """Where a worker on Kafka keeps its tables; each worker needs its own."""
    catalogue_dir: Path = DEFAULT_CATALOGUE_DIR
    """Catalogue files that are published when the ``catalogue`` topic holds none."""

    clock: Literal["wall", "event"] = "wall"
    """Where time comes from: an elected worker's clock, or the events themselves (a replay)."""
    clock_interval_s: Annotated[float, Field(gt=0, le=3600)] = 30.0
    """Between two ``clock.ticked`` events."""
    forecast_interval_ms: Annotated[int, Field(ge=1, le=60_000)] = 100
    """A changed forecast is published at most this much later, and once for all changes meanwhile."""
    chunk_max_records: Annotated[int, Field(ge=1, le=100_000)] = 1000
    """Most records that a step folds at once."""
    chunk_max_bytes: Annotated[int, Field(ge=1024, le=16_777_216)] = 4_194_304
    """Most bytes of one partition that one fetch brings (a larger single record still comes, alone)."""
    durability: Literal["full", "normal"] = "full"
    """Embedded log: ``full`` survives a power cut to the last record, ``normal`` survives a killed process only."""

    standby_replicas: Annotated[int, Field(ge=0, le=5)] = 0
    """Further workers on Kafka that keep a copy of each table, for a fast take-over."""
    session_timeout_s: Annotated[float, Field(ge=2, le=300)] = 15.0
    """A worker on Kafka that is silent for so long loses its partitions."""
    rebalance_timeout_s: Annotated[float, Field(ge=2, le=600)] = 60.0
    """How long a rebalance on Kafka waits for a worker."""
    request_timeout_s: Annotated[float, Field(ge=1, le=300)] = 30.0
    """How long a request to a broker may take; at least the session timeout."""
    retry_limit_s: Annotated[float, Field(ge=0, le=3600)] = 60.0
    """How long a fault of the log is retried before the worker stops."""
    shutdown_timeout_s: Annotated[float, Field(ge=1, le=600)] = 20.0
    """How long a clean stop may take before the worker ends regardless."""

    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """Of the connection to Kafka."""
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    """How a worker proves who it is, with a SASL protocol."""
    sasl_username: str | None = None
    """User name, with a SASL protocol."""
    sasl_password: SecretStr | None = None
    """Password, with a SASL protocol."""
    ssl_ca_file: Path | None = None
    """Certificate authority of the brokers; absent: those of the system."""
    ssl_cert_file: Path | None = None
    """Client certificate, where the brokers ask for one."""
    ssl_key_file: Path | None = None
    """Key of the client certificate."""

    http_host: str = "127.0.0.1"
    """Where health and metrics are served."""
    http_port: Annotated[int, Field(ge=0, le=65535)] = 0
    """Port of ``/healthz``, ``/readyz``, ``/livez``, ``/metrics``; 0: none."""
    liveness_limit_s: Annotated[float, Field(gt=0, le=3600)] = 120.0
    """``/livez`` fails when records have waited so long without any being applied."""
    log_format: Literal["console", "json"] = "console"
    """How log lines are written."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severe log line that is written."""
    allow_untested_faust: bool = False
    """Start on a Faust version that this planner was not tested with."""

    def __init__(self, **values: Any) -> None:
        check_names(os.environ, self.__class__)
        super().__init__(**values)

    @field_validator("broker_url")
    @classmethod
    def _known_scheme(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme == "sqlite" and not parts.netloc and len(parts.path) > 1:
            return url
        if parts.scheme == "kafka" and parts.netloc:
            return url
        raise ValueError(f"expected sqlite:///DIR/planner.db or kafka://host:port, found {url!r}")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.security_protocol.startswith("SASL") and (self.sasl_username is None or self.sasl_password is None):
            raise ValueError(f"security_protocol {self.security_protocol} needs sasl_username and sasl_password")
        if (self.ssl_cert_file is None) != (self.ssl_key_file is None):
            raise ValueError("ssl_cert_file and ssl_key_file are given together or not at all")
        if self.request_timeout_s < self.session_timeout_s:
            raise ValueError(
                f"request_timeout_s {self.request_timeout_s:g} is below session_timeout_s {self.session_timeout_s:g}"
            )
        return self

    @property
    def embedded(self) -> bool:
        """Whether the log is the SQLite file."""
        return self.broker_url.startswith("sqlite:")


def check_names(environment: Mapping[str, str], settings: type[BaseSettings] = Settings) -> None:
    """Refuse ``PLANNER_…`` variables that are no setting: a misspelt one would leave its default in force, unseen.

    Raises:
        SettingsError: names each of them, and the setting it resembles.
    """
    known = {f"{PREFIX}{name.upper()}" for name in settings.model_fields}
    faults = []
    for name in sorted(environment):
        if name.upper().startswith(PREFIX) and name.upper() not in known | NOT_SETTINGS:
            near = difflib.get_close_matches(name.upper(), known, n=1)
            faults.append(f"{name} is no setting" + (f"; did you mean {near[0]}?" if near else ""))
    if faults:
        raise SettingsError("; ".join(faults))
