"""A past for the tests: many people and long conversations, written straight through the store's API."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

import aiohttp
import msgspec

from parley_shared import api
from tests.harness.stack import TOKEN, Stack

_BATCH: Final = 200
_Answer = TypeVar("_Answer", bound=msgspec.Struct)


class Past:
    """Writes as a gateway of its own, which holds a lease and has no sockets.

    Args:
        session: For the requests.
        url: The store.
    """

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url
        self._gateway = f"past-{uuid.uuid4().hex}"
        self._now = 0
        self._versions = itertools.count(1)

    async def begin(self) -> None:
        """Take the lease."""
        request = api.LeaseRequest(
            gateway=self._gateway, address="127.0.0.1:1", connections=0, capacity=0, ready=False, first=True
        )
        answer = await self._ask("/gateways/lease", request, api.LeaseResponse)
        self._now = answer.now

    async def end(self) -> None:
        """Give the lease back: whoever was made here goes offline."""
        await self._ask("/gateways/release", api.ReleaseRequest(gateway=self._gateway), api.Done)

    async def people(self, names: Sequence[str]) -> list[str]:
        """Let people sign in for the first time; returns their userIDs."""
        users: list[str] = []
        for batch in _batches(names):
            opens = [
                api.Open(
                    version=next(self._versions),
                    username=name,
                    new_session=uuid.uuid4().hex,
                    new_user=uuid.uuid4().hex,
                    new_pid=uuid.uuid4().hex,
                )
                for name in batch
            ]
            request = api.OpenRequest(gateway=self._gateway, opens=opens)
            answer = await self._ask("/sessions/open", request, api.OpenResponse)
            for result in answer.results:
                assert result.opened is not None, result.failure
                users.append(result.opened.user)
        return users

    async def messages(self, sender: str, to: str, contents: Sequence[str]) -> None:
        """Store messages, in order."""
        for batch in _batches(contents):
            sends = [
                api.Send(id=uuid.uuid4().hex, from_=sender, from_name="somebody", to=to, content=content)
                for content in batch
            ]
            # By Redis's clock, which is this machine's; generous, as nobody repeats the request.
            request = api.AppendRequest(gateway=self._gateway, deadline=self._now + 600_000, messages=sends)
            answer = await self._ask("/messages", request, api.AppendResponse)
            assert all(result.failure is None for result in answer.results)

    async def _ask(self, path: str, request: msgspec.Struct, shape: type[_Answer]) -> _Answer:
        async with self._session.post(
            f"{self._url}{api.PREFIX}{path}",
            data=msgspec.json.encode(request),
            headers={"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"},
        ) as answer:
            body = await answer.read()
            assert answer.status == 200, body
            return msgspec.json.decode(body, type=shape)


def _batches(items: Sequence[Any]) -> list[Sequence[Any]]:
    return [items[start : start + _BATCH] for start in range(0, len(items), _BATCH)]


@asynccontextmanager
async def past(stack: Stack) -> AsyncIterator[Past]:
    """Open the past of a stack; when it is left, everybody made in it is offline."""
    port = stack.stores[0].settings["STORE_PORT"]
    async with aiohttp.ClientSession() as session:
        writer = Past(session, f"http://127.0.0.1:{port}")
        await writer.begin()
        yield writer
        await writer.end()
