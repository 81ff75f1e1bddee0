"""HTTP long-polling as the Engine.IO v4 protocol has it, over real connections."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections import Counter
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from parley_gateway.sio import EngineSettings, Frame, TransportRefused, owner_of
from parley_gateway.sio.client import ClientSocket
from parley_gateway.sio.packets import PACKETS_PER_TURN
from parley_gateway.sio.polling import Polling
from tests.harness.sio_server import serve
from tests.harness.waiting import eventually

FAST = EngineSettings(ping_interval_seconds=0.3, ping_timeout_seconds=0.2)


async def test_times_are_announced_in_exact_milliseconds() -> None:
    """Fractions of a second survive the handshake."""
    async with serve(settings=FAST) as served:
        _, body = await served.get("EIO=4&transport=polling")
        opened = json.loads(body[1:])
        assert body[0] == "0"
        assert (opened["pingInterval"], opened["pingTimeout"]) == (300, 200)
        assert (opened["maxPayload"], opened["upgrades"]) == (256 * 1024, ["websocket"])
        assert owner_of(opened["sid"]) == "g1"
        assert len(opened["sid"]) >= 3 + 22, "128 random bits take 22 characters"


@pytest.mark.parametrize(
    "query",
    [
        "EIO=4",
        "EIO=4&transport=abc",
        "transport=polling",
        "EIO=3&transport=polling",
        "EIO=4&transport=polling&sid=unknown",
        "EIO=4&transport=polling&sid=",
        "EIO=4&transport=websocket",
        "",
    ],
)
async def test_wrong_queries_are_refused(query: str) -> None:
    """A missing or unknown transport, version or session gets 400 and opens nothing."""
    async with serve() as served:
        assert (await served.get(query))[0] == 400
        assert not served.server.sessions()


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "HEAD", "PATCH"])
async def test_a_handshake_is_a_get(method: str) -> None:
    """Any other method gets 400."""
    async with serve() as served:
        url = f"{served.url}/socket.io/?EIO=4&transport=polling"
        async with served.http.request(method, url) as answer:
            assert answer.status == 400


async def test_a_put_to_a_session_is_refused() -> None:
    """Methods that the protocol does not know get 400 with a session too, and do it no harm."""
    async with serve() as served:
        session = await served.join()
        async with served.http.put(f"{served.url}/socket.io/?{session}", data="4x") as answer:
            assert answer.status == 400
        assert await served.post(session, '42["x"]') == (200, "ok")


async def test_a_post_is_answered_in_lower_case() -> None:
    """The answer to a POST is exactly `ok`."""
    async with serve() as served:
        assert await served.post(await served.open(), "40") == (200, "ok")


async def test_any_number_of_packets_may_come_in_one_post() -> None:
    """A hundred packets of one payload are handled, in their order."""
    async with serve() as served:
        session = await served.join()
        payload = "\x1e".join(f'42["n",{number}]' for number in range(100))
        assert await served.post(session, payload) == (200, "ok")
        assert served.notes.events == [("n", [number], None) for number in range(100)]


async def test_many_packets_of_one_post_are_handled_in_turns() -> None:
    """One client does not hold up the others, and its own order is kept."""
    async with serve() as served:
        session = await served.join()
        count = 10 * PACKETS_PER_TURN
        turns: list[int] = []
        turn = 0

        def tick() -> None:
            nonlocal turn
            turn += 1
            if len(turns) < count:
                asyncio.get_running_loop().call_soon(tick)

        served.notes.answer = lambda *_: turns.append(turn)
        tick()
        answer = await served.post(session, "\x1e".join(f'42["n",{number}]' for number in range(count)))
        assert answer == (200, "ok")
        assert [args for _, args, _ in served.notes.events] == [[number] for number in range(count)]
        assert max(Counter(turns).values()) <= PACKETS_PER_TURN


async def test_a_post_that_was_not_handled_whole_is_not_answered_with_ok() -> None:
    """The session is closed in the midst of it: what follows is lost, and its client is told so."""
    async with serve() as served:
        session = await served.join()
        served.notes.answer = lambda socket, *_: socket.close_transport()
        status, _ = await served.post(session, "\x1e".join(['42["n"]'] * 10 * PACKETS_PER_TURN))
        assert status == 400
        assert len(served.notes.events) == PACKETS_PER_TURN


async def test_a_post_while_another_is_handled_closes_the_session() -> None:
    """Its packets would come before the other's rest."""
    async with serve() as served:
        session = await served.join()
        second: list[asyncio.Task[tuple[int, str]]] = []

        def answer(*_: object) -> None:
            if not second:
                second.append(asyncio.get_running_loop().create_task(served.post(session, '42["second"]')))

        served.notes.answer = answer
        status, _ = await served.post(session, "\x1e".join(['42["n"]'] * 20_000))
        assert (status, (await second[0])[0]) == (400, 400)
        assert {event for event, _, _ in served.notes.events} == {"n"}


