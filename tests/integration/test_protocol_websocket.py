"""WebSockets on bare connections: the handshake, the take-over from aiohttp, RFC 6455, and upgrades."""

from __future__ import annotations

import asyncio
import json

import aiohttp
import pytest

from parley_gateway.sio import EngineSettings, Frame
from parley_gateway.sio.connection import WebSocketConnection
from tests.harness.raw_websocket import RawWebSocket, client_frame
from tests.harness.sio_server import Served, serve
from tests.harness.waiting import eventually

WEBSOCKET = "/socket.io/?EIO=4&transport=websocket"
FAST = EngineSettings(ping_interval_seconds=0.3, ping_timeout_seconds=0.2)


def text(packet: str | bytes) -> bytes:
    """Encode a text message of a client."""
    return client_frame(1, packet.encode() if isinstance(packet, str) else packet)


async def join(served: Served) -> RawWebSocket:
    """Open a WebSocket session and join the main namespace."""
    socket = await RawWebSocket.open(served.port, WEBSOCKET)
    assert (await socket.text()).startswith(b"0{")
    socket.send(text("40"))
    assert (await socket.text()).startswith(b"40{")
    return socket


async def probe(served: Served, session: str) -> RawWebSocket:
    """Open a WebSocket for a polling session and probe it."""
    socket = await RawWebSocket.open(served.port, f"/socket.io/?{session.replace('polling', 'websocket')}")
    socket.send(text("2probe"))
    assert await socket.frame() == (1, b"3probe")
    return socket


# The handshake


