"""Whether Redis answers, since when, and whether it is fit for what is asked of it."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Final

from parley_shared.errors import ParleyError
from parley_shared.runtime import StartError
from parley_store.redis.base import Base
from parley_store.redis.durability import Durability
from parley_store.redis.requirements import check

logger = logging.getLogger(__name__)

LOOK_SECONDS: Final = 1.0
_PAUSED_SECONDS: Final = 4.0
"""A look that is this late means that this process was stopped: it knows nothing of the time between."""


class Health:
    """Looks at Redis every second.

    Attributes:
        failed: Resolved with the reason when Redis can never do what the settings ask.
    """

    def __init__(self, base: Base, durability: Durability) -> None:
        self._base = base
        self._durability = durability
        self._answering_since: float | None = None
        self._looked = time.monotonic()
        self._fit = False
        self._away = False
        self.failed: asyncio.Future[StartError] = asyncio.get_running_loop().create_future()

    @property
    def ready(self) -> bool:
        """Whether Redis has answered and was found fit.

        It stays true when Redis goes away: that is a fault all stores share, and taking them all out of
        service would not mend it.
        """
        return self._fit

    def steady_for(self, seconds: float) -> bool:
        """Whether Redis has answered all the time for so long, as far as this process has seen."""
        now = time.monotonic()
        if self._answering_since is None or now - self._looked > _PAUSED_SECONDS:
            return False
        return now - self._answering_since >= seconds

    async def run(self) -> None:
        """Look for ever."""
        while True:
            await self._look()
            await asyncio.sleep(LOOK_SECONDS)

    async def _look(self) -> None:
        base = self._base
        try:
            await base.topology.look()
            # A server that answers and takes no writes hears of no gateway either.
            await base.topology.touch()
            if not self._fit:
                requirement = await check(base)
                self._durability.require(requirement)
                self._fit = True
        except ParleyError as error:
            if not self._away:
                logger.warning("Redis is away", extra={"reason": error.message})
            self._away = True
            self._answering_since = None
            base.metrics.redis_up.set(0)
            self._looked = time.monotonic()
            return
        except StartError as error:
            if not self.failed.done():
                self.failed.set_result(error)
            return
        now = time.monotonic()
        if self._answering_since is None or now - self._looked > _PAUSED_SECONDS:
            self._answering_since = now
            self._away = False
            logger.info("Redis answers")
        self._looked = now
        base.metrics.redis_up.set(1)
        # In a cluster the fullest server is the one that will refuse writes.
        fullest = max(base.topology.nodes(), key=lambda node: node.memory_bytes)
        base.metrics.redis_memory.set(fullest.memory_bytes)
        base.metrics.redis_memory_limit.set(fullest.memory_limit_bytes)
