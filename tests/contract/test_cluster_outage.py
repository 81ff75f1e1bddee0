"""One server of a Redis Cluster away: what lies on it fails, and nothing else."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.crc import key_slot

from parley_local.redis_server import RedisServer
from parley_shared import api
from parley_shared.errors import UNAVAILABLE, ParleyError
from parley_shared.ids import conversation_id
from parley_store.redis import keys
from tests.contract.servers import client, cluster, with_waitaof
from tests.contract.world import FAR, RedisWorld, contents, half, make_config

LOST = 1
"""The server that goes away: none of the keys that there is one of (roster, leases, visits) lies on it."""


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[RedisServer]]:
    """Run one cluster for the tests of this module."""
    with cluster(tmp_path_factory.mktemp("outage"), executable=with_waitaof()) as servers:
        for server in servers:
            with client(server) as connection:
                # Else the others refuse everything as soon as they have noticed.
                connection.config_set("cluster-require-full-coverage", "no")
        yield servers


@pytest.fixture
async def world(nodes: list[RedisServer], settings: dict[str, str]) -> AsyncIterator[RedisWorld]:
    """Make a store over the empty cluster."""
    for server in nodes:
        with client(server) as connection:
            connection.flushall()
    raw: RedisCluster = RedisCluster(startup_nodes=[ClusterNode("127.0.0.1", nodes[0].port)], protocol=2)
    url = f"redis+cluster://127.0.0.1:{nodes[0].port},127.0.0.1:{nodes[2].port}"
    over_cluster = RedisWorld(make_config(REDIS_URL=url, REDIS_TIMEOUT="1s", **settings), raw)

    async def ready() -> bool:
        return over_cluster.store.missing() == {}

    await over_cluster.eventually(ready)
    yield over_cluster
    await over_cluster.close()
    for server in nodes:
        server.resume()


def owner(tag: str) -> int:
    """Tell on which server the keys of a tag lie."""
    slot = key_slot(b"{%b}" % tag.encode())
    return next(number for number in range(3) if slot < (number + 1) * 16384 // 3)


def on_lost(tag: str) -> bool:
    """Tell whether the keys of a tag lie on the server that goes away."""
    return owner(tag) == LOST


def gateway(*, lost: bool) -> str:
    """Name a gateway whose stream lies on the lost server, or not."""
    return next(name for name in (f"gateway-{n}" for n in range(100)) if on_lost(name) == lost)


def elsewhere(prefix: str) -> str:
    """Make an id that does not lie on the lost server."""
    return next(name for name in (f"{prefix}-{n}" for n in range(100)) if not on_lost(name))


async def user(
    world: RedisWorld, at: str, *, lost: bool, peer: str = "", between: bool = False
) -> api.Opened:
    """Open a session of a user who lies on the lost server, or not.

    Args:
        world: The store.
        at: The gateway.
        lost: Where the user lies.
        peer: Another user, if it matters where the conversation with them lies.
        between: Where that is.
    """
    item = world.open_item("somebody")
    item.new_session, item.new_pid = elsewhere(item.new_session), elsewhere(item.new_pid)
    item.new_user = next(
        name
        for name in (f"{item.new_user}-{n}" for n in range(1000))
        if on_lost(name) == lost and (not peer or on_lost(conversation_id(name, peer)) == between)
    )
    (result,) = await world.open_all(at, [item])
    assert result.opened is not None
    return result.opened


async def lose(world: RedisWorld, server: RedisServer) -> None:
    """Have a server hang, and the store know it."""
    server.pause()

    async def known() -> bool:
        return world.redis.topology.lost([tag for tag in map(str, range(100)) if on_lost(tag)])

    await world.eventually(known)


def before(monkeypatch: pytest.MonkeyPatch, part: object, step: str, happens: Callable[[], None]) -> None:
    """Have something happen right before a step."""
    original = getattr(part, step)

    async def late(*arguments: object) -> object:
        happens()
        return await original(*arguments)

    monkeypatch.setattr(part, step, late)


def codes(results: list[api.Appended]) -> list[str]:
    """Name what became of messages."""
    return [result.failure.code if result.failure else "" for result in results]


@pytest.mark.parametrize(
    "durability",
    [pytest.param(each, marks=pytest.mark.settings(DURABILITY=each)) for each in ("fast", "disk")],
)
async def test_messages_fail_alone(world: RedisWorld, nodes: list[RedisServer], durability: str) -> None:
    """In one batch: the recipient, the conversation, the sender lie on the lost server, or none of them."""
    assert world.config.durability == durability
    home = gateway(lost=False)
    await world.gateways(home)
    ann = await user(world, home, lost=False)
    bob = await user(world, home, lost=False, peer=ann.user)
    far = await user(world, home, lost=False, peer=ann.user, between=True)
    gone = await user(world, home, lost=True, peer=ann.user)
    items = [
        world.send_item(ann, bob.user, "one"),
        world.send_item(ann, gone.user),
        world.send_item(gone, ann.user),
        world.send_item(ann, far.user),
        world.send_item(ann, bob.user, "two"),
    ]
    nodes[LOST].pause()

    first = await world.append(*items)
    started = time.monotonic()
    again = await world.append(*items)
    took = time.monotonic() - started

    expected = ["", UNAVAILABLE.name, UNAVAILABLE.name, UNAVAILABLE.name, ""]
    assert codes(first) == codes(again) == expected
    assert [(first[n].seq, first[n].duplicate) for n in (0, 4)] == [(1, False), (2, False)]
    assert [(again[n].seq, again[n].duplicate) for n in (0, 4)] == [(1, True), (2, True)]
    assert took < 0.5, "nobody waits for a server that is known to be away"
    nodes[LOST].resume()

    async def completed() -> bool:
        return codes(await world.append(*items)) == [""] * 5

    await world.eventually(completed)
    assert contents([event.message for event in (await world.inbox(bob)).events]) == ["one", "two"]
    for one, other in ((ann, gone), (ann, far)):
        messages, _ = await world.history(one, other)
        assert [message.seq for message in messages] == list(range(1, len(messages) + 1))
    assert (await world.inbox(gone)).counter == 2
    assert (await world.inbox(ann)).counter == 5


async def test_a_lone_message_does_not_hold_up_what_comes_after_it(
    world: RedisWorld, nodes: list[RedisServer]
) -> None:
    """Its batch is answered: its gateway does not repeat it while others wait behind it."""
    home = gateway(lost=False)
    await world.gateways(home)
    ann, gone = await user(world, home, lost=False), await user(world, home, lost=True)
    await lose(world, nodes[LOST])

    assert codes(await world.append(world.send_item(ann, gone.user))) == [UNAVAILABLE.name]


async def test_a_gateway_that_cannot_be_told_fails_its_own_messages(
    world: RedisWorld, nodes: list[RedisServer]
) -> None:
    """Both are stored; the repeat of the one tells the gateway that there is something to fetch."""
    home, far = gateway(lost=False), gateway(lost=True)
    await world.gateways(home, far)
    ann = await user(world, home, lost=False)
    bob = await user(world, home, lost=False, peer=ann.user)
    cem = await user(world, far, lost=False, peer=ann.user)
    items = [world.send_item(ann, cem.user), world.send_item(ann, bob.user)]
    await world.append(*items)
    more = [world.send_item(ann, cem.user), world.send_item(ann, bob.user)]
    before = len(await world.items(far))
    await lose(world, nodes[LOST])

    answers = await world.append(*more)

    alone = api.AppendRequest(gateway=home, deadline=FAR, messages=more[:1], inline=[home])
    answer = await world.store.append(alone)

    assert codes(answers) == [UNAVAILABLE.name, ""]
    assert answers[1].seq == 2
    # Alone it is answered as well: its own gateway's items come with the answer.
    assert codes(answer.results) == [UNAVAILABLE.name]
    assert answer.items == {home: [api.Nudge(ann.user, ann.epoch, 4)]}
    nodes[LOST].resume()

    async def completed() -> bool:
        return codes(await world.append(*more)) == ["", ""]

    await world.eventually(completed)
    assert (await world.items(far))[before:] == [api.Nudge(cem.user, cem.epoch, 2)]


async def test_only_new_conversations_wait_for_the_list_of_all(
    world: RedisWorld, nodes: list[RedisServer]
) -> None:
    """The server with the list is away: what is noted there goes on, what is new fails, and goes on later."""
    at = owner(keys.CONVERSATIONS)
    home = gateway(lost=True)
    await world.gateways(home)
    ann = await user(world, home, lost=True)
    bob = await user(world, home, lost=True, peer=ann.user, between=True)
    cem = await user(world, home, lost=True, peer=ann.user, between=True)
    await world.send(ann, bob)
    items = [world.send_item(ann, cem.user), world.send_item(ann, bob.user)]
    nodes[at].pause()

    answers = await world.append(*items)
    (alone,) = await world.append(items[0])

    assert codes([*answers, alone]) == [UNAVAILABLE.name, "", UNAVAILABLE.name]
    nodes[at].resume()

    async def completed() -> bool:
        return codes(await world.append(*items)) == ["", ""]

    await world.eventually(completed)
    assert await world.raw.zcard("{conversations}:due") == 2
    assert (await world.inbox(cem)).counter == 1


async def test_a_user_whose_note_is_lost_fails_the_new_conversation(
    world: RedisWorld, nodes: list[RedisServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server goes away between a message's number and the notes of its users; the others are noted."""
    home = gateway(lost=False)
    await world.gateways(home)
    ann = await user(world, home, lost=False)
    bob = await user(world, home, lost=False, peer=ann.user)
    gone = await user(world, home, lost=True, peer=ann.user)
    before(monkeypatch, world.redis._conversations, "note", nodes[LOST].pause)

    answers = await world.append(world.send_item(ann, gone.user), world.send_item(ann, bob.user))

    assert codes(answers) == [UNAVAILABLE.name, ""]
    assert await world.raw.hget(f"conversation:{{{conversation_id(ann.user, bob.user)}}}", "n") == b"1"
    assert not await world.raw.hexists(f"conversation:{{{conversation_id(ann.user, gone.user)}}}", "n")
    # It was numbered, and nobody has heard of it.
    assert (await world.inbox(ann)).counter == 1


