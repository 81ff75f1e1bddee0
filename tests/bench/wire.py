"""WebSocket, Engine.IO and Socket.IO as far as a load generator needs them: straight to bytes and back.

A benchmark's client must cost little beside the servers it measures, so this speaks the public contract only:
an Engine.IO v4 session on the WebSocket transport from the start, JSON text packets, no compression offered.
Frames are masked with a mask that is not zero (some servers skip the work of unmasking when it is).
"""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

OPEN: Final = b"0{"
PING: Final = b"2"
PONG: Final = b"3"
CONNECT: Final = b"40{"
CONNECT_ERROR: Final = b"44{"
ACK: Final = b"43"
SESSION: Final = b'42["session",'
USERS: Final = b'42["users",'
PRIVATE_MESSAGE: Final = b'42["private message",'
USER_CONNECTED: Final = b'42["user connected",'

_TEXT: Final = 0x1
_CLOSE: Final = 0x8
_PING: Final = 0x9
_FIN: Final = 0x80
_MASK: Final = b"\x9d\x37\xc2\x5b"
# Long enough for any frame this generator sends; sliced to the payload's length.
_MASK_RUN: Final = _MASK * 16384


class WireError(Exception):
    """The server sent something a Socket.IO client cannot read, or closed the connection."""


def upgrade_request(host: str, port: int) -> bytes:
    """Make the HTTP request that opens an Engine.IO session directly on WebSocket."""
    return (
        f"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: {host}:{port}\r\n"
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: cGFybGV5LWJlbmNobWFyaw==\r\n\r\n"
    ).encode()


def frame(payload: bytes, opcode: int = _TEXT) -> bytes:
    """Make one masked client frame of at most 64 KiB."""
    size = len(payload)
    if size < 126:
        head = bytes((_FIN | opcode, 0x80 | size))
    else:
        head = struct.pack("!BBH", _FIN | opcode, 0x80 | 126, size)
    masked = int.from_bytes(payload, "little") ^ int.from_bytes(_MASK_RUN[:size], "little")
    return head + _MASK + masked.to_bytes(size, "little")


def connect_frame(auth: dict[str, str]) -> bytes:
    """Make the Socket.IO CONNECT packet for the main namespace."""
    return frame(b"40" + json.dumps(auth, separators=(",", ":")).encode())


PONG_FRAME: Final = frame(PONG)


class FrameReader:
    """Cuts a server's byte stream into the payloads of its text frames.

    Servers do not mask, and none of those measured splits a message into fragments: anything else is an
    error.
    """

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield each payload that is complete; keep what is not for the next call.

        Raises:
            WireError: The server closed the WebSocket, or sent what a text-only client cannot read.
        """
        if self._rest:
            data = self._rest + data
        start, end = 0, len(data)
        while end - start >= 2:
            size = data[start + 1]
            body = start + 2
            if size == 126:
                if end - start < 4:
                    break
                size = (data[start + 2] << 8) | data[start + 3]
                body = start + 4
            elif size == 127:
                if end - start < 10:
                    break
                size = int.from_bytes(data[start + 2 : start + 10], "big")
                body = start + 10
            if end < body + size:
                break
            if data[start] != _FIN | _TEXT:
                _refuse(data[start], data[body : body + size])
            start = body + size
            yield data[body:start]
        self._rest = data[start:]


def _refuse(first_byte: int, payload: bytes) -> None:
    if first_byte & 0x0F == _CLOSE:
        code = int.from_bytes(payload[:2], "big")
        raise WireError(
            f"the server closed the WebSocket with code {code}: {payload[2:].decode(errors='replace')}"
        )
    if first_byte & 0x0F == _PING:
        raise WireError("a WebSocket ping, which Engine.IO v4 servers have no use for")
    raise WireError(f"an unexpected WebSocket frame that starts with byte {first_byte:#x}")


# A message's content starts with when it was sent (nanoseconds of the monotonic clock, which all processes of
# a machine share) and its number at the sender, both of fixed width, and is filled up to the size asked for.
STAMP_WIDTH: Final = 19
NUMBER_WIDTH: Final = 10
CONTENT_HEAD: Final = b'"content":"'


def message_packet(to: str, stamp: int, number: int, size: int) -> bytes:
    """Make the guide's `private message` event, its content of exactly ``size`` characters."""
    content = b"%019d%010d" % (stamp, number)
    return b'42["private message",{"content":"%b","to":"%b"}]' % (content.ljust(size, b"x"), to.encode())


def message_packet_with_ack(to: str, stamp: int, number: int, size: int, message_id: str) -> bytes:
    """Make a `private message` with a client-made id that asks for an acknowledgement under ``number``."""
    content = b"%019d%010d" % (stamp, number)
    return b'42%d["private message",{"content":"%b","to":"%b","id":"%b"}]' % (
        number,
        content.ljust(size, b"x"),
        to.encode(),
        message_id.encode(),
    )


def read_stamp(payload: bytes) -> tuple[int, int]:
    """Read back when a delivered message was sent (ns) and its number at the sender.

    Raises:
        WireError: The payload holds no content of this generator.
    """
    at = payload.find(CONTENT_HEAD)
    if at < 0:
        raise WireError("a private message without content")
    at += len(CONTENT_HEAD)
    end = at + STAMP_WIDTH
    return int(payload[at:end]), int(payload[end : end + NUMBER_WIDTH])