@pytest.mark.parametrize(
    "payload",
    [
        "abc",
        "",
        "2",
        "0",
        "4abc",
        "42{}",
        '42["x"',
        "b????",
        "4\x1e",
        '42["\\ud800"]',
        b"42[\xff]",
        b"4\xff",
        "3x",
    ],
)
async def test_a_malformed_payload_closes_the_session(payload: str | bytes) -> None:
    """It is answered 400, an open poll ends with a close packet, and the session is gone; others stay."""
    async with serve() as served:
        bystander = await served.join()
        session = await served.open()
        await served.post(session, "40")
        await served.get(session)
        poll = served.poll(session)
        await asyncio.sleep(0)
        assert (await served.post(session, payload))[0] == 400
        assert (await poll)[1] in {"1", '{"code": 1, "message": "Session ID unknown"}'}
        assert (await served.get(session))[0] == 400
        assert [reason for _, reason in served.notes.left] == ["parse error"]
        assert served.notes.malformed
        assert await served.post(bystander, '42["x"]') == (200, "ok")


async def test_two_polls_at_once_close_the_session() -> None:
    """The first poll ends with a close packet, the second one gets 400."""
    async with serve() as served:
        session = await served.open()
        first = served.poll(session)
        await served.poll_is_open()
        assert (await served.get(session))[0] == 400
        assert await first == (200, "1")
        assert (await served.get(session))[0] == 400
        assert served.notes.malformed == ["poll overlap"]


async def test_two_posts_at_once_close_the_session() -> None:
    """A POST that begins while another is being read gets 400, and so does the other."""
    async with serve() as served:
        session = await served.open()
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(f"POST /socket.io/?{session} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n4".encode())
        (opened,) = served.server.sessions()
        polling = opened.transport
        assert isinstance(polling, Polling)
        await eventually(lambda: polling.posting, what="the POST is being read")
        assert (await served.post(session, "40"))[0] == 400
        writer.write(b'0{"a":1}')
        assert b" 400 " in await reader.readline()
        writer.close()
        assert not served.server.sessions()


