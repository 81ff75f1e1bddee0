"""A Socket.IO server in this process, on a port of its own, with an application that takes notes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from aiohttp import web

from parley_gateway.sio import Admit, ClientSocket, EngineSettings, SocketServer
from parley_gateway.sio.polling import Polling
from tests.harness.waiting import eventually

WAIT_SECONDS = 10.0

Connect = Callable[[ClientSocket, object], Awaitable[dict[str, object] | None]]


class Notes:
    """The application: lets everybody in (or asks ``connect``), and notes what it is told.

    Attributes:
        connect: Replaces the decision about a client.
        greet: Called when a client has been let in.
        answer: Called with every event.
        sockets: All sockets let in, in order.
        events: What came: (event, args, ack id).
        left: What went: (sid, reason).
        malformed: Kinds of malformed input.
    """

    def __init__(self) -> None:
        self.connect: Connect | None = None
        self.greet: Callable[[ClientSocket], None] | None = None
        self.answer: Callable[[ClientSocket, str, list[object], int | None], None] | None = None
        self.sockets: list[ClientSocket] = []
        self.events: list[tuple[str, list[object], int | None]] = []
        self.left: list[tuple[str, str]] = []
        self.malformed: list[str] = []
        self._news = asyncio.Condition()
        self._wakers: set[asyncio.Task[None]] = set()

    async def on_connect(self, socket: ClientSocket, auth: object) -> dict[str, object] | None:
        """Decide."""
        return None if self.connect is None else await self.connect(socket, auth)

    def on_connected(self, socket: ClientSocket) -> None:
        """Note and greet."""
        self.sockets.append(socket)
        if self.greet is not None:
            self.greet(socket)
        self._tell()

    def on_event(self, socket: ClientSocket, event: str, args: list[object], ack_id: int | None) -> None:
        """Note and answer."""
        self.events.append((event, args, ack_id))
        self._tell()
        if self.answer is not None:
            self.answer(socket, event, args, ack_id)

    def on_disconnect(self, socket: ClientSocket, reason: str) -> None:
        """Note."""
        self.left.append((socket.sid, reason))
        self._tell()

    def on_malformed(self, kind: str) -> None:
        """Note."""
        self.malformed.append(kind)
        self._tell()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until the notes say so."""
        async with asyncio.timeout(WAIT_SECONDS), self._news:
            await self._news.wait_for(condition)

    async def reason(self) -> str:
        """Wait until one socket has left, and return why."""
        await self.until(lambda: bool(self.left))
        assert len(self.left) == 1, self.left
        return self.left[0][1]

    def _tell(self) -> None:
        task = asyncio.get_running_loop().create_task(self._notify())
        self._wakers.add(task)
        task.add_done_callback(self._wakers.discard)

    async def _notify(self) -> None:
        async with self._news:
            self._news.notify_all()


class Served:
    """The running server, and a polling client's requests to it."""

    def __init__(self, server: SocketServer, notes: Notes, port: int, http: aiohttp.ClientSession) -> None:
        self.server = server
        self.notes = notes
        self.port = port
        self.http = http
        self.url = f"http://127.0.0.1:{port}"

    async def get(self, query: str, **options: Any) -> tuple[int, str]:
        """Send a GET: (status, body)."""
        async with self.http.get(f"{self.url}/socket.io/?{query}", **options) as answer:
            return answer.status, await answer.text()

    async def open(self) -> str:
        """Open a polling session and return the part of the query that names it."""
        status, body = await self.get("EIO=4&transport=polling")
        assert status == 200, body
        return f"EIO=4&transport=polling&sid={json.loads(body[1:])['sid']}"

    async def post(self, session: str, body: str | bytes, **options: Any) -> tuple[int, str]:
        """Send a POST: (status, body)."""
        async with self.http.post(f"{self.url}/socket.io/?{session}", data=body, **options) as answer:
            return answer.status, await answer.text()

    async def join(self, packet: str = "40") -> str:
        """Open a polling session and join the main namespace."""
        session = await self.open()
        assert await self.post(session, packet) == (200, "ok")
        status, body = await self.get(session)
        assert (status, body[:2]) == (200, "40"), body
        return session

    def poll(self, session: str) -> asyncio.Task[tuple[int, str]]:
        """Begin a poll."""
        return asyncio.get_running_loop().create_task(self.get(session))

    async def poll_is_open(self) -> None:
        """Return once the one session there is holds an open poll."""
        (session,) = self.server.sessions()
        polling = session.transport
        assert isinstance(polling, Polling)
        await eventually(lambda: polling._waiter is not None, what="the poll is open")


@asynccontextmanager
async def serve(
    *,
    settings: EngineSettings | None = None,
    admit: Admit | None = None,
    namespaces: tuple[str, ...] = ("/", "/custom"),
) -> AsyncIterator[Served]:
    """Run a server for the time of a test; at its end nothing of it may be left."""
    notes = Notes()
    server = SocketServer(
        notes,
        gateway_id="g1",
        settings=settings or EngineSettings(),
        namespaces=namespaces,
        admit=admit,
        on_malformed=notes.on_malformed,
    )
    app = web.Application()
    server.attach(app)
    runner = web.AppRunner(
        app, access_log=None, handler_cancellation=True, auto_decompress=False, shutdown_timeout=1
    )
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port: int = runner.addresses[0][1]
    try:
        async with aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=WAIT_SECONDS), connector=aiohttp.TCPConnector(limit=0)
        ) as http:
            yield Served(server, notes, port, http)
    finally:
        await server.shutdown()
        await runner.cleanup()
        assert not server.sessions()
        assert not server.sockets()
