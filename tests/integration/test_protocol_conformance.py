"""The conformance server as a real process: what the official suites connect to."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp

from tests.harness.ports import free_port
from tests.harness.waiting import eventually


@asynccontextmanager
async def conformance(port: int) -> AsyncIterator[Process]:
    """Run the server."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "parley_gateway.conformance",
        env={**os.environ, "PORT": str(port)},
        stdout=PIPE,
        stderr=PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_it_echoes_engine_io_and_greets_on_socket_io() -> None:
    """Both paths are served with the suites' settings; SIGTERM ends it cleanly."""
    port = free_port()
    async with conformance(port) as process, aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http:

        async def listening() -> bool:
            try:
                async with http.get("/engine.io/?EIO=4&transport=polling") as answer:
                    return '"pingInterval":300,"pingTimeout":200,"maxPayload":1000000' in await answer.text()
            except aiohttp.ClientConnectionError:
                return False

        await eventually(listening, what="the server listens")
        async with http.ws_connect("/engine.io/?EIO=4&transport=websocket") as socket:
            await socket.receive_str()
            await socket.send_str("4hello")
            assert await socket.receive_str() == "4hello"
            await socket.send_bytes(b"\x01\x02")
            assert await socket.receive_bytes() == b"\x01\x02"
        for namespace in ("", "/custom,"):
            async with http.ws_connect("/socket.io/?EIO=4&transport=websocket") as socket:
                await socket.receive_str()
                await socket.send_str("40" + namespace)
                assert (await socket.receive_str()).startswith(f"40{namespace}{{")
                assert await socket.receive_str() == f'42{namespace}["auth",{{}}]'
                await socket.send_str(f'42{namespace}["message",1]')
                assert await socket.receive_str() == f'42{namespace}["message-back",1]'
                await socket.send_str(f'42{namespace}5["message-with-ack","x"]')
                assert await socket.receive_str() == f'43{namespace}5["x"]'
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(20):
            assert await process.wait() == 0


async def test_a_port_in_use_is_one_clear_line() -> None:
    """The second server says what is wrong and exits with 1."""
    port = free_port()
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), port=port)
    async with server, conformance(port) as process, asyncio.timeout(20):
        _, stderr = await process.communicate()
        assert process.returncode == 1
        assert stderr.decode().startswith(f"parley: cannot listen on port {port}")
        assert stderr.count(b"\n") == 1
