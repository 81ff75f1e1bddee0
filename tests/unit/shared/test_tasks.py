"""Background tasks: named, owned, cancelled and awaited; a failure is logged and stops nobody else."""

from __future__ import annotations

import asyncio
import logging

import pytest

from parley_shared.tasks import TaskGroup, forever


async def test_closing_cancels_and_waits() -> None:
    """After `close`, nothing of the group runs."""
    group = TaskGroup("group")
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    task = group.start(work(), "work")
    assert task.get_name() == "group.work"
    await asyncio.sleep(0)
    await group.close()
    assert ended.is_set()
    with pytest.raises(RuntimeError, match="closed"):
        group.start(work(), "late")


async def test_closing_insists(monkeypatch: pytest.MonkeyPatch) -> None:
    """A task in which a library has swallowed the cancellation is cancelled again."""
    monkeypatch.setattr("parley_shared.tasks.AGAIN_SECONDS", 0.01)
    group = TaskGroup("group")
    swallowed = asyncio.Event()

    async def stubborn() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            swallowed.set()
        await asyncio.Event().wait()

    group.start(stubborn(), "stubborn")
    await asyncio.sleep(0)
    await asyncio.wait_for(group.close(), 5)
    assert swallowed.is_set()


async def test_a_failure_is_logged_with_the_task(caplog: pytest.LogCaptureFixture) -> None:
    """And the group's other tasks go on."""
    group = TaskGroup("group")

    async def fail() -> None:
        raise ValueError("broken")

    failing = group.start(fail(), "fail")
    other = group.start(asyncio.Event().wait(), "other")
    with caplog.at_level(logging.ERROR):
        await asyncio.wait({failing})
    assert [record.__dict__["task"] for record in caplog.records] == ["group.fail"]
    assert not other.done()
    await group.close()


async def test_a_periodic_step_that_fails_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    """The fault is logged, the next turn comes."""
    turns = asyncio.Queue[int]()
    count = 0

    async def step() -> None:
        nonlocal count
        count += 1
        turns.put_nowait(count)
        if count == 1:
            raise ValueError("once")

    task = asyncio.create_task(forever("step", step, 0.001))
    async with asyncio.timeout(5):
        assert [await turns.get() for _ in range(3)] == [1, 2, 3]
    task.cancel()
    assert [record.__dict__["task"] for record in caplog.records] == ["step"]
