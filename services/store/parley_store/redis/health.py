"""Whether Redis answers, since when, and whether it is fit for what is asked of it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection, Sequence
from typing import Final

from parley_shared.errors import UNAVAILABLE, ParleyError
from parley_shared.runtime import StartError
from parley_store.redis.base import Base
from parley_store.redis.durability import Durability, Wait
from parley_store.redis.node import Node
from parley_store.redis.requirements import check

logger = logging.getLogger(__name__)

LOOK_SECONDS: Final = 1.0
_PAUSED_SECONDS: Final = 4.0
"""A look that is this late means that this process was stopped: it knows nothing of the time between."""


class Health:
    """Looks at Redis every second.

    Attributes:
        failed: Resolved with the reason when Redis turns out at the start to be unable to do what the
            settings ask. One that becomes so later is waited for: nothing is acknowledged meanwhile that it
            does not keep.
    """

    def __init__(self, base: Base, durability: Durability) -> None:
        self._base = base
        self._durability = durability
        self._answering_since: float | None = None
        self._looked = time.monotonic()
        self._fit = False
        self._found: dict[str, Sequence[Wait]] = {}
        self._unfit = ""
        self._away = False
        durability.examine = self._examine
        if base.config.durability != "fast":
            durability.require((), ())  # no life is known to keep it yet
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
            await self._check(base.topology.nodes())
            self._fit, self._unfit = True, ""
        except ParleyError as error:
            if not self._away:
                logger.warning("Redis is away", extra={"reason": error.message})
            self._away = True
            self._answering_since = None
            base.metrics.redis_up.set(0)
            self._looked = time.monotonic()
            return
        except StartError as error:
            if not self._fit:
                if not self.failed.done():
                    self.failed.set_result(error)
                return
            if self._unfit != str(error):
                self._unfit = str(error)
                logger.warning("Redis is not fit any more", extra={"reason": self._unfit})
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

    async def _check(self, nodes: Collection[Node]) -> None:
        """Compare servers with the settings, each once in each of its lives.

        Raises:
            StartError: One cannot do what is asked.
            ParleyError: ``unavailable``.
        """
        base = self._base
        for node in nodes:
            life = node.incarnation
            if not life:
                raise ParleyError(UNAVAILABLE, "Redis has gone away meanwhile")
            if life in self._found:
                continue
            waits = await check(base, node)
            if node.incarnation != life:
                raise ParleyError(UNAVAILABLE, "Redis was started anew meanwhile")
            present = {each.incarnation for each in base.topology.nodes()}
            self._found = {known: found for known, found in self._found.items() if known in present}
            self._found[life] = waits
            fit = None if base.config.durability == "fast" else self._found.keys()
            # With servers of different settings the one that needs most decides.
            self._durability.require(max(self._found.values(), key=len), fit)

    async def _examine(self, nodes: Collection[Node]) -> None:
        """Check servers that were started anew before anything is acknowledged."""
        try:
            await self._check(nodes)
        except StartError as error:
            raise ParleyError(UNAVAILABLE, str(error)) from error
