"""Recovering lost sockets, on both stores."""

from __future__ import annotations

import pytest

from parley_shared import api
from parley_store.redis import recovery
from tests.contract.world import RedisWorld, World, contents


async def test_a_lost_socket_gets_exactly_what_it_missed(world: World) -> None:
    """On another gateway, from its offset on, in order, with the senders' names."""
    await world.gateways("g1", "g2")
    ann, bob = await world.open("g1", "ann"), await world.open("g1", "bob")
    await world.send(bob, ann, "seen")
    position = await world.position(ann, counter=1)
    await world.lose("g1", ann.pid or "")
    await world.detach("g1", ann)
    await world.send(bob, ann, "one")
    await world.send(bob, ann, "two")

    result = await world.recover("g2", ann.pid, position)

    assert result.recovered is not None
    recovered = result.recovered
    assert (recovered.session, recovered.user, recovered.username) == (ann.session, ann.user, "ann")
    assert [event.counter for event in recovered.events] == [2, 3]
    assert contents([event.message for event in recovered.events]) == ["one", "two"]
    assert recovered.names == {bob.user: "bob"}
    assert (recovered.counter, recovered.epoch, recovered.contacts) == (3, ann.epoch, [bob.user])
    await world.send(bob, ann, "live")
    assert [type(item) for item in await world.items("g2")] == [api.Delivery]


async def test_what_the_socket_sent_itself_is_not_replayed(world: World) -> None:
    """The client has shown its own messages; those of its user's other sockets it has not."""
    await world.gateways("g1")
    ann, bob = await world.open("g1", "ann"), await world.open("g1", "bob")
    other = await world.open("g1", session=ann.session)
    position = await world.position(ann)
    await world.send(ann, bob, "own")
    await world.send(other, bob, "other tab")

    result = await world.recover("g1", ann.pid, position)

    assert result.recovered is not None
    assert contents([e.message for e in result.recovered.events]) == ["other tab"]
    assert result.recovered.counter == 2


async def test_read_marks_come_as_their_latest_state(world: World) -> None:
    """However often a mark moved, the socket learns where it is now."""
    await world.gateways("g1")
    ann, bob = await world.open("g1", "ann"), await world.open("g1", "bob")
    await world.append(*[world.send_item(ann, bob.user) for _ in range(3)])
    position = await world.position(ann, counter=3)
    for seq in (1, 2, 3):
        await world.read(bob, ann, seq)

    result = await world.recover("g1", ann.pid, position)

    assert result.recovered is not None
    assert [(e.counter, e.read.seq) for e in result.recovered.events if e.read] == [(6, 3)]


async def test_presence_comes_as_a_net_change(world: World) -> None:
    """Who came and went is told once, as of now; who is unchanged and the user itself are not."""
    await world.gateways("g1", "g2")
    ann, bob = await world.open("g1", "ann"), await world.open("g1", "bob")
    await world.open("g1", "cem")
    position = await world.position(ann)
    await world.detach("g1", ann)
    await world.detach("g1", bob)
    await world.eventually(lambda: _is(world, "bob", 0))
    await world.open("g1", session=bob.session)
    await world.detach("g1", bob)
    await world.eventually(lambda: _is(world, "bob", 0))
    await world.eventually(lambda: _is(world, "ann", 0))
    dan = await world.open("g1", "dan")

    result = await world.recover("g2", ann.pid, position)

    assert result.recovered is not None
    changed = {entry.user: entry.state for entry in result.recovered.presence}
    assert changed == {bob.user: 0, dan.user: 1}
    assert (await world.states())["ann"] == 1


@pytest.mark.settings(ROSTER_LIMIT="2")
async def test_above_the_cap_presence_is_told_of_contacts_only(world: World) -> None:
    """When the roster is larger than the cap, strangers' comings and goings are nobody's business."""
    await world.gateways("g1")
    ann, bob = await world.open("g1", "ann"), await world.open("g1", "bob")
    await world.send(ann, bob)
    position = await world.position(ann, counter=1)
    await world.open("g1", "cem")
    await world.detach("g1", bob)
    await world.eventually(lambda: _gone(world, bob))

    result = await world.recover("g1", ann.pid, position)

    assert result.recovered is not None
    assert [entry.user for entry in result.recovered.presence] == [bob.user]


async def test_a_pid_can_be_recovered_again_and_again(world: World) -> None:
    """Each time from the offset given, on whichever gateway."""
    await world.gateways("g1", "g2")
    ann, bob = await world.open("g1", "ann"), await world.open("g1", "bob")
    await world.send(bob, ann)
    start, later = await world.position(ann), await world.position(ann, counter=1)

    first = await world.recover("g2", ann.pid, start)
    await world.lose("g2", ann.pid or "")
    second = await world.recover("g1", ann.pid, later)
    third = await world.recover("g2", ann.pid, start)

    assert first.recovered is not None
    assert second.recovered is not None
    assert third.recovered is not None
    counts = [len(r.events) for r in (first.recovered, second.recovered, third.recovered)]
    assert counts == [1, 0, 1]


