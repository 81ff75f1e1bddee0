"""Waiting until Redis has what an acknowledgement promises: on disk, or on a replica."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
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


class Life(NamedTuple):
    """A server, and the life it was in when the work began."""

    node: Node
    name: str


Lives = Mapping[str, Life]
"""By tag, that of its owner."""


class Durability:
    """Confirms writes, many batches with one wait.

    A wait (WAITAOF) takes up to a second when Redis syncs every second. Whoever comes during a wait shares
    the next: it begins after their writes, so it covers them.

    Args:
        topology: The servers.
        tasks: Owns the waits.

    Attributes:
        examine: Looks whether servers can keep the promise in their present lives, where that is not known,
            and calls `require`.
    """

    def __init__(self, topology: Topology, tasks: TaskGroup) -> None:
        self._topology = topology
        self._tasks = tasks
        self.examine: Callable[[Collection[Node]], Awaitable[None]] | None = None
        self._waits: Sequence[Wait] = ()
        self._fit: Collection[str] | None = None
        self._queues: dict[Node, list[tuple[str, asyncio.Future[None]]]] = {}

    def require(self, waits: Sequence[Wait], fit: Collection[str] | None = None) -> None:
        """Set how the promise is kept.

        Args:
            waits: What has to be waited for; nothing when an answer of Redis promises enough.
            fit: The lives in which servers can keep it; None when any can.
        """
        self._waits, self._fit = waits, fit

    @property
    def waits(self) -> bool:
        """Whether writes have to be confirmed at all."""
        return bool(self._waits)

    @property
    def promises(self) -> bool:
        """Whether more is promised than any server gives in any life."""
        return self.waits or self._fit is not None

    async def lives(self, tags: Iterable[str]) -> Lives:
        """Note in which life the owners of some tags are, before anything is written.

        Raises:
            ParleyError: ``unavailable``, also when one of them cannot keep the promise in its present life.
        """
        lives, failures = await self.lives_partly(tags)
        _raise_first(failures)
        return lives

    async def lives_partly(self, tags: Iterable[str]) -> tuple[Lives, dict[str, ParleyError]]:
        """Note as `lives` does; returns with it the tags for which that failed."""
        lives: dict[str, Life] = {}
        failures: dict[str, ParleyError] = {}
        found: dict[Node, Life | ParleyError] = {}
        for tag in tags if self.promises else ():
            try:
                node = self._topology.node_of(tag)
            except ParleyError as error:
                failures[tag] = error
                continue
            if node not in found:
                found[node] = await self._life(node)
            life = found[node]
            if isinstance(life, ParleyError):
                failures[tag] = life
            else:
                lives[tag] = life
        return lives, failures

    async def _life(self, node: Node) -> Life | ParleyError:
        try:
            await node.find()
            if self._is_unknown(node) and self.examine is not None:
                # It was started anew, perhaps with other settings: what was found before says nothing.
                await self.examine([node])
        except ParleyError as error:
            return error
        if self._is_unknown(node):
            return ParleyError(UNAVAILABLE, "Redis cannot keep what DURABILITY promises")
        return Life(node, node.incarnation)

    def _is_unknown(self, node: Node) -> bool:
        return self._fit is not None and node.incarnation not in self._fit

    async def confirm(self, lives: Lives) -> None:
        """Wait until everything that was written on these servers in these lives is confirmed.

        Raises:
            ParleyError: ``unavailable``: not confirmed in time, or a server was started anew.
        """
        _raise_first(await self.confirm_partly(lives))

    async def confirm_partly(self, lives: Lives) -> dict[str, ParleyError]:
        """Wait as `confirm` does; returns the tags for which that failed."""
        awaited = list(dict.fromkeys(lives.values()))
        answers = await asyncio.gather(*[self._join(*life) for life in awaited])
        failed = {life: answer for life, answer in zip(awaited, answers, strict=True) if answer is not None}
        return {tag: failed[life] for tag, life in lives.items() if life in failed}

    async def _join(self, node: Node, life: str) -> ParleyError | None:
        try:
            await self._confirmed(node, life)
        except ParleyError as error:
            return error
        return None

    async def _confirmed(self, node: Node, life: str) -> None:
        if not self._waits:
            # Each answer was a confirmation, if all of them came from the life that was noted.
            await node.find()
        if node.incarnation != life:
            raise ParleyError(UNAVAILABLE, "Redis was started anew meanwhile")
        if not self._waits:
            return
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


def _raise_first(failures: Mapping[str, ParleyError]) -> None:
    for failure in failures.values():
        raise failure
