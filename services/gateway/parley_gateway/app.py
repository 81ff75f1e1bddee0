"""The composition root: makes a gateway of its parts, and runs it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
from aiohttp import web

from parley_gateway import bus, drain
from parley_gateway.admission import Admission
from parley_gateway.clock import RedisClock
from parley_gateway.config import GatewayConfig
from parley_gateway.events import Events
from parley_gateway.hub import Hub
from parley_gateway.internal import create_internal_app
from parley_gateway.lanes import Lanes
from parley_gateway.life import Callbacks, Life
from parley_gateway.login import create_login
from parley_gateway.metrics import DISCONNECT_REASONS, Metrics
from parley_gateway.proxy import Proxy
from parley_gateway.roster import Roster
from parley_gateway.sessions import Sessions
from parley_gateway.sio import EngineSettings, Frame, SocketServer, TransportRefused, reasons
from parley_gateway.store_client import HttpStore
from parley_gateway.web import add_page
from parley_shared import api
from parley_shared.errors import ParleyError
from parley_shared.redis_client import AnyRedis
from parley_shared.redis_client import connect as connect_redis
from parley_shared.runtime import StartError
from parley_shared.tasks import TaskGroup

if TYPE_CHECKING:
    from parley_gateway.sio import ClientSocket

logger = logging.getLogger(__name__)

LOOP_PROBE_SECONDS: Final = 0.5
FAREWELL_SECONDS: Final = 1.0
"""How long requests may last once all sessions are closed: long-polls that were passed on would go on."""


class Gateway:
    """One gateway: the parts, how they hold together, and the way of a socket through them.

    Args:
        config: All settings.
        store: The store.
        bus_redis: Redis, for blocking reads.
    """

    def __init__(self, config: GatewayConfig, store: HttpStore, bus_redis: AnyRedis) -> None:
        self.config = config
        self.metrics = Metrics()
        self.tasks = TaskGroup("gateway")
        self.clock = RedisClock()
        self.roster = Roster(config.roster_limit)
        self.store = store
        self.hub = Hub(
            store=store,
            roster=self.roster,
            metrics=self.metrics,
            tasks=self.tasks,
            burst=config.message_burst,
        )
        self.life = Life(
            store=store,
            bus=bus.RedisBus(bus_redis),
            hub=self.hub,
            roster=self.roster,
            clock=self.clock,
            metrics=self.metrics,
            callbacks=Callbacks(
                describe=self._describe,
                reattach=self._reattach,
                touch=self._touch,
                on_new_id=self._on_new_id,
                close_all=self.close_all,
                close_socket=self._close_socket,
                announce=self._announce,
                drain=self._drain,
            ),
        )
        self.login = create_login(config)
        self.sessions = Sessions(
            store=store,
            login=self.login,
            hub=self.hub,
            roster=self.roster,
            metrics=self.metrics,
            tasks=self.tasks,
            gateway_id=self.gateway_id,
            roster_limit=config.roster_limit,
            users_bytes=config.users_bytes,
            on_lapsed=self.life.lapsed,
        )
        self.lanes = Lanes(
            store=store,
            clock=self.clock,
            gateway_id=self.gateway_id,
            metrics=self.metrics,
            tasks=self.tasks,
            count=config.lanes,
            limit=config.lane_limit,
            batch_limit=config.batch_limit,
            deadline_seconds=config.batch_deadline_seconds,
            on_item=self.hub.handle,
            on_doubt=self.hub.doubt,
        )
        self.events = Events(
            hub=self.hub,
            lanes=self.lanes,
            store=store,
            metrics=self.metrics,
            tasks=self.tasks,
            gateway_id=self.gateway_id,
            rate=config.message_rate,
            burst=config.message_burst,
            max_content=config.max_content_characters,
        )
        self.admission = Admission(
            metrics=self.metrics,
            begun=lambda: self.life.begun,
            connections=lambda: len(self.server.sessions()),
            max_connections=config.max_connections,
            rate=config.connect_rate,
            address_rate=config.address_connect_rate,
            remote=self._remote,
        )
        self.server = SocketServer(
            self,
            gateway_id=self.life.gateway_id,
            settings=EngineSettings(
                ping_interval_seconds=config.ping_interval_seconds,
                ping_timeout_seconds=config.ping_timeout_seconds,
                connect_timeout_seconds=config.connect_timeout_seconds,
                max_payload_bytes=config.max_payload_bytes,
                max_queue_packets=config.send_queue_count,
                max_queue_bytes=config.send_queue_bytes,
                cors_origins=config.cors_origins,
                trust_forwarded=config.trust_forwarded,
            ),
            admit=self.admission.admit,
            on_malformed=lambda _kind: self.metrics.malformed.inc(),
        )
        self.proxy = Proxy(
            gateway_id=self.gateway_id,
            find=self.life.find,
            metrics=self.metrics,
            timeout_seconds=config.ping_interval_seconds + config.ping_timeout_seconds + 5,
            max_payload_bytes=config.max_payload_bytes,
        )
        self.drainer = drain.Drainer(self, config.drain_seconds)
        self._living: asyncio.Task[None] | None = None

    def _remote(self, request: web.Request) -> str:
        remote: str = self.server.eio.remote(request)
        return remote

    def gateway_id(self) -> str:
        """Return the id under which the gateway is registered now."""
        return self.life.gateway_id

    # --- the handler of the Socket.IO server --------------------------------------------------

    async def on_connect(self, socket: ClientSocket, auth: object) -> dict[str, object] | None:
        """Let a socket in."""
        if socket.again and not self.admission.admit_again(socket.request_info.remote):
            raise TransportRefused("too many new connections")
        return await self.sessions.connect(socket, auth)

    def on_connected(self, socket: ClientSocket) -> None:
        """Greet a socket."""
        self.sessions.greet(socket)

    def on_event(self, socket: ClientSocket, event: str, args: list[object], ack_id: int | None) -> None:
        """Handle a client's event."""
        self.events.handle(socket, event, args, ack_id)

    def on_disconnect(self, socket: ClientSocket, reason: str) -> None:
        """Let a socket go."""
        label = reason if reason in DISCONNECT_REASONS else "other"
        self.metrics.disconnects.labels(label).inc()
        if reason == reasons.SLOW_CLIENT:
            self.metrics.slow_clients.inc()
        self.sessions.disconnect(socket)

    # --- what the life needs ------------------------------------------------------------------

    def _describe(self) -> api.LeaseRequest:
        delivered = self.metrics.registry.get_sample_value("parley_gateway_messages_delivered_total")
        return api.LeaseRequest(
            gateway=self.gateway_id(),
            address=self.config.address,
            connections=len(self.server.sessions()),
            capacity=self.config.max_connections,
            ready=not self.not_ready(),
            draining=self.drainer.draining,
            deliveries=int(delivered or 0),
            bus_lag_ms=int(self.life.bus_lag_seconds * 1000),
        )

    async def _reattach(self) -> None:
        await self.sessions.reattach_all()

    async def _touch(self) -> None:
        await self.sessions.touch_all()
        self.hub.check_standings()

    def _on_new_id(self, gateway_id: str) -> None:
        self.server.eio.gateway_id = gateway_id

    def close_all(self, reason: str) -> None:
        """Close all sessions at once, below Socket.IO."""
        for session in list(self.server.sessions()):
            session.close_soon(reason)

    def _close_socket(self, sid: str) -> None:
        socket = self.server.local.get(sid)
        if socket is not None:
            socket.close_transport("taken over")

    def _announce(self, content: str, at: int) -> None:
        frame = Frame.event("announcement", msgspec.json.encode({"content": content, "at": at}))
        for socket in self.server.sockets():
            socket.send(frame)

    def _drain(self, on: bool) -> None:
        if on:
            self.drainer.start()
        else:
            self.tasks.start(self.drainer.cancel(), "cancel drain")

    # --- readiness ----------------------------------------------------------------------------

    def not_ready(self) -> dict[str, str]:
        """List why this gateway should get no new clients; empty when it should.

        What is wrong for all gateways alike (Redis or the store away) is not in it: it would empty the
        ingress and help nobody. A full gateway is unready only while another one has room.
        """
        missing = dict(self.life.missing)
        if self.drainer.draining:
            missing["drain"] = "the gateway is being emptied"
        elif self.drainer.unready:
            missing["shed"] = "connections are being moved to other gateways"
        others = [info for key, info in self.life.gateways.items() if key != self.gateway_id()]
        if self.admission.full and any(info.ready and info.connections < info.capacity for info in others):
            missing["connections"] = "full, and another gateway has room"
        return missing

    # --- start and end ------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to live in the cluster."""
        self._living = self.tasks.start(self.life.run(), "life")
        self.tasks.start(self.watch_loop(), "watch")

    async def leave(self) -> None:
        """Give the lease back. First the life ends, or it would take a new one."""
        if self._living is not None:
            self._living.cancel()
            await asyncio.wait({self._living})
        # Should the store be away: the lease runs out by itself.
        with contextlib.suppress(ParleyError):
            await self.store.release(api.ReleaseRequest(gateway=self.gateway_id()))

    async def watch_loop(self) -> None:
        """Measure how late the event loop runs, and what waits in the send queues."""
        loop = asyncio.get_running_loop()
        while True:
            before = loop.time()
            await asyncio.sleep(LOOP_PROBE_SECONDS)
            self.metrics.loop_lag.set(max(0.0, loop.time() - before - LOOP_PROBE_SECONDS))
            self.count()

    def count(self) -> None:
        """Bring the gauges of open connections up to date."""
        transports = {"websocket": 0, "polling": 0}
        waiting = 0
        for session in self.server.sessions():
            transports[session.transport.name] += 1
            waiting += session.transport.size
        for transport, number in transports.items():
            self.metrics.connections.labels(transport).set(number)
        self.metrics.send_queue_bytes.set(waiting)


