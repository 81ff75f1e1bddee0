"""One client's connection to one Socket.IO namespace: the object that applications keep."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Any

from parley_gateway.sio import packets, reasons
from parley_gateway.sio.frames import Frame

if TYPE_CHECKING:
    from collections.abc import Iterable

    from parley_gateway.sio.server import SocketServer
    from parley_gateway.sio.session import RequestInfo, Session


class ClientSocket:
    """A Socket.IO socket, server side. No method blocks, and none calls the application's handler.

    Attributes:
        sid: The public id, unrelated to the session's.
        namespace: ``/`` or another of the server's namespaces.
        again: The client has asked to connect before, within the same session.
        connected: The client has been let in and is there; nothing can be sent otherwise.
        rooms: The rooms it is in, or None when it has never been in one (see `LocalManager`).
        data: For the application.
    """

    __slots__ = ("_server", "_session", "again", "connected", "data", "namespace", "rooms", "sid")

    def __init__(self, server: SocketServer, session: Session, namespace: str, *, again: bool) -> None:
        self._server = server
        self._session = session
        self.sid = secrets.token_urlsafe(15)
        self.namespace = namespace
        self.again = again
        self.connected = False
        self.rooms: set[str] | None = None
        self.data: Any = None

    @property
    def eio_sid(self) -> str:
        """The id of the Engine.IO session, a credential of the client."""
        return self._session.sid

    @property
    def request_info(self) -> RequestInfo:
        """What is known of the request that opened the session."""
        return self._session.info

    @property
    def transport(self) -> str:
        """What carries the session now: ``polling`` or ``websocket``."""
        return self._session.transport.name

    def send(self, frame: Frame) -> None:
        """Send ready packets. Nothing happens when the socket is not connected."""
        if self.connected:
            self._session.send(frame)

    def send_many(self, frames: Iterable[Frame]) -> None:
        """Send several frames in one write; share `Frame.joined` instead when others get the same ones."""
        self.send(Frame.joined(frames))

    def send_event(self, name: str, *args: object) -> None:
        """Encode and send an event; arguments are JSON values, and may hold bytes."""
        self._send_packet(packets.EVENT, [name, *args], None)

    def ack(self, ack_id: int, *args: object) -> None:
        """Answer an event for which the client asked an acknowledgement."""
        self._send_packet(packets.ACK, list(args), ack_id)

    def _send_packet(self, kind: int, args: list[object], ack_id: int | None) -> None:
        if self.connected:
            text, *attachments = packets.encode(kind, args, self.namespace, ack_id)
            self._session.send(Frame.text(b"4" + text))
            for attachment in attachments:
                self._session.send(Frame.binary(attachment))

    def close_transport(self, reason: str = reasons.SERVER_CLOSE) -> None:
        """Close the whole session without a DISCONNECT packet, so that clients reconnect at once.

        What has been sent goes out before. `Handler.on_disconnect` follows from the event loop.
        """
        self._session.close_soon(reason)

    def disconnect(self) -> None:
        """Tell the client that it is disconnected from the namespace: JavaScript clients do not come back.

        `Handler.on_disconnect` follows from the event loop.
        """
        if self.connected:
            self._session.send(Frame.disconnect(self.namespace))
            self.connected = False
            asyncio.get_running_loop().call_soon(
                self._server.leave, self._session, self, reasons.SERVER_NAMESPACE_DISCONNECT
            )
