"""The hub's one rule: equal is delivered, lower is a duplicate, higher waits and is fetched."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import pytest

from parley_gateway.hub import LOOKERS, Hub
from parley_gateway.metrics import Metrics
from parley_gateway.roster import Roster
from parley_shared import api
from parley_shared.errors import UNAVAILABLE, ParleyError
from parley_shared.tasks import TaskGroup
from tests.unit.gateway.fake_sockets import FakeSocket
from tests.unit.gateway.fake_store import FakeStore


class Bench:
    """A hub with one user, alice, who knows everybody."""

    def __init__(self) -> None:
        self.store = FakeStore()
        self.roster = Roster(10)
        self.roster.load(
            api.RosterResponse(epoch="r", version=5, total=1, entries=[api.RosterEntry("bob", "Bob", 1, 5)])
        )
        self.tasks = TaskGroup("test")
        self.hub = Hub(store=self.store, roster=self.roster, metrics=Metrics(), tasks=self.tasks, burst=100)

    def join(self, counter: int = 0, *, epoch: str = "e", pid: str | None = "pid") -> FakeSocket:
        """Let a socket of alice in."""
        opened = api.Opened(
            session="s",
            user="alice",
            username="Alice",
            new=True,
            epoch=epoch,
            counter=counter,
            pid=pid,
            contacts=[],
        )
        socket = FakeSocket()
        self.hub.join(socket, opened, pid, 1, [])  # type: ignore[arg-type]
        return socket


def delivery(counter: int, *, epoch: str = "e", user: str = "alice", pid: str = "other") -> api.Delivery:
    """A message from bob with its seq equal to the counter."""
    body = msgspec.json.encode({"id": f"m{counter}", "content": f"text {counter}", "seq": counter})
    return api.Delivery("bob", "Bob", user, counter, pid, msgspec.Raw(body), [(user, epoch, counter)])


def by(counter: int, sender: str) -> api.Delivery:
    """A message from somebody else than bob."""
    item = delivery(counter)
    item.from_, item.from_name = sender, sender.title()
    return item


def own(counter: int, to: str) -> api.Delivery:
    """A message from alice, written at another of her sockets."""
    item = by(counter, "alice")
    item.peer = to
    return item


def page(counters: list[int], newest: int, *, complete: bool = True, epoch: str = "e") -> api.InboxResponse:
    """An answer that fills a gap."""
    events = [
        api.InboxEvent(
            counter=counter,
            message=msgspec.Raw(msgspec.json.encode({"id": f"m{counter}", "seq": counter})),
            from_="bob",
        )
        for counter in counters
    ]
    return api.InboxResponse(
        complete=complete, epoch=epoch, counter=newest, events=events, names={"bob": "Bob"}
    )


def ids(socket: FakeSocket) -> list[str]:
    """The ids of the messages a socket was sent, in order."""
    return [message["id"] for message in socket.events("private message")]


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    """A fresh hub."""
    made = Bench()
    yield made
    await made.tasks.close()


async def until(condition: Callable[[], Any]) -> None:
    """Wait for something that the hub's tasks bring about."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - the hub offers no event for this
            await asyncio.sleep(0.01)


async def test_numbers_in_order_are_delivered_with_their_offsets(bench: Bench) -> None:
    """Each event ends with an offset that names its own place."""
    socket = bench.join().ready()
    bench.hub.handle(delivery(1))
    bench.hub.handle(delivery(2))
    assert [packet[2] for packet in socket.sent] == ["1.e.1.r.5", "1.e.2.r.5"]


async def test_a_repeat_is_dropped(bench: Bench) -> None:
    """The same counter is delivered once, however often it comes."""
    socket = bench.join().ready()
    for counter in (1, 1, 2, 1, 2):
        bench.hub.handle(delivery(counter))
    assert ids(socket) == ["m1", "m2"]


async def test_a_late_event_is_waited_for(bench: Bench) -> None:
    """Two store replicas may overtake each other; the socket does not see it, and the store is not asked."""
    socket = bench.join().ready()
    bench.hub.handle(delivery(2))
    assert ids(socket) == []
    bench.hub.handle(delivery(1))
    assert ids(socket) == ["m1", "m2"]
    await until(lambda: not socket.user.filling)
    assert bench.store.requests("inbox") == []


