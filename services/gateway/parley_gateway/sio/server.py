"""The Socket.IO v5 server: namespaces, connecting, events and leaving, for one `Handler`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING, Any

import socketio

from parley_gateway.sio import packets, reasons
from parley_gateway.sio.client import ClientSocket
from parley_gateway.sio.engine import Admit, EngineServer
from parley_gateway.sio.frames import Frame
from parley_gateway.sio.handler import ConnectRefused, Handler, TransportRefused
from parley_gateway.sio.manager import LocalManager
from parley_gateway.sio.packets import Malformed, Packet
from parley_gateway.sio.settings import EngineSettings
from parley_shared.tasks import TaskGroup

if TYPE_CHECKING:
    from parley_gateway.sio.session import Session

logger = logging.getLogger(__name__)


class _Joined:
    """The Socket.IO side of one session.

    Attributes:
        sockets: Namespace -> the socket that is in it or connecting to it.
        partial: A packet whose binary attachments are still arriving, with those that have.
        asked: The client has asked to connect.
    """

    __slots__ = ("asked", "partial", "sockets")

    def __init__(self) -> None:
        self.sockets: dict[str, ClientSocket] = {}
        self.partial: tuple[Packet, list[bytes]] | None = None
        self.asked = False


class SocketServer(socketio.AsyncServer):  # type: ignore[misc] # python-socketio has no types
    """Serves Socket.IO clients to a handler. It must be used on one running event loop.

    Args:
        handler: The application.
        gateway_id: Begins every session id (see `EngineServer`).
        settings: Limits and times.
        namespaces: The namespaces that exist.
        admit: Asked about every handshake before any work is done.
        on_malformed: Told the kind of every input that breaks the protocol; for a counter.
    """

    def __init__(
        self,
        handler: Handler,
        *,
        gateway_id: str,
        settings: EngineSettings | None = None,
        namespaces: Iterable[str] = ("/",),
        admit: Admit | None = None,
        on_malformed: Callable[[str], None] | None = None,
    ) -> None:
        self.local = LocalManager()
        self._handler = handler
        self._tasks = TaskGroup("sio")
        self._settings = settings or EngineSettings()
        super().__init__(
            client_manager=self.local,
            logger=logger,
            async_handlers=False,
            namespaces=list(namespaces),
            application=self,
            settings=self._settings,
            gateway_id=gateway_id,
            admit=admit,
            on_malformed=on_malformed,
        )

    def _engineio_server_class(self) -> type[EngineServer]:
        return EngineServer

    def sockets(self, namespace: str = "/") -> Collection[ClientSocket]:
        """Return a live view of the connected sockets of a namespace."""
        return self.local.sockets(namespace)

    def sessions(self) -> Collection[Session]:
        """Return a live view of the open sessions, those without a socket included."""
        sessions: dict[str, Session] = self.eio.sockets
        return sessions.values()

    async def shutdown(self) -> None:
        """Close all sessions, end all tasks and stop the clock."""
        await self.eio.shutdown()
        await self._tasks.close()

    async def disconnect(self, sid: str, namespace: str | None = None, ignore_queue: bool = False) -> None:  # noqa: ARG002
        """Disconnect a socket from its namespace; nothing happens when there is none."""
        socket = self.local.get(sid, namespace or "/")
        if socket is not None:
            socket.disconnect()

    # The application of the Engine.IO server

    def on_open(self, session: Session) -> None:
        """Prepare for a new session."""
        session.state = _Joined()

    def on_message(self, session: Session, data: bytes, *, text: bool) -> None:
        """Handle one Socket.IO packet, or one binary attachment.

        Raises:
            Malformed: It breaks the protocol, or has no place in the session's state.
        """
        joined: _Joined = session.state
        if not text:
            self._on_attachment(session, joined, data)
            return
        if joined.partial is not None:
            raise Malformed("packet")  # text among attachments
        packet = packets.decode(data)
        if packet.attachments:
            if packet.attachments > self._settings.max_attachments:
                raise Malformed("packet")
            self._connected(joined, packet.namespace)
            joined.partial = packet, []
        else:
            self._on_packet(session, joined, packet)

    def _on_attachment(self, session: Session, joined: _Joined, data: bytes) -> None:
        if joined.partial is None:
            raise Malformed("packet")
        packet, attachments = joined.partial
        attachments.append(data)
        if sum(map(len, attachments)) > self._settings.max_payload_bytes:
            raise Malformed("too large")
        if len(attachments) == packet.attachments:
            joined.partial = None
            whole = packet._replace(
                type=packet.type - packets.BINARY_EVENT + packets.EVENT,
                data=packets.with_attachments(packet.data, attachments),
            )
            self._on_packet(session, joined, whole)

    def _on_packet(self, session: Session, joined: _Joined, packet: Packet) -> None:
        if packet.type == packets.CONNECT:
            self._connect(session, joined, packet)
            return
        socket = self._connected(joined, packet.namespace)
        if packet.type == packets.EVENT:
            event, *args = packet.data
            if event in packets.RESERVED_EVENTS:
                session.on_malformed("reserved event")
                return
            self._call(
                self._handler.on_event, socket, event if type(event) is str else str(event), args, packet.id
            )
        elif packet.type == packets.DISCONNECT:
            socket.connected = False
            self.leave(session, socket, reasons.CLIENT_NAMESPACE_DISCONNECT)
        # An ACK answers nothing: this server asks for no acknowledgements.

    @staticmethod
    def _connected(joined: _Joined, namespace: str) -> ClientSocket:
        socket = joined.sockets.get(namespace)
        if socket is None or not socket.connected:
            raise Malformed("state")  # as the reference server does with packets outside a connection
        return socket

    # Connecting

    def _connect(self, session: Session, joined: _Joined, packet: Packet) -> None:
        if packet.namespace in joined.sockets:
            raise Malformed("state")
        if packet.namespace not in self.namespaces:
            session.send(Frame.connect_error({"message": "Invalid namespace"}, packet.namespace))
            return
        socket = ClientSocket(self, session, packet.namespace, again=joined.asked)
        joined.asked = True
        joined.sockets[packet.namespace] = socket
        auth = packet.data if packet.data is not None else {}
        self._tasks.start(self._let_in(session, joined, socket, auth), "connect")

    async def _let_in(self, session: Session, joined: _Joined, socket: ClientSocket, auth: object) -> None:
        """Ask the handler, answer the client, and leave nothing behind whatever happens."""
        try:
            async with asyncio.timeout(self._settings.connect_timeout_seconds):
                reply = await self._handler.on_connect(socket, auth)
        except ConnectRefused as refusal:
            joined.sockets.pop(socket.namespace, None)
            error: dict[str, object] = {"message": refusal.message}
            if refusal.data is not None:
                error["data"] = refusal.data
            session.send(Frame.connect_error(error, socket.namespace))
            return
        except TransportRefused:
            session.close(reasons.CONNECT_ERROR)
            return
        except TimeoutError:
            logger.warning("a connect handler took too long")
            session.close(reasons.CONNECT_TIMEOUT)
            return
        except Exception:
            logger.exception("a connect handler failed")
            session.close(reasons.CONNECT_ERROR)
            return
        if session.closed:
            self._call(self._handler.on_disconnect, socket, session.reason)
            return
        socket.connected = True
        session.join_by = float("inf")
        self.local.add(socket)
        session.send(Frame.connect({"sid": socket.sid, **(reply or {})}, socket.namespace))
        self._call(self._handler.on_connected, socket)

    # Leaving

    def leave(self, session: Session, socket: ClientSocket, reason: str) -> None:
        """Take a socket that has just been disconnected out of everything, and tell the handler once."""
        joined: _Joined = session.state
        if joined.sockets.get(socket.namespace) is socket:
            del joined.sockets[socket.namespace]
            joined.partial = None
            if not joined.sockets and reason == reasons.SERVER_NAMESPACE_DISCONNECT:
                # Clients close then by themselves. (In one payload with the end of the session, a polling
                # client would not read what was sent before.)
                session.expect_join()
            self.local.remove(socket)
            self._call(self._handler.on_disconnect, socket, reason)

    def on_close(self, session: Session) -> None:
        """Take all sockets of a closed session out; those still connecting are left to their task."""
        joined: _Joined = session.state
        for socket in list(joined.sockets.values()):
            if self.local.get(socket.sid, socket.namespace) is socket:
                socket.connected = False
                self.leave(session, socket, session.reason)

    def _call(self, function: Callable[..., None], *args: Any) -> None:
        """Call the handler; its failure is logged and does not reach the client's other packets."""
        try:
            function(*args)
        except Exception:
            logger.exception("a handler failed", extra={"handler": function.__name__})
