"""An Engine.IO v4 session: one client, over polling, a WebSocket, or first the one and then the other."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from parley_gateway.sio import reasons
from parley_gateway.sio.frames import PING, PROBE_ANSWER, SEPARATOR, Frame
from parley_gateway.sio.packets import PACKETS_PER_TURN, Malformed, decode_base64
from parley_gateway.sio.polling import CLOSE, NOOP, Polling

if TYPE_CHECKING:
    from parley_gateway.sio.connection import WebSocketConnection
    from parley_gateway.sio.settings import EngineSettings
    from parley_gateway.sio.wheel import Wheel

_MESSAGE: Final = 0x34  # "4"
_BASE64: Final = 0x62  # "b"


class Application(Protocol):
    """What runs on top of Engine.IO. Its functions must not block."""

    def on_open(self, session: Session) -> None:
        """Prepare for a new session."""

    def on_message(self, session: Session, data: bytes, *, text: bool) -> None:
        """Handle a message: UTF-8 text, or binary.

        Raises:
            Malformed: The message breaks the protocol; the session closes.
        """

    def on_close(self, session: Session) -> None:
        """Clean up; ``session.reason`` says why it closed."""


class Owner(Protocol):
    """What a session needs from its server.

    Attributes:
        settings: Limits and times.
        wheel: The clock of all sessions.
        application: Gets the messages.
    """

    settings: EngineSettings
    wheel: Wheel[Session]
    application: Application

    def forget(self, session: Session) -> None:
        """Drop a session that has closed."""

    def on_malformed(self, kind: str) -> None:
        """Count input that breaks the protocol."""


@dataclass(frozen=True, slots=True)
class RequestInfo:
    """What is kept of the request that opened a session.

    Attributes:
        remote: The client's address.
        origin: The Origin header, if there was one.
        user_agent: The User-Agent header, if there was one.
        transport: ``polling`` or ``websocket``, as the session began.
    """

    remote: str
    origin: str | None
    user_agent: str | None
    transport: str


class Session:
    """The server's end of one Engine.IO session.

    Attributes:
        sid: The session id; it is a credential, so it belongs into no log.
        info: The request that opened it.
        closed: It has ended.
        reason: Why it ended (see `reasons`).
        transport: What carries it now.
        join_by: When (event loop time) it is closed unless the application has set this to infinity by then.
        state: For the application.
        slot: For the wheel.
    """

    __slots__ = (
        "_owner",
        "_ping_at",
        "_pong_by",
        "_probe",
        "_stalled",
        "closed",
        "info",
        "join_by",
        "reason",
        "sid",
        "slot",
        "state",
        "transport",
    )

    def __init__(self, owner: Owner, sid: str, info: RequestInfo) -> None:
        self._owner = owner
        self.sid = sid
        self.info = info
        self.closed = False
        self.reason = ""
        self.transport: Polling | WebSocketConnection = Polling()
        self.state: Any = None
        self.slot: int | None = None
        self._probe: WebSocketConnection | None = None
        self._stalled = False  # it is about to be closed and sends nothing more
        now = asyncio.get_running_loop().time()
        self.join_by = now + owner.settings.connect_timeout_seconds
        self._ping_at = now + owner.settings.ping_interval_seconds
        self._pong_by = math.inf  # finite while a PONG is awaited

    # Sending

    def send(self, frame: Frame) -> None:
        """Write packets to the client, or queue them for its next poll.

        Nothing happens when the session is closed. A client for which too much waits is closed soon after.
        """
        if self.closed or self._stalled:
            return
        transport = self.transport
        transport.send(frame)
        if isinstance(transport, Polling):
            settings = self._owner.settings
            if transport.count > settings.max_queue_packets or transport.size > settings.max_queue_bytes:
                self.overflow()

    def overflow(self) -> None:
        """Note that the client is too slow; it is closed from the event loop, not in the sender's call."""
        if not self._stalled:
            self._stalled = True
            asyncio.get_running_loop().call_soon(self.close, reasons.SLOW_CLIENT)

    def expect_join(self) -> None:
        """Close the session unless its client connects to a namespace in time, as at the beginning."""
        self.join_by = asyncio.get_running_loop().time() + self._owner.settings.connect_timeout_seconds

    def close_soon(self, reason: str) -> None:
        """Send nothing more, and close from the event loop, after what runs now."""
        if self.closed:
            return
        self._stalled = True
        if isinstance(self.transport, Polling):
            self.transport.finish(CLOSE)  # goes out with what waits, in one answer
        asyncio.get_running_loop().call_soon(self.close, reason)

    # Receiving

    def pause(self) -> None:
        """Take no more from the client, as the first half of closing it in order."""
        self.transport.pause()

    def on_message(self, connection: WebSocketConnection, payload: bytes, *, text: bool) -> None:
        """Handle one WebSocket message."""
        if self.closed:
            return
        if connection is not self.transport:
            self._on_probe_message(connection, payload)
            return
        try:
            if text:
                self._on_packet(payload)
            else:
                self._owner.application.on_message(self, payload, text=False)
        except Malformed as error:
            self._reject(error.kind)

    async def on_payload(self, body: bytes) -> bool:
        """Handle the body of a POST: packets with separators between, so many in one turn of the event loop.

        Returns:
            False when it broke the protocol, or could not be handled whole; the session is closed then.
        """
        try:
            # Text of the protocol is UTF-8 on this transport too.
            if not body.isascii():
                body.decode()
            for number, packet in enumerate(body.split(SEPARATOR)):
                if number and number % PACKETS_PER_TURN == 0:
                    await asyncio.sleep(0)
                    if self.closed:
                        return False
                self._on_packet(packet)
                if self.closed:
                    break
        except UnicodeDecodeError:
            self._reject("payload")
            return False
        except Malformed as error:
            self._reject(error.kind)
            return False
        return True

    def _on_packet(self, packet: bytes) -> None:
        kind = packet[0] if packet else 0
        if kind == _MESSAGE:
            self._owner.application.on_message(self, packet[1:], text=True)
        elif packet == b"3":
            self._on_pong()
        elif packet == b"1":
            self.close(reasons.CLIENT_CLOSE)
        elif kind == _BASE64 and isinstance(self.transport, Polling):
            self._owner.application.on_message(self, decode_base64(packet[1:]), text=False)
        elif packet not in {b"5", b"6"}:  # a late upgrade or a noop changes nothing, and Node ignores it too
            raise Malformed("packet")

    def _on_pong(self) -> None:
        settings, wheel = self._owner.settings, self._owner.wheel
        self._pong_by = math.inf
        self._ping_at = asyncio.get_running_loop().time() + settings.ping_interval_seconds
        # The wheel holds the session until this PONG would have been overdue. Where that is before the next
        # PING, as it is by default, it is soon enough to ask for the PING's time then.
        if settings.ping_timeout_seconds + wheel.tick_seconds > settings.ping_interval_seconds:
            wheel.discard(self)
            wheel.add(self, self.first_timer())

    def _reject(self, kind: str) -> None:
        self.on_malformed(kind)
        self.close(reasons.PARSE_ERROR)

    def on_malformed(self, kind: str) -> None:
        """Count input that breaks the protocol."""
        self._owner.on_malformed(kind)

    # From polling to WebSocket

    def start_probe(self, connection: WebSocketConnection) -> bool:
        """Begin an upgrade; False when there is nothing to upgrade."""
        if self.closed or self._probe is not None or not isinstance(self.transport, Polling):
            return False
        self._probe = connection
        asyncio.get_running_loop().call_later(
            self._owner.settings.upgrade_timeout_seconds, self._end_probe, connection
        )
        return True

    def _on_probe_message(self, connection: WebSocketConnection, payload: bytes) -> None:
        polling = self.transport
        if connection is not self._probe or not isinstance(polling, Polling):
            connection.finish(1002)
        elif payload == b"2probe":
            connection.send(PROBE_ANSWER)
            polling.probe(probing=True)
        elif payload == b"5" and polling.probing:
            self._probe = None
            self.transport = connection
            waiting = polling.take()
            polling.finish(NOOP)
            if waiting:
                self.send(Frame.joined(waiting))
        else:
            self.on_malformed("probe")
            self._end_probe(connection)

    def _end_probe(self, connection: WebSocketConnection) -> None:
        """Give an upgrade up; the session goes on polling. Nothing happens when it has been completed."""
        if connection is self._probe:
            self._probe = None
            connection.finish(1002)
            if isinstance(self.transport, Polling):
                self.transport.probe(probing=False)

    # Time

    def first_timer(self) -> float:
        """Return when `on_timer` is wanted while no PONG is awaited."""
        return min(self._ping_at, self.join_by + self._owner.wheel.tick_seconds)

    def on_timer(self, now: float) -> float | None:
        """Send a PING, or close when a PONG or the application is overdue (the wheel's callback)."""
        if self.expire(now):
            return None
        if now >= self.join_by:
            self.close(reasons.CONNECT_TIMEOUT)
            return None
        tick = self._owner.wheel.tick_seconds
        settings = self._owner.settings
        if self._pong_by == math.inf and now + tick > self._ping_at:
            # The wheel is up to one tick early; counting from whichever is first keeps the promise that a
            # silent client is found within ping interval and ping time-out.
            self._pong_by = min(now, self._ping_at) + settings.ping_timeout_seconds
            self.send(PING)
            if self.closed:
                return None
            self._ping_at = now + settings.ping_interval_seconds
        # A deadline is looked at once it has passed, a PING is sent before it is due.
        return min(self._ping_at if self._pong_by == math.inf else self._pong_by + tick, self.join_by + tick)

    def expire(self, now: float) -> bool:
        """Close if the client's PONG is overdue, and return whether the session is closed."""
        if now >= self._pong_by:
            self.close(reasons.PING_TIMEOUT)
        return self.closed

    # The end

    def on_connection_lost(self, connection: WebSocketConnection, reason: str) -> None:
        """React to the loss of a WebSocket."""
        if connection is self.transport:
            self.close(reason)
        elif connection is self._probe:
            self._probe = None
            if isinstance(self.transport, Polling):
                self.transport.probe(probing=False)

    def close(self, reason: str) -> None:
        """End the session; only the first call counts.

        A WebSocket is closed with a code; an open poll is answered with what waits and then a close packet,
        which makes clients reconnect at once (a noop, when it was the client that closed). Without an open
        poll the client learns it from the answer to its next request, 400.
        """
        if self.closed:
            return
        self.closed = True
        self.reason = reason
        self._owner.wheel.discard(self)
        self._owner.forget(self)
        if self._probe is not None:
            self._probe.finish(1001)
            self._probe = None
        transport = self.transport
        if isinstance(transport, Polling):
            transport.finish(NOOP if reason == reasons.CLIENT_CLOSE else CLOSE)
        elif reason in {reasons.SLOW_CLIENT, reasons.PING_TIMEOUT}:
            transport.abort()  # nobody would read a Close frame
        else:
            transport.finish(reasons.close_code(reason))
        self._owner.application.on_close(self)