async def test_a_gap_that_cannot_be_filled_is_not_skipped(
    world: RedisWorld, nodes: list[RedisServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is missing lies on the lost server: the message after it fails, and later both come in order."""
    home = gateway(lost=False)
    await world.gateways(home)
    ann = await user(world, home, lost=False)
    bob = await user(world, home, lost=False, peer=ann.user)
    far = await user(world, home, lost=False, peer=ann.user, between=True)
    await half(world, monkeypatch, world.send_item(ann, far.user, "one"))
    items = [world.send_item(ann, far.user, "two"), world.send_item(ann, bob.user)]
    before(monkeypatch, world.redis._messages._gaps, "fill", nodes[LOST].pause)

    answers = await world.append(*items)

    assert codes(answers) == [UNAVAILABLE.name, ""]
    assert (await world.inbox(far)).counter == 0
    monkeypatch.undo()
    nodes[LOST].resume()

    async def completed() -> bool:
        return codes(await world.append(*items)) == ["", ""]

    await world.eventually(completed)
    assert contents([event.message for event in (await world.inbox(far)).events]) == ["one", "two"]


@pytest.mark.settings(DURABILITY="disk")
async def test_a_lost_confirmation_fails_what_it_was_for(
    world: RedisWorld, nodes: list[RedisServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server goes away between the writes and the wait for its disk: nobody is told of what lies on it.

    Nor of what another batch has left there and this one has completed.
    """
    home = gateway(lost=False)
    await world.gateways(home)
    ann = await user(world, home, lost=False)
    bob = await user(world, home, lost=False, peer=ann.user)
    gone = await user(world, home, lost=True, peer=ann.user)
    await half(world, monkeypatch, world.send_item(ann, gone.user))
    items = [world.send_item(ann, gone.user), world.send_item(ann, bob.user)]
    before(monkeypatch, world.redis._messages._durability, "confirm_partly", nodes[LOST].pause)

    answers = await world.append(*items)

    assert codes(answers) == [UNAVAILABLE.name, ""]
    told = [item for item in await world.items(home) if isinstance(item, api.Delivery)]
    assert [item.peer for item in told] == [bob.user]
    nodes[LOST].resume()
    monkeypatch.undo()

    async def completed() -> bool:
        return codes(await world.append(*items)) == ["", ""]

    await world.eventually(completed)
    nudges = [item.user for item in await world.items(home) if isinstance(item, api.Nudge)]
    assert nudges[:2] == [gone.user, ann.user]


async def test_read_marks_and_typing_pass_where_they_can(world: RedisWorld, nodes: list[RedisServer]) -> None:
    """What lies on other servers than the lost one is told, and told once more with the repeat."""
    home = gateway(lost=False)
    await world.gateways(home)
    ann = await user(world, home, lost=False)
    bob = await user(world, home, lost=False, peer=ann.user)
    gone = await user(world, home, lost=True, peer=ann.user)
    for other in (gone, bob):
        await world.send(ann, other)
    marks = [api.ReadMark(reader=reader.user, peer=ann.user, seq=1) for reader in (gone, bob)]
    typing = [api.Typing(from_=ann.user, to=to.user) for to in (gone, bob)]
    start = len(await world.items(home))
    await lose(world, nodes[LOST])

    with pytest.raises(ParleyError) as raised:
        await world.store.read(api.ReadRequest(gateway=home, marks=marks))
    await world.store.typing(api.TypingRequest(gateway=home, events=typing))

    assert raised.value.code is UNAVAILABLE
    told = (await world.items(home))[start:]
    assert {item.reader for item in told if isinstance(item, api.ReadDelivery)} == {gone.user, bob.user}
    assert [item.to for item in told if isinstance(item, api.TypingDelivery)] == [bob.user]


async def test_sessions_open_and_recover_where_they_can(world: RedisWorld, nodes: list[RedisServer]) -> None:
    """Whose session, user, or recovery id lies on the lost server fails alone."""
    home = gateway(lost=False)
    await world.gateways(home)
    ann = await user(world, home, lost=False)
    gone = await user(world, home, lost=True)
    position = await world.position(ann)
    new = world.open_item("new")
    new.new_session, new.new_user, new.new_pid = (elsewhere(part) for part in ("s", "u", "p"))
    back = [world.open_item(session=each.session) for each in (ann, gone)]
    for item in back:
        item.new_pid = elsewhere(item.new_pid)
    recovers = [
        api.Recover(version=1000 + number, pid=each.pid or "", position=position, socket=f"again-{number}")
        for number, each in enumerate((ann, gone))
    ]
    await lose(world, nodes[LOST])

    opened = await world.open_all(home, [new, *back])
    recovered = (await world.store.recover(api.RecoverRequest(gateway=home, recovers=recovers))).results

    assert [result.opened is not None for result in opened] == [True, True, False]
    assert opened[2].failure is not None
    assert opened[2].failure.code == UNAVAILABLE.name
    assert [result.recovered is not None for result in recovered] == [True, False]
    assert recovered[1].failure is not None
    assert recovered[1].registered == gone.user
    states = await world.states()
    assert states["new"] == 1


async def test_a_registration_without_an_answer_is_taken_back(
    world: RedisWorld, nodes: list[RedisServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server goes away while gateways are registered: it may yet do it, so the gateway learns with whom."""
    home = gateway(lost=False)
    await world.gateways(home)
    ann = await user(world, home, lost=False)
    gone = await user(world, home, lost=True)
    opens = [world.open_item(session=each.session) for each in (gone, ann)]
    for item in opens:
        item.new_pid = elsewhere(item.new_pid)
    before(monkeypatch, world.redis._sessions._registry, "attach", nodes[LOST].pause)

    gone_again, ann_again = await world.open_all(home, opens)

    assert ann_again.opened is not None
    assert gone_again.failure is not None
    assert (gone_again.failure.code, gone_again.registered) == (UNAVAILABLE.name, gone.user)


async def test_who_leaves_is_taken_off_where_that_can_be(world: RedisWorld, nodes: list[RedisServer]) -> None:
    """The request fails and is repeated; until then the others are offline already."""
    home = gateway(lost=False)
    await world.gateways(home)
    ann = await user(world, home, lost=False)
    gone = await user(world, home, lost=True)
    detaches = [api.Detach(user=each.user, version=1000) for each in (gone, ann)]
    sockets = [api.LostSocket(pid=each.pid or "") for each in (gone, ann)]
    request = api.PresenceRequest(gateway=home, detaches=detaches, lost=sockets)
    await lose(world, nodes[LOST])

    with pytest.raises(ParleyError) as raised:
        await world.store.presence(request)

    assert raised.value.code is UNAVAILABLE
    assert await world.raw.hget(f"user:{{{ann.user}}}", "gateways") == b""
    assert await world.raw.zrange(f"sockets:{{{home}}}", 0, -1) == [gone.user.encode()]
    assert await world.raw.hexists(f"recover:{{{ann.pid}}}", "lost")
