"""Connecting and leaving: what is asked of the store, and that nothing is left over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley_gateway import offsets
from parley_gateway.hub import Hub
from parley_gateway.login import NameLogin, usable_username
from parley_gateway.metrics import Metrics
from parley_gateway.roster import Roster
from parley_gateway.sessions import FAULTS, Sessions, claims
from parley_gateway.sio import ConnectRefused, TransportRefused
from parley_shared import api
from parley_shared.errors import INTERNAL, UNAVAILABLE, Code, ParleyError
from parley_shared.tasks import TaskGroup
from tests.unit.gateway.fake_sockets import FakeSocket
from tests.unit.gateway.fake_store import FakeStore


class Bench:
    """Sessions over a fake store."""

    def __init__(self) -> None:
        self.store = FakeStore()
        self.tasks = TaskGroup("test")
        self.roster = Roster(100)
        self.roster.load(api.RosterResponse(epoch="r", version=0, total=0, entries=[]))
        metrics = Metrics()
        self.hub = Hub(store=self.store, roster=self.roster, metrics=metrics, tasks=self.tasks, burst=100)
        self.lapses = 0
        self.sessions = Sessions(
            store=self.store,
            login=NameLogin(),
            hub=self.hub,
            roster=self.roster,
            metrics=metrics,
            tasks=self.tasks,
            gateway_id=lambda: "g1",
            roster_limit=100,
            users_bytes=1 << 20,
            on_lapsed=self._lapsed,
        )

    def _lapsed(self, _gateway: str) -> None:
        self.lapses += 1

    async def connect(self, **auth: Any) -> FakeSocket:
        """Let a socket in and greet it."""
        socket = FakeSocket()
        await self.sessions.connect(socket, auth)  # type: ignore[arg-type]
        self.sessions.greet(socket)  # type: ignore[arg-type]
        return socket


def opened(
    user: str = "alice", counter: int = 0, contacts: list[api.Contact] | None = None
) -> Callable[..., Any]:
    """Answer an open with a session of ``user``."""

    def answer(request: api.OpenRequest) -> api.OpenResponse:
        return api.OpenResponse(
            results=[
                api.OpenResult(
                    opened=api.Opened(
                        session="secret",
                        user=user,
                        username=user.title(),
                        new=True,
                        epoch="e",
                        counter=counter,
                        pid=wish.new_pid if wish.recovery else None,
                        contacts=contacts or [],
                    )
                )
                for wish in request.opens
            ]
        )

    return answer


def recovered(*contacts: str) -> api.RecoverResponse:
    """Answer that alice is recovered, and has missed a message from bob."""
    message = msgspec.Raw(b'{"id":"m6","content":"hi"}')
    answer = api.Recovered(
        session="secret",
        user="alice",
        username="Alice",
        epoch="e",
        counter=6,
        events=[api.InboxEvent(counter=6, message=message, from_="bob")],
        presence=[],
        names={"bob": "Bob"},
        contacts=["bob", *contacts],
        old_gateway=None,
        old_socket=None,
    )
    return api.RecoverResponse(results=[api.RecoverResult(recovered=answer)])


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    """Nobody here yet."""
    made = Bench()
    yield made
    await made.tasks.close()


async def until(condition: Callable[[], Any]) -> None:
    """Wait for what tasks bring about."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - there is no event for this
            await asyncio.sleep(0.01)


async def test_a_fresh_socket_gets_session_then_users(bench: Bench) -> None:
    """The guide's order; the first offset is at the end of `users`."""
    bench.store.prepare("open", opened(counter=4))
    socket = await bench.connect(username="Alice")
    assert [packet[0] for packet in socket.sent] == ["session", "users"]
    assert socket.sent[0][1] == {"sessionID": "secret", "userID": "alice"}
    assert socket.sent[1][1:] == [
        [{"userID": "alice", "username": "Alice", "connected": True, "messages": []}],
        "1.e.4.r.0",
    ]


