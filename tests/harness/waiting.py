"""Waiting for what must become true."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable


async def eventually(condition: Callable[[], object], timeout_seconds: float = 15, what: str = "") -> None:
    """Ask until the answer is true.

    For states of other processes, where there is no event to await. An AssertionError in the condition counts
    as "not yet" and is what is reported in the end.

    Args:
        condition: Returns something true, or a coroutine that does.
        timeout_seconds: How long to go on.
        what: Said when it has not become true.

    Raises:
        AssertionError: It has not become true in time.
    """
    deadline = time.monotonic() + timeout_seconds
    failure: AssertionError | None = None
    answer: object = None
    while True:
        try:
            answer = condition()
            if inspect.isawaitable(answer):
                answer = await answer
            if answer:
                return
        except AssertionError as error:
            failure = error
        if time.monotonic() > deadline:
            message = f"{what or 'the condition'} is not true after {timeout_seconds:g} s (last: {answer!r})"
            raise AssertionError(message) from failure
        await asyncio.sleep(0.02)
