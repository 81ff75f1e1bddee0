"""People who chat whatever happens: each message has an id and is sent again until it is acknowledged."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from tests.chaos.screen import Screen, Sent
from tests.chaos.timing import AWAY
from tests.harness.client import CallError
from tests.harness.journal import Entry, Journal
from tests.harness.js_client import JsClient, JsDriver

ATTEMPT_SECONDS: Final = 2.5
RETRY_SECONDS: Final = 0.3

CLIENT_OPTIONS: Final[Mapping[str, Any]] = {
    "remember": True,
    # A connection that hangs in a frozen gateway is given up before the default 20 s.
    "timeout": 3000,
}


class Person:
    """One socket of one user, over all its connections and all Node processes it has lived in.

    Args:
        name: Of the client; the tabs of a user have names of their own.
        url: Where it connects.
        username: With which it signs in first.
    """

    def __init__(self, name: str, url: str, username: str) -> None:
        self.name = name
        self.url = url
        self.username = username
        self.user_id = ""
        self.session_id = ""
        self.journals: list[Journal] = []
        self.present = asyncio.Event()
        self.screen = Screen(name, "")
        self._client: JsClient | None = None
        self._place = 0
        self._numbers = 0

    @property
    def entries(self) -> list[Entry]:
        """The whole journal."""
        return [entry for journal in self.journals for entry in journal.entries]

    @property
    def connected(self) -> bool:
        """Whether the last thing heard of its connection is that there is one."""
        told = {"connect", "disconnect", AWAY}
        kinds = (entry.kind for entry in reversed(self.entries) if entry.kind in told)
        return next(kinds, AWAY) == "connect"

    def look(self) -> Screen:
        """Bring the screen up to date and return it."""
        entries = self.entries
        self.screen.feed(entries[self._place :])
        self._place = len(entries)
        return self.screen

    async def arrive(self, driver: JsDriver, session_id: str = "") -> None:
        """Sign in, with a session of its own or another tab's; returns once `users` is there."""
        auth = {"sessionID": session_id} if session_id else {"username": self.username}
        self._client = await driver.open(self.url, auth, name=self.name, **CLIENT_OPTIONS)
        self.journals.append(self._client.journal)
        await self._client.signed_in()
        self.session_id = self._client.session_id
        self.user_id = self.screen.user_id = self._client.user_id
        self.present.set()

    def vanish(self) -> None:
        """Send nothing more: the Node process is about to go, and the screen with it."""
        self.present.clear()

    async def return_in(self, driver: JsDriver) -> None:
        """Come back in another Node process, with the session and nothing else."""
        self._note_away()
        client = await driver.open(self.url, {"sessionID": self.session_id}, name=self.name, **CLIENT_OPTIONS)
        self._client = client
        self.journals.append(client.journal)
        self.present.set()

    async def drop(self) -> None:
        """Lose the connection without a farewell; the client comes back by itself."""
        await self._do("drop")

    async def leave(self) -> None:
        """Disconnect in order: everybody is told after a while."""
        self.present.clear()
        await self._do("close")
        self._note_away()

    async def enter(self) -> None:
        """Connect again after `leave`."""
        await self._do("open_again")
        self.present.set()

    def _note_away(self) -> None:
        """Note that the client has not been there for a reason of its own, which no server can help."""
        self.journals[-1].add(Entry(AWAY, details={"at": time.time() * 1000}))

    async def _do(self, command: str) -> None:
        assert self._client is not None
        await getattr(self._client, command)()

    async def chat(self, peers: Sequence[str], rng: random.Random, pause: float, stop: asyncio.Event) -> None:
        """Send to one of the peers after another until ``stop``; the last message is finished.

        Args:
            peers: UserIDs to write to.
            rng: Chooses them, and how long to think.
            pause: Mean seconds between two messages.
            stop: Ends it.
        """
        while not stop.is_set():
            await self.send(rng.choice(peers), "x" * rng.randint(0, 300))
            try:
                async with asyncio.timeout(rng.uniform(0, 2 * pause)):
                    await stop.wait()
            except TimeoutError:
                continue

    async def send(self, to: str, padding: str = "") -> None:
        """Send one message, again and again under its id until it is acknowledged."""
        self._numbers += 1
        identifier = f"{self.name}-{self._numbers}"
        sent = Sent(identifier, to, f"{identifier} {padding}", life=self.look().life)
        self.screen.sent[identifier] = sent
        while not sent.seq:
            await self.present.wait()
            answer = await self._attempt(sent)
            if answer.get("ok"):
                sent.seq = answer["seq"]
                self.screen.acknowledged(sent)
            elif not answer["retryable"]:
                raise AssertionError(f"{self.name}: {identifier} was refused: {answer['code']}")
            else:
                await asyncio.sleep(RETRY_SECONDS)

    async def _attempt(self, sent: Sent) -> dict[str, Any]:
        """Send once; no answer counts as one that may be repeated."""
        assert self._client is not None
        body = {"id": sent.id, "to": sent.to, "content": sent.content}
        try:
            # The outer time is for a Node process that was killed in between.
            async with asyncio.timeout(ATTEMPT_SECONDS + 1):
                answer: dict[str, Any] = await self._client.call(
                    "private message", body, timeout_seconds=ATTEMPT_SECONDS
                )
        except (CallError, OSError, TimeoutError):
            return {"ok": False, "code": "no answer", "retryable": True}
        return answer

    async def history(self, peer: str) -> list[dict[str, Any]]:
        """Read the whole conversation with a peer, oldest message first."""
        assert self._client is not None
        messages: list[dict[str, Any]] = []
        before: int | None = None
        while True:
            asked = {"with": peer, "limit": 200, **({} if before is None else {"before": before})}
            page = await self._client.call("history", asked)
            assert page["ok"], page
            messages = page["messages"] + messages
            before = page["before"]
            if before is None:
                return messages
