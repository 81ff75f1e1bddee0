"""Joining the batches of several gateways: who waits, and who fails with whom."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from parley_shared import api
from parley_shared.errors import LATE, MALFORMED, UNAVAILABLE, Code, ParleyError
from parley_store import joining, pace
from parley_store.joining import Joiner

Outcome = Callable[[api.AppendRequest], Code | None]


class Backend:
    """Stores batches: notes the contents of each call, and answers each message with its content's number."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.deadlines: list[int] = []
        self.outcome: Outcome = lambda _: None

    async def append(self, request: api.AppendRequest) -> api.AppendResponse:
        """Store a batch, or fail as prepared."""
        self.calls.append([message.content for message in request.messages])
        self.deadlines.append(request.deadline)
        await asyncio.sleep(0)
        code = self.outcome(request)
        if code is not None:
            raise ParleyError(code)
        results = [api.Appended(seq=int(message.content)) for message in request.messages]
        return api.AppendResponse(results=results)


def set_pace(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Make groups begin so far apart."""
    monkeypatch.setattr(pace, "SHORTEST_SECONDS", seconds)
    monkeypatch.setattr(pace, "LONGEST_SECONDS", seconds)


@pytest.fixture(autouse=True)
def pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the pause long enough that everything a test begins together falls into it, and nothing late."""
    set_pace(monkeypatch, 0.1)
    monkeypatch.setattr(joining, "LATE", 0.0)


def batch(gateway: str, *contents: int, deadline: int = 1000) -> api.AppendRequest:
    """Make a batch."""
    sends = [
        api.Send(id=str(n), from_="a", from_name="a", to="b", content=str(n), pid="", socket="")
        for n in contents
    ]
    return api.AppendRequest(gateway=gateway, deadline=deadline, messages=sends)


async def seqs(joiner: Joiner, request: api.AppendRequest) -> list[int] | Code:
    """Store a batch; returns its results, or why it failed."""
    try:
        return [result.seq for result in (await joiner.append(request)).results]
    except ParleyError as error:
        return error.code


async def test_the_first_does_not_wait_and_the_next_go_together() -> None:
    """After a pause a batch is stored at once; those that follow it closely are stored in one go."""
    backend = Backend()
    joiner = Joiner(backend.append)
    assert await seqs(joiner, batch("g1", 1)) == [1]
    answers = await asyncio.gather(
        *[seqs(joiner, request) for request in (batch("g1", 2, 3), batch("g2", 4), batch("g3", 5, 6))]
    )
    assert answers == [[2, 3], [4], [5, 6]]
    assert backend.calls == [["1"], ["2", "3", "4", "5", "6"]]


async def test_a_group_holds_each_message_as_it_was_sent() -> None:
    """Nothing of a message is lost when its batch is joined with another, nor which gateways want items."""
    stored: list[api.AppendRequest] = []

    async def append(request: api.AppendRequest) -> api.AppendResponse:
        stored.append(request)
        return api.AppendResponse(results=[api.Appended() for _ in request.messages])

    def sent(number: int) -> api.AppendRequest:
        send = api.Send(
            id=f"id-{number}",
            from_=f"from-{number}",
            from_name=f"name-{number}",
            to=f"to-{number}",
            content=f"content-{number}",
            pid=f"pid-{number}",
            socket=f"socket-{number}",
        )
        return api.AppendRequest(gateway="g", deadline=1000, messages=[send], inline=[f"g{number}"])

    joiner = Joiner(append)
    await joiner.append(batch("g1", 1))
    await asyncio.gather(*[joiner.append(sent(number)) for number in (2, 3)])
    assert stored[1].messages == [*sent(2).messages, *sent(3).messages]
    assert stored[1].inline == ["g2", "g3"]


async def test_a_group_has_the_earliest_deadline() -> None:
    """Nothing of a group is stored after the deadline of any of its batches."""
    backend = Backend()
    joiner = Joiner(backend.append)
    await seqs(joiner, batch("g1", 1))
    await asyncio.gather(
        seqs(joiner, batch("g1", 2, deadline=700)), seqs(joiner, batch("g2", 3, deadline=500))
    )
    assert backend.deadlines == [1000, 500]


async def test_a_group_has_a_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not fit into a group begins another."""
    monkeypatch.setattr(joining, "LIMIT", 3)
    backend = Backend()
    joiner = Joiner(backend.append)
    await seqs(joiner, batch("g1", 1))
    requests = (batch("g1", 2, 3), batch("g2", 4), batch("g3", 5, 6))
    assert await asyncio.gather(*[seqs(joiner, each) for each in requests]) == [[2, 3], [4], [5, 6]]
    assert sorted(backend.calls[1:]) == [["2", "3", "4"], ["5", "6"]]


async def test_redis_away_fails_all_alike() -> None:
    """When the store cannot store, every batch of the group learns it, and nothing is tried again."""
    backend = Backend()
    joiner = Joiner(backend.append)
    await seqs(joiner, batch("g1", 1))
    backend.outcome = lambda _: UNAVAILABLE
    answers = await asyncio.gather(*[seqs(joiner, batch(f"g{n}", n)) for n in (2, 3)])
    assert answers == [UNAVAILABLE, UNAVAILABLE]
    assert len(backend.calls) == 2


async def test_a_late_batch_makes_no_other_late() -> None:
    """When the earliest deadline of a group has come, each batch is tried alone with its own."""
    backend = Backend()
    joiner = Joiner(backend.append)
    await seqs(joiner, batch("g1", 1))
    backend.outcome = lambda request: LATE if request.deadline < 600 else None
    answers: list[list[int] | Code] = list(
        await asyncio.gather(
            seqs(joiner, batch("g1", 2, deadline=500)), seqs(joiner, batch("g2", 3, deadline=700))
        )
    )
    assert answers == [LATE, [3]]


async def test_a_fault_stays_with_its_batch() -> None:
    """A batch that makes the store fail unexpectedly fails alone, with the store's exception."""
    backend = Backend()
    joiner = Joiner(backend.append)
    await seqs(joiner, batch("g1", 1))

    def broken(request: api.AppendRequest) -> None:
        if any(message.content == "2" for message in request.messages):
            raise ZeroDivisionError

    backend.outcome = broken
    bad, good = await asyncio.gather(
        joiner.append(batch("g1", 2)), seqs(joiner, batch("g2", 3)), return_exceptions=True
    )
    assert isinstance(bad, ZeroDivisionError)
    assert good == [3]


async def test_a_group_whose_leader_is_ended_is_answered() -> None:
    """Those who joined a request that is cancelled are told to try again; the next group is not held up."""
    backend = Backend()
    joiner = Joiner(backend.append)
    await seqs(joiner, batch("g1", 1))
    leader = asyncio.create_task(seqs(joiner, batch("g1", 2)))
    await asyncio.sleep(0)
    follower = asyncio.create_task(seqs(joiner, batch("g2", 3)))
    await asyncio.sleep(0)
    leader.cancel()
    assert await follower == UNAVAILABLE
    assert await seqs(joiner, batch("g2", 4)) == [4]


async def test_a_follower_who_leaves_takes_nobody_along() -> None:
    """A cancelled request changes nothing for those it was joined with."""
    backend = Backend()
    joiner = Joiner(backend.append)
    await seqs(joiner, batch("g1", 1))
    leader = asyncio.create_task(seqs(joiner, batch("g1", 2)))
    await asyncio.sleep(0)
    follower = asyncio.create_task(seqs(joiner, batch("g2", 3)))
    await asyncio.sleep(0)
    follower.cancel()
    assert await leader == [2]


async def test_a_refused_batch_is_refused_alone() -> None:
    """A refusal that no repeat can change meets only the batch that is refused."""
    backend = Backend()
    joiner = Joiner(backend.append)
    await seqs(joiner, batch("g1", 1))
    backend.outcome = lambda request: MALFORMED if request.messages[0].content == "2" else None
    answers = await asyncio.gather(*[seqs(joiner, batch("g", n)) for n in (2, 3)])
    assert answers == [MALFORMED, [3]]


async def test_each_gateway_gets_its_own_items() -> None:
    """The items that come with a group's answer go to the gateways they are for, each once."""
    nudges = {name: [api.Nudge(name, "epoch", 1)] for name in ("g1", "g2")}

    async def append(request: api.AppendRequest) -> api.AppendResponse:
        results = [api.Appended(seq=1) for _ in request.messages]
        items: dict[str, list[api.StreamItem]] = {name: [*nudges[name]] for name in set(request.inline)}
        return api.AppendResponse(results=results, items=items)

    def inline(name: str, content: int) -> api.AppendRequest:
        request = batch(name, content)
        request.inline = [name]
        return request

    joiner = Joiner(append)
    await joiner.append(batch("g1", 1))
    requests = (inline("g1", 2), batch("g3", 3), inline("g2", 4), inline("g1", 5))
    answers = await asyncio.gather(*[joiner.append(request) for request in requests])
    assert [answer.items for answer in answers] == [{"g1": nudges["g1"]}, {}, {"g2": nudges["g2"]}, {}]


async def test_answers_tell_when_the_next_group_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway learns how long it should collect, from the answer to a lone batch and from a group's."""
    joiner = Joiner(Backend().append)
    first = await joiner.append(batch("g1", 1))
    assert 0 <= first.pause < 100
    set_pace(monkeypatch, 600.0)
    answers = await asyncio.gather(*[joiner.append(batch(name, 2)) for name in ("g1", "g2")])
    assert all(1000 < answer.pause < 600_000 for answer in answers)
    monkeypatch.setattr(joining, "LEAD_SECONDS", 1000.0)
    assert (await Joiner(Backend().append).append(batch("g1", 1))).pause == 0


async def used_by_two() -> tuple[Backend, Joiner]:
    """Make a joiner whose last group had the batches of two gateways."""
    backend = Backend()
    joiner = Joiner(backend.append)
    await seqs(joiner, batch("g1", 1))
    await asyncio.gather(*[seqs(joiner, batch(name, 2)) for name in ("g1", "g2")])
    return backend, joiner


async def begin(joiner: Joiner, request: api.AppendRequest) -> asyncio.Task[list[int] | Code]:
    """Hand a batch in, and give the joiner time to store it if it is going to at once."""
    task = asyncio.create_task(seqs(joiner, request))
    for _ in range(10):
        await asyncio.sleep(0)
    return task


async def test_a_group_begins_when_all_have_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shortly before its time a group begins with the last of those who took part lately, not at its time."""
    backend, joiner = await used_by_two()
    # From now on a group's time is an hour away, and always near.
    set_pace(monkeypatch, 36_000.0)
    monkeypatch.setattr(joining, "LEAD_SECONDS", 36_000.0)
    await asyncio.gather(*[seqs(joiner, batch(name, 3)) for name in ("g1", "g2")])
    alone = await begin(joiner, batch("g1", 4))
    assert not alone.done()
    assert await seqs(joiner, batch("g2", 5)) == [5]
    assert await alone == [4]
    assert backend.calls[3:] == [["4", "5"]]


async def test_a_gateway_that_has_gone_is_waited_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """After ten groups without it a group no longer waits for its batch."""
    set_pace(monkeypatch, 0.01)
    _, joiner = await used_by_two()
    monkeypatch.setattr(joining, "LEAD_SECONDS", 36_000.0)
    for number in range(3, 12):
        await seqs(joiner, batch("g1", number))
    set_pace(monkeypatch, 36_000.0)
    # The last that waits, as its time is near; the next one's is an hour away.
    assert await seqs(joiner, batch("g1", 12)) == [12]
    assert await seqs(joiner, batch("g1", 13)) == [13]


async def test_what_just_misses_a_group_does_not_wait_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch that comes right after a group has begun is stored alone; one that comes later waits."""
    backend = Backend()
    joiner = Joiner(backend.append)
    set_pace(monkeypatch, 36_000.0)
    monkeypatch.setattr(joining, "LATE", 0.25)
    await joiner.append(batch("g1", 1))
    late = await joiner.append(batch("g2", 2))
    assert backend.calls == [["1"], ["2"]]
    assert late.pause > 1000, "it is told when the others' next group begins"
    monkeypatch.setattr(joining, "LATE", 0.0)
    waiting = await begin(joiner, batch("g2", 3))
    assert not waiting.done()
    waiting.cancel()


async def test_one_smaller_group_makes_nobody_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a group for which a gateway had nothing to send, the next one waits for that gateway again."""
    set_pace(monkeypatch, 0.01)
    backend, joiner = await used_by_two()
    set_pace(monkeypatch, 36_000.0)
    await seqs(joiner, batch("g1", 3))
    monkeypatch.setattr(joining, "LEAD_SECONDS", 36_000.0)
    alone = await begin(joiner, batch("g1", 4))
    assert not alone.done()
    assert await seqs(joiner, batch("g2", 5)) == [5]
    assert await alone == [4]
    assert backend.calls[-1] == ["4", "5"]
