"""The store over a real Redis Cluster of three servers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.crc import key_slot

from parley_local.redis_server import RedisServer
from parley_shared import api
from parley_shared.errors import ParleyError
from tests.contract.servers import client, cluster, command, node_id
from tests.contract.world import RedisWorld, contents, make_config


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[RedisServer]]:
    """Run one cluster for the tests of this module."""
    with cluster(tmp_path_factory.mktemp("cluster")) as servers:
        yield servers


@pytest.fixture
async def world(nodes: list[RedisServer]) -> AsyncIterator[RedisWorld]:
    """Make a store over the empty cluster."""
    for server in nodes:
        with client(server) as connection:
            connection.flushall()
    raw: RedisCluster = RedisCluster(startup_nodes=[ClusterNode("127.0.0.1", nodes[0].port)], protocol=2)
    url = f"redis+cluster://127.0.0.1:{nodes[0].port},127.0.0.1:{nodes[1].port}"
    over_cluster = RedisWorld(make_config(REDIS_URL=url, REDIS_TIMEOUT="1s", LEASE="3s"), raw)
    yield over_cluster
    await over_cluster.close()


async def test_messages_cross_the_slots(world: RedisWorld) -> None:
    """Users, conversations and gateways on different servers: one batch serves them all."""
    await world.gateways("g1", "g2", "g3")
    users = [await world.open(f"g{n % 3 + 1}", f"user{n}") for n in range(9)]
    items = [world.send_item(one, other.user) for one in users for other in users]

    results = await world.append(*items)
    repeats = await world.append(*items)

    assert all(result.failure is None for result in results)
    assert [repeat.seq for repeat in repeats] == [result.seq for result in results]
    assert all(repeat.duplicate for repeat in repeats)
    for user in users:
        answer = await world.inbox(user)
        # Eight to others, eight from them, one to oneself.
        assert [event.counter for event in answer.events] == list(range(1, 18))
    found = await world.store.users(api.UsersRequest(user=users[0].user, query="user"))
    assert [(entry.seq, entry.unread) for entry in found.users][1:] == [(2, 1)] * 8


async def test_recovery_presence_and_reaping(world: RedisWorld) -> None:
    """A gateway dies, its users go offline, and one of them comes back elsewhere with all that was missed."""
    await world.gateways("g1", "g2")
    ann, bob = await world.open("g1", "ann"), await world.open("g2", "bob")
    position = await world.position(ann)

    async def reaped() -> bool:
        await world.lease("g2")
        return (await world.states()).get("ann") == 0

    await world.eventually(reaped)
    await world.send(bob, ann, "missed")
    await world.read(bob, ann, 1)

    result = await world.recover("g2", ann.pid, position)

    assert result.recovered is not None
    assert contents([event.message for event in result.recovered.events]) == ["missed"]
    assert await world.states() == {"ann": 1, "bob": 1}


async def test_a_slot_that_has_moved_is_followed(world: RedisWorld, nodes: list[RedisServer]) -> None:
    """After a slot was given to another server the store finds it there."""
    await world.gateways("g1")
    ann = await world.open("g1", "ann")
    item = world.open_item("bob")
    slot = key_slot(f"user:{{{item.new_user}}}".encode())
    owner = next(server for server in nodes if _owns(server, slot))
    target = nodes[(nodes.index(owner) + 1) % len(nodes)]
    assert not _keys_in(owner, slot)
    for server in (target, owner, *nodes):
        with client(server) as connection:
            command(connection, "CLUSTER SETSLOT", slot, "NODE", node_id(target))

    (opened,) = await world.open_all("g1", [item])

    assert opened.opened is not None
    assert (await world.send(ann, opened.opened)).seq == 1
    assert _keys_in(target, slot)


async def test_a_restarted_server_is_another_life_of_the_cluster(
    world: RedisWorld, nodes: list[RedisServer]
) -> None:
    """One server's restart changes the cluster's incarnation, and nothing acknowledged is lost."""
    await world.gateways("g1")
    ann, bob = await world.open("g1", "ann"), await world.open("g1", "bob")
    await world.send(ann, bob, "before")
    before = (await world.lease("g1")).incarnation
    nodes[1].stop()
    nodes[1].start()

    async def sent() -> bool:
        try:
            results = await world.append(world.send_item(ann, bob.user, "after", "once"))
        except ParleyError:
            return False
        return results[0].failure is None and (await world.lease("g1")).incarnation != before

    await world.eventually(sent)

    messages, _ = await world.history(ann, bob)
    assert [message.content for message in messages] == ["before", "after"]
    answer = await world.inbox(bob)
    assert [event.counter for event in answer.events] == [1, 2]


def _owns(server: RedisServer, slot: int) -> bool:
    with client(server) as connection:
        ranges: list[Any] = command(connection, "CLUSTER SLOTS")
    return any(first <= slot <= last and master[1] == server.port for first, last, master, *_ in ranges)


def _keys_in(server: RedisServer, slot: int) -> int:
    with client(server) as connection:
        count: int = command(connection, "CLUSTER COUNTKEYSINSLOT", slot)
    return count
