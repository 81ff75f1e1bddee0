"""Blocking and muting: what is refused, who is told, and what a gateway learns."""

from __future__ import annotations

import pytest

from parley_shared import api, people
from parley_shared.errors import ParleyError
from tests.contract.world import RedisWorld, World


async def relate(
    world: World, user: api.Opened, peer: api.Opened, *, block: bool | None = None, mute: bool | None = None
) -> api.Relations:
    """Block or mute somebody, or undo it."""
    request = people.RelateRequest(user=user.user, peer=peer.user, block=block, mute=mute)
    return await world.store.people.relate(request)


async def refusal(world: World, sender: api.Opened, to: api.Opened, message_id: str | None = None) -> str:
    """Send a message; the code with which it was refused, or nothing."""
    (result,) = await world.append(world.send_item(sender, to.user, message_id=message_id))
    return result.failure.code if result.failure else ""


async def three(world: World) -> tuple[api.Opened, api.Opened, api.Opened]:
    """Let ann, bob and cem in, on a gateway each."""
    await world.gateways("g1", "g2", "g3")
    return await world.open("g1", "ann"), await world.open("g2", "bob"), await world.open("g3", "cem")


async def test_messages_are_refused_both_ways_before_they_are_stored(world: World) -> None:
    """Neither can write to the other, nothing is stored, and others are not concerned."""
    ann, bob, cem = await three(world)
    await world.send(bob, ann, "before")
    await relate(world, ann, bob, block=True)
    assert await refusal(world, bob, ann) == "blocked"
    assert await refusal(world, ann, bob) == "blocked"
    messages, _ = await world.history(ann, bob)
    assert [message.content for message in messages] == ["before"]
    assert (await world.inbox(ann)).counter == 1
    assert await refusal(world, cem, ann) == ""
    assert await refusal(world, bob, cem) == ""


async def test_a_first_message_is_refused_too(world: World) -> None:
    """Also where there is no conversation yet; after the block it begins with 1."""
    ann, bob, _ = await three(world)
    await relate(world, ann, bob, block=True)
    assert await refusal(world, bob, ann) == "blocked"
    await relate(world, ann, bob, block=False)
    assert (await world.send(bob, ann)).seq == 1


async def test_a_repeat_of_what_was_stored_before_is_acknowledged(world: World) -> None:
    """A message that was stored before the block is a repeat, not a refusal."""
    ann, bob, _ = await three(world)
    first = await world.send(bob, ann, "hello", "id")
    await relate(world, ann, bob, block=True)
    again = await world.send(bob, ann, "hello", "id")
    assert (again.seq, again.duplicate) == (first.seq, True)


async def test_each_has_to_undo_their_own_block(world: World) -> None:
    """When both block, one undoing it is not enough."""
    ann, bob, _ = await three(world)
    await relate(world, ann, bob, block=True)
    await relate(world, bob, ann, block=True)
    await relate(world, ann, bob, block=False)
    assert await refusal(world, ann, bob) == "blocked"
    await relate(world, bob, ann, block=False)
    assert await refusal(world, ann, bob) == ""


async def test_both_sides_learn_who_is_hidden(world: World) -> None:
    """The blocker sees whom they block; the other learns only whom not to show."""
    ann, bob, _ = await three(world)
    answer = await relate(world, ann, bob, block=True)
    assert (answer.blocked, answer.hidden, answer.muted) == ([bob.user], [bob.user], [])
    request = people.StandingRequest(users=[people.StandingAsk(user=user.user) for user in (ann, bob)])
    own, others = (await world.store.people.standing(request)).results
    assert own.relations == answer
    assert others.relations == api.Relations(hidden=[ann.user])
    reopened = await world.open("g2", session=bob.session)
    assert reopened.relations == others.relations
    recovered = await world.recover("g1", ann.pid, await world.position(ann))
    assert recovered.recovered is not None
    assert recovered.recovered.relations == answer


async def test_the_gateways_of_both_are_told(world: World) -> None:
    """A block concerns both users' gateways, a mute only those of the one who mutes."""
    ann, bob, _ = await three(world)
    await relate(world, ann, bob, mute=True)
    assert api.Changed(ann.user) in await world.items("g1")
    assert await world.items("g2") == []
    await relate(world, ann, bob, block=True)
    assert api.Changed(bob.user) in await world.items("g2")
    assert await world.items("g3") == []


async def test_mute_and_block_do_not_disturb_each_other(world: World) -> None:
    """Each is kept for itself; a muted person's messages are delivered."""
    ann, bob, _ = await three(world)
    await relate(world, ann, bob, mute=True)
    assert await refusal(world, bob, ann) == ""
    answer = await relate(world, ann, bob, block=True)
    assert (answer.blocked, answer.muted) == ([bob.user], [bob.user])
    answer = await relate(world, ann, bob, block=False)
    assert (answer.blocked, answer.muted, answer.hidden) == ([], [bob.user], [])
    assert (await relate(world, ann, bob, mute=False)).muted == []


async def test_who_cannot_be_blocked(world: World) -> None:
    """Oneself, nobody, and more than the limit."""
    ann, bob, _ = await three(world)
    with pytest.raises(ParleyError, match="malformed"):
        await relate(world, ann, ann, block=True)
    for peer in ("nobody", "{not an id}"):
        with pytest.raises(ParleyError, match="unknown_recipient"):
            await world.store.people.relate(people.RelateRequest(user=ann.user, peer=peer, block=True))
    for opened in await world.open_all(
        "g2", [world.open_item("many") for _ in range(people.RELATIONS_LIMIT)]
    ):
        assert opened.opened is not None
        await relate(world, ann, opened.opened, mute=True)
    with pytest.raises(ParleyError, match="limit_reached"):
        await relate(world, ann, bob, block=True)
    assert await refusal(world, bob, ann) == ""


async def test_a_read_mark_can_be_kept_quietly(world: World) -> None:
    """Between people who are hidden from each other a mark moves on the reader's side alone."""
    ann, bob, _ = await three(world)
    await world.send(bob, ann)
    mark = api.ReadMark(reader=ann.user, peer=bob.user, seq=1, quiet=True)
    await world.store.read(api.ReadRequest(gateway="g1", marks=[mark]))
    assert (await world.inbox(bob)).counter == 1
    contact = (await world.open("g1", session=ann.session)).contacts[0]
    assert contact.unread == 0


async def test_blocks_go_with_users_who_never_come_back(redis_world: RedisWorld) -> None:
    """A user by name who has expired leaves no relations on either side."""
    world = redis_world
    ann, bob, cem = await three(world)
    await relate(world, ann, bob, block=True, mute=True)
    await relate(world, cem, ann, block=True)
    await world.raw.delete(f"user:{{{ann.user}}}")
    await world.raw.zadd("{roster}:due", {ann.user: 0})

    async def released() -> bool:
        found = await world.redis._relations.peers([bob.user, cem.user])
        return not any(each.noted or each.blockers for each in found)

    await world.eventually(released)
    assert not [key async for key in world.raw.scan_iter("rel*")]
    assert not [key async for key in world.raw.scan_iter("rules*")]
