"""The HTTP server of the API: requests that fit into memory in, JSON out.

Requests of one connection are answered in order, one at a time. One that is under way is finished even when
its client has gone: the client repeats it, and finds it done.
"""

from __future__ import annotations

import asyncio
from collections import deque
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, cast

from parley_shared import http_messages
from parley_shared.errors import MALFORMED, TOO_LARGE, ParleyError
from parley_shared.http_messages import BadMessageError, TooLargeError
from parley_shared.tasks import TaskGroup

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp.http import RawRequestMessage

_SWEEP_SECONDS: Final = 5.0
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_REASONS: Final = {status.value: status.phrase.encode() for status in HTTPStatus}


class Request(NamedTuple):
    """A request; the path comes without its query."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


class Answer(NamedTuple):
    """A status, and a body that is JSON."""

    status: int
    body: bytes


class Application(Protocol):
    """What answers. It must not raise: every failure has an answer."""

    async def answer(self, request: Request) -> Answer:
        """Answer a request."""

    def refuse(self, error: ParleyError) -> Answer:
        """Answer what is no request."""


class Server:
    """Listens and answers; must be made in a running event loop.

    Args:
        application: Answers the requests.
        body_bytes: Largest body.
        idle_seconds: A connection without a request for so long is closed, at most 5 s later.
    """

    def __init__(self, application: Application, *, body_bytes: int, idle_seconds: float) -> None:
        self.application = application
        self.body_bytes = body_bytes
        self.tasks = TaskGroup("server")
        self.closing = False
        self.connections: set[Connection] = set()
        self._idle_seconds = idle_seconds
        self._listener: asyncio.Server | None = None
        self._quiet = asyncio.Event()

    async def start(self, host: str, port: int) -> None:
        """Start to listen.

        Raises:
            OSError: The port cannot be opened.
        """
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(lambda: Connection(self), host, port, backlog=1024)
        self.tasks.start(self._sweep(), "sweep")

    @property
    def port(self) -> int:
        """The port it listens on."""
        sockets = self._listener.sockets if self._listener is not None else ()
        return int(sockets[0].getsockname()[1])

    async def close(self, grace_seconds: float) -> None:
        """Stop listening, give the requests under way time to be answered, and close all connections."""
        self.closing = True
        if self._listener is not None:
            self._listener.close()
        for connection in list(self.connections):
            connection.close_if_idle()
        try:
            async with asyncio.timeout(grace_seconds):
                while self.connections:
                    self._quiet.clear()
                    await self._quiet.wait()
        except TimeoutError:
            for connection in list(self.connections):
                connection.abort()
        await self.tasks.close()

    def forget(self, connection: Connection) -> None:
        """Drop a connection that is lost."""
        self.connections.discard(connection)
        if not self.connections:
            self._quiet.set()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(min(_SWEEP_SECONDS, self._idle_seconds))
            oldest = asyncio.get_running_loop().time() - self._idle_seconds
            for connection in list(self.connections):
                if connection.idle_since < oldest:
                    connection.close_if_idle()


class Connection(asyncio.Protocol):
    """One connection of a `Server`.

    Attributes:
        idle_since: When (event loop time) it had nothing left to answer.
    """

    __slots__ = ("_busy", "_reader", "_server", "_transport", "_waiting", "_writable", "idle_since")

    def __init__(self, server: Server) -> None:
        self._server = server
        self._reader = http_messages.requests(server.body_bytes)
        self._transport: asyncio.Transport | None = None
        self._waiting: deque[tuple[RawRequestMessage, bytes]] = deque()
        self._busy = False
        self._writable: asyncio.Future[None] | None = None
        self.idle_since = asyncio.get_running_loop().time()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start (asyncio's callback)."""
        self._transport = cast("asyncio.Transport", transport)
        self._server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Forget what nobody waits for any more (asyncio's callback)."""
        self._transport = None
        self._waiting.clear()
        self.resume_writing()
        if not self._busy:
            self._server.forget(self)

    def data_received(self, data: bytes) -> None:
        """Answer the requests that these bytes complete (asyncio's callback)."""
        before = self._reader.unfinished
        try:
            self._waiting.extend(self._reader.feed(data))
        except BadMessageError as error:
            code = TOO_LARGE if isinstance(error, TooLargeError) else MALFORMED
            self._write(self._server.application.refuse(ParleyError(code)), close=True)
            return
        if (unfinished := self._reader.unfinished) is not None and unfinished is not before:
            self._expected(unfinished)
        if self._waiting and not self._busy:
            self._busy = True
            self._server.tasks.start(self._run(), "request")
        elif self._waiting and self._transport is not None:
            self._transport.pause_reading()  # a client that does not wait for answers does not fill memory

    def pause_writing(self) -> None:
        """Answer no more until the client has read (asyncio's callback)."""
        self._writable = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        """Go on (asyncio's callback)."""
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self._writable = None

    def close_if_idle(self) -> None:
        """Close it unless a request is under way, after whose answer a closing server closes it."""
        if not self._busy and self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Drop it and what it has not sent."""
        if self._transport is not None:
            self._transport.abort()

    def _expected(self, head: RawRequestMessage) -> None:
        """Tell a client that asks before it sends a body to go on."""
        if self._transport is not None and head.headers.get("Expect", "").lower() == "100-continue":
            self._transport.write(_CONTINUE)

    async def _run(self) -> None:
        try:
            while self._waiting:
                head, body = self._waiting.popleft()
                path = head.path.partition("?")[0]
                answer = await self._server.application.answer(Request(head.method, path, head.headers, body))
                self._write(
                    answer,
                    close=head.should_close or self._server.closing,
                    bodiless=head.method == "HEAD",
                )
                if self._writable is not None:
                    await self._writable
        finally:
            self._busy = False
            self.idle_since = asyncio.get_running_loop().time()
            if self._transport is None:
                self._server.forget(self)
            elif not self._transport.is_closing():
                self._transport.resume_reading()

    def _write(self, answer: Answer, *, close: bool, bodiless: bool = False) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        self._transport.write(
            b"HTTP/1.1 %d %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%b\r\n%b"
            % (
                answer.status,
                _REASONS.get(answer.status, b""),
                len(answer.body),
                b"Connection: close\r\n" if close else b"",
                b"" if bodiless else answer.body,
            )
        )
        if close:
            self._waiting.clear()
            self._transport.close()
