"""python-socketio's own client gets what the JavaScript client gets, and the two talk to each other."""

from __future__ import annotations

import pytest
import socketio

from tests.harness.js_client import JsDriver
from tests.harness.people import TRANSPORTS, plain
from tests.harness.py_client import PyClient
from tests.harness.stack import Stack

WAYS = sorted(TRANSPORTS)


@pytest.mark.parametrize("way", WAYS)
async def test_a_python_and_a_javascript_client_talk(stack: Stack, js: JsDriver, way: str) -> None:
    """Sign-in, presence, messages with acknowledgements both ways, and history after a resume."""
    transports = TRANSPORTS[way]
    ann = await PyClient.sign_in(stack.gateway_url(0), {"username": "ann"}, transports=transports)
    bob = await js.sign_in(stack.gateway_url(1), {"username": "bob"}, transports=transports)
    assert ann.transport == transports[-1]
    await ann.told("user connected", lambda user: user["userID"] == bob.user_id)
    first = await ann.send("hello", bob.user_id, id="one")
    second = await bob.send("hello yourself", ann.user_id)
    assert [answer["seq"] for answer in (first, second)] == [1, 2]
    assert plain(await bob.message("hello")) == {"content": "hello", "from": ann.user_id, "to": bob.user_id}
    assert (await ann.message("hello yourself"))["from"] == bob.user_id
    await ann.close()
    await bob.told("user disconnected", lambda user: user == ann.user_id)
    back = await PyClient.sign_in(stack.gateway_url(1), {"sessionID": ann.session_id}, transports=transports)
    assert back.user_id == ann.user_id
    shown = [message["content"] for message in back.users[bob.user_id]["messages"]]
    assert shown == ["hello", "hello yourself"]
    await back.close()


@pytest.mark.parametrize("way", WAYS)
async def test_a_python_client_is_refused_without_a_username(stack: Stack, way: str) -> None:
    """Its connection error carries the guide's words."""
    client = PyClient("nobody")
    with pytest.raises(socketio.exceptions.ConnectionError):
        await client.connect(stack.gateway_url(0), transports=TRANSPORTS[way])
    assert [entry.details["data"] for entry in client.journal.kinds("connect_error")] == [
        {"message": "invalid username"}
    ]
