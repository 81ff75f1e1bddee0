"""People and their data over Redis, put together."""

from __future__ import annotations

from parley_shared import api, people
from parley_store.redis.accounts import Accounts
from parley_store.redis.erasure import Erasures
from parley_store.redis.export import Exports
from parley_store.redis.relations import Relations


class RedisPeople:
    """Implements `parley_store.people.People` over Redis."""

    def __init__(
        self, accounts: Accounts, relations: Relations, exports: Exports, erasures: Erasures
    ) -> None:
        self._accounts = accounts
        self._relations = relations
        self._exports = exports
        self._erasures = erasures

    async def sessions(self, request: people.SessionsRequest) -> people.SessionsResponse:
        """List a user's sessions."""
        return people.SessionsResponse(sessions=await self._accounts.list(request.user))

    async def revoke(self, request: people.RevokeRequest) -> people.RevokeResponse:
        """End sessions, their recovery ids and their sockets."""
        ended = await self._accounts.revoke(request.user, request.session, request.reason)
        return people.RevokeResponse(ended=ended)

    async def relate(self, request: people.RelateRequest) -> api.Relations:
        """Block, mute, or undo it."""
        return await self._relations.relate(request)

    async def standing(self, request: people.StandingRequest) -> people.StandingResponse:
        """Say what gateways must know of users they hold."""
        gone = await self._accounts.gone([session for ask in request.users for session in ask.sessions])
        relations = await self._relations.of([ask.user for ask in request.users])
        return people.StandingResponse(
            results=[
                people.Standing(
                    relations=found, ended=[session for session in ask.sessions if session in gone]
                )
                for ask, found in zip(request.users, relations, strict=True)
            ]
        )

    async def export(self, request: people.ExportRequest) -> people.ExportResponse:
        """Read a page of all that is kept of a user."""
        return await self._exports.page(request)

    async def erase(self, request: people.EraseRequest) -> people.Erasure:
        """Remove all that is kept of a user; the clock does it, from now on."""
        return await self._erasures.ask(request.user)
