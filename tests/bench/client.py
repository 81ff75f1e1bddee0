"""One simulated user: a raw WebSocket that signs in, sends, receives, and keeps count."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from tests.bench import wire

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(slots=True)
class Tally:
    """What the users of a crowd have seen; times in nanoseconds.

    Attributes:
        sent: Messages that were written.
        received: Messages that arrived.
        disordered: Messages that arrived twice or out of their sender's order.
        refused: Messages that were answered with something else than ok.
        presence: `user connected` events that arrived.
        users_bytes: Size of each `users` event.
        receipt_ns: From writing a message to reading it at its recipient.
        ack_ns: From writing a message to reading its acknowledgement.
        on_receipt: Called with the recipient of each message, for load that answers receipts.
    """

    sent: int = 0
    received: int = 0
    disordered: int = 0
    refused: int = 0
    presence: int = 0
    users_bytes: list[int] = field(default_factory=list)
    receipt_ns: list[int] = field(default_factory=list)
    ack_ns: list[int] = field(default_factory=list)
    on_receipt: Callable[[User], None] | None = None


class User(asyncio.Protocol):
    """One user on one connection.

    Attributes:
        user_id: The server's id of the user, known once signed in.
        session_id: The secret by which the user comes back.
        pid: The recovery id, when the server gives one.
        recovered: The server took the connection for the continuation of the one before.
        peer: The user to whom this one sends.
        source: The user who sends to this one.
        ready: Resolves when the user is signed in and has the list of users, or is recovered.
        closed: Resolves when the connection is gone.
    """

    def __init__(self, address: tuple[str, int], auth: dict[str, str], tally: Tally) -> None:
        loop = asyncio.get_running_loop()
        self.user_id = ""
        self.session_id = ""
        self.pid = ""
        self.recovered = False
        self.peer: User | None = None
        self.source: User | None = None
        self._sent = 0
        self.ready: asyncio.Future[None] = loop.create_future()
        self.closed: asyncio.Future[None] = loop.create_future()
        self._address = address
        self._auth = auth
        self._tally = tally
        self._frames = wire.FrameReader()
        self._head: bytes | None = b""
        self._write: Callable[[bytes], None] | None = None
        self._transport: asyncio.Transport | None = None
        self._newest = 0
        self._last_event = b""
        self._awaiting_ack: dict[int, int] = {}

    # --- what the load does with a user ---------------------------------------------------------------

    async def open(self, timeout_seconds: float = 60) -> None:
        """Connect and sign in.

        Raises:
            WireError: The server refused, or closed the connection while signing in.
            TimeoutError: No list of users in time.
        """
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(timeout_seconds):
            await loop.create_connection(lambda: self, *self._address)
            await self.ready

    def send(self, size: int, *, with_ack: bool = False) -> None:
        """Send one message of ``size`` characters to the peer, stamped with the present time.

        Raises:
            WireError: The connection is gone.
        """
        if self._write is None or self.peer is None:
            raise wire.WireError("the connection was lost during the measurement")
        self._sent += 1
        self._tally.sent += 1
        now = time.monotonic_ns()
        if with_ack:
            self._awaiting_ack[self._sent] = now
            message_id = f"{self.session_id[-16:]}-{self._sent}"
            packet = wire.message_packet_with_ack(self.peer.user_id, now, self._sent, size, message_id)
        else:
            packet = wire.message_packet(self.peer.user_id, now, self._sent, size)
        self._write(wire.frame(packet))

    async def drop(self) -> None:
        """Lose the connection, as a network does: no goodbye."""
        if self._transport is not None:
            self._transport.abort()
            await self.closed

    def returning(self, address: tuple[str, int]) -> User:
        """Make the user's next connection: it asks for recovery where the server offers it."""
        return User(address, self.auth_to_return(), self._tally)

    def auth_to_return(self) -> dict[str, str]:
        """What the user's next connection says of itself."""
        auth = {"sessionID": self.session_id}
        if self.pid:
            auth |= {"pid": self.pid, "offset": _last_argument(self._last_event)}
        return auth

    # --- what the event loop does with it -------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the upgrade to WebSocket."""
        self._transport = cast("asyncio.Transport", transport)
        self._write = self._transport.write
        self._write(wire.upgrade_request(*self._address))

    def connection_lost(self, exc: Exception | None) -> None:
        """Let whoever waits know."""
        self._write = None
        self._fail(exc or wire.WireError("the server closed the connection"))
        self.closed.set_result(None)

    def data_received(self, data: bytes) -> None:
        """Take in what has arrived; several frames often come at once."""
        try:
            if self._head is not None:
                data = self._upgraded(self._head + data)
            now = time.monotonic_ns()
            for payload in self._frames.feed(data):
                if payload.startswith(wire.PRIVATE_MESSAGE):
                    self._take_message(payload, now)
                elif payload.startswith(wire.ACK):
                    self._take_ack(payload, now)
                else:
                    self._take_other(payload)
        except wire.WireError as error:
            self._fail(error)
            if self._transport is not None:
                self._transport.abort()

    # --- inside -----------------------------------------------------------------------------------------

    def _fail(self, error: Exception) -> None:
        if not self.ready.done():
            self.ready.set_exception(error)

    def _upgraded(self, head: bytes) -> bytes:
        """Read the answer to the upgrade; returns what follows it, which is empty while it is incomplete."""
        headers, end, rest = head.partition(b"\r\n\r\n")
        if not end:
            self._head = head
            return b""
        status = headers.partition(b"\r\n")[0]
        if b" 101 " not in status:
            raise wire.WireError(f"the server answered the upgrade with {status.decode(errors='replace')!r}")
        self._head = None
        return rest

    def _take_message(self, payload: bytes, now: int) -> None:
        stamp, number = wire.read_stamp(payload)
        tally = self._tally
        tally.received += 1
        tally.receipt_ns.append(now - stamp)
        if number <= self._newest:
            tally.disordered += 1
        self._newest = number
        self._last_event = payload
        if tally.on_receipt is not None:
            tally.on_receipt(self)

    def _take_ack(self, payload: bytes, now: int) -> None:
        number, _, answer = payload[len(wire.ACK) :].partition(b"[")
        self._tally.ack_ns.append(now - self._awaiting_ack.pop(int(number)))
        if b'"ok":true' not in answer:
            self._tally.refused += 1

    def _take_other(self, payload: bytes) -> None:
        if payload.startswith(wire.USER_CONNECTED):
            self._tally.presence += 1
            self._last_event = payload
        elif payload == wire.PING:
            self._reply(wire.PONG_FRAME)
        elif payload.startswith(wire.OPEN):
            self._reply(wire.connect_frame(self._auth))
        elif payload.startswith(wire.CONNECT):
            self.pid = json.loads(payload[2:]).get("pid", "")
            if self.pid and self.pid == self._auth.get("pid"):
                self.recovered = True
                self._signed_in()
        elif payload.startswith(wire.SESSION):
            session = json.loads(payload[2:])[1]
            self.user_id, self.session_id = session["userID"], session["sessionID"]
        elif payload.startswith(wire.USERS):
            self._tally.users_bytes.append(len(payload))
            self._last_event = payload
            self._signed_in()
        elif payload.startswith(wire.CONNECT_ERROR):
            raise wire.WireError(f"the server refused the user: {payload[2:].decode()}")

    def _reply(self, data: bytes) -> None:
        if self._write is not None:
            self._write(data)

    def _signed_in(self) -> None:
        with contextlib.suppress(asyncio.InvalidStateError):  # a late `users` of a user who gave up waiting
            self.ready.set_result(None)


def _last_argument(event: bytes) -> str:
    """Read an event's offset: its last argument, when that is a string."""
    arguments = json.loads(event[2:]) if event else [""]
    return arguments[-1] if isinstance(arguments[-1], str) else ""
