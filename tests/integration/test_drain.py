"""Leaving gracefully: what was accepted is acknowledged, clients move on at a pace, the lease goes back."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.chaos.proxy import Proxy
from tests.harness.js_client import JsClient, JsDriver
from tests.harness.people import People
from tests.harness.process import Service
from tests.harness.stack import TOKEN, Stack
from tests.harness.waiting import eventually

DRAIN_SECONDS = 2
AUTHORISED = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Two gateways that are told to leave, and started again."""
    settings = {
        "DRAIN_SECONDS": str(DRAIN_SECONDS),
        "BATCH_DEADLINE": "20s",
        "OFFLINE_GRACE": "500ms",
    }
    with Stack(tmp_path_factory.mktemp("drain"), settings=settings) as running:
        yield running


@pytest.fixture
def people(own: Stack, js: JsDriver) -> People:
    """People on WebSockets, each at one gateway."""
    return People(own, js)


async def ask(
    service: Service, method: str, path: str, body: object = None, headers: dict[str, str] | None = None
) -> tuple[int, Any]:
    """Ask the internal port: status and JSON."""
    url = f"http://127.0.0.1:{service.internal_port}{path}"
    async with (
        aiohttp.ClientSession() as http,
        http.request(method, url, json=body, headers=AUTHORISED if headers is None else headers) as answer,
    ):
        return answer.status, await answer.json()


async def draining(service: Service) -> tuple[bool, int]:
    """Whether a gateway drains, and how many connections it has."""
    status, state = await ask(service, "GET", "/drain")
    assert status == 200
    return state["draining"], state["connections"]


async def ended(service: Service) -> int:
    """Wait until a process has ended, and return its exit status."""
    await eventually(lambda: service.status is not None, 30)
    assert service.status is not None
    return service.status


async def leases(stack: Stack) -> set[str]:
    """The addresses of the gateways that hold a lease."""
    url = f"http://127.0.0.1:{stack.stores[0].settings['STORE_PORT']}/v1/gateways"
    async with aiohttp.ClientSession() as http, http.get(url, headers=AUTHORISED) as answer:
        return {info["address"] for info in (await answer.json())["gateways"]}


async def test_clients_move_to_another_gateway_and_miss_nothing(own: Stack, js: JsDriver) -> None:
    """At SIGTERM all clients, long-polling ones too, come back on the other gateway, and are recovered."""
    leaving, staying = own.gateways
    ports = [int(leaving.settings["OWN_PORT"])]
    async with Proxy("front", lambda: ports) as front:
        url = f"http://127.0.0.1:{front.port}"
        clients = [
            await js.sign_in(url, {"username": f"client {number}"}, transports=transports, remember=True)
            for number, transports in enumerate([("polling",), ("websocket",), ("polling", "websocket")] * 2)
        ]
        ports.append(int(staying.settings["OWN_PORT"]))
        writer = await js.sign_in(own.gateway_url(1), {"username": "writer"})
        places = [len(client.journal.entries) for client in clients]
        leaving.signal(signal.SIGTERM)
        try:
            for number, client in enumerate(clients):
                assert (await writer.send(f"message {number}", client.user_id))["ok"]
            for number, (client, place) in enumerate(zip(clients, places, strict=True)):
                entry = await client.journal.connected(after=place)
                assert entry.details["recovered"], client.name
                await client.message(f"message {number}")
            assert await ended(leaving) == 0
            assert await leases(own) == {staying.settings["ADDRESS"]}
        finally:
            leaving.kill()
            await leaving.restart()
    assert all(len(client.messages) == 1 for client in clients)


async def test_closes_are_paced(people: People) -> None:
    """The closes of a drain are spread over its time, not all at once."""
    gateway = people.stack.gateways[0]
    clients = [await people.join(f"client {number}") for number in range(12)]
    gateway.signal(signal.SIGTERM)
    try:
        times = [(await client.journal.disconnected()).details["at"] for client in clients]
        assert await ended(gateway) == 0
    finally:
        gateway.kill()
        await gateway.restart()
    # A third: the batches are jittered, and the first leaves at once.
    assert max(times) - min(times) > DRAIN_SECONDS * 1000 / 3


