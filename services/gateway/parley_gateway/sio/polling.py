"""The HTTP long-polling transport: what waits for a client's next poll, and the poll that waits for it."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from parley_gateway.sio.frames import SEPARATOR, Frame

NOOP: Final = b"6"
CLOSE: Final = b"1"
MAX_PACKETS: Final = 16
"""Most packets of one answer: python-engineio's client gives up on a payload of more."""


class PollOverlap(Exception):  # noqa: N818 - an event of the protocol
    """The client sent a poll while another one was open."""


class Polling:
    """Holds packets until the client polls; at most one poll may be open.

    Attributes:
        posting: A POST is being read; the protocol allows one at a time.
        size: Bytes waiting, as WebSocket frames (near enough to what a poll will carry).
    """

    name: Final = "polling"
    __slots__ = ("_last", "_queue", "_waiter", "posting", "probing", "size")

    def __init__(self) -> None:
        self._queue: deque[Frame] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._last: bytes | None = None  # ends the transport: nothing comes after it
        self.posting = False
        self.probing = False
        self.size = 0

    @property
    def count(self) -> int:
        """Packets waiting."""
        return len(self._queue)

    def send(self, frame: Frame) -> None:
        """Queue packets and wake the open poll, if there is one.

        The poll takes all that is queued by the time its request handler runs, so packets sent together
        travel together.
        """
        if frame.parts:
            self._queue.extend(frame.parts)
        else:
            self._queue.append(frame)
        self.size += len(frame.wire)
        self._wake()

    async def poll(self) -> bytes:
        """Wait until there is something to send, and return it as one payload of at most `MAX_PACKETS`.

        When the transport ends, all that waits goes with the last packet.

        Raises:
            PollOverlap: Another poll is open.
        """
        if self._waiter is not None:
            raise PollOverlap
        if not self._queue and self._last is None and not self.probing:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        if self._last is not None:
            return SEPARATOR.join([*(frame.polled for frame in self.take()), self._last])
        frames = [self._queue.popleft() for _ in range(min(len(self._queue), MAX_PACKETS))]
        self.size -= sum(len(frame.wire) for frame in frames)
        return SEPARATOR.join([frame.polled for frame in frames]) or NOOP

    def take(self) -> list[Frame]:
        """Remove and return what is queued."""
        frames = list(self._queue)
        self._queue.clear()
        self.size = 0
        return frames

    def probe(self, *, probing: bool) -> None:
        """Answer polls at once while the client probes a WebSocket: it waits for its last poll to end."""
        self.probing = probing
        if probing:
            self._wake()

    def pause(self) -> None:
        """Do nothing: a client knows from the answer to its POST whether that was handled whole."""

    def finish(self, packet: bytes) -> None:
        """End the transport: an open poll is answered with what is queued and then ``packet``."""
        self._last = packet
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
