"""What the forwarding gateway holds on to, and for how long."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import cast

import pytest
from aiohttp import web

from parley_gateway import proxy
from parley_gateway.metrics import Metrics
from parley_gateway.proxy import Proxy, _Pipe
from tests.harness.waiting import eventually

Owner = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

SECONDS = 0.5
FLOOD = b"x" * 8_000_000  # more than the kernel takes, with all the buffers on the way
UPGRADE = b"GET /?sid=g2-x HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"


@asynccontextmanager
async def forwarding(owner: Owner) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Forward to an owner, and connect to the forwarding gateway."""
    server = await asyncio.start_server(owner, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]

    async def find(_: str) -> str:
        return f"127.0.0.1:{port}"

    forwarder = Proxy(
        gateway_id=lambda: "g1",
        find=find,
        metrics=Metrics(),
        timeout_seconds=SECONDS,
        max_payload_bytes=1000,
    )
    app = web.Application()
    app.router.add_route("*", "/", forwarder.forward)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    reader, writer = await asyncio.open_connection("127.0.0.1", runner.addresses[0][1])
    try:
        yield reader, writer
    finally:
        writer.transport.abort()
        await runner.cleanup()
        await forwarder.close()
        server.close()


@pytest.mark.parametrize("leaves", [True, False], ids=["the owner leaves", "the owner stays"])
async def test_a_forwarded_client_that_reads_no_more_is_dropped(
    leaves: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither it nor its owner is held when nothing moves for as long as a session lives without a PONG."""
    pipes: list[_Pipe] = []
    stalled, over = asyncio.Event(), asyncio.Event()

    class NotedPipe(_Pipe):
        def __init__(self, stall_seconds: float, other: _Pipe | None = None) -> None:
            super().__init__(stall_seconds, other)
            pipes.append(self)

        def pause_writing(self) -> None:
            super().pause_writing()
            stalled.set()

    async def owner(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\n\r\n" + FLOOD)
        await (stalled if leaves else over).wait()
        writer.transport.abort()

    monkeypatch.setattr(proxy, "_Pipe", NotedPipe)
    async with forwarding(owner) as (_, writer):
        writer.transport.pause_reading()  # type: ignore[attr-defined] # it is a Transport
        writer.write(UPGRADE)
        async with asyncio.timeout(5):
            await stalled.wait()
        await eventually(lambda: all(pipe.transport is None for pipe in pipes), 5, "both are dropped")
        assert len(pipes) == 2
        over.set()


async def test_a_forwarded_post_that_never_ends_is_given_up() -> None:
    """The owner never learns of it; it is answered 408, and the connection is not used again."""

    async def owner(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        raise AssertionError("passed on")

    async with forwarding(owner) as (reader, writer), asyncio.timeout(5):
        writer.write(b"POST /?sid=g2-x HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n4")
        answer = await reader.readuntil(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"connection: close" in answer.lower()


async def test_what_a_client_does_not_read_is_let_go_when_its_owner_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The owner's last words are offered for a while."""
    monkeypatch.setattr(proxy, "CLOSE_SECONDS", 0.05)
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    client, owner = _Pipe(3600), _Pipe(3600)
    client.other, owner.other = owner, client
    transport, _ = await asyncio.get_running_loop().create_connection(lambda: client, sock=ours)
    owner.data_received(FLOOD)
    assert transport.get_write_buffer_size() > 0
    owner.connection_lost(None)
    assert client.transport is not None
    await eventually(lambda: client.transport is None, 5, "the client is dropped")
    theirs.close()


class FakeTransport:
    """Notes whether it was aborted."""

    def __init__(self) -> None:
        self.aborted = False

    def is_closing(self) -> bool:
        """Whether it was aborted."""
        return self.aborted

    def abort(self) -> None:
        """Note it."""
        self.aborted = True


async def test_who_reads_on_is_not_dropped() -> None:
    """A pause that ends in time has no consequences."""
    pipe, transport = _Pipe(0.01), FakeTransport()
    pipe.connection_made(cast("asyncio.Transport", transport))
    pipe.pause_writing()
    pipe.resume_writing()
    await asyncio.sleep(0.05)
    assert not transport.aborted
    pipe.pause_writing()
    await eventually(lambda: transport.aborted, 5, "who does not read on is dropped")
