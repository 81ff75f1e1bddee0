"""Group commit: what comes close together travels together."""

from __future__ import annotations

import asyncio

import pytest

from parley_gateway.batcher import Batcher
from parley_shared.errors import INTERNAL, ParleyError
from parley_shared.tasks import TaskGroup


async def test_a_lone_item_leaves_at_once_and_what_follows_soon_travels_together() -> None:
    """With a pace, a batch waits for it even when the one before was answered long ago."""
    batches: list[list[int]] = []

    async def send(batch: list[int]) -> list[int]:
        batches.append(batch)
        return batch

    tasks = TaskGroup("test")
    batcher = Batcher("test", send, limit=10, waiting_limit=10, tasks=tasks, pace_seconds=0.05)
    assert await batcher.submit(1) == 1
    second = batcher.submit(2)
    await asyncio.sleep(0)
    third = batcher.submit(3)

    assert (await second, await third) == (2, 3)
    assert batches == [[1], [2, 3]]
    await tasks.close()


@pytest.mark.parametrize("fault", ["raises", "too few results"])
async def test_an_unexpected_failure_of_a_batch_leaves_the_others_alone(fault: str) -> None:
    """Its waiters get an error, and what waits goes its way."""
    go = asyncio.Event()

    async def send(batch: list[int]) -> list[int]:
        if 1 not in batch:
            return batch
        await go.wait()
        if fault == "raises":
            raise ValueError("unexpected")
        return []

    tasks = TaskGroup("test")
    batcher = Batcher("test", send, limit=10, waiting_limit=10, tasks=tasks)
    first = batcher.submit(1)
    await asyncio.sleep(0)
    second = batcher.submit(2)
    go.set()
    async with asyncio.timeout(5):
        with pytest.raises(ParleyError) as failure:
            await first
        assert await second == 2
    assert failure.value.code is INTERNAL
    await tasks.close()


async def test_who_waits_when_the_owner_ends_is_not_left_waiting() -> None:
    """A batch that is cancelled ends what waits behind it too."""

    async def send(_batch: list[int]) -> list[int]:
        await asyncio.Event().wait()
        return []

    tasks = TaskGroup("test")
    batcher = Batcher("test", send, limit=1, waiting_limit=10, tasks=tasks)
    futures = [batcher.submit(1), batcher.submit(2)]
    await asyncio.sleep(0)
    await tasks.close()
    assert all(future.cancelled() for future in futures)
