"""A user's sessions: listed, ended, and their recovery ids and sockets with them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from parley_shared import api, people
from parley_shared.errors import UNAVAILABLE, ParleyError
from parley_store.redis.topology import Work
from tests.contract.world import RedisWorld, World


async def listed(world: World, user: api.Opened) -> list[str]:
    """The handles of a user's sessions, the one used last first."""
    answer = await world.store.people.sessions(people.SessionsRequest(user=user.user))
    return [session.session for session in answer.sessions]


async def revoke(world: World, user: api.Opened, session: str | None = None) -> int:
    """End one session, by its handle, or all."""
    request = people.RevokeRequest(user=user.user, session=session)
    return (await world.store.people.revoke(request)).ended


async def test_sessions_are_listed_by_last_use(world: World) -> None:
    """All sessions of a user are listed by handles, the one used last first."""
    await world.gateways("g1")
    first = await world.open("g1", "ann", subject="ann")
    await world.later()
    second = await world.open("g1", "ann", subject="ann")
    assert first.user == second.user
    expected = [people.handle_of(second.session), people.handle_of(first.session)]
    assert await listed(world, first) == expected
    await world.later()
    await world.open("g1", session=first.session, subject="ann")
    assert await listed(world, first) == expected[::-1]
    await world.later()
    await world.store.presence(api.PresenceRequest(gateway="g1", touches=[second.session]))
    assert await listed(world, first) == expected


async def test_a_revoked_session_is_unknown(world: World) -> None:
    """It resumes nothing, is listed no more, and a repeat ends nothing."""
    await world.gateways("g1")
    ann = await world.open("g1", "ann")
    assert await revoke(world, ann, people.handle_of(ann.session)) == 1
    (result,) = await world.open_all("g1", [world.open_item(session=ann.session)])
    assert result.failure is not None
    assert result.failure.code == "invalid_username"
    assert await listed(world, ann) == []
    assert await revoke(world, ann, people.handle_of(ann.session)) == 0


async def test_revoking_one_session_leaves_the_others(world: World) -> None:
    """The other sessions of the user go on, and so do those of other users."""
    await world.gateways("g1")
    first = await world.open("g1", "ann", subject="ann")
    second = await world.open("g1", "ann", subject="ann")
    bob = await world.open("g1", "bob")
    assert await revoke(world, first, people.handle_of(first.session)) == 1
    assert await listed(world, first) == [people.handle_of(second.session)]
    assert (await world.open("g1", session=second.session, subject="ann")).user == first.user
    assert (await world.open("g1", session=bob.session)).user == bob.user
    assert await revoke(world, first, people.handle_of(bob.session)) == 0


async def test_recovery_ids_die_with_their_session(world: World) -> None:
    """A socket of a revoked session cannot be recovered, one of another session can."""
    await world.gateways("g1")
    first = await world.open("g1", "ann", subject="ann")
    second = await world.open("g1", "ann", subject="ann")
    await revoke(world, first, people.handle_of(first.session))
    lost = await world.recover("g1", first.pid, await world.position(first), subject="ann")
    assert lost.recovered is None
    assert lost.reason == "unknown_pid"
    kept = await world.recover("g1", second.pid, await world.position(second), subject="ann")
    assert kept.recovered is not None


async def test_every_gateway_of_the_user_is_told(world: World) -> None:
    """Gateways that hold the user end the sockets of what was revoked; no other hears of it."""
    await world.gateways("g1", "g2", "g3")
    ann = await world.open("g1", "ann")
    await world.open("g2", session=ann.session)
    await world.open("g3", "bob")
    await revoke(world, ann)
    expected = api.EndSockets(ann.user, [people.handle_of(ann.session)], "log out")
    for gateway in ("g1", "g2"):
        assert expected in await world.items(gateway)
    assert not [item for item in await world.items("g3") if isinstance(item, api.EndSockets)]


async def test_standing_names_sessions_that_have_ended(world: World) -> None:
    """A gateway that may have missed news learns which of its sockets' sessions are gone."""
    await world.gateways("g1")
    ann = await world.open("g1", "ann", subject="ann")
    other = await world.open("g1", "ann", subject="ann")
    await revoke(world, ann, people.handle_of(ann.session))
    ask = people.StandingAsk(user=ann.user, sessions=[ann.session, other.session])
    (standing,) = (await world.store.people.standing(people.StandingRequest(users=[ask]))).results
    assert standing.ended == [ann.session]


async def test_the_hundred_and_first_session_ends_the_oldest(redis_world: RedisWorld) -> None:
    """A user's sessions are bounded: the one used longest ago ends, with its sockets."""
    world = redis_world
    await world.gateways("g1")
    first = await world.open("g1", "ann", subject="ann")
    await world.later()
    await world.open_all("g1", [world.open_item("ann", subject="ann") for _ in range(100)])
    handles = await listed(world, first)
    assert len(handles) == 100
    assert people.handle_of(first.session) not in handles
    assert await world.raw.exists(f"session:{{{first.session}}}") == 0
    ended = api.EndSockets(first.user, [people.handle_of(first.session)], "revoked")
    assert ended in await world.items("g1")


async def test_a_session_too_many_ends_though_redis_failed_in_between(redis_world: RedisWorld) -> None:
    """It stays in the index until it has ended, so the next open ends it, and so would any log-out."""
    world = redis_world
    await world.gateways("g1")
    first = await world.open("g1", "ann", subject="ann")
    await world.later()
    await world.open_all("g1", [world.open_item("ann", subject="ann") for _ in range(99)])
    topology = world.redis._base.topology
    run = topology.run

    async def fail(work: Sequence[Work], op: str) -> list[object]:
        if op == "revoke":
            raise ParleyError(UNAVAILABLE)
        return await run(work, op)

    one_more = world.open_item("ann", subject="ann")
    topology.run = fail  # type: ignore[method-assign]
    with pytest.raises(ParleyError):
        await world.open_all("g1", [one_more])
    topology.run = run  # type: ignore[method-assign]
    (result,) = await world.open_all("g1", [one_more])
    assert result.failure is None
    assert await world.raw.exists(f"session:{{{first.session}}}") == 0
    handles = await listed(world, first)
    assert len(handles) == 100
    assert people.handle_of(first.session) not in handles


@pytest.mark.parametrize("way", ["open", "recover"])
async def test_a_session_that_ends_while_it_is_opened_opens_nothing(
    redis_world: RedisWorld, way: str
) -> None:
    """Revoked between being found and its gateway being registered: no socket.

    The gateway is told that it is registered in vain; another session's sockets may need that registration.
    """
    world = redis_world
    await world.gateways("g1", "g2")
    ann = await world.open("g1", "ann")
    position = await world.position(ann)
    registry = world.redis._sessions._registry
    enrol = registry.enrol

    async def enrol_late(*arguments: object, **more: object) -> None:
        await revoke(world, ann)
        await enrol(*arguments, **more)  # type: ignore[arg-type]

    registry.enrol = enrol_late  # type: ignore[method-assign]
    if way == "open":
        (opened,) = await world.open_all("g2", [world.open_item(session=ann.session)])
        assert opened.failure is not None
        assert opened.failure.code == "unknown_session"
        registered = opened.registered
    else:
        recovered = await world.recover("g2", ann.pid, position)
        assert recovered.recovered is None
        assert recovered.reason == "session"
        registered = recovered.registered
    registry.enrol = enrol  # type: ignore[method-assign]
    assert registered == ann.user
    await world.detach("g2", ann)
    gateways = await world.raw.hget(f"user:{{{ann.user}}}", "gateways")
    assert gateways == b"g1"
