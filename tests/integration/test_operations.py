"""What operators use: health, readiness, metrics, draining, logs; and what the public port does not serve."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest

from tests.harness.client import CallError
from tests.harness.js_client import JsDriver
from tests.harness.people import People
from tests.harness.stack import TOKEN, Stack
from tests.harness.waiting import eventually

AUTHORISED = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Two gateways of this test alone: it may drain and stop them."""
    with Stack(tmp_path_factory.mktemp("operated")) as running:
        yield running
        errors = running.errors()
    assert not errors, errors


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """An HTTP client."""
    async with aiohttp.ClientSession() as session:
        yield session


async def test_health_and_metrics_are_on_the_internal_port_alone(
    stack: Stack, http: aiohttp.ClientSession
) -> None:
    """The internal port serves them; the public ones of gateway and store know nothing of the kind."""
    for service in stack.services:
        for path in ("/healthz", "/readyz", "/metrics"):
            assert service.get(path)[0] == 200
        prefix = "parley_store_" if service.name.startswith("store") else "parley_gateway_"
        assert prefix in service.get("/metrics")[1]
    store = f"http://127.0.0.1:{stack.stores[0].settings['STORE_PORT']}"
    for base in (stack.gateway_url(0), store):
        for path in ("/healthz", "/readyz", "/metrics", "/drain", "/shed", "/status.json"):
            # The store's API tells nobody without the token even what there is.
            async with http.get(base + path, headers=AUTHORISED) as answer:
                assert answer.status == 404


async def test_the_metrics_count_what_happens(stack: Stack, js: JsDriver) -> None:
    """Connections by transport, connects, messages received and delivered, appended and read from Redis."""
    people = People(stack, js)
    ann, bob = await people.join("ann", 0), await people.join("bob", 1)
    people.way = "polling"
    cid = await people.join("cid", 1)
    for number in range(3):
        await ann.send(f"m{number}", bob.user_id, id=f"id{number}")
    await ann.send("m2", bob.user_id, id="id2")
    await ann.send("to cid", cid.user_id)
    await cid.message("to cid")
    await bob.message("m2")
    first, second = stack.gateways
    await eventually(lambda: second.metric("parley_gateway_connections", transport="polling") == 1)
    await eventually(lambda: second.metric("parley_gateway_connections", transport="websocket") == 1)
    assert second.metric("parley_gateway_connects_total", result="opened") == 2
    assert first.metric("parley_gateway_messages_received_total", result="stored") == 4
    assert first.metric("parley_gateway_messages_received_total", result="duplicate") == 1
    assert second.metric("parley_gateway_messages_delivered_total") >= 4
    assert first.metric("parley_gateway_ack_seconds_count") == 5
    store = stack.stores[0]
    assert store.metric("parley_store_messages_appended_total") == 4
    assert store.metric("parley_store_duplicates_total") == 1
    assert store.metric("parley_store_leases") == 2


async def test_draining_needs_the_token(stack: Stack, http: aiohttp.ClientSession) -> None:
    """Without the service token, or with another, nothing is drained or shed."""
    base = f"http://127.0.0.1:{stack.gateways[0].internal_port}"
    for headers in ({}, {"Authorization": "Bearer wrong-token-wrong-token"}, {"Authorization": TOKEN}):
        for method, path in (("POST", "/drain"), ("DELETE", "/drain"), ("GET", "/drain"), ("POST", "/shed")):
            async with http.request(method, base + path, headers=headers, json={"count": 1}) as answer:
                assert answer.status == 401
    assert stack.gateways[0].ready()


