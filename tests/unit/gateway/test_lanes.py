"""Lanes: group commit, order, repeats until the deadline, and never two batches of one sender in flight."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from parley_gateway import lanes as module
from parley_gateway.clock import RedisClock
from parley_gateway.lanes import Lanes, Outgoing
from parley_gateway.metrics import Metrics
from parley_shared import api
from parley_shared.errors import INTERNAL, LATE, MALFORMED, UNAVAILABLE, Code, ParleyError
from parley_shared.tasks import TaskGroup
from tests.harness.waiting import eventually
from tests.unit.gateway.fake_store import FakeStore


class Bench:
    """Lanes over a fake store, and the results in the order they came."""

    def __init__(self) -> None:
        self.store = FakeStore()
        self.tasks = TaskGroup("test")
        self.results: dict[str, api.Appended | Code] = {}
        self.items: list[api.Delivery | api.Nudge] = []
        self.doubted: list[str] = []

    def lanes(self, **settings: Any) -> Lanes:
        """Make lanes with other settings than the usual ones."""
        usual = {"count": 1, "limit": 100, "batch_limit": 10, "deadline_seconds": 5.0}
        clock = RedisClock()
        now = time.monotonic()
        clock.observe(int(time.time() * 1000), now, now)
        return Lanes(
            store=self.store,
            clock=clock,
            gateway_id=lambda: "g1",
            metrics=Metrics(),
            tasks=self.tasks,
            on_item=self.items.append,
            on_doubt=lambda users: self.doubted.extend(["all"] if users is None else sorted(users)),
            **{**usual, **settings},
        )

    def message(self, identifier: str, sender: str = "alice") -> Outgoing:
        """A message whose result is kept."""
        send = api.Send(id=identifier, from_=sender, from_name=sender, to="bob", content="hello")
        return Outgoing(send, lambda result: self.results.__setitem__(identifier, result))


def stored(request: api.AppendRequest) -> api.AppendResponse:
    """Answer that every message was stored."""
    return api.AppendResponse(results=[api.Appended(seq=1, at=1) for _ in request.messages])


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    """Nothing in flight yet."""
    made = Bench()
    yield made
    await made.tasks.close()


async def test_what_comes_during_a_batch_forms_the_next(bench: Bench) -> None:
    """The first leaves alone; everything that comes until its answer travels together, in order."""
    first: asyncio.Future[api.AppendResponse] = asyncio.get_running_loop().create_future()
    bench.store.prepare("append", first, stored)
    lanes = bench.lanes()
    lanes.submit(bench.message("a"))
    await bench.store.changed.wait()
    for identifier in "bcd":
        lanes.submit(bench.message(identifier))
    first.set_result(api.AppendResponse(results=[api.Appended(seq=1, at=1)]))
    await lanes.flushed()
    batches = [[send.id for send in request.messages] for request in bench.store.requests("append")]
    assert batches == [["a"], ["b", "c", "d"]]
    assert list(bench.results) == ["a", "b", "c", "d"]


async def test_a_batch_without_an_answer_is_repeated_as_it_was(bench: Bench) -> None:
    """The same ids and the same deadline: the store's script refuses whichever comes too late."""
    bench.store.prepare("append", ParleyError(UNAVAILABLE), ParleyError(UNAVAILABLE), stored)
    lanes = bench.lanes()
    lanes.submit(bench.message("a"))
    await lanes.flushed()
    requests = bench.store.requests("append")
    assert [[send.id for send in request.messages] for request in requests] == [["a"]] * 3
    assert len({request.deadline for request in requests}) == 1
    assert isinstance(bench.results["a"], api.Appended)


@pytest.mark.parametrize("count", [1, 3])
async def test_an_answer_with_another_number_of_results_is_none(bench: Bench, count: int) -> None:
    """It cannot be told whose they are: each sender is told to try again, once, and all are looked up."""
    results: list[api.Appended | Code] = []
    bench.store.prepare("append", api.AppendResponse(results=[api.Appended(seq=1, at=1)] * count))
    lanes = bench.lanes()
    for identifier in "ab":
        lanes.submit(Outgoing(bench.message(identifier).send, results.append))
    await lanes.flushed()
    assert results == [UNAVAILABLE, UNAVAILABLE]
    assert bench.doubted == ["all"]


