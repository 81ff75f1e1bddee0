"""A chat client in a test, whichever library it is made of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from tests.harness.journal import WAIT_SECONDS, Journal


class Client(ABC):
    """One socket, its journal, and what Parley's contract says of it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.journal = Journal(name)

    @abstractmethod
    async def emit(self, event: str, *args: object) -> None:
        """Send an event without an acknowledgement."""

    @abstractmethod
    async def call(self, event: str, *args: object, timeout_seconds: float = WAIT_SECONDS) -> Any:
        """Send an event and return its acknowledgement.

        Raises:
            CallError: None came in time.
        """

    @abstractmethod
    async def close(self) -> None:
        """Leave with a Socket.IO disconnect."""

    async def signed_in(self, *, after: int = 0, timeout_seconds: float = WAIT_SECONDS) -> Client:
        """Wait for `session` and `users`."""
        await self.journal.event("session", after=after, timeout_seconds=timeout_seconds)
        await self.journal.event("users", after=after, timeout_seconds=timeout_seconds)
        return self

    @property
    def session(self) -> dict[str, str]:
        """The newest `session`: sessionID and userID."""
        sessions: list[dict[str, str]] = self.journal.events("session")
        return sessions[-1]

    @property
    def session_id(self) -> str:
        """The secret by which the session is resumed."""
        return self.session["sessionID"]

    @property
    def user_id(self) -> str:
        """The user's public id."""
        return self.session["userID"]

    @property
    def users(self) -> dict[str, dict[str, Any]]:
        """The newest `users`, by userID."""
        return {entry["userID"]: entry for entry in self.journal.events("users")[-1]}

    @property
    def messages(self) -> list[dict[str, Any]]:
        """All messages that came as events, in order."""
        return self.journal.events("private message")

    async def message(
        self, content: str, *, after: int = 0, timeout_seconds: float = WAIT_SECONDS
    ) -> dict[str, Any]:
        """Wait for the message with this content."""
        message: dict[str, Any] = await self.journal.event(
            "private message",
            lambda message: message["content"] == content,
            after=after,
            timeout_seconds=timeout_seconds,
        )
        return message

    async def send(self, content: str, to: str, **more: object) -> dict[str, Any]:
        """Send a message and return its acknowledgement."""
        answer: dict[str, Any] = await self.call("private message", {"content": content, "to": to, **more})
        return answer

    async def told(self, name: str, matches: Callable[[Any], bool], *, after: int = 0) -> Any:
        """Wait for an event whose first argument matches."""
        return await self.journal.event(name, matches, after=after)


class CallError(Exception):
    """An acknowledgement did not come: it took too long, or the connection was lost."""
