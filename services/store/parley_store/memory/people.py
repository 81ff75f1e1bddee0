"""People and their data in memory."""

from __future__ import annotations

from parley_shared import api, people
from parley_store.memory.state import State, now_ms


class MemoryPeople:
    """Implements `parley_store.people.People` in memory."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def sessions(self, request: people.SessionsRequest) -> people.SessionsResponse:
        """List a user's sessions."""
        found = [
            people.SessionInfo(session=people.handle_of(name), used=session.used)
            for name, session in self._state.sessions.items()
            if session.user == request.user and session.expires >= now_ms()
        ]
        found.sort(key=lambda session: session.used, reverse=True)
        return people.SessionsResponse(sessions=found)

    async def revoke(self, request: people.RevokeRequest) -> people.RevokeResponse:
        """End sessions, their recovery ids and their sockets."""
        ending = [
            name
            for name, session in self._state.sessions.items()
            if session.user == request.user and request.session in {None, people.handle_of(name)}
        ]
        self._end(request.user, ending, request.reason)
        return people.RevokeResponse(ended=len(ending))

    async def standing(self, request: people.StandingRequest) -> people.StandingResponse:
        """Say what gateways must know of users they hold."""
        return people.StandingResponse(results=[self._standing(ask) for ask in request.users])

    def _standing(self, ask: people.StandingAsk) -> people.Standing:
        known = self._state.sessions
        return people.Standing(
            relations=people.Relations(), ended=[name for name in ask.sessions if name not in known]
        )

    def _end(self, user_id: str, sessions: list[str], reason: people.Reason) -> None:
        for name in sessions:
            del self._state.sessions[name]
        for pid in [pid for pid, kept in self._state.pids.items() if kept.session in sessions]:
            del self._state.pids[pid]
        user = self._state.user(user_id)
        for gateway in user.gateways if user and sessions else ():
            handles = [people.handle_of(name) for name in sessions]
            self._state.publish(gateway, [api.EndSockets(user_id, handles, reason)])
