"""Limits and malformed requests: each is answered by a row of the table of errors, and harms nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from parley_shared.errors import CODES
from tests.harness.js_client import JsClient, JsDriver
from tests.harness.people import People
from tests.harness.stack import Stack


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack with small limits."""
    settings = {
        "MESSAGE_BURST": "60",
        "MESSAGE_RATE": "5",
        "MAX_CONTENT_CHARACTERS": "100",
        "MAX_PAYLOAD_BYTES": "4096",
    }
    with Stack(tmp_path_factory.mktemp("small"), gateways=1, settings=settings) as running:
        yield running
        errors = running.errors()
    assert not errors, errors


@pytest.fixture
def people(small: Stack, js: JsDriver) -> People:
    """People at the stack with small limits."""
    return People(small, js)


async def refused(client: JsClient, event: str, *args: object) -> str:
    """Send what must be refused; returns the code, after checking it against the table."""
    answer: dict[str, Any] = await client.call(event, *args)
    assert answer["ok"] is False
    assert answer["retryable"] is CODES[answer["code"]].retryable
    assert answer["message"]
    code: str = answer["code"]
    return code


MALFORMED_MESSAGES: list[tuple[Any, ...]] = [
    (),
    (None,),
    ("text",),
    (7,),
    ([],),
    ({},),
    ({"content": "no recipient"},),
    ({"to": "no content"},),
    ({"content": None, "to": "x"},),
    ({"content": 7, "to": "x"},),
    ({"content": {"a": 1}, "to": "x"},),
    ({"content": "x", "to": None},),
    ({"content": "x", "to": ["a", "b"]},),
    ({"content": "x", "to": ""},),
    ({"content": "x", "to": "x" * 129},),
    ({"content": "x", "to": "x", "id": 7},),
    ({"content": "x", "to": "x", "id": ""},),
    ({"content": "x", "to": "x", "id": "x" * 65},),
    ({"content": "\ud800", "to": "x"},),
    ({"content": "x", "to": "\udfff"},),
    ({"content": "x", "to": "x"}, {"content": "x", "to": "x"}),
]

MALFORMED_REQUESTS: list[tuple[str, Any]] = [
    ("history", {}),
    ("history", {"with": 7}),
    ("history", {"with": "x", "before": 0}),
    ("history", {"with": "x", "before": "1"}),
    ("history", {"with": "x", "limit": 0}),
    ("history", {"with": "x", "limit": 201}),
    ("users", {"query": 7}),
    ("users", {"limit": -1}),
    ("users", {"query": "x" * 65}),
    ("users", "x"),
    ("typing", {}),
    ("typing", {"to": "a b"}),
    ("read", {"with": "x"}),
    ("read", {"with": "x", "seq": -1}),
    ("read", {"with": "x", "seq": 1.5}),
    ("read", {"with": "x", "seq": 10**30}),
]


RESERVED = ["connect", "disconnect", "connect_error", "message", "error", "session", "user connected"]


async def test_malformed_messages_are_refused(people: People) -> None:
    """Whatever has not the documented shape is `malformed`, and the socket stays."""
    ann = await people.join("ann")
    for args in MALFORMED_MESSAGES:
        assert (args, await refused(ann, "private message", *args)) == (args, "malformed")
    assert not ann.journal.kinds("disconnect")


async def test_malformed_requests_are_refused(people: People) -> None:
    """Pages, typing and read marks check what they are given."""
    ann = await people.join("ann")
    for event, argument in MALFORMED_REQUESTS:
        assert (event, argument, await refused(ann, event, argument)) == (event, argument, "malformed")
    assert not ann.journal.kinds("disconnect")


async def test_an_unknown_recipient_is_refused(people: People) -> None:
    """Nothing is stored for somebody who does not exist."""
    ann = await people.join("ann")
    assert await refused(ann, "private message", {"content": "x", "to": "nobody"}) == "unknown_recipient"
    awkward = {"content": "x", "to": "{a}:b*\r\n\x00"}
    assert await refused(ann, "private message", awkward) == "unknown_recipient"


async def test_content_has_a_longest_length_in_characters(people: People) -> None:
    """100 characters pass, however many bytes they take; 101 do not."""
    ann = await people.join("ann")
    bob = await people.join("bob")
    assert (await ann.send("🙂" * 100, bob.user_id))["ok"] is True
    await bob.message("🙂" * 100)
    assert await refused(ann, "private message", {"content": "x" * 101, "to": bob.user_id}) == "too_long"
    assert (await ann.send("", bob.user_id))["ok"] is True


async def test_a_packet_over_the_limit_costs_its_sender_the_connection(people: People) -> None:
    """The socket is closed and comes back; others do not notice."""
    ann = await people.join("ann")
    bob = await people.join("bob")
    await ann.emit("private message", {"content": "x" * 5000, "to": bob.user_id})
    await ann.journal.disconnected()
    await ann.journal.connected(after=2)
    assert (await ann.send("small", bob.user_id))["ok"] is True
    await bob.message("small")
    assert not bob.journal.kinds("disconnect")


async def test_a_burst_passes_and_a_flood_does_not(people: People) -> None:
    """The bucket holds 60; what is over is `rate_limited`, and another user is not concerned."""
    ann = await people.join("ann")
    bob = await people.join("bob")
    answers = await asyncio.gather(*(ann.send(f"m{number}", bob.user_id) for number in range(120)))
    passed = [answer for answer in answers if answer["ok"]]
    limited = [answer for answer in answers if not answer["ok"]]
    assert len(passed) >= 60
    assert limited
    assert {(answer["code"], answer["retryable"]) for answer in limited} == {("rate_limited", True)}
    assert (await bob.send("calm", ann.user_id))["ok"] is True
    last = max(answer["seq"] for answer in passed)
    await bob.journal.event("private message", lambda message: message["seq"] == last)
    assert [message["seq"] for message in bob.messages] == list(range(1, last + 1))


async def test_other_events_run_nothing(people: People) -> None:
    """Reserved and unknown names leave the socket as it is; who asks for an answer gets `unknown_event`."""
    ann = await people.join("ann")
    bob = await people.join("bob")
    for event in RESERVED:
        await people.driver.command("raw_event", client=ann.name, event=event, args=[{"username": "eve"}])
    assert (await ann.send("still here", bob.user_id))["ok"] is True
    await bob.message("still here")
    assert not ann.journal.kinds("disconnect")
    assert ann.user_id not in bob.journal.events("user disconnected")
    assert "eve" not in [user["username"] for user in bob.journal.events("user connected")]


async def test_an_unknown_event_is_answered(people: People) -> None:
    """The acknowledgement says `unknown_event`."""
    ann = await people.join("ann")
    assert await refused(ann, "no such event", {"a": 1}) == "unknown_event"


async def test_binary_arguments_are_refused(people: People) -> None:
    """A message is text: binary attachments are `malformed`, and the socket stays."""
    ann = await people.join("ann")
    bob = await people.join("bob")
    answer = await people.driver.command(
        "call_binary", client=ann.name, event="private message", to=bob.user_id
    )
    assert (answer["ok"], answer["code"]) == (False, "malformed")
    assert (await ann.send("text", bob.user_id))["ok"] is True
