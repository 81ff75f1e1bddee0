"""The store's HTTP server and the gateways' client for it, over real connections."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import aiohttp
import pytest

from parley_gateway.store_http import Pool
from parley_shared.errors import ParleyError
from parley_store.server import Answer, Request, Server
from tests.harness.waiting import eventually

BODY_BYTES = 200_000


class Echo:
    """Answers with what it was asked; a path that begins with /slow waits until it is told to go on."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.asked = asyncio.Event()
        self.finished = 0

    async def answer(self, request: Request) -> Answer:
        """Repeat the request."""
        self.asked.set()
        if request.path.startswith("/slow"):
            await self.go_on.wait()
        self.finished += 1
        body = {"method": request.method, "path": request.path, "body": request.body.decode()}
        return Answer(200, json.dumps(body).encode())

    def refuse(self, error: ParleyError) -> Answer:
        """Answer what is no request."""
        return Answer(error.code.status, b'"%b"' % error.code.name.encode())


@pytest.fixture
def echo() -> Echo:
    """What answers."""
    return Echo()


@pytest.fixture
async def server(echo: Echo) -> AsyncIterator[Server]:
    """A server on a free port."""
    server = Server(echo, body_bytes=BODY_BYTES, idle_seconds=60)
    await server.start("127.0.0.1", 0)
    yield server
    await server.close(1)


@pytest.fixture
async def pool(server: Server) -> AsyncIterator[Pool]:
    """A client of the server."""
    pool = Pool(f"http://127.0.0.1:{server.port}", {"X-Test": "1"})
    yield pool
    await pool.close()


async def talk(server: Server, data: bytes) -> bytes:
    """Send bytes on a connection of their own and read until the server closes it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(data)
    answer = await reader.read()
    writer.close()
    return answer


async def test_a_kept_connection_carries_many_requests(server: Server, pool: Pool) -> None:
    """Requests after another share one connection, whatever the size of their bodies."""
    for body in (b"", b"a", b"b" * BODY_BYTES, b"c"):
        status, answer = await pool.request("POST", "/echo?query", body)
        assert (status, json.loads(answer)) == (
            200,
            {"method": "POST", "path": "/echo", "body": body.decode()},
        )
    assert len(server.connections) == 1


async def test_requests_at_once_use_connections_of_their_own(server: Server, pool: Pool, echo: Echo) -> None:
    """A slow request holds up no other."""
    slow = asyncio.create_task(pool.request("POST", "/slow", b"1"))
    await echo.asked.wait()
    assert (await pool.request("GET", "/fast", None))[0] == 200
    assert not slow.done()
    echo.go_on.set()
    assert (await slow)[0] == 200
    assert len(server.connections) == 2


async def test_a_connection_closed_meanwhile_is_replaced(server: Server, pool: Pool) -> None:
    """A request on a kept connection that the server has closed goes out again on a fresh one."""
    await pool.request("GET", "/", None)
    for connection in list(server.connections):
        connection.abort()
    assert (await pool.request("GET", "/again", None))[0] == 200


async def test_a_server_that_is_gone_is_an_error(server: Server, pool: Pool) -> None:
    """Without a server the client raises OSError, at once."""
    await pool.request("GET", "/", None)
    await server.close(0)
    with pytest.raises(OSError, match=r"."):
        await pool.request("GET", "/", None)


async def test_a_cancelled_request_leaves_no_answer_for_the_next(pool: Pool, echo: Echo) -> None:
    """The connection of a request that was given up is not used again."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await pool.request("GET", "/slow/1", None)
    echo.go_on.set()
    _, answer = await pool.request("GET", "/2", None)
    assert json.loads(answer)["path"] == "/2"


