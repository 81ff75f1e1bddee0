"""Emptying a gateway: closing connections in paced, jittered batches.

A connection is closed below Socket.IO, without a disconnect packet: clients come back at once, on another
gateway, and recover. (After a disconnect packet the JavaScript client never comes back.)
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import TYPE_CHECKING, Final

from parley_gateway.sio import Session
from parley_shared.api import SHED_NOTICE_SECONDS

if TYPE_CHECKING:
    from parley_gateway.app import Gateway

logger = logging.getLogger(__name__)

BATCH_SECONDS: Final = 0.25
"""Time between two batches of closes; jittered by half of it either way."""
SETTLE_SECONDS: Final = 2.0
"""How long closing waits for the acknowledgements of what was accepted."""
SHED_RATE: Final = 200.0
"""Connections a second that are shed for balance."""
SHED_AFTER_SECONDS: Final = 2.0
"""How long a gateway stays unready after the last of them: that one is still on its way back."""


class Closer:
    """Closes sessions so that everything that was accepted from them is acknowledged first.

    Args:
        sessions: The open sessions.
        flushed: Waits until all that was accepted so far is stored and acknowledged.
    """

    def __init__(
        self, sessions: Callable[[], Collection[Session]], flushed: Callable[[], Awaitable[None]]
    ) -> None:
        self._sessions = sessions
        self._flushed = flushed

    async def close(self, sessions: Sequence[Session], reason: str) -> None:
        """Close a batch: read no more from it, let its messages be acknowledged, close it.

        A store that does not answer in time costs the acknowledgements, and clients repeat their messages.
        """
        for session in sessions:
            session.pause()
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SETTLE_SECONDS):
                    await self._flushed()
        finally:
            # Also when the drain is cancelled meanwhile: nobody reads from these any more, so left open they
            # would be deaf until their ping time-out. Closed, their clients are back at once.
            for session in sessions:
                session.close_soon(reason)

    async def close_all(self, reason: str, seconds: float) -> None:
        """Close all sessions within ``seconds``, evenly, those that still come meanwhile included."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while candidates := [session for session in self._sessions() if not session.closed]:
            left = deadline - loop.time()
            steps = max(1, int(left / BATCH_SECONDS))
            random.shuffle(candidates)
            await self.close(candidates[: -(-len(candidates) // steps)], reason)
            await asyncio.sleep(_jittered(min(BATCH_SECONDS, max(0.0, left))))

    async def shed(self, reason: str, count: int) -> int:
        """Close ``count`` sessions, at most `SHED_RATE` a second; returns how many were closed."""
        closed = 0
        while closed < count:
            candidates = [session for session in self._sessions() if not session.closed]
            batch = min(count - closed, max(1, int(SHED_RATE * BATCH_SECONDS)), len(candidates))
            if batch == 0:
                break
            await self.close(random.sample(candidates, batch), reason)
            closed += batch
            await asyncio.sleep(_jittered(BATCH_SECONDS))
        return closed


def _jittered(seconds: float) -> float:
    return seconds * random.uniform(0.5, 1.5)


class Drainer:
    """Empties the gateway on request, or on the way out.

    Attributes:
        draining: The gateway takes no new clients and is (being) emptied.
        unready: The gateway asks for no new clients: while draining, and while it sheds.
    """

    def __init__(self, gateway: Gateway, seconds: float) -> None:
        self._gateway = gateway
        self._seconds = seconds
        self._closer = Closer(gateway.server.sessions, gateway.lanes.flushed)
        self._task: asyncio.Task[None] | None = None
        self._shedding = 0
        self.draining = False

    @property
    def unready(self) -> bool:
        """Whether new clients should go elsewhere."""
        return self.draining or self._shedding > 0

    def start(self) -> None:
        """Begin to drain; nothing happens when it has begun already."""
        if self.draining:
            return
        self.draining = True
        self._gateway.life.beat_soon()
        self._gateway.metrics.draining.set(1)
        self._gateway.admission.closed_because = "this server is leaving"
        logger.info("draining", extra={"connections": len(self._gateway.server.sessions())})
        self._task = self._gateway.tasks.start(self._drain(), "drain")

    async def cancel(self) -> None:
        """Stop draining and take clients again; nothing happens when it is not draining."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        self.draining = False
        self._gateway.life.beat_soon()
        self._gateway.metrics.draining.set(0)
        self._gateway.admission.closed_because = None

    async def finished(self) -> None:
        """Wait until the gateway is empty."""
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)

    async def _drain(self) -> None:
        await self._closer.close_all("drain", self._seconds)
        await self._gateway.lanes.flushed()
        await self._gateway.sessions.settled()

    def shed(self, count: int) -> None:
        """Close ``count`` connections in paced batches, after a notice; the gateway is unready meanwhile."""
        self._gateway.tasks.start(self._shed(count), "shed")

    async def _shed(self, count: int) -> None:
        self._shedding += 1
        self._gateway.life.beat_soon()
        try:
            await asyncio.sleep(SHED_NOTICE_SECONDS)
            closed = await self._closer.shed("shed", count)
            logger.info("shed connections", extra={"count": closed})
            await asyncio.sleep(SHED_AFTER_SECONDS)
        finally:
            self._shedding -= 1
            self._gateway.life.beat_soon()
