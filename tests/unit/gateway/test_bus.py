"""Reading a stream: when it waits between reads, and what it does with entries that are wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from parley_gateway.bus import Entries, StreamReader


class Script:
    """A bus that answers reads as prepared, each at a time of its own, and then waits for ever."""

    def __init__(self, clock: list[float], *reads: tuple[float, Entries]) -> None:
        self.clock = clock
        self.reads = list(reads)
        self.over = asyncio.Event()

    async def xread(self, key: str, after: str) -> Entries:
        """Answer the next read."""
        del key, after
        if not self.reads:
            self.over.set()
            await asyncio.Event().wait()
        self.clock[0], entries = self.reads.pop(0)
        return entries

    async def xinfo_stream(self, key: str) -> dict[str, Any]:
        """Fail: nobody asks."""
        raise NotImplementedError(key)

    async def aclose(self) -> None:
        """Do nothing."""


async def follow(script: Script, on_entry: Callable[[int, dict[bytes, bytes]], None], pause: float) -> None:
    """Read until the script is over."""
    reader = StreamReader(
        script,
        "key",
        on_entry=on_entry,
        on_gap=lambda: None,
        on_state=lambda _: None,
        pause_seconds=pause,
    )
    task = asyncio.create_task(reader.run())
    await script.over.wait()
    task.cancel()


def entry(number: int) -> Entries:
    """Make the answer of a read: one entry."""
    return [(b"0-%d" % number, [b"d", b"%d" % number])]


async def test_only_a_busy_stream_is_read_in_gulps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader pauses after a read that came right after the one before, and never after a lone one."""
    clock = [0.0]
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr("parley_gateway.bus.time.monotonic", lambda: clock[0])
    monkeypatch.setattr("parley_gateway.bus.asyncio.sleep", sleep)
    script = Script(clock, (10, entry(1)), (20, entry(2)), (20.5, entry(3)), (21, entry(4)), (40, entry(5)))
    seen: list[int] = []
    await follow(script, lambda number, _: seen.append(number), pause=1.0)
    assert seen == [1, 2, 3, 4, 5]
    assert pauses == [1.0, 1.0]


async def test_an_entry_that_cannot_be_handled_stops_no_other() -> None:
    """A failing handler is logged, and the reader goes on with the next entry."""
    seen: list[int] = []

    def handle(number: int, _: dict[bytes, bytes]) -> None:
        seen.append(number)
        if number == 1:
            raise ValueError(number)

    await follow(Script([0.0], (0, entry(1) + entry(2))), handle, pause=0)
    assert seen == [1, 2]
