"""The WebSocket transport: an asyncio protocol that lives on the bare TCP connection.

After the handshake it takes the place of aiohttp's protocol (see `takeover`), so that an idle connection
costs no HTTP request and no task. Writing hands ready bytes to the event loop's transport at once.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, cast

from parley_gateway.sio import reasons
from parley_gateway.sio.packets import PACKETS_PER_TURN
from parley_gateway.sio.websocket import (
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    FrameError,
    FrameReader,
    close_frame,
    encode_frame,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from parley_gateway.sio.frames import Frame
    from parley_gateway.sio.session import Session


class WebSocketConnection(asyncio.Protocol):
    """One WebSocket of one session.

    Args:
        session: Gets the messages, and learns when the connection is lost.
        max_payload_bytes: Largest message; a larger one closes the session.
        max_queue_bytes: Most bytes that may wait in user space for a client that reads slowly.
        close_timeout_seconds: How long to wait, once it is closing, for the client to answer our Close frame
            and to read what was sent before it.
    """

    name: Final = "websocket"
    __slots__ = (
        "_close_timeout",
        "_closing",
        "_max_queue",
        "_paused",
        "_reader",
        "_rest",
        "_session",
        "_timer",
        "_transport",
    )

    def __init__(
        self,
        session: Session | None,
        *,
        max_payload_bytes: int,
        max_queue_bytes: int,
        close_timeout_seconds: float,
    ) -> None:
        self._session = session
        self._reader = FrameReader(max_payload_bytes)
        self._max_queue = max_queue_bytes
        self._close_timeout = close_timeout_seconds
        self._transport: asyncio.Transport | None = None
        self._closing = False  # our Close frame is out
        self._paused = False  # nothing more is wanted but, once it is closing, the client's Close frame
        self._rest: Iterator[tuple[int, bytes]] | None = None  # what was read, and waits for its turn
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start on a transport (asyncio's callback, called by `takeover`)."""
        self._transport = cast("asyncio.Transport", transport)
        # The event loop calls pause_writing only for what the kernel does not take: that is the send queue,
        # and no send has to ask for its size.
        self._transport.set_write_buffer_limits(high=self._max_queue)

    @property
    def size(self) -> int:
        """Bytes that wait in user space for the client to read."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def send(self, frame: Frame) -> None:
        """Write packets; nothing happens once the connection is closing."""
        if not self._closing and self._transport is not None:
            self._transport.write(frame.wire)

    def pause(self) -> None:
        """Read no more from the client; closing is all that follows."""
        self._paused = True
        if self._transport is not None:
            self._transport.pause_reading()

    def data_received(self, data: bytes) -> None:
        """Handle the messages that these bytes complete (asyncio's callback)."""
        self._handle(self._reader.feed(data))

    def _handle(self, messages: Iterator[tuple[int, bytes]]) -> None:
        """Handle as many messages as have their place in one turn of the event loop.

        Where there are more, nothing is read until the others have had their turns.
        """
        left = PACKETS_PER_TURN
        try:
            for opcode, payload in messages:
                if opcode == CLOSE:
                    self._on_close_frame(payload)
                    return
                if not self._closing and self._session is not None:  # else only the Close frame matters
                    if opcode == PING:
                        if self._transport is not None:
                            self._transport.write(encode_frame(PONG, payload))
                    elif CONTINUATION < opcode < CLOSE:  # text or binary
                        self._session.on_message(self, payload, text=opcode == TEXT)
                left -= 1
                if not left and self._transport is not None:
                    self._rest = messages
                    self._transport.pause_reading()
                    asyncio.get_running_loop().call_soon(self._go_on)
                    return
        except FrameError as error:
            self._on_frame_error(error)

    def _go_on(self) -> None:
        """Handle what waits for its turn, and then read again."""
        if self._rest is None or self._transport is None or (self._paused and not self._closing):
            return
        messages, self._rest = self._rest, None
        self._handle(messages)
        if self._rest is None:
            self._transport.resume_reading()

    def pause_writing(self) -> None:
        """Close a client that reads too slowly (asyncio's callback, from inside a write)."""
        if self._session is not None and not self._closing:
            self._session.overflow()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the session (asyncio's callback)."""
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()
        session, self._session = self._session, None
        if session is not None:
            session.on_connection_lost(
                self, reasons.TRANSPORT_CLOSE if exc is None else reasons.TRANSPORT_ERROR
            )

    def finish(self, code: int) -> None:
        """Close in order (RFC 6455, section 7.1.1): our Close frame, the client's answer, then TCP."""
        self._session = None
        if self._closing or self._transport is None:
            return
        self._closing = True
        self._transport.write(close_frame(code))
        # The client's Close frame must be seen.
        if self._rest is None:
            self._transport.resume_reading()
        else:
            asyncio.get_running_loop().call_soon(self._go_on)
        self._abort_later()

    def abort(self) -> None:
        """Drop the connection and what it has not sent."""
        self._closing = True
        self._session = None
        if self._transport is not None:
            self._transport.abort()

    def _end(self) -> None:
        """End the TCP connection once the client has read what waits for it, or after the time-out."""
        if self._transport is not None:
            self._transport.close()
            self._abort_later()  # a client that does not read would hold the send queue for ever

    def _abort_later(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._close_timeout, self.abort)

    def _on_close_frame(self, payload: bytes) -> None:
        session, self._session = self._session, None
        if self._transport is not None:
            if not self._closing:
                self._closing = True
                self._transport.write(encode_frame(CLOSE, payload[:2]))
            self._end()
        if session is not None:
            session.on_connection_lost(self, reasons.TRANSPORT_CLOSE)

    def _on_frame_error(self, error: FrameError) -> None:
        session = self._session
        if session is None or self._transport is None or self._closing:
            self.abort()
            return
        # Section 7.1.7: say why, and do not wait for an answer from a client that breaks the rules.
        self._closing = True
        self._session = None
        self._transport.write(close_frame(error.code))
        self._end()
        session.on_malformed("frame")
        session.on_connection_lost(self, reasons.TOO_LARGE if error.code == 1009 else reasons.PARSE_ERROR)
