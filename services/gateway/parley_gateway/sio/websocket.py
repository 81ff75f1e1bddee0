"""The WebSocket framing of RFC 6455, server side: no I/O, no extensions, every rule in one place.

`FrameReader` turns bytes into whole messages; `encode_frame` does the reverse. Section numbers are those of
RFC 6455.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterator
from typing import Final

CONTINUATION: Final = 0x0
TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # section 1.3
_CLOSE_CODES_RECEIVABLE: Final = frozenset(
    {1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014}
)
"""Section 7.4.1 and the IANA registry; 3000 to 4999 are free for libraries and applications."""


class FrameError(Exception):
    """The client broke the framing rules; the connection must fail with ``code`` (section 7.1.7)."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


def accept_key(key: str) -> str | None:
    """Return the Sec-WebSocket-Accept value for a key, or None when it is not 16 bytes of base64."""
    try:
        if len(base64.b64decode(key, validate=True)) != 16:
            return None
    except (binascii.Error, ValueError):
        return None
    # SHA-1 is what section 4.2.2 prescribes; it guards against confused caches, not against attackers.
    digest = hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest()
    return base64.b64encode(digest).decode()


def encode_frame(opcode: int, payload: bytes) -> bytes:
    """Return one final, unmasked frame (section 5.2)."""
    length = len(payload)
    if length < 126:
        return bytes((0x80 | opcode, length)) + payload
    if length < 65536:
        return bytes((0x80 | opcode, 126)) + length.to_bytes(2, "big") + payload
    return bytes((0x80 | opcode, 127)) + length.to_bytes(8, "big") + payload


def header_size(frame: bytes) -> int:
    """Return how many bytes of an encoded server frame come before its payload."""
    marker = frame[1]
    return 2 if marker < 126 else 4 if marker == 126 else 10


def close_frame(code: int) -> bytes:
    """Return a Close frame with a code and no reason text."""
    return encode_frame(CLOSE, code.to_bytes(2, "big"))


def unmask(key: bytes, payload: bytes) -> bytes:
    """Undo a client's masking (section 5.3): as one wide XOR, the fastest that plain Python has."""
    length = len(payload)
    mask = (key * (length // 4 + 1))[:length]
    return (int.from_bytes(payload, "little") ^ int.from_bytes(mask, "little")).to_bytes(length, "little")


class FrameReader:
    """Assembles a client's bytes into messages.

    It holds at most one message of ``limit`` bytes, plus what one read brought.
    """

    __slots__ = ("_buffer", "_fragments", "_limit", "_needed", "_opcode")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._buffer: bytearray | None = None  # an incomplete frame
        self._needed = 0  # how long the buffer must be before looking at it again pays
        self._opcode = 0  # of the fragmented message under way; 0 when there is none
        self._fragments: bytearray | None = None

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield ``(opcode, payload)`` of each message and control frame that ``data`` completes.

        A fragment that completes none is ``(CONTINUATION, b"")``: it costs as much. Text is valid UTF-8. The
        caller may stop early when it is done with the connection.

        Raises:
            FrameError: A rule was broken; what came before has been yielded.
        """
        if self._buffer is not None:
            self._buffer += data
            if len(self._buffer) < self._needed:
                return
            data, self._buffer = bytes(self._buffer), None
        start, end = 0, len(data)
        while start < end:
            if end - start < 2:
                self._keep(data, start, 2)
                return
            first, second = data[start], data[start + 1]
            if first & 0x70:
                raise FrameError(1002, "a reserved bit is set")
            if not second & 0x80:
                raise FrameError(1002, "a client frame is not masked")  # section 5.1
            opcode, length, head = first & 0x0F, second & 0x7F, 6
            if opcode >= CLOSE:
                if opcode > PONG:
                    raise FrameError(1002, "reserved opcode")
                if length > 125 or not first & 0x80:
                    raise FrameError(1002, "a control frame is long or fragmented")  # section 5.5
            elif opcode > BINARY:
                raise FrameError(1002, "reserved opcode")
            elif length >= 126:
                size = 2 if length == 126 else 8
                head += size
                if end - start < head:
                    self._keep(data, start, head)
                    return
                length = int.from_bytes(data[start + 2 : start + 2 + size], "big")
                if length < (126 if size == 2 else 65536):
                    raise FrameError(1002, "a length is not in its shortest form")  # section 5.2
            already = len(self._fragments) if self._fragments is not None and opcode < CLOSE else 0
            if length + already > self._limit and opcode < CLOSE:
                raise FrameError(1009, "a message is too big")
            if end - start < head + length:
                self._keep(data, start, head + length)
                return
            body = start + head
            payload = unmask(data[body - 4 : body], data[body : body + length])
            start = body + length
            if opcode >= CLOSE:
                yield opcode, _checked_close(payload) if opcode == CLOSE else payload
                continue
            if opcode != CONTINUATION and self._opcode:
                raise FrameError(1002, "a message began inside another")  # section 5.4
            if opcode == CONTINUATION or not first & 0x80:
                whole = self._assemble(opcode, payload, final=bool(first & 0x80))
                if whole is None:
                    yield CONTINUATION, b""
                    continue
                opcode, payload = whole
            if opcode == TEXT and not payload.isascii():
                _require_utf8(payload)
            yield opcode, payload

    def _keep(self, data: bytes, start: int, needed: int) -> None:
        self._buffer = bytearray(data[start:])
        self._needed = needed

    def _assemble(self, opcode: int, payload: bytes, *, final: bool) -> tuple[int, bytes] | None:
        if opcode != CONTINUATION:
            self._opcode = opcode
            self._fragments = bytearray(payload)
            return None
        if self._fragments is None:
            raise FrameError(1002, "a continuation of nothing")
        self._fragments += payload
        if not final:
            return None
        whole = self._opcode, bytes(self._fragments)
        self._opcode, self._fragments = 0, None
        return whole


def _require_utf8(payload: bytes) -> None:
    try:
        payload.decode()
    except UnicodeDecodeError as error:
        raise FrameError(1007, "text is not UTF-8") from error  # section 8.1


def _checked_close(payload: bytes) -> bytes:
    """Return a Close frame's payload after checking its code and reason (section 5.5.1)."""
    if not payload:
        return payload
    code = int.from_bytes(payload[:2], "big")
    if len(payload) == 1 or not (code in _CLOSE_CODES_RECEIVABLE or 3000 <= code <= 4999):
        raise FrameError(1002, "a Close frame has no valid code")
    _require_utf8(payload[2:])
    return payload
