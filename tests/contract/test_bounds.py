"""What is kept is bounded, everything lies in tagged keys, and no command walks through all of them."""

from __future__ import annotations

import re

import pytest

from parley_shared import api
from tests.contract.world import RedisWorld, contents


@pytest.mark.settings(HISTORY_LIMIT="100", INBOX_LIMIT="100", RECOVERY_WINDOW="1s")
async def test_old_messages_and_events_are_trimmed(redis_world: RedisWorld) -> None:
    """Beyond the limit what is old goes; who asks for it from before is told that it is gone."""
    world = redis_world
    await world.gateways("g1")
    ann, bob = await world.open("g1", "ann"), await world.open("g1", "bob")
    start = await world.position(bob)
    await world.append(*[world.send_item(ann, bob.user) for _ in range(400)])
    messages, inbox = f"messages:{{{ann.user}:{bob.user}}}", f"inbox:{{{bob.user}}}"
    # What is younger than twice the recovery window is kept in spite of the limit.
    assert await world.raw.xlen(messages) == await world.raw.xlen(inbox) == 400
    sent_at = (await world.lease("g1")).now

    async def old() -> bool:
        return (await world.lease("g1")).now > sent_at + 2100

    await world.eventually(old)
    await world.append(*[world.send_item(ann, bob.user) for _ in range(128)])

    # Redis trims whole nodes of a stream, of up to a hundred entries.
    assert await world.raw.xlen(messages) <= 400
    assert await world.raw.xlen(inbox) <= 400
    assert not (await world.inbox(bob)).complete
    assert (await world.recover("g1", bob.pid, start)).reason == "trimmed"
    page, _ = await world.history(ann, bob, limit=100)
    assert [message.seq for message in page] == list(range(429, 529))
    assert (await world.send(ann, bob)).seq == 529


@pytest.mark.settings(HISTORY_LIMIT="100", INBOX_LIMIT="100")
async def test_no_burst_grows_a_stream_without_end(redis_world: RedisWorld) -> None:
    """Ten times the limit is the end also for what is young."""
    world = redis_world
    await world.gateways("g1")
    ann, bob = await world.open("g1", "ann"), await world.open("g1", "bob")
    for _ in range(3):
        await world.append(*[world.send_item(ann, bob.user) for _ in range(512)])

    assert await world.raw.xlen(f"messages:{{{ann.user}:{bob.user}}}") <= 1200
    assert await world.raw.xlen(f"inbox:{{{bob.user}}}") <= 1200


@pytest.mark.settings(CONTACTS_LIMIT="10")
async def test_the_oldest_contacts_are_forgotten(redis_world: RedisWorld) -> None:
    """A user's list keeps the newest conversations; those forgotten come back with the next message."""
    world = redis_world
    await world.gateways("g1")
    ann = await world.open("g1", "ann")
    others = [await world.open("g1", f"user{number}") for number in range(12)]
    peers = f"peers:{{{ann.user}}}"
    for other in others:
        await world.send(other, ann)
        await _age(world, peers, other.user)
        await world.later()

    again = await world.open("g1", session=ann.session)

    assert [contact.username for contact in again.contacts] == [f"user{n}" for n in range(11, 1, -1)]
    await world.send(others[0], ann)
    assert (await world.open("g1", session=ann.session)).contacts[0].username == "user0"
    assert await world.raw.hlen(peers) <= 11


@pytest.mark.settings(CONTACTS_LIMIT="10")
async def test_recent_contacts_are_not_forgotten(redis_world: RedisWorld) -> None:
    """Their last messages are known to be in the inbox: with the next one they do not come again."""
    world = redis_world
    await world.gateways("g1")
    ann = await world.open("g1", "ann")
    others = [await world.open("g1", f"user{number}") for number in range(12)]
    for other in others:
        await world.send(other, ann, f"first of {other.username}")
    await world.send(others[0], ann, "second of user0")
    received = contents([event.message for event in (await world.inbox(ann)).events])
    assert received == [*(f"first of {other.username}" for other in others), "second of user0"]


@pytest.mark.settings(CONTACTS_LIMIT="10")
async def test_a_burst_of_contacts_is_bounded_too(redis_world: RedisWorld) -> None:
    """Ten times the limit is the end also for those of the last minutes."""
    world = redis_world
    await world.gateways("g1")
    ann = await world.open("g1", "ann")
    opened = await world.open_all("g1", [world.open_item(f"user{number}") for number in range(110)])
    others = [result.opened for result in opened if result.opened is not None]
    await world.append(*[world.send_item(other, ann.user) for other in others])
    assert await world.raw.hlen(f"peers:{{{ann.user}}}") < 100


