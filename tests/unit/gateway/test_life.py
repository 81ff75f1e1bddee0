"""A gateway's life: what ends it, and what must not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from parley_gateway import offsets
from parley_gateway.bus import Entries
from parley_gateway.clock import RedisClock
from parley_gateway.hub import Hub
from parley_gateway.life import Callbacks, Life
from parley_gateway.metrics import Metrics
from parley_gateway.roster import OFFLINE, ONLINE, Roster
from parley_shared import api
from parley_shared.errors import NOT_FOUND, UNAVAILABLE, ParleyError
from parley_shared.tasks import TaskGroup
from tests.harness.waiting import eventually
from tests.unit.gateway.fake_sockets import FakeSocket
from tests.unit.gateway.fake_store import FakeStore

LEASE_MS = 300


class QuietBus:
    """Redis, as far as streams are read: what a test puts in comes, and XINFO answers what was prepared.

    The stream begins with the entry without items that the lease makes.
    """

    def __init__(self) -> None:
        self.infos: list[Any] = []
        self.entries: asyncio.Queue[list[Any]] = asyncio.Queue()
        self.entries.put_nowait([])
        self.log: dict[int, api.RosterChange] = {}
        self.log_grew = asyncio.Event()

    def write(self, number: int, user: str, state: int) -> None:
        """Add an entry to the roster's log."""
        self.log[number] = api.RosterChange(user, user.title(), state, 2)
        self.log_grew.set()

    async def xread(self, key: str, after: str) -> Entries:
        """Wait for an entry for the gateway, or for one of the roster's log."""
        place = int(after.partition("-")[2])
        if key == api.ROSTER_LOG:
            while not (found := [number for number in self.log if number > place]):
                self.log_grew.clear()
                await self.log_grew.wait()
            return [self._entry(number, self.log[number]) for number in found]
        return [self._entry(place + 1, await self.entries.get())]

    def _entry(self, number: int, content: object) -> tuple[bytes, list[bytes]]:
        return b"0-%d" % number, [api.STREAM_FIELD.encode(), msgspec.json.encode(content)]

    async def xinfo_stream(self, _key: str) -> Any:
        """Answer or fail."""
        info = self.infos.pop(0)
        if isinstance(info, Exception):
            raise info
        return info

    async def aclose(self) -> None:
        """Do nothing."""


class Bench:
    """A life over a fake store and a quiet bus."""

    def __init__(self) -> None:
        self.store = FakeStore()
        self.bus = QuietBus()
        self.tasks = TaskGroup("test")
        self.done: list[str] = []
        self.incarnation = "one"
        self.lease_ms = LEASE_MS
        roster, metrics = Roster(10), Metrics()
        self.roster = roster
        self.hub = Hub(store=self.store, roster=roster, metrics=metrics, tasks=self.tasks, burst=10)
        self.life = Life(
            store=self.store,
            bus=self.bus,
            hub=self.hub,
            roster=roster,
            clock=RedisClock(),
            metrics=metrics,
            callbacks=Callbacks(
                describe=lambda: api.LeaseRequest(
                    gateway=self.life.gateway_id,
                    address="h:1",
                    connections=0,
                    capacity=1,
                    ready=not self.life.missing,
                ),
                reattach=self._reattach,
                touch=self._reattach,
                on_new_id=lambda _: self.done.append("new id"),
                close_all=lambda _: self.done.append("closed"),
                close_socket=lambda _: None,
                announce=lambda content, _: self.done.append(content),
                drain=lambda on: self.done.append("drain" if on else "no drain"),
            ),
        )
        self.store.prepare("lease", *[lambda _: self.lease()] * 1000)
        self.store.prepare("roster", *[api.RosterResponse(epoch="r", version=1, total=0, entries=[])] * 1000)

    def online(self, user: str) -> bool:
        """Whether the replica of the roster shows somebody as online."""
        entry = self.roster.get(user)
        return entry is not None and entry.online

    def ready(self) -> None:
        """Count as ready, as after the first probe."""
        self.life.missing = {}

    async def _reattach(self) -> None:
        self.done.append("reattached")

    def lease(self) -> api.LeaseResponse:
        """Make the store's answer to a beat."""
        return api.LeaseResponse(
            held=True,
            now=1,
            lease_ms=self.lease_ms,
            incarnation=self.incarnation,
            roster_epoch="r",
            roster_version=1,
            gateways=[],
        )


