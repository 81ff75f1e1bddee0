"""The gateway's view of the store: a Protocol, and its implementation over HTTP."""

from __future__ import annotations

import asyncio
from typing import Protocol, TypeVar

import msgspec

from parley_gateway.store_http import Pool
from parley_shared import api, people
from parley_shared.auth import bearer
from parley_shared.errors import CODES, INTERNAL, UNAVAILABLE, ParleyError

T = TypeVar("T")


class Store(Protocol):
    """What the gateway asks of the store; every method raises `ParleyError` when the request failed.

    ``unavailable`` and ``late`` leave it open whether the request was carried out: all requests are
    idempotent and may be repeated as they were.
    """

    async def open(self, request: api.OpenRequest) -> api.OpenResponse:
        """Open sessions for new sockets."""

    async def recover(self, request: api.RecoverRequest) -> api.RecoverResponse:
        """Take over lost sockets."""

    async def attach(self, request: api.AttachRequest) -> api.AttachResponse:
        """Register users again."""

    async def presence(self, request: api.PresenceRequest) -> api.Done:
        """Report who left."""

    async def append(self, request: api.AppendRequest, timeout_seconds: float) -> api.AppendResponse:
        """Store a batch of messages."""

    async def read(self, request: api.ReadRequest) -> api.Done:
        """Keep read marks."""

    async def typing(self, request: api.TypingRequest) -> api.Done:
        """Relay typing."""

    async def history(self, request: api.HistoryRequest) -> api.HistoryResponse:
        """Read a page of a conversation."""

    async def inbox(self, request: api.InboxRequest) -> api.InboxResponse:
        """Fill a gap."""

    async def users(self, request: api.UsersRequest) -> api.UsersResponse:
        """Search users."""

    async def states(self, request: api.StatesRequest) -> api.StatesResponse:
        """Look up users in the roster."""

    async def roster(self) -> api.RosterResponse:
        """Take a snapshot of the roster."""

    async def lease(self, request: api.LeaseRequest) -> api.LeaseResponse:
        """Take or renew the lease."""

    async def release(self, request: api.ReleaseRequest) -> api.Done:
        """Give the lease back."""

    async def gateways(self) -> api.GatewaysResponse:
        """List the gateways."""

    async def probe(self, request: api.ProbeRequest) -> api.Done:
        """Put a probe into the gateway's stream."""

    async def sessions(self, request: people.SessionsRequest) -> people.SessionsResponse:
        """List a user's sessions."""

    async def revoke(self, request: people.RevokeRequest) -> people.RevokeResponse:
        """End sessions."""

    async def relate(self, request: people.RelateRequest) -> api.Relations:
        """Block, mute, or undo it."""

    async def standing(self, request: people.StandingRequest) -> people.StandingResponse:
        """Ask how users stand."""

    async def export(self, request: people.ExportRequest) -> people.ExportResponse:
        """Read a page of what is kept of a user."""

    async def erase(self, request: people.EraseRequest) -> people.Erasure:
        """Remove what is kept of a user."""