async def _age(world: RedisWorld, peers: str, peer: str) -> None:
    """Make what is noted with a contact ten minutes older."""
    epoch, seq, at, *marks = (await world.raw.hget(peers, peer)).decode().split(":")
    await world.raw.hset(peers, peer, ":".join([epoch, seq, str(int(at) - 600_000), *marks]))


async def test_who_expires_is_forgotten_by_the_roster(redis_world: RedisWorld) -> None:
    """A user whose keys have expired leaves roster, search and ranking, and the log says so."""
    world = redis_world
    await world.gateways("g1")
    ann = await world.open("g1", "ann")
    await world.raw.delete(f"user:{{{ann.user}}}", f"presence:{{{ann.user}}}")
    await world.raw.zadd("{roster}:due", {ann.user: 1})

    async def forgotten() -> bool:
        return await world.states() == {}

    await world.eventually(forgotten)

    assert (await world.log())[-1] == api.RosterChange(ann.user, "", -1, 0)
    assert (await world.store.users(api.UsersRequest(user="x"))).users == []
    assert await world.raw.zcard("{roster}:rank") == await world.raw.zcard("{roster}:due") == 0


@pytest.mark.settings(LEASE="1s")
async def test_a_ghost_left_by_a_lost_write_is_found(redis_world: RedisWorld) -> None:
    """A user held by a gateway of which nothing else is left goes offline at the next routine check."""
    world = redis_world
    await world.gateways("g1")
    ann = await world.open("g1", "ann")
    await world.raw.delete("gateway:{g1}", "sockets:{g1}", "{gateways}:leases", "{gateways}:info")

    async def offline() -> bool:
        await world.raw.zadd("{roster}:due", {ann.user: 1})
        return await world.states() == {"ann": 0}

    await world.eventually(offline)


@pytest.mark.settings(SESSION_TTL="1h", CONVERSATION_TTL="2h")
async def test_every_key_is_tagged_and_expires(redis_world: RedisWorld) -> None:
    """All keys carry a hash tag; those of sessions, users and conversations have an end."""
    world = redis_world
    await world.gateways("g1")
    ann, bob = await world.open("g1", "ann"), await world.open("g1", "bob")
    await world.send(ann, bob)
    await world.send(ann, ann)
    await world.read(bob, ann, 1)
    await world.lose("g1", bob.pid or "")
    await world.detach("g1", bob)

    names = [name.decode() for name in await world.raw.keys("*") if isinstance(name, bytes)]

    assert len(names) > 15
    for name in names:
        assert re.fullmatch(r"[a-z]*:?\{[^{}]+\}(:\w+)?", name), name
        if name.startswith("conversations:"):
            # It ends with the conversations it names: each is visited, and struck off when it is gone.
            user = name[len("conversations:{") : -1]
            for peer in await world.raw.zrange(name, 0, -1):
                pair = ":".join(sorted((user, peer.decode())))
                assert await world.raw.zscore("{conversations}:due", pair) is not None, name
        elif not name.startswith(("{roster}", "{gateways}", "{storage}", "{conversations}")):
            assert await world.raw.pttl(name) > 0, name


async def test_no_command_walks_through_all_keys(redis_world: RedisWorld) -> None:
    """Neither SCAN nor KEYS is used, nor anything that reads a whole ranking of users."""
    world = redis_world
    await world.raw.config_resetstat()
    await world.gateways("g1")
    ann, bob = await world.open("g1", "ann"), await world.open("g1", "bob")
    await world.send(ann, bob)
    await world.recover("g1", bob.pid, await world.position(bob))
    await world.store.users(api.UsersRequest(user=ann.user))
    await world.store.release(api.ReleaseRequest(gateway="g1"))

    async def released() -> bool:
        return await world.states() == {"ann": 0, "bob": 0}

    await world.eventually(released)

    used = set(await world.raw.info("commandstats"))
    assert "cmdstat_evalsha" in used
    assert not used & {f"cmdstat_{name}" for name in ("keys", "scan", "sscan", "hscan", "zscan", "smembers")}


@pytest.mark.settings(SESSION_TTL="1h", RECOVERY_WINDOW="2m")
async def test_a_recovery_id_lives_while_its_socket_does(redis_world: RedisWorld) -> None:
    """It is renewed in use; after the loss its window runs, whatever comes late; a return renews it."""
    world = redis_world
    await world.gateways("g1", "g2")
    ann = await world.open("g1", "ann")
    pid, key = ann.pid or "", f"recover:{{{ann.pid}}}"
    renewal = api.PresenceRequest(gateway="g1", pids=[pid])

    await world.raw.pexpire(key, 1000)
    await world.store.presence(renewal)
    assert await world.raw.pttl(key) > 3_500_000

    await world.lose("g1", pid)
    await world.store.presence(renewal)
    assert 0 < await world.raw.pttl(key) <= 120_000

    assert (await world.recover("g2", pid, await world.position(ann))).recovered
    assert await world.raw.pttl(key) > 3_500_000
