"""People and their data in memory."""

from __future__ import annotations

import msgspec
from msgspec import Raw

from parley_shared import api, people
from parley_shared.errors import LIMIT_REACHED, MALFORMED, UNKNOWN_RECIPIENT, ParleyError
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

    async def relate(self, request: people.RelateRequest) -> api.Relations:
        """Block, mute, or undo it."""
        user, peer = request.user, request.peer
        if peer == user:
            raise ParleyError(MALFORMED, "nobody can block or mute themselves")
        if (request.block or request.mute) and self._state.user(peer) is None:
            raise ParleyError(UNKNOWN_RECIPIENT)
        blocked = self._state.blocked.setdefault(user, {})
        muted = self._state.muted.setdefault(user, {})
        is_new = peer not in blocked and peer not in muted
        if is_new and len(blocked.keys() | muted.keys()) >= people.RELATIONS_LIMIT:
            raise ParleyError(LIMIT_REACHED)
        for wanted, kept in ((request.block, blocked), (request.mute, muted)):
            if wanted:
                kept[peer] = None
            elif wanted is False:
                kept.pop(peer, None)
        for changed in [user] if request.block is None else [user, peer]:
            self._tell(changed, api.Changed(changed))
        return self._state.relations(user)

    async def export(self, request: people.ExportRequest) -> people.ExportResponse:
        """Read all that is kept of a user: one page."""
        user_id, user = request.user, self._state.user(request.user)
        lines: list[dict[str, object]] = [
            {"kind": "user", "userID": user_id, "username": user.username if user else None}
        ]
        listed = await self.sessions(people.SessionsRequest(user=user_id))
        lines += [{"kind": "session", "session": each.session, "used": each.used} for each in listed.sessions]
        for peer, noted in user.peers.items() if user else ():
            name = self._state.names([peer]).get(peer)
            lines.append(
                {
                    "kind": "contact",
                    "userID": peer,
                    "username": name,
                    "seq": noted.seq,
                    "read": noted.read,
                    "at": noted.at,
                }
            )
        lines += [{"kind": "blocked", "userID": peer} for peer in self._state.blocked.get(user_id, ())]
        lines += [{"kind": "muted", "userID": peer} for peer in self._state.muted.get(user_id, ())]
        for name, conversation in sorted(self._state.conversations.items()):
            one, _, other = name.partition(":")
            if user_id not in {one, other} or not conversation.messages:
                continue
            lines.append({"kind": "conversation", "with": other if user_id == one else one})
            for body in conversation.messages:
                message = msgspec.json.decode(body)
                if message["from"] == user_id:
                    lines.append({"kind": "message", **message})
        return people.ExportResponse(lines=[Raw(msgspec.json.encode(line)) for line in lines], after=None)

    async def erase(self, request: people.EraseRequest) -> people.Erasure:
        """Remove all that is kept of a user, at once."""
        state, user_id = self._state, request.user
        sessions = [name for name, session in state.sessions.items() if session.user == user_id]
        self._tell(user_id, api.EndSockets(user_id, [], "erased"))
        self._end(user_id, sessions, "erased")
        names = [name for name in state.conversations if user_id in name.split(":")]
        removed = {
            "sessions": len(sessions),
            "conversations": len(names),
            "messages": sum(len(state.conversations.pop(name).messages) for name in names),
        }
        state.users.pop(user_id, None)
        for user in state.users.values():
            user.peers.pop(user_id, None)
            for entry in user.inbox:
                if user_id in {entry.peer, entry.reader}:
                    entry.peer, entry.reader, entry.emptied = "", "", True
        for kept in (state.blocked, state.muted):
            kept.pop(user_id, None)
            for peers in kept.values():
                peers.pop(user_id, None)
        state.note_presence(user_id)
        return people.Erasure(job="memory", state="done", asked=now_ms(), finished=now_ms(), removed=removed)

    async def standing(self, request: people.StandingRequest) -> people.StandingResponse:
        """Say what gateways must know of users they hold."""
        return people.StandingResponse(results=[self._standing(ask) for ask in request.users])

    def _standing(self, ask: people.StandingAsk) -> people.Standing:
        known = self._state.sessions
        return people.Standing(
            relations=self._state.relations(ask.user),
            ended=[name for name in ask.sessions if name not in known],
        )

    def _end(self, user_id: str, sessions: list[str], reason: people.Reason) -> None:
        for name in sessions:
            del self._state.sessions[name]
        for pid in [pid for pid, kept in self._state.pids.items() if kept.session in sessions]:
            del self._state.pids[pid]
        if sessions:
            handles = [people.handle_of(name) for name in sessions]
            self._tell(user_id, api.EndSockets(user_id, handles, reason))

    def _tell(self, user_id: str, item: api.StreamItem) -> None:
        user = self._state.user(user_id)
        for gateway in user.gateways if user else ():
            self._state.publish(gateway, [item])