async def test_a_post_that_never_ends_is_given_up() -> None:
    """It is not held when its session is over: 408, and the connection is not used again."""
    async with serve(settings=FAST) as served:
        session = await served.open()
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(f"POST /socket.io/?{session} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n4".encode())
        async with asyncio.timeout(5):
            answer = await reader.readuntil(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"connection: close" in answer.lower()
        writer.close()
        assert not served.server.sessions()


async def test_a_close_packet_ends_the_open_poll_with_a_noop() -> None:
    """A client that leaves gets its poll back, and the application learns it once."""
    async with serve() as served:
        session = await served.join()
        poll = served.poll(session)
        await served.poll_is_open()
        assert await served.post(session, "1") == (200, "ok")
        assert await poll == (200, "6")
        assert (await served.get(session))[0] == 400
        assert await served.notes.reason() == "client close"


async def test_packets_behind_a_close_packet_are_ignored() -> None:
    """What follows a close packet in the same payload runs nothing."""
    async with serve() as served:
        session = await served.join()
        assert await served.post(session, '42["x"]\x1e1\x1e42["y"]\x1eabc') == (200, "ok")
        assert [event for event, *_ in served.notes.events] == ["x"]


async def test_a_dropped_poll_closes_the_session() -> None:
    """The answer to a poll that the client gave up would be lost, so the session ends."""
    async with serve() as served:
        session = await served.join()
        poll = served.poll(session)
        await served.poll_is_open()
        poll.cancel()
        assert await served.notes.reason() == "transport close"
        assert (await served.get(session))[0] == 400


async def test_a_silent_client_is_found_by_the_ping_time_out() -> None:
    """Without a PONG the session ends, whether or not somebody asks."""
    async with serve(settings=FAST) as served:
        session = await served.join()
        assert await served.get(session) == (200, "2")
        assert await served.notes.reason() == "ping timeout"
        assert (await served.get(session))[0] == 400


async def test_a_pong_keeps_the_session_alive() -> None:
    """Several rounds of PING and PONG pass."""
    async with serve(settings=FAST) as served:
        session = await served.join()
        for _ in range(3):
            assert await served.get(session) == (200, "2")
            assert await served.post(session, "3") == (200, "ok")
        assert not served.notes.left


async def test_an_over_long_post_is_answered() -> None:
    """It gets 413 without a poll being open, announced or chunked, and the session lives on."""
    async with serve(settings=EngineSettings(max_payload_bytes=1000)) as served:
        session = await served.join()

        async def chunks() -> AsyncIterator[bytes]:
            for _ in range(20):
                yield b"x" * 100

        assert (await served.post(session, "4" * 1001))[0] == 413
        async with served.http.post(f"{served.url}/socket.io/?{session}", data=chunks()) as answer:
            assert answer.status == 413
        body = '42["x","' + "y" * (1000 - 10) + '"]'
        assert len(body) == 1000
        assert await served.post(session, body) == (200, "ok")
        assert served.notes.malformed == ["too large", "too large"]


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br"])
async def test_compressed_bodies_are_refused(encoding: str) -> None:
    """A client has no reason to compress, and a bomb has nothing to unpack here."""
    async with serve() as served:
        session = await served.open()
        bomb = gzip.compress(b"4" * 10_000_000)
        status, _ = await served.post(session, bomb, headers={"Content-Encoding": encoding})
        assert status == 400
        assert not served.server.sessions()


async def test_a_broken_chunked_body_is_refused() -> None:
    """A body whose framing is broken ends the session and no more."""
    async with serve() as served:
        session = await served.open()
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        head = f"POST /socket.io/?{session} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        writer.write(head.encode() + b"nonsense\r\n")
        assert b" 400 " in await reader.readline()
        writer.close()
        assert (await served.get("EIO=4&transport=polling"))[0] == 200


async def test_a_client_that_does_not_poll_is_closed_as_slow() -> None:
    """Past the limit of waiting packets or bytes it is closed; another client gets everything."""
    for settings in (EngineSettings(max_queue_packets=10), EngineSettings(max_queue_bytes=1000)):
        async with serve(settings=settings) as served:
            await served.join()
            reading = await served.join()
            frame = Frame.event("x", b'"' + b"y" * 150 + b'"')
            slow, quick = served.notes.sockets
            for _ in range(11):
                slow.send(frame)
            assert not served.notes.left, "a sender never calls back into the application"
            quick.send(frame)
            assert await served.notes.reason() == "slow client"
            assert served.notes.left[0][0] == slow.sid
            assert (await served.get(reading))[1] == frame.polled.decode()


async def test_closing_the_transport_answers_the_open_poll() -> None:
    """The client gets what was sent and then a close packet, which makes it reconnect at once."""
    async with serve() as served:
        session = await served.join()
        poll = served.poll(session)
        await served.poll_is_open()
        served.notes.sockets[0].send_event("last")
        served.notes.sockets[0].close_transport("drain")
        assert await poll == (200, '42["last"]\x1e1')
        assert await served.notes.reason() == "drain"


async def test_a_transport_is_refused_without_a_connect_error() -> None:
    """A client that cannot be served now gets a close packet and no CONNECT_ERROR."""
    async with serve() as served:

        async def refuse(_socket: ClientSocket, _auth: object) -> dict[str, object] | None:
            raise TransportRefused("not now")

        served.notes.connect = refuse
        session = await served.open()
        poll = served.poll(session)
        await served.poll_is_open()
        await served.post(session, "40")
        assert await poll == (200, "1")
        assert not served.notes.left


async def test_admission_is_asked_before_any_work() -> None:
    """A refused handshake opens nothing, on either transport; requests of sessions are not asked about."""
    asked: list[str] = []
    full = False

    def admit(request: web.Request) -> web.StreamResponse | None:
        asked.append(request.query["transport"])
        return web.Response(status=503, headers={"Retry-After": "5"}) if full else None

    async with serve(admit=admit) as served:
        session = await served.open()
        full = True
        async with served.http.get(f"{served.url}/socket.io/?EIO=4&transport=polling") as answer:
            assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await served.http.ws_connect(f"{served.url}/socket.io/?EIO=4&transport=websocket")
        assert caught.value.status == 503
        assert await served.post(session, "40") == (200, "ok")
        assert asked == ["polling", "polling", "websocket"]
        assert len(served.server.sessions()) == 1


async def test_cross_origin_polling_needs_a_listed_origin() -> None:
    """A listed origin gets its CORS headers on every answer, another one 403, and no work is done for it."""
    settings = EngineSettings(cors_origins=frozenset({"http://localhost:8080"}))
    async with serve(settings=settings) as served:
        url = f"{served.url}/socket.io/?EIO=4&transport=polling"
        listed = {"Origin": "http://localhost:8080"}
        async with served.http.get(url, headers=listed) as answer:
            assert answer.status == 200
            assert answer.headers["Access-Control-Allow-Origin"] == "http://localhost:8080"
            assert answer.headers["Access-Control-Allow-Credentials"] == "true"
        async with served.http.get(url + "&sid=unknown", headers=listed) as answer:
            assert answer.status == 400
            assert answer.headers["Access-Control-Allow-Origin"] == "http://localhost:8080"
        async with served.http.options(url, headers=listed) as answer:
            assert answer.status == 204
            assert answer.headers["Access-Control-Allow-Methods"] == "GET, POST"
        sessions = len(served.server.sessions())
        async with served.http.get(url, headers={"Origin": "http://evil.example"}) as answer:
            assert answer.status == 403
            assert "Access-Control-Allow-Origin" not in answer.headers
        async with served.http.get(url, headers={"Origin": served.url}) as answer:
            assert answer.status == 200
        assert len(served.server.sessions()) == sessions + 1


async def test_answers_are_not_compressed_or_stored() -> None:
    """A poll costs no compression, and no cache keeps it."""
    async with serve() as served:
        session = await served.join()
        served.notes.sockets[0].send_event("x", "y" * 10_000)
        url = f"{served.url}/socket.io/?{session}"
        async with served.http.get(url, headers={"Accept-Encoding": "gzip"}) as answer:
            assert "Content-Encoding" not in answer.headers
            assert answer.headers["Cache-Control"] == "no-store"
            assert answer.headers["Content-Type"] == "text/plain; charset=UTF-8"


async def test_binary_travels_as_base64() -> None:
    """Attachments of a binary event go both ways."""
    async with serve() as served:
        session = await served.join()
        served.notes.answer = lambda socket, _event, args, _id: socket.send_event("back", *args)
        await served.post(session, '451-["x",{"_placeholder":true,"num":0}]\x1ebAQIDBA==')
        expected = '451-["back",{"_placeholder":true,"num":0}]\x1ebAQIDBA=='
        assert await served.get(session) == (200, expected)
        assert served.notes.events == [("x", [b"\x01\x02\x03\x04"], None)]
