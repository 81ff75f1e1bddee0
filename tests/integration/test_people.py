"""People and their data with real processes: sessions end, blocks hold, on all gateways at once."""

from __future__ import annotations

from typing import Any

import pytest

from tests.harness.js_client import JsClient, JsDriver
from tests.harness.people import People
from tests.harness.stack import Stack


@pytest.fixture
def people(stack: Stack, js: JsDriver) -> People:
    """People over WebSocket."""
    return People(stack, js)


async def ended(client: JsClient) -> str:
    """Wait until a client's session has ended and it is disconnected for good; the reason it was given."""
    told: dict[str, str] = await client.journal.event("session ended")
    gone = await client.journal.disconnected()
    assert gone.details["reason"] == "io server disconnect"
    return told["reason"]


async def refused(client: JsClient, to: JsClient) -> str:
    """Send a message; the code with which it is refused, or nothing."""
    code: str = (await client.send("hi", to.user_id)).get("code", "")
    return code


async def test_log_out_ends_all_sockets_of_the_session_on_every_gateway(people: People) -> None:
    """The own socket is answered first; tabs on other gateways end, and the session is of no use any more."""
    ann, bob = await people.join("ann"), await people.join("bob", 1)
    tab = await people.tab(ann, 1)
    answer = await ann.call("log out", {})
    assert answer == {"ok": True, "ended": 1}
    assert await ended(ann) == "log out"
    assert await ended(tab) == "log out"
    await bob.told("user disconnected", lambda user: user == ann.user_id)
    late = await people.driver.open(people.stack.gateway_url(1), {"sessionID": ann.session_id}, name="late")
    error = await late.journal.wait(lambda entry: entry.kind == "connect_error")
    assert "invalid username" in str(error.details)


@pytest.mark.parametrize("way", ["polling", "websocket", "upgrade"])
async def test_log_out_in_every_way_of_being_connected(people: People, way: str) -> None:
    """The answer, the news and the end reach the client whatever it is connected by."""
    people.way = way
    ann = await people.join("ann")
    assert (await ann.call("log out", {"all": True}))["ok"]
    assert await ended(ann) == "log out"


async def test_sessions_are_listed(people: People) -> None:
    """A tab shares its session, which is marked as the own; the secret is not in it."""
    ann = await people.join("ann")
    await people.tab(ann, 1)
    answer = await ann.call("sessions", {})
    (session,) = answer["sessions"]
    assert session["current"] is True
    assert session["used"] > 0
    assert ann.session_id not in str(answer)


async def test_a_block_holds_on_all_gateways_when_it_is_answered(people: People) -> None:
    """From the answer on no gateway takes a message either way, whichever holds whom."""
    ann, bob = await people.join("ann"), await people.join("bob", 1)
    sockets = [bob, await people.tab(bob, 0), await people.tab(bob, 1)]
    assert await refused(bob, ann) == ""
    answer = await ann.call("block", {"user": bob.user_id})
    assert answer == {"ok": True, "blocked": [bob.user_id], "muted": []}
    for socket in sockets:
        assert await refused(socket, ann) == "blocked"
    assert await refused(ann, bob) == "blocked"
    assert await ann.call("unblock", {"user": bob.user_id}) == {"ok": True, "blocked": [], "muted": []}
    for socket in sockets:
        assert await refused(socket, ann) == ""


async def test_a_block_hides_presence_both_ways(people: People) -> None:
    """Each sees the other leave and finds them offline, at a connect and in searches; then they are back."""
    ann, bob = await people.join("ann"), await people.join("bob", 1)
    await ann.told("user connected", lambda user: user["userID"] == bob.user_id)
    await ann.call("block", {"user": bob.user_id})
    await ann.told("user disconnected", lambda user: user == bob.user_id)
    await bob.told("user disconnected", lambda user: user == ann.user_id)
    tab = await people.tab(bob, 0)
    assert tab.users[ann.user_id]["connected"] is False
    found: dict[str, Any] = await bob.call("users", {"query": "ann"})
    assert [user["connected"] for user in found["users"] if user["userID"] == ann.user_id] == [False]
    await ann.journal.event("relations", lambda relations: relations["blocked"] == [bob.user_id])
    assert not bob.journal.events("relations")
    seen = len(bob.journal.entries)
    await ann.call("unblock", {"user": bob.user_id})
    await bob.told("user connected", lambda user: user["userID"] == ann.user_id, after=seen)


async def test_mute_is_known_to_all_tabs_and_keeps_delivery(people: People) -> None:
    """Messages still arrive; the tabs learn whom to keep silent, also those that come later."""
    ann, bob = await people.join("ann"), await people.join("bob", 1)
    tab = await people.tab(ann, 1)
    await ann.call("mute", {"user": bob.user_id})
    await tab.told("relations", lambda relations: relations["muted"] == [bob.user_id])
    assert await refused(bob, ann) == ""
    await ann.message("hi")
    later = await people.tab(ann, 0)
    await later.told("relations", lambda relations: relations["muted"] == [bob.user_id])
    assert (await later.call("relations", {})) == {"ok": True, "blocked": [], "muted": [bob.user_id]}
