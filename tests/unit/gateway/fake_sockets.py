"""A stand-in for a connected Socket.IO socket: keeps what is sent to it."""

from __future__ import annotations

import itertools
from typing import Any

import msgspec

from parley_gateway.local import LocalUser, SocketState
from parley_gateway.sio import Frame

_numbers = itertools.count(1)


class FakeSocket:
    """Has what the core uses of `ClientSocket`."""

    def __init__(self) -> None:
        self.sid = f"socket-{next(_numbers)}"
        self.data: Any = None
        self.sent: list[list[Any]] = []
        self.acks: list[Any] = []
        self.closed: str | None = None
        self.disconnected = False

    def send(self, frame: Frame) -> None:
        """Decode and keep the packets."""
        for packet in frame.polled.split(b"\x1e"):
            assert packet[:1] == b"4"
            if packet[1:2] == b"2":
                self.sent.append(msgspec.json.decode(packet[2:]))
            else:
                assert packet[1:2] == b"3"
                self.acks.append(msgspec.json.decode(packet[packet.index(b"[") :])[0])

    def disconnect(self) -> None:
        """Note it."""
        self.disconnected = True

    def close_transport(self, reason: str) -> None:
        """Note the reason."""
        self.closed = reason

    def events(self, name: str) -> list[Any]:
        """The first argument of every event of that name."""
        return [packet[1] for packet in self.sent if packet[0] == name]

    def ready(self) -> FakeSocket:
        """Count as greeted."""
        state: SocketState = self.data
        state.waiting = None
        return self

    @property
    def user(self) -> LocalUser:
        """The local user."""
        user: LocalUser = self.data.user
        return user
