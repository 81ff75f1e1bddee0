"""What Parley adds to the guide: ids and acknowledgements, numbers, pages, typing and read marks."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.harness.js_client import JsClient, JsDriver
from tests.harness.people import People
from tests.harness.stack import Stack


@pytest.fixture
def people(stack: Stack, js: JsDriver) -> People:
    """People on WebSockets."""
    return People(stack, js)


@pytest.fixture
async def pair(people: People) -> tuple[JsClient, JsClient]:
    """Two people at different gateways."""
    return await people.join("ann", 0), await people.join("bob", 1)


Pair = tuple[JsClient, JsClient]


async def test_an_acknowledgement_says_what_was_stored(pair: Pair) -> None:
    """`{ok, id, seq, at}`, and the recipient's message carries the same."""
    ann, bob = pair
    answer = await ann.send("hello", bob.user_id, id="first")
    assert answer["ok"] is True
    assert (answer["id"], answer["seq"]) == ("first", 1)
    message = await bob.message("hello")
    assert (message["id"], message["seq"], message["at"]) == ("first", 1, answer["at"])


async def test_a_message_without_an_id_gets_one(pair: Pair) -> None:
    """The server makes an id, and says it to both sides."""
    ann, bob = pair
    answer = await ann.send("hello", bob.user_id)
    assert answer["id"]
    assert (await bob.message("hello"))["id"] == answer["id"]


async def test_numbers_of_a_conversation_have_no_gap(pair: Pair) -> None:
    """However both sides talk at once, seq runs 1, 2, 3, and both see the order of seq."""
    ann, bob = pair
    answers = await asyncio.gather(
        *(ann.send(f"a{number}", bob.user_id) for number in range(40)),
        *(bob.send(f"b{number}", ann.user_id) for number in range(40)),
    )
    assert sorted(answer["seq"] for answer in answers) == list(range(1, 81))
    await ann.journal.event("private message", lambda message: message["content"] == "b39")
    await bob.journal.event("private message", lambda message: message["content"] == "a39")
    for side in (ann, bob):
        numbers = [message["seq"] for message in side.messages]
        assert numbers == sorted(numbers)
        assert len(numbers) == 40
    assert [message["content"] for message in bob.messages] == [f"a{number}" for number in range(40)]


async def test_a_repeated_id_is_one_message(pair: Pair) -> None:
    """A retry gets the first acknowledgement, and nobody sees it twice, from whichever tab it comes."""
    ann, bob = pair
    first = await ann.send("once", bob.user_id, id="same")
    second = await ann.send("once", bob.user_id, id="same")
    assert second == first
    assert (await ann.send("then", bob.user_id))["seq"] == 2
    await bob.message("then")
    assert [message["content"] for message in bob.messages] == ["once", "then"]


async def test_an_id_with_other_content_is_a_conflict(pair: Pair) -> None:
    """The id names one content for good."""
    ann, bob = pair
    await ann.send("once", bob.user_id, id="same")
    refused = await ann.send("other", bob.user_id, id="same")
    assert (refused["ok"], refused["code"], refused["retryable"]) == (False, "id_conflict", False)


async def test_ids_belong_to_their_sender_and_conversation(people: People, pair: Pair) -> None:
    """The same id of another sender, or to another recipient, is another message."""
    ann, bob = pair
    cid = await people.join("cid")
    assert (await ann.send("to bob", bob.user_id, id="x"))["ok"]
    assert (await bob.send("to ann", ann.user_id, id="x"))["seq"] == 2
    assert (await ann.send("to cid", cid.user_id, id="x"))["seq"] == 1


