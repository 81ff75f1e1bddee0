"""Sessions, log out, block and mute on the gateway: what is asked of the store, and what clients are told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from parley_shared import api, people
from parley_shared.errors import BLOCKED, UNAVAILABLE, ParleyError
from tests.unit.gateway.fake_sockets import FakeSocket
from tests.unit.gateway.test_events import Bench

OWN = people.handle_of("s")


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    """A gateway with one user, alice, who can see bob."""
    bench = Bench()
    entries = [api.RosterEntry("alice", "Alice", 1, 1), api.RosterEntry("bob", "Bob", 1, 2)]
    bench.hub._roster.load(api.RosterResponse(epoch="r", version=2, total=2, entries=entries))
    yield bench
    await bench.tasks.close()


async def until(condition: Callable[[], object]) -> None:
    """Let the loop turn until something is so."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - a socket offers no event
            await asyncio.sleep(0)


def stand(bench: Bench, relations: api.Relations, *ended: str) -> None:
    """Let the store answer how alice stands, and the stream say that it has changed."""
    standing = people.Standing(relations=relations, ended=list(ended))
    bench.store.prepare("standing", people.StandingResponse(results=[standing]))
    bench.hub.handle(api.Changed("alice"))


async def test_sessions_are_listed_with_the_own_marked(bench: Bench) -> None:
    """The client learns handles, last uses, and which session is its own."""
    infos = [people.SessionInfo(session=OWN, used=2), people.SessionInfo(session="0" * 16, used=1)]
    bench.store.prepare("sessions", people.SessionsResponse(sessions=infos))
    answer = await bench.ask("sessions")
    assert answer == {
        "ok": True,
        "sessions": [
            {"session": OWN, "used": 2, "current": True},
            {"session": "0" * 16, "used": 1, "current": False},
        ],
    }


@pytest.mark.parametrize(
    ("asked", "session"),
    [({}, OWN), ({"session": "0" * 16}, "0" * 16), ({"all": True}, None)],
)
async def test_log_out_ends_what_was_asked_for(
    bench: Bench, asked: dict[str, Any], session: str | None
) -> None:
    """This session, another one, or all of the user's own."""
    bench.store.prepare("revoke", people.RevokeResponse(ended=1))
    assert await bench.ask("log out", asked) == {"ok": True, "ended": 1}
    (request,) = bench.store.requests("revoke")
    assert (request.user, request.session, request.reason) == ("alice", session, "log out")


async def test_the_answer_comes_before_the_end(bench: Bench) -> None:
    """The news that the session ended waits until the client has its answer."""

    def revoke(_: people.RevokeRequest) -> people.RevokeResponse:
        bench.hub.handle(api.EndSockets("alice", [OWN], "log out"))
        assert not bench.socket.disconnected
        return people.RevokeResponse(ended=1)

    bench.store.prepare("revoke", revoke)
    assert (await bench.ask("log out"))["ok"]
    await until(lambda: bench.socket.disconnected)
    assert bench.socket.sent[-1] == ["session ended", {"reason": "log out"}]


async def test_only_sockets_of_the_session_are_ended(bench: Bench) -> None:
    """Another session's socket stays; without a handle all go."""
    other = FakeSocket()
    opened = api.Opened(
        session="t", user="alice", username="Alice", new=False, epoch="e", counter=0, pid="q", contacts=[]
    )
    bench.hub.join(other, opened, "q", 2, [])  # type: ignore[arg-type]
    other.ready()
    bench.hub.handle(api.EndSockets("alice", [OWN], "revoked"))
    assert (bench.socket.disconnected, other.disconnected) == (True, False)
    bench.hub.handle(api.EndSockets("alice", [], "kicked"))
    assert other.events("session ended") == [{"reason": "kicked"}]


async def test_a_session_that_ends_before_the_greeting_is_ended_after_it(bench: Bench) -> None:
    """News that comes while a socket connects is kept, also before the gateway knows the user."""
    bench.hub.opening()
    bench.hub.handle(api.EndSockets("carol", [people.handle_of("c")], "revoked"))
    socket = FakeSocket()
    opened = api.Opened(
        session="c", user="carol", username="Carol", new=False, epoch="e", counter=0, pid="r", contacts=[]
    )
    bench.hub.join(socket, opened, "r", 1, [])  # type: ignore[arg-type]
    bench.hub.opened()
    assert not socket.disconnected
    assert socket.data.ended == "revoked"


async def test_a_session_found_dead_is_ended(bench: Bench) -> None:
    """What the stream did not tell, the store's answer does."""
    stand(bench, api.Relations(), "s")
    await until(lambda: bench.socket.disconnected)
    (request,) = bench.store.requests("standing")
    assert request.users == [people.StandingAsk(user="alice", sessions=["s"])]


