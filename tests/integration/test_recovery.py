"""Recovery of lost connections, as the official client sees it: all it missed, once, or a fresh start."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from tests.harness.client import CallError
from tests.harness.js_client import JsClient, JsDriver
from tests.harness.people import People
from tests.harness.raw_websocket import RawWebSocket, client_frame
from tests.harness.stack import Stack
from tests.harness.waiting import eventually

WINDOW_SECONDS = 3
LEASE_SECONDS = 2
INBOX = 100


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Two gateways of which tests may kill one, and limits low enough to be reached."""
    settings = {
        "LEASE": f"{LEASE_SECONDS}s",
        "OFFLINE_GRACE": "500ms",
        "RECOVERY_WINDOW": f"{WINDOW_SECONDS}s",
        "INBOX_LIMIT": str(INBOX),
        "MESSAGE_RATE": "1000",
        "MESSAGE_BURST": "1000",
    }
    with Stack(tmp_path_factory.mktemp("recovery"), settings=settings) as running:
        yield running


@pytest.fixture
def people(own: Stack, js: JsDriver) -> People:
    """People on WebSockets, each at one gateway."""
    return People(own, js)


class Raw:
    """A connection by hand, to say in the handshake what the official client never would."""

    def __init__(self, socket: RawWebSocket, reply: dict[str, str]) -> None:
        self.socket = socket
        self.reply = reply

    @classmethod
    async def connect(cls, stack: Stack, auth: dict[str, Any], gateway: int = 0) -> Raw:
        """Connect with this payload."""
        port = int(stack.gateways[gateway].settings["OWN_PORT"])
        socket = await RawWebSocket.open(port, "/socket.io/?EIO=4&transport=websocket")
        socket.send(client_frame(1, b"40" + json.dumps(auth).encode()))
        while not (text := await socket.text()).startswith(b"40"):
            assert text.startswith(b"0"), text
        return cls(socket, json.loads(text[2:]))

    async def event(self) -> list[Any]:
        """Read the next event."""
        text = await self.socket.text()
        assert text.startswith(b"42"), text
        event: list[Any] = json.loads(text[2:])
        return event


def place(client: JsClient) -> int:
    """The present end of a client's journal."""
    return len(client.journal.entries)


async def come_back(client: JsClient, after: int) -> bool:
    """Wait until a client that was lost is connected again; tells whether it was recovered."""
    await client.journal.disconnected(after=after)
    entry = await client.journal.connected(after=after)
    recovered: bool = entry.details["recovered"]
    return recovered


def contents(client: JsClient) -> list[str]:
    """The messages that came as events."""
    return [message["content"] for message in client.messages]


def names(client: JsClient, after: int) -> set[str]:
    """The names of the events that came from a place on."""
    return {entry.name for entry in client.journal.entries[after:] if entry.kind == "event"}


async def credentials(client: JsClient) -> dict[str, Any]:
    """What a client would send to be recovered."""
    state = await client.state()
    return {"sessionID": client.session_id, "pid": state["pid"], "offset": state["offset"]}


@pytest.mark.parametrize("way", ["websocket", "polling"])
async def test_a_broken_connection_is_recovered(own: Stack, js: JsDriver, way: str) -> None:
    """A client that lost its connection gets what it missed, once, in order, and no `session` again."""
    people = People(own, js, way)
    ann, bob = await people.join("ann"), await people.join("bob", 1)
    await bob.send("first", ann.user_id)
    await ann.message("first")
    for turn in range(2):
        after = place(ann)
        await ann.drop()
        for number in range(3):
            await bob.send(f"missed {turn}.{number}", ann.user_id)
        assert await come_back(ann, after)
        assert not {"session", "users"} & names(ann, after)
    await bob.send("last", ann.user_id)
    await ann.message("last")
    missed = [f"missed {turn}.{number}" for turn in range(2) for number in range(3)]
    assert contents(ann) == ["first", *missed, "last"]


