"""Group commit: what comes close together travels together."""

from __future__ import annotations

import asyncio

from parley_gateway.batcher import Batcher
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
