"""Retention and legal hold: what is removed by age, what is kept, and that conversations are noted."""

from __future__ import annotations

import pytest

from parley_shared import api
from parley_store.redis import scripts
from tests.contract.world import RedisWorld


async def visit(world: RedisWorld, *users: api.Opened) -> None:
    """Have two users' conversation looked after now, and wait until it was."""
    name = ":".join(sorted(user.user for user in users))
    await world.raw.zadd("{conversations}:due", {name: 0})

    async def visited() -> bool:
        due = await world.raw.zscore("{conversations}:due", name)
        # A claim lasts 30 s; whoever is done sets a time beyond it, or strikes the conversation off.
        return due is None or due > (await world.lease("any")).now + 60_000

    await world.eventually(visited)


async def two(world: RedisWorld) -> tuple[api.Opened, api.Opened]:
    """Let ann and bob in."""
    await world.gateways("g1")
    return await world.open("g1", "ann"), await world.open("g1", "bob")


async def contents(world: RedisWorld, user: api.Opened, peer: api.Opened) -> list[str]:
    """What a conversation holds."""
    messages, _ = await world.history(user, peer, limit=200)
    return [message.content for message in messages]


async def test_a_conversation_is_noted_before_anybody_hears_of_it(redis_world: RedisWorld) -> None:
    """Both users and the list of all know it; and one that expired is struck off."""
    world = redis_world
    ann, bob = await two(world)
    await world.send(ann, bob)
    await world.send(ann, ann)
    assert set(await world.redis._conversations.of(ann.user)) == {ann.user, bob.user}
    assert await world.redis._conversations.of(bob.user) == [ann.user]
    assert await world.raw.zcard("{conversations}:due") == 2
    await visit(world, ann, bob)
    assert await world.redis._conversations.of(bob.user) == [ann.user]
    await world.raw.delete(f"messages:{{{ann.user}:{bob.user}}}")
    await visit(world, ann, bob)
    assert await world.redis._conversations.of(ann.user) == [ann.user]
    assert await world.redis._conversations.of(bob.user) == []


@pytest.mark.settings(CONVERSATION_TTL="0")
async def test_one_that_was_not_noted_goes_by_itself(redis_world: RedisWorld) -> None:
    """A conversation has a short life until it is noted; the repeat of its message makes up for it."""
    world = redis_world
    ann, bob = await two(world)
    note = world.redis._conversations.note
    name = f"{ann.user}:{bob.user}"

    async def fail(_: object) -> set[str]:
        raise ConnectionError("the store dies here")

    world.redis._conversations.note = fail  # type: ignore[method-assign,assignment]
    with pytest.raises(ConnectionError):
        await world.send(ann, bob, "hello", "id")
    window_ms = 24 * 3_600_000
    assert 0 < await world.raw.pttl(f"messages:{{{name}}}") < 3 * window_ms
    world.redis._conversations.note = note  # type: ignore[method-assign]
    assert (await world.send(ann, bob, "hello", "id")).duplicate
    assert await world.raw.pttl(f"messages:{{{name}}}") == -1
    assert await world.redis._conversations.of(bob.user) == [ann.user]


async def test_a_conversation_is_visited_before_it_is_noted(redis_world: RedisWorld) -> None:
    """A store that dies half-way leaves no note for ever: what a note names is visited."""
    world = redis_world
    ann, bob = await two(world)
    topology = world.redis._base.topology
    call = topology.call_partly

    async def die(script: object, *arguments: object, **options: object) -> object:
        if script is scripts.NOTE:
            raise ConnectionError("the store dies here")
        return await call(script, *arguments, **options)  # type: ignore[arg-type]

    topology.call_partly = die  # type: ignore[method-assign,assignment]
    with pytest.raises(ConnectionError):
        await world.send(ann, bob)
    topology.call_partly = call  # type: ignore[method-assign]
    assert await world.raw.zcard("{conversations}:due") == 1


@pytest.mark.settings(RETENTION="1s")
async def test_messages_are_removed_by_age(redis_world: RedisWorld) -> None:
    """What is older than RETENTION goes by itself; when nothing is left, the conversation goes."""
    world = redis_world
    ann, bob = await two(world)
    await world.send(ann, bob, "old")

    async def empty() -> bool:
        return await contents(world, ann, bob) == []

    await world.eventually(empty)
    assert (await world.send(ann, bob, "new")).seq == 1
    assert await contents(world, ann, bob) == ["new"]
    assert (await world.open("g1", session=bob.session)).contacts[0].seq == 1


async def test_only_what_is_too_old_is_removed(redis_world: RedisWorld) -> None:
    """With a retention of its own a conversation keeps the newer messages and their numbers."""
    world = redis_world
    ann, bob = await two(world)
    at = (await world.lease("any")).now
    name = f"{{{ann.user}:{bob.user}}}"
    await world.send(ann, bob, "first")
    # An old conversation, written as the store does but for the times.
    await world.raw.delete(f"messages:{name}")
    for number, age_ms in ((1, 90_000), (2, 80_000), (3, 10_000)):
        body = f'{{"id":"{number}","from":"{ann.user}","to":"{bob.user}","content":"{number}"'
        fields = {"d": body, "a": at - age_ms, "p": ""}
        await world.raw.xadd(f"messages:{name}", fields, id=f"0-{number}")
    rule = world.redis._conversations.rule
    rules = await rule(ann.user, bob.user, keep_ms=60_000, own_keep=True, hold=None)
    assert rules == (60_000, False)

    async def trimmed() -> bool:
        return await contents(world, ann, bob) == ["3"]

    await world.eventually(trimmed)
    assert (await world.history(ann, bob))[0][0].seq == 3


