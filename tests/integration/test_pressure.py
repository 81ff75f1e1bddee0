"""Admission and back-pressure: what is too much is refused clearly, sockets stay, all recovers by itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from redis.asyncio import Redis

from tests.chaos.proxy import Proxy
from tests.harness.js_client import JsClient, JsDriver
from tests.harness.people import People
from tests.harness.ports import free_port
from tests.harness.raw_websocket import RawWebSocket, client_frame
from tests.harness.stack import Stack
from tests.harness.waiting import eventually

LANE_LIMIT = 5


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Two gateways with low limits over a Redis and a store that are taken away and given back."""
    settings = {
        "LANES": "1",
        "LANE_LIMIT": str(LANE_LIMIT),
        "BATCH_LIMIT": "10",
        "BATCH_DEADLINE": "1s",
        "REDIS_TIMEOUT": "1s",
        "SEND_QUEUE_BYTES": "65536",
        "RECOVERY_BYTES": "67108864",
        "OFFLINE_GRACE": "500ms",
    }
    with Stack(tmp_path_factory.mktemp("pressure"), settings=settings) as running:
        yield running


@pytest.fixture
def people(own: Stack, js: JsDriver) -> People:
    """People on WebSockets, each at one gateway."""
    return People(own, js)


@pytest.fixture
async def redis(own: Stack) -> AsyncIterator[Redis]:
    """A client of the stack's Redis."""
    client = Redis.from_url(own.redis.url)
    yield client
    await client.aclose()


async def handshake(url: str) -> tuple[int, str | None]:
    """Open a long-polling session and leave it: the status, and Retry-After."""
    async with (
        aiohttp.ClientSession() as http,
        http.get(f"{url}/socket.io/?EIO=4&transport=polling") as answer,
    ):
        return answer.status, answer.headers.get("Retry-After")


async def test_a_full_gateway_refuses_and_sends_elsewhere(tmp_path: Path, js: JsDriver) -> None:
    """At MAX_CONNECTIONS a handshake gets 503 with Retry-After; not ready only while another has room."""
    with Stack(tmp_path, settings={"MAX_CONNECTIONS": "2", "LEASE": "1s"}) as stack:
        one, other = stack.gateways
        clients = [
            await js.sign_in(stack.gateway_url(0), {"username": f"{number}"}, transports=("websocket",))
            for number in range(2)
        ]
        status, retry = await handshake(stack.gateway_url(0))
        assert status == 503
        assert int(retry or 0) > 0
        await eventually(lambda: not one.ready())
        assert other.ready()
        for number in range(2):
            await js.sign_in(stack.gateway_url(1), {"username": f"more {number}"}, transports=("websocket",))
        # With nobody to send clients to, both are ready and say 503 themselves.
        await eventually(lambda: one.ready() and other.ready())
        assert one.metric("parley_gateway_connects_total", result="full") >= 1
        await clients[0].close()
        await eventually(lambda: served(stack.gateway_url(0)))


async def served(url: str) -> bool:
    """Whether a handshake is accepted."""
    return (await handshake(url))[0] == 200


async def test_too_many_new_connections_are_put_off(tmp_path: Path) -> None:
    """Above CONNECT_RATE a handshake gets 503 with Retry-After, and passes later."""
    with Stack(tmp_path, gateways=1, settings={"CONNECT_RATE": "3"}) as stack:
        answers = await asyncio.gather(*(handshake(stack.url) for _ in range(12)))
        refused = [retry for status, retry in answers if status == 503]
        assert {status for status, _ in answers} == {200, 503}
        assert all(int(retry or 0) > 0 for retry in refused)
        assert stack.gateways[0].metric("parley_gateway_connects_total", result="rate") == len(refused)
        await eventually(lambda: served(stack.url))


async def connects(socket: RawWebSocket) -> bool:
    """Connect within a session; False when it is closed instead, to be tried again later."""
    socket.send(client_frame(1, b'40{"username":"somebody"}'))
    while True:
        opcode, payload = await socket.frame()
        if opcode == 8:
            assert int.from_bytes(payload[:2], "big") == 1013
            return False
        assert not payload.startswith(b"44"), "no client comes back after a CONNECT_ERROR"
        if payload.startswith(b'42["users",'):
            return True


async def test_who_connects_again_within_one_websocket_counts_as_new(tmp_path: Path) -> None:
    """Above CONNECT_RATE the WebSocket is closed; others stay, and connect when there is room."""
    with Stack(tmp_path, gateways=1, settings={"CONNECT_RATE": "3"}) as stack:
        port = int(stack.gateways[0].settings["OWN_PORT"])
        one, other = [
            await RawWebSocket.open(port, "/socket.io/?EIO=4&transport=websocket") for _ in range(2)
        ]
        assert await connects(other)
        count = 0
        while await connects(one):
            count += 1
            assert count < 20, "it goes on for ever"
            one.send(client_frame(1, b"41"))
        assert count > 0
        assert stack.gateways[0].metric("parley_gateway_connects_total", result="rate") == 1
        other.send(client_frame(1, b'420["users",{}]'))
        while not (await other.text()).startswith(b"430["):
            pass
        await eventually(lambda: served(stack.url))


