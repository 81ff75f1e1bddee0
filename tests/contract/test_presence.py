"""Presence, the roster and leases, on both stores."""

from __future__ import annotations

import pytest

from parley_shared import api
from parley_shared.errors import LAPSED, MALFORMED, ParleyError
from tests.contract.world import RedisWorld, World


async def test_who_opens_a_session_is_online(world: World) -> None:
    """An opened session is one change of the roster, seen in log and snapshot alike."""
    await world.gateways("g1")

    ann = await world.open("g1", "ann")

    assert await world.log() == [api.RosterChange(ann.user, "ann", 1, 1)]
    roster = await world.store.roster()
    assert roster.entries == [api.RosterEntry(ann.user, "ann", 1, 1)]
    assert (roster.version, roster.total) == (1, 1)


async def test_users_are_looked_up_in_the_roster(world: World) -> None:
    """Each has an entry, in the order they were asked for; also who is not known."""
    await world.gateways("g1")
    ann, bob = await world.open("g1", "ann"), await world.open("g1", "bob")
    await world.detach("g1", bob)
    await world.eventually(lambda: _is(world, "bob", 0))

    answer = await world.store.states(api.StatesRequest(users=[bob.user, "nobody", ann.user]))

    assert answer.entries == [
        api.RosterEntry(bob.user, "bob", 0, 3),
        api.RosterEntry("nobody", "", -1, 0),
        api.RosterEntry(ann.user, "ann", 1, 1),
    ]
    assert (await world.store.states(api.StatesRequest(users=[]))).entries == []


async def test_a_user_is_offline_once_the_last_gateway_is_gone(world: World) -> None:
    """Presence ends with the last of a user's gateways, after the grace, and is said once."""
    await world.gateways("g1", "g2")
    ann = await world.open("g1", "ann")
    await world.open("g2", session=ann.session)

    await world.detach("g1", ann)
    await world.detach("g2", ann)
    await world.detach("g2", ann)
    await world.eventually(lambda: _is(world, "ann", 0))

    assert [change.state for change in await world.log()] == [1, 0]


@pytest.mark.settings(OFFLINE_GRACE="300ms")
async def test_a_reload_within_the_grace_is_not_seen(world: World) -> None:
    """Who comes back before the grace is over was never away; another who stays away marks the time."""
    await world.gateways("g1")
    ann, bob = await world.open("g1", "ann"), await world.open("g1", "bob")
    await world.detach("g1", ann)
    await world.detach("g1", bob)

    await world.open("g1", session=ann.session)
    await world.eventually(lambda: _is(world, "bob", 0))

    assert (await world.states())["ann"] == 1
    assert [change.user for change in await world.log()] == [ann.user, bob.user, bob.user]


async def test_an_older_detach_does_not_undo_a_newer_open(world: World) -> None:
    """A detach carries the version of the newest open that was answered; a newer one stays."""
    await world.gateways("g1")
    ann = await world.open("g1", "ann")
    await world.open("g1", session=ann.session)

    await world.detach("g1", ann, version=1)
    await world.send(ann, ann)

    assert [type(item) for item in await world.items("g1")] == [api.Delivery]


async def test_a_late_open_does_not_undo_a_newer_detach(world: World) -> None:
    """An open that is carried out after its user was reported gone makes no ghost."""
    await world.gateways("g1")
    item = world.open_item("ann")
    (result,) = await world.open_all("g1", [item])
    assert result.opened is not None
    await world.detach("g1", result.opened, version=item.version)
    await world.eventually(lambda: _is(world, "ann", 0))

    (late,) = await world.open_all("g1", [item])

    assert late.failure is not None
    assert late.failure.code == "late"
    assert (await world.states())["ann"] == 0


async def test_attach_registers_again(world: World) -> None:
    """A gateway that registers its users again goes on where it was, and learns who is lost."""
    await world.gateways("g1", "g2")
    ann, bob = await world.open("g1", "ann"), await world.open("g1", "bob")
    await world.send(bob, ann)

    def attach(user: str, epoch: str, counter: int) -> api.Attach:
        return api.Attach(user=user, version=500, epoch=epoch, counter=counter)

    answer = await world.store.attach(
        api.AttachRequest(
            gateway="g2",
            users=[
                attach(ann.user, ann.epoch, 0),
                attach(bob.user, bob.epoch, 2),
                attach(bob.user, "000000", 0),
                attach("nobody", ann.epoch, 0),
            ],
        )
    )

    known, ahead, other_epoch, unknown = answer.results
    assert (known.lost, known.epoch, known.counter) == (False, ann.epoch, 1)
    assert [ahead.lost, other_epoch.lost, unknown.lost] == [True, True, True]
    await world.send(bob, ann)
    assert len(await world.items("g2")) == 1


async def test_a_lapsed_gateway_cannot_attach(world: World) -> None:
    """Without a lease nothing is registered."""
    with pytest.raises(ParleyError) as raised:
        await world.store.attach(
            api.AttachRequest(gateway="g9", users=[api.Attach(user="u", version=1, epoch="e", counter=0)])
        )

    assert raised.value.code is LAPSED


@pytest.mark.settings(LEASE="1s")
async def test_a_lease_is_taken_once_and_renewed(world: World) -> None:
    """Only the first beat takes a lease; later ones renew it and list all gateways."""
    assert not (await world.lease("g1")).held
    assert (await world.lease("g1", first=True)).held
    await world.gateways("g2")

    renewed = await world.lease("g1")

    assert renewed.held
    assert renewed.lease_ms == 1000
    assert sorted(info.gateway for info in renewed.gateways) == ["g1", "g2"]
    listed = (await world.store.gateways()).gateways
    assert sorted((info.gateway, info.address, info.capacity, info.ready) for info in listed) == [
        ("g1", "g1:3000", 100, True),
        ("g2", "g2:3000", 100, True),
    ]
    assert all(info.beat <= renewed.now for info in listed)


