"""Waiting until Redis has what an acknowledgement promises: on disk, or on a replica."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from parley_shared.errors import UNAVAILABLE, ParleyError
from parley_shared.tasks import TaskGroup
from parley_store.redis.channel import Command
from parley_store.redis.node import Node
from parley_store.redis.topology import Topology

Lives = Mapping[Node, str]
"""Servers, and the life each was in when the work began."""


class Durability:
    """Confirms writes, many batches with one wait.

    A wait (WAITAOF) takes up to a second when Redis syncs every second. Whoever comes during a wait shares
    the next: it begins after their writes, so it covers them.

    Args:
        topology: The servers.
        tasks: Owns the waits.
    """

    def __init__(self, topology: Topology, tasks: TaskGroup) -> None:
        self._topology = topology
        self._tasks = tasks
        self._wait: Command | None = None
        self._needed: tuple[int, ...] = ()
        self._queues: dict[Node, list[tuple[str, asyncio.Future[None]]]] = {}

    def require(self, wait: Command | None, needed: tuple[int, ...]) -> None:
        """Set the command that waits (None: an answer promises enough) and the counts it must return."""
        self._wait, self._needed = wait, needed

    @property
    def waits(self) -> bool:
        """Whether writes have to be confirmed at all."""
        return self._wait is not None

    def lives(self, tags: Iterable[str]) -> Lives:
        """Note in which life the owners of some tags are, before anything is written.

        Raises:
            ParleyError: ``unavailable``.
        """
        if self._wait is None:
            return {}
        nodes = {self._topology.node_of(tag) for tag in tags}
        return {node: node.incarnation for node in nodes}

    async def confirm(self, lives: Lives) -> None:
        """Wait until everything that was written on these servers in these lives is confirmed.

        Raises:
            ParleyError: ``unavailable``: not confirmed in time, or a server was started anew.
        """
        await asyncio.gather(*[self._join(node, life) for node, life in lives.items()])

    async def _join(self, node: Node, life: str) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue = self._queues.get(node)
        if queue is None:
            self._queues[node] = [(life, future)]
            self._tasks.start(self._run(node), "confirm")
        else:
            queue.append((life, future))
        await future

    async def _run(self, node: Node) -> None:
        batch: list[tuple[str, asyncio.Future[None]]] = []
        try:
            while batch := self._queues[node]:
                self._queues[node] = []
                life = node.incarnation
                try:
                    await self._once(node, life)
                    failure = None
                except ParleyError as error:
                    failure = error
                for noted, future in batch:
                    if future.done():
                        continue
                    if noted != life:
                        failed = ParleyError(UNAVAILABLE, "Redis was started anew meanwhile")
                        future.set_exception(failed)
                    elif failure is not None:
                        future.set_exception(failure)
                    else:
                        future.set_result(None)
        finally:
            for _, future in (*batch, *self._queues.pop(node)):
                future.cancel()

    async def _once(self, node: Node, life: str) -> None:
        if self._wait is None:
            return
        answer = await self._topology.confirm(node, life, self._wait)
        counts: tuple[Any, ...] = tuple(answer) if isinstance(answer, list) else (answer,)
        # On a time-out the command returns what there is, without an error.
        if any(count < needed for count, needed in zip(counts, self._needed, strict=True)):
            raise ParleyError(UNAVAILABLE, "the write was not confirmed in time")
