"""The ingress pins a client by its cookie, and a client without one is served all the same."""

from __future__ import annotations

import json
import re

import aiohttp

from tests.e2e.release import Release
from tests.harness.js_client import JsDriver

HANDSHAKE = "/socket.io/?EIO=4&transport=polling"
_PASSED_ON = re.compile(r"^parley_gateway_forwarded_requests_total (\S+)", re.MULTILINE)


async def _gateway(client: aiohttp.ClientSession, url: str) -> str:
    """Open a session, and say which gateway's it is: its id begins with the gateway's."""
    async with client.get(url + HANDSHAKE) as response:
        assert response.status == 200
        sid: str = json.loads((await response.text())[1:])["sid"]
        return sid.partition("-")[0]


async def _passed_on(release: Release) -> float:
    """Requests that gateways have passed on to the owner of a session, all together."""
    total = 0.0
    async with aiohttp.ClientSession() as client:
        for name in await release.kubectl.names("gateway"):
            async with (
                release.kubectl.port_forward(f"pod/{name}", 9100) as url,
                client.get(f"{url}/metrics") as response,
            ):
                found = _PASSED_ON.search(await response.text())
                assert found is not None
                total += float(found[1])
    return total


async def test_cookie_pins_a_client(release: Release) -> None:
    """With the cookie a client meets one gateway every time; without, it meets them all in turn."""
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as client:
        pinned = {await _gateway(client, release.url) for _ in range(12)}
    assert len(pinned) == 1
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as client:
        free = {await _gateway(client, release.url) for _ in range(30)}
    assert len(free) == 3


async def test_cookie_s_flags(release: Release) -> None:
    """Scripts cannot read the cookie, and it is for the whole site."""
    async with aiohttp.ClientSession() as client, client.get(release.url + HANDSHAKE) as response:
        cookie = response.cookies["parley"]
        assert (cookie["path"], cookie["httponly"], cookie["samesite"]) == ("/", True, "Lax")


async def test_client_that_refuses_cookies(release: Release, js: JsDriver) -> None:
    """Long-polling without cookies lands on any gateway; the session's owner answers nevertheless."""
    before = await _passed_on(release)
    alice = await js.sign_in(release.url, {"username": "no cookie"}, transports=("polling",))
    bob = await js.sign_in(release.url, {"username": "no cookie either"})
    for number in range(10):
        assert (await alice.send(f"number {number}", bob.user_id))["ok"]
        await bob.message(f"number {number}")
    assert (await alice.state())["transport"] == "polling"
    assert await _passed_on(release) > before
    await alice.close()
    await bob.close()
