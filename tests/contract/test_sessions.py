"""Opening sessions, on both stores."""

from __future__ import annotations

import pytest

from parley_shared import api
from parley_store.redis import sessions
from tests.contract.world import RedisWorld, World, contents


async def test_a_username_opens_a_new_session(world: World) -> None:
    """A username alone makes a session and a user, under the ids the gateway has chosen."""
    await world.gateways("g1")
    item = world.open_item("ann")

    (result,) = await world.open_all("g1", [item])

    assert result.opened is not None
    assert (result.opened.session, result.opened.user) == (item.new_session, item.new_user)
    assert (result.opened.username, result.opened.pid, result.opened.new) == ("ann", item.new_pid, True)
    assert (result.opened.counter, result.opened.contacts) == (0, [])


async def test_the_same_username_twice_makes_two_users(world: World) -> None:
    """Names are not accounts: signing in twice under one name makes two users, as in the guide."""
    await world.gateways("g1")

    one, other = await world.open("g1", "ann"), await world.open("g1", "ann")

    assert one.user != other.user


async def test_a_known_session_is_resumed_whatever_the_username(world: World) -> None:
    """A sessionID brings back its user; a username given with it is ignored."""
    await world.gateways("g1", "g2")
    first = await world.open("g1", "ann")

    again = await world.open("g2", "bob", session=first.session)

    assert (again.session, again.user, again.username) == (first.session, first.user, "ann")
    assert again.new is False
    assert again.pid != first.pid


async def test_an_unknown_session_with_a_username_makes_a_new_one(world: World) -> None:
    """A sessionID that has expired does not keep anybody out who has a name."""
    await world.gateways("g1")

    opened = await world.open("g1", "ann", session="long-gone")

    assert opened.new
    assert opened.session != "long-gone"


@pytest.mark.parametrize("session", [None, "unknown", "a b", "{x}:y", "é"])
async def test_without_session_and_username_there_is_no_session(world: World, session: str | None) -> None:
    """A session that is unknown or impossible, and no username: `invalid username`, and nothing is made."""
    await world.gateways("g1")

    (result,) = await world.open_all("g1", [world.open_item(session=session)])

    assert result.opened is None
    assert result.failure is not None
    assert (result.failure.code, result.failure.message) == ("invalid_username", "invalid username")
    assert await world.states() == {}


async def test_a_repeated_open_makes_nothing_twice(world: World) -> None:
    """An open whose answer was lost is sent again as it was, and answered alike."""
    await world.gateways("g1")
    item = world.open_item("ann")

    first = await world.open_all("g1", [item])
    second = await world.open_all("g1", [item])

    assert first == second
    assert len(await world.log()) == 1


async def test_a_batch_of_opens_fails_item_by_item(world: World) -> None:
    """One bad item does not keep the others out."""
    await world.gateways("g1")

    good, bad, other = await world.open_all(
        "g1", [world.open_item("ann"), world.open_item(), world.open_item("bob")]
    )

    assert good.opened is not None
    assert bad.failure is not None
    assert other.opened is not None


async def test_a_gateway_without_a_lease_opens_nothing(world: World) -> None:
    """Who holds no lease is told to start over, and nobody is shown as online."""
    (result,) = await world.open_all("g1", [world.open_item("ann")])

    assert result.failure is not None
    assert result.failure.code == "lapsed"
    assert await world.states() == {}


async def test_a_subject_has_one_user_for_ever(world: World) -> None:
    """Who signs in elsewhere is the same user in every session, under the newest name."""
    await world.gateways("g1")

    one = await world.open("g1", "ann", subject="id|1")
    other = await world.open("g1", "Ann Lee", subject="id|1")
    third = await world.open("g1", "ann", subject="id|2")

    assert one.user == other.user
    assert third.user != one.user
    assert other.username == "Ann Lee"
    assert sorted(await world.states()) == ["Ann Lee", "ann"]


async def test_a_session_resumes_under_its_own_subject_only(world: World) -> None:
    """A stolen sessionID is of no use to another subject, nor to nobody."""
    await world.gateways("g1")
    opened = await world.open("g1", "ann", subject="id|1")

    thief, nobody = await world.open_all(
        "g1",
        [
            world.open_item(session=opened.session, subject="id|2"),
            world.open_item(session=opened.session),
        ],
    )

    assert thief.failure is not None
    assert nobody.failure is not None
    assert (await world.open("g1", session=opened.session, subject="id|1")).user == opened.user