async def test_a_life_that_has_not_begun_cannot_lapse() -> None:
    """An answer to a socket that came too early says `lapsed`: the life that begins goes on under its id."""
    bench = Bench()
    lease: asyncio.Future[api.LeaseResponse] = asyncio.get_running_loop().create_future()
    bench.store.answers["lease"].appendleft(lease)
    bench.tasks.start(bench.life.run(), "life")
    try:
        await eventually(lambda: bench.store.requests("lease"))
        begun_early = bench.life.begun
        bench.life.lapsed(bench.life.gateway_id)
        lease.set_result(bench.lease())
        await eventually(lambda: len(bench.store.requests("lease")) > 1)
    finally:
        await bench.tasks.close()
    assert (begun_early, bench.life.begun, bench.done) == (False, True, [])


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    """A life that has begun."""
    bench = Bench()
    bench.tasks.start(bench.life.run(), "life")
    await eventually(lambda: len(bench.store.requests("lease")) > 1)
    yield bench
    await bench.tasks.close()


async def test_another_incarnation_is_taken_in_though_redis_is_not_quite_there(bench: Bench) -> None:
    """All users are registered again; a connection that was broken by the restart only costs another try."""
    bench.bus.infos = [RedisConnectionError(), {"last-generated-id": b"0-0"}]
    bench.incarnation = "two"
    await eventually(lambda: bench.done == ["reattached"])
    asked = len(bench.store.requests("lease"))
    await eventually(lambda: len(bench.store.requests("lease")) > asked + 1, what="the lease is kept")


async def test_a_life_whose_part_fails_starts_over(bench: Bench) -> None:
    """Whatever happens to one of its tasks, a gateway never lives on without it."""
    bench.bus.infos = [{}]  # no such answer: the beat fails on it
    bench.incarnation = "two"
    await eventually(lambda: bench.done[:2] == ["closed", "new id"])


async def test_a_change_of_readiness_is_told_at_once() -> None:
    """The first beats say that it is not ready; the store hears of it long before another is due."""
    bench = Bench()
    bench.lease_ms = 3_600_000
    bench.store.prepare("probe", api.Done())
    bench.tasks.start(bench.life.run(), "life")
    try:
        # One to take the lease, and one because the stream can be read.
        await eventually(lambda: len(bench.store.requests("lease")) == 2 and bench.store.requests("probe"))
        (probe,) = bench.store.requests("probe")
        bench.bus.entries.put_nowait([api.Probe(nonce=probe.nonce)])
        await eventually(lambda: len(bench.store.requests("lease")) == 3)
    finally:
        await bench.tasks.close()
    assert [beat.ready for beat in bench.store.requests("lease")] == [False, False, True]


def snapshot(version: int, **states: int) -> api.RosterResponse:
    """Make a snapshot of the roster with these users' states."""
    entries = [api.RosterEntry(user, user.title(), state, 1) for user, state in states.items()]
    return api.RosterResponse(epoch="r", version=version, total=len(entries), entries=entries)


async def test_presence_that_changes_while_the_roster_is_loaded_again_is_not_lost(bench: Bench) -> None:
    """After a gap in the log, what was read in one go with it is not undone by a snapshot that is older."""
    answer: asyncio.Future[api.RosterResponse] = asyncio.get_running_loop().create_future()
    bench.store.answers["roster"].appendleft(answer)
    loads = len(bench.store.requests("roster"))
    bench.bus.write(3, "bob", ONLINE)  # the one before it was trimmed
    bench.bus.write(4, "alice", OFFLINE)
    await eventually(lambda: len(bench.store.requests("roster")) == loads + 1)
    answer.set_result(snapshot(3, alice=ONLINE, bob=ONLINE, carol=ONLINE))
    await eventually(lambda: bench.online("carol"))
    bench.bus.write(5, "dave", ONLINE)
    await eventually(lambda: bench.online("dave"))
    assert not bench.online("alice")


async def test_presence_that_changes_while_another_incarnation_is_taken_in_is_not_lost(bench: Bench) -> None:
    """The log is read again from the snapshot's place on, also while a read is under way."""
    answer: asyncio.Future[api.RosterResponse] = asyncio.get_running_loop().create_future()
    bench.store.answers["roster"].appendleft(answer)
    bench.bus.infos = [{"last-generated-id": b"0-0"}]
    loads = len(bench.store.requests("roster"))
    bench.incarnation = "two"
    await eventually(lambda: len(bench.store.requests("roster")) == loads + 1)
    bench.bus.write(2, "alice", OFFLINE)
    await eventually(lambda: bench.roster.version == 2)
    answer.set_result(snapshot(1, alice=ONLINE))
    await eventually(lambda: bench.online("alice"))
    bench.bus.write(3, "bob", ONLINE)
    await eventually(lambda: bench.online("bob"))
    assert not bench.online("alice")