@pytest.mark.settings(RETENTION="1s", HISTORY_LIMIT="100")
async def test_a_hold_keeps_everything(redis_world: RedisWorld) -> None:
    """Under a legal hold nothing goes, neither by age nor by number; without it all goes."""
    world = redis_world
    ann, bob = await two(world)
    rule = world.redis._conversations.rule
    await rule(ann.user, bob.user, keep_ms=None, own_keep=None, hold=True)
    for start in range(0, 1280, 64):
        sends = [world.send_item(ann, bob.user, f"{start + n}") for n in range(64)]
        assert all(result.failure is None for result in await world.append(*sends))
    await visit(world, ann, bob)
    name = f"messages:{{{ann.user}:{bob.user}}}"
    assert await world.raw.xlen(name) == 1280
    assert await world.raw.pttl(name) == -1
    assert (await world.redis._conversations.rules(bob.user, ann.user)) == (None, True)
    await rule(bob.user, ann.user, keep_ms=None, own_keep=None, hold=False)
    assert await world.raw.pttl(name) > 0

    async def gone() -> bool:
        return not await world.raw.exists(name)

    await world.eventually(gone)


@pytest.mark.settings(CONVERSATION_TTL="1h")
async def test_its_own_retention_outweighs_the_settings(redis_world: RedisWorld) -> None:
    """A conversation that is to be kept for ever has no end, also after further messages."""
    world = redis_world
    ann, bob = await two(world)
    await world.send(ann, bob)
    name = f"messages:{{{ann.user}:{bob.user}}}"
    assert 0 < await world.raw.pttl(name) <= 2 * 3_600_000
    rule = world.redis._conversations.rule
    await rule(ann.user, bob.user, keep_ms=0, own_keep=True, hold=None)
    await world.send(bob, ann)
    assert await world.raw.pttl(name) == -1
    assert (await rule(ann.user, bob.user, keep_ms=None, own_keep=False, hold=None)).keep_ms is None
    assert await world.raw.pttl(name) > 0


@pytest.mark.settings(CONVERSATION_TTL="1h")
async def test_a_repeat_does_not_use_up_the_renewal(redis_world: RedisWorld) -> None:
    """A call that holds a repeat alone adds nothing to a conversation's life; the next message does."""
    world = redis_world
    ann, bob = await two(world)
    await world.send(ann, bob, "one", "id")
    name = f"{{{ann.user}:{bob.user}}}"
    # Time has passed: a renewal is due, and a minute of the life is left.
    await world.raw.hset(f"conversation:{name}", "x", 1)
    for key in ("messages", "conversation"):
        await world.raw.pexpire(f"{key}:{name}", 60_000)
    assert (await world.send(ann, bob, "one", "id")).duplicate
    await world.send(ann, bob, "two")
    for key in ("messages", "conversation"):
        assert await world.raw.pttl(f"{key}:{name}") > 60_000


async def test_a_renewal_does_not_put_off_the_visit(redis_world: RedisWorld) -> None:
    """A conversation in use is looked after when it was due; but who has claimed it meanwhile must notice."""
    world = redis_world
    ann, bob = await two(world)
    await world.send(ann, bob)
    name = f"{ann.user}:{bob.user}"
    due = (await world.lease("any")).now + 30_000
    await world.raw.zadd("{conversations}:due", {name: due})
    await world.raw.hset(f"conversation:{{{name}}}", "x", 1)
    await world.send(ann, bob)
    assert await world.raw.zscore("{conversations}:due", name) == due - 1
    await world.raw.zadd("{conversations}:due", {name: due + 3_600_000})
    await world.raw.hset(f"conversation:{{{name}}}", "x", 1)
    await world.send(ann, bob)
    assert due < await world.raw.zscore("{conversations}:due", name) < due + 3_000_000


@pytest.mark.parametrize("content", ["one", "other"])
@pytest.mark.settings(CONVERSATION_TTL="0")
async def test_a_repeat_that_outlives_its_conversation_leaves_nothing_for_ever(
    redis_world: RedisWorld, content: str
) -> None:
    """Its numbering goes by itself when nothing follows; with a message it lives as the settings say."""
    world = redis_world
    ann, bob = await two(world)
    await world.send(ann, bob, "one", "id")
    name = f"{{{ann.user}:{bob.user}}}"
    await world.raw.delete(f"messages:{name}", f"conversation:{name}")
    (repeat,) = await world.append(world.send_item(ann, bob.user, content, "id"))
    assert repeat.duplicate == (content == "one")
    assert await world.raw.pttl(f"conversation:{name}") > 0
    assert (await world.send(ann, bob, "two")).seq == 1
    assert await world.raw.pttl(f"conversation:{name}") == -1
    assert await world.raw.pttl(f"messages:{name}") == -1