async def test_after_the_deadline_the_sender_is_told_to_try_again(bench: Bench) -> None:
    """No answer in time is ``unavailable``, which is retryable; the lane then goes on."""
    lanes = bench.lanes(deadline_seconds=0.3)
    lanes.submit(bench.message("a"))
    await lanes.flushed()
    assert bench.results["a"] is UNAVAILABLE
    assert UNAVAILABLE.retryable
    bench.store.prepare("append", stored)
    lanes.submit(bench.message("b"))
    await lanes.flushed()
    assert isinstance(bench.results["b"], api.Appended)


async def test_a_full_lane_refuses(bench: Bench) -> None:
    """What cannot wait is refused at once, and what waits is not lost."""
    first: asyncio.Future[api.AppendResponse] = asyncio.get_running_loop().create_future()
    bench.store.prepare("append", first, stored)
    lanes = bench.lanes(limit=2)
    assert lanes.submit(bench.message("a"))
    await bench.store.changed.wait()
    assert [lanes.submit(bench.message(identifier)) for identifier in "bcd"] == [True, True, False]
    first.set_result(api.AppendResponse(results=[api.Appended(seq=1, at=1)]))
    await lanes.flushed()
    assert set(bench.results) == {"a", "b", "c"}


async def test_a_refused_batch_is_taken_apart(bench: Bench) -> None:
    """One message that the store does not accept does not take the others with it."""

    def judge(request: api.AppendRequest) -> api.AppendResponse | ParleyError:
        return ParleyError(MALFORMED) if any(send.id == "b" for send in request.messages) else stored(request)

    first: asyncio.Future[api.AppendResponse] = asyncio.get_running_loop().create_future()
    bench.store.prepare("append", first, *[judge] * 4)
    lanes = bench.lanes()
    lanes.submit(bench.message("first"))
    await bench.store.changed.wait()
    for identifier in "abc":
        lanes.submit(bench.message(identifier))
    first.set_result(api.AppendResponse(results=[api.Appended(seq=1, at=1)]))
    await lanes.flushed()
    assert bench.results["b"] is INTERNAL
    assert all(isinstance(bench.results[identifier], api.Appended) for identifier in ("a", "c"))


async def test_lanes_do_not_wait_for_each_other(bench: Bench) -> None:
    """A sender is always in the same lane; another lane's batch in flight does not hold it up."""
    stuck: asyncio.Future[api.AppendResponse] = asyncio.get_running_loop().create_future()

    def answer(request: api.AppendRequest) -> Any:
        return stuck if request.messages[0].from_ == "user-0" else stored(request)

    bench.store.prepare("append", *[answer] * 50)
    lanes = bench.lanes(count=4)
    for number in range(40):
        lanes.submit(bench.message(f"m{number}", sender=f"user-{number}"))
    async with asyncio.timeout(5):
        while len(bench.results) < 20:
            bench.store.changed.clear()
            await bench.store.changed.wait()
            await asyncio.sleep(0)
    assert "m0" not in bench.results
    stuck.set_result(
        api.AppendResponse(
            results=[api.Appended(seq=1, at=1)] * len(bench.store.requests("append")[0].messages)
        )
    )


async def test_an_unexpected_failure_does_not_end_the_lane(bench: Bench) -> None:
    """Its senders are told to try again, and the next batch goes its way."""
    bench.store.prepare("append", RuntimeError("unexpected"), stored)
    lanes = bench.lanes()
    lanes.submit(bench.message("a"))
    await lanes.flushed()
    lanes.submit(bench.message("b"))
    await lanes.flushed()
    assert bench.results["a"] is INTERNAL
    assert isinstance(bench.results["b"], api.Appended)


async def test_deliveries_come_with_the_answer(bench: Bench) -> None:
    """A lane asks for its gateway's items and hands them on before it tells the senders."""
    nudge = api.Nudge("alice", "epoch", 1)
    seen: list[int] = []

    def answer(request: api.AppendRequest) -> api.AppendResponse:
        assert request.inline == ["g1"]
        return api.AppendResponse(results=stored(request).results, items={"g1": [nudge]})

    bench.store.prepare("append", answer)
    lanes = bench.lanes()
    message = bench.message("a")
    message.finish = lambda _: seen.append(len(bench.items))
    lanes.submit(message)
    await lanes.flushed()
    assert bench.items == [nudge]
    assert seen == [1]