async def test_no_recovery_id_when_none_is_wanted(world: World) -> None:
    """A socket that wants no recovery gets no pid, and the one offered is unknown."""
    await world.gateways("g1")
    item = world.open_item("ann", recovery=False)

    (result,) = await world.open_all("g1", [item])

    assert result.opened is not None
    assert result.opened.pid is None
    recovered = await world.recover("g1", item.new_pid, await world.position(result.opened))
    assert recovered.reason == "unknown_pid"


async def test_contacts_come_with_their_messages_newest_conversation_first(world: World) -> None:
    """An opened session brings conversations with messages, last seq, unread count and presence."""
    await world.gateways("g1")
    ann, bob, cem = [await world.open("g1", name) for name in ("ann", "bob", "cem")]
    await world.send(bob, ann, "one")
    await world.send(ann, bob, "two")
    await world.send(bob, ann, "three")
    await world.later()
    await world.send(cem, ann, "hi")
    await world.detach("g1", bob)
    await world.eventually(lambda: _is(world, "bob", 0))

    again = await world.open("g1", session=ann.session)

    assert [contact.username for contact in again.contacts] == ["cem", "bob"]
    of_cem, of_bob = again.contacts
    assert (of_bob.seq, of_bob.unread, of_bob.connected) == (3, 1, False)
    assert contents(of_bob.messages) == ["one", "two", "three"]
    assert (of_cem.seq, of_cem.unread, of_cem.connected) == (1, 1, True)
    assert again.counter == 4


async def test_at_most_fifty_messages_of_a_conversation_are_sent(world: World) -> None:
    """The newest fifty come at once; the rest is there for `history`."""
    await world.gateways("g1")
    ann, bob = await world.open("g1", "ann"), await world.open("g1", "bob")
    await world.append(*[world.send_item(ann, bob.user, str(n)) for n in range(60)])

    again = await world.open("g1", session=bob.session)

    assert contents(again.contacts[0].messages) == [str(n) for n in range(10, 60)]
    assert (again.contacts[0].seq, again.contacts[0].unread) == (60, 60)


@pytest.mark.settings(USERS_BYTES="65536")
async def test_the_histories_have_a_budget_of_bytes(world: World) -> None:
    """Beyond the budget a conversation brings its newest messages that fit, and older ones none."""
    await world.gateways("g1")
    ann, bob, cem = [await world.open("g1", name) for name in ("ann", "bob", "cem")]
    await world.append(*[world.send_item(bob, ann.user, "b" * 10_000) for _ in range(5)])
    await world.later()
    await world.append(*[world.send_item(cem, ann.user, "c" * 10_000) for _ in range(4)])

    again = await world.open("g1", session=ann.session)

    assert [len(contact.messages) for contact in again.contacts] == [4, 2]
    assert [contact.seq for contact in again.contacts] == [4, 5]


@pytest.mark.settings(SESSION_TTL="10s")
async def test_what_is_in_use_is_renewed(world: World) -> None:
    """A touch of a session is accepted for known and unknown ones alike."""
    await world.gateways("g1")
    ann = await world.open("g1", "ann")

    done = await world.store.presence(
        api.PresenceRequest(gateway="g1", touches=[ann.session, "unknown"], pids=[ann.pid or ""])
    )

    assert done.ok
    assert (await world.open("g1", session=ann.session)).user == ann.user


async def _is(world: World, username: str, state: int) -> bool:
    return (await world.states()).get(username) == state


async def test_opens_of_one_batch_fit_into_one_answer(
    redis_world: RedisWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each gets its part of what a gateway can read; what is left out is there as history."""
    world = redis_world
    await world.gateways("g1")
    ann, bob = await world.open("g1", "ann"), await world.open("g1", "bob")
    for number in range(4):
        await world.send(ann, bob, f"{number}" * 1000)
    monkeypatch.setattr(sessions, "ANSWER_BYTES", 5000)
    alone = await world.open("g1", session=bob.session)
    assert len(alone.contacts[0].messages) == 4
    for result in await world.open_all("g1", [world.open_item(session=user.session) for user in (ann, bob)]):
        assert result.opened is not None
        assert [content[0] for content in contents(result.opened.contacts[0].messages)] == ["2", "3"]
