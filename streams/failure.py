"""A step that raised: which record it was about, for the log, a metric, and whoever reads why the worker stopped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, NoReturn

import structlog

from planner.step import Record
from streams import metrics
from streams.logs import identity

log = structlog.get_logger(__name__)


class StepFailed(RuntimeError):  # noqa: N818 - named after what happened
    """A bug: a step raised. The record's coordinates are in the message; its offset is not committed."""


def step_failed(agent: str, topic: str, partition: int, records: Sequence[Record], error: Exception) -> StepFailed:
    """Say in the log and in the metric that a step raised, and what is to be raised instead.

    Args:
        topic: without prefix; ``records``: of it, those that were being folded, at least one.
    """
    culprit = _record_in(error.__traceback__)
    where = (
        f"record {culprit.topic}/{culprit.partition}/{culprit.offset}"
        if culprit is not None
        else f"a record of {topic}/{partition}/{records[0].offset} to {records[-1].offset}"
    )
    metrics.bugs.labels(agent, topic).inc()
    log.critical(
        "step_failed",
        agent=agent,
        topic=topic,
        partition=partition,
        offset=culprit.offset if culprit is not None else None,
        first_offset=records[0].offset,
        last_offset=records[-1].offset,
        error=repr(error),
        exc_info=error,
        **identity(culprit),
    )
    return StepFailed(f"agent {agent}: {where}: {error!r}")


def _record_in(trace: TracebackType | None) -> Record | None:
    """The record that the innermost frame of a traceback was about: a local variable of type Record."""
    found: Record | None = None
    while trace is not None:
        local: Mapping[str, Any] = trace.tb_frame.f_locals
        found = next((value for value in local.values() if isinstance(value, Record)), found)
        trace = trace.tb_next
    return found


def raise_first(group: BaseExceptionGroup[BaseException]) -> NoReturn:
    """Raise what stopped a group of tasks, by itself; the others of it were cancelled, or have been logged like it."""
    error = group.exceptions[0]
    if isinstance(error, BaseExceptionGroup):
        raise_first(error)
    raise error from error.__cause__
