"""The gateway's internal port: health, metrics, draining, and the operators' status page."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
from aiohttp import web

from parley_gateway.web import add_page
from parley_shared.auth import require
from parley_shared.errors import MALFORMED, Code, ParleyError
from parley_shared.ops import create_ops_app

if TYPE_CHECKING:
    from parley_gateway.app import Gateway


class ShedRequest(msgspec.Struct):
    """``POST /shed``: how many connections to close."""

    count: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]


def create_internal_app(gateway: Gateway) -> web.Application:
    """Make the internal application. Draining and shedding need the service token."""
    app = create_ops_app(gateway.metrics.registry, gateway.not_ready)
    tokens = gateway.config.service_tokens

    def authorised(request: web.Request) -> web.Response | None:
        try:
            require(request.headers, tokens)
        except ParleyError as error:
            return _failed(error.code)
        return None

    def state() -> web.Response:
        return web.json_response(
            {"draining": gateway.drainer.draining, "connections": len(gateway.server.sessions())}
        )

    async def get_drain(request: web.Request) -> web.Response:
        return authorised(request) or state()

    async def post_drain(request: web.Request) -> web.Response:
        if (refused := authorised(request)) is not None:
            return refused
        gateway.drainer.start()
        return state()

    async def delete_drain(request: web.Request) -> web.Response:
        if (refused := authorised(request)) is not None:
            return refused
        await gateway.drainer.cancel()
        return state()

    async def post_shed(request: web.Request) -> web.Response:
        if (refused := authorised(request)) is not None:
            return refused
        try:
            asked = msgspec.json.decode(await request.read(), type=ShedRequest)
        except msgspec.MsgspecError as error:
            return _failed(MALFORMED, str(error))
        gateway.drainer.shed(asked.count)
        return state()

    async def status(_request: web.Request) -> web.Response:
        gateways = [
            {
                "gateway": info.gateway,
                "address": info.address,
                "connections": info.connections,
                "capacity": info.capacity,
                "ready": info.ready,
                "draining": info.draining,
                "beat": info.beat,
                "deliveries_total": info.deliveries,
                "bus_lag_seconds": info.bus_lag_ms / 1000,
            }
            for info in sorted(gateway.life.gateways.values(), key=lambda info: info.address)
        ]
        return web.json_response({"now": int(time.time() * 1000), "gateways": gateways})

    app.router.add_get("/drain", get_drain)
    app.router.add_post("/drain", post_drain)
    app.router.add_delete("/drain", delete_drain)
    app.router.add_post("/shed", post_shed)
    app.router.add_get("/status.json", status)
    root = Path(gateway.config.web_root)
    if gateway.config.web_root and (root / "status.html").is_file():
        add_page(app, root, pages={"/status": "status.html"})
    return app


def _failed(code: Code, detail: str | None = None) -> web.Response:
    body = {"code": code.name, "message": detail or code.message, "retryable": code.retryable}
    return web.json_response(body, status=code.status)