def create_app(gateway: Gateway) -> web.Application:
    """Make the public application: Socket.IO, and the page."""
    app = web.Application(client_max_size=gateway.config.max_payload_bytes)

    async def socket_io(request: web.Request) -> web.StreamResponse:
        if gateway.proxy.is_foreign(request):
            return await gateway.proxy.forward(request)
        response: web.StreamResponse = await gateway.server.eio.handle_request(request)
        return response

    app.router.add_route("*", "/socket.io/", socket_io, expect_handler=_expect)
    _add_page(app, gateway.config)
    return app


def _add_page(app: web.Application, config: GatewayConfig) -> None:
    if config.web_root:
        try:
            add_page(app, Path(config.web_root), pages={"/": "index.html"})
        except FileNotFoundError as error:
            raise StartError(f"WEB_ROOT: {error}") from error


async def _expect(request: web.Request) -> None:
    """Answer ``Expect``: aiohttp's own handler repeats the header and fails when that is no text."""
    if request.headers["Expect"].lower() != "100-continue":
        raise web.HTTPExpectationFailed(text="unknown expectation")
    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")


@asynccontextmanager
async def running(config: GatewayConfig) -> AsyncIterator[Gateway]:
    """Run a gateway: its ports are open inside the context, and everything is closed after it.

    Raises:
        StartError: A port cannot be opened, or the page is missing.
    """
    # Before anything is open: what is left open would write more than the one line that says why.
    _add_page(web.Application(), config)
    store = HttpStore(config.store_url, config.service_tokens)
    bus_redis = connect_redis(
        config.redis,
        timeout_seconds=bus.READ_TIMEOUT_SECONDS,
        max_connections=8,
        name="parley-gateway",
        read_stream=True,
    )
    gateway = Gateway(config, store, bus_redis)
    # A dropped long-poll is seen by its request handler being cancelled.
    # Compressed bodies are refused, so nothing has to unpack them (and no bomb can go off).
    public = web.AppRunner(
        create_app(gateway),
        handler_cancellation=True,
        auto_decompress=False,
        access_log=None,
        shutdown_timeout=FAREWELL_SECONDS,
    )
    internal = web.AppRunner(create_internal_app(gateway), access_log=None, shutdown_timeout=FAREWELL_SECONDS)
    try:
        await public.setup()
        await internal.setup()
        try:
            await web.TCPSite(internal, config.internal_host, config.internal_port).start()
            await web.TCPSite(public, config.host, config.port, reuse_port=True, backlog=4096).start()
            if config.own_port:
                await web.TCPSite(public, config.host, config.own_port, backlog=4096).start()
        except OSError as error:
            raise StartError(f"a port cannot be opened: {error.strerror or error}") from error
        gateway.start()
        yield gateway
    finally:
        await gateway.server.shutdown()
        await public.cleanup()
        await internal.cleanup()
        await gateway.tasks.close()
        await gateway.proxy.close()
        await gateway.login.close()
        await store.close()
        await bus_redis.aclose()
