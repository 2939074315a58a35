"""Patience with the log: it ends, and time in which the log could not be heard does not count."""

from __future__ import annotations

import asyncio
import time

import pytest

from streams import retry
from streams.log import LogUnavailable


async def test_what_the_log_never_confirms_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "TURN_S", 0.02)
    cancelled = asyncio.Event()

    async def never() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    with pytest.raises(LogUnavailable, match=r"the page: the log has not confirmed it within 0\.1 s"):
        await retry.patiently(never(), 0.1, "plan", "the page")

    await asyncio.wait_for(cancelled.wait(), 10)


async def test_while_this_loop_is_busy_patience_does_not_run_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A day that begins at many sites is folded at once; the log answers meanwhile, and nobody listens."""
    monkeypatch.setattr(retry, "TURN_S", 0.02)
    limit_s = 0.4

    async def answers() -> str:
        for _ in range(4):  # as many turns of the loop as a transaction takes
            await asyncio.sleep(0.001)
        return "committed"

    async def folds() -> None:
        for _ in range(4):
            time.sleep(limit_s / 2)  # noqa: ASYNC251 (as a fold does)
            await asyncio.sleep(0)

    folding = asyncio.create_task(folds())
    began = time.monotonic()
    assert await retry.patiently(answers(), limit_s, "plan", "the page") == "committed"
    await folding
    assert time.monotonic() - began > limit_s, "it was busy for longer than the limit"
