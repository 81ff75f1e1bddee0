"""Outgoing packets, encoded once and shared by all who receive them.

A `Frame` holds the bytes that go onto a WebSocket; what a polling client gets is derived from them, and only
when one asks. Layers, from the inside: Socket.IO packet, Engine.IO packet (``4`` + text, or bytes), WebSocket
frame.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Final, Self

import msgspec

from parley_gateway.sio.websocket import BINARY, TEXT, encode_frame, header_size

SEPARATOR: Final = b"\x1e"
"""Between the packets of one polling payload (Engine.IO protocol v4)."""

_encode: Final = msgspec.json.Encoder().encode


class Frame:
    """One or more encoded packets, ready to be written.

    Attributes:
        wire: Unmasked, uncompressed WebSocket frames.
        parts: The frames of one packet each that they are made of; empty when this is one.
    """

    __slots__ = ("_polled", "parts", "wire")

    def __init__(self, wire: bytes, *, polled: bytes | None = None, parts: tuple[Frame, ...] = ()) -> None:
        self.wire = wire
        self._polled = polled
        self.parts = parts

    @classmethod
    def text(cls, packet: bytes) -> Self:
        """Wrap an encoded Engine.IO text packet, such as ``b'4hello'``."""
        return cls(encode_frame(TEXT, packet))

    @classmethod
    def binary(cls, data: bytes) -> Self:
        """Wrap a binary message."""
        return cls(encode_frame(BINARY, data), polled=b"b" + base64.b64encode(data))

    @classmethod
    def event(cls, name: str, *fragments: bytes, namespace: str = "/") -> Self:
        """Encode a Socket.IO event whose arguments are JSON fragments already.

        Raises:
            UnicodeEncodeError: The name cannot be encoded as UTF-8.
        """
        return cls.text(
            b"".join((b"42", _prefix(namespace), b"[", b",".join((_encode(name), *fragments)), b"]"))
        )

    @classmethod
    def ack(cls, ack_id: int, *fragments: bytes, namespace: str = "/") -> Self:
        """Encode the acknowledgement of a client's event; the arguments are JSON fragments already."""
        return cls.text(b"43%b%d[%b]" % (_prefix(namespace), ack_id, b",".join(fragments)))

    @classmethod
    def connect(cls, reply: dict[str, object], namespace: str) -> Self:
        """Encode the CONNECT packet that lets a client into a namespace."""
        return cls.text(b"40" + _prefix(namespace) + _encode(reply))

    @classmethod
    def connect_error(cls, error: dict[str, object], namespace: str) -> Self:
        """Encode the CONNECT_ERROR packet that keeps a client out, for good: it does not try again."""
        return cls.text(b"44" + _prefix(namespace) + _encode(error))

    @classmethod
    def disconnect(cls, namespace: str) -> Self:
        """Encode the DISCONNECT packet of a namespace; JavaScript clients do not come back after it."""
        return cls.text(b"41" + _prefix(namespace))

    @classmethod
    def joined(cls, frames: Iterable[Frame]) -> Self:
        """Make one frame of several, so that they go out in one write."""
        parts = tuple(part for frame in frames for part in (frame.parts or (frame,)))
        return cls(b"".join([part.wire for part in parts]), parts=parts)

    @property
    def polled(self) -> bytes:
        """The packets as a polling payload (text; binary as ``b`` and base64)."""
        if self._polled is None:
            if self.parts:
                self._polled = SEPARATOR.join([part.polled for part in self.parts])
            else:
                self._polled = self.wire[header_size(self.wire) :]
        return self._polled


def _prefix(namespace: str) -> bytes:
    return b"" if namespace == "/" else namespace.encode() + b","


PING: Final = Frame.text(b"2")
PROBE_ANSWER: Final = Frame.text(b"3probe")
