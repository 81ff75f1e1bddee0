"""A gateway's life: what ends it, and what must not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from parley_gateway.bus import Entries
from parley_gateway.clock import RedisClock
from parley_gateway.hub import Hub
from parley_gateway.life import Callbacks, Life
from parley_gateway.metrics import Metrics
from parley_gateway.roster import Roster
from parley_shared import api
from parley_shared.tasks import TaskGroup
from tests.harness.waiting import eventually
from tests.unit.gateway.fake_store import FakeStore

LEASE_MS = 300


class QuietBus:
    """Redis, as far as streams are read: what a test puts in comes, and XINFO answers what was prepared.

    The stream begins with the entry without items that the lease makes.
    """

    def __init__(self) -> None:
        self.infos: list[Any] = []
        self.entries: asyncio.Queue[list[api.StreamItem]] = asyncio.Queue()
        self.entries.put_nowait([])

    async def xread(self, key: str, after: str) -> Entries:
        """Wait for an entry for the gateway; for ever, in the roster's log."""
        if key == api.ROSTER_LOG:
            await asyncio.Event().wait()
        items = await self.entries.get()
        number = int(after.partition("-")[2]) + 1
        return [(b"0-%d" % number, [api.STREAM_FIELD.encode(), msgspec.json.encode(items)])]

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
        self.life = Life(
            store=self.store,
            bus=self.bus,
            hub=Hub(store=self.store, roster=roster, metrics=metrics, tasks=self.tasks, burst=10),
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