async def test_a_request_outlives_its_client(server: Server, pool: Pool, echo: Echo) -> None:
    """What was begun is finished although the client has gone, also while the server closes."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await pool.request("GET", "/slow", None)
    closing = asyncio.create_task(server.close(5))
    echo.go_on.set()
    await closing
    assert echo.finished == 1


async def test_closing_answers_what_is_under_way(server: Server, pool: Pool, echo: Echo) -> None:
    """A closing server answers the request under way, says that it closes, and closes idle connections."""
    slow = asyncio.create_task(pool.request("POST", "/slow", b""))
    await echo.asked.wait()
    closing = asyncio.create_task(server.close(5))
    echo.go_on.set()
    assert (await slow)[0] == 200
    await closing
    assert not server.connections


async def test_closing_does_not_wait_for_ever(server: Server, pool: Pool, echo: Echo) -> None:
    """After the grace the connections are dropped."""
    slow = asyncio.create_task(pool.request("POST", "/slow", b""))
    await echo.asked.wait()
    await server.close(0.05)
    with pytest.raises(OSError, match=r"."):
        await slow


async def test_an_idle_connection_is_closed(echo: Echo) -> None:
    """A connection that asks nothing is closed after its time."""
    server = Server(echo, body_bytes=10, idle_seconds=0.05)
    await server.start("127.0.0.1", 0)
    assert await talk(server, b"GET / HT") == b""
    await server.close(1)


async def test_a_connection_in_use_is_not_closed_with_idle_ones(echo: Echo) -> None:
    """Only what has asked nothing for its time is closed; the time begins anew with each answer."""
    server = Server(echo, body_bytes=10, idle_seconds=0.05)
    await server.start("127.0.0.1", 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    await eventually(lambda: server.connections)
    (connection,) = server.connections
    connection.idle_since += 3600  # as if it was always just used
    # The other one's end says that all were looked at.
    assert await talk(server, b"GET / HT") == b""
    writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
    assert connection.idle_since <= asyncio.get_running_loop().time()
    await reader.read()
    writer.close()
    await server.close(1)


async def test_pipelined_requests_are_answered_in_order(server: Server) -> None:
    """Requests that do not wait for each other are answered one after the other, and then the end comes."""
    asked = b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number for number in range(50))
    answer = await talk(server, asked + b"GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    paths = [part.partition(b'"')[0] for part in answer.split(b'"path": "/')[1:]]
    assert paths == [*(b"%d" % number for number in range(50)), b"last"]


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 20_000 + b"\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (BODY_BYTES + 1), b"413"),
    ],
)
async def test_what_is_no_request_gets_an_error_and_the_end(
    server: Server, data: bytes, status: bytes
) -> None:
    """Broken or too large requests are answered with a code, and the connection is closed."""
    answer = await talk(server, data)
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert b"Connection: close" in answer


async def test_a_chunked_body_has_a_limit_too(server: Server) -> None:
    """A body whose length is not announced is refused as soon as it is too long."""
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(head + chunk * 4)
    assert (await reader.readline()).startswith(b"HTTP/1.1 413")
    writer.close()


async def test_head_and_other_clients(server: Server) -> None:
    """Other clients are served as well: chunked bodies, `Expect`, HEAD without a body."""
    base = f"http://127.0.0.1:{server.port}"

    async def parts() -> AsyncIterator[bytes]:
        for part in (b"one ", b"two ", b"three"):
            yield part

    async with aiohttp.ClientSession() as session:
        async with session.post(f"{base}/chunks", data=parts()) as response:
            assert (await response.json())["body"] == "one two three"
        async with session.post(f"{base}/expect", data=b"later", expect100=True) as response:
            assert (await response.json())["body"] == "later"
        async with session.head(f"{base}/head") as response:
            assert (response.status, await response.read()) == (200, b"")


async def test_an_answer_without_a_length_ends_with_the_connection() -> None:
    """The client understands an answer that only the end of the connection completes, as proxies send it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 502 Bad Gateway\r\n\r\n<html>")
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as proxy:
        pool = Pool(f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}", {})
        assert await pool.request("GET", "/", None) == (502, b"<html>")
        await pool.close()


async def test_an_answer_that_is_none_is_an_error() -> None:
    """Bytes that are not HTTP, and an end in the middle of an answer, raise OSError."""
    answers = [b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answers.pop(0))
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as proxy:
        pool = Pool(f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}", {})
        for _ in range(2):
            with pytest.raises(OSError, match=r"."):
                await pool.request("GET", "/", None)
        await pool.close()
