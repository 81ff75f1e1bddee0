"""The internal port of a process: /healthz, /readyz, /metrics, and what a service adds.

It is never reachable through the public port. ``/healthz`` says that the event loop turns; ``/readyz``
lists what is not ready, and answers 503 while anything is.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST as OPENMETRICS
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

Readiness = Callable[[], dict[str, str]]
"""Says what is not ready: part -> why. Empty when the process is ready."""


def create_ops_app(registry: CollectorRegistry, readiness: Readiness) -> web.Application:
    """Make the internal application; a service adds its own routes before it starts.

    Args:
        registry: The metrics to expose.
        readiness: Called for each ``/readyz``.
    """

    async def healthz(_request: web.Request) -> web.Response:
        return web.json_response({"status": "alive"})

    async def readyz(_request: web.Request) -> web.Response:
        missing = readiness()
        body = {"status": "not ready" if missing else "ready", "missing": missing}
        return web.Response(
            text=json.dumps(body), status=503 if missing else 200, content_type="application/json"
        )

    async def metrics(_request: web.Request) -> web.Response:
        return web.Response(
            body=generate_openmetrics(registry),  # type: ignore[no-untyped-call]
            headers={"Content-Type": OPENMETRICS},
        )

    app = web.Application()
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", metrics)
    return app
