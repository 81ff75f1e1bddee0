"""Running a service as a process: the event loop, signals, and one clear line for a broken start."""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Final

import uvloop

from parley_shared.config import ConfigError

GARBAGE_THRESHOLD: Final = 20_000
"""New objects until the youngest are searched for cycles (Python's default: 700). Hardly anything here makes
cycles, and each connection and user keeps objects alive that every full search would visit again."""


class StartError(RuntimeError):
    """The service cannot start; the text is one clear line."""


class Stop:
    """The process was asked to end: ``requested`` after the first signal, ``now`` after the second."""

    def __init__(self) -> None:
        self.requested = asyncio.Event()
        self.now = asyncio.Event()

    def signal(self) -> None:
        """Note one more SIGTERM or SIGINT."""
        (self.now if self.requested.is_set() else self.requested).set()


def run(main: Callable[[Stop], Awaitable[None]]) -> int:
    """Run ``main`` on uvloop until it returns; SIGTERM and SIGINT reach it through `Stop`.

    Returns:
        The exit status: 0, or 1 after one line on standard error when the start failed.
    """
    # What was imported lives for ever: no search has to visit it.
    gc.freeze()
    gc.set_threshold(GARBAGE_THRESHOLD)

    async def supervised() -> None:
        stop = Stop()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.signal)
        await main(stop)

    try:
        uvloop.run(supervised())
    except (ConfigError, StartError) as error:
        sys.stderr.write(f"parley: {error}\n")
        return 1
    return 0
