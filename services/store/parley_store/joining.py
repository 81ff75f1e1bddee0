"""Joining batches: what several gateways send within a few milliseconds is stored in one go.

A batch costs a store and Redis more than the few messages in it do, and with many gateways each one's batches
are small. So groups begin as far apart as `Pace` says, and each answer tells its gateway when the next one
begins: the gateway collects until shortly before, and a message waits once, not in the gateway and then here.
Nor does it wait for the last moment: a group begins as soon as all have come who came to those before it.
What comes just too late for a group is stored alone, and its gateway is in step again with the answer.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from parley_shared import api
from parley_shared.errors import BUSY, UNAVAILABLE, ParleyError
from parley_store.pace import Pace

LEAD_SECONDS: Final = 0.004
"""Gateways are told to send so long before the next group begins: time to travel, on a busy machine too."""
LATE: Final = 0.25
"""What comes in this part of the time between two groups, as far as they are more than `CLOSE_SECONDS` apart,
was probably late for the first."""
CLOSE_SECONDS: Final = 0.01
"""Where groups follow each other so closely, waiting for the next is better than a call to Redis more."""
LIMIT: Final = 512
"""Messages in a group, unless a single batch has more."""
_REMEMBERED: Final = 10
"""Groups that tell how many batches the next may have. Not fewer: a batch that misses its group waits for the
next, so a group that lacks one because a gateway had nothing to send must not make another's late."""

Append = Callable[[api.AppendRequest], Awaitable[api.AppendResponse]]


class _Group:
    """Batches that wait for each other: that of the leader, which carries all out, and of those who join."""

    def __init__(self, leader: api.AppendRequest) -> None:
        self.completed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.near = False  # its time comes within LEAD_SECONDS
        self.size = len(leader.messages)
        self.requests = [leader]
        self.followers: list[asyncio.Future[api.AppendResponse]] = []

    def complete(self) -> None:
        """Let it begin."""
        if not self.completed.done():
            self.completed.set_result(None)

    def join(self, request: api.AppendRequest) -> asyncio.Future[api.AppendResponse]:
        """Add a batch; the future gets its answer."""
        future: asyncio.Future[api.AppendResponse] = asyncio.get_running_loop().create_future()
        self.size += len(request.messages)
        self.requests.append(request)
        self.followers.append(future)
        return future


class Joiner:
    """Makes one request of several that come together.

    The order of messages needs nothing here: a sender's batches never overlap, as its gateway waits for the
    answer to one before it sends the next.

    Args:
        append: Stores a batch. It may be repeated.
    """

    def __init__(self, append: Append) -> None:
        self._append = append
        self._pace = Pace()
        self._next = 0.0  # the time of the event loop at which a group may begin
        self._sizes: deque[int] = deque([1], _REMEMBERED)  # batches in each of the last groups
        self._begun = -math.inf  # when the last group began
        self._open: _Group | None = None

    async def append(self, request: api.AppendRequest) -> api.AppendResponse:
        """Store a batch, perhaps together with others.

        Raises:
            ParleyError: As ``append``.
        """
        group = self._open
        if group is not None and group.size + len(request.messages) <= LIMIT:
            future = group.join(request)
            self._look(group)
            return await future
        now = asyncio.get_running_loop().time()
        pause = self._next - now
        if pause <= 0:
            self._begin([request])
            return await self._store(request)
        if now - self._begun < LATE * (self._pace.seconds - CLOSE_SECONDS):
            # Alone, so that a moment's delay does not become a whole pause.
            self._pace.note(1, len(request.messages), now)
            return await self._store(request)
        group = self._open = _Group(request)
        answers: list[api.AppendResponse | Exception] = []
        try:
            await self._gather(group, pause)
            self._close(group)
            self._begin(group.requests)
            answers = await self._together(group.requests)
        finally:
            self._close(group)
            if not answers:
                # This request's task was ended. The others' gateways repeat theirs.
                answers = [ParleyError(UNAVAILABLE, "the store is closing")] * len(group.requests)
            for future, answer in zip(group.followers, answers[1:], strict=True):
                _resolve(future, answer)
        if isinstance(answers[0], Exception):
            raise answers[0]
        return answers[0]

    async def _gather(self, group: _Group, seconds: float) -> None:
        """Wait until a group may begin, or until shortly before when all have come who came lately."""
        loop = asyncio.get_running_loop()
        timers = [
            loop.call_later(seconds - LEAD_SECONDS, self._near, group),
            loop.call_later(seconds, group.complete),
        ]
        try:
            await group.completed
        finally:
            for timer in timers:
                timer.cancel()

    def _near(self, group: _Group) -> None:
        group.near = True
        self._look(group)

    def _look(self, group: _Group) -> None:
        if group.near and len(group.requests) >= max(self._sizes):
            group.complete()

    def _begin(self, requests: Sequence[api.AppendRequest]) -> None:
        now = asyncio.get_running_loop().time()
        self._sizes.append(len(requests))
        self._pace.note(len(requests), sum(len(request.messages) for request in requests), now)
        self._begun = now
        self._next = now + self._pace.seconds

    async def _store(self, request: api.AppendRequest) -> api.AppendResponse:
        answer = await self._append(request)
        left_seconds = self._next - LEAD_SECONDS - asyncio.get_running_loop().time()
        answer.pause = max(0, int(left_seconds * 1000))
        return answer

    def _close(self, group: _Group) -> None:
        if self._open is group:
            self._open = None

    async def _together(self, requests: list[api.AppendRequest]) -> list[api.AppendResponse | Exception]:
        if len(requests) == 1:
            return [await self._alone(requests[0])]
        joined = api.AppendRequest(
            gateway=requests[0].gateway,
            # Whatever is stored, is stored before anybody's deadline.
            deadline=min(request.deadline for request in requests),
            messages=[message for request in requests for message in request.messages],
            inline=[gateway for request in requests for gateway in request.inline],
        )
        answer = await self._alone(joined)
        if isinstance(answer, api.AppendResponse):
            parts: list[api.AppendResponse | Exception] = []
            start = 0
            for request in requests:
                end = start + len(request.messages)
                items = {g: answer.items.pop(g) for g in request.inline if g in answer.items}
                results = answer.results[start:end]
                parts.append(api.AppendResponse(results=results, items=items, pause=answer.pause))
                start = end
            return parts
        if isinstance(answer, ParleyError) and answer.code in {UNAVAILABLE, BUSY}:
            return [answer] * len(requests)
        # One batch has let all others down: with a deadline that had come, or with what cannot be stored.
        return list(await asyncio.gather(*[self._alone(request) for request in requests]))

    async def _alone(self, request: api.AppendRequest) -> api.AppendResponse | Exception:
        try:
            return await self._store(request)
        except Exception as error:  # noqa: BLE001 -- it is raised to whoever asked
            return error


def _resolve(future: asyncio.Future[api.AppendResponse], answer: api.AppendResponse | Exception) -> None:
    if future.done():
        return
    if isinstance(answer, Exception):
        future.set_exception(answer)
    else:
        future.set_result(answer)
