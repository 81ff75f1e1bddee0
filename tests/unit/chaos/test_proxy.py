"""The proxy of the chaos suite does what it says, or the suite would prove nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.chaos.proxy import Proxy
from tests.harness.ports import free_port
from tests.harness.waiting import eventually


@pytest.fixture
async def echo() -> AsyncIterator[int]:
    """A server that says its port's last digit, then echoes; gives its port."""
    port = free_port()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(1000):
            writer.write(chunk)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", port):
        yield port


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, text: bytes) -> bytes:
    """Send and read the echo."""
    writer.write(text)
    return await asyncio.wait_for(reader.readexactly(len(text)), 5)


async def ended(reader: asyncio.StreamReader) -> bool:
    """Wait for the end of a connection, in order or not."""
    try:
        return await asyncio.wait_for(reader.read(), 5) == b""
    except ConnectionError:
        return True


async def test_it_carries_bytes_both_ways_and_the_end(echo: int) -> None:
    """What is sent comes back, and a half-closed connection ends in order."""
    async with Proxy("test", lambda: [echo]) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        assert await ask(reader, writer, b"hello") == b"hello"
        writer.write_eof()
        assert await asyncio.wait_for(reader.read(), 5) == b""
        await eventually(lambda: proxy.links == 0)
        writer.close()


async def test_it_skips_targets_that_do_not_accept(echo: int) -> None:
    """A dead target is passed over, whichever turn it is."""
    async with Proxy("test", lambda: [free_port(), echo]) as proxy:
        for _ in range(3):
            reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
            assert await ask(reader, writer, b"x") == b"x"
            writer.close()


async def test_cut_breaks_connections_and_refusing_keeps_them_away(echo: int) -> None:
    """A cut connection ends at once; while the proxy refuses, so does every new one."""
    async with Proxy("test", lambda: [echo]) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        await ask(reader, writer, b"x")
        assert proxy.cut() == 1
        assert await ended(reader)
        writer.close()
        proxy.refusing = True
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        assert await ended(reader)
        writer.close()


async def test_a_stalled_connection_loses_nothing(echo: int) -> None:
    """Bytes wait while it is stalled, and arrive when it goes on."""
    async with Proxy("test", lambda: [echo]) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        await ask(reader, writer, b"x")
        (link,) = proxy.stall()
        writer.write(b"later")
        echoed = asyncio.create_task(reader.readexactly(5), name="echoed")
        other_reader, other_writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        assert await ask(other_reader, other_writer, b"y") == b"y"
        assert not echoed.done()
        link.resume()
        assert await asyncio.wait_for(echoed, 5) == b"later"
        writer.close()
        other_writer.close()
