"""Redis's lives: what a restart, a lost second and a change of role do to numbers and offsets."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from parley_local.redis_server import RedisServer
from parley_shared import api
from parley_shared.errors import UNAVAILABLE, ParleyError
from tests.contract.world import RedisWorld, contents, make_config
from tests.harness.ports import free_port


@pytest.fixture
async def own(tmp_path: Path) -> AsyncIterator[tuple[RedisWorld, RedisServer]]:
    """Make a store over a Redis of its own, which the test may end."""
    server = RedisServer(free_port(), tmp_path / "redis", extra=["--appendfsync", "always"])
    server.start()
    world = RedisWorld(make_config(REDIS_URL=server.url, REDIS_TIMEOUT="1s"))
    yield world, server
    await world.close()
    server.stop()


async def test_a_restart_that_loses_nothing_is_hardly_noticed(own: tuple[RedisWorld, RedisServer]) -> None:
    """Epochs change, but places from before are good, numbers go on, and repeats are found."""
    world, server = own
    await world.gateways("g1")
    ann, bob = await world.open("g1", "ann"), await world.open("g1", "bob")
    item = world.send_item(ann, bob.user, "before")
    await world.append(item)
    before = await world.lease("g1")
    position = await world.position(bob)

    server.kill()
    server.start()

    (repeat,) = await world.append(item)
    assert (repeat.seq, repeat.duplicate) == (1, True)
    assert (await world.send(bob, ann, "after")).seq == 2
    after = await world.lease("g1")
    assert after.held
    assert after.incarnation != before.incarnation
    answer = await world.inbox(bob)
    assert answer.complete
    assert answer.epoch != bob.epoch
    assert contents([event.message for event in answer.events]) == ["before", "after"]
    recovered = await world.recover("g1", bob.pid, position)
    assert recovered.recovered is not None
    attached = await world.store.attach(
        api.AttachRequest(
            gateway="g1", users=[api.Attach(user=ann.user, version=900, epoch=ann.epoch, counter=1)]
        )
    )
    assert [(result.lost, result.counter) for result in attached.results] == [(False, 2)]


async def test_a_repeat_is_found_after_two_restarts(own: tuple[RedisWorld, RedisServer]) -> None:
    """A message that is repeated in each of three lives is in the inboxes once; what follows comes next."""
    world, server = own
    await world.gateways("g1")
    ann, bob = await world.open("g1", "ann"), await world.open("g1", "bob")
    item = world.send_item(ann, bob.user, "once")
    await world.append(item)
    for _ in range(2):
        server.kill()
        server.start()
        (repeat,) = await world.append(item)
        assert (repeat.seq, repeat.duplicate) == (1, True)
    assert (await world.send(ann, bob, "next")).seq == 2
    fresh = await world.open("g1", "bob", session=bob.session)
    answer = await world.inbox(fresh)
    assert contents([event.message for event in answer.events]) == ["once", "next"]


async def test_numbers_that_were_lost_are_never_taken_for_new_ones(
    own: tuple[RedisWorld, RedisServer],
) -> None:
    """When Redis comes back without its last writes, places beyond them are not good any more."""
    world, server = own
    await world.gateways("g1")
    ann, bob = await world.open("g1", "ann"), await world.open("g1", "bob")
    await world.send(ann, bob, "kept")
    saved = server.folder.parent / "saved"
    shutil.copytree(server.folder, saved)
    await world.send(ann, bob, "lost")
    beyond = await world.position(bob, counter=2)
    within = await world.position(bob, counter=1)

    server.kill()
    shutil.rmtree(server.folder)
    shutil.copytree(saved, server.folder)
    server.start()

    again = await world.send(ann, bob, "new")
    assert again.seq == 2
    assert not (await world.inbox(bob, after=2)).complete
    answer = await world.inbox(bob, after=1)
    assert contents([event.message for event in answer.events]) == ["new"]
    assert (await world.recover("g1", bob.pid, beyond)).reason == "epoch"
    assert (await world.recover("g1", bob.pid, within)).recovered is not None


async def test_without_its_data_redis_is_a_new_beginning(tmp_path: Path) -> None:
    """A Redis that has lost everything: leases have lapsed, sessions are unknown, and all works anew."""
    server = RedisServer(free_port(), tmp_path / "redis", aof=False)
    server.start()
    world = RedisWorld(make_config(REDIS_URL=server.url, REDIS_TIMEOUT="1s"))
    try:
        await world.gateways("g1")
        ann = await world.open("g1", "ann")
        server.kill()
        server.start()

        assert not (await world.lease("g1")).held
        await world.gateways("g2")
        (result,) = await world.open_all("g2", [world.open_item(session=ann.session)])
        assert result.failure is not None
        assert result.failure.code == "invalid_username"
        assert (await world.open("g2", "ann", session=ann.session)).new
    finally:
        await world.close()
        server.stop()


async def test_scripts_that_are_flushed_are_loaded_again(redis_world: RedisWorld) -> None:
    """SCRIPT FLUSH is not another life: the scripts come back and the epochs stay."""
    await redis_world.gateways("g1")
    ann, bob = await redis_world.open("g1", "ann"), await redis_world.open("g1", "bob")

    await redis_world.raw.script_flush()

    assert (await redis_world.send(ann, bob)).seq == 1
    assert (await redis_world.inbox(bob)).epoch == bob.epoch


async def test_a_former_replica_is_in_another_life(own: tuple[RedisWorld, RedisServer]) -> None:
    """While Redis is a replica nothing is stored; as a master again it has another incarnation."""
    world, _ = own
    await world.gateways("g1")
    ann, bob = await world.open("g1", "ann"), await world.open("g1", "bob")
    before = (await world.lease("g1")).incarnation
    await world.raw.replicaof("127.0.0.1", "1")

    with pytest.raises(ParleyError) as raised:
        await world.send(ann, bob)
    await world.raw.replicaof("NO", "ONE")

    assert raised.value.code is UNAVAILABLE
    await world.eventually(lambda: _held(world))
    assert (await world.lease("g1")).incarnation != before
    assert (await world.send(ann, bob)).seq == 1


async def _held(world: RedisWorld) -> bool:
    try:
        return (await world.lease("g1")).incarnation == world.redis.topology.incarnation != ""
    except ParleyError:
        return False


async def test_gateways_that_end_together_are_reaped_together(redis_world: RedisWorld) -> None:
    """One look takes all that are due: their users must not wait for each other."""
    world = redis_world
    # The store's own clock stands still.
    world.redis._health.steady_for = lambda seconds: seconds < 0  # type: ignore[method-assign]
    names = [f"g{number}" for number in range(5)]
    await world.gateways(*names)
    for name in names:
        await world.open(name, f"user of {name}")
        await world.store.release(api.ReleaseRequest(gateway=name))
    await world.redis.clock.reap()
    assert await world.raw.zcard("{gateways}:reaping") == 0
    assert not await world.raw.keys("sockets:*")


async def test_the_only_server_is_waited_for(own: tuple[RedisWorld, RedisServer]) -> None:
    """After an exchange that failed it is looked at anew, and the next request goes on when it answers."""
    world, _ = own
    await world.gateways("g1")
    ann = await world.open("g1", "ann")
    (node,) = world.redis._base.topology.nodes()
    node.incarnation, node._away = "", True  # as after an exchange that failed
    assert (await world.send(ann, ann)).seq == 1


async def test_only_another_life_is_logged_as_one(
    own: tuple[RedisWorld, RedisServer], caplog: pytest.LogCaptureFixture
) -> None:
    """After a mere interruption Redis is in the life it was in; after a restart it is in another."""
    world, server = own
    caplog.set_level("INFO", "parley_store.redis.node")
    await world.gateways("g1")
    (node,) = world.redis._base.topology.nodes()
    node.incarnation = ""  # as after an exchange that failed
    assert (await world.lease("g1")).held
    assert "another life" not in caplog.text

    server.kill()
    server.start()
    assert (await world.lease("g1")).held
    assert caplog.text.count("another life") == 1
