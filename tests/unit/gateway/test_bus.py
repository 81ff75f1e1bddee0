"""Reading a stream: when it waits between reads, and what it does with entries that are wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from parley_gateway.bus import Entries, StreamReader
from tests.harness.waiting import eventually


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


async def follow(
    script: Script,
    on_entry: Callable[[int, dict[bytes, bytes]], None],
    pause: float = 0.0,
    on_gap: Callable[[], None] = lambda: None,
) -> None:
    """Read until the script is over."""
    reader = StreamReader(
        script,
        "key",
        on_entry=on_entry,
        on_gap=on_gap,
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
    """A failing handler is logged and counts as a gap, and the reader goes on with the next entry."""
    seen: list[int] = []
    gaps: list[int] = []

    def handle(number: int, _: dict[bytes, bytes]) -> None:
        seen.append(number)
        if number == 1:
            raise ValueError(number)

    script = Script([0.0], (0, entry(1) + entry(2)))
    await follow(script, handle, on_gap=lambda: gaps.append(seen[-1]))
    assert (seen, gaps) == ([1, 2], [1])


class Log:
    """A bus over a list of numbers, whose reads can be held up."""

    def __init__(self, *numbers: int) -> None:
        self.numbers = list(numbers)
        self.asked: list[int] = []
        self.changed = asyncio.Event()

    def add(self, *numbers: int) -> None:
        """Write entries."""
        self.numbers += numbers
        self.changed.set()

    async def xread(self, key: str, after: str) -> Entries:
        """Answer with what is there, or wait for it."""
        del key
        place = int(after.partition("-")[2])
        self.asked.append(place)
        while not (found := [number for number in self.numbers if number > place]):
            self.changed.clear()
            await self.changed.wait()
        return [one for number in found for one in entry(number)]

    async def xinfo_stream(self, key: str) -> dict[str, Any]:
        """Fail: nobody asks."""
        raise NotImplementedError(key)

    async def aclose(self) -> None:
        """Do nothing."""


@pytest.mark.parametrize(
    ("loaded", "expected"),
    [
        (1, [1, 3, 4, 5]),  # the snapshot does not reach what is missing: it is not asked for again and again
        (2, [1, 3, 4, 5]),
        (3, [1, 4, 5]),
        (4, [1, 5]),
    ],
)
async def test_a_gap_that_is_made_up_for_is_waited_for(loaded: int, expected: list[int]) -> None:
    """Nothing is handled meanwhile; then it goes on from the place that was reached."""
    log = Log(1, 3, 4)
    seen: list[int] = []
    loads: list[asyncio.Future[None]] = []

    async def load() -> None:
        loads.append(asyncio.get_running_loop().create_future())
        await loads[-1]
        reader.position = loaded

    reader = StreamReader(
        log, "key", on_entry=lambda number, _: seen.append(number), on_gap=load, on_state=lambda _: None
    )
    task = asyncio.create_task(reader.run())
    await eventually(lambda: loads)
    before = list(seen)
    loads[0].set_result(None)
    log.add(5)
    await eventually(lambda: 5 in seen)
    task.cancel()
    assert (before, seen, len(loads)) == ([1], expected, 1)


async def test_a_place_that_is_set_during_a_read_is_where_it_goes_on() -> None:
    """The read under way asks from the old place: what it brings is asked for again."""
    log = Log(1, 2, 3)
    seen: list[int] = []
    reader = StreamReader(
        log,
        "key",
        on_entry=lambda number, _: seen.append(number),
        on_gap=lambda: None,
        on_state=lambda _: None,
    )
    task = asyncio.create_task(reader.run())
    await eventually(lambda: log.asked == [0, 3])
    reader.position = 1
    log.add(4)
    await eventually(lambda: 4 in seen)
    task.cancel()
    assert seen == [1, 2, 3, 2, 3, 4]
