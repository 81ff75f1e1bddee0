"""One timer for all sessions: a timer wheel with O(1) add and remove, in place of a task for each."""

from __future__ import annotations

import asyncio
import logging
from typing import Generic, Protocol, TypeVar

logger = logging.getLogger(__name__)


class Timed(Protocol):
    """Something a wheel can hold.

    Attributes:
        slot: The wheel's own note of where it is; None when it is nowhere.
    """

    slot: int | None

    def on_timer(self, now: float) -> float | None:
        """Do what is due and return when to be called next (event loop time), or None for never."""


T = TypeVar("T", bound=Timed)


class Wheel(Generic[T]):
    """Calls `Timed.on_timer` of its items up to one tick before the time they asked for.

    Args:
        tick_seconds: The precision. One timer of the event loop runs per tick while there are items.
    """

    def __init__(self, tick_seconds: float) -> None:
        self.tick_seconds = tick_seconds
        self._slots: dict[int, set[T]] = {}
        self._next = 0  # the next slot to fire
        self._handle: asyncio.TimerHandle | None = None

    def add(self, item: T, when: float) -> None:
        """Hold an item until ``when`` (event loop time)."""
        slot = int(when / self.tick_seconds)
        if self._handle is None:
            loop = asyncio.get_running_loop()
            self._next = int(loop.time() / self.tick_seconds) + 1
            self._handle = loop.call_at(self._next * self.tick_seconds, self._fire)
        item.slot = slot = max(slot, self._next)
        self._slots.setdefault(slot, set()).add(item)

    def discard(self, item: T) -> None:
        """Let go of an item; nothing happens when the wheel does not hold it."""
        if item.slot is not None:
            self._slots.get(item.slot, set()).discard(item)  # a slot that is firing is no longer there
            item.slot = None

    def close(self) -> None:
        """Stop the timer and let go of all items."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        for items in self._slots.values():
            for item in items:
                item.slot = None
        self._slots.clear()

    def _fire(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        # The loop may have been late by several ticks: all that is due fires now.
        while self._next * self.tick_seconds <= now:
            slot = self._next
            self._next += 1
            for item in self._slots.pop(slot, ()):
                if item.slot != slot:
                    continue  # another item's turn has taken this one out
                item.slot = None
                try:
                    when = item.on_timer(now)
                except Exception:
                    # One broken item must not stop the clock of all others.
                    logger.exception("a timer failed")
                else:
                    if when is not None:
                        self.add(item, when)
        self._handle = loop.call_at(self._next * self.tick_seconds, self._fire) if self._slots else None
