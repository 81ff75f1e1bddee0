"""The interface behind which the measured systems stand.

Each start is a fresh one, with an empty Redis of its own under the same settings (AOF, fsync every second),
and each server is one process.
"""

from __future__ import annotations

import asyncio
import tempfile
from abc import ABC, abstractmethod
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from tests.bench.processes import Process, start_redis

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class System(ABC):
    """One system that carries private messages.

    Attributes:
        name: What the report calls it.
        has_acks: It acknowledges messages that ask for it.
        can_recover: It continues a lost connection.
        groups: Its processes, by the group the report shows: gateways, store (where there is one), redis.
        addresses: Where clients connect, one a server.
        redis_port: Where its Redis listens.
    """

    name: ClassVar[str]
    has_acks: ClassVar[bool] = False
    can_recover: ClassVar[bool] = False

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.groups: dict[str, list[Process]] = {"gateways": [], "store": [], "redis": []}
        self.addresses: list[tuple[str, int]] = []
        self.redis_port = 0

    async def start(self, servers: int, *, known: int = 0) -> None:
        """Start everything and wait until clients can connect.

        Args:
            servers: How many processes hold connections.
            known: How many users were here before and are offline now.
        """
        redis, self.redis_port = await start_redis(self.folder)
        self.groups["redis"].append(redis)
        await self.start_store()
        if known:
            await self.seed(known)
        await self.start_servers(servers)

    async def start_store(self) -> None:  # noqa: B027 -- nothing to do is what most need
        """Start what stands between servers and Redis; the guide has nothing there."""

    @abstractmethod
    async def seed(self, known: int) -> None:
        """Make ``known`` users who were here and are offline now."""

    @abstractmethod
    async def start_servers(self, servers: int) -> None:
        """Start ``servers`` processes and set `addresses`."""

    async def stop(self) -> None:
        """End all processes, Redis last."""
        for members in self.groups.values():
            await asyncio.gather(*(process.stop() for process in members))


@asynccontextmanager
async def running(kind: type[System], servers: int, *, known: int = 0) -> AsyncIterator[System]:
    """Run a system in a folder of its own for the time of the context."""
    with tempfile.TemporaryDirectory(prefix="parley-bench-") as folder:
        system = kind(Path(folder))
        try:
            await system.start(servers, known=known)
            yield system
        finally:
            await system.stop()
