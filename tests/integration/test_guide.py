"""The contract of the Socket.IO guide's private messaging, to the letter, with the official client.

Every test runs on long-polling, on WebSocket, and through the upgrade from one to the other.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.harness.js_client import JsDriver
from tests.harness.people import TRANSPORTS, People, plain
from tests.harness.stack import Stack


@pytest.fixture(params=sorted(TRANSPORTS))
def people(stack: Stack, js: JsDriver, request: pytest.FixtureRequest) -> People:
    """People whose clients are all connected in one of the three ways."""
    return People(stack, js, request.param)


async def test_session_comes_first_then_users(people: People) -> None:
    """A new socket gets `session`, then `users`, in which it is itself, with an array of messages."""
    ann = await people.join("ann")
    names = [entry.name for entry in ann.journal.kinds("event")]
    assert names[:2] == ["session", "users"]
    assert {"sessionID", "userID"} <= set(ann.session)
    own = ann.users[ann.user_id]
    assert (own["username"], own["connected"], own["messages"]) == ("ann", True, [])


async def test_who_is_offline_is_listed_too(people: People) -> None:
    """`users` holds everybody, connected or not."""
    ann = await people.join("ann")
    bob = await people.join("bob", 1)
    await bob.close()
    await ann.told("user disconnected", lambda user: user == bob.user_id)
    cid = await people.join("cid", 1)
    assert cid.users[ann.user_id]["connected"] is True
    assert cid.users[bob.user_id]["connected"] is False


async def test_the_others_are_told_of_who_comes(people: People) -> None:
    """`user connected` goes to everybody else, on all gateways, in the guide's shape."""
    ann = await people.join("ann")
    bob = await people.join("bob", 1)
    cid = await people.join("cid", 0)
    for witness in (ann, bob):
        told = await witness.told("user connected", lambda user: user["userID"] == cid.user_id)
        expected = {"userID": cid.user_id, "username": "cid", "connected": True, "messages": []}
        assert expected.items() <= told.items()
    assert not [user for user in cid.journal.events("user connected") if user["userID"] == cid.user_id]


async def test_user_disconnected_after_the_last_socket_on_any_gateway(people: People) -> None:
    """The bare userID is sent once, and not before the last of three tabs on two gateways is closed."""
    ann = await people.join("ann")
    bob = await people.join("bob", 0)
    tabs = [bob, await people.tab(bob, 1), await people.tab(bob, 0)]
    for tab in tabs:
        assert tab.user_id == bob.user_id
    for tab in tabs[:2]:
        await tab.close()
    # A user who leaves after them shows that the two tabs have been seen to close.
    cid = await people.join("cid", 1)
    await cid.close()
    await ann.told("user disconnected", lambda user: user == cid.user_id)
    assert bob.user_id not in ann.journal.events("user disconnected")
    await tabs[2].close()
    await ann.told("user disconnected", lambda user: user == bob.user_id)
    assert ann.journal.events("user disconnected").count(bob.user_id) == 1


async def test_a_message_reaches_all_sockets_but_the_sending_one(people: People) -> None:
    """`{content, from, to}` goes to the recipient's sockets and the sender's others, on both gateways."""
    ann = await people.join("ann")
    ann_too = await people.tab(ann, 1)
    bob = await people.join("bob", 1)
    bob_too = await people.tab(bob, 0)
    await ann.emit("private message", {"content": "hello", "to": bob.user_id})
    for witness in (ann_too, bob, bob_too):
        assert plain(await witness.message("hello")) == {
            "content": "hello",
            "from": ann.user_id,
            "to": bob.user_id,
        }
    await bob.emit("private message", {"content": "hello yourself", "to": ann.user_id})
    await ann.message("hello yourself")
    assert [message["content"] for message in ann.messages] == ["hello yourself"]
    for witness in (ann_too, bob_too):
        await witness.message("hello yourself")
        assert [message["content"] for message in witness.messages] == ["hello", "hello yourself"]


