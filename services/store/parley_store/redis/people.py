"""People and their data over Redis, put together."""

from __future__ import annotations

from parley_shared import people
from parley_store.redis.accounts import Accounts


class RedisPeople:
    """Implements `parley_store.people.People` over Redis."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts

    async def sessions(self, request: people.SessionsRequest) -> people.SessionsResponse:
        """List a user's sessions."""
        return people.SessionsResponse(sessions=await self._accounts.list(request.user))

    async def revoke(self, request: people.RevokeRequest) -> people.RevokeResponse:
        """End sessions, their recovery ids and their sockets."""
        ended = await self._accounts.revoke(request.user, request.session, request.reason)
        return people.RevokeResponse(ended=ended)

    async def standing(self, request: people.StandingRequest) -> people.StandingResponse:
        """Say what gateways must know of users they hold."""
        gone = await self._accounts.gone([session for ask in request.users for session in ask.sessions])
        return people.StandingResponse(
            results=[
                people.Standing(
                    relations=people.Relations(),
                    ended=[session for session in ask.sessions if session in gone],
                )
                for ask in request.users
            ]
        )