async def test_what_the_socket_sent_itself_is_not_replayed(people: People) -> None:
    """A message that its sender has shown already does not come back to it at a recovery."""
    ann, bob = await people.join("ann"), await people.join("bob", 1)
    await ann.send("mine", bob.user_id)
    after = place(ann)
    await ann.drop()
    assert await come_back(ann, after)
    await bob.send("theirs", ann.user_id)
    await ann.message("theirs")
    assert contents(ann) == ["theirs"]


async def test_reads_and_presence_are_caught_up(people: People) -> None:
    """The read mark and the net change of presence reach a client that was away, each once."""
    ann, bob = await people.join("ann"), await people.join("bob", 1)
    cid = await people.join("cid", 1)
    await ann.told("user connected", lambda user: user["userID"] == cid.user_id)
    seqs = [(await ann.send(content, bob.user_id))["seq"] for content in ("one", "two")]
    asked = await credentials(ann)
    await ann.close()
    for seq in seqs:
        await bob.call("read", {"with": ann.user_id, "seq": seq})
    await cid.close()
    dan = await people.join("dan", 1)
    await dan.told("user disconnected", lambda user: user == cid.user_id)

    # By hand at first, for the exact events; the two gateways learn of presence one after the other.
    async def all_told() -> bool:
        back = await Raw.connect(people.stack, asked)
        assert back.reply["pid"] == asked["pid"]
        told = [(await back.event())[:2]]
        while told[-1][0] != "read":
            told.append((await back.event())[:2])
        await back.socket.close()
        told.sort(key=lambda event: str(event[0]))
        connected = [user["userID"] for name, user in told if name == "user connected"]
        gone = [user for name, user in told if name == "user disconnected"]
        marks = [mark for name, mark in told if name == "read"]
        assert marks == [{"from": bob.user_id, "to": ann.user_id, "seq": seqs[-1]}]
        return connected.count(dan.user_id) == gone.count(cid.user_id) == 1

    await eventually(all_told)


async def test_another_gateway_recovers_after_kill_9(own: Stack, js: JsDriver) -> None:
    """The clients of a gateway that was killed come back on another with all they missed, twice in a row."""

    async def roaming(name: str) -> JsClient:
        return await js.sign_in(
            own.url, {"username": name}, name=name, transports=("websocket",), remember=True
        )

    ann, bob = await roaming("ann"), await roaming("bob")
    said: list[str] = []
    for turn, gateway in enumerate(own.gateways):
        after = place(ann)
        gateway.kill()
        try:
            said.append(f"turn {turn}")
            await eventually(lambda: attempt(bob, said[-1], ann.user_id), 20)
            await ann.message(said[-1], timeout_seconds=20)
            assert not {"session", "users"} & names(ann, after)
        finally:
            await gateway.restart()
    assert contents(ann) == said
    returns = [*ann.journal.kinds("connect")[1:], *bob.journal.kinds("connect")[1:]]
    # Each was at one of the two gateways, and both gateways were killed.
    assert len(returns) >= 2
    assert all(entry.details["recovered"] for entry in returns)


async def attempt(client: JsClient, content: str, to: str) -> bool:
    """Send a message under an id that is the same each time; tells whether it was acknowledged."""
    body = {"id": content, "content": content, "to": to}
    try:
        answer = await client.call("private message", body, timeout_seconds=3)
    except CallError:
        return False
    assert answer["ok"] or answer["retryable"], answer
    return bool(answer["ok"])


async def test_the_old_socket_is_closed_when_its_pid_is_taken_over(people: People) -> None:
    """A connection that still looks alive ends when its client is back elsewhere; nothing is doubled."""
    ann, bob = await people.join("ann"), await people.join("bob", 1)
    await bob.send("before", ann.user_id)
    await ann.message("before")
    asked = await credentials(ann)
    first = await Raw.connect(people.stack, asked, 1)
    assert first.reply["pid"] == asked["pid"]
    after = place(ann)
    await ann.journal.disconnected()
    await ann.close()  # the official client would come back, and take the pid over in turn
    second = await Raw.connect(people.stack, asked, 0)
    assert second.reply["pid"] == asked["pid"]
    assert await first.socket.close_code() == 1001
    assert "private message" not in names(ann, after)
    await bob.send("after", ann.user_id)
    event = await second.event()
    while event[0] != "private message":
        event = await second.event()
    assert event[1]["content"] == "after"
    await second.socket.close()


