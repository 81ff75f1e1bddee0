"""The doors of the two services: each takes one piece of noise and checks that the answer is a clear one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any, Final

import aiohttp

from tests.chaos.fuzz.noise import Noise
from tests.harness.raw_websocket import RawWebSocket, client_frame
from tests.harness.stack import TOKEN

ANSWER_SECONDS: Final = 10.0
VALID: Final[Mapping[str, Any]] = {
    "private message": {"content": "text", "to": "0123456789abcdef", "id": "id"},
    "history": {"with": "0123456789abcdef", "before": 5, "limit": 10},
    "users": {"query": "u", "after": "x", "limit": 10},
    "typing": {"to": "0123456789abcdef"},
    "read": {"with": "0123456789abcdef", "seq": 1},
    "sessions": {},
    "block": {"user": "0123456789abcdef"},
    "unblock": {"user": "0123456789abcdef"},
    "mute": {"user": "0123456789abcdef"},
    "unmute": {"user": "0123456789abcdef"},
    "relations": {},
    "export": {"after": "x"},
    "erase": {"userID": "0123456789abcdef"},
}
"""One good argument for each event of the contract, but for `log out`: it ends an honest client too."""
EVENTS: Final = (*VALID, "connect", "nonsense", "")

_OPEN: Final = {
    "version": 1,
    "session": "s",
    "username": "u",
    "new_session": "a",
    "new_user": "b",
    "new_pid": "c",
    "socket": "d",
}
_POSITION: Final = {"epoch": "abc", "counter": 1, "roster_epoch": "abc", "roster": 1}
_SEND: Final = {
    "id": "i",
    "from": "a",
    "from_name": "n",
    "to": "b",
    "content": "text",
    "pid": "",
    "socket": "",
}
# No gateway has this id: what happens to be valid changes nothing.
_GATEWAY: Final = "fuzzfuzz00"
STORE: Final[Mapping[str, Any]] = {
    "/v1/sessions/open": {"gateway": _GATEWAY, "opens": [_OPEN]},
    "/v1/sessions/recover": {
        "gateway": _GATEWAY,
        "recovers": [{"version": 1, "pid": "p", "position": _POSITION, "socket": "s"}],
    },
    "/v1/sessions/attach": {
        "gateway": _GATEWAY,
        "users": [{"user": "a", "version": 1, "epoch": "abc", "counter": 1}],
    },
    "/v1/presence": {
        "gateway": _GATEWAY,
        "detaches": [{"user": "a", "version": 1}],
        "lost": [{"pid": "p"}],
        "touches": ["s"],
    },
    "/v1/messages": {"gateway": _GATEWAY, "deadline": 1, "messages": [_SEND]},
    "/v1/read": {"gateway": _GATEWAY, "marks": [{"reader": "a", "peer": "b", "seq": 1}]},
    "/v1/typing": {"gateway": _GATEWAY, "events": [{"from": "a", "to": "b"}]},
    "/v1/history": {"user": "a", "peer": "b", "before": 5, "limit": 10},
    "/v1/inbox": {"user": "a", "epoch": "abc", "after": 1, "limit": 10},
    "/v1/users": {"user": "a", "query": "u", "after": None, "limit": 10},
    "/v1/roster/states": {"users": ["a", "b"]},
    "/v1/gateways/lease": {
        "gateway": _GATEWAY,
        "address": "h:1",
        "connections": 1,
        "capacity": 1,
        "ready": True,
    },
    "/v1/gateways/release": {"gateway": _GATEWAY},
    "/v1/gateways/probe": {"gateway": _GATEWAY, "nonce": "n"},
}
"""One good body for each request of the store's API."""


class UnclearError(AssertionError):
    """An answer that is none: a server error, silence, or another shape."""


def check_status(status: int, where: str) -> None:
    """Refuse server errors.

    Raises:
        UnclearError: The status is one.
    """
    if status >= 500:
        raise UnclearError(f"{where} answered {status}")