async def test_the_sender_is_who_the_server_knows(people: People) -> None:
    """A client cannot speak in another's name."""
    ann = await people.join("ann")
    bob = await people.join("bob", 1)
    forged: dict[str, Any] = {"content": "it is me", "to": bob.user_id, "from": bob.user_id}
    await ann.emit("private message", forged)
    assert (await bob.message("it is me"))["from"] == ann.user_id


async def test_a_message_to_oneself_is_stored_and_shown_once(people: People) -> None:
    """Other tabs see it once, the sending one not at all, and history holds it once."""
    ann = await people.join("ann")
    ann_too = await people.tab(ann, 1)
    await ann.emit("private message", {"content": "note", "to": ann.user_id})
    await ann_too.message("note")
    await ann.emit("private message", {"content": "second note", "to": ann.user_id})
    await ann_too.message("second note")
    assert [message["content"] for message in ann_too.messages] == ["note", "second note"]
    assert ann.messages == []
    again = await people.tab(ann, 1)
    assert [message["content"] for message in again.users[ann.user_id]["messages"]] == ["note", "second note"]


async def test_a_session_is_resumed_with_its_history(people: People) -> None:
    """With its sessionID a client is the same user, on any gateway, and finds what was said meanwhile."""
    ann = await people.join("ann")
    bob = await people.join("bob", 1)
    await ann.emit("private message", {"content": "one", "to": bob.user_id})
    await bob.message("one")
    await bob.close()
    await ann.told("user disconnected", lambda user: user == bob.user_id)
    await ann.send("two", bob.user_id)
    back = await people.tab(bob, 0)
    assert back.session == bob.session
    assert [plain(message) for message in back.users[ann.user_id]["messages"]] == [
        {"content": content, "from": ann.user_id, "to": bob.user_id} for content in ("one", "two")
    ]
    told = await ann.told("user connected", lambda user: user["userID"] == bob.user_id)
    assert told["username"] == "bob"


async def test_user_connected_comes_before_the_first_message(people: People) -> None:
    """Nobody gets a message from somebody they have not been told of."""
    ann = await people.join("ann")
    for number in range(5):
        stranger = await people.join(f"stranger-{number}", 1)
        await stranger.emit("private message", {"content": f"hello {number}", "to": ann.user_id})
        await ann.message(f"hello {number}")
        order = [
            entry.name
            for entry in ann.journal.kinds("event")
            if entry.name in {"user connected", "private message"}
            and stranger.user_id in (entry.args[0].get("userID"), entry.args[0].get("from"))
        ]
        assert order == ["user connected", "private message"]


async def test_the_same_name_twice_is_two_users(people: People) -> None:
    """Without a session a name is no identity."""
    one, other = await people.join("ann"), await people.join("ann", 1)
    assert one.user_id != other.user_id
    assert {one.user_id, other.user_id} <= set(other.users)


NO_USERNAME: list[dict[str, Any]] = [
    {},
    {"username": ""},
    {"username": None},
    {"username": 7},
    {"username": ["ann"]},
    {"username": {"name": "ann"}},
    {"username": "x" * 65},
    {"username": "\ud800"},
    {"sessionID": "no-such-session"},
    {"sessionID": ["ann"], "username": False},
]


async def test_without_a_username_nobody_comes_in(people: People) -> None:
    """The refusal is a CONNECT_ERROR that says exactly `invalid username`."""
    url = people.stack.gateway_url(0)
    for auth in NO_USERNAME:
        client = await people.driver.open(url, auth, transports=TRANSPORTS[people.way])
        error = await client.journal.wait(lambda entry: entry.kind == "connect_error")
        assert (auth, error.details["reason"]) == (auth, "invalid username")
        assert not client.journal.kinds("connect")


async def test_an_unknown_session_falls_back_to_the_username(people: People) -> None:
    """A client that shows both signs in anew when its session has expired."""
    ann = await people.join("", sessionID="no-such-session", username="ann")
    assert ann.users[ann.user_id]["username"] == "ann"
    assert ann.session_id != "no-such-session"