def enter(bench: Bench, contacts: list[str]) -> FakeSocket:
    """Let a socket of alice in, and greet it."""
    socket = FakeSocket()
    opened = api.Opened(
        session="s", user="alice", username="Alice", new=True, epoch="e", counter=0, pid="pid", contacts=[]
    )
    bench.hub.join(socket, opened, "pid", 1, contacts)  # type: ignore[arg-type]
    return socket.ready()


async def reload(bench: Bench, answer: api.RosterResponse) -> None:
    """Have the roster loaded again, because of a gap in its log."""
    bench.store.answers["roster"].appendleft(answer)
    bench.bus.write(answer.version, "somebody", OFFLINE)
    await eventually(lambda: bench.roster.version == answer.version)


async def test_what_a_reload_tells_is_told_again_to_who_is_lost_in_the_midst_of_it(bench: Bench) -> None:
    """None of its events carries the new place: a client that has seen only some of them lacks the others."""
    await reload(bench, snapshot(5, bob=ONLINE, carol=OFFLINE))
    socket = enter(bench, [])
    await reload(bench, snapshot(9, bob=OFFLINE, carol=ONLINE, dave=ONLINE))
    assert [packet[0] for packet in socket.sent] == ["user disconnected", "user connected", "user connected"]
    assert [position(packet).roster for packet in socket.sent] == [5, 5, 5]
    bench.bus.write(10, "erin", ONLINE)
    await eventually(lambda: len(socket.sent) == 4)
    assert position(socket.sent[3]).roster == 10


async def test_what_a_reload_tells_does_not_run_ahead_of_an_older_snapshot(bench: Bench) -> None:
    """The log had been read further: what comes after the snapshot is read, and told, once more."""
    await reload(bench, snapshot(5, bob=ONLINE))
    bench.bus.write(6, "bob", OFFLINE)
    await eventually(lambda: bench.roster.version == 6)
    socket = enter(bench, [])
    bench.store.answers["roster"].appendleft(snapshot(5, bob=ONLINE))
    bench.bus.infos = [{"last-generated-id": b"0-0"}]
    bench.incarnation = "two"
    await eventually(lambda: socket.sent)
    bench.bus.write(7, "carol", ONLINE)
    await eventually(lambda: len(socket.sent) == 3)
    assert [packet[0] for packet in socket.sent] == ["user connected", "user disconnected", "user connected"]
    assert [position(packet).roster for packet in socket.sent] == [5, 6, 7]


def position(packet: list[Any]) -> api.Position:
    """The place that an event's offset names."""
    found = offsets.decode(packet[2])
    assert found is not None
    return found


async def test_who_is_absent_from_a_capped_snapshot_is_looked_up(bench: Bench) -> None:
    """With more users than it holds, a contact may just be less recent than others: only the store knows."""

    def crowd(version: int, **states: int) -> api.RosterResponse:
        answer = snapshot(version, **states)
        answer.total = 1000
        return answer

    known = {
        "bob": (ONLINE, 2),
        "carol": (OFFLINE, 7),
        "grace": (ONLINE, 8),
        "old": (OFFLINE, 3),
        "gone": (OFFLINE, 6),
        "back": (ONLINE, 9),
    }

    def look_up(ask: api.StatesRequest) -> api.StatesResponse:
        states = [(user, *known.get(user, (-1, 0))) for user in ask.users]
        return api.StatesResponse(entries=[api.RosterEntry(user, user, *state) for user, *state in states])

    bench.store.prepare("states", ParleyError(UNAVAILABLE), look_up)
    await reload(
        bench, crowd(5, bob=ONLINE, carol=ONLINE, erin=ONLINE, frank=ONLINE, grace=OFFLINE, ivan=ONLINE)
    )
    # The last four were in no snapshot: the versions tell whether something has happened since.
    socket = enter(bench, ["bob", "carol", "erin", "grace", "ivan", "old", "gone", "back", "nobody"])
    await reload(bench, crowd(9, heidi=ONLINE, ivan=ONLINE))
    assert sorted(socket.events("user disconnected")) == ["carol", "erin", "gone"]
    assert sorted(user["userID"] for user in socket.events("user connected")) == ["back", "grace"]
    (again, asked) = bench.store.requests("states")
    assert sorted(asked.users) == sorted({"bob", "carol", "erin", "grace", "old", "gone", "back", "nobody"})
    assert again == asked