async def handshake(noise: Noise, port: int) -> None:
    """A request to the public port that is bent in its first line, its query, its headers or its body."""
    rng = noise.rng
    method = rng.choice(("GET", "GET", "GET", "POST", "PUT", "OPTIONS", "DELETE", "get", "X" * 40))
    query = rng.choice(
        (
            "EIO=4&transport=polling",
            "EIO=4&transport=websocket",
            "EIO=3&transport=polling",
            f"EIO=4&transport=polling&sid={rng.choice(('x', 'abc-def', '0123456789-aaaaaaaaa', '-', '%00'))}",
            f"EIO=4&transport=websocket&sid={'%F0%9F' * rng.randrange(4)}",
            "transport=&EIO=",
            "&".join(["sid=a", "EIO=4"] * 50),
        )
    )
    body = noise.octets(200) if method == "POST" else b""
    headers = {
        "Host": "localhost",
        "Connection": "close",
        **({"Content-Length": str(len(body))} if body else {}),
    }
    for _ in range(rng.randrange(4)):
        name = rng.choice(
            (
                "Upgrade",
                "Connection",
                "Sec-WebSocket-Key",
                "Sec-WebSocket-Version",
                "Origin",
                "Cookie",
                "X-Forwarded-For",
                "X-Forwarded-Host",
                "X-Parley-Forwarded",
                "Content-Type",
                "Authorization",
                "Expect",
                "Range",
            )
        )
        headers[name] = rng.choice(
            (
                "websocket",
                "Upgrade",
                "13",
                "null",
                "http://[",
                "close, Upgrade",
                "a" * 5000,
                "",
                "100-continue",
            )
        )
    lines = [f"{method} /socket.io/?{query} HTTP/1.1", *(f"{name}: {text}" for name, text in headers.items())]
    request = "\r\n".join(lines).encode() + b"\r\n\r\n" + body
    damaged = rng.random() < 0.3
    await _exchange(port, noise.damaged(request) if damaged else request, whole=not damaged)


