"""Where commands go: to the one server, the master Sentinel names, or the owner of a slot in a cluster."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from redis.asyncio import Redis
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.crc import key_slot
from redis.exceptions import MovedError, RedisError, ResponseError

from parley_shared.errors import UNAVAILABLE, ParleyError
from parley_shared.redis_client import RedisAddress, connect
from parley_shared.tasks import TaskGroup
from parley_store.metrics import Metrics
from parley_store.redis.channel import Command
from parley_store.redis.faults import is_moved, translate
from parley_store.redis.node import Node
from parley_store.redis.scripts import CONFIRM, Script

_REDIRECTIONS: Final = 3
"""How often a command follows a slot to another server before it fails."""

Work = tuple[str, Command]
"""A hash tag and a command on keys with that tag."""

Item = tuple[str, Sequence[str], Sequence[Any]]
"""One item of a script's batch: its hash tag, its keys and its own arguments."""


class Topology(ABC):
    """Sends commands to the servers that own their keys.

    Args:
        metrics: Where the time of each operation is observed.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    @abstractmethod
    async def run_all(self, work: Sequence[Work]) -> list[Any]:
        """Carry out commands; one answer each, failures among them as exceptions."""

    @abstractmethod
    def nodes(self) -> Sequence[Node]:
        """List the servers that take writes, as far as known."""

    @abstractmethod
    def node_of(self, tag: str) -> Node:
        """Name the server that owns a tag.

        Raises:
            ParleyError: ``unavailable``: nobody owns it.
        """

    @abstractmethod
    def key_on(self, node: Node) -> str:
        """Name a key that lies with a server, for `confirm`."""

    @abstractmethod
    def groups(self, items: Sequence[Item]) -> Iterable[list[int]]:
        """Divide a script's batch into calls: the positions of the items that may share one."""

    async def look(self) -> None:
        """See that all servers answer, and which life each is in.

        Raises:
            ParleyError: ``unavailable``.
        """
        await asyncio.gather(*[node.look() for node in self.nodes()])

    async def touch(self) -> None:
        """See that all servers take writes.

        Raises:
            ParleyError: ``unavailable``.
        """
        for node in self.nodes():
            (answer,) = await node.exchange([("EVALSHA", CONFIRM, 1, self.key_on(node))])
            if isinstance(answer, Exception):
                raise _as_failure(answer)

    async def close(self) -> None:
        """Close all connections."""
        for node in self.nodes():
            await node.close()

    @property
    def incarnation(self) -> str:
        """Name the present life of all servers together; empty until it is known."""
        lives = sorted(node.incarnation for node in self.nodes())
        if not all(lives) or not lives:
            return ""
        if len(lives) == 1:
            return lives[0]
        return hashlib.blake2b(":".join(lives).encode(), digest_size=6).hexdigest()

    @property
    def partly_away(self) -> bool:
        """Whether some servers are away while others are there."""
        return len({bool(node.incarnation) for node in self.nodes()}) > 1

    def lost(self, tags: Iterable[str]) -> bool:
        """Whether one of some tags lies with a server that is away while others are there."""
        if not any(node.incarnation for node in self.nodes()):
            return False
        try:
            return not all(self.node_of(tag).incarnation for tag in tags)
        except ParleyError:
            return True

    async def run(self, work: Sequence[Work], op: str) -> list[Any]:
        """Carry out commands, all or nothing as far as the caller learns.

        Raises:
            ParleyError: One of them failed.
        """
        answers = await self.run_partly(work, op)
        for answer in answers:
            if isinstance(answer, ParleyError):
                raise answer
        return answers

    async def run_partly(self, work: Sequence[Work], op: str) -> list[Any]:
        """Carry out commands, of which those on a failing server fail alone.

        Returns:
            One answer per command, a `ParleyError` for each that failed.
        """
        if not work:
            return []
        started = time.perf_counter()
        answers = await self.run_all(work)
        self._metrics.redis.labels(op).observe(time.perf_counter() - started)
        return [_as_failure(answer) if isinstance(answer, Exception) else answer for answer in answers]

    async def call(self, script: Script, items: Sequence[Item], common: Sequence[Any] = ()) -> list[Any]:
        """Run a script for a batch of items.

        Returns:
            One result per item.

        Raises:
            ParleyError: Some call failed.
        """
        results = await self.call_partly(script, items, common)
        for result in results:
            if isinstance(result, ParleyError):
                raise result
        return results

    async def call_partly(
        self, script: Script, items: Sequence[Item], common: Sequence[Any] = ()
    ) -> list[Any]:
        """Run a script for a batch of items, of which those on a failing server fail alone.

        Returns:
            One result per item, a `ParleyError` for each that failed.
        """
        groups = list(self.groups(items)) if items else []
        work: list[Work] = []
        for group in groups:
            keys: list[str] = []
            arguments: list[Any] = []
            for index in group:
                keys.extend(items[index][1])
                arguments.extend(items[index][2])
            work.append((items[group[0]][0], ("EVALSHA", script, len(keys), *keys, *common, *arguments)))
        answers = await self.run_partly(work, script.name)
        results: list[Any] = [None] * len(items)
        for group, answer in zip(groups, answers, strict=True):
            if isinstance(answer, ParleyError):
                for index in group:
                    results[index] = answer
            else:
                for index, result in zip(group, script.results(answer), strict=True):
                    results[index] = result
        return results

    async def call_once(self, script: Script, tag: str, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        """Run a script whose result is one thing.

        Raises:
            ParleyError: It failed.
        """
        answers = await self.run([(tag, ("EVALSHA", script, len(keys), *keys, *arguments))], script.name)
        return answers[0]

    async def confirm(self, node: Node, life: str, waits: Sequence[Command]) -> list[Any]:
        """Wait on a server for the confirmation of what was written in the life given.

        Returns:
            The answers of the commands that wait.

        Raises:
            ParleyError: ``unavailable``.
        """
        started = time.perf_counter()
        answers = await node.confirm(CONFIRM, self.key_on(node), life, waits)
        self._metrics.redis.labels("confirm").observe(time.perf_counter() - started)
        return answers


def _as_failure(answer: Exception) -> ParleyError:
    if isinstance(answer, ParleyError):
        return answer
    if isinstance(answer, ResponseError):
        return translate(answer)
    raise answer


class OneServer(Topology):
    """A single server, or the master that Sentinel names: one call for a whole batch."""

    def __init__(
        self, client: Redis, name: str, timeout_seconds: float, metrics: Metrics, tasks: TaskGroup
    ) -> None:
        super().__init__(metrics)
        self._client = client
        make = client.connection_pool.make_connection
        self._node = Node(name, make, timeout_seconds, tasks, alone=True)

    async def run_all(self, work: Sequence[Work]) -> list[Any]:
        """Carry out commands."""
        return await self._node.exchange([command for _, command in work])

    def nodes(self) -> Sequence[Node]:
        """List the server."""
        return (self._node,)

    def node_of(self, tag: str) -> Node:
        """Name the server."""
        del tag
        return self._node

    def key_on(self, node: Node) -> str:
        """Name a key of our own."""
        del node
        return "confirm:{0}"

    def groups(self, items: Sequence[Item]) -> Iterable[list[int]]:
        """Put all items into one call."""
        return (list(range(len(items))),)

    async def close(self) -> None:
        """Close all connections."""
        await super().close()
        await self._client.aclose()


class Cluster(Topology):
    """A Redis Cluster: one call per slot, those of one server in one piece."""

    def __init__(
        self, client: RedisCluster, timeout_seconds: float, metrics: Metrics, tasks: TaskGroup
    ) -> None:
        super().__init__(metrics)
        self._client = client
        self._timeout_seconds = timeout_seconds
        self._tasks = tasks
        self._nodes: dict[str, Node] = {}
        self._owners: dict[int, str] = {}
        self._keys: dict[str, str] = {}
        self._mapping = asyncio.Lock()
        self._version = 0

    async def run_all(self, work: Sequence[Work]) -> list[Any]:
        """Carry out commands, following slots that have moved."""
        if not self._owners:
            await self._map(self._version)
        answers: list[Any] = [None] * len(work)
        left = list(range(len(work)))
        for _ in range(_REDIRECTIONS + 1):
            version = self._version
            by_node: dict[str, list[int]] = {}
            for index in left:
                answer = answers[index]
                if isinstance(answer, Exception) and is_moved(answer) and not isinstance(answer, MovedError):
                    answers[index] = await self._ask(answer, work[index][1])
                    continue
                owner = self._owners.get(key_slot(_tagged(work[index][0])))
                if owner is None:
                    answers[index] = ParleyError(UNAVAILABLE, "no Redis server owns this slot")
                else:
                    by_node.setdefault(owner, []).append(index)
            await asyncio.gather(
                *[self._run_on(name, indexes, work, answers) for name, indexes in by_node.items()]
            )
            left = [index for index in left if is_moved(answers[index])]
            if not left:
                break
            if any(isinstance(answers[index], MovedError) for index in left):
                try:
                    await self._map(version)
                except ParleyError:
                    break  # what has moved fails alone
        return answers

    async def _run_on(self, name: str, indexes: list[int], work: Sequence[Work], answers: list[Any]) -> None:
        try:
            found = await self._nodes[name].exchange([work[index][1] for index in indexes])
        except ParleyError as error:
            found = [error] * len(indexes)
        for index, answer in zip(indexes, found, strict=True):
            answers[index] = answer

    async def _ask(self, error: Exception, command: Command) -> Any:
        """Follow a slot that is being moved, for this one command."""
        name = f"{getattr(error, 'host', '')}:{getattr(error, 'port', '')}"
        node = self._nodes.get(name)
        if node is None:
            return ParleyError(UNAVAILABLE, "a slot is on its way to another Redis server")
        try:
            return (await node.exchange([("ASKING",), command]))[1]
        except ParleyError as failure:
            return failure

    def nodes(self) -> Sequence[Node]:
        """List the masters."""
        return list(self._nodes.values())

    def node_of(self, tag: str) -> Node:
        """Name the master that owns a tag."""
        owner = self._owners.get(key_slot(_tagged(tag)))
        if owner is None:
            raise ParleyError(UNAVAILABLE, "no Redis server owns this slot")
        return self._nodes[owner]

    def key_on(self, node: Node) -> str:
        """Name a key that lies with a master."""
        return self._keys[node.name]

    def groups(self, items: Sequence[Item]) -> Iterable[list[int]]:
        """Put the items of one slot into one call."""
        by_slot: dict[int, list[int]] = {}
        for index, item in enumerate(items):
            by_slot.setdefault(key_slot(_tagged(item[0])), []).append(index)
        return by_slot.values()

    async def look(self) -> None:
        """See that all masters answer, and which life each is in."""
        if not self._owners:
            await self._map(self._version)
        try:
            await super().look()
        except ParleyError:
            # Perhaps another has taken over.
            await self._map(self._version)
            await super().look()

    async def close(self) -> None:
        """Close all connections."""
        await super().close()
        await self._client.aclose()

    async def _map(self, seen: int) -> None:
        """Learn again which server owns which slot, unless somebody has since ``seen``."""
        async with self._mapping:
            if seen != self._version:
                return
            try:
                async with asyncio.timeout(self._timeout_seconds):
                    await self._client.initialize()
                    if self._version:
                        await self._client.nodes_manager.initialize()
            except (RedisError, OSError, TimeoutError) as error:
                raise ParleyError(UNAVAILABLE, f"Redis does not answer ({type(error).__name__})") from error
            slots = {slot: nodes[0] for slot, nodes in self._client.nodes_manager.slots_cache.items()}
            masters = {node.name: node for node in slots.values()}
            for name, master in masters.items():
                if name not in self._nodes:
                    self._nodes[name] = Node(
                        name, _maker(master), self._timeout_seconds, self._tasks, alone=False
                    )
            gone = [self._nodes.pop(name) for name in list(self._nodes) if name not in masters]
            self._owners = {slot: node.name for slot, node in slots.items()}
            self._keys = _keys(self._owners)
            self._version += 1
            for node in gone:
                with contextlib.suppress(RedisError, OSError):
                    await node.close()


def _maker(node: ClusterNode) -> Any:
    def make() -> Any:
        return node.connection_class(**node.connection_kwargs)

    return make


def _keys(owners: Mapping[int, str]) -> dict[str, str]:
    """Find for each server a key that lies with it."""
    keys: dict[str, str] = {}
    wanted = set(owners.values())
    number = 0
    while wanted - keys.keys() and number < 100_000:
        key = f"confirm:{{{number}}}"
        keys.setdefault(owners.get(key_slot(key.encode()), ""), key)
        number += 1
    return keys


def _tagged(tag: str) -> bytes:
    return b"{" + tag.encode() + b"}"


def make_topology(
    address: RedisAddress, *, timeout_seconds: float, metrics: Metrics, tasks: TaskGroup
) -> Topology:
    """Make the topology that a Redis URL names; nothing is connected yet."""
    client = connect(address, timeout_seconds=timeout_seconds, max_connections=64, name="parley-store")
    if isinstance(client, RedisCluster):
        return Cluster(client, timeout_seconds, metrics, tasks)
    name = address.service or ":".join(map(str, address.hosts[0]))
    return OneServer(client, name, timeout_seconds, metrics, tasks)
