"""What DURABILITY promises, shown with servers that are killed, held back, and failed over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from parley_local.redis_server import RedisServer
from parley_shared import api
from parley_shared.errors import UNAVAILABLE, ParleyError
from tests.contract.servers import Watched, client, with_waitaof
from tests.contract.world import RedisWorld, make_config
from tests.harness.ports import free_port


@pytest.fixture
async def disk(tmp_path: Path) -> AsyncIterator[tuple[RedisWorld, RedisServer]]:
    """Make a store under DURABILITY=disk, over a Redis that syncs every second."""
    server = RedisServer(free_port(), tmp_path / "redis", executable=with_waitaof())
    server.start()
    world = RedisWorld(make_config(REDIS_URL=server.url, DURABILITY="disk", REDIS_TIMEOUT="1s"))
    await _ready(world)
    yield world, server
    await world.close()
    server.stop()


async def test_what_is_acknowledged_survives_the_kill_of_redis(
    disk: tuple[RedisWorld, RedisServer],
) -> None:
    """Killed right after the acknowledgement, Redis comes back with the message and its place."""
    world, server = disk
    await world.gateways("g1")
    ann, bob = await world.open("g1", "ann"), await world.open("g1", "bob")
    for number in range(5):
        await world.send(ann, bob, str(number))

    server.kill()
    server.start()

    messages, _ = await world.history(ann, bob)
    assert [message.content for message in messages] == ["0", "1", "2", "3", "4"]
    assert (await world.inbox(bob)).counter == 5


async def test_no_acknowledgement_before_the_disk_has_it(disk: tuple[RedisWorld, RedisServer]) -> None:
    """While Redis does not sync its file there is neither acknowledgement nor delivery; then there is."""
    world, _ = disk
    await world.gateways("g1")
    ann, bob = await world.open("g1", "ann"), await world.open("g1", "bob")
    item = world.send_item(ann, bob.user)
    # The kernel keeps what is written; Redis no longer asks it to write it out.
    await world.raw.config_set("appendfsync", "no")

    held_back = asyncio.create_task(world.append(item))
    with pytest.raises(ParleyError) as raised:
        await held_back
    delivered = await world.items("g1")
    # A repeat finds the message, and must wait for the disk all the same.
    with pytest.raises(ParleyError):
        await world.append(item)
    await world.raw.config_set("appendfsync", "everysec")
    (stored,) = await world.append(item)

    assert raised.value.code is UNAVAILABLE
    assert delivered == []
    assert (stored.seq, stored.duplicate) == (1, True)
    assert await world.items("g1") == [api.Nudge(bob.user, bob.epoch, 1), api.Nudge(ann.user, ann.epoch, 1)]


async def test_a_redis_that_dies_before_the_confirmation_confirms_nothing(
    disk: tuple[RedisWorld, RedisServer],
) -> None:
    """Written in one life and confirmed in the next would be a lie: the answer is `unavailable`."""
    world, server = disk
    await world.gateways("g1")
    ann, bob = await world.open("g1", "ann"), await world.open("g1", "bob")
    durability = world.redis._messages._durability
    lives = await durability.lives([ann.user, bob.user])
    server.kill()
    server.start()

    async def again() -> bool:
        try:
            return (await world.lease("g1")).held
        except ParleyError:
            return False

    await world.eventually(again)
    with pytest.raises(ParleyError) as raised:
        await durability.confirm(lives)

    assert raised.value.code is UNAVAILABLE
    await durability.confirm(await durability.lives([ann.user]))


async def test_many_batches_share_a_confirmation(disk: tuple[RedisWorld, RedisServer]) -> None:
    """Batches that wait for the disk at the same time wait together."""
    world, _ = disk
    await world.gateways("g1")
    ann, bob = await world.open("g1", "ann"), await world.open("g1", "bob")
    await world.raw.config_resetstat()

    results = await asyncio.gather(*[world.send(ann, bob) for _ in range(50)])

    assert sorted(result.seq for result in results) == list(range(1, 51))
    stats = await world.raw.info("commandstats")
    assert 1 <= stats["cmdstat_waitaof"]["calls"] <= 25


async def test_a_fail_over_loses_nothing_acknowledged(watched: Watched) -> None:
    """Under DURABILITY=replicated the replica that takes over has every acknowledged message."""
    world = RedisWorld(make_config(REDIS_URL=watched.url, DURABILITY="replicated", REDIS_TIMEOUT="2s"))
    try:
        await _ready(world)
        await world.gateways("g1")
        ann, bob = await world.open("g1", "ann"), await world.open("g1", "bob")
        before = (await world.lease("g1")).incarnation
        position = await world.position(bob)
        for number in range(10):
            await world.send(ann, bob, str(number), f"id-{number}")

        watched.master.kill()

        async def reads() -> bool:
            try:
                return (await world.lease("g1")).held
            except ParleyError:
                return False

        await world.eventually(reads)
        messages, _ = await world.history(ann, bob)
        assert [message.content for message in messages] == [str(number) for number in range(10)]
        assert (await world.lease("g1")).incarnation != before
        # Alone, the new master cannot confirm anything on a replica: nothing is acknowledged.
        with pytest.raises(ParleyError) as raised:
            await world.send(ann, bob, "10", "id-10")
        assert raised.value.code is UNAVAILABLE
        watched.master.start()
        with client(watched.master) as connection:
            connection.replicaof("127.0.0.1", str(watched.replica.port))

        async def confirmed() -> bool:
            try:
                return (await world.send(ann, bob, "10", "id-10")).seq == 11
            except ParleyError:
                return False

        await world.eventually(confirmed)
        recovered = await world.recover("g1", bob.pid, position)
        assert recovered.recovered is not None
        assert len(recovered.recovered.events) == 11
    finally:
        await world.close()


@pytest.mark.parametrize(
    ("extra", "settings", "expected"),
    [
        (["--maxmemory-policy", "allkeys-lru"], {}, "maxmemory-policy"),
        (["--appendonly", "no"], {"DURABILITY": "disk"}, "appendonly yes"),
        (["--appendfsync", "no"], {"DURABILITY": "disk"}, "appendfsync"),
    ],
)
async def test_a_redis_that_cannot_keep_the_promise_is_refused(
    tmp_path: Path, extra: list[str], settings: dict[str, str], expected: str
) -> None:
    """A setting of Redis that makes a promise untrue ends the start with one line that names it."""
    server = RedisServer(free_port(), tmp_path / "redis", extra=extra)
    server.start()
    world = RedisWorld(make_config(REDIS_URL=server.url, **settings))
    try:
        error = await asyncio.wait_for(world.redis.unfit(), 10)
    finally:
        await world.close()
        server.stop()

    assert expected in str(error)
    assert "\n" not in str(error)


@pytest.mark.parametrize("policy", ["always", "everysec"])
async def test_a_redis_that_comes_back_unable_acknowledges_nothing(tmp_path: Path, policy: str) -> None:
    """Started anew without its file, Redis keeps no promise; once it can again, the repeat is stored."""
    sync = ["--appendfsync", policy]
    server = RedisServer(free_port(), tmp_path / "redis", extra=sync, executable=with_waitaof())
    without = RedisServer(
        server.port, tmp_path / "redis", extra=[*sync, "--appendonly", "no"], executable=with_waitaof()
    )
    server.start()
    world = RedisWorld(make_config(REDIS_URL=server.url, DURABILITY="disk", REDIS_TIMEOUT="1s"))
    try:
        await _ready(world)
        await world.gateways("g1")
        ann = await world.open("g1", "ann")
        item = world.send_item(ann, ann.user)
        assert [result.failure for result in await world.append(item)] == [None]
        server.kill()
        without.start()

        async def is_back() -> bool:
            try:
                return (await world.lease("g1", first=True)).held
            except ParleyError:
                return False

        await world.eventually(is_back)
        again = await world.open("g1", "ann")
        item = world.send_item(again, again.user)
        with pytest.raises(ParleyError) as raised:
            await world.append(item)
        assert raised.value.code is UNAVAILABLE
        assert world.store.missing() == {}
        assert not world.redis._health.failed.done()

        await world.raw.config_set("appendonly", "yes")

        async def stored() -> bool:
            try:
                return (await world.append(item))[0].seq == 1
            except ParleyError:
                return False

        await world.eventually(stored)
    finally:
        await world.close()
        without.stop()
        server.stop()


async def test_always_needs_no_further_wait(tmp_path: Path) -> None:
    """With appendfsync always each answer of Redis comes from the disk already."""
    server = RedisServer(free_port(), tmp_path / "redis", extra=["--appendfsync", "always"])
    server.start()
    world = RedisWorld(make_config(REDIS_URL=server.url, DURABILITY="disk"))
    try:
        await _ready(world)
        await world.gateways("g1")
        ann = await world.open("g1", "ann")
        await world.send(ann, ann)
        assert "cmdstat_waitaof" not in await world.raw.info("commandstats")
    finally:
        await world.close()
        server.stop()


async def _ready(world: RedisWorld) -> None:
    async def ready() -> bool:
        return world.store.missing() == {}

    await world.eventually(ready)
