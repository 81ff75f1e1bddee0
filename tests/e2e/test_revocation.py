"""A session that ends is of no use on any pod: its sockets close at once, its recovery ids die with it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.e2e.commands import Object
from tests.e2e.release import Release
from tests.harness.js_client import JsClient, JsDriver
from tests.harness.people import TRANSPORTS

GATEWAYS = 3
SECRET = "administration"


@pytest.fixture
async def administered(release: Release) -> AsyncIterator[Release]:
    """The release with the administrators' API, whose token is in a Secret of its own."""
    await release.kubectl(
        "create", "secret", "generic", SECRET, "--from-literal=token=administrators-e2e-token"
    )
    try:
        reference = {"name": SECRET, "key": "token"}
        await release.install({"store": {"settingsFromSecrets": {"ADMIN_TOKENS": reference}}})
        yield release
        await release.install()
    finally:
        await release.kubectl("delete", "secret", SECRET)


@pytest.fixture
async def pods(release: Release) -> AsyncIterator[list[str]]:
    """The addresses of all gateways, each of one pod alone."""
    async with contextlib.AsyncExitStack() as stack:
        names = await release.kubectl.names("gateway")
        assert len(names) == GATEWAYS
        yield [
            await stack.enter_async_context(release.kubectl.port_forward(f"pod/{name}", 3000))
            for name in names
        ]


async def parleyctl(release: Release, *arguments: str) -> Any:
    """Run parleyctl in a store, as the documentation says, and read its answer."""
    command = ("exec", "deploy/parley-store", "--", "parleyctl", "--output", "json", *arguments)
    return json.loads(await release.kubectl(*command))


async def sign_in(js: JsDriver, url: str, auth: Object) -> JsClient:
    """Sign in at one pod, over WebSocket."""
    return await js.sign_in(url, auth, transports=TRANSPORTS["websocket"])


async def lost(js: JsDriver, url: str, session_id: str) -> Object:
    """Open a tab and lose it; returns what it would show to be recovered."""
    tab = await sign_in(js, url, {"sessionID": session_id})
    state = await tab.state()
    await tab.close()
    return {"sessionID": session_id, "pid": state["pid"], "offset": state["offset"]}


async def ended(client: JsClient, reason: str) -> None:
    """Wait until a client was told that its session has ended, and was disconnected for good."""
    assert (await client.journal.event("session ended"))["reason"] == reason
    assert (await client.journal.disconnected()).details["reason"] == "io server disconnect"


async def recovered(js: JsDriver, url: str, asked: Object) -> bool:
    """Try to recover a lost tab at another pod; whether it was: it has its old recovery id."""
    tab = await js.open(url, asked, transports=TRANSPORTS["websocket"])
    entry = await tab.journal.wait(lambda entry: entry.kind in {"connect", "connect_error"})
    if entry.kind == "connect_error":
        assert entry.details["reason"] == "invalid username"
        return False
    known: bool = (await tab.state())["pid"] == asked["pid"]
    await tab.close()
    return known


async def test_log_out_reaches_every_pod(release: Release, js: JsDriver, pods: list[str]) -> None:
    """Logging out at one pod ends the session's sockets on the others, and what was lost stays lost."""
    del release
    ann = await sign_in(js, pods[0], {"username": "ann, who logs out"})
    tabs = [await sign_in(js, url, {"sessionID": ann.session_id}) for url in pods[1:]]
    other = await sign_in(js, pods[1], {"username": "ann's peer"})
    before = await lost(js, pods[2], ann.session_id)
    assert await recovered(js, pods[0], before)
    gone = await lost(js, pods[2], ann.session_id)

    assert await ann.call("log out", {}) == {"ok": True, "ended": 1}
    for client in (ann, *tabs):
        await ended(client, "log out")
    for url in pods:
        assert not await recovered(js, url, gone)
        # With a name beside it one is let in, as somebody new.
        assert not await recovered(js, url, {**gone, "username": "ann, who logs in"})
    assert (await other.send("still here", other.user_id))["ok"]
    await other.close()


async def test_an_administrator_s_revocation_reaches_every_pod(
    administered: Release, js: JsDriver, pods: list[str]
) -> None:
    """`parleyctl revoke` ends one session on all pods; another user's session goes on."""
    ann = await sign_in(js, pods[0], {"username": "ann, who is revoked"})
    tabs = [await sign_in(js, url, {"sessionID": ann.session_id}) for url in pods[1:]]
    other = await sign_in(js, pods[1], {"username": "ann's other peer"})
    gone = await lost(js, pods[2], ann.session_id)
    (session,) = (await parleyctl(administered, "user", ann.user_id))["sessions"]

    assert await parleyctl(administered, "revoke", ann.user_id, session["session"]) == {"ended": 1}
    for client in (ann, *tabs):
        await ended(client, "revoked")
    for url in pods:
        assert not await recovered(js, url, gone)
    gateways = (await parleyctl(administered, "gateways"))["gateways"]
    assert len(gateways) == GATEWAYS
    assert (await other.send("still here", other.user_id))["ok"]
    await other.close()
