"""What happened to a client, in order, and waiting for the next of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

WAIT_SECONDS: Final = 15.0


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that happened.

    Attributes:
        kind: ``connect``, ``disconnect``, ``connect_error``, ``event``, ``upgrade`` or ``close``.
        name: The event's name, for ``event``.
        args: The event's arguments, the offset among them.
        details: What else the client said of it (``recovered``, ``sid``, ``transport``, ``reason``).
    """

    kind: str
    name: str = ""
    args: tuple[Any, ...] = ()
    details: dict[str, Any] = field(default_factory=dict)


class Journal:
    """The entries of one client."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.entries: list[Entry] = []
        self._changed = asyncio.Event()

    def add(self, entry: Entry) -> None:
        """Append an entry and wake those who wait for one."""
        self.entries.append(entry)
        self._changed.set()

    async def wait(
        self, matches: Callable[[Entry], bool], *, after: int = 0, timeout_seconds: float = WAIT_SECONDS
    ) -> Entry:
        """Wait for the first entry that matches, from the place ``after`` on.

        Raises:
            AssertionError: There is none in time; the text shows what there is.
        """
        place = after
        try:
            async with asyncio.timeout(timeout_seconds):
                while True:
                    while place < len(self.entries):
                        entry = self.entries[place]
                        place += 1
                        if matches(entry):
                            return entry
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            shown = "\n".join(f"  {entry.kind} {entry.name} {entry.details}" for entry in self.entries[-15:])
            raise AssertionError(
                f"{self.name}: nothing that matches in {timeout_seconds:g} s; last entries:\n{shown}"
            ) from None

    async def connected(self, *, after: int = 0, timeout_seconds: float = WAIT_SECONDS) -> Entry:
        """Wait until the client is connected."""
        return await self.wait(
            lambda entry: entry.kind == "connect", after=after, timeout_seconds=timeout_seconds
        )

    async def disconnected(self, *, after: int = 0, timeout_seconds: float = WAIT_SECONDS) -> Entry:
        """Wait until the client has lost its connection."""
        return await self.wait(
            lambda entry: entry.kind == "disconnect", after=after, timeout_seconds=timeout_seconds
        )

    async def event(
        self,
        name: str,
        matches: Callable[[Any], bool] = lambda _: True,
        *,
        after: int = 0,
        timeout_seconds: float = WAIT_SECONDS,
    ) -> Any:
        """Wait for an event whose first argument matches; returns that argument."""
        entry = await self.wait(
            lambda entry: entry.kind == "event" and entry.name == name and matches(entry.args[0]),
            after=after,
            timeout_seconds=timeout_seconds,
        )
        return entry.args[0]

    def events(self, name: str) -> list[Any]:
        """The first arguments of all events of a name, in order."""
        return [entry.args[0] for entry in self.entries if entry.kind == "event" and entry.name == name]

    def kinds(self, kind: str) -> list[Entry]:
        """All entries of a kind, in order."""
        return [entry for entry in self.entries if entry.kind == kind]
