"""Waiting until Redis has what an acknowledgement promises: on disk, or on a replica."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from parley_shared.errors import UNAVAILABLE, ParleyError
from parley_shared.tasks import TaskGroup
from parley_store.redis.channel import Command
from parley_store.redis.node import Node
from parley_store.redis.topology import Topology


class Wait(NamedTuple):
    """A command that waits for a confirmation, and the counts it must return."""

    command: Command
    needed: tuple[int, ...]


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
        self._waits: Sequence[Wait] = ()
        self._queues: dict[Node, list[tuple[str, asyncio.Future[None]]]] = {}

    def require(self, waits: Sequence[Wait]) -> None:
        """Set what has to be waited for; nothing when an answer of Redis promises enough."""
        self._waits = waits

    @property
    def waits(self) -> bool:
        """Whether writes have to be confirmed at all."""
        return bool(self._waits)

    async def lives(self, tags: Iterable[str]) -> Lives:
        """Note in which life the owners of some tags are, before anything is written.

        Raises:
            ParleyError: ``unavailable``.
        """
        if not self._waits:
            return {}
        nodes = {self._topology.node_of(tag) for tag in tags}
        for node in nodes:
            if not node.incarnation:
                await node.refresh()
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
        answers = await self._topology.confirm(node, life, [wait.command for wait in self._waits])
        for wait, answer in zip(self._waits, answers, strict=True):
            counts = answer if isinstance(answer, list) else [answer]
            # On a time-out the command returns what there is, without an error.
            if any(count < needed for count, needed in zip(counts, wait.needed, strict=True)):
                raise ParleyError(UNAVAILABLE, "the write was not confirmed in time")