async def test_a_store_of_the_release_before_is_not_asked_for_ever(bench: Bench) -> None:
    """It cannot look contacts up: they stay as they were told, and the roster is loaded all the same."""
    first, second = snapshot(5, bob=ONLINE), snapshot(9, carol=ONLINE)
    first.total = second.total = 1000
    await reload(bench, first)
    socket = enter(bench, ["bob"])
    bench.store.prepare("states", ParleyError(NOT_FOUND))
    await reload(bench, second)
    assert socket.events("user disconnected") == []


async def test_in_another_numbering_all_absent_contacts_are_told(bench: Bench) -> None:
    """Their versions cannot be compared with what was known."""
    answer = snapshot(5, bob=ONLINE)
    answer.total = 1000
    await reload(bench, answer)
    socket = enter(bench, ["old"])
    other = snapshot(9, bob=ONLINE)
    other.total, other.epoch = 1000, "another"
    found = [api.RosterEntry("old", "old", OFFLINE, 3)]
    bench.store.prepare("states", lambda _: api.StatesResponse(entries=found))
    await reload(bench, other)
    assert socket.events("user disconnected") == ["old"]


async def test_a_store_that_is_away_does_not_make_a_gateway_unready_after_a_gap(bench: Bench) -> None:
    """It is away for all gateways: were that a reason, clients could go nowhere."""
    bench.store.answers["roster"].clear()
    bench.ready()
    loads = len(bench.store.requests("roster"))
    bench.bus.write(3, "bob", ONLINE)
    await eventually(lambda: len(bench.store.requests("roster")) > loads)
    await settle()
    assert bench.life.missing == {}
    bench.store.prepare("roster", snapshot(3, bob=ONLINE))
    await eventually(lambda: bench.online("bob"))


async def test_a_store_that_is_away_does_not_make_a_gateway_unready_after_a_restart_of_redis(
    bench: Bench,
) -> None:
    """Another incarnation is taken in when the store is back; until then the gateway serves as it can."""
    bench.store.answers["roster"].clear()
    bench.ready()
    loads = len(bench.store.requests("roster"))
    bench.bus.infos = [{"last-generated-id": b"0-0"}]
    bench.incarnation = "two"
    await eventually(lambda: len(bench.store.requests("roster")) > loads)
    await settle()
    assert bench.life.missing == {}


async def test_a_life_that_has_not_begun_says_what_is_missing() -> None:
    """Without a roster there is nothing to show clients."""
    bench = Bench()
    bench.store.answers["roster"].clear()
    bench.tasks.start(bench.life.run(), "life")
    try:
        await eventually(lambda: bench.life.missing.get("roster") == UNAVAILABLE.message)
    finally:
        await bench.tasks.close()


async def settle() -> None:
    """Let everything run that can run now."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_an_item_that_cannot_be_read_does_not_take_the_others_with_it(bench: Bench) -> None:
    """The others of its entry are handled, and what may have been in it is asked of the store."""
    socket = FakeSocket()
    opened = api.Opened(
        session="s",
        user="alice",
        username="Alice",
        new=True,
        epoch="e",
        counter=0,
        pid=None,
        contacts=[],
    )
    bench.hub.join(socket, opened, None, 1, [])  # type: ignore[arg-type]
    socket.ready()
    body = msgspec.Raw(b'{"content":"hi"}')
    good = api.Delivery("bob", "Bob", "alice", 1, "x", body, [("alice", "e", 1)], 1)
    bench.bus.entries.put_nowait([["unheard of", 1], good])
    await eventually(lambda: socket.events("private message") == [{"content": "hi"}])
    await eventually(lambda: bench.store.requests("inbox"))


async def test_an_item_that_cannot_be_handled_does_not_take_the_others_with_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault with one leaves those that follow it in the entry."""
    handle = bench.hub.handle

    def fail_once(_item: api.UserItem) -> None:
        monkeypatch.setattr(bench.hub, "handle", handle)
        raise ValueError("a fault")

    monkeypatch.setattr(bench.hub, "handle", fail_once)
    bench.bus.entries.put_nowait([api.Changed("alice"), api.Announcement("still here", 1)])
    await eventually(lambda: bench.done == ["still here"])
