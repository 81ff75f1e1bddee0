"""Fail-over under load with DURABILITY=replicated: what was acknowledged is there, once and in order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest
from redis.crc import key_slot

from parley_local.redis_server import RedisServer
from parley_shared import api
from parley_shared.errors import ParleyError
from parley_shared.tasks import TaskGroup
from tests.chaos.proxy import Proxy
from tests.contract.servers import Watched, client, cluster, command, follows, with_waitaof
from tests.contract.world import RedisWorld, contents, make_config
from tests.harness.waiting import eventually

ACKNOWLEDGED_MEANWHILE: Final = 3
"""So many messages of each sender must be acknowledged before a fault is inflicted, and again after it."""


class Load:
    """Three users or more in a ring: each sends to the next, one message after the other.

    Each message is sent again until it is acknowledged.

    Args:
        world: The store.
        users: Who sends; all have just been opened.

    Attributes:
        acknowledged: For each user the ids that were acknowledged, and their seqs.
        refusals: How many attempts were answered `unavailable`.
    """

    def __init__(self, world: RedisWorld, users: list[api.Opened]) -> None:
        self._world = world
        self._users = users
        self.acknowledged: list[dict[str, int]] = [{} for _ in users]
        self.refusals = 0
        self._tasks = TaskGroup("load")
        self._stopping = False
        self._senders = [self._tasks.start(self._send(n), f"sender-{n}") for n in range(len(users))]

    def peer(self, number: int) -> api.Opened:
        """Name whom a user writes to."""
        return self._users[(number + 1) % len(self._users)]

    async def _send(self, number: int) -> None:
        sent = 0
        while not self._stopping:
            sent += 1
            item = self._world.send_item(self._users[number], self.peer(number).user, f"text {sent}")

            async def answered(item: api.Send = item) -> bool:
                try:
                    (result,) = await self._world.append(item)
                except ParleyError:
                    self.refusals += 1
                    return False
                if result.failure is None:
                    self.acknowledged[number][item.id] = result.seq
                return result.failure is None

            await eventually(answered, 60)

    async def more(self) -> None:
        """Wait until each sender has had some more messages acknowledged."""
        goals = [len(known) + ACKNOWLEDGED_MEANWHILE for known in self.acknowledged]

        def reached() -> bool:
            failed = [sender.exception() for sender in self._senders if sender.done()]
            assert not failed, failed
            return all(len(known) >= goal for known, goal in zip(self.acknowledged, goals, strict=True))

        await eventually(reached, 60, "all senders go on")

    async def stop(self) -> None:
        """Let each sender finish its last message."""
        self._stopping = True
        await asyncio.gather(*self._senders)

    async def close(self) -> None:
        """End the senders, whatever they are at."""
        await self._tasks.close()

    async def check(self, position: Callable[[api.Opened], api.Position]) -> None:
        """Compare what was acknowledged with the histories, and these with what each user is owed.

        Args:
            position: Where a user was before the first message.
        """
        for number, sender in enumerate(self._users):
            peer, stored, before = self.peer(number), list[api.Message](), None
            while True:
                page, before = await self._world.history(sender, peer, before, limit=200)
                stored = page + stored
                if before is None:
                    break
            assert [message.seq for message in stored] == list(range(1, len(stored) + 1))
            assert {message.id: message.seq for message in stored} == self.acknowledged[number]
            answer = await self._world.recover("g1", peer.pid, position(peer))
            assert answer.recovered is not None, answer.reason
            got = [event.message for event in answer.recovered.events]
            assert contents(got) == [message.content for message in stored]


async def _begin(world: RedisWorld) -> tuple[list[api.Opened], Callable[[api.Opened], api.Position]]:
    """Wait for the store and open sessions; returns them, and where each was before any message."""

    async def ready() -> bool:
        return world.store.missing() == {}

    await world.eventually(ready)
    await world.gateways("g1")
    users = [await world.open("g1", f"user{n}") for n in range(11)]
    before = {user.user: await world.position(user) for user in users}
    return users, lambda user: before[user.user]


async def test_sentinel_fails_over_under_load(watched: Watched) -> None:
    """The master dies with writes that no replica has: none of them was acknowledged, and all goes on."""
    world = RedisWorld(make_config(REDIS_URL=watched.url, DURABILITY="replicated", REDIS_TIMEOUT="2s"))
    users, position = await _begin(world)
    async with Proxy("replication", lambda: [watched.master.port]) as wire:
        loads = [Load(world, users[:8])]
        try:
            await loads[0].more()
            with client(watched.replica) as connection:
                connection.replicaof("127.0.0.1", str(wire.port))
            await eventually(lambda: follows(watched.replica))
            wire.stall()
            late = Load(world, users[8:])
            loads.append(late)
            await eventually(lambda: late.refusals >= len(late.acknowledged) or any(late.acknowledged))
            stored, _ = await world.history(users[8], users[9])
            assert (len(stored), late.acknowledged) == (1, [{}, {}, {}])
            watched.master.kill()
            wire.cut()

            def promoted() -> bool:
                with client(watched.replica) as connection:
                    return bool(connection.info("replication")["role"] == "master")

            await eventually(promoted, 60)
            # Alone, the new master has nobody to confirm on: the old one comes back as its replica.
            watched.master.start()
            with client(watched.master) as connection:
                connection.replicaof("127.0.0.1", str(watched.replica.port))
            for load in loads:
                await load.more()
                await load.stop()
                await load.check(position)
        finally:
            for load in loads:
                await load.close()
            await world.close()


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[list[RedisServer]]:
    """Run a cluster of three masters, each with a replica: masters first."""
    with cluster(tmp_path / "cluster", replicas=True, executable=with_waitaof()) as servers:
        yield servers


async def test_a_cluster_fails_over_under_load(nodes: list[RedisServer]) -> None:
    """One of three masters is killed while people write; its replica takes over all that was acknowledged."""
    url = f"redis+cluster://127.0.0.1:{nodes[0].port},127.0.0.1:{nodes[1].port}"
    world = RedisWorld(make_config(REDIS_URL=url, DURABILITY="replicated", REDIS_TIMEOUT="2s"))
    users, position = await _begin(world)
    load = Load(world, users)
    try:
        await load.more()
        # The master of the gateway's stream: whatever is sent needs it.
        owned, slot = _masters(nodes[3]), key_slot(b"g1")
        lost = next(server for server in nodes[:3] if any(slot in part for part in owned[server.port]))
        lost.kill()
        await eventually(lambda: lost.port not in _masters(nodes[3]), 30, "the replica takes over")
        # It finds its slots taken, and follows: only now can the new master confirm anything.
        lost.start()
        await load.more()
        await load.stop()
        await load.check(position)
    finally:
        await load.close()
        await world.close()


def _masters(server: RedisServer) -> dict[int, list[range]]:
    """Ask a server which masters there are, by port, and which slots each owns."""
    with client(server) as connection:
        ranges = command(connection, "CLUSTER SLOTS")
    found: dict[int, list[range]] = {}
    for first, last, master, *_ in ranges:
        found.setdefault(master[1], []).append(range(first, last + 1))
    return found
