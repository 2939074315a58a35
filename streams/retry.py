"""Another attempt, with growing pauses and an end; patience with an end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from streams import metrics
from streams.log import LogUnavailable

T = TypeVar("T")
log = structlog.get_logger(__name__)

PAUSE_S_MIN = 0.05
PAUSE_S_MAX = 5.0
PATIENCE_S_MIN = 2.0
TURN_S = 0.5
"""A loop that was busy for long costs what waits for the log no more than this of its patience."""


async def persist(
    attempt: Callable[[], Awaitable[T]], faults: tuple[type[Exception], ...], limit_s: float, agent: str
) -> T:
    """Do it, again while it fails with one of ``faults`` and no more than ``limit_s`` seconds have passed.

    Raises:
        whatever the last attempt raised.
    """

    def tell(fault: Exception, pause_s: float, waited_s: float) -> None:
        if pause_s:
            metrics.retries.labels(agent).inc()
            log.warning("trying_again", agent=agent, error=repr(fault), pause_seconds=pause_s)
        else:
            log.error("log_does_not_answer", agent=agent, error=repr(fault), waited_seconds=round(waited_s, 1))

    return await again(attempt, faults, limit_s, tell)


async def again(
    attempt: Callable[[], Awaitable[T]],
    faults: tuple[type[Exception], ...],
    limit_s: float,
    tell: Callable[[Exception, float, float], None],
) -> T:
    """As ``persist``; ``tell`` is called with each fault, the pause that follows (0: none, it is raised) and the time
    since the first attempt, in seconds.
    """
    began = time.monotonic()
    pause_s = PAUSE_S_MIN
    while True:
        try:
            return await attempt()
        except faults as fault:
            waited_s = time.monotonic() - began
            if waited_s + pause_s > limit_s:
                tell(fault, 0.0, waited_s)
                raise
            tell(fault, pause_s, waited_s)
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, PAUSE_S_MAX)


async def patiently(working: Awaitable[T], limit_s: float, agent: str, what: str) -> T:
    """Wait for what makes its own attempts, and say ever more rarely that it takes long.

    Only time counts in which it could go on: while a chunk is folded nothing else runs on this loop, and where a day
    begins at many sites that takes a while.

    Raises:
        LogUnavailable: it took longer than ``limit_s`` seconds, and was cancelled.
    """
    waited_s, tell_at_s = 0.0, PATIENCE_S_MIN
    task = asyncio.ensure_future(working)
    try:
        while True:
            turn_s = min(TURN_S, max(limit_s - waited_s, 0.0))
            done, _ = await asyncio.wait({task}, timeout=turn_s)
            if done:
                return task.result()
            waited_s += turn_s
            if waited_s >= limit_s:
                log.error("log_does_not_answer", agent=agent, what=what, waited_seconds=round(waited_s, 1))
                raise LogUnavailable(f"{what}: the log has not confirmed it within {limit_s:g} s")
            if waited_s >= tell_at_s:
                metrics.retries.labels(agent).inc()
                log.warning("waiting_for_the_log", agent=agent, what=what, waited_seconds=round(waited_s, 1))
                tell_at_s += 2 * waited_s
    finally:
        task.cancel()