async def test_a_pid_taken_over_on_the_same_gateway_stays_good(people: People) -> None:
    """The end of the old socket does not start the window of a client that is connected."""
    ann = await people.join("ann")
    asked = await credentials(ann)
    await ann.close()
    first = await Raw.connect(people.stack, asked, 0)
    assert first.reply["pid"] == asked["pid"]
    second = await Raw.connect(people.stack, asked, 0)
    assert second.reply["pid"] == asked["pid"]
    assert await first.socket.close_code() == 1001
    await asyncio.sleep(WINDOW_SECONDS + 1)
    await second.socket.close()
    third = await Raw.connect(people.stack, asked, 0)
    assert third.reply["pid"] == asked["pid"]
    await third.socket.close()


async def test_after_the_window_a_client_starts_afresh(people: People) -> None:
    """A client that was away for longer than the window gets `session` and `users` with its history."""
    ann, bob = await people.join("ann"), await people.join("bob", 1)
    await bob.send("before", ann.user_id)
    await ann.message("before")
    after = place(ann)
    await ann.close()
    await bob.send("while away", ann.user_id)
    # Time itself is what is tested: there is no event for a window that passes.
    await asyncio.sleep(WINDOW_SECONDS + 1)
    await ann.open_again({"sessionID": ann.session_id})
    entry = await ann.journal.connected(after=after)
    assert entry.details["recovered"] is False
    await ann.signed_in(after=after)
    shown = [message["content"] for message in ann.users[bob.user_id]["messages"]]
    assert shown == ["before", "while away"]


async def test_an_inbox_that_no_longer_reaches_back_means_a_fresh_start(people: People) -> None:
    """More than the inbox keeps was missed: all or nothing, so `session` and `users` come anew."""
    ann, bob = await people.join("ann"), await people.join("bob", 1)
    await bob.send("first", ann.user_id)
    await ann.message("first")
    asked = await credentials(ann)
    _, _, counter, *_ = asked["offset"].split(".")
    behind = asked | {"offset": asked["offset"].replace(f".{counter}.", ".0.", 1)}
    await ann.close()
    # Nothing that a window of recovery may need is trimmed, so the inbox must outlive that first.
    await asyncio.sleep(2 * WINDOW_SECONDS + 1)
    for start in range(0, 3 * INBOX, 50):
        answers = [bob.send(f"{start}.{number}", ann.user_id) for number in range(50)]
        assert all(answer["ok"] for answer in await asyncio.gather(*answers))
    fresh = await Raw.connect(people.stack, behind)
    assert fresh.reply["pid"] != asked["pid"]
    assert (await fresh.event())[0] == "session"
    assert (await fresh.event())[0] == "users"
    await fresh.socket.close()


async def test_above_the_cap_senders_are_made_known(tmp_path: Path, js: JsDriver) -> None:
    """Who answers a client that has come back is introduced first, whether they wrote meanwhile or after."""
    with Stack(tmp_path, settings={"ROSTER_LIMIT": "1"}) as crowded:
        people = People(crowded, js)
        ann = await people.join("ann")
        writers = [await people.join("bob", 1), await people.join("cid", 1)]
        for writer in writers:
            assert (await ann.send("hello?", writer.user_id))["ok"]
        dan = await people.join("dan", 1)

        async def knows_of_all() -> bool:
            # An offset that names a place after all have come: their coming is nothing that was missed.
            await dan.send("hello", ann.user_id)
            version = (await credentials(ann))["offset"].rpartition(".")[2]
            return int(version) >= len([ann, dan, *writers])

        await eventually(knows_of_all)
        after = place(ann)
        await ann.drop()
        await writers[0].send("meanwhile", ann.user_id)
        assert await come_back(ann, after)
        await writers[1].send("after", ann.user_id)
        await ann.message("meanwhile")
        await ann.message("after")
        told = [
            (entry.name, argument["userID"] if entry.name == "user connected" else argument["from"])
            for entry in ann.journal.entries[after:]
            if entry.kind == "event" and entry.name in {"user connected", "private message"}
            for argument in entry.args[:1]
        ]
        for writer in writers:
            known = told.index(("user connected", writer.user_id))
            assert known < told.index(("private message", writer.user_id))


