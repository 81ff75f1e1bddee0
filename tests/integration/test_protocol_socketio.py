"""Socket.IO v5 on top of Engine.IO: joining, events, acknowledgements, leaving, and who is told what."""

from __future__ import annotations

import asyncio
import json

import pytest

from parley_gateway.sio import ClientSocket, ConnectRefused, EngineSettings, Frame, TransportRefused
from tests.harness.raw_websocket import RawWebSocket, client_frame
from tests.harness.sio_server import Served, serve
from tests.harness.waiting import eventually

WEBSOCKET = "/socket.io/?EIO=4&transport=websocket"


def text(packet: str) -> bytes:
    """Encode a text message of a client."""
    return client_frame(1, packet.encode())


async def open_socket(served: Served) -> RawWebSocket:
    """Open a WebSocket session."""
    socket = await RawWebSocket.open(served.port, WEBSOCKET)
    assert (await socket.text()).startswith(b"0{")
    return socket


async def join(served: Served, packet: str = "40") -> RawWebSocket:
    """Open a session and join a namespace."""
    socket = await open_socket(served)
    socket.send(text(packet))
    assert (await socket.text()).startswith(packet.encode()[:2])
    return socket


# Joining


async def test_the_reply_carries_what_the_application_adds() -> None:
    """CONNECT is answered with the sid and extra keys, and the greeting follows it."""
    async with serve() as served:

        async def connect(_socket: ClientSocket, auth: object) -> dict[str, object] | None:
            assert auth == {"username": "ann"}
            return {"pid": "p1"}

        served.notes.connect = connect
        served.notes.greet = lambda socket: socket.send_event("session", {"userID": "u"})
        socket = await open_socket(served)
        socket.send(text('40{"username":"ann"}'))
        reply = json.loads((await socket.text())[2:])
        assert reply["pid"] == "p1"
        assert reply["sid"] == served.notes.sockets[0].sid
        assert await socket.text() == b'42["session",{"userID":"u"}]'
        assert served.notes.sockets[0].eio_sid not in str(reply), "the session's id stays between two"
        await socket.close()


async def test_nothing_can_be_sent_before_the_reply() -> None:
    """What an application sends too early is dropped: CONNECT comes first."""
    async with serve() as served:

        async def connect(socket: ClientSocket, _auth: object) -> dict[str, object] | None:
            socket.send(Frame.event("too early"))
            return None

        served.notes.connect = connect
        await (await join(served)).close()


async def test_a_client_that_connects_again_is_told_from_one_that_is_new() -> None:
    """After it was refused, after it has left, and in another namespace: each costs as much."""
    async with serve() as served:
        again: list[bool] = []

        async def connect(socket: ClientSocket, _auth: object) -> dict[str, object] | None:
            again.append(socket.again)
            if len(again) == 1:
                raise ConnectRefused("no")
            return None

        served.notes.connect = connect
        socket = await open_socket(served)
        packets = (["40"], b"44"), (["40"], b"40{"), (["41", "40"], b"40{"), (["40/custom,"], b"40/")
        for sent, answer in packets:
            socket.send(*map(text, sent))
            assert (await socket.text()).startswith(answer)
        await (await join(served)).close()
        await socket.close()
        assert again == [False, True, True, True, False]


async def test_an_unknown_namespace_is_refused_in_the_documented_form() -> None:
    """The session stays, and may join another namespace."""
    async with serve() as served:
        socket = await open_socket(served)
        socket.send(text("40/random"))
        assert await socket.text() == b'44/random,{"message":"Invalid namespace"}'
        socket.send(text("40"))
        assert (await socket.text()).startswith(b"40{")
        await socket.close()