async def test_a_drained_gateway_is_empty_and_unready_until_told_otherwise(
    stack: Stack, http: aiohttp.ClientSession, js: JsDriver
) -> None:
    """Its clients move to another gateway and lose nothing; cancelled, it takes clients again."""
    people = People(stack, js)
    ann = await js.sign_in(stack.url, {"username": "ann"}, transports=("websocket",))
    others = [await people.join(f"p{number}", 0) for number in range(5)]
    base = f"http://127.0.0.1:{stack.gateways[0].internal_port}"
    async with http.post(f"{base}/drain", headers=AUTHORISED) as answer:
        assert (await answer.json())["draining"] is True
    for person in others:
        await person.journal.disconnected()

    async def empty() -> bool:
        async with http.get(f"{base}/drain", headers=AUTHORISED) as answer:
            return bool((await answer.json())["connections"] == 0)

    await eventually(empty)
    assert not stack.gateways[0].ready()
    async with http.get(f"{stack.gateway_url(0)}/socket.io/?EIO=4&transport=polling") as answer:
        assert answer.status == 503
        assert int(answer.headers["Retry-After"]) > 0
    async with http.delete(f"{base}/drain", headers=AUTHORISED) as answer:
        assert (await answer.json())["draining"] is False
    assert stack.gateways[0].ready()
    for person in others:
        await person.journal.connected(after=3, timeout_seconds=30)
    assert (await ann.send("welcome back", others[0].user_id))["ok"] is True
    await others[0].message("welcome back")


async def test_shedding_closes_so_many_and_they_come_back(
    stack: Stack, http: aiohttp.ClientSession, js: JsDriver
) -> None:
    """Of six connections four are closed; all six are connected again."""
    people = People(stack, js)
    crowd = [await people.join(f"p{number}", 0) for number in range(6)]
    base = f"http://127.0.0.1:{stack.gateways[0].internal_port}"
    async with http.post(f"{base}/shed", headers=AUTHORISED, json={"count": 4}) as answer:
        assert answer.status == 200

    def closed() -> int:
        return sum(bool(person.journal.kinds("disconnect")) for person in crowd)

    await eventually(lambda: closed() == 4)
    for person in crowd:
        if person.journal.kinds("disconnect"):
            await person.journal.wait(lambda entry: entry.kind == "connect", after=3)
    await eventually(stack.gateways[0].ready)
    assert closed() == 4
    async with http.post(f"{base}/shed", headers=AUTHORISED, json={"count": 0}) as answer:
        assert answer.status == 400


async def test_sigterm_acknowledges_what_was_accepted_and_ends_with_0(stack: Stack, js: JsDriver) -> None:
    """What was accepted is acknowledged and nothing else is stored; the lease is given back."""
    people = People(stack, js)
    ann = await people.join("ann", 1)
    bob = await people.join("bob")
    sends = [asyncio.ensure_future(ann.send(f"m{number}", bob.user_id)) for number in range(50)]
    await sends[0]
    stack.gateways[1].signal(signal.SIGTERM)
    answers = await asyncio.gather(*sends, return_exceptions=True)
    accepted = []
    for number, answer in enumerate(answers):
        if isinstance(answer, CallError):
            continue  # not read before the gateway said goodbye: for the client to repeat
        assert not isinstance(answer, BaseException)
        assert answer["ok"]
        accepted.append(f"m{number}")
    page = await bob.call("history", {"with": ann.user_id})
    assert [message["content"] for message in page["messages"]] == accepted
    assert (await ann.journal.disconnected()).details["reason"] in {"transport close", "transport error"}
    assert await asyncio.to_thread(stack.gateways[1].stop) == 0
    await eventually(lambda: stack.stores[0].metric("parley_store_leases") == 1)


async def test_the_store_ends_with_0(stack: Stack) -> None:
    """SIGTERM is an orderly end."""
    assert await asyncio.to_thread(stack.stores[0].stop) == 0


async def test_logs_hold_no_secrets_and_no_words(stack: Stack, js: JsDriver) -> None:
    """Message bodies, usernames, session ids and the token appear in no log and no metric."""
    people = People(stack, js)
    ann = await people.join("Canary-Name-Ann")
    bob = await people.join("Canary-Name-Bob", 1)
    await ann.send("canary-body", bob.user_id, id="canary-id")
    await bob.message("canary-body")
    await ann.call("private message", {"content": "canary-body", "to": "canary-target"})
    await ann.call("users", {"query": "canary-query"})
    await ann.call("canary-event", "canary-argument")
    pids = [(await person.state())["pid"] for person in (ann, bob)]
    await ann.drop()
    await ann.journal.connected(after=len(ann.journal.entries))
    secrets = [ann.session_id, bob.session_id, TOKEN, *(pid for pid in pids if pid)]
    for service in stack.services:
        text = (service.log + service.get("/metrics")[1]).lower()
        assert "canary" not in text
        for secret in secrets:
            assert secret.lower() not in text
