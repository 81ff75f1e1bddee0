"""The store as a process: its HTTP API, bad bodies, its start and its end."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from parley_local.redis_server import RedisServer
from parley_shared import api
from parley_shared.errors import CODES
from tests.harness.ports import free_port
from tests.harness.process import Service
from tests.harness.waiting import eventually

TOKENS = ("a-token-that-is-new", "a-token-that-is-old")
ROUTES: dict[str, dict[str, Any]] = {
    "sessions/open": {"gateway": "g1", "opens": []},
    "sessions/recover": {"gateway": "g1", "recovers": []},
    "sessions/attach": {"gateway": "g1", "users": []},
    "presence": {"gateway": "g1"},
    "messages": {"gateway": "g1", "deadline": 0, "messages": []},
    "read": {"gateway": "g1", "marks": []},
    "typing": {"gateway": "g1", "events": []},
    "history": {"user": "u", "peer": "p"},
    "inbox": {"user": "u", "epoch": "e", "after": 0},
    "users": {"user": "u"},
    "roster/states": {"users": ["u"]},
    "gateways/lease": {
        "gateway": "g0",
        "address": "a:1",
        "connections": 0,
        "capacity": 1,
        "ready": True,
        "first": True,
    },
    "gateways/release": {"gateway": "g1"},
    "gateways/probe": {"gateway": "g0", "nonce": "n"},
}

_BAD_PID = b'{"id": "i", "from": "a", "from_name": "A", "to": "b", "content": "c", "pid": "a b"}'


def _service(folder: Path, redis_url: str, **more: str) -> Service:
    return Service(
        "store",
        "parley_store",
        {
            "STORE_HOST": "127.0.0.1",
            "STORE_PORT": str(free_port()),
            "INTERNAL_HOST": "127.0.0.1",
            "INTERNAL_PORT": str(free_port()),
            "REDIS_URL": redis_url,
            "SERVICE_TOKENS": ",".join(TOKENS),
            **more,
        },
        folder,
    )


@pytest.fixture(scope="module")
def service(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run one store for the tests that do not end it."""
    store = _service(tmp_path_factory.mktemp("store"), redis_server.url)
    store.spawn()
    store.wait_ready()
    yield store
    store.stop()
    assert store.records("error") == []


class Caller:
    """Sends whatever to the store's API."""

    def __init__(self, service: Service, session: aiohttp.ClientSession) -> None:
        self.base = f"http://127.0.0.1:{service.settings['STORE_PORT']}"
        self._session = session

    async def ask(
        self, method: str, path: str, body: bytes | None = None, token: str | None = TOKENS[0]
    ) -> tuple[int, Any]:
        """Send a request; the status and the decoded answer."""
        headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
        async with self._session.request(method, self.base + path, data=body, headers=headers) as answer:
            return answer.status, json.loads(await answer.read())

    async def post(self, route: str, body: object) -> tuple[int, Any]:
        """Send a body to a route."""
        return await self.ask("POST", f"{api.PREFIX}/{route}", json.dumps(body).encode())


@pytest.fixture
async def caller(service: Service) -> AsyncIterator[Caller]:
    """Make a caller of the running store."""
    async with aiohttp.ClientSession() as session:
        yield Caller(service, session)


@pytest.mark.parametrize("route", ROUTES)
async def test_every_route_takes_its_shape(caller: Caller, route: str) -> None:
    """A body of the documented shape is understood: the answer is 200, or one of the route's own failures."""
    await caller.post("gateways/lease", ROUTES["gateways/lease"])

    status, answer = await caller.post(route, ROUTES[route])

    assert status == 200 or answer["code"] in {"late", "lapsed"}, answer


@pytest.mark.parametrize("path", ["roster", "gateways"])
async def test_lists_are_read_with_get(caller: Caller, path: str) -> None:
    """The snapshot of the roster and the list of gateways are plain GETs."""
    status, answer = await caller.ask("GET", f"{api.PREFIX}/{path}")

    assert status == 200
    assert isinstance(answer.get("entries", answer.get("gateways")), list)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("POST", "/v1"),
        ("POST", "/v0/messages"),
        ("GET", "/v1/messages"),
        ("POST", "/v1/roster"),
        ("DELETE", "/v1/gateways"),
        ("GET", "/metrics"),
        ("GET", "/healthz"),
    ],
)
async def test_an_unknown_address_is_not_found(caller: Caller, method: str, path: str) -> None:
    """Whatever is not in the contract is answered in JSON; health and metrics are on another port."""
    status, answer = await caller.ask(method, path)

    assert (status, answer["code"], answer["retryable"]) == (404, "not_found", False)


@pytest.mark.parametrize("token", [None, "", "wrong", TOKENS[0] + "x", TOKENS[0][:-1], "é" * 20])
async def test_without_the_token_nothing_is_told(caller: Caller, token: str | None) -> None:
    """A missing or wrong token is 401 on every address, known or not."""
    for path in ("/v1/roster", "/v1/messages", "/nowhere"):
        status, answer = await caller.ask("POST", path, b"{}", token)
        assert (status, answer["code"]) == (401, "unauthorized")