async def test_a_slow_reader_is_closed_and_others_do_not_notice(own: Stack, js: JsDriver) -> None:
    """A client that does not read is closed when its queue is full, comes back, and has missed nothing."""
    gateway = own.gateways[0]
    writer = await js.sign_in(own.gateway_url(1), {"username": "writer"})
    witness = await js.sign_in(own.gateway_url(0), {"username": "witness"})
    async with Proxy("slow", lambda: [int(gateway.settings["OWN_PORT"])]) as network:
        url = f"http://127.0.0.1:{network.port}"
        slow = await js.sign_in(url, {"username": "slow"}, transports=("websocket",), remember=True)
        await writer.send("before", slow.user_id)
        await slow.message("before")
        place = len(slow.journal.entries)
        links = network.stall()
        before = gateway.metric("parley_gateway_slow_clients_total")
        sent = ["before"]

        async def closed() -> bool:
            sent.append(f"{len(sent)} {'x' * 32_000}")
            assert (await writer.send(sent[-1], slow.user_id))["ok"]
            assert (await writer.send(f"for you: {len(sent)}", witness.user_id))["ok"]
            return gateway.metric("parley_gateway_slow_clients_total") > before

        await eventually(closed, 60)
        await witness.message(f"for you: {len(sent)}")
        assert not witness.journal.kinds("disconnect")
        for link in links:
            link.resume()
        assert (await slow.journal.connected(after=place)).details["recovered"]
        await slow.message(sent[-1])
    assert [message["content"] for message in slow.messages] == sent
    assert len(witness.messages) == len(sent) - 1


async def answers_of(client: JsClient, to: str, count: int) -> list[dict[str, Any]]:
    """Send messages all at once, and return what is answered."""
    return await asyncio.gather(*(client.send(f"{number}", to) for number in range(count)))


async def test_a_full_lane_is_busy(people: People) -> None:
    """What a lane cannot hold is refused as `busy` and retryable; what it holds is stored."""
    ann, bob = await people.join("ann"), await people.join("bob", 1)
    store = people.stack.stores[0]
    store.pause()
    try:
        answers = asyncio.create_task(answers_of(ann, bob.user_id, 40), name="answers")
        gateway = people.stack.gateways[0]
        await eventually(
            lambda: gateway.metric("parley_gateway_messages_received_total", result="unavailable") > 0
        )
    finally:
        store.resume()
    codes = [answer.get("code", "ok") for answer in await answers]
    assert "busy" in codes
    assert set(codes) <= {"ok", "busy", "unavailable"}
    assert all(answer["ok"] or answer["retryable"] for answer in await answers)
    await eventually(lambda: accepted(ann, bob.user_id))
    assert not ann.journal.kinds("disconnect")


async def accepted(client: JsClient, to: str) -> bool:
    """Whether a message is stored; if not, then for a reason that passes."""
    answer = await client.send("again", to)
    assert answer["ok"] or answer["retryable"], answer
    return bool(answer["ok"])


Fault = Callable[[Stack, Redis], Awaitable[None]]


async def _out_of_memory(_stack: Stack, redis: Redis) -> None:
    await redis.config_set("maxmemory", "1")


async def _enough_memory(_stack: Stack, redis: Redis) -> None:
    await redis.config_set("maxmemory", "0")


async def _replica(_stack: Stack, redis: Redis) -> None:
    await redis.slaveof("127.0.0.1", free_port())


async def _master(_stack: Stack, redis: Redis) -> None:
    await redis.slaveof()


async def _no_store(stack: Stack, _redis: Redis) -> None:
    stack.stores[0].kill()


async def _store(stack: Stack, _redis: Redis) -> None:
    await stack.stores[0].restart()


async def _no_redis(stack: Stack, _redis: Redis) -> None:
    stack.redis.kill()


async def _redis(stack: Stack, _redis: Redis) -> None:
    stack.redis.start()


@pytest.mark.parametrize(
    ("begin", "end"),
    [
        pytest.param(_out_of_memory, _enough_memory, id="Redis out of memory"),
        pytest.param(_replica, _master, id="Redis a read-only replica"),
        pytest.param(_no_redis, _redis, id="Redis away"),
        pytest.param(_no_store, _store, id="store away"),
    ],
)
async def test_a_fault_behind_is_said_and_passes(
    people: People, redis: Redis, begin: Fault, end: Fault
) -> None:
    """While nothing can be stored, messages are answered `unavailable`; sockets stay, and all ends well."""
    ann, bob = await people.join("ann"), await people.join("bob", 1)
    gateways = people.stack.gateways
    assert (await ann.send("before", bob.user_id))["ok"]
    await begin(people.stack, redis)
    try:
        answers = await answers_of(ann, bob.user_id, 3)
        assert {(answer["code"], answer["retryable"]) for answer in answers} == {("unavailable", True)}
        # What all gateways share must not empty the ingress.
        assert all([await asyncio.to_thread(gateway.ready) for gateway in gateways])
    finally:
        await end(people.stack, redis)
    await eventually(lambda: accepted(ann, bob.user_id), 30)
    await bob.message("again", timeout_seconds=30)
    for client in (ann, bob):
        assert not client.journal.kinds("disconnect")
    assert all(service.status is None for service in people.stack.services)
