"""The Engine.IO v4 server: handshakes, polls, POSTs and upgrades on aiohttp.

A subclass of python-engineio's server that keeps its interface and replaces how it works: no task and no
queue for a session, sessions that follow the protocol where the stock ones leave it, and WebSockets outside
of aiohttp.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable
from typing import Any, Final

import engineio
import msgspec
from aiohttp import hdrs, web

from parley_gateway.sio import reasons
from parley_gateway.sio.connection import WebSocketConnection
from parley_gateway.sio.frames import Frame
from parley_gateway.sio.origin import OriginPolicy
from parley_gateway.sio.polling import Polling, PollOverlap
from parley_gateway.sio.session import Application, RequestInfo, Session
from parley_gateway.sio.settings import EngineSettings
from parley_gateway.sio.takeover import NotAHandshake, handshake_answer, take_over
from parley_gateway.sio.wheel import Wheel

logger = logging.getLogger(__name__)

Admit = Callable[[web.Request], web.StreamResponse | None]
"""Decides about a handshake before any work is done: None lets it pass, a response is the answer."""

_UNKNOWN_TRANSPORT: Final = (0, "Transport unknown")
_UNKNOWN_SID: Final = (1, "Session ID unknown")
_BAD_METHOD: Final = (2, "Bad handshake method")
_BAD_REQUEST: Final = (3, "Bad request")
_FORBIDDEN: Final = (4, "Forbidden")
_UNSUPPORTED_VERSION: Final = (5, "Unsupported protocol version")
"""The error bodies of the reference server (engine.io 6), which its clients show to developers."""


def owner_of(sid: str) -> str | None:
    """Return the id of the gateway that made a session id, or None when no gateway can have made it."""
    owner, separator, _ = sid.partition("-")
    return owner if separator and owner else None


class EngineServer(engineio.AsyncServer):  # type: ignore[misc] # python-engineio has no types
    """Serves Engine.IO sessions to an `Application`. It must be used on one running event loop.

    Args:
        application: Gets the messages.
        settings: Limits and times.
        gateway_id: Begins every session id, so that any gateway can tell whose a session is. Without ``-``.
        admit: Asked about every handshake.
        on_malformed: Told the kind of every input that breaks the protocol.
    """

    def __init__(
        self,
        application: Application,
        *,
        settings: EngineSettings,
        gateway_id: str,
        admit: Admit | None = None,
        on_malformed: Callable[[str], None] | None = None,
        **options: Any,
    ) -> None:
        if not gateway_id or "-" in gateway_id:
            raise ValueError("a gateway id has at least one character and no '-'")
        super().__init__(
            async_mode="aiohttp",
            logger=logger,
            monitor_clients=False,
            ping_interval=settings.ping_interval_seconds,
            ping_timeout=settings.ping_timeout_seconds,
            max_http_buffer_size=settings.max_payload_bytes,
            http_compression=False,
            **options,
        )
        self.application = application
        self.settings = settings
        self.gateway_id = gateway_id
        self.sockets: dict[str, Session] = {}
        # A tenth of the shorter time: fine enough for the announced times, coarse enough to cost nothing.
        shorter = min(settings.ping_interval_seconds, settings.ping_timeout_seconds)
        self.wheel: Wheel[Session] = Wheel(min(shorter / 10, 1.0))
        self._shut = False
        self._admit = admit
        self._on_malformed = on_malformed
        self._origins = OriginPolicy(settings.cors_origins, trust_forwarded=settings.trust_forwarded)

    def generate_id(self) -> str:
        """Make a session id: the gateway's id and 128 random bits, URL-safe."""
        return f"{self.gateway_id}-{secrets.token_urlsafe(16)}"

    def attach(self, app: web.Application, engineio_path: str = "engine.io") -> None:
        """Serve all methods at a path of an aiohttp application.

        The application's runner needs ``handler_cancellation=True``: that is how the server learns that a
        client has dropped its open poll. With ``auto_decompress=False`` no compressed body is unpacked on its
        way to being refused.
        """
        app.router.add_route("*", f"/{engineio_path.strip('/')}/", self.handle_request)

    async def handle_request(self, request: web.Request) -> web.StreamResponse:
        """Answer one request of a client."""
        cors = self._origins.headers(request)
        if cors is None:
            return _error(_FORBIDDEN, 403)
        if request.method == hdrs.METH_OPTIONS:
            return self._origins.preflight(request, cors)
        response = await self._route(request)
        if cors and not response.prepared:
            response.headers.update(cors)
        return response

    async def _route(self, request: web.Request) -> web.StreamResponse:
        query = request.query
        transport = query.get("transport")
        if transport not in {"polling", "websocket"}:
            return _error(_UNKNOWN_TRANSPORT)
        if query.get("EIO") != "4":
            return _error(_UNSUPPORTED_VERSION)
        if request.method not in {hdrs.METH_GET, hdrs.METH_POST}:
            return _error(_BAD_METHOD)
        sid = query.get("sid")
        if sid is None:
            if request.method != hdrs.METH_GET:
                return _error(_BAD_METHOD)
            return self._open(request, transport)
        session = self.sockets.get(sid)
        if session is None or session.expire(asyncio.get_running_loop().time()):
            return _error(_UNKNOWN_SID)
        if transport == "websocket":
            return self._upgrade(request, session)
        if not isinstance(session.transport, Polling) or _asks_for_websocket(request):
            return _error(_BAD_REQUEST)
        if request.method == hdrs.METH_GET:
            return await _poll(session, session.transport)
        return await self._receive(request, session, session.transport)

    # Handshakes

    def _open(self, request: web.Request, transport: str) -> web.StreamResponse:
        try:
            answer = handshake_answer(request) if transport == "websocket" else None
        except NotAHandshake as error:
            return error.response
        if answer is None and _asks_for_websocket(request):
            return _error(_BAD_REQUEST)
        if self._shut:
            return web.Response(status=503)
        if self._admit is not None:
            refusal = self._admit(request)
            if refusal is not None:
                return refusal
        session = Session(
            self,
            self.generate_id(),
            RequestInfo(
                remote=self._origins.remote(request),
                origin=request.headers.get(hdrs.ORIGIN),
                user_agent=request.headers.get(hdrs.USER_AGENT),
                transport=transport,
            ),
        )
        self.sockets[session.sid] = session
        self.wheel.add(session, session.first_timer())
        opened = b"0" + self._open_packet(session.sid, upgradable=answer is None)
        if answer is None:
            self.application.on_open(session)
            return _payload(opened)
        connection = self._connection(session)
        session.transport = connection
        self.application.on_open(session)
        return take_over(request, connection, answer + Frame.text(opened).wire)

    def _open_packet(self, sid: str, *, upgradable: bool) -> bytes:
        settings = self.settings
        return msgspec.json.encode(
            {
                "sid": sid,
                "upgrades": ["websocket"] if upgradable else [],
                "pingInterval": round(settings.ping_interval_seconds * 1000),
                "pingTimeout": round(settings.ping_timeout_seconds * 1000),
                "maxPayload": settings.max_payload_bytes,
            }
        )

    def _upgrade(self, request: web.Request, session: Session) -> web.StreamResponse:
        try:
            answer = handshake_answer(request)
        except NotAHandshake as error:
            return error.response
        connection = self._connection(session)
        if session.start_probe(connection):
            return take_over(request, connection, answer)
        # A second WebSocket for a session is accepted and closed at once, as the reference server does.
        response = take_over(request, connection, answer)
        connection.finish(1002)
        return response

    def _connection(self, session: Session) -> WebSocketConnection:
        settings = self.settings
        return WebSocketConnection(
            session,
            max_payload_bytes=settings.max_payload_bytes,
            max_queue_bytes=settings.max_queue_bytes,
            close_timeout_seconds=settings.close_timeout_seconds,
        )

    # Polling

    async def _receive(self, request: web.Request, session: Session, polling: Polling) -> web.Response:
        """Answer a POST."""
        if polling.posting:
            self.on_malformed("post overlap")
            session.close(reasons.PARSE_ERROR)
            return _error(_BAD_REQUEST)
        if request.headers.get(hdrs.CONTENT_ENCODING, "identity") != "identity":
            self.on_malformed("payload")
            session.close(reasons.PARSE_ERROR)
            return _error(_BAD_REQUEST)
        polling.posting = True
        try:
            return await self._take(request, session)
        except asyncio.CancelledError:
            # The client dropped the request: what it sent is lost, so the session is over.
            session.close(reasons.TRANSPORT_CLOSE)
            raise
        finally:
            polling.posting = False

    async def _take(self, request: web.Request, session: Session) -> web.Response:
        """Read a POST and handle what it brings."""
        settings = self.settings
        try:
            # As long as a session lives without a PONG: a slower body outlives its session.
            async with asyncio.timeout(settings.ping_interval_seconds + settings.ping_timeout_seconds):
                body = await _read(request, settings.max_payload_bytes)
        except TimeoutError:
            # It would be held for ever otherwise, and nothing would count it.
            session.close(reasons.TRANSPORT_ERROR)
            response = web.Response(status=408)
            response.force_close()
            return response
        except web.RequestPayloadError:
            self.on_malformed("payload")
            session.close(reasons.PARSE_ERROR)
            return _error(_BAD_REQUEST)
        if body is None:
            # The session lives on, as with the reference server; the client's own library ends it.
            self.on_malformed("too large")
            response = web.Response(status=413)
            response.force_close()
            return response
        if session.closed:
            return _error(_UNKNOWN_SID)
        if not await session.on_payload(body):
            return _error(_BAD_REQUEST)
        return web.Response(text="ok", content_type="text/html", headers=_NO_STORE)

    def remote(self, request: web.Request) -> str:
        """Return the client's address: from X-Forwarded-For when that is to be believed."""
        return self._origins.remote(request)

    # What sessions need, and the inherited interface

    def forget(self, session: Session) -> None:
        """Drop a session that has closed."""
        self.sockets.pop(session.sid, None)

    def on_malformed(self, kind: str) -> None:
        """Count input that breaks the protocol."""
        if self._on_malformed is not None:
            self._on_malformed(kind)

    async def send(self, sid: str, data: str | bytes) -> None:
        """Send a message to a session; nothing happens when there is no such session."""
        session = self.sockets.get(sid)
        if session is not None:
            session.send(Frame.binary(data) if isinstance(data, bytes) else Frame.text(b"4" + data.encode()))

    def transport(self, sid: str) -> str:
        """Return ``polling`` or ``websocket``.

        Raises:
            KeyError: There is no such session.
        """
        return self.sockets[sid].transport.name

    async def disconnect(self, sid: str | None = None) -> None:
        """Close a session, or all."""
        for session in list(self.sockets.values()) if sid is None else [self.sockets.get(sid)]:
            if session is not None:
                session.close(reasons.SERVER_CLOSE)

    async def shutdown(self) -> None:
        """Close all sessions, stop the clock, and open no new ones."""
        self._shut = True
        await self.disconnect()
        self.wheel.close()


