"""Background tasks that are named, owned, cancelled and awaited."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

logger = logging.getLogger(__name__)

AGAIN_SECONDS: Final = 1.0
"""A task that has not ended so long after it was cancelled is cancelled again."""


class TaskGroup:
    """Owns the background tasks of one component and ends them with it.

    Unlike `asyncio.TaskGroup` it outlives the scope that made it, and a task that fails is logged without
    ending the others.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closed = False

    def start(self, coroutine: Coroutine[Any, Any, object], name: str) -> asyncio.Task[Any]:
        """Start a task under this owner; its failure is logged with its name.

        Raises:
            RuntimeError: The group has been closed.
        """
        if self._closed:
            coroutine.close()
            raise RuntimeError(f"the task group {self._name} is closed")
        task = asyncio.create_task(coroutine, name=f"{self._name}.{name}")
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("background task failed", extra={"task": task.get_name()}, exc_info=error)

    async def close(self) -> None:
        """Cancel all tasks and wait until they have ended."""
        self._closed = True
        while tasks := [task for task in self._tasks if not task.done()]:
            for task in tasks:
                task.cancel()
            # Now and then a library takes the cancellation for its own time-out: then the task is told again.
            await asyncio.wait(tasks, timeout=AGAIN_SECONDS)


async def forever(name: str, step: Callable[[], Awaitable[object]], pause_seconds: float) -> None:
    """Run ``step`` again and again with a pause between; a failing step is logged and tried again."""
    while True:
        try:
            await step()
        except asyncio.CancelledError:
            raise
        except Exception:
            # The loop is what recovers from a fault; the log is how somebody learns of it.
            logger.exception("periodic task failed", extra={"task": name})
        await asyncio.sleep(pause_seconds)