async def test_taking_over_closes_the_old_socket(world: World) -> None:
    """The gateway that held the pid is told to close the socket, and the new one learns which it was."""
    await world.gateways("g1", "g2")
    item = world.open_item("ann")
    (opened,) = await world.open_all("g1", [item])
    assert opened.opened is not None

    result = await world.recover("g2", item.new_pid, await world.position(opened.opened))

    assert result.recovered is not None
    assert (result.recovered.old_gateway, result.recovered.old_socket) == ("g1", item.socket)
    assert await world.items("g1") == [api.CloseSocket(item.socket)]


async def test_a_socket_that_is_gone_is_not_closed_again(world: World) -> None:
    """Its gateway has said that it is lost; there is nothing to tell it."""
    await world.gateways("g1", "g2")
    item = world.open_item("ann")
    (opened,) = await world.open_all("g1", [item])
    assert opened.opened is not None
    await world.lose("g1", item.new_pid, item.socket)

    result = await world.recover("g2", item.new_pid, await world.position(opened.opened))

    assert result.recovered is not None
    assert (result.recovered.old_gateway, result.recovered.old_socket) == (None, None)
    assert await world.items("g1") == []


async def test_the_end_of_the_old_socket_does_not_end_the_new_one(world: World) -> None:
    """A socket that was taken over is reported lost later; the pid stays with its new holder."""
    await world.gateways("g1", "g2")
    item = world.open_item("ann")
    (opened,) = await world.open_all("g1", [item])
    assert opened.opened is not None
    position = await world.position(opened.opened)
    await world.recover("g1", item.new_pid, position)

    await world.lose("g1", item.new_pid, item.socket)
    await world.lose("g2", item.new_pid)

    assert (await world.recover("g2", item.new_pid, position)).recovered is not None


async def test_a_repeated_recover_is_answered_alike(world: World) -> None:
    """A recover whose answer was lost is sent again as it was."""
    await world.gateways("g1", "g2")
    ann, bob = await world.open("g1", "ann"), await world.open("g1", "bob")
    await world.send(bob, ann)
    item = api.Recover(version=77, pid=ann.pid or "", position=await world.position(ann), socket="s")
    request = api.RecoverRequest(gateway="g2", recovers=[item])

    first, second = await world.store.recover(request), await world.store.recover(request)

    assert first == second


@pytest.mark.settings(RECOVERY_WINDOW="1s")
async def test_a_pid_expires_after_the_window(world: World) -> None:
    """The window starts when the socket is lost, and a repeat of the report does not make it longer."""
    await world.gateways("g1")
    ann = await world.open("g1", "ann")
    position = await world.position(ann)
    await world.lose("g1", ann.pid or "")

    async def expired() -> bool:
        await world.lease("g1")
        await world.lose("g1", ann.pid or "")
        request = api.RecoverRequest(
            gateway="unknown", recovers=[api.Recover(version=1, pid=ann.pid or "", position=position)]
        )
        (result,) = (await world.store.recover(request)).results
        return result.reason == "unknown_pid"

    await world.eventually(expired)


@pytest.mark.settings(LEASE="1s")
async def test_a_dead_gateways_sockets_can_be_recovered(world: World) -> None:
    """After kill -9 of the gateway the pids of its sockets are good for a whole window."""
    await world.gateways("g1", "g2")
    ann, bob = await world.open("g1", "ann"), await world.open("g2", "bob")
    position = await world.position(ann)

    async def reaped() -> bool:
        await world.lease("g2")
        return await _is(world, "ann", 0)

    await world.eventually(reaped)
    await world.send(bob, ann, "missed")

    result = await world.recover("g2", ann.pid, position)

    assert result.recovered is not None
    assert len(result.recovered.events) == 1
    assert (await world.states())["ann"] == 1


@pytest.mark.settings(RECOVERY_BYTES="65536")
async def test_too_much_to_replay_is_loaded_anew(world: World) -> None:
    """Beyond the budget of bytes the socket starts afresh."""
    await world.gateways("g1")
    ann, bob = await world.open("g1", "ann"), await world.open("g1", "bob")
    await world.append(*[world.send_item(bob, ann.user, "x" * 10_000) for _ in range(7)])

    result = await world.recover("g1", ann.pid, await world.position(ann))

    assert (result.recovered, result.reason) == (None, "too_much")


