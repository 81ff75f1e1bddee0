"""python-socketio's client against the server, on each way of carrying a session."""

from __future__ import annotations

import asyncio

import pytest
import socketio

from parley_gateway.sio import ClientSocket, ConnectRefused, EngineSettings
from tests.harness.sio_server import serve
from tests.harness.waiting import eventually


@pytest.mark.parametrize("transports", [["polling"], ["websocket"], ["polling", "websocket"]])
async def test_a_real_client_speaks_with_the_server(transports: list[str]) -> None:
    """It signs in, sends, is answered, gets binary, lives through heartbeats and leaves."""
    settings = EngineSettings(ping_interval_seconds=0.2, ping_timeout_seconds=1.0)
    async with serve(settings=settings) as served:

        def answer(socket: ClientSocket, _event: str, args: list[object], ack_id: int | None) -> None:
            if ack_id is not None:
                socket.ack(ack_id, *args)
            else:
                socket.send_event("back", *args)

        served.notes.answer = answer
        client = socketio.AsyncClient(reconnection=False)
        received: asyncio.Queue[object] = asyncio.Queue()
        client.on("back", received.put)
        await client.connect(served.url, auth={"username": "ann"}, transports=transports)
        assert client.transport() == transports[-1]
        assert await client.call("ask", {"text": "é"}) == {"text": "é"}
        for number in range(50):
            await client.emit("say", number)
        assert [await received.get() for _ in range(50)] == list(range(50))
        await client.emit("say", b"\x00\xff")
        assert await received.get() == b"\x00\xff"
        (session,) = served.server.sessions()
        third_ping = session._ping_at + 2 * settings.ping_interval_seconds
        await eventually(lambda: session._ping_at > third_ping, what="three heartbeats were answered")
        assert await client.call("ask", "still here") == "still here"
        await client.disconnect()
        await served.notes.reason()


async def test_a_real_client_sees_why_it_is_refused() -> None:
    """CONNECT_ERROR becomes the client's connection error."""
    async with serve() as served:

        async def connect(_socket: ClientSocket, _auth: object) -> dict[str, object] | None:
            raise ConnectRefused("invalid username")

        served.notes.connect = connect
        client = socketio.AsyncClient(reconnection=False)
        reasons: asyncio.Queue[object] = asyncio.Queue()
        client.on("connect_error", reasons.put)
        with pytest.raises(socketio.exceptions.ConnectionError):
            await client.connect(served.url)
        assert await reasons.get() == {"message": "invalid username"}