async def test_contacts_come_first_with_their_history(bench: Bench) -> None:
    """Own conversations, then the user, then who is online."""
    bench.roster.apply(1, api.RosterChange("zoe", "Zoe", 1, 3))
    bench.roster.apply(2, api.RosterChange("bob", "Bob", 1, 3))
    message = msgspec.json.encode({"content": "hi", "from": "bob", "to": "alice"})
    contact = api.Contact(
        user="bob", username="Bob", connected=False, seq=7, unread=2, messages=[msgspec.Raw(message)]
    )
    bench.store.prepare("open", opened(contacts=[contact]))
    socket = await bench.connect(username="Alice")
    (users,) = socket.events("users")
    assert [entry["userID"] for entry in users] == ["bob", "alice", "zoe"]
    assert users[0]["messages"] == [{"content": "hi", "from": "bob", "to": "alice"}]
    assert users[0]["connected"] is True
    assert (users[0]["seq"], users[0]["unread"]) == (7, 2)


@pytest.mark.parametrize(
    "auth", [{}, {"username": ""}, {"username": 7}, {"username": None}, {"sessionID": ["x"]}]
)
async def test_no_name_and_no_session_is_refused(bench: Bench, auth: dict[str, Any]) -> None:
    """The guide's words exactly, and the store is not asked."""
    with pytest.raises(ConnectRefused, match=r"^invalid username$"):
        await bench.connect(**auth)
    assert bench.store.asked == []


async def test_an_unknown_session_without_a_name_is_refused(bench: Bench) -> None:
    """The client must sign in again."""
    failure = api.Failure(code="invalid_username", message="invalid username", retryable=False)
    bench.store.prepare("open", api.OpenResponse(results=[api.OpenResult(failure=failure)]))
    with pytest.raises(ConnectRefused, match=r"^invalid username$"):
        await bench.connect(sessionID="gone")


async def test_a_passing_fault_never_sends_connect_error(bench: Bench) -> None:
    """A client gives up for good at CONNECT_ERROR, so the transport is closed instead."""
    failure = api.Failure(code="lapsed", message="", retryable=False)
    bench.store.prepare("open", api.OpenResponse(results=[api.OpenResult(failure=failure)]))
    with pytest.raises(TransportRefused):
        await bench.connect(username="Alice")
    assert bench.lapses == 1


async def test_an_open_is_repeated_with_the_same_ids(bench: Bench) -> None:
    """A lost answer makes nothing twice: the gateway chose the ids."""
    bench.store.prepare("open", ParleyError(UNAVAILABLE), opened())
    await bench.connect(username="Alice")
    first, second = bench.store.requests("open")
    assert first.opens == second.opens


async def test_a_client_that_left_during_the_open_leaves_nothing(bench: Bench) -> None:
    """When the answer comes at last, the registration is undone."""
    answer: asyncio.Future[api.OpenResponse] = asyncio.get_running_loop().create_future()
    bench.store.prepare("open", answer)
    bench.store.prepare("presence", api.Done())
    task = asyncio.create_task(bench.sessions.connect(FakeSocket(), {"username": "Alice"}))  # type: ignore[arg-type]
    await bench.store.changed.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    answer.set_result(opened()(bench.store.requests("open")[0]))
    await until(lambda: bench.store.requests("presence"))
    sent = [item for request in bench.store.requests("presence") for item in request.detaches]
    assert [(item.user, item.version) for item in sent] == [("alice", 1)]
    assert bench.hub.users == {}