@pytest.mark.parametrize("token", TOKENS)
async def test_two_tokens_are_valid_at_once(caller: Caller, token: str) -> None:
    """While the token is changed, the new and the old one are both good."""
    status, _ = await caller.ask("GET", "/v1/roster", None, token)

    assert status == 200


@pytest.mark.parametrize(
    ("route", "body", "place"),
    [
        ("messages", b"", "truncated"),
        ("messages", b"[]", "object"),
        ("messages", b'{"gateway": "g1"', "truncated"),
        ("messages", b"\xff\xfe", ""),
        ("messages", b"[" * 200_000, ""),
        ("sessions/open", b'{"opens": []}', "gateway"),
        ("sessions/open", b'{"gateway": "a b", "opens": []}', "$.gateway"),
        ("sessions/open", b'{"gateway": "{x}", "opens": []}', "$.gateway"),
        ("sessions/open", b'{"gateway": "g1", "opens": {}}', "$.opens"),
        ("sessions/open", b'{"gateway": "g1", "opens": [{"version": "1"}]}', "$.opens[0].version"),
        ("history", b'{"user": "u", "peer": "p", "limit": 201}', "$.limit"),
        ("history", b'{"user": "u", "peer": "p", "before": 0}', "$.before"),
        ("history", b'{"user": "u", "peer": ""}', "$.peer"),
        ("inbox", b'{"user": "u", "epoch": "e", "after": -1}', "$.after"),
        ("inbox", b'{"user": "u", "epoch": "e", "after": 1e99}', "$.after"),
        ("users", b'{"user": "u", "query": 7}', "$.query"),
        ("messages", b'{"gateway": "g", "deadline": 0, "messages": [%b]}' % _BAD_PID, "$.messages[0].pid"),
        ("users", b'{"user": "u", "after": "%"}', "after"),
        ("read", b'{"gateway": "g", "marks": [{"reader": "a:b", "peer": "c", "seq": 1}]}', "$.marks"),
    ],
)
async def test_a_body_of_another_shape_is_malformed(
    caller: Caller, route: str, body: bytes, place: str
) -> None:
    """The answer says what is wrong and where, and never repeats what was sent."""
    status, answer = await caller.ask("POST", f"{api.PREFIX}/{route}", body)

    assert (status, answer["code"], answer["retryable"]) == (400, "malformed", False)
    assert place in answer["message"]


async def test_a_bad_value_is_not_repeated(caller: Caller) -> None:
    """What a client sent does not come back in an answer, so it cannot reach a log either."""
    secret = "canary-7f3a"
    _, answer = await caller.post("sessions/open", {"gateway": f"{secret} {secret}", "opens": secret})

    assert secret not in json.dumps(answer)


async def test_a_batch_has_an_end(caller: Caller) -> None:
    """More items than a batch may have are refused before any work."""
    body = {"gateway": "g1", "events": [{"from": "a", "to": "b"}] * 2001}

    status, answer = await caller.post("typing", body)

    assert (status, answer["code"]) == (400, "malformed")
    assert "2000" in answer["message"]


async def test_a_body_beyond_the_limit_is_too_large(service: Service, caller: Caller) -> None:
    """A body that is larger than any batch is refused; the store goes on."""
    try:
        status, answer = await caller.ask("POST", "/v1/messages", b" " * (17 * 1024 * 1024))
        assert (status, answer["code"]) == (413, "too_large")
    except aiohttp.ClientConnectionError:
        # The store need not read to the end what it will not take.
        pass

    assert (await caller.ask("GET", "/v1/roster"))[0] == 200
    assert service.status is None


async def test_unknown_keys_are_ignored(caller: Caller) -> None:
    """A newer gateway may send more than this store knows."""
    status, _ = await caller.post("history", {"user": "u", "peer": "p", "new-in-the-next-release": [1]})

    assert status == 200


async def test_requests_are_counted_by_route_and_code(service: Service, caller: Caller) -> None:
    """Metrics have closed label sets: routes of the contract, codes of the table."""
    before = service.metric("parley_store_requests_total", route="history", code="malformed")
    await caller.post("history", {})
    await caller.ask("GET", "/no/such/address")

    assert service.metric("parley_store_requests_total", route="history", code="malformed") == before + 1
    lines = service.get("/metrics")[1].splitlines()
    found = [line for line in lines if line.startswith("parley_store_requests_total{")]
    assert found
    for line in found:
        assert line.partition('code="')[2].partition('"')[0] in {"ok", *CODES}
        assert "such" not in line


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=10,
)


