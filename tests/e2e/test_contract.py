"""The contract holds on a cluster: through the ingress and through a port-forward, on each transport."""

from __future__ import annotations

import pytest

from tests.e2e.release import Release
from tests.harness.js_client import JsDriver
from tests.harness.people import TRANSPORTS, plain


async def _chat(url: str, driver: JsDriver, way: str, others: str) -> None:
    """Two people meet, write, leave and come back."""
    options = {"transports": TRANSPORTS[way], "withCredentials": True}
    alice = await driver.sign_in(url, {"username": f"alice {others}"}, **options)
    bob = await driver.sign_in(url, {"username": f"bob {others}"}, **options)
    await alice.told("user connected", lambda user: user["userID"] == bob.user_id)
    assert bob.users[alice.user_id]["connected"] is True

    answer = await alice.send("hello", bob.user_id, id="one")
    assert (answer["ok"], answer["id"], answer["seq"]) == (True, "one", 1)
    arrived = await bob.message("hello")
    assert plain(arrived) == {"content": "hello", "from": alice.user_id, "to": bob.user_id}
    again = await alice.send("hello", bob.user_id, id="one")
    assert again == answer

    await bob.close()
    await alice.told("user disconnected", lambda user: user == bob.user_id)
    await alice.send("are you there?", bob.user_id)
    back = await driver.sign_in(url, {"sessionID": bob.session_id}, **options)
    assert back.user_id == bob.user_id
    contents = [message["content"] for message in back.users[alice.user_id]["messages"]]
    assert contents == ["hello", "are you there?"]
    await alice.close()
    await back.close()


@pytest.mark.parametrize("way", TRANSPORTS)
async def test_through_the_ingress(release: Release, js: JsDriver, way: str) -> None:
    """By way of the ingress, with its cookie."""
    await _chat(release.url, js, way, f"by ingress, {way}")


@pytest.mark.parametrize("way", TRANSPORTS)
async def test_through_a_port_forward(release: Release, js: JsDriver, way: str) -> None:
    """By way of kubectl port-forward, which needs no ingress at all."""
    async with release.kubectl.port_forward("service/parley-gateway", 80) as url:
        await _chat(url, js, way, f"by port-forward, {way}")


async def test_helm_test(release: Release) -> None:
    """`helm test` sends its message between two different gateways."""
    output = await release.helm("test", release.name, "--logs", "--timeout", "3m")
    assert "3 gateways" in output
    assert "acknowledged as number 2, and delivered" in output
