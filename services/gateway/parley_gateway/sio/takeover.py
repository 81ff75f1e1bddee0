"""Answering a WebSocket handshake and taking the TCP connection out of aiohttp's hands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import hdrs, web

from parley_gateway.sio.websocket import accept_key

if TYPE_CHECKING:
    import asyncio

    from aiohttp.abc import AbstractStreamWriter


class NotAHandshake(Exception):  # noqa: N818 - the client's mistake
    """The request is no WebSocket handshake that this server can accept; ``response`` says so."""

    def __init__(self, response: web.Response) -> None:
        super().__init__(response.status)
        self.response = response


class TakenOver(web.StreamResponse):
    """Stands for the answer that was written already, so that aiohttp adds nothing and ends its part."""

    def __init__(self) -> None:
        super().__init__(status=101)
        self.force_close()

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:  # noqa: ARG002
        """Write nothing."""
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Write nothing."""

    @property
    def body_length(self) -> int:
        """What an access log asks for."""
        return 0


class _Leftover:
    """Collects what the client sent behind its handshake, before it had our answer."""

    def __init__(self) -> None:
        self.data = b""

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self.data += data
        return False, b""

    def feed_eof(self) -> None:
        """Nothing to do: the connection's end is told to the new protocol."""


def handshake_answer(request: web.Request) -> bytes:
    """Return the 101 answer to a WebSocket handshake (RFC 6455, section 4.2.2), without extensions.

    Raises:
        NotAHandshake: Something is missing or wrong, or the client has gone already.
    """
    if request.transport is None or request.transport.is_closing():
        raise NotAHandshake(web.Response(status=400))  # nobody will read it
    headers = request.headers
    connection = {token.strip().lower() for token in headers.get(hdrs.CONNECTION, "").split(",")}
    if headers.get(hdrs.UPGRADE, "").strip().lower() != "websocket" or "upgrade" not in connection:
        raise NotAHandshake(web.Response(status=400, text="a WebSocket handshake is needed"))
    if headers.get(hdrs.SEC_WEBSOCKET_VERSION) != "13":
        raise NotAHandshake(web.Response(status=426, headers={hdrs.SEC_WEBSOCKET_VERSION: "13"}))
    accept = accept_key(headers.get(hdrs.SEC_WEBSOCKET_KEY, ""))
    if accept is None:
        raise NotAHandshake(web.Response(status=400, text="Sec-WebSocket-Key is not valid"))
    return (
        "HTTP/1.1 101 Switching Protocols\r\n"
        "Upgrade: websocket\r\n"
        "Connection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept}\r\n\r\n"
    ).encode()


def take_over(request: web.Request, protocol: asyncio.Protocol, first: bytes) -> web.StreamResponse:
    """Give a request's connection to another protocol.

    aiohttp sees its own protocol lose the connection and frees it with the request and the handler's task.

    Args:
        request: The request whose connection is taken; nothing may have been answered yet.
        protocol: Takes over: gets ``connection_made``, then what the client has sent already.
        first: Bytes to write first.

    Returns:
        What the request handler must return.
    """
    transport, http = request.transport, request.protocol
    if transport is None:
        raise ConnectionResetError("the client has gone since its handshake was checked")
    leftover = _Leftover()
    http.set_parser(leftover)  # type: ignore[arg-type] # duck-typed; hands over the bytes that came early
    transport.write(first)
    transport.set_protocol(protocol)
    http.transport = None  # or aiohttp would close it
    http.connection_lost(None)
    protocol.connection_made(transport)
    if leftover.data:
        protocol.data_received(leftover.data)
    return TakenOver()