async def test_a_registration_in_vain_is_taken_back(bench: Bench) -> None:
    """A session that ended while it was opened or recovered leaves no ghost."""
    failure = api.Failure(code="unknown_session", message="", retryable=False)
    in_vain = api.OpenResult(failure=failure, registered="alice")
    lost = api.RecoverResult(reason="session", registered="alice")
    bench.store.prepare("recover", api.RecoverResponse(results=[lost]))
    bench.store.prepare("open", api.OpenResponse(results=[in_vain]))
    bench.store.prepare("presence", *[api.Done()] * 2)
    with pytest.raises(TransportRefused):
        await bench.connect(sessionID="secret", pid="p", offset="1.e.5.r.3")
    await bench.sessions.settled()
    sent = [item for request in bench.store.requests("presence") for item in request.detaches]
    assert [(item.user, item.version) for item in sent] == [("alice", 1), ("alice", 2)]


async def test_a_registration_in_vain_is_kept_for_other_sockets(bench: Bench) -> None:
    """Another session of the user that is here stays registered, and its departure covers both."""
    failure = api.Failure(code="unknown_session", message="", retryable=False)
    in_vain = api.OpenResult(failure=failure, registered="alice")
    bench.store.prepare("open", opened(), api.OpenResponse(results=[in_vain]))
    bench.store.prepare("presence", *[api.Done()] * 2)
    there = await bench.connect(username="Alice")
    with pytest.raises(TransportRefused):
        await bench.connect(sessionID="other")
    await bench.sessions.settled()
    assert bench.store.requests("presence") == []
    bench.sessions.disconnect(there)  # type: ignore[arg-type]
    await bench.sessions.settled()
    (request,) = bench.store.requests("presence")
    assert [(item.user, item.version) for item in request.detaches] == [("alice", 2)]


async def test_only_the_last_socket_of_a_user_detaches(bench: Bench) -> None:
    """Closing one of two tabs reports the lost socket, and no departure."""
    bench.store.prepare("open", opened(), opened())
    bench.store.prepare("presence", *[api.Done()] * 4)
    first = await bench.connect(username="Alice")
    second = await bench.connect(sessionID="secret")
    bench.sessions.disconnect(first)  # type: ignore[arg-type]
    await bench.sessions.settled()
    assert [request.detaches for request in bench.store.requests("presence")] == [[]]
    bench.sessions.disconnect(second)  # type: ignore[arg-type]
    await bench.sessions.settled()
    # The version of the newest open that was answered: one still under way is not undone.
    assert [(item.user, item.version) for item in bench.store.requests("presence")[1].detaches] == [
        ("alice", 2)
    ]


async def test_a_lost_socket_is_named_with_its_pid(bench: Bench) -> None:
    """The client may be back on this gateway: the pid is lost only if this socket still holds it."""
    bench.store.prepare("open", opened())
    bench.store.prepare("recover", recovered())
    bench.store.prepare("presence", *[api.Done()] * 2)
    old = await bench.connect(username="Alice")
    new = await bench.connect(sessionID="secret", pid=old.data.pid, offset="1.e.5.r.3")
    assert new.data.pid == old.data.pid
    bench.sessions.disconnect(old)  # type: ignore[arg-type]
    await bench.sessions.settled()
    (request,) = bench.store.requests("presence")
    assert request.lost == [api.LostSocket(pid=old.data.pid, socket=old.sid)]


@pytest.mark.parametrize("way", ["open", "recover"])
async def test_a_client_that_left_while_it_connected_loses_only_its_own_socket(
    bench: Bench, way: str
) -> None:
    """The same client may have connected again before the answer came, and hold the pid."""
    answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    bench.store.prepare(way, answer)
    bench.store.prepare("presence", *[api.Done()] * 2)
    socket = FakeSocket()
    auth = {"username": "Alice"} | ({"pid": "p", "offset": "1.e.5.r.3"} if way == "recover" else {})
    task = asyncio.create_task(bench.sessions.connect(socket, auth))  # type: ignore[arg-type]
    await bench.store.changed.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    (request,) = bench.store.requests(way)
    answer.set_result(opened()(request) if way == "open" else recovered())
    await until(lambda: bench.store.requests("presence"))
    (lost,) = bench.store.requests("presence")[0].lost
    pid = request.opens[0].new_pid if way == "open" else "p"
    assert lost == api.LostSocket(pid=pid, socket=socket.sid)