async def test_users_of_a_batch_that_is_refused_as_late_are_doubted(bench: Bench) -> None:
    """What was stored before the deadline came is looked up for both users of each message."""
    bench.store.prepare("append", ParleyError(LATE))
    lanes = bench.lanes()
    lanes.submit(bench.message("a"))
    await lanes.flushed()
    assert bench.doubted == ["alice", "bob"]


async def test_everybody_is_doubted_after_a_batch_that_is_given_up(bench: Bench) -> None:
    """The answer would have brought deliveries of other gateways' messages too."""
    lanes = bench.lanes(deadline_seconds=0.05)
    lanes.submit(bench.message("a"))
    await lanes.flushed()
    assert bench.doubted == ["all"]


@pytest.mark.parametrize("second", [stored, ParleyError(LATE), api.AppendResponse(results=[])])
async def test_everybody_is_doubted_after_an_answer_that_was_lost(bench: Bench, second: Any) -> None:
    """Also when the repeat is answered: it does not bring what was for others."""
    bench.store.prepare("append", ParleyError(UNAVAILABLE), second)
    lanes = bench.lanes()
    lanes.submit(bench.message("a"))
    await lanes.flushed()
    assert bench.doubted == ["all"]


async def test_users_of_a_message_that_failed_alone_are_doubted(bench: Bench) -> None:
    """A server of a cluster that hung may store it after all; what will not be stored is no cause."""
    results = [
        api.Appended(failure=api.Failure(code="unavailable", message="", retryable=True)),
        api.Appended(failure=api.Failure(code="blocked", message="", retryable=False)),
        api.Appended(seq=1, at=1),
    ]
    bench.store.prepare("append", api.AppendResponse(results=results))
    lanes = bench.lanes()
    for identifier, sender in (("1", "alice"), ("2", "carol"), ("3", "dave")):
        lanes.submit(bench.message(identifier, sender))
    await eventually(lambda: len(bench.results) == 3)
    assert bench.doubted == ["alice", "bob"]


async def test_nobody_is_doubted_without_a_cause(bench: Bench) -> None:
    """A batch that is answered at once costs nothing more."""
    bench.store.prepare("append", stored)
    lanes = bench.lanes()
    lanes.submit(bench.message("a"))
    await lanes.flushed()
    assert bench.doubted == []


async def test_many_answers_that_are_lost_are_one_doubt_and_one_in_the_end(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lost attempt may still be carried out until its deadline: then all are looked up again, once."""
    monkeypatch.setattr(module, "MARGIN_MS", 0)
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.0)
    monkeypatch.setattr(module, "LOOK_UP_SECONDS", 1.0)
    bench.store.prepare("append", *[ParleyError(UNAVAILABLE), stored] * 4)
    lanes = bench.lanes(deadline_seconds=0.5)
    for identifier in "abcd":
        lanes.submit(bench.message(identifier))
        await lanes.flushed()
    early = list(bench.doubted)
    await eventually(lambda: len(bench.doubted) > 1)
    await asyncio.sleep(0.1)  # time for more, were there any to come
    assert (early, bench.doubted) == (["all"], ["all", "all"])


async def test_a_lane_collects_as_long_as_the_store_asks(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes within the pause that an answer asked for travels together."""
    monkeypatch.setattr(module, "PACE_SECONDS", 0.0)

    def answer(request: api.AppendRequest) -> api.AppendResponse:
        return api.AppendResponse(results=stored(request).results, pause=200)

    bench.store.prepare("append", answer, answer)
    lanes = bench.lanes()
    lanes.submit(bench.message("a"))
    await lanes.flushed()
    for identifier in "bcd":
        lanes.submit(bench.message(identifier))
        for _ in range(10):
            await asyncio.sleep(0)  # turns in which a lane without a pause would have sent
    await lanes.flushed()
    batches = [[send.id for send in request.messages] for request in bench.store.requests("append")]
    assert batches == [["a"], ["b", "c", "d"]]