async def test_a_gap_is_fetched_from_the_store(bench: Bench) -> None:
    """What never arrives is read from the inbox, also when the store is away at first."""
    socket = bench.join().ready()
    bench.store.prepare("inbox", ParleyError(UNAVAILABLE), page([1, 2, 3], 3))
    bench.hub.handle(delivery(3))
    await until(lambda: len(ids(socket)) == 3)
    assert ids(socket) == ["m1", "m2", "m3"]


async def test_a_nudge_fetches_what_is_missing(bench: Bench) -> None:
    """A repeat in the store only tells the newest counter."""
    socket = bench.join().ready()
    bench.store.prepare("inbox", page([1], 1))
    bench.hub.handle(api.Nudge("alice", "e", 1))
    await until(lambda: ids(socket) == ["m1"])


async def test_a_doubt_is_looked_into(bench: Bench) -> None:
    """Local users of whom something may be missing are looked up at once, others are left alone."""
    socket = bench.join().ready()
    bench.store.prepare("inbox", page([1], 1))
    bench.hub.doubt(["alice", "stranger"])
    await until(lambda: ids(socket) == ["m1"])
    assert len(bench.store.requests("inbox")) == 1


def others(bench: Bench, count: int) -> list[str]:
    """Let other users in."""
    users = [f"user-{number}" for number in range(count)]
    for user in users:
        opened = api.Opened(
            session="s",
            user=user,
            username=user,
            new=True,
            epoch="e",
            counter=0,
            pid=None,
            contacts=[],
        )
        bench.hub.join(FakeSocket(), opened, None, 1, [])  # type: ignore[arg-type]
    return users


async def test_everybody_is_looked_up_once(bench: Bench) -> None:
    """Whoever is here is asked for, and what was missing is delivered."""
    users = others(bench, 50)
    socket = bench.join().ready()
    bench.store.prepare(
        "inbox", *[lambda request: page([1], 1) if request.user == "alice" else page([], 0)] * 100
    )
    for _ in range(3):
        bench.hub.doubt()
    await until(lambda: ids(socket) == ["m1"] and not any(user.stale for user in bench.hub.users.values()))
    assert sorted(request.user for request in bench.store.requests("inbox")) == ["alice", *sorted(users)]


async def test_a_store_that_is_away_is_not_asked_for_everybody(bench: Bench) -> None:
    """A few are tried until it is back; then the others are asked for, those who were tried too."""
    users = others(bench, 50)
    bench.hub.doubt()
    await until(lambda: len(bench.store.requests("inbox")) >= LOOKERS)
    for _ in range(200):
        await asyncio.sleep(0)  # turns in which all would have been asked for
        bench.hub.doubt()
    assert len(bench.store.requests("inbox")) < len(users)
    bench.store.prepare("inbox", *[page([], 0)] * 100)
    await until(lambda: not any(user.stale for user in bench.hub.users.values()))
    assert {request.user for request in bench.store.requests("inbox")} == set(users)


async def test_one_user_who_cannot_be_looked_up_keeps_no_other_from_it(bench: Bench) -> None:
    """A fault of the store with one inbox is that user's alone."""
    others(bench, 20)

    def answer(request: api.InboxRequest) -> api.InboxResponse | ParleyError:
        return ParleyError(UNAVAILABLE) if request.user == "user-0" else page([], 0)

    bench.store.prepare("inbox", *[answer] * 1000)
    bench.hub.doubt()
    await until(lambda: sum(user.stale for user in bench.hub.users.values()) == 1)
    assert bench.hub.users["user-0"].stale


async def test_who_leaves_and_comes_back_has_no_more_events_for_it(bench: Bench) -> None:
    """A user's bucket outlives their last socket."""
    socket = bench.join()
    while socket.user.bucket.take(0, 100):
        pass
    bench.hub.leave(socket)  # type: ignore[arg-type]
    assert not bench.join().user.bucket.take(0, 100)


