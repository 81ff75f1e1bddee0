"""A WebSocket's bytes: how many messages are handled in one turn of the event loop, and what then."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import pytest

from parley_gateway.sio.connection import WebSocketConnection
from parley_gateway.sio.packets import PACKETS_PER_TURN
from tests.harness.raw_websocket import client_frame

if TYPE_CHECKING:
    from parley_gateway.sio import Session

MANY = 2 * PACKETS_PER_TURN + 7


class Bench:
    """A connection, its session and its transport.

    Attributes:
        messages: What the session was handed.
        lost: Why the connection was lost, for the session.
        reading: Whether the transport reads.
        written: What was written.
        aborted: The transport was cut off.
    """

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self.lost: list[str] = []
        self.reading = True
        self.written = b""
        self.aborted = False
        self.connection = WebSocketConnection(
            cast("Session", self), max_payload_bytes=1000, max_queue_bytes=1000, close_timeout_seconds=60
        )
        self.connection.connection_made(cast("asyncio.Transport", self))

    def receive(self, *frames: bytes) -> None:
        """Have bytes read."""
        assert self.reading
        self.connection.data_received(b"".join(frames))

    async def turns(self) -> None:
        """Let the event loop run until all that can be handled was handled."""
        for _ in range(10):
            before = len(self.messages)
            await asyncio.sleep(0)
            assert len(self.messages) - before <= PACKETS_PER_TURN

    # As the session

    def on_message(self, connection: WebSocketConnection, payload: bytes, *, text: bool) -> None:
        """Keep a message."""
        assert connection is self.connection
        assert text
        self.messages.append(payload)

    def on_connection_lost(self, _connection: WebSocketConnection, reason: str) -> None:
        """Keep the reason."""
        self.lost.append(reason)

    def on_malformed(self, kind: str) -> None:
        """Nothing to do."""

    # As the transport

    def set_write_buffer_limits(self, high: int) -> None:
        """Nothing to do."""

    def pause_reading(self) -> None:
        """Read no more."""
        self.reading = False

    def resume_reading(self) -> None:
        """Read again."""
        self.reading = True

    def write(self, data: bytes) -> None:
        """Keep bytes."""
        self.written += data

    def close(self) -> None:
        """Nothing to do."""

    def abort(self) -> None:
        """Cut off."""
        self.aborted = True


def numbered(count: int) -> list[bytes]:
    """Make messages that can be told apart."""
    return [b"%d" % number for number in range(count)]


def frames(count: int) -> bytes:
    """Make the frames of numbered messages."""
    return b"".join(client_frame(1, payload) for payload in numbered(count))


async def test_what_comes_in_one_read_is_handled_in_turns() -> None:
    """One client with many tiny packets does not hold up the others; its order is kept, and none is lost."""
    bench = Bench()
    half = client_frame(1, b"half")
    bench.receive(frames(MANY), half[:3])
    assert len(bench.messages) == PACKETS_PER_TURN
    assert not bench.reading, "no more is taken in before that is handled"
    await bench.turns()
    assert bench.messages == numbered(MANY)
    bench.receive(half[3:])
    assert bench.messages[-1] == b"half"


async def test_what_has_its_place_in_one_turn_is_handled_at_once() -> None:
    """As much as a user may send at once does not wait, nor does the next read."""
    bench = Bench()
    bench.receive(frames(PACKETS_PER_TURN - 1))
    assert len(bench.messages) == PACKETS_PER_TURN - 1
    assert bench.reading


async def test_pings_and_control_frames_have_their_turns_too() -> None:
    """Each is answered, and costs as much."""
    bench = Bench()
    bench.receive(client_frame(9, b"x") * MANY)
    assert len(bench.written) == PACKETS_PER_TURN * 3
    await bench.turns()
    assert len(bench.written) == MANY * 3


async def test_fragments_have_their_turns_too() -> None:
    """A message in many pieces, is one packet to its session, and costs as much as many."""
    bench = Bench()
    piece = client_frame(0, b"x", final=False)
    bench.receive(client_frame(1, b"x", final=False), piece * MANY, client_frame(0, b"end"))
    assert not bench.reading
    await bench.turns()
    assert bench.messages == [b"x" * (1 + MANY) + b"end"]
    assert bench.reading


async def test_a_connection_that_is_to_be_closed_takes_no_more() -> None:
    """Nothing is added to what is being acknowledged, and then the client's Close frame is found."""
    bench = Bench()
    bench.receive(frames(MANY), client_frame(8, b"\x03\xe8"))
    bench.connection.pause()
    await bench.turns()
    assert len(bench.messages) == PACKETS_PER_TURN
    assert not bench.reading
    bench.connection.finish(1001)
    assert not bench.reading, "what waits comes first"
    await bench.turns()
    assert len(bench.messages) == PACKETS_PER_TURN
    assert bench.connection._timer is not None
    assert not bench.aborted


async def test_reading_goes_on_for_the_close_frame_alone() -> None:
    """A closing connection skips what waits, and reads until the client's Close frame."""
    paused = Bench()
    paused.connection.pause()
    paused.connection.finish(1001)
    assert paused.reading
    bench = Bench()
    bench.receive(frames(MANY))
    bench.connection.finish(1001)
    await bench.turns()
    assert len(bench.messages) == PACKETS_PER_TURN
    bench.receive(frames(3))
    assert len(bench.messages) == PACKETS_PER_TURN


async def test_nothing_is_handled_after_the_connection_is_lost() -> None:
    """What waited is gone with it."""
    bench = Bench()
    bench.receive(frames(MANY))
    bench.connection.connection_lost(None)
    await bench.turns()
    assert len(bench.messages) == PACKETS_PER_TURN
    assert bench.lost == ["transport close"]


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (client_frame(8, b"\x03\xe8"), "transport close"),
        (client_frame(1, b"x", masked=False), "parse error"),
        (client_frame(1, b"x" * 1001), "too large"),
    ],
    ids=["close", "unmasked", "too large"],
)
async def test_the_end_is_seen_in_its_turn(frame: bytes, reason: str) -> None:
    """A Close frame, and one that breaks the rules, end the session after all that came before."""
    bench = Bench()
    bench.receive(frames(MANY), frame, frames(3))
    assert bench.lost == []
    await bench.turns()
    assert bench.messages == numbered(MANY)
    assert bench.lost == [reason]
