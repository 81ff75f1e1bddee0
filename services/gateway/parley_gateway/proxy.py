"""Requests for sessions of another gateway are passed on to it.

A session id begins with the id of the gateway that made it. So cookie affinity is an optimisation: clients
that send no cookie, and processes that share a port, work all the same.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, cast

import aiohttp
from aiohttp import hdrs, web

from parley_gateway.metrics import Metrics
from parley_gateway.sio import owner_of
from parley_gateway.sio.takeover import take_over

logger = logging.getLogger(__name__)

MARK: Final = "X-Parley-Forwarded"
"""Set on a request that was passed on, to the asker's gateway id: it is never passed on twice."""

CLOSE_SECONDS: Final = 5.0
"""How long a forwarded WebSocket waits for its client to read what came before the owner closed it."""

_HOP_BY_HOP: Final = {
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "host",
    "content-length",
}

_UNKNOWN: Final = {"code": 1, "message": "Session ID unknown"}


class Proxy:
    """Passes requests on to the gateway that owns their session.

    Args:
        gateway_id: Gives this gateway's current id.
        find: Finds the address (host:port) of a gateway by its id; None when there is none.
        metrics: Counts.
        timeout_seconds: Longest wait for an answer, for a body, and for one end of a WebSocket that does not
            read; longer than a long-poll, and than a session lives without a PONG.
        max_payload_bytes: Largest body that is passed on.
    """

    def __init__(
        self,
        *,
        gateway_id: Callable[[], str],
        find: Callable[[str], Awaitable[str | None]],
        metrics: Metrics,
        timeout_seconds: float,
        max_payload_bytes: int,
    ) -> None:
        self._gateway_id = gateway_id
        self._find = find
        self._metrics = metrics
        self._timeout_seconds = timeout_seconds
        self._max_payload_bytes = max_payload_bytes
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=10),
            timeout=aiohttp.ClientTimeout(total=timeout_seconds, sock_connect=3),
            auto_decompress=False,
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()

    def is_foreign(self, request: web.Request) -> bool:
        """Tell whether a request is for a session of another gateway."""
        sid = request.query.get("sid")
        owner = owner_of(sid) if sid else None
        return owner is not None and owner != self._gateway_id()

    async def forward(self, request: web.Request) -> web.StreamResponse:
        """Pass a request on, and its answer back.

        An owner that is gone or does not answer is an unknown session: the client connects anew.
        """
        owner = owner_of(request.query["sid"])
        address = None
        if owner is not None and MARK not in request.headers:
            address = await self._find(owner)
        if address is None:
            return web.json_response(_UNKNOWN, status=400)
        self._metrics.forwarded.inc()
        try:
            if request.headers.get(hdrs.UPGRADE, "").lower() == "websocket":
                return await self._websocket(request, address)
            return await self._http(request, address)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            logger.info("the owner of a session does not answer", extra={"error_type": type(error).__name__})
            return web.json_response(_UNKNOWN, status=400)

    def _headers(self, request: web.Request) -> dict[str, str]:
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP_BY_HOP}
        headers[MARK] = self._gateway_id()
        # The owner judges the origin by the host that the client spoke to.
        headers["Host"] = request.headers.get("Host", "")
        peer = request.remote or ""
        before = request.headers.get("X-Forwarded-For")
        headers["X-Forwarded-For"] = f"{before}, {peer}" if before else peer
        return headers

    async def _http(self, request: web.Request, address: str) -> web.StreamResponse:
        if (request.content_length or 0) > self._max_payload_bytes:
            response = web.Response(status=413)
            response.force_close()
            return response
        try:
            async with asyncio.timeout(self._timeout_seconds):
                body = await request.read() if request.can_read_body else None
        except TimeoutError:
            response = web.Response(status=408)
            response.force_close()
            return response
        async with self._session.request(
            request.method,
            f"http://{address}{request.path_qs}",
            headers=self._headers(request),
            data=body,
            allow_redirects=False,
        ) as answer:
            headers = {
                name: value for name, value in answer.headers.items() if name.lower() not in _HOP_BY_HOP
            }
            return web.Response(status=answer.status, headers=headers, body=await answer.read())

    async def _websocket(self, request: web.Request, address: str) -> web.StreamResponse:
        """Repeat the handshake at the owner, then join the two TCP connections byte by byte.

        The owner's answer, whatever it is, reaches the client as it was written.
        """
        if request.transport is None:
            return web.Response(status=400)
        host, _, port = address.rpartition(":")
        client = _Pipe(self._timeout_seconds)
        async with asyncio.timeout(3):
            upstream, owner = await asyncio.get_running_loop().create_connection(
                lambda: _Pipe(self._timeout_seconds, client), host.strip("[]"), int(port)
            )
        headers = {**self._headers(request), "Connection": "Upgrade", "Upgrade": "websocket"}
        lines = [f"GET {request.path_qs} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        upstream.write(("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "surrogateescape"))
        client.other = owner
        return take_over(request, client, b"")


class _Pipe(asyncio.Protocol):
    """One end of two joined connections: what it receives, the other writes.

    Args:
        stall_seconds: How long it may leave unread what waits for it.
        other: The other end.
    """

    def __init__(self, stall_seconds: float, other: _Pipe | None = None) -> None:
        self.other = other
        self.transport: asyncio.Transport | None = None
        self._stall_seconds = stall_seconds
        self._timer: asyncio.TimerHandle | None = None  # drops the connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def _opposite(self) -> asyncio.Transport | None:
        return None if self.other is None else self.other.transport

    def data_received(self, data: bytes) -> None:
        if (opposite := self._opposite()) is not None:
            opposite.write(data)

    def pause_writing(self) -> None:
        if (opposite := self._opposite()) is not None:
            opposite.pause_reading()
        # Of a connection that is not read not even the end is noticed: without a timer both would be held
        # for ever, once the owner has closed the session of a client that reads no more.
        if self._timer is None:
            self._abort_after(self._stall_seconds)

    def resume_writing(self) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self._stop_timer()
        if (opposite := self._opposite()) is not None:
            opposite.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - either way it is over
        self.transport = None
        self._stop_timer()
        if self.other is not None:
            self.other.close()

    def close(self) -> None:
        """End the connection once what waits for it has been read, or after `CLOSE_SECONDS`."""
        if self.transport is not None:
            self.transport.close()
            self._abort_after(CLOSE_SECONDS)

    def _abort_after(self, seconds: float) -> None:
        self._stop_timer()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._abort)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _abort(self) -> None:
        if self.transport is not None:
            self.transport.abort()
