"""The queue of a polling client."""

from __future__ import annotations

import asyncio

import pytest

from parley_gateway.sio.frames import Frame
from parley_gateway.sio.polling import CLOSE, MAX_PACKETS, NOOP, Polling, PollOverlap


async def test_what_waits_is_taken_by_the_next_poll() -> None:
    """Packets sent before the poll travel together and are counted until then."""
    polling = Polling()
    polling.send(Frame.text(b"4a"))
    polling.send(Frame.joined([Frame.text(b"4b"), Frame.text(b"4c")]))
    assert polling.count == 3
    assert await polling.poll() == b"4a\x1e4b\x1e4c"
    assert (polling.count, polling.size) == (0, 0)


async def test_a_poll_carries_no_more_than_clients_take() -> None:
    """The rest waits for the next poll, in order, unless the transport ends."""
    polling = Polling()
    polling.send(Frame.joined(Frame.text(b"4%d" % number) for number in range(MAX_PACKETS + 2)))
    assert (await polling.poll()).count(b"\x1e") == MAX_PACKETS - 1
    assert polling.size == 2 * len(Frame.text(b"416").wire)
    assert await polling.poll() == b"416\x1e417"
    assert polling.size == 0
    for number in range(MAX_PACKETS + 2):
        polling.send(Frame.text(b"4%d" % number))
    polling.finish(CLOSE)
    assert (await polling.poll()).endswith(b"417\x1e1")


async def test_an_open_poll_takes_all_that_is_sent_together() -> None:
    """A poll that waits gets the packets of one turn in one payload."""
    polling = Polling()
    poll = asyncio.create_task(polling.poll())
    await asyncio.sleep(0)
    polling.send(Frame.text(b"4a"))
    polling.send(Frame.text(b"4b"))
    assert await poll == b"4a\x1e4b"


async def test_a_second_poll_is_an_overlap() -> None:
    """Only one poll may be open; the first is not disturbed by the second."""
    polling = Polling()
    poll = asyncio.create_task(polling.poll())
    await asyncio.sleep(0)
    with pytest.raises(PollOverlap):
        await polling.poll()
    polling.finish(CLOSE)
    assert await poll == b"1"


async def test_finish_sends_what_waits_first() -> None:
    """The last packet comes after all others."""
    polling = Polling()
    polling.send(Frame.text(b"4a"))
    polling.finish(CLOSE)
    assert await polling.poll() == b"4a\x1e1"


async def test_a_probe_ends_polls_at_once() -> None:
    """While a WebSocket is probed, a poll is answered with what there is, or a noop."""
    polling = Polling()
    poll = asyncio.create_task(polling.poll())
    await asyncio.sleep(0)
    polling.probe(probing=True)
    assert await poll == NOOP
    assert await polling.poll() == NOOP
    polling.send(Frame.text(b"4a"))
    assert await polling.poll() == b"4a"


async def test_a_cancelled_poll_leaves_room_for_another() -> None:
    """A poll that is dropped no longer counts as open."""
    polling = Polling()
    poll = asyncio.create_task(polling.poll())
    await asyncio.sleep(0)
    poll.cancel()
    with pytest.raises(asyncio.CancelledError):
        await poll
    polling.send(Frame.text(b"4a"))
    assert await polling.poll() == b"4a"
