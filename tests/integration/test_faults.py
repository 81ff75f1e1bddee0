"""Processes are killed and paused while messages flow: nothing acknowledged is lost, nothing comes twice."""

from __future__ import annotations

import asyncio
import operator
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import aiohttp
import pytest

from tests.harness.client import Client
from tests.harness.js_client import JsClient, JsDriver
from tests.harness.py_client import PyClient
from tests.harness.stack import Stack
from tests.harness.traffic import Traffic
from tests.harness.waiting import eventually


@pytest.fixture
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Two gateways and two stores, with the default times and a rate that does not slow traffic."""
    settings = {"MESSAGE_RATE": "1000", "MESSAGE_BURST": "1000", "OFFLINE_GRACE": "2s"}
    with Stack(tmp_path_factory.mktemp("faults"), stores=2, settings=settings) as running:
        yield running


@pytest.fixture(params=["polling", "websocket"])
async def pair(stack: Stack, js: JsDriver, request: pytest.FixtureRequest) -> tuple[JsClient, JsClient]:
    """Two people at different gateways who come back by the shared port, on one transport each time."""
    transports = (request.param,)
    ann = await js.sign_in(stack.gateway_url(0), {"username": "ann"}, transports=transports)
    bob = await js.sign_in(stack.gateway_url(1), {"username": "bob"}, transports=transports)
    return ann, bob


Pair = tuple[JsClient, JsClient]


async def everything_seen(traffic: Traffic, stack: Stack, js: JsDriver) -> None:
    """Check what came as events, if the recipient stayed or recovered, and the history in any case."""
    last = traffic.acknowledged[-1]["id"]
    recipient = traffic.recipient
    if len(recipient.journal.events("session")) == 1:
        await recipient.journal.event(
            "private message", lambda message: message["id"] == last, timeout_seconds=30
        )
        await traffic.check(recipient.messages)
    fresh = await js.sign_in(stack.gateway_url(0), {"sessionID": recipient.session_id})
    await traffic.check(await whole_history(fresh, traffic.sender.user_id))


async def whole_history(client: Client, peer: str) -> list[dict[str, Any]]:
    """Read a conversation back to its start."""
    found: list[dict[str, Any]] = []
    before = None
    while True:
        asked = {"with": peer, "limit": 200} | ({"before": before} if before else {})
        page = await client.call("history", asked)
        assert page["ok"] is True
        found = page["messages"] + found
        before = page["before"]
        if before is None:
            return found


async def test_kill_a_store(stack: Stack, js: JsDriver, pair: Pair) -> None:
    """The sender's store dies and returns: sends wait, sockets stay, nothing is lost or doubled."""
    traffic = Traffic(*pair)
    traffic.start()
    await traffic.stored(50)
    stack.stores[0].kill()
    await stack.stores[0].restart()
    await traffic.stored(50)
    await traffic.stop()
    await everything_seen(traffic, stack, js)
    assert not [entry for client in pair for entry in client.journal.kinds("disconnect")]


async def test_kill_redis(stack: Stack, js: JsDriver, pair: Pair) -> None:
    """Redis dies and returns with its file: messages flow again by themselves, nothing is lost."""
    traffic = Traffic(*pair)
    traffic.start()
    await traffic.stored(50)
    stack.redis.kill()
    await asyncio.to_thread(stack.redis.start)
    await traffic.stored(50)
    await traffic.stop()
    await everything_seen(traffic, stack, js)


async def test_kill_the_recipients_gateway(stack: Stack, js: JsDriver) -> None:
    """The recipient comes back by the shared port, recovers, and misses nothing."""
    transports = ("polling", "websocket")
    ann = await js.sign_in(stack.gateway_url(0), {"username": "ann"}, transports=transports)
    bob = await on_gateway(stack, js, 1, "bob")
    traffic = Traffic(ann, bob)
    traffic.start()
    await traffic.stored(50)
    place = len(bob.journal.entries)
    stack.gateways[1].kill()
    connected = await bob.journal.connected(after=place, timeout_seconds=30)
    await stack.gateways[1].restart()
    await traffic.stored(50)
    await traffic.stop()
    assert connected.details["recovered"] is True
    await everything_seen(traffic, stack, js)


