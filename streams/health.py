"""Health and metrics over HTTP, on a port of their own.

``/healthz`` the process answers; ``/readyz`` recovery is done; ``/livez`` records that wait are being applied (503:
restart the worker); ``/metrics`` for Prometheus.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import structlog
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from streams import metrics

log = structlog.get_logger(__name__)


class Probe(Protocol):
    """What the worker tells about itself."""

    def ready(self) -> bool:
        """Every assigned partition is restored."""

    def stalled_s(self) -> float:
        """How long records have waited without any being applied; 0: none waits."""

    def refresh(self) -> None:
        """Bring the gauges up to date, before they are read."""


class HealthServer:
    """The server; ``async with`` it."""

    def __init__(self, host: str, port: int, probe: Callable[[], Probe | None], liveness_limit_s: float) -> None:
        self._host = host
        self._port = port
        self._probe = probe
        self._liveness_limit_s = liveness_limit_s
        app = web.Application()
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/livez", self._livez)
        app.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(app, access_log=None)

    async def __aenter__(self) -> HealthServer:
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._port)
        try:
            await site.start()
        except OSError as error:
            await self._runner.cleanup()
            raise OSError(
                error.errno, f"http_port {self._port}: cannot listen on {self._host}:{self._port}: {error.strerror}"
            ) from error
        log.info("health", url=f"http://{self._host}:{self._port}/readyz")
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._runner.cleanup()

    async def _healthz(self, _: web.Request) -> web.Response:
        return web.json_response({"status": "up"})

    async def _readyz(self, _: web.Request) -> web.Response:
        probe = self._probe()
        ready = probe is not None and probe.ready()
        return web.json_response({"ready": ready}, status=200 if ready else 503)

    async def _livez(self, _: web.Request) -> web.Response:
        probe = self._probe()
        stalled_s = probe.stalled_s() if probe is not None else 0.0
        live = stalled_s <= self._liveness_limit_s
        return web.json_response({"live": live, "stalled_seconds": round(stalled_s, 1)}, status=200 if live else 503)

    async def _metrics(self, _: web.Request) -> web.Response:
        probe = self._probe()
        if probe is not None:
            probe.refresh()
        metrics.ready.set(probe is not None and probe.ready())
        return web.Response(body=generate_latest(metrics.REGISTRY), headers={"Content-Type": CONTENT_TYPE_LATEST})
