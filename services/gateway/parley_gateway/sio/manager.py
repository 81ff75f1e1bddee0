"""The sockets of this process and their rooms, with constant costs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import socketio

from parley_gateway.sio import packets
from parley_gateway.sio.frames import Frame

if TYPE_CHECKING:
    from parley_gateway.sio.client import ClientSocket


class LocalManager(socketio.AsyncManager):  # type: ignore[misc] # python-socketio has no types
    """A client manager that keeps the way from a socket to its rooms.

    Joining and leaving cost by the socket's own rooms, not by all rooms there are. Rooms know the sockets of
    this process only: what reaches other gateways goes through the store.
    """

    def __init__(self) -> None:
        super().__init__()
        self._sockets: dict[str, dict[str, ClientSocket]] = {}  # namespace -> sid -> socket
        self._rooms: dict[tuple[str, str], dict[str, ClientSocket]] = {}  # (namespace, room) -> sid -> socket

    def add(self, socket: ClientSocket) -> None:
        """Register a connected socket."""
        self._sockets.setdefault(socket.namespace, {})[socket.sid] = socket

    def remove(self, socket: ClientSocket) -> None:
        """Forget a socket and take it out of its rooms."""
        self._sockets.get(socket.namespace, {}).pop(socket.sid, None)
        for room in tuple(socket.rooms or ()):
            self.leave(socket, room)

    def join(self, socket: ClientSocket, room: str) -> None:
        """Put a connected socket into a room."""
        if socket.rooms is None:
            socket.rooms = set()
        socket.rooms.add(room)
        self._rooms.setdefault((socket.namespace, room), {})[socket.sid] = socket

    def leave(self, socket: ClientSocket, room: str) -> None:
        """Take a socket out of a room."""
        if socket.rooms is not None:
            socket.rooms.discard(room)
        members = self._rooms.get((socket.namespace, room))
        if members is not None:
            members.pop(socket.sid, None)
            if not members:
                del self._rooms[socket.namespace, room]

    def members(self, room: str, namespace: str = "/") -> Collection[ClientSocket]:
        """Return a live view of the sockets in a room."""
        return self._rooms.get((namespace, room), {}).values()

    def sockets(self, namespace: str = "/") -> Collection[ClientSocket]:
        """Return a live view of the connected sockets of a namespace."""
        return self._sockets.get(namespace, {}).values()

    # The interface that python-socketio's server uses

    async def emit(  # noqa: PLR0917 - the signature is python-socketio's
        self,
        event: str,
        data: Any,
        namespace: str,
        room: Any = None,
        skip_sid: Any = None,
        callback: Any = None,
        to: Any = None,
        **_options: object,
    ) -> None:
        """Send an event to a room, a socket (by sid), a list of both, or with no room to the namespace.

        None inside a list addresses nobody: a lookup that found nothing must not turn into a broadcast.

        Raises:
            ValueError: A callback was given; this server asks clients for no acknowledgements.
        """
        if callback is not None:
            raise ValueError("this server asks clients for no acknowledgements")
        args = list(data) if isinstance(data, tuple) else [] if data is None else [data]
        text, *attachments = packets.encode(packets.EVENT, [event, *args], namespace, None)
        frame = Frame.joined([Frame.text(b"4" + text), *map(Frame.binary, attachments)])
        skipped = skip_sid if isinstance(skip_sid, (list, set, tuple)) else (skip_sid,)
        for sid, socket in list(self._addressed(namespace, to or room)):
            if sid not in skipped:
                socket.send(frame)

    def _addressed(self, namespace: str, room: Any) -> Iterator[tuple[str, ClientSocket]]:
        if room is None:
            yield from self._sockets.get(namespace, {}).items()
            return
        found: dict[str, ClientSocket] = {}
        for name in [room] if isinstance(room, str) else room:
            if name is None:
                continue
            found.update(self._rooms.get((namespace, name), {}))
            socket = self._sockets.get(namespace, {}).get(name)
            if socket is not None:
                found[name] = socket
        yield from found.items()

    def get_namespaces(self) -> Iterable[str]:
        """Return the namespaces that have had sockets."""
        return self._sockets.keys()

    def get_participants(self, namespace: str, room: Any) -> Iterator[tuple[str, str]]:
        """Return (sid, session id) of the sockets in a room, or of all for None."""
        return ((sid, socket.eio_sid) for sid, socket in self._addressed(namespace, room))

    def get_rooms(self, sid: str, namespace: str) -> list[str]:
        """Return the rooms of a socket; its own sid counts as one, as in python-socketio."""
        socket = self._sockets.get(namespace, {}).get(sid)
        return [] if socket is None else [sid, *(socket.rooms or ())]

    def is_connected(self, sid: str, namespace: str) -> bool:
        """Return whether a socket is connected."""
        return sid in self._sockets.get(namespace, {})

    def eio_sid_from_sid(self, sid: str, namespace: str) -> str | None:
        """Return the session id of a socket."""
        socket = self._sockets.get(namespace, {}).get(sid)
        return None if socket is None else socket.eio_sid

    def basic_enter_room(self, sid: str, namespace: str, room: str, eio_sid: str | None = None) -> None:  # noqa: ARG002
        """Put a socket into a room.

        Raises:
            ValueError: There is no such socket.
        """
        socket = self._sockets.get(namespace, {}).get(sid)
        if socket is None:
            raise ValueError("sid is not connected to requested namespace")
        self.join(socket, room)

    def basic_leave_room(self, sid: str, namespace: str, room: str) -> None:
        """Take a socket out of a room."""
        socket = self._sockets.get(namespace, {}).get(sid)
        if socket is not None:
            self.leave(socket, room)

    def basic_close_room(self, room: str, namespace: str) -> None:
        """Empty a room."""
        for socket in list(self.members(room, namespace)):
            self.leave(socket, room)

    def get(self, sid: str, namespace: str = "/") -> ClientSocket | None:
        """Return a connected socket by its id."""
        return self._sockets.get(namespace, {}).get(sid)
