"""Redis away, slow, full or refusing: clear answers, and recovery by itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from parley_local.redis_server import RedisServer
from parley_shared import api
from parley_shared.errors import UNAVAILABLE, ParleyError
from parley_store.redis.base import Base
from tests.contract.world import RedisWorld, make_config
from tests.harness.ports import free_port
from tests.harness.waiting import eventually


@pytest.fixture
async def own(tmp_path: Path) -> AsyncIterator[tuple[RedisWorld, RedisServer]]:
    """Make a store over a Redis of its own, with short times."""
    server = RedisServer(free_port(), tmp_path / "redis")
    server.start()
    world = RedisWorld(make_config(REDIS_URL=server.url, REDIS_TIMEOUT="300ms", LEASE="1s"))
    yield world, server
    await world.close()
    server.stop()


async def test_while_redis_is_away_requests_are_answered_unavailable(
    own: tuple[RedisWorld, RedisServer],
) -> None:
    """Nothing hangs, nothing crashes, the store stays ready, and it all resumes by itself."""
    world, server = own
    await world.gateways("g1")
    ann, bob = await world.open("g1", "ann"), await world.open("g1", "bob")
    item = world.send_item(ann, bob.user)
    server.stop()

    for _ in range(3):
        with pytest.raises(ParleyError) as raised:
            await world.append(item)
        assert raised.value.code is UNAVAILABLE
    assert world.store.missing() == {}

    server.start()

    # A look at Redis that began while it was away may answer the first time.
    async def stored() -> bool:
        try:
            return [(result.seq, result.duplicate) for result in await world.append(item)] == [(1, False)]
        except ParleyError:
            return False

    await world.eventually(stored)


async def test_a_redis_that_hangs_is_given_up_and_the_repeat_is_safe(
    own: tuple[RedisWorld, RedisServer],
) -> None:
    """A time-out leaves it open whether the message was stored; sent again, it is stored once."""
    world, server = own
    await world.gateways("g1")
    ann, bob = await world.open("g1", "ann"), await world.open("g1", "bob")
    item = world.send_item(ann, bob.user)
    await world.send(ann, bob, "first")
    server.pause()

    with pytest.raises(ParleyError) as raised:
        await world.append(item)
    server.resume()

    assert raised.value.code is UNAVAILABLE

    async def stored() -> bool:
        try:
            return [result.seq for result in await world.append(item)] == [2]
        except ParleyError:
            return False

    await world.eventually(stored)
    messages, _ = await world.history(ann, bob)
    assert [message.seq for message in messages] == [1, 2]


async def test_a_full_memory_refuses_and_comes_back(redis_world: RedisWorld) -> None:
    """Out of memory is `unavailable`; once there is room again the same message is stored once."""
    world = redis_world
    await world.gateways("g1")
    ann, bob = await world.open("g1", "ann"), await world.open("g1", "bob")
    item = world.send_item(ann, bob.user)
    await world.raw.config_set("maxmemory", "1mb")
    try:
        with pytest.raises(ParleyError) as raised:
            await world.append(item)
        history = await world.history(ann, bob)
        # What keeps leases and presence right goes on, or all gateways would be taken for dead.
        assert (await world.lease("g1")).held
        await world.detach("g1", bob)
        await world.eventually(lambda: _is(world, "bob", 0))
    finally:
        await world.raw.config_set("maxmemory", "0")

    assert raised.value.code is UNAVAILABLE
    assert history == ([], None)
    assert [result.seq for result in await world.append(item)] == [1]


async def test_nobody_is_reaped_for_what_redis_did_not_hear(
    own: tuple[RedisWorld, RedisServer],
) -> None:
    """After Redis was away for longer than a lease, gateways have a full lease to beat again."""
    world, server = own
    await world.gateways("g1")
    await world.open("g1", "ann")
    beat = await world.lease("g1")
    server.pause()
    with pytest.raises(ParleyError):
        await world.lease("g1")
    # Redis hears of no beat for more than a lease; the store, which sees that, waits for another one.
    await eventually(lambda: _is_too_old(beat))
    server.resume()

    async def beats() -> bool:
        try:
            return (await world.lease("g1")).held
        except ParleyError:
            return False

    await world.eventually(beats)
    assert await world.states() == {"ann": 1}
    assert (await world.lease("g1")).held


@pytest.mark.settings(LEASE="1s")
async def test_nobody_is_reaped_while_redis_takes_no_writes(redis_world: RedisWorld) -> None:
    """A Redis that answers and refuses writes (a full disk, no replicas) hears of no gateway either."""
    world = redis_world
    await world.gateways("g1")
    await world.open("g1", "ann")
    beat = await world.lease("g1")
    await world.raw.config_set("min-replicas-to-write", "1")
    try:
        with pytest.raises(ParleyError) as raised:
            await world.lease("g1")
        await world.eventually(lambda: _is_down(world))
        await eventually(lambda: _is_too_old(beat))
    finally:
        await world.raw.config_set("min-replicas-to-write", "0")

    assert raised.value.code is UNAVAILABLE
    assert (await world.lease("g1")).held
    assert await world.states() == {"ann": 1}


def _is_too_old(beat: api.LeaseResponse) -> bool:
    """Tell whether a lease has passed since a beat. Redis's clock is this machine's."""
    return time.time() * 1000 > beat.now + beat.lease_ms


async def _is_down(world: RedisWorld) -> bool:
    return world.metrics.redis_up._value.get() == 0  # type: ignore[no-any-return]


async def test_a_restarted_store_waits_a_lease_before_it_reaps(redis_world: RedisWorld) -> None:
    """All stores were away: the gateways could not beat, and are not dead for that."""
    await redis_world.gateways("g1")
    old = 1_000_000_000_000
    await redis_world.raw.zadd("{gateways}:leases", {"g1": old})

    await redis_world.redis.clock.reap()

    assert [info.gateway for info in (await redis_world.store.gateways()).gateways] == ["g1"]


async def test_a_store_that_starts_before_redis_becomes_ready_by_itself(tmp_path: Path) -> None:
    """Without Redis the store runs, says what is missing, and needs no restart."""
    server = RedisServer(free_port(), tmp_path / "redis")
    world = RedisWorld(make_config(REDIS_URL=server.url))
    try:
        with pytest.raises(ParleyError) as raised:
            await world.lease("g1", first=True)
        assert raised.value.code is UNAVAILABLE
        assert "redis" in world.store.missing()
        server.start()

        async def ready() -> bool:
            return world.store.missing() == {}

        await world.eventually(ready)
        assert (await world.lease("g1", first=True)).held
    finally:
        await world.close()
        server.stop()


async def test_one_request_that_cannot_be_packed_harms_no_other(redis_world: RedisWorld) -> None:
    """A text that no encoding can carry fails its own request; those that run beside it do not notice."""
    await redis_world.gateways("g1")
    ann, bob = await redis_world.open("g1", "ann"), await redis_world.open("g1", "bob")

    bad, good = await asyncio.gather(
        redis_world.append(redis_world.send_item(ann, bob.user, message_id="\ud800")),
        redis_world.append(redis_world.send_item(ann, bob.user)),
        return_exceptions=True,
    )

    assert isinstance(bad, Exception)
    assert isinstance(good, list)
    assert isinstance(good[0], api.Appended)
    assert good[0].seq == 1


async def _is(world: RedisWorld, username: str, state: int) -> bool:
    return (await world.states()).get(username) == state


async def test_a_read_mark_that_nobody_was_told_of_is_told_with_the_repeat(
    redis_world: RedisWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mark has moved already; the gateways are told that there is something to fetch."""
    world = redis_world
    await world.gateways("g1", "g2")
    ann, bob = await world.open("g1", "ann"), await world.open("g2", "bob")
    await world.send(ann, bob)
    before = {gateway: len(await world.items(gateway)) for gateway in ("g1", "g2")}
    with monkeypatch.context() as patched:
        patched.setattr(Base, "publish_partly", _fail)
        with pytest.raises(ParleyError):
            await world.read(bob, ann, 1)

    await world.read(bob, ann, 1)

    assert (await world.items("g1"))[before["g1"] :] == [api.Nudge(ann.user, ann.epoch, 2)]
    assert (await world.items("g2"))[before["g2"] :] == [api.Nudge(bob.user, bob.epoch, 2)]
    # What is older than the mark is no news.
    await world.send(ann, bob)
    await world.read(bob, ann, 2)
    told = await world.items("g1")
    await world.read(bob, ann, 1)
    assert await world.items("g1") == told


async def test_a_message_counts_once_though_nobody_could_be_told(
    redis_world: RedisWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is stored: the repeat that tells of it is the duplicate."""
    world = redis_world
    await world.gateways("g1")
    ann, bob = await world.open("g1", "ann"), await world.open("g1", "bob")
    item = world.send_item(ann, bob.user)
    with monkeypatch.context() as patched:
        patched.setattr(Base, "publish_partly", _fail)
        with pytest.raises(ParleyError):
            await world.append(item)

    (repeat,) = await world.append(item)

    assert repeat.duplicate
    value = world.metrics.registry.get_sample_value
    assert value("parley_store_messages_appended_total") == 1
    assert value("parley_store_duplicates_total") == 1


async def _fail(_: Base, items: Mapping[str, object]) -> list[ParleyError]:
    return [ParleyError(UNAVAILABLE)] * len(items)
