"""The timer wheel."""

from __future__ import annotations

import asyncio

import pytest

from parley_gateway.sio.wheel import Wheel

TICK = 0.002


class Item:
    """Notes when it is called, and asks to be called again ``again`` times."""

    def __init__(self, calls: list[str], name: str, again: int = 0) -> None:
        self.slot: int | None = None
        self.done = asyncio.Event()
        self._calls = calls
        self._name = name
        self._again = again

    def on_timer(self, now: float) -> float | None:
        """Note the call."""
        self._calls.append(self._name)
        if self._again:
            self._again -= 1
            return now + TICK
        self.done.set()
        return None


class Broken:
    """Fails when its time comes."""

    slot: int | None = None

    def on_timer(self, now: float) -> float | None:
        """Fail."""
        raise RuntimeError(f"at {now}")


async def test_items_come_in_the_order_of_their_times() -> None:
    """An item of a later tick is called after one of an earlier tick, whatever the order of adding."""
    wheel: Wheel[Item] = Wheel(TICK)
    calls: list[str] = []
    now = asyncio.get_running_loop().time()
    late, early = Item(calls, "late"), Item(calls, "early")
    wheel.add(late, now + 10 * TICK)
    wheel.add(early, now + 2 * TICK)
    await late.done.wait()
    assert calls == ["early", "late"]


async def test_an_item_may_ask_to_be_called_again() -> None:
    """The time that an item returns is its next one."""
    wheel: Wheel[Item] = Wheel(TICK)
    calls: list[str] = []
    item = Item(calls, "x", again=3)
    wheel.add(item, 0.0)  # a time that has passed means the next tick
    await item.done.wait()
    assert calls == ["x"] * 4
    assert item.slot is None


async def test_a_discarded_item_is_not_called() -> None:
    """Taking an item out is enough, also from inside the turn of another item of the same tick."""
    wheel: Wheel[Item] = Wheel(TICK)
    calls: list[str] = []
    gone, stays = Item(calls, "gone"), Item(calls, "stays")
    when = asyncio.get_running_loop().time() + 3 * TICK
    wheel.add(gone, when)
    wheel.add(stays, when)
    wheel.discard(gone)
    wheel.discard(gone)
    await stays.done.wait()
    assert calls == ["stays"]


async def test_items_of_one_tick_may_discard_each_other() -> None:
    """The first of two items that remove each other is the only one called."""
    wheel: Wheel[Rival] = Wheel(TICK)
    calls: list[Rival] = []
    done = asyncio.Event()
    one, two = Rival(wheel, calls, done), Rival(wheel, calls, done)
    one.other, two.other = two, one
    when = asyncio.get_running_loop().time() + 3 * TICK
    wheel.add(one, when)
    wheel.add(two, when)
    await done.wait()
    await asyncio.sleep(0)
    assert len(calls) == 1


class Rival:
    """Takes another item out of the wheel when its own time comes."""

    def __init__(self, wheel: Wheel[Rival], calls: list[Rival], done: asyncio.Event) -> None:
        self.slot: int | None = None
        self.other: Rival = self
        self._wheel = wheel
        self._calls = calls
        self._done = done

    def on_timer(self, now: float) -> float | None:  # noqa: ARG002
        """Remove the other."""
        self._calls.append(self)
        self._wheel.discard(self.other)
        self._done.set()
        return None


async def test_a_broken_item_does_not_stop_the_clock(caplog: pytest.LogCaptureFixture) -> None:
    """The failure is logged, and the others get their turn."""
    wheel: Wheel[Item | Broken] = Wheel(TICK)
    fine = Item([], "fine")
    when = asyncio.get_running_loop().time()
    wheel.add(Broken(), when)
    wheel.add(fine, when + 3 * TICK)
    await fine.done.wait()
    assert "a timer failed" in caplog.text


async def test_closing_calls_nobody_any_more() -> None:
    """A closed wheel forgets its items, and can be used again."""
    wheel: Wheel[Item] = Wheel(TICK)
    calls: list[str] = []
    wheel.add(item := Item(calls, "forgotten"), 0.0)
    wheel.close()
    assert item.slot is None
    wheel.add(item := Item(calls, "again"), 0.0)
    await item.done.wait()
    assert calls == ["again"]