async def test_kill_the_senders_gateway(stack: Stack, js: JsDriver) -> None:
    """What the sender was not told to be stored it sends again under the same id: stored once."""
    ann = await on_gateway(stack, js, 0, "ann")
    bob = await js.sign_in(stack.gateway_url(1), {"username": "bob"})
    traffic = Traffic(ann, bob)
    traffic.start()
    await traffic.stored(50)
    stack.gateways[0].kill()
    await traffic.stored(50)
    await stack.gateways[0].restart()
    await traffic.stop()
    await everything_seen(traffic, stack, js)


async def on_gateway(stack: Stack, js: JsDriver, number: int, name: str) -> JsClient:
    """Sign in by the shared port until the socket is held by one gateway."""
    for _ in range(50):
        before = stack.gateways[number].metric("parley_gateway_connects_total", result="opened")
        client = await js.sign_in(stack.url, {"username": name}, transports=("websocket",))
        if stack.gateways[number].metric("parley_gateway_connects_total", result="opened") > before:
            return client
        await client.close()
    raise AssertionError(f"no connection landed on gateway {number}")


async def test_no_ghost_after_a_gateway_was_killed(stack: Stack, js: JsDriver) -> None:
    """Who was on a killed gateway and does not come back is offline for all within 20 s, and only they."""
    ann = await js.sign_in(stack.gateway_url(0), {"username": "ann"})
    ghosts = [
        await PyClient.sign_in(stack.gateway_url(1), {"username": f"ghost-{number}"}, name=f"ghost-{number}")
        for number in range(3)
    ]
    both = await js.sign_in(stack.gateway_url(1), {"username": "both"}, reconnection=False)
    await js.sign_in(stack.gateway_url(0), {"sessionID": both.session_id})
    killed = time.monotonic()
    stack.gateways[1].kill()
    for ghost in ghosts:
        left = 20 - (time.monotonic() - killed)
        await ann.journal.event(
            "user disconnected", partial(operator.eq, ghost.user_id), timeout_seconds=left
        )
    assert sorted(ann.journal.events("user disconnected")) == sorted(ghost.user_id for ghost in ghosts)
    fresh = await js.sign_in(stack.gateway_url(0), {"username": "fresh"})
    assert [fresh.users[ghost.user_id]["connected"] for ghost in ghosts] == [False] * 3
    assert fresh.users[both.user_id]["connected"] is True


async def test_a_reload_is_not_seen_by_others(stack: Stack, js: JsDriver) -> None:
    """Within the grace of 2 s nobody is told that somebody went and came back."""
    ann = await js.sign_in(stack.gateway_url(0), {"username": "ann"})
    bob = await js.sign_in(stack.gateway_url(1), {"username": "bob"})
    for number in range(3):
        await bob.close()
        bob = await js.sign_in(stack.gateway_url(number % 2), {"sessionID": bob.session_id})
    # Somebody who really leaves marks the end of the time in which bob could have been reported.
    cid = await js.sign_in(stack.gateway_url(1), {"username": "cid"})
    await cid.close()
    await ann.told("user disconnected", lambda user: user == cid.user_id)
    assert bob.user_id not in ann.journal.events("user disconnected")
    assert [user["userID"] for user in ann.journal.events("user connected")].count(bob.user_id) == 1


async def test_store_away_is_answered_retryable(stack: Stack, pair: Pair) -> None:
    """Without its store a gateway keeps its sockets, refuses for now, and is not unready."""
    ann, bob = pair
    stack.stores[0].kill()
    answer = await ann.send("now?", bob.user_id, id="now")
    assert (answer["ok"], answer["code"], answer["retryable"]) == (False, "unavailable", True)
    page = await ann.call("history", {"with": bob.user_id})
    assert (page["ok"], page["retryable"]) == (False, True)
    assert (await bob.send("I still can", ann.user_id))["ok"] is True
    await ann.message("I still can")
    assert all(gateway.ready() for gateway in stack.gateways)
    await stack.stores[0].restart()

    async def sent() -> bool:
        return bool((await ann.send("now?", bob.user_id, id="now"))["ok"])

    await eventually(sent, 30)
    await bob.message("now?")
    assert [message["content"] for message in bob.messages] == ["now?"]


