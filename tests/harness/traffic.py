"""Messages that flow while something breaks, and the account of them afterwards."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

from tests.harness.client import CallError, Client
from tests.harness.waiting import eventually


class Traffic:
    """One person talks to another without a pause, each message retried under its id until it is stored.

    Args:
        sender: Talks.
        recipient: Listens.
    """

    def __init__(self, sender: Client, recipient: Client) -> None:
        self.sender = sender
        self.recipient = recipient
        self.acknowledged: list[dict[str, Any]] = []
        self._numbers = itertools.count()
        self._ending = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._to = recipient.user_id

    def start(self) -> None:
        """Begin to talk."""
        self._task = asyncio.create_task(self._talk(), name="traffic")

    async def stored(self, count: int, timeout_seconds: float = 60) -> None:
        """Wait until ``count`` more messages have been acknowledged."""
        wanted = len(self.acknowledged) + count
        await eventually(
            lambda: self._running() and len(self.acknowledged) >= wanted, timeout_seconds, "messages flow"
        )

    async def stop(self, timeout_seconds: float = 60) -> None:
        """Finish the message in hand and be silent."""
        assert self._task is not None
        self._ending.set()
        await asyncio.wait_for(self._task, timeout_seconds)

    async def check(self, seen: list[dict[str, Any]]) -> None:
        """Compare what was acknowledged with what somebody saw.

        Every acknowledged message is there once, in order, with its number, and numbers have no gap.

        Raises:
            AssertionError: Something was lost, doubled or out of order.
        """
        ids = [message["id"] for message in seen]
        assert len(ids) == len(set(ids)), "a message was shown twice"
        assert ids == [answer["id"] for answer in self.acknowledged]
        assert [message["seq"] for message in seen] == [answer["seq"] for answer in self.acknowledged]
        assert [answer["seq"] for answer in self.acknowledged] == list(range(1, len(self.acknowledged) + 1))

    def _running(self) -> bool:
        assert self._task is not None
        if self._task.done():
            self._task.result()
        return True

    async def _talk(self) -> None:
        while not self._ending.is_set():
            identifier = f"m{next(self._numbers)}"
            self.acknowledged.append(await self._until_stored(identifier))

    async def _until_stored(self, identifier: str) -> dict[str, Any]:
        while True:
            try:
                answer: dict[str, Any] = await self.sender.call(
                    "private message",
                    {"id": identifier, "content": f"content of {identifier}", "to": self._to},
                    timeout_seconds=2,
                )
            except CallError:
                continue
            if answer["ok"]:
                return answer
            assert answer["retryable"], answer
            # What is refused for now is tried again as a client would: not at once.
            await asyncio.sleep(0.2)
