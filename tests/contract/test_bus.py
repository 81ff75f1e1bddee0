"""How a gateway reads its streams, over a real Redis and a real Cluster."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from redis.crc import key_slot
from redis.exceptions import RedisError

from parley_gateway.bus import READ_TIMEOUT_SECONDS, Entries, RedisBus, StreamReader
from parley_local.redis_server import RedisServer
from parley_shared.redis_client import connect, redis_address
from tests.contract.servers import client, cluster, command, node_id
from tests.harness.ports import free_port
from tests.harness.waiting import eventually

KEY = "gateway:{g}"


def make_bus(url: str) -> RedisBus:
    """Make a bus as the gateway does."""
    address = redis_address(url)
    return RedisBus(
        connect(
            address,
            timeout_seconds=READ_TIMEOUT_SECONDS,
            max_connections=8,
            name="test",
            read_stream=True,
        )
    )


class Follower:
    """A reader of one stream, and what it has seen."""

    def __init__(self, bus: RedisBus, key: str = KEY) -> None:
        self.seen: list[tuple[int, bytes]] = []
        self.states: list[bool] = []
        self.gaps = 0
        self.reader = StreamReader(
            bus,
            key,
            on_entry=lambda number, fields: self.seen.append((number, fields[b"d"])),
            on_gap=self._gap,
            on_state=self.states.append,
        )

    def _gap(self) -> None:
        self.gaps += 1

    async def has(self, *expected: tuple[int, bytes]) -> None:
        """Wait until exactly this was seen."""
        await eventually(lambda: self.seen == list(expected), what=f"{expected} was seen")


@pytest.fixture
async def bus(redis_server: RedisServer) -> AsyncIterator[RedisBus]:
    """A bus to an empty Redis."""
    with client(redis_server) as connection:
        connection.flushall()
    bus = make_bus(redis_server.url)
    yield bus
    await bus.aclose()


async def test_entries_come_in_order_and_a_gap_is_noticed(redis_server: RedisServer, bus: RedisBus) -> None:
    """Entries there already and new ones are handed on once each; one that was trimmed unread is a gap."""
    follower = Follower(bus)
    with client(redis_server) as connection:
        connection.xadd(KEY, {"d": "one"}, id="0-1")
        connection.xadd(KEY, {"d": "two"}, id="0-2")
        task = asyncio.create_task(follower.reader.run())
        await follower.has((1, b"one"), (2, b"two"))
        connection.xadd(KEY, {"d": "four"}, id="0-4")
        await follower.has((1, b"one"), (2, b"two"), (4, b"four"))
    assert (follower.gaps, follower.states) == (1, [True])
    task.cancel()


async def test_a_closed_bus_reads_on_where_it_stopped(redis_server: RedisServer, bus: RedisBus) -> None:
    """After its connections were closed under it, a reader comes back and misses nothing."""
    follower = Follower(bus)
    task = asyncio.create_task(follower.reader.run())
    with client(redis_server) as connection:
        connection.xadd(KEY, {"d": "one"}, id="0-1")
        await follower.has((1, b"one"))
        await bus.aclose()
        connection.xadd(KEY, {"d": "two"}, id="0-2")
        await follower.has((1, b"one"), (2, b"two"))
    assert follower.states == [True, False, True]
    task.cancel()


async def test_a_server_that_is_away_is_waited_for(tmp_path: Path) -> None:
    """A reader that begins before Redis is there, and lives through its restart, sees every entry."""
    server = RedisServer(free_port(), tmp_path)
    bus = make_bus(server.url)
    follower = Follower(bus)
    task = asyncio.create_task(follower.reader.run())
    await eventually(lambda: follower.states == [False])
    server.start()
    with client(server) as connection:
        connection.xadd(KEY, {"d": "one"}, id="0-1")
    await follower.has((1, b"one"))
    server.stop()
    server.start()
    with client(server) as connection:
        connection.xadd(KEY, {"d": "two"}, id="0-2")
    await follower.has((1, b"one"), (2, b"two"))
    task.cancel()
    await bus.aclose()
    server.stop()


async def test_a_stream_that_is_gone_has_no_place_to_go_back_to(
    redis_server: RedisServer, bus: RedisBus
) -> None:
    """A reader goes back to the end of a stream that has lost entries, and says when there is none."""
    follower = Follower(bus)
    assert not await follower.reader.rewind()
    with client(redis_server) as connection:
        connection.xadd(KEY, {"d": "one"}, id="0-1")
    follower.reader.position = 7
    assert await follower.reader.rewind()
    assert follower.reader.position == 1


async def test_what_is_no_stream_is_an_error(redis_server: RedisServer, bus: RedisBus) -> None:
    """An error of Redis is raised, and the next read works."""
    with client(redis_server) as connection:
        connection.set(KEY, "text")
        with pytest.raises(RedisError):
            await bus.xread(KEY, "0-0")
        connection.delete(KEY)
        connection.xadd(KEY, {"d": "one"}, id="0-1")
    entries: Entries = await bus.xread(KEY, "0-0")
    assert [entry_id for entry_id, _ in entries] == [b"0-1"]


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[RedisServer]]:
    """Run one cluster."""
    with cluster(tmp_path_factory.mktemp("cluster")) as servers:
        yield servers


async def test_a_stream_is_followed_to_another_server_of_the_cluster(nodes: list[RedisServer]) -> None:
    """A reader follows its stream when the slot moves, without a loss."""
    bus = make_bus(f"redis+cluster://127.0.0.1:{nodes[0].port}")
    follower = Follower(bus)
    slot = key_slot(KEY.encode())
    owner = nodes[slot * len(nodes) // 16384]
    target = next(node for node in nodes if node is not owner)
    task = asyncio.create_task(follower.reader.run())
    with client(owner) as old, client(target) as new:
        old.xadd(KEY, {"d": "one"}, id="0-1")
        await follower.has((1, b"one"))
        command(new, "CLUSTER SETSLOT", slot, "IMPORTING", node_id(owner))
        command(old, "CLUSTER SETSLOT", slot, "MIGRATING", node_id(target))
        command(old, "MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", KEY)
        for node in nodes:
            with client(node) as connection:
                command(connection, "CLUSTER SETSLOT", slot, "NODE", node_id(target))
        new.xadd(KEY, {"d": "two"}, id="0-2")
        await follower.has((1, b"one"), (2, b"two"))
    task.cancel()
    await bus.aclose()