async def test_a_new_client_waits_while_redis_is_away(stack: Stack, js: JsDriver) -> None:
    """It is not refused (a refused client never returns): it gets in as soon as Redis is back."""
    stack.redis.kill()
    ann = await js.open(stack.gateway_url(0), {"username": "ann"})
    await eventually(
        lambda: stack.gateways[0].metric("parley_gateway_store_up") == 0 or ann.journal.entries, 30
    )
    await asyncio.to_thread(stack.redis.start)
    await ann.signed_in(timeout_seconds=60)
    assert not [
        entry for entry in ann.journal.kinds("connect_error") if entry.details["reason"] == "invalid username"
    ]


async def test_a_gateway_that_starts_lets_nobody_in_before_it_has_a_lease(stack: Stack, js: JsDriver) -> None:
    """Until then a handshake is answered 503 with Retry-After; later, clients come in by themselves."""
    stack.gateways[0].kill()
    stack.redis.kill()
    stack.gateways[0].spawn()
    async with aiohttp.ClientSession() as http:

        async def refused() -> bool:
            try:
                async with http.get(stack.gateway_url(0) + "/socket.io/?EIO=4&transport=polling") as answer:
                    return answer.status == 503 and int(answer.headers["Retry-After"]) > 0
            except aiohttp.ClientConnectionError:
                return False

        await eventually(refused, 30)
    ann = await js.open(stack.gateway_url(0), {"username": "ann"}, transports=("websocket",))
    await ann.journal.wait(lambda entry: entry.kind == "connect_error")
    await asyncio.to_thread(stack.redis.start)
    await ann.signed_in(timeout_seconds=60)
    assert [entry.kind for entry in ann.journal.kinds("disconnect")] == []


async def test_a_paused_gateway_starts_over(stack: Stack, js: JsDriver) -> None:
    """A gateway that was frozen past its lease closes its sockets, and all is well again."""
    ann = await js.sign_in(stack.gateway_url(0), {"username": "ann"})
    bob = await js.sign_in(stack.gateway_url(1), {"username": "bob"}, transports=("websocket",))
    stack.gateways[1].pause()
    await ann.journal.event("user disconnected", lambda user: user == bob.user_id, timeout_seconds=30)
    assert (await ann.send("meanwhile", bob.user_id))["ok"] is True
    place = len(bob.journal.entries)
    stack.gateways[1].resume()
    await bob.journal.connected(after=place, timeout_seconds=60)
    await ann.journal.event("user connected", lambda user: user["userID"] == bob.user_id, timeout_seconds=30)

    def has_it() -> bool:
        shown = [message["content"] for message in bob.messages]
        listed = [message["content"] for message in bob.users.get(ann.user_id, {}).get("messages", [])]
        return "meanwhile" in shown + listed

    await eventually(has_it)
    assert (await ann.send("and now", bob.user_id))["ok"] is True
    await bob.message("and now")


async def test_two_hundred_people_at_once(stack: Stack, js: JsDriver) -> None:
    """All sign in at once on both gateways, everybody writes to a neighbour, and everything arrives once."""
    people = await asyncio.gather(
        *(
            js.sign_in(stack.gateway_url(number % 2), {"username": f"p{number}"}, transports=("websocket",))
            for number in range(200)
        )
    )
    assert len({person.user_id for person in people}) == 200
    pairs = list(zip(people, [*people[1:], people[0]], strict=True))
    answers = await asyncio.gather(
        *(person.send(f"{round_}", neighbour.user_id) for round_ in range(5) for person, neighbour in pairs)
    )
    assert all(answer["ok"] for answer in answers)
    for _, neighbour in pairs:
        await neighbour.message("4", timeout_seconds=30)
        assert [message["content"] for message in neighbour.messages] == ["0", "1", "2", "3", "4"]
    everybody = {person.user_id for person in people}
    for person in (people[0], people[-1]):
        known = set(person.users) | {user["userID"] for user in person.journal.events("user connected")}
        assert everybody <= known