async def test_buckets_of_who_has_left_are_kept_for_so_many(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The longest gone is forgotten first, so that they take no more room for ever."""
    monkeypatch.setattr("parley_gateway.hub.BUCKETS_LIMIT", 2)
    alice = bench.join()
    while alice.user.bucket.take(0, 100):
        pass
    others(bench, 2)
    sockets = [alice, *[user.sockets[0] for user in bench.hub.users.values() if user is not alice.user]]
    for socket in sockets:
        bench.hub.leave(socket)  # type: ignore[arg-type]
    assert bench.join().user.bucket.take(0, 100)


async def test_a_nudge_during_a_fetch_is_not_forgotten(bench: Bench) -> None:
    """A higher counter that is heard of while a gap is being filled leads to another fetch."""
    socket = bench.join().ready()

    def first(_request: object) -> api.InboxResponse:
        bench.hub.handle(api.Nudge("alice", "e", 2))
        return page([1], 1)

    bench.store.prepare("inbox", first, page([2], 2))
    bench.hub.handle(api.Nudge("alice", "e", 1))
    await until(lambda: ids(socket) == ["m1", "m2"])


async def test_an_inbox_that_does_not_reach_back_resets_the_sockets(bench: Bench) -> None:
    """Never deliver a gap: the client comes back and is told everything."""
    socket = bench.join().ready()
    bench.store.prepare("inbox", page([], 9, complete=False))
    bench.hub.handle(delivery(5))
    await until(lambda: socket.closed)
    assert socket.closed == "reset"
    assert ids(socket) == []


async def test_another_epoch_without_a_loss_goes_on(bench: Bench) -> None:
    """After Redis came back whole, numbers continue under another epoch."""
    socket = bench.join().ready()
    bench.hub.handle(delivery(1))
    bench.store.prepare("inbox", page([2], 2, epoch="f"))
    bench.hub.handle(delivery(2, epoch="f"))
    await until(lambda: ids(socket) == ["m1", "m2"])
    bench.hub.handle(delivery(3, epoch="f"))
    assert ids(socket) == ["m1", "m2", "m3"]
    assert socket.sent[-1][2] == "1.f.3.r.5"


async def test_the_sending_socket_is_left_out(bench: Bench) -> None:
    """The sender's other sockets see the message; the sending one, also after a recovery, does not."""
    sending, other = bench.join(pid="one").ready(), bench.join(pid="other").ready()
    recovered, nameless = bench.join(pid="one").ready(), bench.join(pid=None).ready()
    bench.hub.handle(delivery(1, pid="one"))
    assert ids(sending) == ids(recovered) == []
    assert ids(other) == ids(nameless) == ["m1"]
    bench.hub.handle(delivery(2, pid=nameless.sid))
    assert ids(nameless) == ["m1"]


async def test_a_filled_gap_leaves_the_sending_socket_out(bench: Bench) -> None:
    """What is fetched from the inbox does not come back to the socket that sent it either."""
    sending, other = bench.join(pid="one").ready(), bench.join(pid="other").ready()
    answer = page([1], 1)
    answer.events[0].pid = "one"
    bench.store.prepare("inbox", answer)
    bench.hub.handle(api.Nudge("alice", "e", 1))
    await until(lambda: ids(other) == ["m1"])
    assert ids(sending) == []


async def test_a_new_socket_gets_only_what_its_history_lacks(bench: Bench) -> None:
    """Events up to the counter of the connect are in `users`; later ones wait for the greeting."""
    old = bench.join().ready()
    new = bench.join(counter=2)
    for counter in (1, 2, 3):
        bench.hub.handle(delivery(counter))
    assert ids(old) == ["m1", "m2", "m3"]
    assert ids(new) == []
    assert [counter for counter, _ in new.data.waiting] == [3]


async def test_events_that_come_before_the_session_is_answered_are_kept(bench: Bench) -> None:
    """Between the store's registration and its answer, deliveries for the unknown user wait."""
    bench.hub.opening()
    bench.hub.handle(delivery(1))
    bench.hub.handle(delivery(2))
    socket = bench.join(counter=1)
    bench.hub.opened()
    assert [counter for counter, _ in socket.data.waiting] == [2]


async def test_an_unknown_sender_is_introduced_first(bench: Bench) -> None:
    """`user connected` reaches a socket before that user's first message does."""
    socket = bench.join().ready()
    bench.hub.handle(by(1, "carol"))
    assert [packet[0] for packet in socket.sent] == ["user connected", "private message"]
    assert socket.sent[0][1] == {"userID": "carol", "username": "Carol", "connected": True, "messages": []}


@pytest.mark.parametrize("total", [1, 1000])
async def test_whom_the_user_wrote_to_first_is_introduced_too(bench: Bench, total: int) -> None:
    """An own message makes a contact, but tells clients nothing of them."""
    bench.roster.total = total
    socket = bench.join().ready()
    for item in (own(1, "carol"), by(2, "carol"), by(3, "carol")):
        bench.hub.handle(item)
    assert [packet[0] for packet in socket.sent] == [
        "private message",
        "user connected",
        "private message",
        "private message",
    ]
    assert socket.sent[1][1]["userID"] == "carol"


async def test_presence_introduces_only_when_somebody_comes(bench: Bench) -> None:
    """`user connected` is an introduction, `user disconnected` is none."""
    bench.roster.total = 1000
    socket = bench.join().ready()
    bench.hub.handle(own(1, "carol"))
    bench.hub.presence("carol", "Carol", online=False)
    bench.hub.handle(by(2, "carol"))
    kinds = [packet[0] for packet in socket.sent]
    assert kinds == ["private message", "user disconnected", "user connected", "private message"]
    bench.hub.handle(own(3, "dave"))
    bench.hub.presence("dave", "Dave", online=True)
    bench.hub.handle(by(4, "dave"))
    kinds = [packet[0] for packet in socket.sent[4:]]
    assert kinds == ["private message", "user connected", "private message"]


async def test_without_recovery_there_are_no_offsets(bench: Bench) -> None:
    """A socket that declined recovery gets the bare events."""
    socket = bench.join(pid=None).ready()
    bench.hub.handle(delivery(1))
    bench.hub.presence("bob", "Bob", online=False)
    assert [len(packet) for packet in socket.sent] == [2, 2]


async def test_presence_is_told_to_others_only(bench: Bench) -> None:
    """Nobody is told of their own coming."""
    socket = bench.join().ready()
    bench.hub.presence("alice", "Alice", online=True)
    bench.hub.presence("bob", "Bob", online=False)
    assert [packet[0] for packet in socket.sent] == ["user disconnected"]
    assert socket.sent[0][1] == "bob"


async def test_above_the_cap_presence_goes_to_contacts(bench: Bench) -> None:
    """With more users than a client is told of, only contacts hear of each other."""
    socket = bench.join().ready()
    bench.roster.total = 1000
    bench.hub.presence("bob", "Bob", online=False)
    assert socket.sent == []
    bench.hub.handle(delivery(1))
    bench.hub.presence("bob", "Bob", online=False)
    assert [packet[0] for packet in socket.sent] == ["user connected", "private message", "user disconnected"]


@pytest.mark.parametrize("seed", range(20))
async def test_any_order_with_losses_and_repeats_ends_complete(bench: Bench, seed: int) -> None:
    """Shuffled, repeated and lost deliveries: the socket sees all, once, in order."""
    chance = random.Random(seed)
    socket = bench.join().ready()
    newest = 30

    def fill(request: api.InboxRequest) -> api.InboxResponse:
        return page(list(range(request.after + 1, newest + 1)), newest)

    bench.store.prepare("inbox", *[fill] * 50)
    counters = [counter for counter in range(1, newest + 1) if chance.random() > 0.2] * 2
    chance.shuffle(counters)
    for counter in counters:
        bench.hub.handle(delivery(counter))
        if chance.random() < 0.1:
            await asyncio.sleep(0)
    bench.hub.handle(api.Nudge("alice", "e", newest))
    await until(lambda: len(ids(socket)) == newest)
    assert ids(socket) == [f"m{counter}" for counter in range(1, newest + 1)]


async def test_a_socket_misses_nothing_that_came_while_it_connected(bench: Bench) -> None:
    """What the user's other sockets were sent after the store answered for the new one is made up for."""
    old = bench.join(0, pid="old").ready()
    bench.hub.opening()
    for counter, pid in ((1, "x"), (2, "x"), (3, "new"), (4, "x")):
        bench.hub.handle(delivery(counter, pid=pid))
    new = bench.join(1, pid="new")
    bench.hub.opened()
    bench.hub.handle(delivery(5))
    assert ids(old) == ["m1", "m2", "m3", "m4", "m5"]
    assert [counter for counter, _ in new.data.waiting] == [2, 4, 5]
    assert new.closed is None


async def test_a_socket_that_was_too_slow_connects_again(bench: Bench) -> None:
    """A new socket for which not everything was kept is closed rather than left with a gap."""
    bench.join(0).ready()
    for counter in (1, 2):
        bench.hub.handle(delivery(counter))
    bench.hub.opening()
    bench.hub.handle(delivery(3))
    assert bench.join(1).closed == "reset"


async def test_an_offset_never_goes_back(bench: Bench) -> None:
    """Presence names the place of a socket that was told more at its connect than the others have got."""
    old, new = bench.join(0).ready(), bench.join(3).ready()
    bench.roster.apply(6, api.RosterChange("bob", "Bob", 0, 1))
    bench.hub.presence("bob", "Bob", online=False)
    assert (old.sent[-1][2], new.sent[-1][2]) == ("1.e.0.r.6", "1.e.3.r.6")
    assert old.user.told == 3
