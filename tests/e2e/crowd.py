"""Many clients that stay connected and come back when they are closed, as browsers do; they do not chat."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from collections.abc import AsyncIterator
from typing import Final
from urllib.parse import urlsplit

from tests.bench.client import Tally, User
from tests.bench.wire import OPEN, WireError

AT_ONCE: Final = 25
"""Clients that connect at the same time."""


class Member(User):
    """One client of the crowd.

    Attributes:
        gateway: The gateway that it is connected to: the first part of the session's id.
    """

    gateway = ""

    def _take_other(self, payload: bytes) -> None:
        if payload.startswith(OPEN):
            self.gateway = json.loads(payload[1:])["sid"].partition("-")[0]
        super()._take_other(payload)


class Crowd:
    """Clients over raw WebSockets through the ingress.

    Attributes:
        connected: How many are signed in now.
        returns: How often one came back, by whether it was recovered.
        same: How often one came back to the very gateway that had closed its connection.
        refused: How often one was turned away or got no answer, and tried again.
        away_seconds: The longest that one was without a connection.
    """

    def __init__(self, url: str, count: int, name: str) -> None:
        parts = urlsplit(url)
        self.connected = 0
        self.returns = {"recovered": 0, "afresh": 0}
        self.same = 0
        self.refused = 0
        self.away_seconds = 0.0
        self._address = (parts.hostname or "localhost", parts.port or 80)
        self._names = [f"{name}-{number}" for number in range(count)]
        self._tasks: list[asyncio.Task[None]] = []
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._chance = random.Random(name)

    def start(self) -> None:
        """Have everybody connect."""
        self._tasks = [asyncio.create_task(self._stay(name), name=name) for name in self._names]

    async def leave(self, count: int | None = None) -> None:
        """Have the last ``count`` (or all) lose their connection for good."""
        leaving = self._tasks[-count:] if count is not None else self._tasks
        self._tasks = self._tasks[: len(self._tasks) - len(leaving)]
        for task in leaving:
            task.cancel()
        await asyncio.gather(*leaving, return_exceptions=True)

    async def _stay(self, name: str) -> None:
        tally, closed_at = Tally(), 0.0
        last: Member | None = None
        user = Member(self._address, {"username": name}, tally)
        try:
            while True:
                try:
                    async with self._slots:
                        await user.open()
                except (WireError, TimeoutError, OSError):
                    self.refused += 1
                else:
                    if last is not None:
                        self._came_back(user, last)
                        self.away_seconds = max(self.away_seconds, time.monotonic() - closed_at)
                    last = user
                    self.connected += 1
                    try:
                        await asyncio.shield(user.closed)
                    finally:
                        self.connected -= 1
                    closed_at = time.monotonic()
                # The JavaScript client waits as long before its first try.
                await asyncio.sleep(self._chance.uniform(0.5, 1.5))
                user = Member(self._address, last.auth_to_return() if last else {"username": name}, tally)
        finally:
            await asyncio.shield(user.drop())

    def _came_back(self, user: Member, last: Member) -> None:
        self.returns["recovered" if user.recovered else "afresh"] += 1
        self.same += user.gateway == last.gateway
        # A recovered socket is not told again who it is; before its first event it has seen what the one
        # before had seen.
        user.session_id = user.session_id or last.session_id
        user._last_event = user._last_event or last._last_event


@contextlib.asynccontextmanager
async def crowd_of(url: str, count: int, name: str) -> AsyncIterator[Crowd]:
    """A crowd that has begun to connect; who is still there in the end leaves."""
    crowd = Crowd(url, count, name)
    crowd.start()
    try:
        yield crowd
    finally:
        await crowd.leave()