@pytest.mark.settings(LEASE="1s")
async def test_a_dead_gateway_is_reaped(world: World) -> None:
    """Without beats a lease lapses: its users go offline, its stream is gone, it must start over."""
    await world.gateways("g1", "g2")
    ann = await world.open("g1", "ann")
    bob = await world.open("g1", "bob")
    await world.open("g2", session=bob.session)

    async def reaped() -> bool:
        await world.lease("g2")
        return await _is(world, "ann", 0)

    await world.eventually(reaped)

    assert (await world.states())["bob"] == 1
    assert not (await world.lease("g1")).held
    assert await world.stream("g1") is None
    (result,) = await world.open_all("g1", [world.open_item(session=ann.session)])
    assert result.failure is not None
    assert result.failure.code == "lapsed"
    assert [change.user for change in await world.log()].count(bob.user) == 1


async def test_a_lease_given_back_is_reaped_at_once(world: World) -> None:
    """A gateway that leaves takes its users with it, without waiting for the lease to lapse."""
    await world.gateways("g1")
    await world.open("g1", "ann")

    await world.store.release(api.ReleaseRequest(gateway="g1"))
    await world.eventually(lambda: _is(world, "ann", 0))

    assert (await world.store.gateways()).gateways == []


@pytest.mark.settings(LEASE="1s")
async def test_only_users_of_dead_gateways_count_as_ghosts(redis_world: RedisWorld) -> None:
    """A gateway that left in order has none, though it had users left; one that died has all of its own."""
    world = redis_world
    await world.gateways("g1", "g2", "g3")
    await world.open("g1", "ann")
    for name in ("bob", "cem"):
        await world.open("g2", name)
    await world.open("g3", "dan")

    async def released() -> bool:
        for gateway in ("g2", "g3"):
            await world.lease(gateway)
        return await _is(world, "ann", 0)

    await world.store.release(api.ReleaseRequest(gateway="g1"))
    await world.eventually(released)
    assert _ghosts(world) == 0

    async def reaped() -> bool:
        await world.lease("g3")
        return await _is(world, "bob", 0) and await _is(world, "cem", 0)

    await world.eventually(reaped)
    assert _ghosts(world) == 2


async def test_a_probe_comes_back(world: World) -> None:
    """A nonce travels through the gateway's own stream; without a stream it is told so."""
    await world.gateways("g1")

    await world.store.probe(api.ProbeRequest(gateway="g1", nonce="n1"))
    with pytest.raises(ParleyError) as raised:
        await world.store.probe(api.ProbeRequest(gateway="g2", nonce="n1"))

    assert await world.items("g1") == [api.Probe("n1")]
    assert raised.value.code is LAPSED


@pytest.mark.settings(ROSTER_LIMIT="3")
async def test_a_snapshot_is_capped_with_those_online_first(world: World) -> None:
    """The cap leaves out whoever has been offline longest; the total counts everybody."""
    await world.gateways("g1")
    opened = [await world.open("g1", name) for name in ("ann", "bob", "cem", "dan")]
    await world.detach("g1", opened[0])
    await world.eventually(lambda: _gone(world, opened[0]))
    await world.detach("g1", opened[3])
    await world.eventually(lambda: _gone(world, opened[3]))

    roster = await world.store.roster()

    assert [entry.state for entry in roster.entries] == [1, 1, 0]
    assert {entry.username for entry in roster.entries} == {"bob", "cem", "dan"}
    assert roster.total == 4


async def test_users_are_found_by_the_beginning_of_their_names(world: World) -> None:
    """Search ignores case, runs in the order of names, and pages to the end."""
    await world.gateways("g1")
    ann, anna, bob = [await world.open("g1", name) for name in ("ann", "ANNA", "bob")]
    await world.open("g1", "Änn")
    await world.send(anna, ann)

    async def search(query: str, after: str | None = None, limit: int = 50) -> api.UsersResponse:
        return await world.store.users(api.UsersRequest(user=ann.user, query=query, after=after, limit=limit))

    found = await search("An")
    assert [entry.user for entry in found.users] == [ann.user, anna.user]
    assert [(entry.seq, entry.unread) for entry in found.users] == [(0, 0), (1, 1)]
    assert [entry.username for entry in (await search("ä")).users] == ["Änn"]
    assert (await search("zz")).users == []
    first = await search("", limit=3)
    rest = await search("", first.after, limit=3)
    assert [entry.user for entry in first.users] == [ann.user, anna.user, bob.user]
    assert ([entry.username for entry in rest.users], rest.after) == (["Änn"], None)


async def test_a_cursor_that_is_none_is_refused(world: World) -> None:
    """A made-up cursor is answered with `malformed`."""
    with pytest.raises(ParleyError) as raised:
        await world.store.users(api.UsersRequest(user="u", after="%%%"))

    assert raised.value.code is MALFORMED


async def _is(world: World, username: str, state: int) -> bool:
    return (await world.states()).get(username) == state


async def _gone(world: World, user: api.Opened) -> bool:
    return any(change.user == user.user and change.state == 0 for change in await world.log())


def _ghosts(world: RedisWorld) -> float | None:
    return world.metrics.registry.get_sample_value("parley_store_ghosts_reaped_total")
