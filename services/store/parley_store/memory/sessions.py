"""Sessions, presence and recovery in memory."""

from __future__ import annotations

from msgspec import Raw

from parley_shared import api, ids
from parley_shared.errors import INVALID_USERNAME, LAPSED, LATE, ParleyError
from parley_store.answers import failure, user_of_subject
from parley_store.memory.messages import Messages
from parley_store.memory.state import Pid, Session, State, User, now_ms

SENT_AT_CONNECT = 50
"""Messages of a conversation that are sent when a session is opened."""


class Sessions:
    """Opens, recovers and ends."""

    def __init__(self, state: State, messages: Messages) -> None:
        self._state = state
        self._messages = messages

    def open(self, request: api.OpenRequest) -> api.OpenResponse:
        """Find or make sessions."""
        return api.OpenResponse(results=[self._open(request.gateway, open_) for open_ in request.opens])

    def _open(self, gateway: str, open_: api.Open) -> api.OpenResult:
        state, subject = self._state, open_.subject or ""
        session_id, session = open_.session or "", state.session(open_.session or "", subject)
        is_new = session is None
        if session is None:
            if not open_.username:
                return api.OpenResult(failure=failure(INVALID_USERNAME))
            session_id = open_.new_session
            user_id = user_of_subject(subject) if subject else open_.new_user
            session = state.sessions.setdefault(session_id, Session(user_id, open_.username, subject))
            session.expires, session.used = state.session_end(), now_ms()
        if gateway not in state.gateways:
            return api.OpenResult(failure=failure(LAPSED))
        user = state.user(session.user)
        if user is None:
            user = state.users[session.user] = User(session.username, ids.epoch())
        if not self._register(gateway, session.user, user, open_.version):
            return api.OpenResult(failure=failure(LATE))
        user.username = session.username
        state.note_presence(session.user)
        if open_.recovery and open_.new_pid not in state.pids:
            state.pids[open_.new_pid] = Pid(session_id, session.user, gateway, open_.version, open_.socket)
            state.gateways[gateway].pids.add(open_.new_pid)
        opened = api.Opened(
            session=session_id,
            user=session.user,
            username=user.username,
            new=is_new,
            epoch=user.epoch,
            counter=user.counter,
            pid=open_.new_pid if open_.recovery else None,
            contacts=self._contacts(session.user, user),
            relations=state.relations(session.user),
        )
        return api.OpenResult(opened=opened)

    def _register(self, gateway: str, user_id: str, user: User, version: int) -> bool:
        if user.gone.get(gateway, -1) >= version:
            return False
        user.gateways[gateway] = max(version, user.gateways.get(gateway, 0))
        user.gone.pop(gateway, None)
        user.online = True
        user.expires = self._state.session_end()
        self._state.gateways[gateway].users.add(user_id)
        return True

    def _contacts(self, user_id: str, user: User) -> list[api.Contact]:
        left = self._state.config.users_bytes
        contacts = []
        for peer, noted in sorted(user.peers.items(), key=lambda item: item[1].at, reverse=True):
            entry = self._state.roster.get(peer)
            if entry is None:
                continue
            messages = []
            stored = self._state.conversation(user_id, peer).messages[: noted.seq][-SENT_AT_CONNECT:]
            for message in reversed(stored):
                left -= len(message)
                if left < 0:
                    break
                messages.append(Raw(message))
            contacts.append(
                api.Contact(
                    user=peer,
                    username=entry.username,
                    connected=entry.state == 1,
                    seq=noted.seq,
                    unread=max(0, noted.seq - noted.read),
                    read=noted.seen,
                    messages=messages[::-1],
                )
            )
        return contacts[: self._state.config.contacts_limit]

    def attach(self, request: api.AttachRequest) -> api.AttachResponse:
        """Register the gateway again."""
        if request.gateway not in self._state.gateways:
            raise ParleyError(LAPSED)
        results = []
        for attach in request.users:
            user = self._state.user(attach.user)
            if user is None:
                results.append(api.Attached(lost=True, epoch="", counter=0))
                continue
            if not self._register(request.gateway, attach.user, user, attach.version):
                raise ParleyError(LATE)
            self._state.note_presence(attach.user)
            lost = attach.epoch != user.epoch or attach.counter > user.counter
            results.append(api.Attached(lost=lost, epoch=user.epoch, counter=user.counter))
        return api.AttachResponse(results=results)

    def presence(self, request: api.PresenceRequest) -> api.Done:
        """Take users off the gateway, start recovery windows, renew what is in use."""
        state = self._state
        for detach in request.detaches:
            self.detach(request.gateway, detach.user, detach.version)
        for lost in request.lost:
            pid = state.pids.get(lost.pid)
            if pid and pid.gateway == request.gateway and lost.socket in {"", pid.socket}:
                pid.expires = min(pid.expires, now_ms() + state.config.recovery_window_seconds * 1000)
        for session_id in request.touches:
            session = state.sessions.get(session_id)
            if session is not None:
                session.expires, session.used = state.session_end(), now_ms()
                if user := state.user(session.user):
                    user.expires = session.expires
        return api.Done()

    def detach(self, gateway: str, user_id: str, version: int) -> bool:
        """Take a gateway off a user; whether it was registered."""
        user = self._state.user(user_id)
        if user is None or user.gateways.get(gateway, user.gone.get(gateway, 0)) > version:
            return False
        was_there = user.gateways.pop(gateway, None) is not None
        user.gone[gateway] = version
        if holder := self._state.gateways.get(gateway):
            holder.users.discard(user_id)
        if not user.gateways:
            self._state.due[user_id] = now_ms() + self._state.config.offline_grace_seconds * 1000
        return was_there

    def recover(self, request: api.RecoverRequest) -> api.RecoverResponse:
        """Take over lost sockets."""
        if request.gateway not in self._state.gateways:
            return api.RecoverResponse(
                results=[
                    api.RecoverResult(reason=reason)
                    if (reason := self._reason(recover))
                    else api.RecoverResult(failure=failure(LAPSED))
                    for recover in request.recovers
                ]
            )
        return api.RecoverResponse(
            results=[self._recover(request.gateway, recover) for recover in request.recovers]
        )

    def _reason(self, recover: api.Recover) -> str:
        """Say why a socket cannot be recovered; empty when it can."""
        state, position = self._state, recover.position
        pid = state.pids.get(recover.pid)
        if pid is None or pid.expires < now_ms():
            return "unknown_pid"
        user = state.user(pid.user)
        if recover.session not in {None, pid.session}:
            return "session"
        if state.session(pid.session, recover.subject or "") is None or user is None:
            return "session"
        if position.roster_epoch != state.roster_epoch or position.roster > len(state.log):
            return "roster"
        if position.epoch != user.epoch:
            return "epoch"
        if position.counter > user.counter:
            return "ahead"
        if position.counter < user.trimmed:
            return "trimmed"
        events = self._messages.events(pid.user, position.counter, recover.pid)
        size = sum(len(bytes(event.message)) for event in events if event.read is None)
        return "too_much" if size > state.config.recovery_bytes else ""

    def _recover(self, gateway: str, recover: api.Recover) -> api.RecoverResult:
        if reason := self._reason(recover):
            return api.RecoverResult(reason=reason)
        state, pid = self._state, self._state.pids[recover.pid]
        user = state.users[pid.user]
        if (pid.gateway, pid.version) != (gateway, recover.version):
            # One that is lost has a window that runs: there is nothing left to close.
            pid.before = (pid.gateway, pid.socket) if pid.expires == float("inf") else ("", "")
            pid.gateway, pid.version, pid.socket = gateway, recover.version, recover.socket
        pid.expires = float("inf")
        state.gateways[gateway].pids.add(recover.pid)
        if not self._register(gateway, pid.user, user, recover.version):
            return api.RecoverResult(failure=failure(LATE))
        state.note_presence(pid.user)
        old_gateway, old_socket = pid.before
        if old_gateway and old_socket:
            state.publish(old_gateway, [api.CloseSocket(old_socket)])
        events = self._messages.events(pid.user, recover.position.counter, recover.pid)
        recovered = api.Recovered(
            session=pid.session,
            user=pid.user,
            username=user.username,
            epoch=user.epoch,
            counter=user.counter,
            events=events,
            presence=self._presence(recover.position.roster, pid.user, user),
            names=state.names({event.from_ for event in events}),
            contacts=sorted(user.peers, key=lambda peer: user.peers[peer].at, reverse=True),
            old_gateway=old_gateway or None,
            old_socket=old_socket or None,
            relations=state.relations(pid.user),
        )
        return api.RecoverResult(recovered=recovered)

    def _presence(self, since: int, user_id: str, user: User) -> list[api.RosterEntry]:
        latest: dict[str, api.RosterEntry] = {}
        for version, change in enumerate(self._state.log[since:], since + 1):
            latest.pop(change.user, None)
            latest[change.user] = api.RosterEntry(change.user, change.username, change.state, version)
        everybody = len(self._state.roster) <= self._state.config.roster_limit
        return [
            entry
            for entry in latest.values()
            if entry.user != user_id and (everybody or entry.user in user.peers)
        ]