@pytest.mark.parametrize(
    ("event", "block", "mute"),
    [("block", True, None), ("unblock", False, None), ("mute", None, True), ("unmute", None, False)],
)
async def test_relations_are_changed(bench: Bench, event: str, block: bool | None, mute: bool | None) -> None:
    """Each event changes one thing, and is answered with what holds then."""
    bench.store.prepare("relate", api.Relations(blocked=["bob"], muted=["dan"], hidden=["bob", "eve"]))
    answer = await bench.ask(event, {"user": "bob"})
    assert answer == {"ok": True, "blocked": ["bob"], "muted": ["dan"]}
    (request,) = bench.store.requests("relate")
    assert (request.user, request.peer, request.block, request.mute) == ("alice", "bob", block, mute)


async def test_a_hidden_person_seems_to_leave_and_come_back(bench: Bench) -> None:
    """A block shows the other as gone, says nothing of them while it lasts, and shows them again after it."""
    stand(bench, api.Relations(blocked=["bob"], hidden=["bob"]))
    await until(lambda: bench.socket.events("relations"))
    assert bench.socket.events("user disconnected") == ["bob"]
    assert bench.socket.events("relations") == [{"blocked": ["bob"], "muted": []}]
    bench.hub.presence("bob", "Bob", online=True)
    bench.hub.handle(api.TypingDelivery("bob", "alice"))
    assert bench.socket.events("user connected") == []
    assert bench.socket.events("typing") == []
    stand(bench, api.Relations())
    await until(lambda: len(bench.socket.events("relations")) == 2)
    assert [user["userID"] for user in bench.socket.events("user connected")] == ["bob"]


async def test_the_blocked_one_is_not_told_of_the_block(bench: Bench) -> None:
    """They see the other leave, and no event about relations."""
    stand(bench, api.Relations(hidden=["bob"]))
    await until(lambda: bench.socket.events("user disconnected"))
    assert bench.socket.events("relations") == []


async def test_who_is_muted_is_seen_but_not_heard_typing(bench: Bench) -> None:
    """Presence goes on; typing is silenced."""
    stand(bench, api.Relations(muted=["bob"]))
    await until(lambda: bench.socket.events("relations"))
    bench.hub.handle(api.TypingDelivery("bob", "alice"))
    bench.hub.presence("bob", "Bob", online=False)
    assert bench.socket.events("typing") == []
    assert bench.socket.events("user disconnected") == ["bob"]


async def test_a_store_that_is_away_is_asked_again(bench: Bench) -> None:
    """How a user stands is asked until there is an answer."""
    bench.store.prepare("standing", ParleyError(UNAVAILABLE))
    stand(bench, api.Relations(muted=["bob"]))
    await until(lambda: bench.socket.events("relations"))
    assert len(bench.store.requests("standing")) == 2


async def test_a_gap_in_the_stream_asks_how_everybody_stands(bench: Bench) -> None:
    """Whoever may have missed an end or a block asks for it."""
    standing = people.Standing(relations=api.Relations(muted=["bob"]))
    bench.store.prepare("standing", people.StandingResponse(results=[standing]))
    bench.hub.check_all()
    await until(lambda: bench.socket.events("relations"))


async def test_a_mark_between_hidden_people_is_quiet(bench: Bench) -> None:
    """Reading what a hidden person wrote is not told to them."""
    stand(bench, api.Relations(hidden=["bob"]))
    await until(lambda: bench.socket.events("user disconnected"))
    bench.store.prepare("read", api.Done(), api.Done())
    await bench.ask("read", {"with": "bob", "seq": 1})
    await bench.ask("read", {"with": "dan", "seq": 1})
    assert [request.marks[0].quiet for request in bench.store.requests("read")] == [True, False]


async def test_a_blocked_message_is_refused_with_its_code(bench: Bench) -> None:
    """The sender learns `blocked`, and that trying again is no use."""
    failure = api.Failure(code=BLOCKED.name, message=BLOCKED.message, retryable=False)
    bench.store.prepare("append", api.AppendResponse(results=[api.Appended(failure=failure)]))
    answer = await bench.ask("private message", {"content": "hi", "to": "bob"})
    assert (answer["ok"], answer["code"], answer["retryable"]) == (False, "blocked", False)


async def test_nobody_erases_themselves_by_mistake(bench: Bench) -> None:
    """The own userID must be given."""
    assert (await bench.ask("erase", {"userID": "bob"}))["code"] == "malformed"
    assert (await bench.ask("erase"))["code"] == "malformed"
    bench.store.prepare("erase", people.Erasure(job="j", state="waiting", asked=1, user="alice"))
    assert await bench.ask("erase", {"userID": "alice"}) == {"ok": True, "job": "j"}