class HttpStore:
    """The store over HTTP, with kept-alive connections; the lease has its own.

    However many calls wait for a store that is slow, they cannot cost the gateway its lease.

    Args:
        url: The store's base URL.
        tokens: Service tokens; the first is sent.
        timeout_seconds: For each request that does not name its own.
    """

    def __init__(self, url: str, tokens: tuple[str, ...], timeout_seconds: float = 5.0) -> None:
        headers = {**bearer(tokens), "Content-Type": "application/json"}
        self._pool = Pool(url, headers)
        self._lease_pool = Pool(url, headers)
        self._timeout_seconds = timeout_seconds
        self._decoders: dict[object, msgspec.json.Decoder[object]] = {}
        self._encode = msgspec.json.Encoder().encode

    async def close(self) -> None:
        """Close all connections."""
        await self._pool.close()
        await self._lease_pool.close()

    async def _call(
        self,
        method: str,
        path: str,
        body: object,
        answer: type[T],
        *,
        timeout_seconds: float | None = None,
        pool: Pool | None = None,
    ) -> T:
        decoder = self._decoders.get(answer)
        if decoder is None:
            decoder = self._decoders[answer] = msgspec.json.Decoder(answer)
        data = None if body is None else self._encode(body)
        try:
            async with asyncio.timeout(timeout_seconds or self._timeout_seconds):
                status, payload = await (pool or self._pool).request(method, api.PREFIX + path, data)
        except OSError as error:
            raise ParleyError(UNAVAILABLE, f"the store does not answer ({type(error).__name__})") from error
        if status != 200:
            raise _failure(status, payload)
        try:
            return decoder.decode(payload)  # type: ignore[return-value]
        except msgspec.MsgspecError as error:
            raise ParleyError(INTERNAL, f"the store's answer to {path} has another shape: {error}") from error

    async def open(self, request: api.OpenRequest) -> api.OpenResponse:
        """Open sessions for new sockets."""
        return await self._call("POST", "/sessions/open", request, api.OpenResponse)

    async def recover(self, request: api.RecoverRequest) -> api.RecoverResponse:
        """Take over lost sockets."""
        return await self._call("POST", "/sessions/recover", request, api.RecoverResponse)

    async def attach(self, request: api.AttachRequest) -> api.AttachResponse:
        """Register users again."""
        return await self._call("POST", "/sessions/attach", request, api.AttachResponse)

    async def presence(self, request: api.PresenceRequest) -> api.Done:
        """Report who left."""
        return await self._call("POST", "/presence", request, api.Done)

    async def append(self, request: api.AppendRequest, timeout_seconds: float) -> api.AppendResponse:
        """Store a batch of messages."""
        return await self._call(
            "POST", "/messages", request, api.AppendResponse, timeout_seconds=timeout_seconds
        )

    async def read(self, request: api.ReadRequest) -> api.Done:
        """Keep read marks."""
        return await self._call("POST", "/read", request, api.Done)

    async def typing(self, request: api.TypingRequest) -> api.Done:
        """Relay typing."""
        return await self._call("POST", "/typing", request, api.Done)

    async def history(self, request: api.HistoryRequest) -> api.HistoryResponse:
        """Read a page of a conversation."""
        return await self._call("POST", "/history", request, api.HistoryResponse)

    async def inbox(self, request: api.InboxRequest) -> api.InboxResponse:
        """Fill a gap."""
        return await self._call("POST", "/inbox", request, api.InboxResponse)

    async def users(self, request: api.UsersRequest) -> api.UsersResponse:
        """Search users."""
        return await self._call("POST", "/users", request, api.UsersResponse)

    async def states(self, request: api.StatesRequest) -> api.StatesResponse:
        """Look up users in the roster."""
        return await self._call("POST", "/roster/states", request, api.StatesResponse)

    async def roster(self) -> api.RosterResponse:
        """Take a snapshot of the roster."""
        return await self._call("GET", "/roster", None, api.RosterResponse)

    async def lease(self, request: api.LeaseRequest) -> api.LeaseResponse:
        """Take or renew the lease."""
        return await self._call(
            "POST", "/gateways/lease", request, api.LeaseResponse, timeout_seconds=3.0, pool=self._lease_pool
        )

    async def release(self, request: api.ReleaseRequest) -> api.Done:
        """Give the lease back."""
        return await self._call("POST", "/gateways/release", request, api.Done, pool=self._lease_pool)

    async def gateways(self) -> api.GatewaysResponse:
        """List the gateways."""
        return await self._call("GET", "/gateways", None, api.GatewaysResponse)

    async def probe(self, request: api.ProbeRequest) -> api.Done:
        """Put a probe into the gateway's stream."""
        return await self._call("POST", "/gateways/probe", request, api.Done)

    async def sessions(self, request: people.SessionsRequest) -> people.SessionsResponse:
        """List a user's sessions."""
        return await self._call("POST", "/sessions/list", request, people.SessionsResponse)

    async def revoke(self, request: people.RevokeRequest) -> people.RevokeResponse:
        """End sessions."""
        return await self._call("POST", "/sessions/revoke", request, people.RevokeResponse)

    async def relate(self, request: people.RelateRequest) -> api.Relations:
        """Block, mute, or undo it."""
        return await self._call("POST", "/relations/set", request, api.Relations)

    async def standing(self, request: people.StandingRequest) -> people.StandingResponse:
        """Ask how users stand."""
        return await self._call("POST", "/standing", request, people.StandingResponse)

    async def export(self, request: people.ExportRequest) -> people.ExportResponse:
        """Read a page of what is kept of a user."""
        return await self._call("POST", "/export", request, people.ExportResponse)

    async def erase(self, request: people.EraseRequest) -> people.Erasure:
        """Remove what is kept of a user."""
        return await self._call("POST", "/erase", request, people.Erasure)


def _failure(status: int, payload: bytes) -> ParleyError:
    """Translate a failed answer; a proxy's page or an unknown code counts as the store being away."""
    try:
        failure = msgspec.json.decode(payload, type=api.Failure)
    except msgspec.MsgspecError:
        return ParleyError(UNAVAILABLE, f"the store answered with status {status}")
    code = CODES.get(failure.code)
    if code is None:
        return ParleyError(UNAVAILABLE, f"the store answered with status {status}")
    return ParleyError(code, failure.message)