async def test_departures_are_repeated_until_taken(bench: Bench) -> None:
    """A store that is away leaves no ghost."""
    bench.store.prepare("open", opened())
    bench.store.prepare("presence", ParleyError(UNAVAILABLE), ParleyError(UNAVAILABLE), api.Done())
    socket = await bench.connect(username="Alice")
    bench.sessions.disconnect(socket)  # type: ignore[arg-type]
    await bench.sessions.settled()
    assert len(bench.store.requests("presence")) == 3


@pytest.mark.parametrize("error", [UNAVAILABLE, INTERNAL])
async def test_a_departure_that_cannot_be_taken_holds_up_no_other(
    bench: Bench, error: Code, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a server of a cluster away, or a fault with one user, who leaves later is offline at once."""
    monkeypatch.setattr("parley_gateway.sessions.ATTEMPTS", 2)
    monkeypatch.setattr("parley_gateway.sessions.FAULTS", 2)
    back = False
    taken: set[str] = set()

    def presence(request: api.PresenceRequest) -> api.Done:
        users = {item.user for item in request.detaches}
        if "bob" in users and not back:
            if error is UNAVAILABLE:
                taken.update(users - {"bob"})  # the store does what it can
            raise ParleyError(error)
        taken.update(users)
        return api.Done()

    bench.store.prepare("presence", *[presence] * 100)
    bench.sessions._depart(api.Detach(user="bob", version=1))
    if error is UNAVAILABLE:
        await until(lambda: bench.store.requests("presence"))
    bench.sessions._depart(api.Detach(user="alice", version=1))
    await until(lambda: "alice" in taken)
    assert "bob" not in taken
    back = True
    await bench.sessions.settled()
    # What the store is unable to carry out is given up: its own look after users finds them.
    assert ("bob" in taken) == (error is UNAVAILABLE)


async def test_a_recovered_socket_gets_what_it_missed(bench: Bench) -> None:
    """No `session`, no `users`: presence that changed, then the events, each with its offset."""
    bench.roster.apply(9, api.RosterChange("bob", "Bob", 1, 2))
    bench.store.prepare("recover", recovered())
    socket = await bench.connect(username="Alice", pid="p", offset="1.e.5.r.3")
    assert [packet[0] for packet in socket.sent] == ["user connected", "private message"]
    assert socket.sent[0][-1] == "1.e.5.r.3"
    assert socket.sent[1][-1] == "1.e.6.r.9"
    (request,) = bench.store.requests("recover")
    assert request.recovers[0].position == api.Position(epoch="e", counter=5, roster_epoch="r", roster=3)


async def test_a_recovered_client_is_told_who_has_written(bench: Bench) -> None:
    """Above the cap it may not know its contacts: `user connected` comes before their first message."""
    bench.roster.total = 1000
    bench.store.prepare("recover", recovered("carol"))
    socket = await bench.connect(username="Alice", pid="p", offset="1.e.5.r.0")
    assert socket.sent[0][1]["userID"] == "bob"
    # Whoever is lost between the two has not had the message.
    assert [packet[-1] for packet in socket.sent] == ["1.e.5.r.0", "1.e.6.r.0"]
    body = msgspec.Raw(b'{"id":"m7","content":"and I"}')
    bench.hub.handle(api.Delivery("carol", "Carol", "alice", 1, "other", body, [("alice", "e", 7)]))
    kinds = [packet[0] for packet in socket.sent]
    assert kinds == ["user connected", "private message", "user connected", "private message"]
    assert socket.sent[2][1]["userID"] == "carol"


async def test_contacts_for_whom_users_has_no_room_are_introduced_later(bench: Bench) -> None:
    """`users` ends at ROSTER_LIMIT; a contact beyond it is made known before their message."""
    bench.roster.total = 1000
    contacts = [
        api.Contact(user=f"u{n}", username=f"U{n}", connected=True, messages=[], unread=0, seq=1, read=0)
        for n in range(101)
    ]
    bench.store.prepare("open", opened(contacts=contacts))
    socket = await bench.connect(username="Alice")
    for counter, sender in enumerate(("u0", "u100", "u100"), start=1):
        body = msgspec.Raw(b'{"id":"m","content":"hi"}')
        to = [("alice", "e", counter)]
        bench.hub.handle(api.Delivery(sender, sender.upper(), "alice", counter, "other", body, to))
    kinds = [packet[0] for packet in socket.sent]
    assert kinds[2:] == ["private message", "user connected", "private message", "private message"]
    assert socket.sent[3][1]["userID"] == "u100"


def from_carol(counter: int) -> api.Delivery:
    """A message from somebody of whom nobody knows."""
    body = msgspec.Raw(b'{"id":"m","content":"hi"}')
    return api.Delivery("carol", "Carol", "alice", 1, "other", body, [("alice", "e", counter)])


@pytest.mark.parametrize("total", [0, 1000])
@pytest.mark.parametrize("way", ["open", "recover"])
async def test_who_writes_while_a_client_connects_is_introduced(bench: Bench, way: str, total: int) -> None:
    """`users`, or what was missed, does not have them yet, and the roster's log comes too late."""
    bench.roster.total = total
    answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    bench.store.prepare(way, answer)
    auth = {"username": "Alice"} | ({"pid": "p", "offset": "1.e.5.r.0"} if way == "recover" else {})
    task = asyncio.create_task(bench.connect(**auth))
    await bench.store.changed.wait()
    bench.hub.handle(from_carol(7))
    bench.hub.handle(from_carol(8))
    (request,) = bench.store.requests(way)
    answer.set_result(opened(counter=6)(request) if way == "open" else recovered())
    socket = await task
    assert [packet[0] for packet in socket.sent][-3:] == [
        "user connected",
        "private message",
        "private message",
    ]
    assert socket.sent[-3][1]["userID"] == "carol"
    # Whoever is lost between the two has not had the message.
    assert [packet[-1] for packet in socket.sent[-3:]] == ["1.e.6.r.0", "1.e.7.r.0", "1.e.8.r.0"]


async def test_who_is_in_users_is_not_introduced_again(bench: Bench) -> None:
    """A message that comes during the connect follows `users` at once when its sender is in there."""
    bench.roster.apply(1, api.RosterChange("carol", "Carol", 1, 2))
    answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    bench.store.prepare("open", answer)
    task = asyncio.create_task(bench.connect(username="Alice"))
    await bench.store.changed.wait()
    bench.hub.handle(from_carol(1))
    answer.set_result(opened()(bench.store.requests("open")[0]))
    assert [packet[0] for packet in (await task).sent] == ["session", "users", "private message"]


async def test_who_is_blocked_or_away_is_introduced_and_gone(bench: Bench) -> None:
    """What they wrote before is shown with their name, and they are not shown as online."""
    bench.roster.apply(1, api.RosterChange("bob", "Bob", 0, 2))
    bench.roster.total = 1000
    bench.store.prepare("recover", recovered())
    socket = await bench.connect(username="Alice", pid="p", offset="1.e.5.r.1")
    kinds = [packet[0] for packet in socket.sent]
    assert kinds == ["user connected", "user disconnected", "private message"]


async def test_what_cannot_be_recovered_starts_afresh(bench: Bench) -> None:
    """All or nothing: `session` and `users` anew."""
    bench.store.prepare("recover", api.RecoverResponse(results=[api.RecoverResult(reason="trimmed")]))
    bench.store.prepare("open", opened())
    socket = await bench.connect(sessionID="secret", pid="p", offset="1.e.5.r.3")
    assert [packet[0] for packet in socket.sent] == ["session", "users"]


async def test_a_request_on_which_the_store_fails_does_not_hold_up_the_others(bench: Bench) -> None:
    """The store's own fault is not repeated for ever: the client it is about starts afresh."""
    bench.store.prepare("recover", *[ParleyError(INTERNAL)] * FAULTS)
    bench.store.prepare("open", opened())
    socket = await bench.connect(sessionID="secret", pid="p", offset="1.e.5.r.3")
    assert [packet[0] for packet in socket.sent] == ["session", "users"]


async def test_a_batch_whose_answer_cannot_be_taken_is_halved(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer to several may be too large for a connection, and would be so each time.

    Were they asked for one by one, thousands who come back at once would be too many for the store.
    """
    monkeypatch.setattr("parley_gateway.sessions.ATTEMPTS", 2)

    def answer(request: api.OpenRequest) -> api.OpenResponse | ParleyError:
        if len(request.opens) > 2:
            return ParleyError(UNAVAILABLE)
        results = []
        for wish in request.opens:
            alone = api.OpenRequest(gateway=request.gateway, opens=[wish])
            results += opened(user=wish.username or "")(alone).results
        return api.OpenResponse(results=results)

    bench.store.prepare("open", *[answer] * 100)
    names = ["ann", "bob", "cy", "dan", "eve"]
    async with asyncio.timeout(10):
        sockets = await asyncio.gather(*[bench.connect(username=name) for name in names])
    assert [socket.user.user for socket in sockets] == names
    assert [len(request.opens) for request in bench.store.requests("open")] == [5, 5, 2, 3, 3, 1, 2]


async def test_recovery_can_be_declined(bench: Bench) -> None:
    """`recovery: false` gives no pid and no offsets."""
    bench.store.prepare("open", opened())
    socket = FakeSocket()
    reply = await bench.sessions.connect(socket, {"username": "Alice", "recovery": False})  # type: ignore[arg-type]
    bench.sessions.greet(socket)  # type: ignore[arg-type]
    assert reply is None
    assert [len(packet) for packet in socket.sent] == [2, 2]


@given(
    st.dictionaries(
        st.sampled_from(["username", "sessionID", "pid", "offset", "recovery", "x"]),
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers()
            | st.text(st.characters(exclude_categories=()), max_size=8),
            lambda inner: (
                st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
            ),
            max_leaves=8,
        ),
        max_size=5,
    )
)
def test_any_auth_is_read_without_an_exception(auth: dict[str, Any]) -> None:
    """Nonsense in the handshake counts as not given."""
    asked, username = claims(auth), usable_username(auth.get("username"))
    for value in (asked.session, asked.pid, username):
        assert value is None or value.encode()


@given(st.text(max_size=20), st.integers(0, 10**15 - 1), st.integers(0, 10**15 - 1))
def test_offsets_survive_the_round_trip(noise: str, counter: int, version: int) -> None:
    """What is sent can be read back; anything else is none of ours."""
    sent = msgspec.json.decode(offsets.encode("abc", counter, "def", version))
    assert offsets.decode(sent) == api.Position(
        epoch="abc", counter=counter, roster_epoch="def", roster=version
    )
    assert offsets.decode(noise) is None


async def test_sessions_and_recovery_ids_in_use_are_renewed(bench: Bench) -> None:
    """Two tabs of one session are one session and two recovery ids; a socket without recovery has none."""
    bench.store.prepare("open", opened(), opened(), opened())
    bench.store.prepare("presence", api.Done())
    first, second = await bench.connect(username="Alice"), await bench.connect(sessionID="secret")
    await bench.connect(sessionID="secret", recovery=False)
    await bench.sessions.touch_all()
    (request,) = bench.store.requests("presence")
    assert request.touches == ["secret"]
    assert request.pids == [first.data.pid, second.data.pid]
