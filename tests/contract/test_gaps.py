"""Batches that die half-way, and several stores at once: inboxes stay complete and in order."""

from __future__ import annotations

import asyncio

import pytest

from parley_local.redis_server import RedisServer
from parley_shared import api
from parley_store.redis import gaps
from tests.contract.world import RedisWorld, contents, half, make_config


async def test_the_next_message_brings_along_the_one_before(
    redis_world: RedisWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message that is in no inbox yet goes in first, for both users, and is delivered."""
    world = redis_world
    await world.gateways("g1", "g2")
    ann, bob = await world.open("g1", "ann"), await world.open("g2", "bob")
    await world.send(ann, bob, "one")
    item = world.send_item(ann, bob.user, "two")
    await half(world, monkeypatch, item)

    three = await world.send(bob, ann, "three")

    assert three.seq == 3
    for user, gateway in ((ann, "g1"), (bob, "g2")):
        answer = await world.inbox(user)
        assert contents([event.message for event in answer.events]) == ["one", "two", "three"]
        delivered = [item for item in await world.items(gateway) if isinstance(item, api.Delivery)]
        assert sorted(item.to[0][2] for item in delivered) == [1, 2, 3]
        filled = next(item for item in delivered if item.seq == 2)
        assert (filled.from_, filled.from_name, filled.pid) == (ann.user, "ann", ann.pid)


async def test_the_repeat_completes_what_was_begun(
    redis_world: RedisWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same message again finds itself in the conversation and goes into the inboxes then."""
    world = redis_world
    await world.gateways("g1")
    ann, bob = await world.open("g1", "ann"), await world.open("g1", "bob")
    item = world.send_item(ann, bob.user, "one")
    await half(world, monkeypatch, item)
    assert (await world.inbox(bob)).counter == 0

    (repeat,) = await world.append(item)

    assert (repeat.seq, repeat.duplicate) == (1, True)
    assert contents([e.message for e in (await world.inbox(bob)).events]) == ["one"]
    (delivery,) = await world.items("g1")
    assert isinstance(delivery, api.Delivery)


async def test_a_batch_fills_a_gap_once_for_all_its_messages(
    redis_world: RedisWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several messages behind one gap, and several gaps, come out in order."""
    world = redis_world
    await world.gateways("g1")
    ann, bob = await world.open("g1", "ann"), await world.open("g1", "bob")
    await world.send(ann, bob, "1")
    await half(world, monkeypatch, world.send_item(ann, bob.user, "2"))
    await half(world, monkeypatch, world.send_item(bob, ann.user, "3"))

    results = await world.append(
        world.send_item(ann, bob.user, "4"),
        world.send_item(bob, ann.user, "5"),
        world.send_item(ann, ann.user),
    )

    assert [result.seq for result in results] == [4, 5, 1]
    answer = await world.inbox(bob)
    assert contents([event.message for event in answer.events]) == ["1", "2", "3", "4", "5"]


async def test_the_first_messages_of_a_conversation_may_come_in_any_order(
    redis_world: RedisWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second message of two who have never spoken brings along the first."""
    world = redis_world
    await world.gateways("g1")
    ann, bob = await world.open("g1", "ann"), await world.open("g1", "bob")
    await half(world, monkeypatch, world.send_item(ann, bob.user, "one"))

    item = world.send_item(bob, ann.user, "two")
    results = await world.append(item, item)

    assert [result.seq for result in results] == [2, 2]
    for user in (ann, bob):
        answer = await world.inbox(user)
        assert contents([event.message for event in answer.events]) == ["one", "two"]


async def test_what_is_too_old_for_news_is_history(
    redis_world: RedisWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message that has been missing for long is skipped: it is found in the history alone."""
    world = redis_world
    await world.gateways("g1")
    ann, bob = await world.open("g1", "ann"), await world.open("g1", "bob")
    await world.send(ann, bob, "one")
    await half(world, monkeypatch, world.send_item(ann, bob.user, "two"))
    monkeypatch.setattr(gaps, "NEWS_MS", -1)

    await world.send(ann, bob, "three")

    answer = await world.inbox(bob)
    assert contents([event.message for event in answer.events]) == ["one", "three"]
    assert [event.counter for event in answer.events] == [1, 2]
    assert [message.seq for message in (await world.history(ann, bob))[0]] == [1, 2, 3]


async def test_two_stores_keep_one_order(redis_server: RedisServer, redis_world: RedisWorld) -> None:
    """Batches of one conversation through two stores at once: both inboxes hold all, in order of seq."""
    one = redis_world
    other = RedisWorld(make_config(REDIS_URL=redis_server.url))
    try:
        await one.gateways("g1")
        ann, bob = await one.open("g1", "ann"), await one.open("g1", "bob")
        batches = []
        for number in range(40):
            world, (sender, to) = (one, (ann, bob)) if number % 2 else (other, (bob, ann))
            items = [world.send_item(sender, to.user, message_id=f"{number}-{n}") for n in range(5)]
            batches.append(world.append(*items))
        results = [result for batch in await asyncio.gather(*batches) for result in batch]

        assert sorted(result.seq for result in results) == list(range(1, 201))
        for user in (ann, bob):
            answer = await one.inbox(user, limit=1000)
            messages = [(event.counter, event.message) for event in answer.events]
            assert [counter for counter, _ in messages] == list(range(1, 201))
            page, _ = await one.history(ann, bob, limit=200)
            assert contents([message for _, message in messages]) == [m.content for m in page]
    finally:
        await other.close()


async def test_a_user_who_is_gone_gets_nothing(redis_world: RedisWorld) -> None:
    """A recipient who has expired within the minute that it is remembered: stored, and nobody is told."""
    world = redis_world
    await world.gateways("g1")
    ann, bob = await world.open("g1", "ann"), await world.open("g1", "bob")
    await world.send(ann, bob)
    await world.raw.delete(f"user:{{{bob.user}}}")

    assert (await world.send(ann, bob)).seq == 2
    (refused,) = await world.append(world.send_item(ann, bob.user))

    assert refused.failure is not None
    assert refused.failure.code == "unknown_recipient"
    assert (await world.inbox(ann)).counter == 2
