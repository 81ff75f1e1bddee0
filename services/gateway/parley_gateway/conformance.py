"""A server for the official protocol test suites, built from the gateway's own server classes.

Run it with ``python -m parley_gateway.conformance`` (port 3000, or ``PORT``). ``/engine.io/`` echoes
Engine.IO v4 messages; ``/socket.io/`` speaks Socket.IO v5 on the namespaces ``/`` and ``/custom``. Times and
limits are those that the suites of socketio/engine.io-protocol and socketio/socket.io-protocol expect.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Final

from aiohttp import web

from parley_gateway.sio import (
    ClientSocket,
    EngineServer,
    EngineSettings,
    Frame,
    Session,
    SocketServer,
)
from parley_shared.runtime import StartError, Stop, run

_AUTH_DELAY_SECONDS: Final = 0.02
SETTINGS: Final = EngineSettings(
    ping_interval_seconds=0.3, ping_timeout_seconds=0.2, max_payload_bytes=1_000_000
)


class Echo:
    """An Engine.IO application that sends every message back."""

    def on_open(self, session: Session) -> None:
        """Let the session live as long as its client does."""
        session.join_by = float("inf")

    def on_message(self, session: Session, data: bytes, *, text: bool) -> None:
        """Send the message back in its own form."""
        session.send(Frame.text(b"4" + data) if text else Frame.binary(data))

    def on_close(self, session: Session) -> None:
        """Nothing is kept for a session."""


class SuiteHandler:
    """The Socket.IO application that the suite expects."""

    async def on_connect(self, socket: ClientSocket, auth: object) -> None:
        """Let everybody in."""
        socket.data = auth

    def on_connected(self, socket: ClientSocket) -> None:
        """Tell the client what it authenticated with.

        Not in the same TCP segment as the CONNECT reply: the suite's WebSocket client would report both in
        one turn of its event loop, and the suite listens for one message per turn.
        """
        loop = asyncio.get_running_loop()
        loop.call_later(_AUTH_DELAY_SECONDS, socket.send_event, "auth", socket.data)

    def on_event(self, socket: ClientSocket, event: str, args: list[object], ack_id: int | None) -> None:
        """Send arguments back, as an event or as an acknowledgement."""
        if event == "message":
            socket.send_event("message-back", *args)
        elif event == "message-with-ack" and ack_id is not None:
            socket.ack(ack_id, *args)

    def on_disconnect(self, socket: ClientSocket, reason: str) -> None:
        """Nothing is kept for a socket."""


def create_app() -> web.Application:
    """Build the application with both servers; they shut down with it."""
    engine = EngineServer(Echo(), settings=SETTINGS, gateway_id="conformance")
    server = SocketServer(
        SuiteHandler(), gateway_id="conformance", settings=SETTINGS, namespaces=("/", "/custom")
    )
    app = web.Application()
    engine.attach(app, "engine.io")
    server.attach(app, "socket.io")

    async def shut_down(_app: web.Application) -> None:
        await engine.shutdown()
        await server.shutdown()

    app.on_shutdown.append(shut_down)
    return app


async def serve(stop: Stop) -> None:
    """Serve until asked to stop.

    Raises:
        StartError: The port is no number or cannot be bound.
    """
    port = os.environ.get("PORT", "3000")
    runner = web.AppRunner(create_app(), access_log=None, handler_cancellation=True, auto_decompress=False)
    await runner.setup()
    try:
        await web.TCPSite(runner, port=int(port)).start()
        await stop.requested.wait()
    except (OSError, ValueError) as error:
        raise StartError(f"cannot listen on port {port}: {error}") from error
    finally:
        await runner.cleanup()


if __name__ == "__main__":
    sys.exit(run(serve))