async def test_accepted_messages_are_acknowledged_first(people: People) -> None:
    """What a leaving gateway has accepted is stored and acknowledged before its sender is sent away."""
    gateway, store = people.stack.gateways[0], people.stack.stores[0]
    ann, bob = await people.join("ann"), await people.join("bob", 1)
    store.pause()
    try:
        answers = [asyncio.create_task(ann.send(f"{number}", bob.user_id)) for number in range(20)]
        # Answered without the store, so everything before it has been accepted.
        await eventually(lambda: refused(ann), 5)
        gateway.signal(signal.SIGTERM)
        await eventually(lambda: not gateway.ready())
        assert await draining(gateway) == (True, 1)
        assert not any(answer.done() for answer in answers)
    finally:
        store.resume()
    try:
        assert all([(await answer)["ok"] for answer in answers])
        assert await ended(gateway) == 0
    finally:
        gateway.kill()
        await gateway.restart()
    await bob.message("19")
    assert [message["content"] for message in bob.messages] == [str(number) for number in range(20)]


async def refused(client: JsClient) -> bool:
    """Ask for an event that does not exist."""
    answer = await client.call("no such event", {})
    code: str = answer["code"]
    return code == "unknown_event"


async def test_a_second_signal_ends_it_at_once(tmp_path: Path, js: JsDriver) -> None:
    """Whoever cannot wait for the drain signals twice; the exit is still orderly."""
    with Stack(tmp_path, gateways=1, settings={"DRAIN_SECONDS": "600"}) as stack:
        gateway = stack.gateways[0]
        clients = [await js.sign_in(stack.url, {"username": f"{number}"}) for number in range(3)]
        gateway.signal(signal.SIGTERM)
        await eventually(lambda: not gateway.ready())
        assert gateway.status is None
        gateway.signal(signal.SIGTERM)
        assert await ended(gateway) == 0
        assert await leases(stack) == set()
        for client in clients:
            await client.journal.disconnected()


async def test_a_gateway_can_be_drained_and_taken_back(people: People) -> None:
    """POST /drain empties a gateway that lives on; DELETE lets it take clients again."""
    gateway = people.stack.gateways[0]
    ann = await people.join("ann")
    assert await draining(gateway) == (False, 1)
    assert (await ask(gateway, "POST", "/drain"))[0] == 200
    await ann.journal.disconnected()
    assert not await asyncio.to_thread(gateway.ready)

    async def empty() -> bool:
        return await draining(gateway) == (True, 0)

    await eventually(empty)
    place = len(ann.journal.entries)
    assert (await ask(gateway, "DELETE", "/drain"))[1]["draining"] is False
    await ann.journal.connected(after=place)
    await eventually(lambda: asyncio.to_thread(gateway.ready))
    assert await draining(gateway) == (False, 1)


async def test_connections_can_be_shed(people: People) -> None:
    """POST /shed makes the gateway unready, then closes exactly as many connections as it is told to."""
    gateway = people.stack.gateways[0]
    url = people.stack.gateway_url(0)
    clients = [
        await people.driver.sign_in(
            url, {"username": f"{number}"}, transports=("websocket",), reconnection=False
        )
        for number in range(6)
    ]
    _, before = await draining(gateway)
    assert (await ask(gateway, "POST", "/shed", {"count": 4}))[0] == 200
    await eventually(lambda: asyncio.to_thread(lambda: not gateway.ready()))
    assert await draining(gateway) == (False, before)

    async def shed() -> bool:
        return await draining(gateway) == (False, before - 4)

    await eventually(shed)
    await eventually(lambda: sum(len(client.journal.kinds("disconnect")) for client in clients) == 4)
    await eventually(lambda: asyncio.to_thread(gateway.ready))


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/drain"), ("POST", "/drain"), ("DELETE", "/drain"), ("POST", "/shed")]
)
async def test_draining_needs_the_service_token(own: Stack, method: str, path: str) -> None:
    """Nobody without the token learns of a drain, begins or ends one."""
    for headers in ({}, {"Authorization": "Bearer another-token-of-16"}):
        status, answer = await ask(own.gateways[0], method, path, {"count": 1}, headers)
        assert (status, answer["code"]) == (401, "unauthorized")
    assert (await draining(own.gateways[0]))[0] is False


@pytest.mark.parametrize("body", [None, {}, {"count": 0}, {"count": "1"}, {"count": 1.5}, []])
async def test_a_malformed_shed_is_refused(own: Stack, body: object) -> None:
    """Only a positive whole number sheds."""
    status, answer = await ask(own.gateways[0], "POST", "/shed", body)
    assert (status, answer["code"]) == (400, "malformed")
