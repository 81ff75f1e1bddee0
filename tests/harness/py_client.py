"""python-socketio's client, with a journal."""

from __future__ import annotations

from typing import Any

import socketio

from tests.harness.client import CallError, Client
from tests.harness.journal import WAIT_SECONDS, Entry


class PyClient(Client):
    """One socket of python-socketio's asyncio client; it does not reconnect by itself."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._client = socketio.AsyncClient(reconnection=False)
        self._client.on("*", self._event)
        self._client.on("connect", self._connect)
        self._client.on("connect_error", self._connect_error)
        self._client.on("disconnect", self._disconnect)

    @classmethod
    async def open(
        cls,
        url: str,
        auth: dict[str, Any] | None = None,
        *,
        name: str = "py",
        transports: tuple[str, ...] = ("polling", "websocket"),
    ) -> PyClient:
        """Connect.

        Raises:
            socketio.exceptions.ConnectionError: The server refused.
        """
        client = cls(name)
        await client.connect(url, auth, transports=transports)
        return client

    @classmethod
    async def sign_in(cls, url: str, auth: dict[str, Any], **options: Any) -> PyClient:
        """Connect and wait until `session` and `users` have come."""
        client = await cls.open(url, auth, **options)
        await client.signed_in()
        return client

    async def connect(
        self, url: str, auth: dict[str, Any] | None = None, *, transports: tuple[str, ...] = ("websocket",)
    ) -> None:
        """Connect.

        Raises:
            socketio.exceptions.ConnectionError: The server refused; why is in the journal.
        """
        await self._client.connect(url, auth=auth or {}, transports=list(transports), wait_timeout=10)

    @property
    def transport(self) -> str:
        """``polling`` or ``websocket``."""
        name: str = self._client.transport()
        return name

    async def emit(self, event: str, *args: object) -> None:
        """Send an event without an acknowledgement."""
        await self._client.emit(event, args)

    async def call(self, event: str, *args: object, timeout_seconds: float = WAIT_SECONDS) -> Any:
        """Send an event and return its acknowledgement."""
        try:
            return await self._client.call(event, args, timeout=timeout_seconds)
        except socketio.exceptions.TimeoutError as error:
            raise CallError("no acknowledgement in time") from error

    async def close(self) -> None:
        """Leave with a Socket.IO disconnect."""
        await self._client.disconnect()

    async def _event(self, name: str, *args: object) -> None:
        self.journal.add(Entry("event", name, args))

    async def _connect(self) -> None:
        self.journal.add(Entry("connect", details={"sid": self._client.get_sid()}))

    async def _connect_error(self, data: object) -> None:
        self.journal.add(Entry("connect_error", details={"data": data}))

    async def _disconnect(self, reason: str) -> None:
        self.journal.add(Entry("disconnect", details={"reason": reason}))
