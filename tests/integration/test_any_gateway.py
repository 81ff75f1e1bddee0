"""Any gateway answers for any session: affinity is an optimisation. And who may connect from where."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest

from tests.harness.engine import PATH, Polling
from tests.harness.js_client import JsDriver
from tests.harness.people import TRANSPORTS
from tests.harness.stack import Stack

FRIEND = "http://localhost:8080"
STRANGER = "https://elsewhere.example"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Four gateways that share a port, with one other origin allowed."""
    folder = tmp_path_factory.mktemp("shared")
    with Stack(folder, gateways=4, settings={"CORS_ORIGINS": FRIEND}) as running:
        yield running
        errors = running.errors()
    assert not errors, errors


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """A client that keeps no cookies."""
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        yield session


def forwarded(stack: Stack) -> float:
    """How many requests the gateways have passed on."""
    return sum(gateway.metric("parley_gateway_forwarded_requests_total") for gateway in stack.gateways)


async def test_requests_may_land_anywhere(stack: Stack, http: aiohttp.ClientSession) -> None:
    """A session that polls and posts at gateways that do not own it works, also through the upgrade."""
    ann = Polling(http)
    await ann.open(stack.gateway_url(0))
    before = forwarded(stack)
    assert await ann.post(stack.gateway_url(1), '40{"username":"ann"}') == 200
    events = await ann.events(stack.gateway_url(2), until="users")
    assert [event[0] for event in events] == ["session", "users"]
    own = events[0][1]["userID"]
    url = f"{stack.gateway_url(3)}{PATH}?EIO=4&transport=websocket&sid={ann.sid}"
    async with http.ws_connect(url) as websocket:
        await websocket.send_str("2probe")
        assert await websocket.receive_str() == "3probe"
        await websocket.send_str("5")
        note = json.dumps(["private message", {"content": "note", "to": own}])
        await websocket.send_str(f"427{note}")
        answer = await websocket.receive_str()
        assert answer.startswith("437[")
        assert json.loads(answer[3:])[0]["ok"] is True
    assert forwarded(stack) >= before + 3


@pytest.mark.parametrize("way", sorted(TRANSPORTS))
async def test_official_clients_need_no_affinity(stack: Stack, js: JsDriver, way: str) -> None:
    """Ten clients without cookies on the shared port all get in and reach each other."""
    transports = TRANSPORTS[way]
    clients = [
        await js.sign_in(stack.url, {"username": f"{way}{n}"}, transports=transports) for n in range(10)
    ]
    for client, other in zip(clients, [*clients[1:], clients[0]], strict=True):
        assert (await client.send(f"from {client.name}", other.user_id))["ok"] is True
        await other.message(f"from {client.name}")
    assert not [entry for client in clients for entry in client.journal.kinds("disconnect")]


async def test_a_session_of_a_gateway_that_is_gone_is_unknown(
    stack: Stack, http: aiohttp.ClientSession
) -> None:
    """The client is told so in the protocol's words, and connects anew."""
    lost = Polling(http)
    lost.sid = "0123456789-" + "x" * 22
    status, packets = await lost.get(stack.gateway_url(0))
    assert (status, json.loads(packets[0])["message"]) == (400, "Session ID unknown")


async def test_a_forwarded_request_is_not_forwarded_again(stack: Stack, http: aiohttp.ClientSession) -> None:
    """A request that carries the mark of one that was passed on stays where it is: no loop."""
    ann = Polling(http)
    await ann.open(stack.gateway_url(0))
    before = forwarded(stack)
    query = {"EIO": "4", "transport": "polling", "sid": ann.sid}
    mark = {"X-Parley-Forwarded": "somebody"}
    async with http.get(f"{stack.gateway_url(1)}{PATH}", params=query, headers=mark) as answer:
        assert answer.status == 400
    assert forwarded(stack) == before


@pytest.mark.parametrize("number", [0, 1])
async def test_pages_of_a_listed_origin_may_poll(
    stack: Stack, http: aiohttp.ClientSession, number: int
) -> None:
    """The answer names the origin, also when the request was passed on to the owner."""
    ann = Polling(http)
    await ann.open(stack.gateway_url(0))
    query = {"EIO": "4", "transport": "polling", "sid": ann.sid}
    url = f"{stack.gateway_url(number)}{PATH}"
    async with http.post(url, params=query, data="40{}", headers={"Origin": FRIEND}) as answer:
        assert answer.status == 200
        assert answer.headers["Access-Control-Allow-Origin"] == FRIEND
    preflight = {"Origin": FRIEND, "Access-Control-Request-Method": "POST"}
    async with http.options(url, params=query, headers=preflight) as answer:
        assert answer.status in {200, 204}
        assert answer.headers["Access-Control-Allow-Origin"] == FRIEND
        assert "POST" in answer.headers["Access-Control-Allow-Methods"]


async def test_pages_of_other_origins_get_nothing(stack: Stack, http: aiohttp.ClientSession) -> None:
    """Neither polling nor a WebSocket is open to an origin that is not listed."""
    headers = {"Origin": STRANGER}
    url = f"{stack.gateway_url(0)}{PATH}"
    async with http.get(url, params={"EIO": "4", "transport": "polling"}, headers=headers) as answer:
        assert answer.status >= 400
        assert "Access-Control-Allow-Origin" not in answer.headers
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await http.ws_connect(f"{url}?EIO=4&transport=websocket", headers=headers)
    assert refused.value.status >= 400


@pytest.mark.parametrize("origin", [FRIEND, "same", None])
async def test_who_may_open_a_websocket(
    stack: Stack, http: aiohttp.ClientSession, origin: str | None
) -> None:
    """A listed origin, the server's own, and programs that send none."""
    own = stack.gateway_url(0)
    headers = {} if origin is None else {"Origin": own if origin == "same" else origin}
    async with http.ws_connect(f"{own}{PATH}?EIO=4&transport=websocket", headers=headers) as websocket:
        assert (await websocket.receive_str()).startswith('0{"sid":')