async def test_above_the_cap_a_gap_in_the_presence_log_makes_nobody_look_offline(
    tmp_path: Path, js: JsDriver
) -> None:
    """Contacts who merely are less recent than others stay online; who has left is shown to have left."""
    with Stack(tmp_path, settings={"ROSTER_LIMIT": "3", "OFFLINE_GRACE": "500ms"}) as crowded:
        people = People(crowded, js)
        ann, bob, cid = [await people.join("ann"), await people.join("bob", 1), await people.join("cid", 1)]
        for contact in (bob, cid):
            assert (await ann.send("hello", contact.user_id))["ok"]
        await eventually(lambda: len(ann.journal.events("user connected")) == 2)
        crowded.gateways[0].pause()
        try:
            await people.join("more", 1)
            await people.join("and more", 1)
            await cid.close()
            dan = await people.join("dan", 1)
            async with Redis.from_url(crowded.redis.url) as redis:
                await eventually(partial(has_left, dan, cid))
                await people.join("the last", 1)
                await redis.xtrim("{roster}:log", maxlen=1, approximate=False)
        finally:
            crowded.gateways[0].resume()
        await ann.journal.event("user disconnected", lambda user: user == cid.user_id)
        assert ann.journal.events("user disconnected") == [cid.user_id]
        await bob.close()
        await ann.journal.event("user disconnected", lambda user: user == bob.user_id)


async def has_left(client: JsClient, other: JsClient) -> bool:
    """Whether somebody is offline, as the store has it."""
    page = await client.call("users", {"query": "cid"})
    return [user["connected"] for user in page["users"] if user["userID"] == other.user_id] == [False]


@pytest.mark.parametrize("spoil", ["session", "pid", "epoch", "ahead", "nonsense"])
async def test_a_wrong_pid_or_offset_means_a_fresh_start(people: People, spoil: str) -> None:
    """Another session's pid, an unknown one, and places that never were: not recovered, and nothing leaks."""
    ann, bob = await people.join("ann"), await people.join("bob", 1)
    await bob.send("for ann alone", ann.user_id)
    await ann.message("for ann alone")
    asked = await credentials(ann)
    version, epoch, counter, *roster = asked["offset"].split(".")
    wrong: dict[str, dict[str, Any]] = {
        "session": {"sessionID": bob.session_id},
        "pid": {"pid": "x" * 27},
        "epoch": {"offset": ".".join([version, "zzzzzz", counter, *roster])},
        "ahead": {"offset": ".".join([version, epoch, str(int(counter) + 5), *roster])},
        "nonsense": {"offset": "1.2"},
    }
    fresh = await Raw.connect(people.stack, asked | wrong[spoil])
    assert fresh.reply["pid"] != asked["pid"]
    name, session, *_ = await fresh.event()
    assert name == "session"
    owner = bob if spoil == "session" else ann
    assert session["userID"] == owner.user_id
    assert (await fresh.event())[0] == "users"
    await fresh.socket.close()
    assert (await ann.state())["connected"]


async def test_recovery_can_be_declined(people: People) -> None:
    """`recovery: false` gives no pid, no offsets, and a fresh start after a broken connection."""
    ann = await people.join("ann", username="ann", recovery=False)
    bob = await people.join("bob", 1)
    await bob.send("hello", ann.user_id)
    await ann.message("hello")
    entries = [entry for entry in ann.journal.entries if entry.kind == "event"]
    assert all(len(entry.args) == 1 for entry in entries)
    assert (await ann.state())["pid"] is None
    after = place(ann)
    await ann.drop()
    assert not await come_back(ann, after)