async def _exchange(port: int, request: bytes, *, whole: bool) -> None:
    """Send a request and read its answer; one that is not whole may have none for now."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        # For what is not whole, the server may wait for the rest with good reason.
        async with asyncio.timeout(ANSWER_SECONDS if whole else 0.02):
            head = await reader.readuntil(b"\r\n")
    except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError) as error:
        if whole and isinstance(error, TimeoutError):
            raise UnclearError(f"no answer to {request[:120]!r}") from error
        return
    finally:
        writer.transport.abort()
    # A damaged version is answered in the version it is taken for.
    if not head.startswith(b"HTTP/") or not head[9:12].isdigit():
        raise UnclearError(f"an answer that is no HTTP: {head[:60]!r}")
    check_status(int(head[9:12]), f"{request[:120]!r}")


async def frames(noise: Noise, port: int, auth: Mapping[str, str]) -> None:
    """A WebSocket that breaks the rules of its protocol, of Engine.IO or of Socket.IO."""
    rng = noise.rng
    socket = await RawWebSocket.open(port, "/socket.io/?EIO=4&transport=websocket")
    # Of a damaged frame the server may wait for the rest with good reason.
    damaged = rng.random() < 0.2
    try:
        if rng.random() < 0.5:
            socket.send(client_frame(1, b"40" + json.dumps(auth).encode()))
        if damaged:
            frame = client_frame(rng.randrange(16), noise.octets(), final=rng.random() < 0.7)
            socket.send(noise.damaged(frame))
        else:
            socket.send(*(_frame(noise) for _ in range(rng.randrange(1, 4))))
        # A Close frame is answered by whoever is still there; otherwise the connection ends.
        socket.send(client_frame(8, b"\x03\xe8"))
        async with asyncio.timeout(0.02 if damaged else ANSWER_SECONDS):
            await socket.close_code()
    except TimeoutError as error:
        if not damaged:
            raise UnclearError("a WebSocket is neither answered nor closed") from error
    finally:
        socket.writer.transport.abort()


def _frame(noise: Noise) -> bytes:
    rng = noise.rng
    if rng.random() < 0.15:
        return client_frame(rng.choice((1, 2, 9, 10)), noise.octets(), masked=False)
    return client_frame(rng.choice((1, 1, 1, 1, 2)), packet(noise))


def packet(noise: Noise) -> bytes:
    """An Engine.IO packet: bent, damaged, or as good as one."""
    rng = noise.rng
    event = rng.choice(EVENTS)
    argument = noise.bent(VALID.get(event, {}))
    good = b"4" + rng.choice(
        (
            b"2" + noise.json([event, argument]),
            b"2%d" % rng.choice((0, 7, 10**30)) + noise.json([event, argument]),
            b"0" + noise.json(noise.value()),
            b"0/" + noise.text().encode("utf-8", "surrogatepass") + b"," + noise.json({}),
            b"1",
            b"3%d" % rng.randrange(9) + noise.json([argument]),
            b"4" + noise.json(argument),
            b"5%d-" % rng.choice((0, 1, 2, 10**9)) + noise.json([event, {"_placeholder": True, "num": 0}]),
            b"6" + noise.octets(),
        )
    )
    kind = rng.random()
    if kind < 0.1:
        return rng.choice((b"", b"0", b"1", b"2", b"2probe", b"3", b"5", b"6", b"7", b"b!!!", b"bAAA"))
    return noise.damaged(good) if kind < 0.4 else good


async def payload(noise: Noise, http: aiohttp.ClientSession, url: str, auth: Mapping[str, str]) -> None:
    """A long-polling session whose POST is bent."""
    rng = noise.rng
    base = f"{url}/socket.io/?EIO=4&transport=polling"
    async with http.get(base) as opened:
        check_status(opened.status, "a handshake")
        sid = json.loads((await opened.text())[1:])["sid"]
    if rng.random() < 0.5:
        async with http.post(f"{base}&sid={sid}", data=b"40" + json.dumps(auth).encode()) as answer:
            check_status(answer.status, "a CONNECT")
    body = b"\x1e".join(packet(noise) for _ in range(rng.choice((1, 1, 2, 30))))
    async with http.post(
        f"{base}&sid={sid}",
        data=body,
        headers={"Content-Type": rng.choice(("text/plain", "application/json"))},
    ) as answer:
        check_status(answer.status, f"a POST of {body[:80]!r}")
        if answer.status not in {200, 400, 413}:
            raise UnclearError(f"a POST is answered {answer.status}")
    async with http.post(f"{base}&sid={sid}", data=b"1") as answer:
        check_status(answer.status, "a farewell")


async def store_body(noise: Noise, http: aiohttp.ClientSession, url: str) -> None:
    """A request to the store's API with a bent path, token or body."""
    rng = noise.rng
    path = rng.choice(list(STORE))
    body = noise.json(noise.bent(STORE[path])) if rng.random() < 0.9 else noise.octets(300)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    if rng.random() < 0.05:
        headers["Authorization"] = rng.choice(("", "Bearer", "Bearer x", f"bearer {TOKEN}", "Basic eA=="))
    if rng.random() < 0.05:
        path = rng.choice(("/", "/v1", "/v2/messages", path + "/x", "/v1/roster", "/v1/gateways"))
    method = rng.choice(("POST",) * 12 + ("GET", "PUT", "DELETE"))
    async with http.request(method, url + path, data=body, headers=headers) as answer:
        text = await answer.read()
        check_status(answer.status, f"{method} {path} {body[:120]!r}")
        if answer.status != 200:
            failure = json.loads(text)
            if not {"code", "message", "retryable"} <= set(failure):
                raise UnclearError(f"{method} {path} is refused without a code")


async def internal_body(noise: Noise, http: aiohttp.ClientSession, url: str) -> None:
    """A request to a gateway's internal port that must change nothing."""
    rng = noise.rng
    method, path = rng.choice(
        (("POST", "/shed"), ("POST", "/drain"), ("DELETE", "/drain"), ("PUT", "/metrics"))
    )
    headers = {"Authorization": "Bearer another-token-of-16"}
    body = noise.octets(100)
    if path == "/shed" and rng.random() < 0.7:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        body = noise.json({"count": rng.choice((0, -1, "1", None, 1.5, 10**9, [], noise.text()))})
    async with http.request(method, url + path, data=body, headers=headers) as answer:
        check_status(answer.status, f"{method} {path} {body[:80]!r}")
        if answer.status < 400:
            raise UnclearError(f"{method} {path} was accepted with {body[:80]!r}")
