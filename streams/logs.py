"""Structured logs: JSON lines for machines or coloured ones for people; Faust's and aiokafka's go the same way."""

from __future__ import annotations

import logging
import sys
from typing import Any, Literal

import orjson
import structlog

from planner.step import Record

_CHATTY = ("faust", "mode", "aiokafka", "aiohttp", "asyncio", "streams.delivery", "streams.embedded", "streams.kafka")
"""Libraries, and our classes over Faust's, whose information is of use only when something is sought."""
_IDENTITIES = ("event_id", "booking_id", "site", "alert_id")


def configure_logs(log_format: Literal["console", "json"], level: str) -> None:
    """Send every log line of the process to standard error, in one shape. May be called again."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if log_format == "json":
        rendered: list[Any] = [
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(lambda value, **_: orjson.dumps(value, default=str).decode()),
        ]
    else:
        rendered = [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendered]
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.DEBUG if level == "debug" else logging.WARNING)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def identity(record: Record | None) -> dict[str, str]:
    """What a record says it is about (event, booking, site), for a log line; nothing when it cannot be read."""
    if record is None or record.value is None:
        return {}
    try:
        content = orjson.loads(record.value)
    except orjson.JSONDecodeError:
        return {}
    if not isinstance(content, dict):
        return {}
    return {name: str(content[name])[:160] for name in _IDENTITIES if name in content}
