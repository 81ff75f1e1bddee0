"""HTTP/1.1 to the store: kept-alive connections, one request at a time on each."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Final, cast
from urllib.parse import urlsplit

from parley_shared import http_messages
from parley_shared.http_messages import BadMessageError

if TYPE_CHECKING:
    from aiohttp.http import RawResponseMessage

    from parley_shared.http_messages import Message

_LIMIT_BYTES: Final = 64 * 1024 * 1024
"""Largest answer: far more than the largest page."""
_CONNECTIONS: Final = 64
IDLE_SECONDS: Final = 15.0
"""A connection that is older is not used again: a store replica that is replaced must not keep all of ours,
and a Service spreads the new ones."""


class StoreConnectionError(OSError):
    """The store cannot be reached, or has broken off."""


class Pool:
    """Connections to one address.

    Every request must be one that may be repeated: it is sent again when a kept connection turns out to have
    been closed by the other side.

    Args:
        url: ``http://`` or ``https://``, a host, and perhaps a port.
        headers: Sent with every request.
    """

    def __init__(self, url: str, headers: dict[str, str]) -> None:
        parts = urlsplit(url)
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._host = parts.hostname or "localhost"
        self._port = parts.port or (443 if self._tls else 80)
        lines = {"Host": parts.netloc.rpartition("@")[2], **headers}
        self._headers = "".join(f"{name}: {value}\r\n" for name, value in lines.items()).encode()
        self._idle: list[_Connection] = []
        self._slots = asyncio.Semaphore(_CONNECTIONS)

    async def request(self, method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
        """Send a request; returns the answer's status and body. The caller limits the time.

        Raises:
            OSError: There is no answer.
        """
        length = b"" if body is None else b"Content-Length: %d\r\n" % len(body)
        head = b"%b %b HTTP/1.1\r\n%b%b\r\n" % (method.encode(), path.encode(), self._headers, length)
        data = head + (body or b"")
        async with self._slots:
            while self._idle:
                connection = self._idle.pop()
                if connection.usable:
                    try:
                        return await self._exchange(connection, data)
                    except StoreConnectionError:
                        break  # closed by the other side; a fresh one tells whether it is there
            return await self._exchange(await self._connect(), data)

    async def close(self) -> None:
        """Close all connections."""
        while self._idle:
            self._idle.pop().close()

    async def _exchange(self, connection: _Connection, data: bytes) -> tuple[int, bytes]:
        try:
            message = await connection.exchange(data)
        except BaseException:
            connection.close()  # its answer may still come
            raise
        if message.head.should_close:
            connection.close()
        else:
            self._idle.append(connection)
        return message.head.code, message.body

    async def _connect(self) -> _Connection:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(_Connection, self._host, self._port, ssl=self._tls)
        return connection


class _Connection(asyncio.Protocol):
    """One connection; it is closed by whoever finds it broken."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._reader = http_messages.responses(_LIMIT_BYTES)
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[Message[RawResponseMessage]] | None = None
        self._used_at = self._loop.time()

    @property
    def usable(self) -> bool:
        """Whether another request may be sent."""
        if self._transport is None or self._transport.is_closing():
            return False
        if self._loop.time() - self._used_at > IDLE_SECONDS:
            self.close()
            return False
        return True

    def exchange(self, data: bytes) -> asyncio.Future[Message[RawResponseMessage]]:
        """Send a request; the future gets the answer, or raises `StoreConnectionError`."""
        self._answer = answer = self._loop.create_future()
        if self._transport is None:
            answer.set_exception(StoreConnectionError("closed"))
        else:
            self._transport.write(data)
        return answer

    def close(self) -> None:
        """Close it, at once: nothing that may still come is wanted."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start (asyncio's callback)."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Take in an answer (asyncio's callback)."""
        try:
            self._take(self._reader.feed(data))
        except BadMessageError as error:
            self._fail(str(error))

    def connection_lost(self, exc: Exception | None) -> None:
        """Note the end, which may complete an answer (asyncio's callback)."""
        self._transport = None
        try:
            self._take(self._reader.end())
        except BadMessageError as error:
            self._fail(str(error))
        else:
            self._fail(f"connection lost ({type(exc).__name__})" if exc else "connection closed")

    def _take(self, messages: list[Message[RawResponseMessage]]) -> None:
        for message in messages:
            if message.head.code < 200:
                continue  # "continue", "early hints": the answer is still to come
            self._used_at = self._loop.time()
            if self._answer is None or self._answer.done():
                self.close()  # an answer to nothing
            else:
                self._answer.set_result(message)

    def _fail(self, reason: str) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(StoreConnectionError(reason))
        self.close()
