"""A WebSocket client that can break every rule: it writes the bytes it is told to."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
from typing import Self

from parley_gateway.sio.websocket import unmask


def client_frame(opcode: int, payload: bytes = b"", *, final: bool = True, masked: bool = True) -> bytes:
    """Encode a client's frame, masked unless told otherwise."""
    length = len(payload)
    head = bytes(((0x80 if final else 0) | opcode,))
    marker = 0x80 if masked else 0
    if length < 126:
        head += bytes((marker | length,))
    elif length < 65536:
        head += bytes((marker | 126,)) + length.to_bytes(2, "big")
    else:
        head += bytes((marker | 127,)) + length.to_bytes(8, "big")
    if not masked:
        return head + payload
    key = os.urandom(4)
    return head + key + unmask(key, payload)


class RawWebSocket:
    """A connection whose handshake is done; reads the server's frames one by one."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, port: int, path: str, *, behind: bytes = b"", headers: str = "") -> Self:
        """Connect and upgrade; ``behind`` is sent right behind the handshake, in the same write."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        return await cls.upgrade(reader, writer, path, behind=behind, headers=headers)

    @classmethod
    async def upgrade(
        cls,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        path: str,
        *,
        behind: bytes = b"",
        headers: str = "",
    ) -> Self:
        """Upgrade a connection that may have carried other requests before."""
        key = base64.b64encode(os.urandom(16)).decode()
        writer.write(
            f"GET {path} HTTP/1.1\r\nHost: localhost\r\n"
            "Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n{headers}\r\n".encode()
            + behind
        )
        answer = await reader.readuntil(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 101 "), answer
        return cls(reader, writer)

    def send(self, *frames: bytes) -> None:
        """Write bytes."""
        self.writer.write(b"".join(frames))

    async def frame(self) -> tuple[int, bytes]:
        """Read one frame of the server: (opcode, payload)."""
        first, second = await self._reader.readexactly(2)
        assert first & 0x80, "the server does not fragment"
        assert not second & 0x80, "the server does not mask"
        length = second & 0x7F
        if length >= 126:
            length = int.from_bytes(await self._reader.readexactly(2 if length == 126 else 8), "big")
        return first & 0x0F, await self._reader.readexactly(length)

    async def text(self) -> bytes:
        """Read one text message, skipping Engine.IO's pings."""
        while True:
            opcode, payload = await self.frame()
            assert opcode == 1, (opcode, payload)
            if payload != b"2":
                return payload

    async def close_code(self) -> int | None:
        """Read on until the Close frame, and return its code; None when the connection just ended."""
        try:
            while True:
                opcode, payload = await self.frame()
                if opcode == 8:
                    return int.from_bytes(payload[:2], "big")
        except (asyncio.IncompleteReadError, ConnectionError):
            return None

    async def ended(self) -> bool:
        """Wait until the server has ended the connection."""
        try:
            while await self._reader.read(65536):
                pass
        except ConnectionError:
            pass
        return True

    async def close(self) -> None:
        """Drop the connection."""
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()