async def test_the_handshake_offers_no_upgrade_and_no_extension() -> None:
    """A session that begins as a WebSocket is one already, and nothing is compressed."""
    async with serve() as served, served.http.ws_connect(served.url + WEBSOCKET, compress=15) as socket:
        opened = json.loads((await socket.receive_str())[1:])
        assert opened["upgrades"] == []
        assert socket.compress == 0
        (session,) = served.server.sessions()
        assert session.transport.name == "websocket"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 400),
        ({"Upgrade": "websocket", "Connection": "Upgrade"}, 426),
        ({"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "8"}, 426),
        ({"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}, 400),
        (
            {
                "Upgrade": "websocket",
                "Connection": "Upgrade",
                "Sec-WebSocket-Version": "13",
                "Sec-WebSocket-Key": "short",
            },
            400,
        ),
        ({"Upgrade": "h2c", "Connection": "Upgrade"}, 400),
    ],
)
async def test_incomplete_handshakes_are_refused(headers: dict[str, str], status: int) -> None:
    """What is no WebSocket handshake opens nothing."""
    async with serve() as served:
        async with served.http.get(served.url + WEBSOCKET, headers=headers) as answer:
            assert answer.status == status
        assert not served.server.sessions()


async def test_a_foreign_origin_is_refused() -> None:
    """Browsers do not apply CORS to WebSockets, so the server does."""
    settings = EngineSettings(cors_origins=frozenset({"http://localhost:8080"}))
    async with serve(settings=settings) as served:
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await served.http.ws_connect(served.url + WEBSOCKET, origin="http://evil.example")
        assert caught.value.status == 403
        for origin in ("http://localhost:8080", served.url):
            async with served.http.ws_connect(served.url + WEBSOCKET, origin=origin) as socket:
                assert (await socket.receive_str()).startswith("0")


async def test_frames_behind_the_handshake_are_not_lost() -> None:
    """What a client sends before it has the answer reaches the session."""
    async with serve() as served:
        behind = text("40") + text('42["early",1]')
        socket = await RawWebSocket.open(served.port, WEBSOCKET, behind=text("40"))
        assert (await socket.text()).startswith(b"0{")
        assert (await socket.text()).startswith(b"40{")
        await socket.close()
        socket = await RawWebSocket.open(served.port, WEBSOCKET, behind=behind)
        # The second packet came before the client was let in, which the protocol does not allow.
        assert await socket.close_code() == 1002


async def test_an_upgrade_may_follow_other_requests_on_its_connection() -> None:
    """Proxies keep connections: the WebSocket may be the second request on one."""
    async with serve() as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: localhost\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
        socket = await RawWebSocket.upgrade(reader, writer, WEBSOCKET)
        assert (await socket.text()).startswith(b"0{")
        socket.send(text("40"))
        assert (await socket.text()).startswith(b"40{")
        await socket.close()


# Framing


async def test_messages_of_one_read_are_handled_in_order() -> None:
    """Many frames in one TCP segment are many events."""
    async with serve() as served:
        socket = await join(served)
        socket.send(*(text(f'42["n",{number}]') for number in range(500)))
        await served.notes.until(lambda: len(served.notes.events) == 500)
        assert [args for _, args, _ in served.notes.events] == [[number] for number in range(500)]
        await socket.close()


async def test_a_fragmented_message_with_a_ping_inside_is_one_event() -> None:
    """The ping is answered with its own payload, and the message is put together."""
    async with serve() as served:
        socket = await join(served)
        socket.send(client_frame(1, b'42["x","h', final=False), client_frame(9, b"are you there"))
        assert await socket.frame() == (10, b"are you there")
        socket.send(client_frame(0, b"ello", final=False), client_frame(10, b""), client_frame(0, b'"]'))
        await served.notes.until(lambda: bool(served.notes.events))
        assert served.notes.events == [("x", ["hello"], None)]
        await socket.close()


@pytest.mark.parametrize(
    ("data", "code", "reason"),
    [
        pytest.param(client_frame(1, b'42["x"]', masked=False), 1002, "parse error", id="unmasked"),
        pytest.param(b"\xc1\x80\0\0\0\0", 1002, "parse error", id="compressed"),
        pytest.param(client_frame(1, b"4\xff"), 1007, "parse error", id="not UTF-8"),
        pytest.param(client_frame(1, b"4" * 1001), 1009, "too large", id="too big"),
        pytest.param(text("abc"), 1002, "parse error", id="no Engine.IO packet"),
        pytest.param(text(""), 1002, "parse error", id="empty"),
        pytest.param(text("2"), 1002, "parse error", id="a ping from the client"),
        pytest.param(text("bAQID"), 1002, "parse error", id="base64 on a WebSocket"),
        pytest.param(text("4abc"), 1002, "parse error", id="no Socket.IO packet"),
        pytest.param(text('42["x"'), 1002, "parse error", id="no JSON"),
        pytest.param(text("42" + "[" * 900), 1002, "parse error", id="a depth bomb"),
        pytest.param(client_frame(2, b"stray"), 1002, "parse error", id="binary without a packet"),
    ],
)
async def test_broken_input_closes_this_client_only(
    data: bytes, code: int, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The close code says why, the application learns it, nothing is logged, and others are not touched."""
    async with serve(settings=EngineSettings(max_payload_bytes=1000)) as served:
        bystander, socket = await join(served), await join(served)
        victim = served.notes.sockets[1]
        socket.send(data)
        assert await socket.close_code() == code
        assert await served.notes.reason() == reason
        assert served.notes.left[0][0] == victim.sid
        assert len(served.notes.malformed) == 1
        assert not victim.connected
        bystander.send(text('42["fine"]'))
        await served.notes.until(lambda: bool(served.notes.events))
        assert not caplog.records
        await bystander.close()
        await socket.close()


async def test_the_closing_handshake_of_the_client_is_answered() -> None:
    """A Close frame comes back with its code, and then the connection ends."""
    async with serve() as served:
        socket = await join(served)
        socket.send(client_frame(8, (4321).to_bytes(2, "big") + b"bye"))
        assert await socket.frame() == (8, (4321).to_bytes(2, "big"))
        assert await socket.ended()
        assert await served.notes.reason() == "transport close"


async def test_a_vanished_client_is_noticed() -> None:
    """The end of the TCP connection is the end of the session."""
    async with serve() as served:
        socket = await join(served)
        await socket.close()
        assert await served.notes.reason() == "transport close"


async def test_closing_the_transport_sends_what_was_sent_and_a_close_frame() -> None:
    """No Socket.IO packet says goodbye, so clients come back; the code is 1001, going away."""
    async with serve() as served:
        socket = await join(served)
        served.notes.sockets[0].send_event("last")
        served.notes.sockets[0].close_transport("drain")
        served.notes.sockets[0].send_event("too late")
        assert await socket.frame() == (1, b'42["last"]')
        assert await socket.frame() == (8, (1001).to_bytes(2, "big"))
        socket.send(client_frame(8, (1001).to_bytes(2, "big")))
        assert await socket.ended()
        assert await served.notes.reason() == "drain"


async def test_a_client_that_does_not_answer_a_close_frame_is_dropped() -> None:
    """Whatever it goes on sending is ignored, and the connection ends after the time-out."""
    async with serve(settings=EngineSettings(close_timeout_seconds=0.05)) as served:
        socket = await join(served)
        served.notes.sockets[0].close_transport()
        socket.send(text('42["ignored"]'))
        assert await socket.close_code() == 1001
        assert await socket.ended()
        assert not served.notes.events


@pytest.mark.parametrize(
    "farewell",
    [client_frame(8, (1000).to_bytes(2, "big")), client_frame(3)],
    ids=["close frame", "bad frame"],
)
async def test_who_says_goodbye_without_reading_is_dropped_after_the_time_out(farewell: bytes) -> None:
    """What waits for a client that reads no more is not held once its session is over."""
    async with serve(settings=EngineSettings(close_timeout_seconds=0.05)) as served:
        socket = await join(served)
        (session,) = served.server.sessions()
        connection = session.transport
        assert isinstance(connection, WebSocketConnection)
        socket.writer.transport.pause_reading()  # type: ignore[attr-defined] # it is a Transport
        frame = Frame.event("x", b'"' + b"y" * 50_000 + b'"')
        while connection.size < 1_000_000:  # more than the kernel takes
            session.send(frame)
        socket.send(farewell)
        await served.notes.reason()
        await eventually(lambda: connection.size == 0, 5, "what the client does not read is let go")
        socket.writer.transport.abort()


async def test_a_slow_reader_is_closed_and_others_are_not() -> None:
    """Bytes that the kernel does not take are counted; past the limit the client is dropped."""
    async with serve(settings=EngineSettings(max_queue_bytes=100_000)) as served:
        _slow, quick = await join(served), await join(served)
        frame = Frame.event("x", b'"' + b"y" * 50_000 + b'"')
        received = asyncio.create_task(read_events(quick, 400))
        for _ in range(400):  # 20 MB: more than the kernel's buffers on both sides
            for socket in served.notes.sockets:
                socket.send(frame)
            await asyncio.sleep(0)
        assert await served.notes.reason() == "slow client"
        assert served.notes.left[0][0] == served.notes.sockets[0].sid
        assert await received == 400
        await quick.close()


async def read_events(socket: RawWebSocket, count: int) -> int:
    """Read so many messages."""
    for _ in range(count):
        await socket.text()
    return count


async def test_one_write_may_carry_several_packets() -> None:
    """Joined frames arrive as the packets they are made of."""
    async with serve() as served:
        socket = await join(served)
        served.notes.sockets[0].send_many([Frame.event("a"), Frame.event("b", b"1")])
        assert [await socket.text(), await socket.text()] == [b'42["a"]', b'42["b",1]']
        await socket.close()


# Heartbeats


async def test_a_silent_websocket_is_found_by_the_ping_time_out() -> None:
    """A PING is sent; without its PONG the connection is dropped."""
    async with serve(settings=FAST) as served:
        socket = await join(served)
        assert await socket.frame() == (1, b"2")
        assert await served.notes.reason() == "ping timeout"
        assert await socket.ended()


async def test_pongs_keep_a_websocket_alive() -> None:
    """Several rounds of PING and PONG pass."""
    async with serve(settings=FAST) as served:
        socket = await join(served)
        for _ in range(3):
            assert await socket.frame() == (1, b"2")
            socket.send(text("3"))
        assert not served.notes.left
        await socket.close()


async def test_who_joins_no_namespace_is_closed() -> None:
    """A session that never becomes a Socket.IO client does not stay."""
    async with serve(
        settings=EngineSettings(connect_timeout_seconds=0.05, ping_timeout_seconds=0.5)
    ) as served:
        socket = await RawWebSocket.open(served.port, WEBSOCKET)
        assert await socket.close_code() == 1001
        assert not served.server.sessions()
        await socket.close()


# From polling to a WebSocket


async def test_an_upgrade_ends_the_open_poll_with_a_noop() -> None:
    """The noop goes to the poll and not onto the WebSocket; messages follow on the WebSocket."""
    async with serve() as served:
        session = await served.join()
        poll = served.poll(session)
        await served.poll_is_open()
        socket = await probe(served, session)
        assert await poll == (200, "6")
        assert served.notes.sockets[0].transport == "polling"
        socket.send(text("5"), text('42["x"]'))
        await served.notes.until(lambda: bool(served.notes.events))
        assert served.notes.sockets[0].transport == "websocket"
        served.notes.sockets[0].send_event("after")
        assert await socket.frame() == (1, b'42["after"]')
        assert (await served.get(session))[0] == 400
        assert (await served.post(session, "40"))[0] == 400
        assert not served.notes.left
        await socket.close()


async def test_what_waits_for_a_poll_moves_to_the_websocket() -> None:
    """Nothing is lost and nothing overtakes when a client upgrades without another poll."""
    async with serve() as served:
        session = await served.join()
        socket = await probe(served, session)
        served.notes.sockets[0].send_event("one")
        served.notes.sockets[0].send_event("two")
        socket.send(text("5"))
        assert [await socket.text(), await socket.text()] == [b'42["one"]', b'42["two"]']
        await socket.close()


async def test_a_second_websocket_for_a_session_is_accepted_and_closed() -> None:
    """While one is probing and after it has upgraded; the first one is not disturbed."""
    async with serve() as served:
        session = await served.join()
        first = await probe(served, session)
        path = f"/socket.io/?{session.replace('polling', 'websocket')}"
        second = await RawWebSocket.open(served.port, path)
        assert await second.close_code() == 1002
        first.send(text("5"))
        third = await RawWebSocket.open(served.port, path)
        assert await third.close_code() == 1002
        first.send(text('42["x"]'))
        await served.notes.until(lambda: bool(served.notes.events))
        for socket in (first, second, third):
            await socket.close()


@pytest.mark.parametrize("packet", ["5", "2", "4hello", "3probe", ""])
async def test_a_probe_that_is_none_is_closed_and_polling_goes_on(packet: str) -> None:
    """Only a probe may come first, and the session does not suffer from another thing."""
    async with serve() as served:
        session = await served.join()
        socket = await RawWebSocket.open(
            served.port, f"/socket.io/?{session.replace('polling', 'websocket')}"
        )
        socket.send(text(packet))
        assert await socket.close_code() == 1002
        served.notes.sockets[0].send_event("still here")
        assert await served.get(session) == (200, '42["still here"]')
        again = await probe(served, session)
        await again.close()
        await socket.close()


async def test_an_upgrade_that_is_not_finished_is_given_up() -> None:
    """The probing WebSocket is closed after the time-out, and polls wait again."""
    async with serve(settings=EngineSettings(upgrade_timeout_seconds=0.05)) as served:
        session = await served.join()
        socket = await probe(served, session)
        assert await socket.close_code() == 1002
        poll = served.poll(session)
        await served.poll_is_open()
        served.notes.sockets[0].send_event("x")
        assert await poll == (200, '42["x"]')
        await socket.close()


async def test_a_websocket_that_is_lost_while_probing_is_forgotten() -> None:
    """Polling goes on, and another WebSocket may try."""
    async with serve() as served:
        session = await served.join()
        await (await probe(served, session)).close()
        poll = served.poll(session)
        served_session = next(iter(served.server.sessions()))
        await eventually(lambda: served_session._probe is None, what="the probe is forgotten")
        served.notes.sockets[0].send_event("x")
        assert (await poll)[0] == 200
        await (await probe(served, session)).close()
