"""Closing sessions in order."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from parley_gateway.drain import Closer
from parley_gateway.sio import Session


class FakeSession:
    """Notes what is done to it."""

    def __init__(self) -> None:
        self.paused = False
        self.closed = False
        self.reason = ""

    def pause(self) -> None:
        """Note it."""
        self.paused = True

    def close_soon(self, reason: str) -> None:
        """Note it."""
        self.closed = True
        self.reason = reason


class Bench:
    """A `Closer` of two sessions, and a store that answers when the test says so."""

    def __init__(self) -> None:
        self.sessions = [FakeSession(), FakeSession()]
        self.asked = asyncio.Event()
        self.stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.closer = Closer(lambda: cast("list[Session]", self.sessions), self.flushed)

    async def flushed(self) -> None:
        """Wait for the store."""
        self.asked.set()
        await self.stored


async def test_sessions_are_closed_after_their_messages_are_stored() -> None:
    """First nothing more is read, then the store is waited for, then they are closed."""
    bench = Bench()
    closing = asyncio.create_task(bench.closer.close_all("drain", 0))
    await bench.asked.wait()
    assert [(session.paused, session.closed) for session in bench.sessions] == [(True, False)] * 2
    bench.stored.set_result(None)
    await closing
    assert [session.reason for session in bench.sessions] == ["drain"] * 2


async def test_a_cancelled_drain_leaves_no_session_deaf() -> None:
    """Who is read from no more is closed, although the store has not answered."""
    bench = Bench()
    closing = asyncio.create_task(bench.closer.close_all("drain", 0))
    await bench.asked.wait()
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert [session.reason for session in bench.sessions] == ["drain"] * 2
