"""A stand-in for the store: answers what a test has prepared, and keeps what it was asked."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

from parley_shared import api, people
from parley_shared.errors import UNAVAILABLE, ParleyError


class FakeStore:
    """Answers each method from a queue of prepared answers; an exception in it is raised.

    A method without a prepared answer fails with ``unavailable``, like a store that is away.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[str, Any]] = []
        self.answers: dict[str, deque[Any]] = {}
        self.changed = asyncio.Event()

    def prepare(self, method: str, *answers: Any) -> None:
        """Add answers for a method; a callable one gets the request."""
        self.answers.setdefault(method, deque()).extend(answers)

    def requests(self, method: str) -> list[Any]:
        """All requests of a method so far."""
        return [request for name, request in self.asked if name == method]

    async def _answer(self, method: str, request: Any) -> Any:
        self.asked.append((method, request))
        self.changed.set()
        await asyncio.sleep(0)
        waiting = self.answers.get(method)
        answer = waiting.popleft() if waiting else ParleyError(UNAVAILABLE)
        if callable(answer):
            answer = answer(request)
        if asyncio.isfuture(answer):
            answer = await answer
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def open(self, request: api.OpenRequest) -> api.OpenResponse:
        """See `Store`."""
        answer: api.OpenResponse = await self._answer("open", request)
        return answer

    async def recover(self, request: api.RecoverRequest) -> api.RecoverResponse:
        """See `Store`."""
        answer: api.RecoverResponse = await self._answer("recover", request)
        return answer

    async def attach(self, request: api.AttachRequest) -> api.AttachResponse:
        """See `Store`."""
        answer: api.AttachResponse = await self._answer("attach", request)
        return answer

    async def presence(self, request: api.PresenceRequest) -> api.Done:
        """See `Store`."""
        answer: api.Done = await self._answer("presence", request)
        return answer

    async def append(self, request: api.AppendRequest, timeout_seconds: float) -> api.AppendResponse:
        """See `Store`."""
        assert timeout_seconds > 0
        answer: api.AppendResponse = await self._answer("append", request)
        return answer

    async def read(self, request: api.ReadRequest) -> api.Done:
        """See `Store`."""
        answer: api.Done = await self._answer("read", request)
        return answer

    async def typing(self, request: api.TypingRequest) -> api.Done:
        """See `Store`."""
        answer: api.Done = await self._answer("typing", request)
        return answer

    async def history(self, request: api.HistoryRequest) -> api.HistoryResponse:
        """See `Store`."""
        answer: api.HistoryResponse = await self._answer("history", request)
        return answer

    async def inbox(self, request: api.InboxRequest) -> api.InboxResponse:
        """See `Store`."""
        answer: api.InboxResponse = await self._answer("inbox", request)
        return answer

    async def users(self, request: api.UsersRequest) -> api.UsersResponse:
        """See `Store`."""
        answer: api.UsersResponse = await self._answer("users", request)
        return answer

    async def states(self, request: api.StatesRequest) -> api.StatesResponse:
        """See `Store`."""
        answer: api.StatesResponse = await self._answer("states", request)
        return answer

    async def roster(self) -> api.RosterResponse:
        """See `Store`."""
        answer: api.RosterResponse = await self._answer("roster", None)
        return answer

    async def lease(self, request: api.LeaseRequest) -> api.LeaseResponse:
        """See `Store`."""
        answer: api.LeaseResponse = await self._answer("lease", request)
        return answer

    async def release(self, request: api.ReleaseRequest) -> api.Done:
        """See `Store`."""
        answer: api.Done = await self._answer("release", request)
        return answer

    async def gateways(self) -> api.GatewaysResponse:
        """See `Store`."""
        answer: api.GatewaysResponse = await self._answer("gateways", None)
        return answer

    async def probe(self, request: api.ProbeRequest) -> api.Done:
        """See `Store`."""
        answer: api.Done = await self._answer("probe", request)
        return answer

    async def sessions(self, request: people.SessionsRequest) -> people.SessionsResponse:
        """See `Store`."""
        answer: people.SessionsResponse = await self._answer("sessions", request)
        return answer

    async def revoke(self, request: people.RevokeRequest) -> people.RevokeResponse:
        """See `Store`."""
        answer: people.RevokeResponse = await self._answer("revoke", request)
        return answer

    async def relate(self, request: people.RelateRequest) -> api.Relations:
        """See `Store`."""
        answer: api.Relations = await self._answer("relate", request)
        return answer

    async def standing(self, request: people.StandingRequest) -> people.StandingResponse:
        """See `Store`."""
        answer: people.StandingResponse = await self._answer("standing", request)
        return answer

    async def export(self, request: people.ExportRequest) -> people.ExportResponse:
        """See `Store`."""
        answer: people.ExportResponse = await self._answer("export", request)
        return answer

    async def erase(self, request: people.EraseRequest) -> people.Erasure:
        """See `Store`."""
        answer: people.Erasure = await self._answer("erase", request)
        return answer
