"""Client events: everything is checked, and every refusal is a row of the table of errors."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from parley_gateway.clock import RedisClock
from parley_gateway.events import EVENTS, Events
from parley_gateway.hub import Hub
from parley_gateway.lanes import Lanes
from parley_gateway.metrics import Metrics
from parley_gateway.roster import Roster
from parley_shared import api
from parley_shared.errors import CODES, UNAVAILABLE, ParleyError
from parley_shared.tasks import TaskGroup
from tests.unit.gateway.fake_sockets import FakeSocket
from tests.unit.gateway.fake_store import FakeStore


class Bench:
    """The events of one user, alice, over a fake store."""

    def __init__(self, *, rate: float = 1000, burst: int = 1000) -> None:
        self.store = FakeStore()
        self.tasks = TaskGroup("test")
        metrics = Metrics()
        hub = self.hub = Hub(
            store=self.store, roster=Roster(10), metrics=metrics, tasks=self.tasks, burst=burst
        )
        clock = RedisClock()
        now = time.monotonic()
        clock.observe(int(time.time() * 1000), now, now)
        self.lanes = Lanes(
            store=self.store,
            clock=clock,
            gateway_id=lambda: "g1",
            metrics=metrics,
            tasks=self.tasks,
            count=1,
            limit=10,
            batch_limit=10,
            deadline_seconds=5,
            on_item=hub.handle,
            on_doubt=hub.doubt,
        )
        self.events = Events(
            hub=hub,
            lanes=self.lanes,
            store=self.store,
            metrics=metrics,
            tasks=self.tasks,
            gateway_id=lambda: "g1",
            rate=rate,
            burst=burst,
            max_content=20,
        )
        self.socket = FakeSocket()
        opened = api.Opened(
            session="s", user="alice", username="Alice", new=True, epoch="e", counter=0, pid="p", contacts=[]
        )
        hub.join(self.socket, opened, "p", 1, [])  # type: ignore[arg-type]
        self.socket.ready()

    async def ask(self, event: str, *args: Any) -> Any:
        """Send an event and return its acknowledgement."""
        before = len(self.socket.acks)
        self.events.handle(self.socket, event, list(args), 1)  # type: ignore[arg-type]
        async with asyncio.timeout(5):
            while len(self.socket.acks) == before:  # noqa: ASYNC110 - a socket offers no event
                await asyncio.sleep(0)
        return self.socket.acks[-1]


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    """Alice is connected."""
    made = Bench()
    yield made
    await made.tasks.close()


async def test_a_message_is_acknowledged_when_it_is_stored(bench: Bench) -> None:
    """The acknowledgement carries the sender's id, and the store's seq and time."""
    bench.store.prepare("append", api.AppendResponse(results=[api.Appended(seq=7, at=99)]))
    assert await bench.ask("private message", {"content": "hi", "to": "bob", "id": "m1"}) == {
        "ok": True,
        "id": "m1",
        "seq": 7,
        "at": 99,
    }
    (request,) = bench.store.requests("append")
    (send,) = request.messages
    # `from` is always the server's knowledge.
    assert (send.from_, send.from_name, send.to, send.socket, send.pid) == (
        "alice",
        "Alice",
        "bob",
        bench.socket.sid,
        "p",
    )


async def test_the_store_is_what_refuses_an_unknown_recipient(bench: Bench) -> None:
    """Its failure reaches the client as it is."""
    failure = api.Failure(code="unknown_recipient", message="There is no such user.", retryable=False)
    bench.store.prepare("append", api.AppendResponse(results=[api.Appended(failure=failure)]))
    assert await bench.ask("private message", {"content": "hi", "to": "nobody"}) == {
        "ok": False,
        "code": "unknown_recipient",
        "message": "There is no such user.",
        "retryable": False,
    }


@pytest.mark.parametrize(
    ("event", "args", "code"),
    [
        ("private message", [None], "malformed"),
        ("private message", [], "malformed"),
        ("private message", ["text"], "malformed"),
        ("private message", [{"content": "x"}], "malformed"),
        ("private message", [{"content": None, "to": "b"}], "malformed"),
        ("private message", [{"content": "x", "to": ["a", "b"]}], "malformed"),
        ("private message", [{"content": "x", "to": ""}], "malformed"),
        ("private message", [{"content": "x", "to": "b", "id": ""}], "malformed"),
        ("private message", [{"content": "x", "to": "b", "id": "i" * 65}], "malformed"),
        ("private message", [{"content": "x", "to": "b", "id": 5}], "malformed"),
        ("private message", [{"content": "x", "to": "b"}, "more"], "malformed"),
        ("private message", [{"content": "\ud800", "to": "b"}], "malformed"),
        ("private message", [{"content": "x", "to": "b", "\ud800": 1}], "malformed"),
        ("typing", [{"to": "\ud800"}], "malformed"),
        ("history", [{"with": "\ud800"}], "malformed"),
        ("block", [{"user": "\ud800"}], "malformed"),
        ("private message", [{"content": "x" * 21, "to": "b"}], "too_long"),
        ("history", [{"with": "b", "limit": 0}], "malformed"),
        ("history", [{"with": "b", "limit": 201}], "malformed"),
        ("history", [{"with": "b", "before": 0}], "malformed"),
        ("history", [{}], "malformed"),
        ("users", [{"query": "q" * 65}], "malformed"),
        ("users", [{"query": "\udfff"}], "malformed"),
        ("typing", [{"to": "a:b"}], "malformed"),
        ("read", [{"with": "b", "seq": -1}], "malformed"),
        ("read", [{"with": "b", "seq": 1.5}], "malformed"),
        ("something else", [], "unknown_event"),
        ("connect", [], "unknown_event"),
    ],
)
async def test_what_does_not_fit_is_refused(bench: Bench, event: str, args: list[Any], code: str) -> None:
    """A clear code, and nothing reaches the store."""
    answer = await bench.ask(event, *args)
    assert (answer["ok"], answer["code"], answer["retryable"]) == (False, code, False)
    assert bench.store.asked == []


async def test_the_longest_content_is_accepted(bench: Bench) -> None:
    """The limit counts characters, not bytes."""
    bench.store.prepare("append", api.AppendResponse(results=[api.Appended(seq=1, at=1)]))
    assert (await bench.ask("private message", {"content": "😀" * 20, "to": "b"}))["ok"]


async def test_events_are_limited_per_user() -> None:
    """A burst passes, what is beyond is refused and may be tried again."""
    bench = Bench(rate=0.001, burst=3)
    bench.store.prepare(
        "append", *[lambda r: api.AppendResponse(results=[api.Appended(seq=1, at=1)] * len(r.messages))] * 3
    )
    answers = [await bench.ask("private message", {"content": "x", "to": "b"}) for _ in range(5)]
    assert [answer["ok"] for answer in answers] == [True, True, True, False, False]
    assert (answers[3]["code"], answers[3]["retryable"]) == ("rate_limited", True)
    await bench.tasks.close()


async def test_a_page_of_history_is_passed_on_as_it_was_stored(bench: Bench) -> None:
    """Messages are not taken apart on their way."""
    messages = [msgspec.Raw(b'{"content":"a","seq":1}'), msgspec.Raw(b'{"content":"b","seq":2}')]
    bench.store.prepare("history", api.HistoryResponse(messages=messages, before=None))
    assert await bench.ask("history", {"with": "bob"}) == {
        "ok": True,
        "messages": [{"content": "a", "seq": 1}, {"content": "b", "seq": 2}],
        "before": None,
    }


async def test_users_are_found(bench: Bench) -> None:
    """Entries have the shape of `users` at connect."""
    entry = api.UserEntry(user="bob", username="Bob", connected=True, seq=3, unread=1)
    bench.store.prepare("users", api.UsersResponse(users=[entry], after="next"))
    answer = await bench.ask("users", {"query": "bo"})
    assert answer["after"] == "next"
    assert answer["users"] == [
        {
            "userID": "bob",
            "username": "Bob",
            "connected": True,
            "messages": [],
            "unread": 1,
            "seq": 3,
            "read": 0,
        }
    ]


@pytest.mark.parametrize(
    ("event", "argument"), [("history", {"with": "b"}), ("users", {}), ("read", {"with": "b", "seq": 1})]
)
async def test_a_store_that_is_away_is_told(bench: Bench, event: str, argument: dict[str, Any]) -> None:
    """`unavailable` may be tried again."""
    answer = await bench.ask(event, argument)
    assert (answer["code"], answer["retryable"]) == ("unavailable", True)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["content", "to", "id", "with", "before", "limit", "seq", "query", "after"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=10,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(event=st.sampled_from([*EVENTS, "connect", "x"]), args=st.lists(_json, max_size=3))
async def test_any_arguments_get_an_answer_or_reach_the_store(event: str, args: list[Any]) -> None:
    """Whatever is sent, the acknowledgement is ok or a row of the table; there is no other exception."""
    bench = Bench()
    for method in ("history", "users", "read", "typing"):
        bench.store.prepare(method, ParleyError(UNAVAILABLE))
    bench.store.prepare(
        "append", *[lambda r: api.AppendResponse(results=[api.Appended(seq=1, at=1)] * len(r.messages))] * 2
    )
    answer = await bench.ask(event, *args)
    assert answer["ok"] is True or answer["code"] in CODES
    await bench.tasks.close()
