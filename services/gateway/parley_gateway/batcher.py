"""Group commit: what arrives while one request is under way travels together in the next."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from parley_shared.errors import BUSY, INTERNAL, ParleyError
from parley_shared.tasks import TaskGroup

logger = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")


class Batcher(Generic[Item, Result]):
    """Collects items and sends them in batches, one batch in flight at a time.

    The first item leaves at once; those that come meanwhile form the next batch: latency when quiet,
    large batches when busy.

    Args:
        name: The owner's name, for its task.
        send: Carries out a batch; returns one result per item in order, or raises for all of them. It must
            not return before the outcome of the batch is decided. What it raises unexpectedly is logged, and
            ``internal`` for the waiters.
        limit: Items in one batch.
        waiting_limit: Items that may wait; more are refused with ``busy``.
        tasks: Owns the sending task.
        pace_seconds: Between the beginnings of two batches, at least.
    """

    def __init__(
        self,
        name: str,
        send: Callable[[list[Item]], Awaitable[list[Result]]],
        *,
        limit: int,
        waiting_limit: int,
        tasks: TaskGroup,
        pace_seconds: float = 0.0,
    ) -> None:
        self._name = name
        self._send = send
        self._limit = limit
        self._waiting_limit = waiting_limit
        self._tasks = tasks
        self._pace_seconds = pace_seconds
        self._began = float("-inf")
        self._waiting: deque[tuple[Item, asyncio.Future[Result]]] = deque()
        self._running = False
        self._idle = asyncio.Event()
        self._idle.set()

    async def idle(self) -> None:
        """Wait until nothing waits and nothing is in flight."""
        await self._idle.wait()

    def submit(self, item: Item) -> asyncio.Future[Result]:
        """Add an item; the future gets its result.

        Raises:
            ParleyError: ``busy`` when too many items wait.
        """
        if len(self._waiting) >= self._waiting_limit:
            raise ParleyError(BUSY)
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if not self._running:
            self._running = True
            self._idle.clear()
            self._tasks.start(self._run(), self._name)
        return future

    async def _run(self) -> None:
        try:
            while self._waiting:
                if self._pace_seconds:
                    await asyncio.sleep(max(0.0, self._began + self._pace_seconds - time.monotonic()))
                    self._began = time.monotonic()
                batch = [self._waiting.popleft() for _ in range(min(self._limit, len(self._waiting)))]
                try:
                    results = await self._send([item for item, _ in batch])
                    if len(results) != len(batch):
                        raise ValueError(f"{len(results)} results for {len(batch)} items")
                except ParleyError as error:
                    _fail(batch, error)
                except Exception:
                    # A batcher that ended here would leave what waits without an answer.
                    logger.exception("a batch failed", extra={"batcher": self._name, "size": len(batch)})
                    _fail(batch, ParleyError(INTERNAL))
                except BaseException:
                    for _, future in batch:
                        future.cancel()
                    raise
                else:
                    for (_, future), result in zip(batch, results, strict=True):
                        if not future.done():
                            future.set_result(result)
        except BaseException:
            for _, future in self._waiting:
                future.cancel()
            self._waiting.clear()
            raise
        finally:
            self._running = False
            self._idle.set()


def _fail(batch: list[tuple[Item, asyncio.Future[Result]]], error: ParleyError) -> None:
    for _, future in batch:
        if not future.done():
            future.set_exception(error)
            future.exception()  # seen: a waiter that has left must not make the loop complain