async def test_a_refused_client_is_told_and_may_try_again() -> None:
    """CONNECT_ERROR carries message and data; the same session can sign in after it."""
    async with serve() as served:

        async def connect(_socket: ClientSocket, auth: object) -> dict[str, object] | None:
            if auth == {}:
                raise ConnectRefused("invalid username")
            if auth == {"a": 1}:
                raise ConnectRefused("no", {"code": "x"})
            return None

        served.notes.connect = connect
        socket = await open_socket(served)
        socket.send(text("40"))
        assert await socket.text() == b'44{"message":"invalid username"}'
        socket.send(text('40{"a":1}'))
        assert await socket.text() == b'44{"message":"no","data":{"code":"x"}}'
        socket.send(text('40{"b":2}'))
        assert (await socket.text()).startswith(b"40{")
        await socket.close()
        await served.notes.reason()
        assert len(served.notes.sockets) == 1, "only who was let in is announced and leaves"


@pytest.mark.parametrize("error", [RuntimeError("a fault"), TransportRefused("not now"), TimeoutError()])
async def test_a_connect_that_fails_closes_the_transport(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """No CONNECT_ERROR, as clients would never come back; nothing stays; only a fault is logged as one."""
    async with serve() as served:

        async def connect(_socket: ClientSocket, _auth: object) -> dict[str, object] | None:
            raise error

        served.notes.connect = connect
        socket = await open_socket(served)
        socket.send(text("40"))
        opcode, _ = await socket.frame()
        assert opcode == 8
        assert not served.server.sessions()
        assert not served.notes.left
        assert [record.levelname for record in caplog.records] == {
            RuntimeError: ["ERROR"],
            TransportRefused: [],
            TimeoutError: ["WARNING"],
        }[type(error)]
        await socket.close()


async def test_a_connect_that_hangs_is_ended() -> None:
    """After the time-out the handler is cancelled and the transport closed."""
    settings = EngineSettings(connect_timeout_seconds=0.05)
    async with serve(settings=settings) as served:
        cancelled = asyncio.Event()

        async def connect(_socket: ClientSocket, _auth: object) -> dict[str, object] | None:
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()
            return None

        served.notes.connect = connect
        socket = await open_socket(served)
        socket.send(text("40"))
        assert (await socket.frame())[0] == 8
        await cancelled.wait()
        assert not served.notes.left
        await socket.close()


async def test_a_client_that_vanishes_while_connecting_leaves_once() -> None:
    """The handler runs to its end, no greeting is sent, and the departure is told exactly once."""
    async with serve() as served:
        began, go_on = asyncio.Event(), asyncio.Event()

        async def connect(_socket: ClientSocket, _auth: object) -> dict[str, object] | None:
            began.set()
            await go_on.wait()
            return None

        served.notes.connect = connect
        socket = await open_socket(served)
        socket.send(text("40"))
        await began.wait()
        await socket.close()
        await eventually(lambda: not served.server.sessions(), what="the session is gone")
        assert not served.notes.left
        go_on.set()
        assert await served.notes.reason() == "transport close"
        assert not served.notes.sockets


async def test_packets_out_of_place_close_the_session() -> None:
    """Events before joining, joining twice, and packets of a namespace that was never joined."""
    async with serve() as served:
        for packets in (['42["x"]'], ["43[1]"], ["41"], ["40", '42/custom,["x"]'], ["40", "40"]):
            socket = await open_socket(served)
            socket.send(*map(text, packets))
            assert await socket.close_code() == 1002
            await socket.close()
        assert not served.notes.events
        assert served.notes.malformed == ["state"] * 5


# Events


async def test_events_are_handled_in_order_and_answered() -> None:
    """Acknowledgements carry the ids of their events."""
    async with serve() as served:

        def answer(socket: ClientSocket, _event: str, args: list[object], ack_id: int | None) -> None:
            if ack_id is not None:
                socket.ack(ack_id, *args)

        served.notes.answer = answer
        socket = await join(served)
        socket.send(text('4210["a",1,{"b":[null]}]'), text('42["c"]'), text('4211["d"]'))
        assert await socket.text() == b'4310[1,{"b":[null]}]'
        assert await socket.text() == b"4311[]"
        expected = [("a", [1, {"b": [None]}], 10), ("c", [], None), ("d", [], 11)]
        assert served.notes.events == expected
        await socket.close()


@pytest.mark.parametrize(
    "name", ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"]
)
async def test_reserved_events_run_nothing(name: str) -> None:
    """They are dropped and counted, and the client stays."""
    async with serve() as served:
        socket = await join(served)
        socket.send(text(f'42["{name}",{{}}]'), text(f'421["{name}"]'), text('42["x"]'))
        await served.notes.until(lambda: bool(served.notes.events))
        assert served.notes.events == [("x", [], None)]
        assert served.notes.malformed == ["reserved event"] * 2
        assert not served.notes.left
        await socket.close()


async def test_a_number_may_name_an_event() -> None:
    """The protocol allows it; the application gets it as text."""
    async with serve() as served:
        socket = await join(served)
        socket.send(text('42[7,"x"]'))
        await served.notes.until(lambda: bool(served.notes.events))
        assert served.notes.events == [("7", ["x"], None)]
        await socket.close()


async def test_a_handler_that_fails_is_logged_and_the_client_stays(caplog: pytest.LogCaptureFixture) -> None:
    """A fault in one event does not take the next one with it, and no content is logged."""
    async with serve() as served:

        def answer(_socket: ClientSocket, event: str, _args: list[object], _ack_id: int | None) -> None:
            if event == "bad":
                raise LookupError

        served.notes.answer = answer
        socket = await join(served)
        socket.send(text('42["bad","secret"]'), text('42["good"]'))
        await served.notes.until(lambda: len(served.notes.events) == 2)
        assert "a handler failed" in caplog.text
        assert "secret" not in caplog.text
        await socket.close()


async def test_binary_events_are_put_together() -> None:
    """Attachments fill their placeholders, and acknowledgements may carry bytes too."""
    async with serve() as served:

        def answer(socket: ClientSocket, _event: str, args: list[object], ack_id: int | None) -> None:
            assert ack_id is not None
            socket.ack(ack_id, *args)

        served.notes.answer = answer
        socket = await join(served)
        head = '452-9["x",{"_placeholder":true,"num":1},{"_placeholder":true,"num":0}]'
        socket.send(text(head), client_frame(2, b"\x01"), client_frame(2, b"\x02"))
        expected = b'462-9[{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]'
        assert await socket.text() == expected
        assert [await socket.frame(), await socket.frame()] == [(2, b"\x02"), (2, b"\x01")]
        await socket.close()


@pytest.mark.parametrize(
    "frames",
    [
        pytest.param([text('4511-["x"]')], id="too many"),
        pytest.param([text('451-["x"]'), text('42["y"]')], id="text among attachments"),
        pytest.param(
            [text('451-["x",{"_placeholder":true,"num":7}]'), client_frame(2, b"a")], id="wrong number"
        ),
        pytest.param([text('452-["x"]')] + [client_frame(2, b"a" * 600)] * 2, id="too large together"),
        pytest.param([text('451-/custom,["x"]')], id="namespace not joined"),
    ],
)
async def test_attachments_are_bounded(frames: list[bytes]) -> None:
    """What breaks the rules of attachments closes the session before it is kept."""
    async with serve(settings=EngineSettings(max_payload_bytes=1000)) as served:
        socket = await join(served)
        socket.send(*frames)
        assert await socket.close_code() == 1002
        assert not served.notes.events
        await socket.close()


# Leaving


async def test_a_client_may_leave_and_join_again() -> None:
    """Leaving a namespace keeps the session, and a new socket may join."""
    async with serve() as served:
        socket = await join(served)
        socket.send(text("41"))
        assert await served.notes.reason() == "client namespace disconnect"
        assert len(served.server.sessions()) == 1
        socket.send(text("40"))
        assert (await socket.text()).startswith(b"40{")
        one, two = served.notes.sockets
        assert one.sid != two.sid
        assert [one.connected, two.connected] == [False, True]
        await socket.close()


async def test_namespaces_of_one_session_are_separate() -> None:
    """Leaving one keeps the other; the end of the session ends both, each told once."""
    async with serve() as served:
        socket = await join(served)
        socket.send(text("40/custom"))
        assert (await socket.text()).startswith(b"40/custom,{")
        served.notes.sockets[1].send_event("x", 1)
        assert await socket.text() == b'42/custom,["x",1]'
        socket.send(text("41/custom,"))
        await served.notes.reason()
        served.notes.sockets[0].send_event("y")
        assert await socket.text() == b'42["y"]'
        await socket.close()
        await served.notes.until(lambda: len(served.notes.left) == 2)
        assert {sid for sid, _ in served.notes.left} == {one.sid for one in served.notes.sockets}


async def test_disconnecting_a_client_tells_it() -> None:
    """It gets DISCONNECT, the session stays, and the application is told once, whatever follows."""
    async with serve() as served:
        socket = await join(served)
        served.notes.sockets[0].disconnect()
        served.notes.sockets[0].disconnect()
        assert not served.notes.left, "no method of a socket calls the application"
        assert await socket.text() == b"41"
        assert await served.notes.reason() == "server namespace disconnect"
        await socket.close()
        await eventually(lambda: not served.server.sessions(), what="the session is gone")
        assert len(served.notes.left) == 1


async def test_shutdown_ends_everything() -> None:
    """Sessions, connecting ones included, are closed; new ones get 503."""
    async with serve() as served:

        async def connect(_socket: ClientSocket, _auth: object) -> dict[str, object] | None:
            await asyncio.Event().wait()
            return None

        socket = await join(served)
        served.notes.connect = connect
        connecting = await open_socket(served)
        connecting.send(text("40"))
        await served.server.shutdown()
        assert await socket.close_code() == 1001
        assert await connecting.close_code() == 1001
        assert await served.notes.reason() == "server close"
        assert (await served.get("EIO=4&transport=polling"))[0] == 503
        await socket.close()
        await connecting.close()


# python-socketio's own interface


async def test_emit_addresses_rooms_and_sockets() -> None:
    """A room, a socket, a list without its Nones, or everybody; skipped sockets get nothing."""
    async with serve() as served:
        first, second = await join(served), await join(served)
        one, two = served.notes.sockets
        server = served.server
        await server.enter_room(one.sid, "room")
        assert set(server.rooms(one.sid)) == {one.sid, "room"}
        await server.emit("to room", 1, room="room")
        await server.emit("to nobody", 1, to=[None])
        await server.emit("to two", (1, 2), to=[None, two.sid])
        await server.emit("to all", b"\x01")
        await server.emit("but one", skip_sid=one.sid)
        assert await first.text() == b'42["to room",1]'
        assert await first.text() == b'451-["to all",{"_placeholder":true,"num":0}]'
        assert await first.frame() == (2, b"\x01")
        assert await second.text() == b'42["to two",1,2]'
        await second.frame()
        await second.frame()
        assert await second.text() == b'42["but one"]'
        assert server.transport(one.sid) == "websocket"
        await server.disconnect(two.sid)
        assert await second.text() == b"41"
        await first.close()
        await second.close()


async def test_leaving_empties_the_rooms() -> None:
    """A socket that goes takes nothing with it but its own places."""
    async with serve() as served:
        first, second = await join(served), await join(served)
        one, two = served.notes.sockets
        for room in ("a", "b"):
            served.server.local.join(one, room)
        served.server.local.join(two, "b")
        await first.close()
        await served.notes.reason()
        assert list(served.server.local.members("a")) == []
        assert list(served.server.local.members("b")) == [two]
        assert not one.rooms
        await second.close()
