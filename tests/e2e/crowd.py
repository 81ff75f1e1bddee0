"""Many clients that stay connected and come back when they are closed, as browsers do; they do not chat."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from typing import Final
from urllib.parse import urlsplit

from tests.bench.client import Tally, User
from tests.bench.wire import WireError

AT_ONCE: Final = 25
"""Clients that connect at the same time."""


class Crowd:
    """Clients over raw WebSockets through the ingress.

    Attributes:
        connected: How many are signed in now.
        returns: How often one came back, by whether it was recovered.
        refused: How often one was turned away or got no answer, and tried again.
    """

    def __init__(self, url: str, count: int, name: str) -> None:
        parts = urlsplit(url)
        self.connected = 0
        self.returns = {"recovered": 0, "afresh": 0}
        self.refused = 0
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
        tally, auth = Tally(), {"username": name}
        user = User(self._address, auth, tally)
        last: User | None = None
        try:
            while True:
                try:
                    async with self._slots:
                        await user.open()
                except (WireError, TimeoutError, OSError):
                    self.refused += 1
                else:
                    if last is not None:
                        self.returns["recovered" if user.recovered else "afresh"] += 1
                        # A recovered socket is not told again who it is; before its first event it has
                        # seen what the one before had seen.
                        user.session_id = user.session_id or last.session_id
                        user._last_event = user._last_event or last._last_event
                    last = user
                    self.connected += 1
                    try:
                        await asyncio.shield(user.closed)
                    finally:
                        self.connected -= 1
                # The JavaScript client waits as long before its first try.
                await asyncio.sleep(self._chance.uniform(0.5, 1.5))
                user = (
                    last.returning(self._address) if last else User(self._address, {"username": name}, tally)
                )
        finally:
            await asyncio.shield(user.drop())


@contextlib.asynccontextmanager
async def crowd_of(url: str, count: int, name: str) -> AsyncIterator[Crowd]:
    """A crowd that has begun to connect; who is still there in the end leaves."""
    crowd = Crowd(url, count, name)
    crowd.start()
    try:
        yield crowd
    finally:
        await crowd.leave()