def test_no_body_breaks_the_store(service: Service) -> None:
    """Whatever JSON comes to whatever route: an answer of the table, and the store goes on."""
    loop = asyncio.new_event_loop()

    async def make() -> tuple[aiohttp.ClientSession, Caller]:
        session = aiohttp.ClientSession()
        return session, Caller(service, session)

    session, caller = loop.run_until_complete(make())

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        route=st.sampled_from(sorted(ROUTES)),
        change=st.dictionaries(
            st.sampled_from(sorted({key for body in ROUTES.values() for key in body})), _json, max_size=2
        ),
        raw=st.none() | st.binary(max_size=50),
    )
    def ask(route: str, change: dict[str, Any], raw: bytes | None) -> None:
        body = raw if raw is not None else json.dumps({**ROUTES[route], **change}).encode()
        status, answer = loop.run_until_complete(caller.ask("POST", f"{api.PREFIX}/{route}", body))
        assert status == 200 or answer["code"] in CODES
        assert status != 500

    try:
        ask()
    finally:
        loop.run_until_complete(session.close())
        loop.close()
    assert service.status is None


async def test_sigterm_finishes_what_is_under_way(tmp_path: Path) -> None:
    """A request that is under way when the store is asked to end is answered before it exits with 0."""
    server = RedisServer(free_port(), tmp_path / "redis")
    server.start()
    store = _service(tmp_path, server.url, REDIS_TIMEOUT="10s")
    store.spawn()
    try:
        await store.until_ready()
        async with aiohttp.ClientSession() as session:
            assert (await Caller(store, session).post("gateways/lease", ROUTES["gateways/lease"]))[0] == 200
        server.pause()
        reader, writer = await asyncio.open_connection("127.0.0.1", int(store.settings["STORE_PORT"]))
        body = json.dumps({"gateway": "g0", "nonce": "n"}).encode()
        writer.write(
            b"POST /v1/gateways/probe HTTP/1.1\r\nHost: store\r\nAuthorization: Bearer %b\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (TOKENS[0].encode(), len(body), body)
        )
        await writer.drain()
        # What was sent before is read before: once this is answered the probe waits for Redis.
        assert store.get("/healthz")[0] == 200
        store.signal(signal.SIGTERM)
        await eventually(lambda: "stopping" in store.log)
        server.resume()
        answer = await reader.readline()
        writer.close()
        assert answer.startswith(b"HTTP/1.1 200")
        assert await asyncio.to_thread(_exit_status, store) == 0
    finally:
        server.stop()
        store.kill()


async def test_a_store_without_redis_says_so_and_waits(tmp_path: Path) -> None:
    """It is alive, not ready, and answers `unavailable`; once Redis is there it is ready by itself."""
    server = RedisServer(free_port(), tmp_path / "redis")
    store = _service(tmp_path, server.url)
    store.spawn()
    try:
        await eventually(lambda: store.get("/healthz")[0] == 200)
        status, body = store.get("/readyz")
        assert (status, list(json.loads(body)["missing"])) == (503, ["redis"])
        async with aiohttp.ClientSession() as session:
            status, answer = await Caller(store, session).ask("GET", "/v1/roster")
            assert (status, answer["code"], answer["retryable"]) == (503, "unavailable", True)
        server.start()
        await store.until_ready()
        server.stop()
        await eventually(lambda: store.metric("parley_store_redis_up_ratio") == 0)
        assert store.ready()
        assert store.stop() == 0
    finally:
        server.stop()
        store.kill()


@pytest.mark.parametrize(
    ("settings_", "expected"),
    [
        ({"SERVICE_TOKENS": ""}, "SERVICE_TOKENS"),
        ({"DURABILITY": "maybe"}, "DURABILITY"),
        ({"REDIS_URL": "http://x"}, "REDIS_URL"),
        ({"HISTORY_LIMIT": "5"}, "HISTORY_LIMIT"),
    ],
)
def test_a_bad_setting_ends_the_start_with_one_line(
    tmp_path: Path, settings_: dict[str, str], expected: str
) -> None:
    """A setting that cannot be used is named in one line, and the exit status is 1."""
    store = _service(tmp_path, "redis://127.0.0.1:1/0", **settings_)
    store.spawn()

    assert _exit_status(store) == 1
    assert store.log.startswith("parley: ")
    assert expected in store.log
    assert store.log.count("\n") == 1


def test_a_port_in_use_ends_the_start(tmp_path: Path) -> None:
    """A port that somebody else has is named in one line, and the exit status is 1."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        store = _service(tmp_path, "redis://127.0.0.1:1/0", STORE_PORT=str(port))
        store.spawn()

        assert _exit_status(store) == 1
    line = store.log.splitlines()[-1]
    assert line.startswith("parley: cannot listen on 127.0.0.1")


def test_a_redis_that_would_drop_messages_ends_the_start(tmp_path: Path) -> None:
    """A Redis under an eviction policy is refused: the store would promise what Redis does not keep."""
    server = RedisServer(free_port(), tmp_path / "redis", extra=["--maxmemory-policy", "allkeys-lru"])
    server.start()
    store = _service(tmp_path, server.url)
    store.spawn()
    try:
        assert _exit_status(store) == 1
    finally:
        server.stop()
    assert store.log.splitlines()[-1].startswith("parley: Redis has maxmemory-policy allkeys-lru")


def _exit_status(store: Service) -> int | None:
    process = store._running()
    return process.wait(20)
