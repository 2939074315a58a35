"""A worker: opens the log, sees to topics and catalogue, runs the app until told to stop, and says what went wrong.

``work(settings)`` is the whole program (``planner run``); ``run_worker(settings)`` the same inside a running loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

import structlog
from faust.types import TP

from config.load import load_catalogue
from config.settings import Settings
from planner.catalogue.model import Bundle
from planner.step import Message
from planner.topics import CATALOGUE_KEY
from streams import names
from streams.app import build_app
from streams.clock import tick_by_the_wall
from streams.delivery.assembly import PlannerApp
from streams.delivery.version import UntestedFaustError, check_version
from streams.embedded.lock import WorkerLock
from streams.embedded.schema import bring_up_to_date
from streams.health import HealthServer
from streams.inspect import published_catalogue, sound_catalogues
from streams.log import LogClient, LogError, LogUnavailable, database_path, open_client
from streams.logs import configure_logs
from streams.topics import security_of, topic_specs

log = structlog.get_logger(__name__)

STOPPED: Final = 0
CRASHED: Final = 1
FAULTY: Final = 2
"""The catalogue, a setting or the Faust version is not acceptable."""
LOG_FAILED: Final = 7
"""The log cannot be used: another worker has it, the disk is full, topics do not fit."""

HUNG: Final = 8
"""The stop took longer than it may; ``work`` then ends the process without waiting for what hangs."""

CONNECT_S = 5.0
"""How long one attempt to reach the log may take, so that its absence is said well within 10 s."""
PAUSE_S_MAX = 10.0


class FaultyCatalogue(Exception):  # noqa: N818 - named after what happened
    """The configured catalogue has faults; each is in the message, with its place."""


GARBAGE_THRESHOLDS = (50_000, 20, 50)
"""Of the cyclic collector. A worker's state is many small objects without cycles; at Python's own thresholds (700 …)
it walks them again and again (15 % of the booking step: ``python -m benchmarks.booking_step_cost`` with either)."""


def work(settings: Settings, bundle: Bundle | None = None, *, until_ended: int | None = None) -> int:
    """Run a worker as the whole program, on uvloop where there is one. Returns an exit code. See ``run_worker``."""
    gc.set_threshold(*GARBAGE_THRESHOLDS)
    try:
        import uvloop  # noqa: PLC0415 - there is none on some systems

        make_loop: Callable[[], asyncio.AbstractEventLoop] | None = uvloop.new_event_loop
    except ImportError:
        make_loop = None
    with asyncio.Runner(loop_factory=make_loop) as runner:
        code = runner.run(run_worker(settings, bundle, until_ended=until_ended))
        if code == HUNG:
            # tasks and threads that do not end would keep the process for ever; what was applied is durable
            logging.shutdown()
            os._exit(code)
        return code


async def run_worker(
    settings: Settings,
    bundle: Bundle | None = None,
    *,
    started: Callable[[PlannerApp], None] | None = None,
    until_ended: int | None = None,
) -> int:
    """Run a worker until SIGTERM or SIGINT; returns an exit code, having logged why.

    Args:
        bundle: in place of the one in the settings' catalogue directory.
        started: told when events are being applied.
        until_ended: a pipe to stop at the end of: whoever holds its other end has died, however suddenly.
    """
    configure_logs(settings.log_format, settings.log_level)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if until_ended is not None:
        loop.add_reader(until_ended, _stop_at_the_end, until_ended, stop)
    try:
        check_version(allow_untested=settings.allow_untested_faust)
        with _only_worker(settings):
            in_force = await _prepare(settings, bundle, stop)
            return STOPPED if in_force is None else await _run(settings, in_force, stop, started)
    except UntestedFaustError as error:
        log.error("untested_faust", error=str(error))
        return FAULTY
    except FaultyCatalogue as error:
        log.error("faulty_catalogue", directory=str(settings.catalogue_dir), error=str(error))
        return FAULTY
    except (LogError, OSError) as error:
        log.error("log_cannot_be_used", broker=settings.broker_url, error=str(error))
        return LOG_FAILED
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
        if until_ended is not None:
            loop.remove_reader(until_ended)


def _stop_at_the_end(pipe: int, stop: asyncio.Event) -> None:
    if not os.read(pipe, 4096):
        asyncio.get_running_loop().remove_reader(pipe)
        stop.set()


@contextlib.contextmanager
def _only_worker(settings: Settings) -> Iterator[None]:
    """On the embedded log there is one worker; who comes second is told who is first."""
    if not settings.embedded:
        yield
        return
    path = database_path(settings.broker_url)
    with WorkerLock(path):
        bring_up_to_date(path)
        yield


# --- before the app -----------------------------------------------------------------------------------------


async def _prepare(settings: Settings, bundle: Bundle | None, stop: asyncio.Event) -> Bundle | None:
    """Topics and catalogue, trying for as long as the log is not there; None: told to stop meanwhile."""
    pause_s = 1.0
    while not stop.is_set():
        try:
            client = await open_client(
                settings.broker_url,
                settings.topic_prefix,
                security=security_of(settings),
                replication_factor=settings.replication_factor,
                timeout_seconds=CONNECT_S,
            )
            try:
                await client.ensure_topics(topic_specs(settings))
                return await settle_catalogue(client, settings, bundle)
            finally:
                await client.close()
        except LogUnavailable as error:
            if settings.embedded:
                raise
            log.error("broker_not_there", broker=settings.broker_url, error=str(error), next_attempt_seconds=pause_s)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await stop.wait()
            pause_s = min(pause_s * 2, PAUSE_S_MAX)
    return None


async def settle_catalogue(client: LogClient, settings: Settings, bundle: Bundle | None) -> Bundle:
    """The catalogue in force: the one on the log; else the given or configured one, published to every partition.

    Raises:
        FaultyCatalogue: the log has none, and the configured one has faults.
    """
    in_force = await published_catalogue(client)
    if in_force is None:
        in_force = bundle if bundle is not None else configured_bundle(settings)
    value = in_force.model_dump_json().encode()
    # a worker that was killed between two partitions left some without; in others a faulty one hides it
    sound = await sound_catalogues(client)
    missing = [partition for partition in range(settings.partitions) if partition not in sound]
    if missing:
        await client.publish([Message("catalogue", CATALOGUE_KEY, value, partition) for partition in missing])
    log.info("catalogue", version=in_force.version, published_to=missing)
    return in_force


def configured_bundle(settings: Settings) -> Bundle:
    """The catalogue of the settings' directory.

    Raises:
        FaultyCatalogue: with every fault.
    """
    result = load_catalogue(settings.catalogue_dir)
    if result.bundle is None or result.faults:
        raise FaultyCatalogue("\n".join(str(fault) for fault in result.faults))
    return result.bundle


# --- the app ------------------------------------------------------------------------------------------------


class _AppProbe:
    """What health and metrics ask."""

    def __init__(self, app: PlannerApp) -> None:
        self._app = app

    def ready(self) -> bool:
        return bool(self._app.tables.recovery.completed.is_set() and not self._app.rebalancing)

    def stalled_s(self) -> float:
        return float(self._app.consumer.stalled_s()) if self.ready() else 0.0

    def refresh(self) -> None:
        if self.ready():
            for engine in self._app.engines.values():
                engine.refresh_gauges(self._end)

    def _end(self, tp: TP) -> int | None:
        end: int | None = self._app.consumer.highwater(tp)
        return end


async def _run(
    settings: Settings, bundle: Bundle, stop: asyncio.Event, started: Callable[[PlannerApp], None] | None
) -> int:
    probe: _AppProbe | None = None
    async with contextlib.AsyncExitStack() as stack:
        if settings.http_port:
            await stack.enter_async_context(
                HealthServer(settings.http_host, settings.http_port, lambda: probe, settings.liveness_limit_s)
            )
        app = build_app(settings, bundle)
        starting = asyncio.ensure_future(_start(app))
        stopping = asyncio.ensure_future(stop.wait())
        helpers: list[asyncio.Future[None]] = []
        try:
            await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not stopping.done():
                await starting
                probe = _AppProbe(app)
                log.info("started", broker=settings.broker_url, partitions=settings.partitions)
                if settings.clock == "wall":
                    helpers.append(asyncio.ensure_future(_tell_time(settings, app)))
                if started is not None:
                    started(app)
                crashed = asyncio.ensure_future(app.wait_until_stopped())
                await asyncio.wait({stopping, crashed, *helpers}, return_when=asyncio.FIRST_COMPLETED)
                crashed.cancel()
            return await _end(settings, app, [helper.exception() for helper in helpers if helper.done()])
        finally:
            starting.cancel()
            stopping.cancel()
            for helper in helpers:
                helper.cancel()


async def _start(app: PlannerApp) -> None:
    await app.start()


async def _tell_time(settings: Settings, app: PlannerApp) -> None:
    first = TP(settings.topic_prefix + "clock", 0)
    await tick_by_the_wall(
        partial(app.outlet.publish, names.PLAN, first.partition),
        lambda: not app.rebalancing and first in app.consumer.assignment(),
        partitions=settings.partitions,
        interval_s=settings.clock_interval_s,
    )


async def _end(settings: Settings, app: PlannerApp, failures: list[BaseException | None]) -> int:
    """Stop the app within its time; what made it stop decides the exit code."""
    reason = app.crash_reason or next((failure for failure in failures if failure is not None), None)
    try:
        async with asyncio.timeout(settings.shutdown_timeout_s):
            await app.stop()
    except TimeoutError:
        log.error("stop_took_too_long", seconds=settings.shutdown_timeout_s)
        return HUNG
    if reason is None:
        log.info("stopped")
        return STOPPED
    if isinstance(reason, LogError):
        log.error("log_failed", broker=settings.broker_url, error=str(reason))
        return LOG_FAILED
    log.error("crashed", error=str(reason) or repr(reason))
    return CRASHED
