"""Emptying a gateway: closing connections in paced, jittered batches.

A connection is closed below Socket.IO, without a disconnect packet: clients come back at once, on another
gateway, and recover. (After a disconnect packet the JavaScript client never comes back.)
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Final

from parley_gateway.sio import Session

if TYPE_CHECKING:
    from parley_gateway.app import Gateway

logger = logging.getLogger(__name__)

BATCH_SECONDS: Final = 0.25
"""Time between two batches of closes; jittered by half of it either way."""
SHED_RATE: Final = 200.0
"""Connections a second that are shed for balance."""


async def close_paced(sessions: Callable[[], Collection[Session]], reason: str, seconds: float) -> None:
    """Close all sessions within ``seconds``, evenly, and those that still come meanwhile."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while (open_sessions := list(sessions())) or loop.time() < deadline:
        left = deadline - loop.time()
        steps = max(1, int(left / BATCH_SECONDS))
        random.shuffle(open_sessions)
        for session in open_sessions[: -(-len(open_sessions) // steps)]:
            session.close_soon(reason)
        if left <= 0:
            return
        if not open_sessions:
            return
        await asyncio.sleep(min(left, BATCH_SECONDS * random.uniform(0.5, 1.5)))


async def shed(sessions: Callable[[], Collection[Session]], reason: str, count: int) -> int:
    """Close ``count`` sessions, at most `SHED_RATE` a second; returns how many were closed."""
    closed = 0
    while closed < count:
        candidates = [session for session in sessions() if not session.closed]
        batch = min(count - closed, max(1, int(SHED_RATE * BATCH_SECONDS)), len(candidates))
        if batch == 0:
            break
        for session in random.sample(candidates, batch):
            session.close_soon(reason)
        closed += batch
        await asyncio.sleep(BATCH_SECONDS * random.uniform(0.5, 1.5))
    return closed


class Drainer:
    """Empties the gateway on request, or on the way out.

    Attributes:
        draining: The gateway takes no new clients and is (being) emptied.
        unready: The gateway asks for no new clients: while draining, and while it sheds.
    """

    def __init__(self, gateway: Gateway, seconds: float) -> None:
        self._gateway = gateway
        self._seconds = seconds
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
        self._gateway.metrics.draining.set(0)
        self._gateway.admission.closed_because = None

    async def finished(self) -> None:
        """Wait until the gateway is empty."""
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)

    async def _drain(self) -> None:
        gateway = self._gateway
        await gateway.lanes.drained()
        await close_paced(gateway.server.sessions, "drain", self._seconds)
        await gateway.lanes.drained()
        await gateway.sessions.settled()

    def shed(self, count: int) -> None:
        """Close ``count`` connections in paced batches; the gateway is unready meanwhile."""
        self._gateway.tasks.start(self._shed(count), "shed")

    async def _shed(self, count: int) -> None:
        self._shedding += 1
        try:
            closed = await shed(self._gateway.server.sessions, "shed", count)
            logger.info("shed connections", extra={"count": closed})
        finally:
            self._shedding -= 1