async def test_history_is_read_in_pages(people: People, pair: Pair) -> None:
    """`users` holds the last 50 of 130 messages; older ones come in pages, down to the first."""
    ann, bob = pair
    for start in range(0, 130, 26):
        await asyncio.gather(*(ann.send(f"m{n}", bob.user_id) for n in range(start, start + 26)))
    back = await people.tab(bob)
    entry = back.users[ann.user_id]
    shown = entry["messages"]
    assert [message["content"] for message in shown] == [f"m{n}" for n in range(80, 130)]
    assert entry["seq"] == 130
    found = list(shown)
    before = shown[0]["seq"]
    sizes = []
    while before is not None:
        page = await back.call("history", {"with": ann.user_id, "before": before, "limit": 30})
        assert page["ok"] is True
        sizes.append(len(page["messages"]))
        found = page["messages"] + found
        before = page["before"]
    assert sizes == [30, 30, 20]
    assert [message["content"] for message in found] == [f"m{n}" for n in range(130)]
    newest = await back.call("history", {"with": ann.user_id})
    assert newest["messages"] == found[-50:]


async def test_history_with_a_stranger_is_empty(pair: Pair) -> None:
    """No conversation is an empty page, and other people's conversations cannot be read."""
    ann, bob = pair
    answer = await ann.call("history", {"with": bob.user_id})
    assert (answer["messages"], answer["before"]) == ([], None)


async def test_people_are_found_by_the_beginning_of_their_name(people: People) -> None:
    """Search folds case, pages to the end, and says who is connected."""
    ann = await people.join("ann")
    joined = [await people.join(f"Zoë{number}", number % 2) for number in range(5)]
    found: list[dict[str, Any]] = []
    after = None
    while True:
        asked = {"query": "zOË", "limit": 2} | ({"after": after} if after else {})
        page = await ann.call("users", asked)
        assert page["ok"] is True
        found += page["users"]
        after = page["after"]
        if after is None:
            break
    assert {entry["userID"] for entry in found} == {person.user_id for person in joined}
    assert [entry["username"] for entry in found] == sorted(entry["username"] for entry in found)
    assert all(entry["connected"] for entry in found)
    nobody = await ann.call("users", {"query": "nobody is called so"})
    assert (nobody["users"], nobody["after"]) == ([], None)


async def test_typing_is_relayed(people: People, pair: Pair) -> None:
    """All sockets of the recipient are told who is typing."""
    ann, bob = pair
    bob_too = await people.tab(bob, 0)
    await ann.emit("typing", {"to": bob.user_id})
    for witness in (bob, bob_too):
        await witness.told("typing", lambda event: event["from"] == ann.user_id)


async def test_read_marks_are_told_and_kept(people: People, pair: Pair) -> None:
    """Both sides learn of it, it never goes back, and unread counts follow it, also for a new tab."""
    ann, bob = pair
    for number in range(4):
        await ann.send(f"m{number}", bob.user_id)
    before = await people.tab(bob)
    assert before.users[ann.user_id]["unread"] == 4
    assert (await bob.call("read", {"with": ann.user_id, "seq": 3}))["ok"] is True
    mark = {"from": bob.user_id, "to": ann.user_id, "seq": 3}
    for witness in (ann, before):
        assert await witness.journal.event("read", lambda event: event["from"] == bob.user_id) == mark
    assert (await people.tab(bob)).users[ann.user_id]["unread"] == 1
    await bob.call("read", {"with": ann.user_id, "seq": 1})
    assert (await people.tab(bob, 1)).users[ann.user_id]["unread"] == 1


async def test_what_one_sends_is_read_by_oneself(people: People, pair: Pair) -> None:
    """An answer moves the sender's own mark: nothing of it is unread."""
    ann, bob = pair
    await ann.send("question", bob.user_id)
    await bob.send("answer", ann.user_id)
    assert (await people.tab(bob)).users[ann.user_id]["unread"] == 0
    assert (await people.tab(ann)).users[bob.user_id]["unread"] == 1


async def test_offline_people_find_everything_when_they_return(people: People, pair: Pair) -> None:
    """What was sent to somebody who is away is in their history and counted as unread."""
    ann, bob = pair
    await bob.close()
    await ann.told("user disconnected", lambda user: user == bob.user_id)
    for number in range(3):
        assert (await ann.send(f"m{number}", bob.user_id))["ok"] is True
    back = await people.tab(bob, 0)
    entry = back.users[ann.user_id]
    assert [message["content"] for message in entry["messages"]] == ["m0", "m1", "m2"]
    assert entry["unread"] == 3
