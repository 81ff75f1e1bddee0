"""Confirmations: shared by those who wait, and refused by those who saw another life of Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any, cast

import pytest

from parley_shared.errors import UNAVAILABLE, ParleyError
from parley_shared.tasks import TaskGroup
from parley_store.redis.durability import Durability, Life, Wait
from parley_store.redis.node import Node
from parley_store.redis.topology import Topology


class FakeNode:
    """A server whose life the test sets."""

    incarnation = "one"

    async def find(self) -> None:
        """Be there."""


class FakeTopology:
    """Answers a confirmation when the test says so."""

    def __init__(self) -> None:
        self.node = FakeNode()
        self.calls = 0
        self.asked, self.go = asyncio.Event(), asyncio.Event()
        self.answers: list[Any] = [[1, 0], 1]

    def node_of(self, _tag: str) -> FakeNode:
        """Name the server."""
        return self.node

    async def confirm(self, _node: FakeNode, _life: str, _waits: object) -> list[Any]:
        """Wait for the test."""
        self.calls += 1
        self.asked.set()
        await self.go.wait()
        return self.answers


class Setting:
    """A `Durability` over a `FakeTopology`."""

    def __init__(self) -> None:
        self.topology = FakeTopology()
        self.tasks = TaskGroup("test")
        self.durability = Durability(cast("Topology", self.topology), self.tasks)
        self.durability.require([Wait(("WAITAOF", 1, 0, 100), (1, 0)), Wait(("WAIT", 1, 100), (1,))])

    def confirm(self, life: str = "one") -> asyncio.Task[None]:
        """Begin to wait."""
        return asyncio.create_task(
            self.durability.confirm({"tag": Life(cast("Node", self.topology.node), life)})
        )


async def test_who_comes_during_a_wait_shares_the_next() -> None:
    """The one under way began before their writes; all of them share a single further one."""
    setting = Setting()
    first = setting.confirm()
    await setting.topology.asked.wait()
    others = [setting.confirm() for _ in range(10)]

    setting.topology.go.set()
    await asyncio.gather(first, *others)

    assert setting.topology.calls == 2
    await setting.tasks.close()


@pytest.mark.parametrize("answers", [[[0, 0], 1], [[1, 0], 0]])
async def test_a_wait_that_ran_out_confirms_nothing(answers: list[Any]) -> None:
    """Redis answers a time-out with smaller counts, not with an error."""
    setting = Setting()
    setting.topology.answers = answers
    setting.topology.go.set()

    with pytest.raises(ParleyError) as raised:
        await setting.confirm()

    assert raised.value.code is UNAVAILABLE
    await setting.tasks.close()


async def test_another_life_confirms_nothing() -> None:
    """What was written in an earlier life may be lost, though the later one confirms."""
    setting = Setting()
    setting.topology.go.set()

    good, bad = setting.confirm("one"), setting.confirm("before")
    await good
    with pytest.raises(ParleyError) as raised:
        await bad

    assert raised.value.code is UNAVAILABLE
    # A server that is away, or that was, is not waited for.
    with pytest.raises(ParleyError):
        await setting.confirm("before")
    assert setting.topology.calls == 1
    await setting.tasks.close()


async def test_without_a_promise_nothing_is_waited_for() -> None:
    """Under DURABILITY=fast no server is asked."""
    setting = Setting()
    setting.durability.require([])

    lives = await setting.durability.lives(["a", "b"])
    await setting.durability.confirm(lives)

    assert lives == {}
    assert setting.topology.calls == 0


async def test_a_life_is_examined_before_it_keeps_a_promise() -> None:
    """A server that was started anew is looked at first; one that cannot keep it begins nothing."""
    setting = Setting()
    node, durability = setting.topology.node, setting.durability
    examined: list[str] = []

    async def examine(nodes: Collection[Node]) -> None:
        examined.extend(each.incarnation for each in nodes)
        if node.incarnation == "two":
            durability.require([], {"one", "two"})

    durability.examine = examine
    durability.require([], {"one"})
    lives = await durability.lives(["a"])
    await durability.confirm(lives)
    assert examined == []

    node.incarnation = "two"
    assert [life.name for life in (await durability.lives(["a"])).values()] == ["two"]
    # Nothing has to be waited for, but the life that was noted is over.
    with pytest.raises(ParleyError):
        await durability.confirm(lives)

    node.incarnation = "three"
    with pytest.raises(ParleyError) as raised:
        await durability.lives(["a"])
    assert raised.value.code is UNAVAILABLE
    assert examined == ["two", "three"]
    assert setting.topology.calls == 0
    await setting.tasks.close()