_NO_STORE: Final = {hdrs.CACHE_CONTROL: "no-store"}


def _asks_for_websocket(request: web.Request) -> bool:
    return request.headers.get(hdrs.UPGRADE, "").strip().lower() == "websocket"


def _payload(body: bytes) -> web.Response:
    return web.Response(body=body, content_type="text/plain", charset="UTF-8", headers=_NO_STORE)


def _error(error: tuple[int, str], status: int = 400) -> web.Response:
    return web.json_response({"code": error[0], "message": error[1]}, status=status, headers=_NO_STORE)


async def _poll(session: Session, polling: Polling) -> web.Response:
    """Answer a GET once there is something to send."""
    try:
        return _payload(await polling.poll())
    except PollOverlap:
        session.on_malformed("poll overlap")
        session.close(reasons.PARSE_ERROR)
        return _error(_BAD_REQUEST)
    except asyncio.CancelledError:
        # The client dropped the request: what would have been the answer is lost, so the session is over.
        session.close(reasons.TRANSPORT_CLOSE)
        raise


async def _read(request: web.Request, limit: int) -> bytes | None:
    """Return a request's body, or None when it is longer than ``limit`` bytes."""
    if request.content_length is not None and request.content_length > limit:
        return None
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > limit:
            return None
    return bytes(body)