async def test_a_wrong_place_is_not_recovered(world: World) -> None:
    """Ahead of the inbox, of another epoch, of another roster: all or nothing means nothing."""
    await world.gateways("g1")
    ann = await world.open("g1", "ann")
    good = await world.position(ann)

    def but(**changes: object) -> api.Position:
        values = {key: getattr(good, key) for key in good.__struct_fields__}
        return api.Position(**{**values, **changes})

    reasons = [
        (await world.recover("g1", ann.pid, position)).reason
        for position in (
            but(counter=9),
            but(epoch="000000"),
            but(roster=99),
            but(roster_epoch="000000"),
        )
    ]

    assert reasons == ["ahead", "epoch", "roster", "roster"]
    assert (await world.recover("g1", ann.pid, good)).recovered is not None


@pytest.mark.parametrize("pid", ["unknown", "", "a b", "{x}"])
async def test_an_unknown_pid_is_not_recovered(world: World, pid: str) -> None:
    """A pid nobody was given is of no use, whatever it looks like."""
    await world.gateways("g1")
    ann = await world.open("g1", "ann")

    result = await world.recover("g1", pid, await world.position(ann))

    assert (result.recovered, result.reason) == (None, "unknown_pid")


async def test_a_session_is_recovered_by_its_own_subject_only(world: World) -> None:
    """A stolen pid is of no use to another subject."""
    await world.gateways("g1")
    ann = await world.open("g1", "ann", subject="id|1")
    position = await world.position(ann)

    assert (await world.recover("g1", ann.pid, position, subject="id|2")).reason == "session"
    assert (await world.recover("g1", ann.pid, position)).reason == "session"
    assert (await world.recover("g1", ann.pid, position, subject="id|1")).recovered is not None


async def test_a_pid_is_bound_to_its_session(world: World) -> None:
    """Who names another session does not get the socket of the pid's."""
    await world.gateways("g1")
    ann, bob = await world.open("g1", "ann"), await world.open("g1", "bob")
    position = await world.position(ann)

    assert (await world.recover("g1", ann.pid, position, session=bob.session)).reason == "session"
    assert (await world.recover("g1", ann.pid, position, session=ann.session)).recovered is not None


async def test_a_failed_recovery_registers_nothing(world: World) -> None:
    """Who cannot be recovered is not shown as online on the gateway that asked."""
    await world.gateways("g1", "g2")
    ann = await world.open("g1", "ann")
    position = await world.position(ann, counter=9)
    await world.detach("g1", ann)
    await world.eventually(lambda: _is(world, "ann", 0))

    await world.recover("g2", ann.pid, position)

    assert (await world.states())["ann"] == 0


async def test_a_lapsed_gateway_recovers_nobody(world: World) -> None:
    """Without a lease the answer is the same failure as for opening."""
    await world.gateways("g1")
    ann = await world.open("g1", "ann")

    result = await world.recover("g9", ann.pid, await world.position(ann))

    assert result.failure is not None
    assert result.failure.code == "lapsed"


async def test_a_gateway_forgets_a_pid_that_another_has_taken_over(redis_world: RedisWorld) -> None:
    """Once it has closed the old socket, only the other gateway is asked for the pid when it dies."""
    world = redis_world
    await world.gateways("g1", "g2")
    ann = await world.open("g1", "ann")
    taken = (await world.recover("g2", ann.pid, await world.position(ann))).recovered
    assert taken is not None
    assert taken.old_socket is not None

    await world.lose("g1", ann.pid or "", taken.old_socket)

    assert await world.raw.scard("pids:{g1}") == 0
    assert await world.raw.smembers("pids:{g2}") == {(ann.pid or "").encode()}
    assert not await world.raw.hexists(f"recover:{{{ann.pid}}}", "lost")


async def test_recoveries_of_one_batch_fit_into_one_answer(
    redis_world: RedisWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those beyond it start afresh, as the gateway could not read the answer to all of them."""
    world = redis_world
    await world.gateways("g1")
    users = [await world.open("g1", name) for name in ("ann", "bob", "cem")]
    positions = [await world.position(user) for user in users]
    sender = await world.open("g1", "dan")
    for user in users:
        await world.send(sender, user, "x" * 1000)
    monkeypatch.setattr(recovery, "ANSWER_BYTES", 2500)
    recovers = [
        api.Recover(version=900 + number, pid=user.pid or "", position=position, socket=f"new-{number}")
        for number, (user, position) in enumerate(zip(users, positions, strict=True))
    ]
    answer = await world.store.recover(api.RecoverRequest(gateway="g1", recovers=recovers))
    reasons = [result.reason for result in answer.results]
    assert sorted(reasons) == ["", "", "too_much"]
    assert [result.recovered is not None for result in answer.results] == [not reason for reason in reasons]


async def _is(world: World, username: str, state: int) -> bool:
    return (await world.states()).get(username) == state


async def _gone(world: World, user: api.Opened) -> bool:
    return any(change.user == user.user and change.state == 0 for change in await world.log())
