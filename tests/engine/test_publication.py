"""What may wait, the forecasts: when they go out, and for what they make room."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from planner.step import Message
from tests.engine.fakes import Rig, at_once, chunk, until


async def test_forecasts_go_out_between_chunks_and_on_release() -> None:
    rig = Rig()
    loop = asyncio.ensure_future(rig.engine.publish_due())
    rig.step.postponed = [Message("forecasts", b"a", b"1")]
    await until(lambda: bool(rig.outlet.messages))
    assert rig.outlet.messages == [Message("forecasts", b"a", b"1")]
    loop.cancel()
    step = rig.step
    step.postponed = [Message("forecasts", b"b", b"2")]
    await rig.engine.release(5)
    assert rig.outlet.messages[-1] == Message("forecasts", b"b", b"2")
    assert not await rig.engine.apply(chunk(0)), "after the release nothing is applied"


async def test_forecasts_go_out_at_once_when_it_was_quiet() -> None:
    rig = Rig(forecast_interval_s=3600)
    rig.step.postponed = [Message("forecasts", b"a", b"1")]
    loop = asyncio.ensure_future(rig.engine.publish_due())
    await until(lambda: bool(rig.outlet.messages))  # an hour has not passed
    rig.step.postponed = [Message("forecasts", b"b", b"2")]
    rig.outlet.messages.clear()
    await rig.engine.apply(chunk(0))
    for _ in range(100):
        await asyncio.sleep(0)
    told = [message.topic for message in rig.outlet.messages]
    assert told == ["outcomes"], "the chunk's forecast waits for the interval, and nothing else does"
    loop.cancel()


async def test_forecasts_left_by_a_step_go_out_without_another_chunk() -> None:
    rig = Rig()
    left = [[Message("forecasts", b"%d" % n, b"1")] for n in range(3)]
    rig.step.due = lambda: left.pop() if left else []  # type: ignore[method-assign]
    loop = asyncio.ensure_future(rig.engine.publish_due())
    await until(lambda: len(rig.outlet.messages) == 3)
    loop.cancel()


async def test_forecasts_do_not_pause_for_as_long_as_a_chunk_held_them_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """They rest for as long as publishing took. A day that begins at many sites takes long to fold, and is not that."""
    rig = Rig(forecast_interval_s=0)
    passed_s = 0.0
    monkeypatch.setattr("streams.engine.time.perf_counter", lambda: passed_s)
    (slot,) = rig.engine._slots.values()
    rig.step.postponed = [Message("forecasts", b"a", b"1")]
    async with slot.lock:
        loop = asyncio.ensure_future(rig.engine.publish_due())
        await until(slot.telling.locked)
        passed_s = 3_600.0
        rig.engine._chunks += 1  # the one that held them up
    await until(lambda: len(rig.outlet.messages) == 1)
    rig.step.postponed = [Message("forecasts", b"b", b"2")]
    rig.engine._touched.set()
    await until(lambda: len(rig.outlet.messages) == 2)  # an hour has not passed
    loop.cancel()


@pytest.mark.parametrize("busy", [False, True])
async def test_forecasts_rest_only_while_chunks_come_in(busy: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand sites whose day begins have a lot to tell; with nothing else to do that is told without rests."""
    rig = Rig(forecast_interval_s=0)
    passed_s = 0.0
    monkeypatch.setattr("streams.engine.time.perf_counter", lambda: passed_s)
    left = [[Message("forecasts", b"%d" % n, b"1")] for n in range(3)]
    rig.step.due = lambda: left.pop() if left else []  # type: ignore[method-assign]
    publish = rig.outlet.publish

    async def slowly(agent: str, partition: int, messages: Sequence[Message]) -> None:
        nonlocal passed_s
        if busy:
            await rig.engine.apply(chunk(len(rig.outlet.pages)))
        passed_s += 3_600.0
        await publish(agent, partition, messages)

    monkeypatch.setattr(rig.outlet, "publish", slowly)
    loop = asyncio.ensure_future(rig.engine.publish_due())
    await until(lambda: passed_s >= 3_600.0)
    for _ in range(100):
        await asyncio.sleep(0)
    told = [message for message in rig.outlet.messages if message.topic == "forecasts"]
    assert len(told) == (1 if busy else 3)
    loop.cancel()


async def test_partitions_tell_their_forecasts_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    """On Kafka each waits for a transaction of its own."""
    rig = Rig()
    at_once(rig.engine.restore({0, 1, 2}))
    for step in rig.made[-3:]:
        step.postponed = [Message("forecasts", b"%d" % step.partition, b"1")]
    waiting: set[int] = set()
    all_wait = asyncio.Event()

    async def publish(agent: str, partition: int, messages: Sequence[Message]) -> None:
        waiting.add(partition)
        if len(waiting) == 3:
            all_wait.set()
        await all_wait.wait()
        rig.outlet.messages += messages

    monkeypatch.setattr(rig.outlet, "publish", publish)
    loop = asyncio.ensure_future(rig.engine.publish_due())
    await until(lambda: len(rig.outlet.messages) == 3)
    loop.cancel()


async def test_a_log_that_does_not_take_forecasts_stops_the_worker() -> None:
    rig = Rig(retry_limit_s=0.01)
    rig.step.postponed = [Message("forecasts", b"a", b"1")]
    rig.outlet.failures = [ConnectionError("gone")] * 1000
    with pytest.raises(ConnectionError, match="gone"):
        await asyncio.wait_for(rig.engine.publish_due(), 30)
